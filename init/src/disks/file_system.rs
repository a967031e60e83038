//! The file system of a cache disk: making, mounting, growing and giving it back.
use std::{
    fs::{self, File},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, chown},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use gateway_api::ByteSize;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{CACHE, CACHE_LABEL, FURTHER, MOUNT_FLAGS, run, size_of};
use crate::{
    claim::{self, Mark},
    mounts, sys,
};

/// Where a disk is mounted for a look, by one process at a time.
const LOOK: &str = "/run/tidegate/look";
/// The gateway's catalog, on the primary disk.
const CATALOG: &str = "catalog.db";
/// Growth below this is not worth the asking: XFS wants room for an allocation group.
const GROWTH_BYTES_MIN: u64 = 16 << 20;

/// A place where cache disks are mounted, and what is mounted there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// [`CACHE`], or a folder in [`FURTHER`].
    pub(super) target: String,
    /// What is mounted; none if its disk is gone, or its file system has given up.
    pub(super) disk: Option<Present>,
}

/// A mounted disk that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Present {
    /// `/dev/sdb`.
    pub(super) device: String,
    /// UUID of the file system.
    pub(super) uuid: String,
}

impl Place {
    /// Whether it is where the primary cache disk is mounted.
    pub(super) fn is_primary(&self) -> bool {
        self.target == CACHE
    }

    /// Takes it out of the tree. One whose disk is gone goes as soon as nobody uses it any more.
    ///
    /// # Errors
    /// Somebody uses it.
    pub(super) fn unmount(&self) -> Result<()> {
        let flags = if self.disk.is_some() { MntFlags::empty() } else { MntFlags::MNT_DETACH };
        umount2(self.target.as_str(), flags)
            .with_context(|| format!("unmounting {}", self.target))?;
        sys::say(&format!("{} is unmounted", self.target));
        if !self.is_primary() {
            fs::remove_dir(&self.target).with_context(|| self.target.clone())?;
        }
        Ok(())
    }
}

/// Every place with something mounted on it.
///
/// # Errors
/// The kernel does not tell what is mounted.
pub(super) fn places() -> Result<Vec<Place>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    let mut places = Vec::new();
    for (target, number) in mounts::on_devices(&table) {
        if target != CACHE && Path::new(target).parent() != Some(Path::new(FURTHER)) {
            continue;
        }
        // The link is gone with the disk, whoever has its name by then.
        let disk = match fs::canonicalize(Path::new("/sys/dev/block").join(number)) {
            Ok(path) => {
                let name = path.file_name().context("a disk without a name")?;
                let device = format!("/dev/{}", name.to_string_lossy());
                match Geometry::of(target) {
                    Ok(geometry) => Some(Present { device, uuid: geometry.uuid() }),
                    Err(error) => {
                        // XFS has shut itself down after an error of the disk.
                        sys::say(&format!("{device} is of no use like this: {error:#}"));
                        None
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).context(number.to_owned()),
        };
        places.push(Place { target: target.to_owned(), disk });
    }
    Ok(places)
}

/// Makes the file system. The disk is claimed until `note` has noted its UUID: a power cut in between
/// leaves a disk that is known to hold nothing.
///
/// # Errors
/// The disk cannot be written, or the UUID not noted.
pub(super) fn format(device: &str, note: impl FnOnce(&str) -> Result<()>) -> Result<String> {
    sys::say(&format!("formatting the blank disk {device} as a cache disk"));
    let uuid = sys::read_line("/proc/sys/kernel/random/uuid");
    let make = |room: u64| {
        let (room, option) = (format!("size={room}"), format!("uuid={uuid}"));
        // -K: a blank disk has nothing to discard, and a thin one takes long over it.
        run(
            "/usr/sbin/mkfs.xfs",
            &["-q", "-f", "-K", "-L", CACHE_LABEL, "-d", &room, "-m", &option, device],
        )
    };
    let noted = uuid.replace('-', "");
    format_by(device, size_of(device), make, || note(&noted))?;
    Ok(noted)
}

/// The order of it: `make` makes a file system of so many bytes, durable when it returns.
fn format_by(
    device: &str,
    size: u64,
    make: impl FnOnce(u64) -> Result<()>,
    note: impl FnOnce() -> Result<()>,
) -> Result<()> {
    claim::mark(Path::new(device), size, Mark::Claimed)
        .with_context(|| format!("claiming {device}"))?;
    make(claim::room(size))?;
    note()?;
    unmark(device, size)
}

/// Takes a mark away that formatting has left.
fn unmark(device: &str, size: u64) -> Result<()> {
    let mark = claim::mark_of(&mut File::open(device)?, size)
        .with_context(|| format!("reading {device}"))?;
    if mark.is_some() {
        claim::unmark(Path::new(device), size).with_context(|| format!("releasing {device}"))?;
    }
    Ok(())
}

/// Makes a cache disk one that holds nothing. A power cut in the midst leaves it marked so.
///
/// # Errors
/// The disk cannot be written.
pub(super) fn wipe(device: &str) -> Result<()> {
    sys::say(&format!("wiping {device}: it was a cache disk"));
    wipe_by(device, size_of(device))
}

/// The order of it.
fn wipe_by(device: &str, size: u64) -> Result<()> {
    claim::mark(Path::new(device), size, Mark::Released)
        .and_then(|()| claim::clear_start(Path::new(device)))
        .with_context(|| format!("wiping {device}"))
}

/// What is found on a cache disk that is not mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// A catalog: it is a primary disk.
    pub(super) has_catalog: bool,
    /// Files of a cache.
    pub(super) has_files: bool,
}

