//! A catalog whose disk fails (SQLITE_IOERR): what clients are told, and what they still have afterwards.
use std::{
    fs,
    mem::ManuallyDrop,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use super::*;

/// The catalog's log as a disk that can be read and not written. Dropping mends it.
struct ReadOnlyLog(Vec<(RawFd, OwnedFd)>);

impl ReadOnlyLog {
    fn of(cache: &Path) -> Self {
        let log = cache.canonicalize().unwrap().join("catalog.db-wal");
        let read_only = fs::File::open(&log).unwrap();
        let mut replaced = Vec::new();
        for entry in fs::read_dir("/proc/self/fd").unwrap() {
            let entry = entry.unwrap();
            let fd: RawFd = entry.file_name().to_str().unwrap().parse().unwrap();
            let is_log = fs::read_link(entry.path()).is_ok_and(|at| at == log);
            if is_log && fd != read_only.as_raw_fd() {
                // SAFETY: it is the log's of this test's catalog, which is open until the test ends.
                let was = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned().unwrap();
                put(&read_only, fd);
                replaced.push((fd, was));
            }
        }
        assert!(!replaced.is_empty(), "SQLite has no log open");
        Self(replaced)
    }
}

impl Drop for ReadOnlyLog {
    fn drop(&mut self) {
        for (fd, was) in &self.0 {
            put(was, *fd);
        }
    }
}

/// Makes `fd` mean what `to` means.
fn put(to: &impl std::os::fd::AsFd, fd: RawFd) {
    // SAFETY: it stays open, and stays SQLite's: it is neither taken over nor closed here.
    let mut owned = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(fd) });
    rustix::io::dup2(to, &mut owned).unwrap();
}

/// Goal: NFS3ERR_IO for every change, reads as ever, nothing acknowledged lost and nothing half done; what was
/// written and not committed is not acknowledged, and can be committed when the disk is well again.
#[tokio::test]
async fn while_the_catalog_s_disk_fails_changes_are_errors_and_nothing_is_lost() {
    let f = Fixture::new().await;
    let (who, root) = (owner(), f.root());
    let file = f.create("f").await;
    let size = 2 * crate::catalog::CARRIED_BYTES_MAX;
    let half = usize::try_from(size).unwrap();
    f.write(file, 0, &vec![1; half], Stability::FileSync).await;
    let verifier = f.write(file, size, &vec![2; half], Stability::Unstable).await.verifier;
    let both = [vec![1; half], vec![2; half]].concat();

    let broken = ReadOnlyLog::of(f.dir.path());
    assert_eq!(f.fs.commit(&who, file).await.unwrap_err(), FsError::Io);
    assert_ne!(f.fs.verifier(), verifier, "the client must send it again");
    let again = Bytes::from(vec![2; half]);
    let stable = f.fs.write(&who, file, size, again, Stability::FileSync).await;
    assert_eq!(stable.unwrap_err(), FsError::Io);
    let how = CreateHow::Guarded(SetAttr::default());
    assert_eq!(f.fs.create(&who, root, b"new", how).await.unwrap_err(), FsError::Io);
    assert_eq!(f.fs.remove(&who, root, b"f").await.unwrap_err(), FsError::Io);
    assert_eq!(f.fs.rename(&who, root, b"f", root, b"g").await.unwrap_err(), FsError::Io);
    let mode = SetAttr { mode: Some(0o600), ..SetAttr::default() };
    assert_eq!(f.fs.setattr(&who, file, mode, None).await.unwrap_err(), FsError::Io);
    assert!(f.content(file).await == both, "what is here can be read");
    assert_eq!(f.fs.lookup(&who, root, b"f").await.unwrap().ino, file);
    assert_eq!(f.fs.lookup(&who, root, b"new").await.unwrap_err(), FsError::NotFound);
    drop(broken);

    f.fs.commit(&who, file).await.unwrap();
    let f = f.power_cut(3).await;
    let found = f.fs.lookup(&who, root, b"f").await.unwrap();
    assert_eq!((found.ino, found.mode), (file, 0o644));
    assert!(f.content(file).await == both);
    for name in [&b"new"[..], b"g"] {
        assert_eq!(f.fs.lookup(&who, root, name).await.unwrap_err(), FsError::NotFound);
    }
    assert_eq!(f.catalog.verify().await.unwrap(), Vec::<String>::new());
}
