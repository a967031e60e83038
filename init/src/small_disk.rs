//! For tests: a folder that has only so much room, as a full partition has; and one whose disk fails when its
//! names are to be made durable.
//!
//! The calls of `sys.rs` that take room ask here. Files count with their lengths, in all folders below.
use std::{
    cell::RefCell,
    fs, io,
    path::{Path, PathBuf},
};

thread_local! {
    static DISK: RefCell<Option<(PathBuf, u64)>> = const { RefCell::new(None) };
    static FAILS: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// From now on, `folder` has room for what is in it and no more, on this thread.
pub(crate) fn fill(folder: &Path) {
    DISK.set(Some((folder.to_owned(), used(folder))));
}

/// There is more room.
pub(crate) fn grow(bytes: u64) {
    DISK.with_borrow_mut(|disk| disk.as_mut().expect("a small disk").1 += bytes);
}

/// A file is about to have so many bytes.
pub(crate) fn ask(path: &Path, bytes: u64) -> io::Result<()> {
    DISK.with_borrow(|disk| {
        let Some((folder, room)) = disk else { return Ok(()) };
        let had = fs::metadata(path).map_or(0, |file| file.len());
        if path.starts_with(folder) && used(folder) - had + bytes > *room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    })
}

/// From now on, the names in `folder` cannot be made durable, on this thread.
pub(crate) fn fail_to_sync(folder: &Path) {
    FAILS.set(Some(folder.to_owned()));
}

/// The names in a folder are about to be made durable.
pub(crate) fn ask_to_sync(folder: &Path) -> io::Result<()> {
    let fails = FAILS.with_borrow(|fails| fails.as_deref() == Some(folder));
    if fails { Err(io::Error::other("the disk fails")) } else { Ok(()) }
}

fn used(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| if path.is_dir() { used(&path) } else { fs::metadata(&path).unwrap().len() })
        .sum()
}
