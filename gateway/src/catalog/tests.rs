//! Transitions on the real SQLite; a crash is a catalog dropped without close and opened again.
mod aliases;
mod claiming;
mod committing;
mod defaults;
mod depth;
mod failing;
mod heard;
mod listing;
mod movers;
mod owners;
mod rebuild;
mod settling;
mod unsent;
mod writing;

use tempfile::TempDir;

use super::*;
use crate::{
    clock::Timestamp,
    ids::{DiskId, FileKind, Ino},
    object::{ETag, ObjectKey},
};

pub(super) struct Fixture {
    pub(super) catalog: Catalog,
    pub(super) share: ShareRow,
    dir: TempDir,
}

pub(super) fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

pub(super) fn stamp(nanos: i64) -> Stamp {
    Stamp { now: at(nanos), due: at(nanos), request: None }
}

pub(super) fn tag(text: &str) -> ETag {
    ETag::new(text)
}

pub(super) fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

const ROOT: RootAttr = RootAttr { mode: 0o777, uid: 0, gid: 0, now: Timestamp::from_nanos(1) };
pub(super) const SOON: i64 = 1_000_000_000_000;

/// The commit of a burst that has written all of a file, synced, and closes.
pub(super) fn commit_of(version: u64, size: u64) -> WriteCommit {
    WriteCommit {
        sums: Vec::new(),
        noted: Some(version),
        disk: DiskId::PRIMARY,
        bytes: DurableBytes::Synced(None),
        size,
        mtime: at(6),
        clear_set_id: false,
        ranges: std::iter::once(0..size).collect(),
        closes: true,
        due: at(6),
    }
}

/// Waits: a child that another test starts has all that is open here until it has become another program.
pub(super) fn until_nobody_has_the_lock(cache: &std::path::Path) {
    std::fs::File::open(cache.join("gateway.lock")).unwrap().lock().unwrap();
}

/// What a file of so many bytes takes of the disk with its rows.
fn room_of(size: u64) -> u64 {
    size.next_multiple_of(4096) + 2560
}

