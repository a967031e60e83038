//! Volumes that somebody attached to tell the appliance something: a CD of the hypervisor's with the OVF
//! environment (transport "iso", DSP0243 §11.2), or a volume labelled `CIDATA` (as cloud-init's NoCloud)
//! or `TIDEGATE` with `tidegate.toml`. They are mounted read-only and only for a moment.
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::BYTES_MAX;
use crate::{disks, modules::Modules, sys};

/// Where a volume is mounted.
const PLACE: &str = "/run/tidegate/volume";
/// Labels of volumes with a seed, in capitals.
const LABELS: [&str; 2] = ["CIDATA", "TIDEGATE"];
const DOCUMENT: &str = "tidegate.toml";
/// Endings of an update's file, in small letters: plain ISO 9660 has room for three of them.
const UPDATES: [&str; 2] = [".update", ".upd"];
const ENVIRONMENT: &str = "ovf-env.xml";
/// Most volumes that are looked at, and most names in one's root folder.
const VOLUMES_MAX: usize = 32;
const NAMES_MAX: usize = 4096;
/// Place of the primary volume descriptor, and of the label in it (ECMA-119 §8.4).
const ISO_DESCRIPTOR: u64 = 16 * 2048;
const ISO_LABEL: std::ops::Range<usize> = 40..72;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The first seed document, and the volume it is on.
    pub(super) document: Option<(String, Vec<u8>)>,
    /// The first OVF environment.
    pub(super) environment: Option<(String, Vec<u8>)>,
    /// Volumes that could not be read.
    pub(super) problems: Vec<String>,
}

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Iso9660,
    Vfat,
}

/// Looks at every volume that is no part of the appliance's own disks.
pub(super) fn look(modules: &mut Modules) -> Found {
    let mut found = Found::default();
    for name in block_devices().into_iter().take(VOLUMES_MAX) {
        let device = format!("/dev/{name}");
        // An empty drive, or a disk that cannot be read, which is not for the seed to say.
        let Ok(mut file) = File::open(&device) else { continue };
        let Ok(Some((kind, label))) = identify(&mut file) else { continue };
        drop(file);
        let seeds = LABELS.contains(&label.to_uppercase().as_str());
        if kind == Kind::Vfat && !seeds {
            continue;
        }
        let what = format!("volume {label:?} on {device}");
        match read(&device, kind, seeds, modules) {
            Ok((document, environment)) => {
                let named = |bytes| (what.clone(), bytes);
                found.document = found.document.or(document.map(named));
                found.environment = found.environment.or(environment.map(named));
            }
            Err(error) => found.problems.push(format!("{what}: {error:#}")),
        }
    }
    found
}

/// The update on the first volume that has one: its name and the volume, and the open file.
///
/// # Errors
/// There is none, or more than one on a volume; or it cannot be opened.
pub(super) fn update(modules: &mut Modules) -> Result<(String, File)> {
    for name in block_devices().into_iter().take(VOLUMES_MAX) {
        let device = format!("/dev/{name}");
        // As above.
        let Ok(mut file) = File::open(&device) else { continue };
        let Ok(Some((kind, label))) = identify(&mut file) else { continue };
        drop(file);
        if !LABELS.contains(&label.to_uppercase().as_str()) {
            continue;
        }
        let what = format!("volume {label:?} on {device}");
        // What is open stays readable after the volume was detached.
        let found = mounted(&device, kind, modules, only_update).with_context(|| what.clone())?;
        if let Some((name, file)) = found {
            return Ok((format!("{name} on {what}"), file));
        }
    }
    bail!(
        "no volume labelled TIDEGATE or CIDATA with an update file (tidegate-VERSION.update) is \
         attached (ISO 9660 or FAT)"
    )
}

