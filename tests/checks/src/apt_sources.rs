//! Reading a machine's apt sources, in both of their formats, to derive one more entry from them.
//!
//! Pure but for [`read_all`]. Source: sources.list(5).
use std::fs;

use anyhow::Result;

/// Every active source file's text.
///
/// # Errors
/// When one cannot be read.
pub(crate) fn read_all() -> Result<Vec<String>> {
    let mut texts = Vec::new();
    if let Ok(text) = fs::read_to_string("/etc/apt/sources.list") {
        texts.push(text);
    }
    let Ok(folder) = fs::read_dir("/etc/apt/sources.list.d") else { return Ok(texts) };
    for file in folder {
        let path = file?.path();
        if path.extension().is_some_and(|e| e == "list" || e == "sources") {
            texts.push(fs::read_to_string(path)?);
        }
    }
    Ok(texts)
}

/// `VERSION_CODENAME` of an os-release file.
pub(crate) fn codename(os_release: &str) -> Option<String> {
    let line = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(line.trim_matches('"').to_owned())
}

/// A deb822 entry for `CODENAME-backports` on the mirror that serves `CODENAME` itself.
pub(crate) fn backports_entry(sources: &[String], codename: &str) -> Option<String> {
    let (uri, signed_by) = sources
        .iter()
        .find_map(|text| from_deb822(text, codename).or_else(|| from_one_line(text, codename)))?;
    let signed_by = signed_by.map(|keyring| format!("Signed-By: {keyring}\n")).unwrap_or_default();
    Some(format!(
        "# Added by Tidegate: QEMU of the same release as the installed qemu-utils.\n\
         Types: deb\nURIs: {uri}\nSuites: {codename}-backports\nComponents: main\n{signed_by}"
    ))
}

fn from_deb822(text: &str, codename: &str) -> Option<(String, Option<String>)> {
    // Comment lines may stand inside a stanza and do not end it.
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let stanzas = lines.split(|line| line.trim().is_empty());
    for stanza in stanzas {
        let field = |name: &str| {
            stanza.iter().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let enabled = field("Enabled").is_none_or(|value| value != "no");
        let binary = field("Types").is_some_and(|t| t.split_whitespace().any(|t| t == "deb"));
        let suites = field("Suites").unwrap_or_default();
        if enabled && binary && suites.split_whitespace().any(|suite| suite == codename) {
            let uri = field("URIs")?.split_whitespace().next()?.to_owned();
            return Some((uri, field("Signed-By").filter(|value| !value.is_empty())));
        }
    }
    None
}

fn from_one_line(text: &str, codename: &str) -> Option<(String, Option<String>)> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("deb ")?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let uri = words.next()?;
        let signed_by = options.split_whitespace().find_map(|o| o.strip_prefix("signed-by="));
        (words.next()? == codename).then(|| (uri.to_owned(), signed_by.map(str::to_owned)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backports_come_from_the_mirror_of_the_release_itself() {
        let deb822 = "Types: deb\n# a remark\nURIs: http://mirror.test/security\nSuites: old-security\n\
                      Components: main\n\nTypes: deb\nURIs: http://mirror.test/debian\n\
                      Suites: old old-updates\nComponents: main\nSigned-By: /k.gpg\n";
        let entry = backports_entry(&[deb822.to_owned()], "old").unwrap();
        assert!(entry.contains("URIs: http://mirror.test/debian\n"), "{entry}");
        assert!(entry.contains("Suites: old-backports\n") && entry.contains("/k.gpg"), "{entry}");

        let one_line = "# x\ndeb-src http://a.test/ old main\n\
                        deb [arch=amd64 signed-by=/k2.gpg] http://b.test/debian old main contrib\n";
        let entry = backports_entry(&[one_line.to_owned()], "old").unwrap();
        assert!(entry.contains("URIs: http://b.test/debian\n") && entry.contains("/k2.gpg"));
        assert_eq!(backports_entry(&[one_line.to_owned()], "new"), None);
    }

    #[test]
    fn a_disabled_source_is_not_used() {
        let text = "Enabled: no\nTypes: deb\nURIs: http://a.test\nSuites: old\nComponents: main\n";
        assert_eq!(backports_entry(&[text.to_owned()], "old"), None);
    }

    #[test]
    fn the_codename_is_read_with_and_without_quotes() {
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=bookworm\n").unwrap(), "bookworm");
        assert_eq!(codename("VERSION_CODENAME=\"noble\"\n").unwrap(), "noble");
    }
}