impl Fixture {
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path()).unwrap();
        let share = catalog.ensure_share("s", "bucket", "p/", ROOT).await.unwrap();
        Self { catalog, share, dir }
    }

    /// Drops everything without closing and opens again.
    pub(super) async fn crash(self) -> Self {
        let Self { catalog, share, dir } = self;
        let thread = catalog.inner.thread.lock().unwrap().take().unwrap();
        drop(catalog);
        thread.join().unwrap();
        until_nobody_has_the_lock(dir.path());
        let catalog = Catalog::open(dir.path()).unwrap();
        assert!(!catalog.was_clean());
        assert_eq!(catalog.rebuilt(), None, "the log told something else");
        Self { catalog, share, dir }
    }

    pub(super) async fn place(&self, parent: Ino, name: &str, kind: NewKind) -> Inode {
        let new = NewInode {
            parent,
            name: name.to_owned(),
            kind,
            mode: 0o644,
            uid: 1,
            gid: 1,
            atime: at(5),
            mtime: at(5),
        };
        self.catalog.create(new, stamp(5)).await.unwrap().inode
    }

    pub(super) async fn file(&self, parent: Ino, name: &str) -> Ino {
        self.place(parent, name, NewKind::File { verifier: None }).await.ino
    }

    pub(super) async fn mkdir(&self, parent: Ino, name: &str) -> Ino {
        self.place(parent, name, NewKind::Directory).await.ino
    }

    pub(super) async fn write(&self, ino: Ino, size: u64) {
        let begun = self.catalog.begin_write(ino, at(6)).await.unwrap();
        self.catalog.commit_write(ino, commit_of(begun.version, size)).await.unwrap();
    }

    pub(super) async fn rename(&self, from: (Ino, &str), to: (Ino, &str)) {
        let spec = RenameSpec {
            from_dir: from.0,
            from_name: from.1.to_owned(),
            to_dir: to.0,
            to_name: to.1.to_owned(),
        };
        self.catalog.rename(spec, stamp(7)).await.unwrap();
    }

    pub(super) async fn claim(&self) -> Vec<Job> {
        self.catalog.claim_jobs(at(SOON), 100).await.unwrap()
    }

    /// Does every job with success, until none is left; answers what was done, in words.
    pub(super) async fn drain(&self) -> Vec<String> {
        let mut done = Vec::new();
        let mut now = at(SOON);
        for round in 0..1000 {
            let jobs = self.catalog.claim_jobs(now, 100).await.unwrap();
            for job in jobs {
                done.push(self.perform(job, round).await);
            }
            match self.catalog.next_due().await.unwrap() {
                Some(due) => now = now.max(due),
                None => return done,
            }
        }
        panic!("the journal never empties: {done:?}");
    }

    async fn perform(&self, job: Job, round: usize) -> String {
        match job {
            Job::Sync(job) if job.is_elsewhere => {
                self.catalog.settle(job.op).await.unwrap();
                self.catalog.release_job(job.op, at(SOON)).await.unwrap();
                format!("settle {}", job.key)
            }
            Job::Sync(job) => {
                let etag = tag(&format!("{}-{round}", job.op.0));
                let from =
                    job.moved_from.map(|(key, _)| format!(" from {key}")).unwrap_or_default();
                let expect = match job.expect {
                    Expected::Absent => String::new(),
                    Expected::Tag(_) => " over".to_owned(),
                };
                self.catalog
                    .finish_sync(job.op, job.inode.version, &job.key, &etag, at(SOON))
                    .await
                    .unwrap();
                format!("put {}{from}{expect}", job.key)
            }
            Job::Still { op, ino, .. } => {
                self.catalog.release_job(op, at(SOON)).await.unwrap();
                format!("still {}", ino.0)
            }
            Job::Early(job) => {
                self.catalog.release_job(job.op, at(SOON)).await.unwrap();
                format!("early {}", job.key)
            }
            Job::Delete(job) => {
                self.catalog.finish_delete(job.op).await.unwrap();
                format!("delete {}", job.key)
            }
            Job::Abort { op, upload_id, .. } => {
                self.catalog.finish_delete(op).await.unwrap();
                format!("abort {upload_id}")
            }
            Job::StepAside(job) => {
                let aside = ObjectKey::new(format!("p/aside-{}", job.inode.ino.0)).unwrap();
                let from = job.moved_from.unwrap();
                self.catalog.begin_aside(job.op, &aside, at(SOON)).await.unwrap();
                let to = (aside, tag("aside"));
                self.catalog.stepped_aside(job.op, from, to, at(SOON)).await.unwrap();
                format!("aside {}", job.inode.name)
            }
        }
    }

    pub(super) async fn verify(&self) {
        assert_eq!(self.catalog.verify().await.unwrap(), Vec::<String>::new());
        let pending = self.catalog.pending(None).await.unwrap();
        // Of small files, all of which count as dirty bytes.
        let sizes = self.catalog.read(|db| {
            let mut query = db.prepare_cached(
                "SELECT size FROM inode WHERE dirty = 1 AND content_version > synced_version",
            )?;
            let sizes = query.query_map([], |row| row.get(0))?;
            Ok(sizes.collect::<Result<Vec<u64>, _>>()?)
        });
        let sizes = sizes.await.unwrap();
        assert_eq!(sizes.iter().sum::<u64>(), pending.dirty_bytes);
        assert_eq!(self.catalog.unsent_room(), sizes.into_iter().map(room_of).sum::<u64>());
        for (row, ranges) in self.catalog.inner.rows.all() {
            let ino = row.ino;
            let true_row = self.catalog.read(move |db| inode::get(db, ino)).await.unwrap();
            assert_eq!(*row, true_row, "in memory, and in the database");
            if let Some(ranges) = ranges {
                assert_eq!(*ranges, self.catalog.ranges(ino).await.unwrap(), "of {ino:?}");
            }
        }
    }
}

#[tokio::test]
async fn acknowledged_transitions_survive_a_crash() {
    let f = Fixture::new().await;
    let dir = f.mkdir(f.share.root, "d").await;
    let file = f.file(dir, "a name with spaces").await;
    f.write(file, 10).await;
    let f = f.crash().await;
    let row = f.catalog.child(dir, "a name with spaces").await.unwrap().unwrap();
    assert_eq!((row.ino, row.size, row.dirty, row.content_dirty), (file, 10, true, true));
    assert!(f.catalog.ranges(file).await.unwrap().covers(&(0..10)));
    assert_eq!(f.catalog.key(file).await.unwrap(), "p/d/a name with spaces");
    assert_eq!(f.drain().await.len(), 2);
    f.verify().await;
    assert!(f.catalog.pending(None).await.unwrap() == PendingCounts::default());
}