/// Looks what is on a cache disk that is not mounted.
///
/// # Errors
/// It cannot be mounted or read.
pub(super) fn look_into(device: &str) -> Result<Found> {
    fs::create_dir_all(LOOK).context(LOOK)?;
    mount(Some(device), LOOK, Some("xfs"), MOUNT_FLAGS | MsFlags::MS_RDONLY, None::<&str>)
        .with_context(|| format!("looking into {device}"))?;
    let found = found_in(Path::new(LOOK)).with_context(|| format!("looking into {device}"));
    umount2(LOOK, MntFlags::empty()).with_context(|| format!("unmounting {LOOK}"))?;
    found
}

/// The gateway has a file's bytes in `data/XX/`.
fn found_in(root: &Path) -> io::Result<Found> {
    let mut has_files = false;
    for shard in entries(&root.join("data"))? {
        has_files = has_files || !entries(&shard)?.is_empty();
    }
    Ok(Found { has_catalog: root.join(CATALOG).try_exists()?, has_files })
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// Mounts a cache disk and gives it to the gateway, whose user and group are `owner`.
///
/// # Errors
/// It cannot be mounted.
pub(super) fn mount_disk(device: &str, target: &str, owner: (u32, u32)) -> Result<()> {
    unmark(device, size_of(device))?;
    if target != CACHE {
        match fs::DirBuilder::new().mode(0o700).create(target) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| target.to_owned()),
        }
    }
    mount(Some(device), target, Some("xfs"), MOUNT_FLAGS, None::<&str>)
        .with_context(|| format!("mounting {device}"))?;
    chown(target, Some(owner.0), Some(owner.1))
        .with_context(|| format!("giving {device} to the gateway"))?;
    sys::say(&format!("cache disk {device} ({}) mounted", ByteSize(size_of(device))));
    Ok(())
}

/// Gives a mounted file system the room that its disk has. The place of the mark at the end stays free.
///
/// # Errors
/// The kernel refuses.
pub(super) fn grow(device: &str, target: &str) -> Result<()> {
    let geometry = Geometry::of(target)?;
    let Some(blocks) = geometry.grown(claim::room(size_of(device))) else { return Ok(()) };
    // Whatever the storage has put there: no mark of ours.
    unmark(device, size_of(device))?;
    run("/usr/sbin/xfs_growfs", &["-D", &blocks.to_string(), target])
        .with_context(|| format!("growing {device}"))?;
    sys::say(&format!("cache disk {device} has grown to {}", ByteSize(size_of(device))));
    Ok(())
}