fn only_update(folder: &Path) -> Result<Option<(String, File)>> {
    let mut found = None;
    for entry in fs::read_dir(folder).context("its root folder")?.take(NAMES_MAX) {
        let name = entry.context("its root folder")?.file_name().to_string_lossy().into_owned();
        let small = name.to_lowercase();
        if !UPDATES.iter().any(|ending| small.ends_with(ending)) {
            continue;
        }
        if let Some((other, _)) = found {
            bail!("it has several updates, {other} and {name}: leave one");
        }
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(folder.join(&name));
        let file = file.with_context(|| name.clone())?;
        if !file.metadata()?.is_file() {
            bail!("{name} is no file");
        }
        found = Some((name, file));
    }
    Ok(found)
}

/// Names of disks, partitions and drives, those of the system disk left out.
fn block_devices() -> Vec<String> {
    let system = disks::system_disk();
    let mut names = Vec::new();
    for entry in fs::read_dir("/sys/class/block").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // The link leads to …/block/sda/sda3.
        let path = fs::canonicalize(entry.path()).unwrap_or_default();
        let ours = system.as_ref().is_some_and(|system| {
            path.components().any(|part| part.as_os_str() == system.as_str())
        });
        let empty = sys::read_line(entry.path().join("size")) == "0";
        let never = ["loop", "ram", "dm-", "zram", "fd"].iter().any(|kind| name.starts_with(kind));
        if !ours && !empty && !never {
            names.push(name);
        }
    }
    names.sort();
    names
}

/// The file system and its label, if it is of a kind that carries seeds.
fn identify(device: &mut (impl Read + Seek)) -> io::Result<Option<(Kind, String)>> {
    let mut boot = [0; 512];
    device.seek(SeekFrom::Start(0))?;
    device.read_exact(&mut boot)?;
    // Where FAT32 and the older ones have their type and label.
    for (kind, label) in [(82..90, 71..82), (54..62, 43..54)] {
        if boot[510..] == [0x55, 0xaa] && boot[kind.clone()].starts_with(b"FAT") {
            return Ok(Some((Kind::Vfat, text(&boot[label.clone()]))));
        }
    }
    let mut descriptor = [0; 2048];
    device.seek(SeekFrom::Start(ISO_DESCRIPTOR))?;
    if device.read_exact(&mut descriptor).is_err() {
        return Ok(None);
    }
    let iso = descriptor[1..6] == *b"CD001";
    Ok(iso.then(|| (Kind::Iso9660, text(&descriptor[ISO_LABEL]))))
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field).trim_matches([' ', '\0']).to_owned()
}

type Files = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Seed document and OVF environment of a volume.
fn read(device: &str, kind: Kind, seeds: bool, modules: &mut Modules) -> Result<Files> {
    mounted(device, kind, modules, |folder| {
        let document = if seeds { file(folder, DOCUMENT)? } else { None };
        let environment = match kind {
            Kind::Iso9660 => file(folder, ENVIRONMENT)?,
            Kind::Vfat => None,
        };
        Ok((document, environment))
    })
}

/// Mounts a volume read-only, for as long as it takes to look into its root folder.
fn mounted<T>(
    device: &str,
    kind: Kind,
    modules: &mut Modules,
    look: impl FnOnce(&Path) -> Result<T>,
) -> Result<T> {
    let (name, needs): (_, &[&str]) = match kind {
        Kind::Iso9660 => ("iso9660", &["cdrom", "isofs"]),
        Kind::Vfat => ("vfat", &["nls_cp437", "nls_ascii", "nls_iso8859_1", "vfat"]),
    };
    for module in needs {
        modules.load(module);
    }
    fs::create_dir_all(PLACE)?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some(device), PLACE, Some(name), flags, None::<&str>).context("cannot be mounted")?;
    let found = look(Path::new(PLACE));
    umount2(PLACE, MntFlags::MNT_DETACH).context("cannot be unmounted")?;
    found
}