#[tokio::test]
async fn an_orderly_end_is_known_at_the_next_start() {
    let f = Fixture::new().await;
    f.catalog.close().await.unwrap();
    assert!(matches!(f.catalog.inode(f.share.root).await, Err(CatalogError::Closed)));
    let again = Catalog::open(f.dir.path());
    assert!(again.is_err(), "the lock is held as long as a handle lives");
    drop(f.catalog);
    let again = Catalog::open(f.dir.path()).unwrap();
    assert!(again.was_clean());
}

#[tokio::test]
async fn a_newer_schema_is_refused_without_a_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(CATALOG_FILE);
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(
        Catalog::open(dir.path()),
        Err(CatalogError::NewerSchema { found: 99, known: schema::SCHEMA_VERSION })
    ));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn an_ino_is_never_given_out_twice() {
    let f = Fixture::new().await;
    let first = f.file(f.share.root, "a").await;
    f.catalog.remove(f.share.root, "a", RemoveKind::NotDirectory, stamp(1)).await.unwrap();
    let f = f.crash().await;
    let second = f.file(f.share.root, "a").await;
    assert!(second > first && first.0 > 15);
    assert!(matches!(f.catalog.inode(first).await, Err(CatalogError::Gone(_))));
}

#[tokio::test]
async fn an_error_undoes_its_own_transition_and_no_other() {
    let f = Fixture::new().await;
    let new = |name: &str| NewInode {
        parent: f.share.root,
        name: name.to_owned(),
        kind: NewKind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        atime: at(1),
        mtime: at(1),
    };
    let too_long = "x".repeat(1024);
    let (good, exists, long) = tokio::join!(
        f.catalog.create(new("d"), stamp(1)),
        f.catalog.create(new("d"), stamp(1)),
        f.catalog.create(new(&too_long), stamp(1)),
    );
    good.unwrap();
    assert!(matches!(exists, Err(CatalogError::Exists)));
    assert!(matches!(long, Err(CatalogError::KeyTooLong)));
    assert_eq!(f.catalog.children(f.share.root, Ino(0), 10).await.unwrap().len(), 1);
    f.verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_are_served_and_none_is_lost() {
    let f = Fixture::new().await;
    let mut callers = tokio::task::JoinSet::new();
    for n in 0..500 {
        let (catalog, parent) = (f.catalog.clone(), f.share.root);
        callers.spawn(async move {
            let new = NewInode {
                parent,
                name: format!("f{n}"),
                kind: NewKind::File { verifier: None },
                mode: 0o644,
                uid: 0,
                gid: 0,
                atime: at(1),
                mtime: at(1),
            };
            catalog.create(new, stamp(1)).await.unwrap().inode.ino
        });
    }
    let inos: std::collections::BTreeSet<Ino> = callers.join_all().await.into_iter().collect();
    assert_eq!(inos.len(), 500);
    let mut seen = Vec::new();
    let mut after = Ino(0);
    loop {
        let page = f.catalog.children(f.share.root, after, 64).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.ino;
        seen.extend(page.iter().map(|row| row.ino));
    }
    assert_eq!(seen, inos.into_iter().collect::<Vec<_>>());
}

/// Goal: 1,024 bytes of key pass and 1,025 do not, also for what lies deep below a renamed
/// directory (F34). Method: fill a key to the last byte, then lengthen the directory on top.
#[tokio::test]
async fn keys_have_at_most_1024_bytes_also_below_a_renamed_directory() {
    let f = Fixture::new().await;
    let root = f.share.root;
    let top = f.mkdir(root, "t").await;
    let mut dir = top;
    // "p/t/" and three times 251 bytes: 757, so that 267 are left, 255 and 11 after a slash.
    for _ in 0..3 {
        dir = f.mkdir(dir, &"d".repeat(250)).await;
    }
    dir = f.mkdir(dir, &"e".repeat(11)).await;
    f.file(dir, &"f".repeat(255)).await;
    let longer = NewInode {
        parent: dir,
        name: "é".repeat(128),
        kind: NewKind::File { verifier: None },
        mode: 0o644,
        uid: 1,
        gid: 1,
        atime: at(5),
        mtime: at(5),
    };
    assert!(matches!(f.catalog.create(longer, stamp(5)).await, Err(CatalogError::KeyTooLong)));
    let to = |name: &str| RenameSpec {
        from_dir: root,
        from_name: "t".to_owned(),
        to_dir: root,
        to_name: name.to_owned(),
    };
    assert!(matches!(f.catalog.rename(to("tt"), stamp(6)).await, Err(CatalogError::KeyTooLong)));
    assert_eq!(f.catalog.path(top).await.unwrap(), "t");
    f.catalog.rename(to("u"), stamp(6)).await.unwrap();
    f.verify().await;
}

#[tokio::test]
async fn renames_follow_posix() {
    let f = Fixture::new().await;
    let root = f.share.root;
    let dir = f.mkdir(root, "d").await;
    let below = f.mkdir(dir, "below").await;
    f.file(root, "f").await;
    f.file(root, "g").await;
    let rename = |from: (Ino, &str), to: (Ino, &str)| {
        let spec = RenameSpec {
            from_dir: from.0,
            from_name: from.1.to_owned(),
            to_dir: to.0,
            to_name: to.1.to_owned(),
        };
        f.catalog.rename(spec, stamp(9))
    };
    assert!(matches!(rename((root, "d"), (below, "x")).await, Err(CatalogError::IntoItself)));
    assert!(matches!(rename((root, "none"), (root, "x")).await, Err(CatalogError::NoEntry)));
    assert!(matches!(rename((root, "f"), (root, "d")).await, Err(CatalogError::IsDirectory)));
    assert!(matches!(rename((root, "d"), (root, "f")).await, Err(CatalogError::NotDirectory)));
    let other = f.mkdir(root, "other").await;
    assert!(matches!(rename((root, "other"), (root, "d")).await, Err(CatalogError::NotEmpty)));
    let same = rename((root, "f"), (root, "f")).await.unwrap();
    assert!(same.replaced.is_none());
    let over = rename((root, "f"), (root, "g")).await.unwrap();
    assert_eq!(over.replaced.unwrap().name, "g");
    rename((root, "d"), (other, "d")).await.unwrap();
    assert_eq!(f.catalog.path(below).await.unwrap(), "other/d/below");
    f.verify().await;
}

#[tokio::test]
async fn a_share_moves_to_another_bucket_only_when_s3_has_everything() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    let busy = f.catalog.ensure_share("s", "other", "p/", ROOT).await.unwrap_err();
    assert!(busy.to_string().contains("1 changes for bucket/p/"), "{busy}");
    let same = f.catalog.ensure_share("s", "bucket", "p/", ROOT).await.unwrap();
    assert_eq!(same, f.share);
    f.drain().await;
    let fresh = f.catalog.ensure_share("s", "other", "p/", ROOT).await.unwrap();
    assert!(fresh.id > f.share.id);
    assert!(matches!(f.catalog.inode(file).await, Err(CatalogError::Gone(_))));
    assert_eq!(f.catalog.shares().await.unwrap(), [fresh]);
}

