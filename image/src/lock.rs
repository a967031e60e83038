//! Pins: which packages, at which version, with which bytes. Pure text in, data out.
//!
//! One line per package: `NAME VERSION SHA256`, sorted by name; `#` begins a remark.

use std::fmt::Write as _;

use anyhow::{Result, bail};

/// One exact Debian package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Package {
    /// Name, for example `xfsprogs`.
    pub name: String,
    /// Version, for example `6.13.0-2+b1`.
    pub version: String,
    /// SHA-256 of the .deb file, lower-case hex.
    pub sha256: String,
}

/// The pins that ship with this crate (`image/packages.lock`).
///
/// # Errors
/// When the file is malformed.
pub fn shipped() -> Result<Vec<Package>> {
    parse(include_str!("../packages.lock"))
}

/// Reads a lock file.
///
/// # Errors
/// Names the first line that is not `NAME VERSION SHA256`.
pub fn parse(text: &str) -> Result<Vec<Package>> {
    let mut packages = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [name, version, sha256]
                if sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit()) =>
            {
                packages.push(Package {
                    name: (*name).to_owned(),
                    version: (*version).to_owned(),
                    sha256: sha256.to_ascii_lowercase(),
                });
            }
            _ => bail!("packages.lock line {}: expected NAME VERSION SHA256", index + 1),
        }
    }
    Ok(packages)
}

/// Writes a lock file.
#[must_use]
pub fn format(packages: &[Package]) -> String {
    let mut sorted = packages.to_vec();
    sorted.sort();
    let mut text = String::from(
        "# Debian packages that the image is made of: name, version, SHA-256 of the .deb.\n\
         # Written by `cargo run --release -p image -- lock --update`.\n",
    );
    for package in sorted {
        writeln!(text, "{} {} {}", package.name, package.version, package.sha256)
            .expect("writing to a String cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_lock_reads_back() {
        let packages = vec![Package {
            name: "chrony".into(),
            version: "4.6.1-3".into(),
            sha256: "0f".repeat(32),
        }];
        assert_eq!(parse(&format(&packages)).expect("well-formed"), packages);
    }

    #[test]
    fn a_short_hash_is_refused_with_its_line() {
        let error = parse("# remark\nchrony 4.6 abc\n").expect_err("the hash is too short");
        assert!(error.to_string().contains("line 2"), "{error}");
    }

    #[test]
    fn the_shipped_lock_pins_every_package_that_the_image_needs() {
        let pins = shipped().expect("well-formed");
        for name in crate::PACKAGES {
            assert!(pins.iter().any(|pin| pin.name == *name), "{name} is not pinned");
        }
        assert!(pins.iter().any(|pin| pin.name.starts_with("linux-image-6")));
    }
}
