//! Which Debian mirror to fetch from: the one this machine uses already, with the suite changed.
//!
//! Pure but for the reading of the sources; knows nothing of packages. No host name stands here:
//! without Debian sources (Ubuntu) the default mirror is read from debootstrap's own files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Debian release that the image is made of.
pub const SUITE: &str = "trixie";
/// The keys that Debian signs its archive with.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Names that stand for Debian releases in apt sources.
const DEBIAN_SUITES: [&str; 11] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
];

/// Where packages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// URI of the main archive.
    pub archive: String,
    /// URI of the security archive, when the machine has one.
    pub security: Option<String>,
}

impl Mirror {
    /// The machine's Debian mirror, or debootstrap's default, or the one the user named:
    /// `ARCHIVE_URI`, or `ARCHIVE_URI,SECURITY_URI`.
    ///
    /// # Errors
    /// When there is none; the message says what to do.
    pub fn find(named: Option<&str>) -> Result<Self> {
        if let Some(named) = named {
            return Ok(from_name(named));
        }
        if let Some(mirror) = from_sources(&read_machine_sources()?) {
            return Ok(mirror);
        }
        if let Some(archive) = debootstrap_default() {
            // Debian's default mirror serves the security archive beside the main one.
            let security =
                archive.strip_suffix("/debian").map(|host| format!("{host}/debian-security"));
            return Ok(Self { archive, security });
        }
        bail!(
            "this machine's apt sources name no Debian mirror and debootstrap is not installed: \
             run `apt-get install debootstrap debian-archive-keyring`, or name a mirror with --mirror URI"
        )
    }

    /// The apt sources (deb822) for [`SUITE`] on this mirror.
    #[must_use]
    pub fn sources(&self) -> String {
        let stanza = |uri: &str, suites: &str| {
            format!(
                "Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\n\
                 Architectures: amd64\nTargets: Packages\nSigned-By: {KEYRING}\n"
            )
        };
        let mut text = stanza(&self.archive, &format!("{SUITE} {SUITE}-updates"));
        if let Some(security) = &self.security {
            text.push('\n');
            text.push_str(&stanza(security, &format!("{SUITE}-security")));
        }
        text
    }
}

fn from_name(named: &str) -> Mirror {
    let clean = |uri: &str| uri.trim().trim_end_matches('/').to_owned();
    match named.split_once(',') {
        Some((archive, security)) => {
            Mirror { archive: clean(archive), security: Some(clean(security)) }
        }
        None => Mirror { archive: clean(named), security: None },
    }
}

/// Whether the machine's own sources name a Debian mirror.
#[must_use]
pub fn machine_has_debian_mirror() -> bool {
    read_machine_sources().is_ok_and(|text| from_sources(&text).is_some())
}

fn read_machine_sources() -> Result<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = std::fs::read_dir("/etc/apt/sources.list.d") {
        for entry in entries {
            files.push(entry.context("cannot read /etc/apt/sources.list.d")?.path());
        }
    }
    files.sort();
    let mut text = String::new();
    for file in files {
        let is_source =
            matches!(file.extension().and_then(|e| e.to_str()), Some("list" | "sources"));
        if is_source && file.is_file() {
            let content = std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            text.push_str(&content);
            text.push_str("\n\n");
        }
    }
    Ok(text)
}

/// The Debian archives in one-line and deb822 sources.
fn from_sources(text: &str) -> Option<Mirror> {
    let (mut archive, mut security) = (None, None);
    for (uri, suite) in pairs(text) {
        let uri = uri.trim_end_matches('/').to_owned();
        match suite.split_once('-') {
            None if DEBIAN_SUITES.contains(&suite) => archive = archive.or(Some(uri)),
            Some((base, "security")) if DEBIAN_SUITES.contains(&base) => {
                security = security.or(Some(uri));
            }
            _ => {}
        }
    }
    archive.map(|archive| Mirror { archive, security })
}

/// Every (URI, suite) that the sources name for component main.
fn pairs(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        // deb [signed-by=...] URI suite main contrib
        let Some(rest) = line.strip_prefix("deb ") else { continue };
        let rest = rest.trim_start();
        let rest = if rest.starts_with('[') {
            rest.split_once(']').map_or("", |(_, after)| after)
        } else {
            rest
        };
        let words: Vec<&str> = rest.split_whitespace().collect();
        if let [uri, suite, components @ ..] = words.as_slice()
            && components.contains(&"main")
        {
            found.push((*uri, *suite));
        }
    }
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            stanza.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let (Some(types), Some(uris), Some(suites)) =
            (field("Types"), field("URIs"), field("Suites"))
        else {
            continue;
        };
        let is_on = field("Enabled").is_none_or(|value| !value.eq_ignore_ascii_case("no"));
        let has_main =
            field("Components").is_some_and(|c| c.split_whitespace().any(|c| c == "main"));
        if is_on && has_main && types.split_whitespace().any(|t| t == "deb") {
            for uri in uris.split_whitespace() {
                found.extend(suites.split_whitespace().map(|suite| (uri, suite)));
            }
        }
    }
    found
}

/// The mirror that debootstrap falls back to for Debian: `DEF_MIRROR="URI"` in its script.
fn debootstrap_default() -> Option<String> {
    let script = std::fs::read_to_string(Path::new("/usr/sbin/debootstrap")).ok()?;
    script.lines().find_map(|line| {
        let value = line.trim().strip_prefix("DEF_MIRROR=")?.trim_matches('"');
        value.contains("://").then(|| value.trim_end_matches('/').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deb822_sources_give_archive_and_security() {
        let text = "Types: deb\n# a remark\nURIs: http://mirror.test/debian/\nSuites: bookworm bookworm-updates\nComponents: main\n\n\
                    Types: deb\nURIs: http://mirror.test/debian-security\nSuites: bookworm-security\nComponents: main contrib\n";
        let mirror = from_sources(text).expect("a mirror is named");
        assert_eq!(mirror.archive, "http://mirror.test/debian");
        assert_eq!(mirror.security.as_deref(), Some("http://mirror.test/debian-security"));
        assert!(mirror.sources().contains("Suites: trixie trixie-updates\n"));
        assert!(mirror.sources().contains("Suites: trixie-security\n"));
    }

    #[test]
    fn one_line_sources_with_options_are_read() {
        let text = "# deb http://no.test/debian sid main\ndeb [arch=amd64 signed-by=/k] http://m.test/debian trixie main non-free\n";
        assert_eq!(from_sources(text).map(|m| m.archive).as_deref(), Some("http://m.test/debian"));
    }

    #[test]
    fn sources_of_other_distributions_are_no_debian_mirror() {
        let text = "deb http://a.test/ubuntu noble main universe\n\nTypes: deb\nURIs: https://n.test/node\nSuites: nodistro\nComponents: main\n";
        assert_eq!(from_sources(text), None);
    }

    #[test]
    fn a_named_mirror_may_bring_its_security_archive() {
        let mirror = from_name("http://m.test/debian/,http://s.test/security");
        assert_eq!(mirror.archive, "http://m.test/debian");
        assert_eq!(mirror.security.as_deref(), Some("http://s.test/security"));
        assert_eq!(from_name("http://m.test/debian").security, None);
    }

    #[test]
    fn a_disabled_stanza_is_passed_over() {
        let text = "Types: deb\nEnabled: no\nURIs: http://m.test/debian\nSuites: trixie\nComponents: main\n";
        assert_eq!(from_sources(text), None);
    }
}