#[tokio::test]
async fn sizes_and_ranges_agree_through_truncates() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    f.write(file, 100).await;
    let size = |size| AttrChange { size: Some(size), ..AttrChange::default() };
    f.catalog.set_attr(file, size(40), stamp(8)).await.unwrap();
    assert!(!f.catalog.ranges(file).await.unwrap().covers(&(0..41)));
    f.catalog.set_attr(file, size(90), stamp(9)).await.unwrap();
    assert_eq!(f.catalog.ranges(file).await.unwrap(), std::iter::once(0..90).collect());
    f.catalog.set_attr(file, size(0), stamp(9)).await.unwrap();
    assert!(f.catalog.ranges(file).await.unwrap().is_empty());
    assert_eq!(f.catalog.inode(file).await.unwrap().size, 0);
    f.verify().await;
}

/// Goal: a sum never stands for bytes that are not here, or are others.
#[tokio::test]
async fn the_sum_of_what_a_cut_leaves_is_of_that_version_and_of_bytes_that_are_here() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    f.write(file, 10_000).await;
    let cut = async |size, version| {
        let end_sum = Some(EndSum { version, sum: 77 });
        let change = AttrChange { size: Some(size), end_sum, ..AttrChange::default() };
        f.catalog.set_attr(file, change, stamp(8)).await.unwrap();
        f.catalog.sums_now(file, 8192..10_000).await.unwrap().sums
    };
    let version = f.catalog.inode(file).await.unwrap().version;
    assert_eq!(cut(9900, version).await, [(2, 77)]);
    assert_eq!(cut(9800, version).await, [], "of another version by now");
    f.drain().await;
    f.catalog.drop_some(file, std::iter::once(9000..9001).collect()).await.unwrap();
    let version = f.catalog.inode(file).await.unwrap().version;
    assert_eq!(cut(9700, version).await, [], "not all of it is here");
    f.verify().await;
}

