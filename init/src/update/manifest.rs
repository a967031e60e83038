//! The manifest of an update: what is in it, to the byte. It is parsed only after its signature was found
//! right; what is checked here are mistakes of whoever built it, and bounds.
use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest manifest, in bytes.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 64 << 10;
/// Every digest is one of so many bytes; the last one of a member of fewer.
pub(crate) const BLOCK_BYTES: u64 = 1 << 20;
/// Largest root file system: its partition.
const ROOT_BYTES_MAX: u64 = 64 << 20;
/// Largest kernel image. Two of them with their copies for BIOS fit the ESP only if they are smaller.
const EFI_BYTES_MAX: u64 = 20 << 20;
/// Largest update: its members, and what the archive adds.
pub(crate) const UPDATE_BYTES_MAX: u64 =
    MANIFEST_BYTES_MAX + ROOT_BYTES_MAX + EFI_BYTES_MAX + (2 << 20);
/// Longest kernel command line.
const COMMAND_LINE_BYTES_MAX: usize = 1024;
const FORMAT: u32 = 1;

/// A version of the product: three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Version([u32; 3]);

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no version: three numbers are expected");
        let mut numbers = [0; 3];
        let mut parts = text.split('.');
        for number in &mut numbers {
            let part = parts.next().ok_or_else(wrong)?;
            // A sign or a leading zero would be a second way to write the same version.
            let plain = part.bytes().all(|byte| byte.is_ascii_digit())
                && (part == "0" || !part.starts_with('0'));
            *number = part.parse().ok().filter(|_| plain).ok_or_else(wrong)?;
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(Self(numbers)) }
    }
}

impl TryFrom<String> for Version {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([major, minor, patch]) = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// A member of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Member {
    /// Bytes.
    pub(crate) size: u64,
    /// SHA-256 of each block, hex.
    pub(crate) blocks: Vec<String>,
}

/// A part of the kernel image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    offset: u64,
    size: u64,
}

impl Part {
    /// Its bytes; empty if it lies outside, which [`Manifest::parse`] refuses.
    pub(crate) fn of(self, whole: &[u8]) -> &[u8] {
        let range = usize::try_from(self.offset).ok().zip(usize::try_from(self.size).ok());
        range.and_then(|(at, size)| whole.get(at..at.checked_add(size)?)).unwrap_or_default()
    }
}

/// What an update is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: u32,
    /// The version that it brings.
    pub(crate) version: Version,
    /// The oldest version that it may take the place of: it reads that one's settings.
    pub(crate) oldest: Version,
    /// Root file system with its verity tree.
    pub(crate) root: Member,
    /// Unified kernel image.
    pub(crate) efi: Member,
    /// Where in it GRUB's kernel is.
    pub(crate) kernel: Part,
    /// Where in it GRUB's initramfs is.
    pub(crate) initrd: Part,
    /// Kernel command line, for GRUB.
    pub(crate) cmdline: String,
}

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    /// Its version.
    pub(crate) version: Version,
    /// The oldest version that may take its place.
    pub(crate) oldest: Version,
}

