//! What is attached, and what is on it. Reads disks and sysfs; writes nothing but the wish to be told of
//! changes that make no event.
use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use anyhow::{Context, Result};
use gateway_api::ByteSize;

use super::{CACHE_LABEL, probe, size_of, system_disk};
use crate::{signatures::Content, sys};

/// Block devices of these kinds are never cache disks.
const NEVER: &[&str] = &["loop", "ram", "sr", "fd", "dm-", "zram", "md"];
/// Most disks that are looked at.
const DISKS_MAX: usize = 256;

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attached {
    /// `/dev/sdb`.
    pub(super) device: String,
    pub(super) size: ByteSize,
    pub(super) model: String,
    /// Whether it is the appliance's own, which is never looked into.
    pub(super) is_system: bool,
    /// What is on it, or why that cannot be said.
    pub(super) content: Result<Content, String>,
}

impl Attached {
    /// UUID of the file system, if it is a cache disk, of whichever appliance.
    pub(super) fn cache_uuid(&self) -> Option<&str> {
        match &self.content {
            Ok(Content::Xfs { label, uuid }) if label == CACHE_LABEL => Some(uuid),
            // Formatting it ended, but for taking the claim away.
            Ok(Content::Claimed(Some(uuid))) => Some(uuid),
            Ok(_) | Err(_) => None,
        }
    }

    /// Whether nothing is on it.
    pub(super) fn is_empty(&self) -> bool {
        match &self.content {
            Ok(Content::Blank | Content::Claimed(_) | Content::Released) => !self.is_system,
            Ok(Content::Xfs { .. } | Content::Known(_) | Content::Data) | Err(_) => false,
        }
    }

    /// What is on it, in words.
    pub(super) fn words(&self) -> String {
        match &self.content {
            Ok(Content::Blank) => "blank".to_owned(),
            Ok(Content::Claimed(_)) => "blank: formatting it was begun and not ended".to_owned(),
            Ok(Content::Released) => "blank: a released cache disk".to_owned(),
            Ok(Content::Xfs { label, .. }) if label == CACHE_LABEL => "a cache disk".to_owned(),
            Ok(Content::Xfs { .. }) => "holds an XFS file system".to_owned(),
            Ok(Content::Known(name)) => format!("holds {name}"),
            Ok(Content::Data) => "holds data".to_owned(),
            Err(why) => format!("cannot be read: {why}"),
        }
    }
}

/// Every disk, by name. The system disk is among them.
pub(super) fn all() -> Vec<Attached> {
    let mut found = Vec::new();
    let system = system_disk();
    for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten().take(DISKS_MAX) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let attribute = |attribute: &str| sys::read_line(entry.path().join(attribute));
        if NEVER.iter().any(|kind| name.starts_with(kind))
            || attribute("hidden") == "1"
            || attribute("removable") == "1"
        {
            continue;
        }
        let device = format!("/dev/{name}");
        let is_system = system.as_ref() == Some(&name);
        let has_partitions = fs::read_dir(entry.path())
            .is_ok_and(|inside| inside.flatten().any(|e| e.path().join("partition").exists()));
        let content = if is_system || has_partitions {
            Ok(Content::Known("partitions"))
        } else if attribute("ro") == "1" {
            Err("it is read-only".to_owned())
        } else {
            probe(&device).map_err(|error| format!("{error:#}"))
        };
        let (size, model) = (ByteSize(size_of(&device)), attribute("device/model"));
        found.push(Attached { device, size, model, is_system, content });
    }
    found.sort_by(|a, b| by_name(&a.device, &b.device));
    found
}

/// `/dev/sdz` comes before `/dev/sdaa`.
fn by_name(a: &str, b: &str) -> std::cmp::Ordering {
    (a.len(), a).cmp(&(b.len(), b))
}

/// Has the kernel look for disks that were attached, and for disks that have another size: not every
/// controller tells either by itself.
///
/// # Errors
/// The kernel refuses a wish; the others were uttered.
pub(super) fn rescan() -> Result<()> {
    let mut failed = Ok(());
    let hosts = wishes(Path::new("/sys/class/scsi_host"), "scan", "- - -");
    let scsi = wishes(Path::new("/sys/class/block"), "device/rescan", "1");
    let nvme = wishes(Path::new("/sys/class/nvme"), "rescan_controller", "1");
    for (path, wish) in hosts.into_iter().chain(scsi).chain(nvme) {
        let uttered = File::options()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(wish.as_bytes()))
            .with_context(|| path);
        failed = failed.and(uttered);
    }
    failed
}

fn wishes(class: &Path, attribute: &str, wish: &'static str) -> Vec<(String, &'static str)> {
    let entries = fs::read_dir(class).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path().join(attribute))
        .filter(|path| path.exists())
        .take(DISKS_MAX)
        .map(|path| (path.to_string_lossy().into_owned(), wish))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_in_the_order_of_their_names() {
        let mut names = ["/dev/sdaa", "/dev/sdb", "/dev/sda", "/dev/sdz"];
        names.sort_by(|a, b| by_name(a, b));
        assert_eq!(names, ["/dev/sda", "/dev/sdb", "/dev/sdz", "/dev/sdaa"]);
    }

    #[test]
    fn wishes_go_to_what_hears_them() {
        let class = tempfile::tempdir().unwrap();
        fs::create_dir_all(class.path().join("sda/device")).unwrap();
        fs::create_dir_all(class.path().join("sr0")).unwrap();
        fs::write(class.path().join("sda/device/rescan"), "").unwrap();
        let found = wishes(class.path(), "device/rescan", "1");
        let expected = class.path().join("sda/device/rescan").to_string_lossy().into_owned();
        assert_eq!(found, [(expected, "1")]);
    }
}