/// `struct xfs_fsop_geom_v1` of the kernel's `xfs_fs.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Geometry {
    block_bytes: u32,
    realtime_extent: u32,
    group_blocks: u32,
    groups: u32,
    log_blocks: u32,
    sector_bytes: u32,
    inode_bytes: u32,
    inodes_percent_max: u32,
    data_blocks: u64,
    realtime_blocks: u64,
    realtime_extents: u64,
    log_start: u64,
    uuid: [u8; 16],
    stripe_unit: u32,
    stripe_width: u32,
    version: i32,
    flags: u32,
    log_sector_bytes: u32,
    realtime_sector_bytes: u32,
    directory_block_bytes: u32,
}

// `XFS_IOC_FSGEOMETRY_V1`.
nix::ioctl_read!(xfs_geometry, b'X', 100, Geometry);

impl Geometry {
    /// The geometry of what is mounted at `target`.
    fn of(target: &str) -> Result<Self> {
        let folder = File::open(target).with_context(|| target.to_owned())?;
        let mut geometry = Self::default();
        // SAFETY: the kernel fills the structure, whose size is part of the request's number.
        unsafe { xfs_geometry(folder.as_raw_fd(), &raw mut geometry) }
            .with_context(|| format!("the geometry of {target}"))?;
        if geometry.block_bytes == 0 {
            bail!("{target} has blocks of no bytes");
        }
        Ok(geometry)
    }

    fn uuid(&self) -> String {
        self.uuid.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Blocks that it may have in `room` bytes, if they are more than it has.
    fn grown(&self, room: u64) -> Option<u64> {
        let block = u64::from(self.block_bytes);
        let has = self.data_blocks.saturating_mul(block);
        (room >= has.saturating_add(GROWTH_BYTES_MIN)).then_some(room / block)
    }
}

#[cfg(test)]
mod cut;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_geometry_has_the_kernel_s_layout() {
        assert_eq!(std::mem::size_of::<Geometry>(), 112);
        assert_eq!(std::mem::offset_of!(Geometry, data_blocks), 32);
        assert_eq!(std::mem::offset_of!(Geometry, uuid), 64);
    }

    #[test]
    fn files_and_a_catalog_are_found_and_empty_folders_are_not() {
        let root = tempfile::tempdir().unwrap();
        let found = |has_catalog, has_files| Found { has_catalog, has_files };
        assert_eq!(found_in(root.path()).unwrap(), found(false, false));
        fs::create_dir_all(root.path().join("data/0a")).unwrap();
        fs::write(root.path().join("disk.toml"), "").unwrap();
        assert_eq!(found_in(root.path()).unwrap(), found(false, false));
        fs::write(root.path().join("data/0a/17"), "bytes").unwrap();
        assert_eq!(found_in(root.path()).unwrap(), found(false, true));
        fs::write(root.path().join(CATALOG), "").unwrap();
        assert_eq!(found_in(root.path()).unwrap(), found(true, true));
    }

    #[test]
    fn a_file_system_grows_only_by_what_is_worth_it_and_never_over_the_mark() {
        let geometry = Geometry { block_bytes: 4096, data_blocks: 1 << 18, ..Geometry::default() };
        let room = |size: u64| geometry.grown(claim::room(size));
        const GIB: u64 = 1 << 30;
        assert_eq!(room(GIB), None);
        assert_eq!(room(GIB / 2), None, "a disk that shrank is no reason to grow");
        assert_eq!(room(GIB + (1 << 20)), None);
        let grown = room(2 * GIB + 512).unwrap() * 4096;
        assert_eq!(grown, 2 * GIB - (1 << 20));
    }
}
