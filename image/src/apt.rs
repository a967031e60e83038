//! The private apt: its own sources, lists and empty package status, in the build's cache folder.
//!
//! The host's apt state is neither read nor changed, except for its proxy settings. apt checks
//! Debian's signatures; this module knows nothing of what the packages are for.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::host::run;
use crate::lock::Package;
use crate::mirror::Mirror;
use crate::progress::{Progress, human};

/// How often the size of a running download is looked at.
const DOWNLOAD_POLL: Duration = Duration::from_millis(500);
/// A note about the download each time it has grown by this much.
const DOWNLOAD_NOTE_BYTES: u64 = 8 << 20;

/// One version of a package as the archive's index has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Name, version and SHA-256.
    pub package: Package,
    /// The `Depends` field, unparsed.
    pub depends: String,
}

/// An apt with state of its own.
#[derive(Debug)]
pub struct Apt {
    dir: PathBuf,
    config: PathBuf,
}

impl Apt {
    /// Sets up the state in `dir`; fetches nothing.
    ///
    /// # Errors
    /// When there is no mirror (see [`Mirror::find`]) or the folder cannot be written.
    pub fn open(dir: &Path, mirror: Option<&str>) -> Result<Self> {
        let mirror = Mirror::find(mirror)?;
        for folder in ["lists/partial", "archives/partial"] {
            std::fs::create_dir_all(dir.join(folder))
                .with_context(|| format!("cannot make {}", dir.join(folder).display()))?;
        }
        let dir = dir.canonicalize().context("the apt folder was just made")?;
        let config = dir.join("apt.conf");
        let path = dir.display();
        std::fs::write(dir.join("status"), "")?;
        write_if_changed(&dir, "debian.sources", &mirror.sources())?;
        std::fs::write(
            &config,
            format!(
                "Dir::State \"{path}\";\nDir::State::status \"{path}/status\";\n\
                 Dir::State::lists \"{path}/lists\";\nDir::Cache \"{path}\";\n\
                 Dir::Cache::archives \"{path}/archives\";\n\
                 Dir::Etc::sourcelist \"{path}/debian.sources\";\nDir::Etc::sourceparts \"/dev/null\";\n\
                 Dir::Etc::preferences \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
                 APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\n\
                 APT::Sandbox::User \"\";\nAPT::Install-Recommends \"false\";\n\
                 Acquire::Languages \"none\";\nAcquire::Retries \"3\";\n\
                 DPkg::Pre-Install-Pkgs {{}};\n"
            ),
        )?;
        Ok(Self { dir, config })
    }

    /// Whether an index has been fetched from this mirror already.
    #[must_use]
    pub fn has_lists(&self) -> bool {
        self.dir.join("lists-fetched").exists()
    }

    /// Fetches the archive's index.
    ///
    /// # Errors
    /// When the mirror cannot be reached or its signature does not check out.
    pub fn update(&self, progress: &mut dyn Progress) -> Result<()> {
        progress.step("packages: fetching Debian's package index");
        run(self.command("apt-get").args(["update", "--error-on=any", "-q"]))
            .context("cannot fetch Debian's package index: check the network, or name another mirror with --mirror")?;
        std::fs::write(self.dir.join("lists-fetched"), "")?;
        Ok(())
    }

    /// Every version of `names` that the index holds, newest first per name.
    ///
    /// # Errors
    /// When apt-cache fails. Unknown names are not an error: they are just absent.
    pub fn offers(&self, names: &[&str]) -> Result<Vec<Offer>> {
        let output = self
            .command("apt-cache")
            .arg("show")
            .args(names)
            .stderr(Stdio::null())
            .output()
            .context("cannot start apt-cache")?;
        // It exits with 100 when one name is unknown, and still prints the others.
        Ok(parse_offers(&String::from_utf8_lossy(&output.stdout)))
    }

    /// The names of `names` and of all that they depend on, by apt's own solver, sorted.
    ///
    /// # Errors
    /// When a name is unknown or the dependencies cannot be satisfied.
    pub fn with_dependencies(&self, names: &[&str]) -> Result<Vec<String>> {
        let simulated =
            run(self.command("apt-get").args(["install", "--simulate", "-q"]).args(names))
                .context("apt cannot work out the dependencies")?;
        let mut all: Vec<String> = simulated
            .lines()
            .filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next())
            .map(str::to_owned)
            .collect();
        all.sort();
        all.dedup();
        Ok(all)
    }

    /// Downloads exactly these packages into `dir` under apt's file names.
    ///
    /// # Errors
    /// When one cannot be had; nothing is said about which of the others arrived.
    pub fn download(
        &self,
        packages: &[&Package],
        dir: &Path,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let mut child = self
            .command("apt-get")
            .args(["download", "-qq"])
            .args(packages.iter().map(|p| format!("{}={}", p.name, p.version)))
            .current_dir(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start apt-get")?;
        let mut noted = 0;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            let bytes = folder_bytes(dir)?;
            if bytes >= noted + DOWNLOAD_NOTE_BYTES {
                noted = bytes;
                progress.note(&format!("{} so far", human(bytes)));
            }
            std::thread::sleep(DOWNLOAD_POLL);
        };
        if !status.success() {
            let mut said = String::new();
            if let Some(mut stderr) = child.stderr.take() {
                std::io::Read::read_to_string(&mut stderr, &mut said)?;
            }
            bail!("apt-get download failed ({status}):\n{}", said.trim());
        }
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config).env("LC_ALL", "C").stdin(Stdio::null());
        command
    }
}

/// A changed mirror makes the fetched lists worthless.
fn write_if_changed(dir: &Path, name: &str, text: &str) -> Result<()> {
    let file = dir.join(name);
    if std::fs::read_to_string(&file).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let mark = dir.join("lists-fetched");
    if mark.exists() {
        std::fs::remove_file(mark)?;
    }
    std::fs::write(file, text)?;
    Ok(())
}

fn folder_bytes(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        // apt renames files while they are counted: one that has gone is counted next time.
        bytes += entry?.metadata().map_or(0, |metadata| metadata.len());
    }
    Ok(bytes)
}

fn parse_offers(text: &str) -> Vec<Offer> {
    text.split("\n\n")
        .filter_map(|stanza| {
            let field = |name: &str| {
                stanza.lines().find_map(|line| line.strip_prefix(name)).map(|v| v.trim().to_owned())
            };
            Some(Offer {
                package: Package {
                    name: field("Package:")?,
                    version: field("Version:")?,
                    sha256: field("SHA256:")?,
                },
                depends: field("Depends:").unwrap_or_default(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_are_read_from_the_index_text() {
        let text = "Package: linux-image-cloud-amd64\nVersion: 6.12.1-1\nDepends: linux-image-6.12.1 (= 6.12.1-1)\nSHA256: ab\n\nPackage: x\nVersion: 1\nSHA256: cd\n\n";
        let offers = parse_offers(text);
        assert_eq!(offers.len(), 2);
        assert_eq!(offers[0].depends, "linux-image-6.12.1 (= 6.12.1-1)");
        assert_eq!(offers[1].package.sha256, "cd");
    }
}