#[tokio::test]
async fn access_time_alone_is_not_published() {
    let f = Fixture::new().await;
    let file = f.file(f.share.root, "f").await;
    f.drain().await;
    let atime = AttrChange { atime: Some(at(99)), ..AttrChange::default() };
    let row = f.catalog.set_attr(file, atime, stamp(8)).await.unwrap();
    assert!(!row.dirty && row.atime == at(99));
    let mode = AttrChange { mode: Some(0o600), ..AttrChange::default() };
    let row = f.catalog.set_attr(file, mode, stamp(8)).await.unwrap();
    assert!(row.dirty && !row.content_dirty);
}

#[tokio::test]
async fn the_root_of_a_whole_bucket_keeps_its_attributes_to_itself() {
    let f = Fixture::new().await;
    let whole = f.catalog.ensure_share("whole", "b2", "", ROOT).await.unwrap();
    let mode = AttrChange { mode: Some(0o700), ..AttrChange::default() };
    let row = f.catalog.set_attr(whole.root, mode, stamp(8)).await.unwrap();
    assert!(!row.dirty && row.mode == 0o700);
    let row = f.catalog.set_attr(f.share.root, mode, stamp(8)).await.unwrap();
    assert!(row.dirty);
    assert_eq!(f.drain().await, ["put p/"]);
}

#[tokio::test]
async fn a_directory_that_loses_its_last_entry_gets_an_object() {
    let f = Fixture::new().await;
    let mut token = f.catalog.begin_listing(f.share.root).await.unwrap();
    let page = listing::page(&["d/"]);
    f.catalog.merge_listing_page(&mut token, page).await.unwrap();
    f.catalog.finish_listing(token, at(9)).await.unwrap();
    let dir = f.catalog.child(f.share.root, "d").await.unwrap().unwrap();
    assert_eq!((dir.kind, dir.dirty), (FileKind::Directory, false));
    f.file(dir.ino, "x").await;
    f.drain().await;
    f.catalog.remove(dir.ino, "x", RemoveKind::NotDirectory, stamp(9)).await.unwrap();
    let mut done = f.drain().await;
    done.sort();
    assert_eq!(done, ["delete p/d/x", "put p/d/"]);
}

/// Goal: a damaged page stops the gateway instead of being served. Method: pages in the middle of a
/// database that is open.
#[tokio::test]
async fn a_damaged_page_is_told_to_whoever_watches() {
    let f = Fixture::new().await;
    let root = f.share.root;
    for n in 0..600 {
        f.file(root, &format!("a-name-of-some-length-{n:06}")).await;
    }
    f.drain().await;
    let Fixture { catalog, dir, .. } = f;
    catalog.close().await.unwrap();
    drop(catalog);
    let path = dir.path().join("catalog.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let pages = bytes.len() / 4096;
    assert!(pages > 30, "nothing to damage");
    let catalog = Catalog::open(dir.path()).unwrap();
    bytes[pages / 2 * 4096..(pages - 2) * 4096].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let watched = catalog.clone();
    let watching = tokio::spawn(async move { watched.damaged().await });
    let met = async {
        for n in 0..600 {
            let found = catalog.child(root, &format!("a-name-of-some-length-{n:06}")).await;
            if found.is_err_and(|error| error.is_corruption()) {
                return true;
            }
        }
        false
    };
    assert!(met.await, "no damaged page was met");
    assert!(watching.await.unwrap().contains("malformed"));
}