/// A file in `folder` by its name in any case: plain ISO 9660 knows no small letters.
fn file(folder: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    // … and no more than three letters behind the dot.
    let short = name.get(..name.len() - 1).filter(|_| name.ends_with(".toml"));
    for entry in fs::read_dir(folder).context("its root folder")?.take(NAMES_MAX) {
        let entry = entry.context("its root folder")?;
        let found = entry.file_name().to_string_lossy().into_owned();
        let is = |name: &str| found.eq_ignore_ascii_case(name);
        if !(is(name) || short.is_some_and(is)) {
            continue;
        }
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(entry.path());
        let file = file.with_context(|| found.clone())?;
        if !file.metadata()?.is_file() {
            bail!("{found} is no file");
        }
        let mut bytes = Vec::new();
        file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes).with_context(|| found.clone())?;
        return Ok(Some(bytes));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn with(length: usize, parts: &[(usize, &[u8])]) -> Cursor<Vec<u8>> {
        let mut bytes = vec![0; length];
        for (at, part) in parts {
            bytes[*at..*at + part.len()].copy_from_slice(part);
        }
        Cursor::new(bytes)
    }

    #[test]
    fn labels_are_found_where_each_file_system_has_them() {
        let boot: (usize, &[u8]) = (510, &[0x55, 0xaa]);
        for (mut device, is) in [
            (
                with(512, &[boot, (82, b"FAT32   "), (71, b"CIDATA     ")]),
                Some((Kind::Vfat, "CIDATA")),
            ),
            (
                with(512, &[boot, (54, b"FAT16   "), (43, b"cidata     ")]),
                Some((Kind::Vfat, "cidata")),
            ),
            (
                with(40_000, &[(32_769, b"CD001"), (32_808, b"OVF ENV                         ")]),
                Some((Kind::Iso9660, "OVF ENV")),
            ),
            (with(512, &[(82, b"FAT32   ")]), None),
            (with(40_000, &[boot]), None),
            (with(4096, &[]), None),
        ] {
            let found = identify(&mut device).unwrap();
            assert_eq!(found.as_ref().map(|(kind, label)| (*kind, label.as_str())), is);
        }
        assert!(identify(&mut with(100, &[])).is_err(), "too short for anything");
    }

    #[test]
    fn files_are_found_in_any_case_and_cut_names_too() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| fs::write(folder.path().join(name), name).unwrap();
        assert_eq!(file(folder.path(), DOCUMENT).unwrap(), None);
        put("tidegate.tom");
        assert_eq!(file(folder.path(), DOCUMENT).unwrap().unwrap(), b"tidegate.tom");
        put("OVF-ENV.XML");
        assert_eq!(file(folder.path(), ENVIRONMENT).unwrap().unwrap(), b"OVF-ENV.XML");
    }

    #[test]
    fn links_and_folders_are_no_files() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join(DOCUMENT)).unwrap();
        assert!(file(folder.path(), DOCUMENT).is_err());
        fs::create_dir(folder.path().join(ENVIRONMENT)).unwrap();
        assert!(file(folder.path(), ENVIRONMENT).unwrap_err().to_string().contains("no file"));
    }

    #[test]
    fn a_volume_has_one_update() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| fs::write(folder.path().join(name), name).unwrap();
        put("tidegate.toml");
        assert!(only_update(folder.path()).unwrap().is_none());
        put("TIDEGATE.UPD");
        let (name, mut file) = only_update(folder.path()).unwrap().unwrap();
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        assert_eq!((name.as_str(), content.as_str()), ("TIDEGATE.UPD", "TIDEGATE.UPD"));
        put("tidegate-1.4.0.update");
        let several = only_update(folder.path()).unwrap_err().to_string();
        assert!(several.contains("leave one"), "{several}");
    }

    #[test]
    fn what_is_too_large_is_cut_where_it_is_refused_later() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(DOCUMENT), vec![b' '; BYTES_MAX + 10]).unwrap();
        assert_eq!(file(folder.path(), DOCUMENT).unwrap().unwrap().len(), BYTES_MAX + 1);
    }
}