impl Manifest {
    /// Reads a manifest whose signature is right.
    ///
    /// # Errors
    /// Words: what is wrong with it.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        manifest.check().map(|()| manifest)
    }

    fn check(&self) -> Result<(), String> {
        let Self { format, version, oldest, root, efi, kernel, initrd, cmdline } = self;
        if *format != FORMAT {
            return Err(format!("format {format}, and this version knows {FORMAT}"));
        }
        if oldest > version {
            return Err(format!("version {version} is older than the oldest, {oldest}"));
        }
        check_member("the root file system", root, ROOT_BYTES_MAX)?;
        if !root.size.is_multiple_of(4096) {
            return Err(format!("a root file system of {} bytes", root.size));
        }
        check_member("the kernel image", efi, EFI_BYTES_MAX)?;
        for part in [kernel, initrd] {
            let end = part.offset.checked_add(part.size);
            if part.size == 0 || end.is_none_or(|end| end > efi.size) {
                return Err("a part of the kernel image lies outside of it".to_owned());
            }
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"=:.,_-/ ".contains(&byte);
        if cmdline.len() > COMMAND_LINE_BYTES_MAX
            || !cmdline.starts_with("tidegate.verity=")
            || !cmdline.bytes().all(plain)
        {
            return Err("a kernel command line that GRUB would not take as it stands".to_owned());
        }
        Ok(())
    }

    /// Whether this version may take the place of what runs. A lower one only if the operator says so.
    ///
    /// # Errors
    /// Words for the operator.
    pub(crate) fn may_follow(&self, running: Running, older_too: bool) -> Result<(), String> {
        let Self { version, oldest, .. } = self;
        may_go_back(*version, running)?;
        if running.version < *oldest {
            return Err(format!(
                "Version {version} follows {oldest} and later ones; {} runs: update to a version in \
                 between first.",
                running.version
            ));
        }
        if *version < running.version && !older_too {
            return Err(format!(
                "Version {version} is older than {}, which runs: say that an older one is meant.",
                running.version
            ));
        }
        Ok(())
    }

    /// Refuses the very build that runs, whose root file system is known by `verity`, a value of the kernel
    /// command line's `tidegate.verity`. A kernel finds its slot by that: with the same root file system in both
    /// slots, what runs could be taken for the other slot's, and be overwritten by the next update.
    ///
    /// # Errors
    /// Words for the operator.
    pub(crate) fn is_another_build(&self, verity: Option<&str>) -> Result<(), String> {
        let words = || self.cmdline.split_whitespace();
        match words().find_map(|word| word.strip_prefix("tidegate.verity=")) {
            Some(brings) if Some(brings) == verity => Err(format!(
                "Version {} runs already, and this is the same build of it: there is nothing to write.",
                self.version
            )),
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether what runs may be left for this version.
///
/// # Errors
/// Words for the operator.
pub(crate) fn may_go_back(to: Version, running: Running) -> Result<(), String> {
    if to < running.oldest {
        return Err(format!(
            "Version {to} cannot follow {}: none before {} can.",
            running.version, running.oldest
        ));
    }
    Ok(())
}

fn check_member(what: &str, member: &Member, bytes_max: u64) -> Result<(), String> {
    if member.size == 0 || member.size > bytes_max {
        return Err(format!("{what} has {} bytes, and {bytes_max} fit", member.size));
    }
    if u64::try_from(member.blocks.len()).ok() != Some(member.size.div_ceil(BLOCK_BYTES)) {
        return Err(format!("{what} has {} digests", member.blocks.len()));
    }
    let hex = |digest: &String| digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
    if !member.blocks.iter().all(hex) {
        return Err(format!("{what} has a digest that is none"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("../../../image/tests/golden/update-manifest.json");

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn what_the_builder_writes_is_read() {
        let manifest = Manifest::parse(GOLDEN.as_bytes()).unwrap();
        assert_eq!(manifest.version, version("1.4.0"));
        assert_eq!((manifest.root.size, manifest.root.blocks.len()), ((1 << 20) + 4096, 2));
        assert_eq!(manifest.kernel.of(&[7; 5000]).len(), 1000);
    }

    #[test]
    fn a_manifest_that_cannot_be_meant_is_refused() {
        let first = "\"size\": 1052672,";
        for (from, to, says) in [
            ("\"format\": 1", "\"format\": 2", "format 2"),
            ("\"format\": 1", "\"format\": 1, \"more\": 1", "unknown field"),
            ("1.4.0", "1.4", "no version"),
            ("1.4.0", "1.1.0", "older than the oldest"),
            (first, "\"size\": 0,", "0 bytes"),
            (first, "\"size\": 67108865,", "67108865 bytes"),
            (first, "\"size\": 1052671,", "1052671 bytes"),
            (first, "\"size\": 4096,", "2 digests"),
            ("\"size\": 5000,", "\"size\": 20971521,", "20971521 bytes"),
            ("\"offset\": 4000", "\"offset\": 4001", "outside"),
            ("\"offset\": 4000", "\"offset\": 18446744073709551615", "outside"),
            ("\"size\": 488", "\"size\": 0", "outside"),
            ("tidegate.verity=", "tidegate.root=", "command line"),
            (" quiet", " quiet; reboot", "command line"),
            (" quiet", "\\nquiet", "command line"),
            (" quiet", " $quiet", "command line"),
        ] {
            let text = GOLDEN.replacen(from, to, 1);
            assert_ne!(text, GOLDEN, "{from}");
            let error = Manifest::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(says), "{from} -> {to}: {error}");
        }
        let digest = Manifest::parse(GOLDEN.as_bytes()).unwrap().root.blocks[0].clone();
        let text = GOLDEN.replacen(&digest, &digest.replacen(&digest[..1], "x", 1), 1);
        assert!(Manifest::parse(text.as_bytes()).unwrap_err().contains("digest"));
    }

    #[test]
    fn versions_are_three_plain_numbers_and_compare_as_such() {
        for text in ["0.1.0", "10.0.1", "1.2.4294967295"] {
            assert_eq!(version(text).to_string(), text);
        }
        for text in
            ["", "1", "1.2", "1.2.3.4", "1.2.x", "1.02.3", "+1.2.3", "1..3", "1.2.4294967296"]
        {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
        assert!(version("1.10.0") > version("1.9.9"));
    }

    #[test]
    fn the_build_that_runs_is_not_written_beside_itself() {
        let manifest = Manifest::parse(GOLDEN.as_bytes()).unwrap();
        let verity = |manifest: &Manifest| {
            let mut words = manifest.cmdline.split_whitespace();
            words.find_map(|word| word.strip_prefix("tidegate.verity=")).unwrap().to_owned()
        };
        let same = manifest.is_another_build(Some(&verity(&manifest))).unwrap_err();
        assert!(same.contains("1.4.0 runs already"), "{same}");
        assert_eq!(manifest.is_another_build(Some("2:ab:cd")), Ok(()));
        assert_eq!(manifest.is_another_build(None), Ok(()));
    }

    #[test]
    fn which_version_may_follow_which() {
        let manifest = |version: &str, oldest: &str| {
            let text = GOLDEN.replacen("\"1.4.0\"", &format!("\"{version}\""), 1);
            let text =
                text.replacen("\"oldest\": \"1.2.0\"", &format!("\"oldest\": \"{oldest}\""), 1);
            Manifest::parse(text.as_bytes()).unwrap()
        };
        let running = Running { version: version("1.3.0"), oldest: version("1.1.0") };
        for (to, oldest, older_too, says) in [
            ("1.4.0", "1.3.0", false, None),
            ("1.3.0", "1.2.0", false, None),
            ("1.2.0", "1.0.0", false, Some("older than 1.3.0")),
            ("1.2.0", "1.0.0", true, None),
            ("1.0.0", "1.0.0", true, Some("none before 1.1.0")),
            ("1.5.0", "1.4.0", false, Some("in between first")),
            ("1.5.0", "1.4.0", true, Some("in between first")),
        ] {
            let outcome = manifest(to, oldest).may_follow(running, older_too);
            match says {
                None => assert_eq!(outcome, Ok(()), "{to}"),
                Some(says) => assert!(outcome.unwrap_err().contains(says), "{to}"),
            }
        }
    }
}
