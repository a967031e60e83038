//! Directories of many pages: read while they are listed, refreshed without making anybody wait.
//!
//! The store holds requests back until a test lets them go on: what is asserted in between does not
//! depend on who is faster.
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
};

use gateway::{
    catalog::NewKind,
    ids::{FileKind, Ino},
    vfs::{
        CreateHow, Credentials, DirPage, FsError, ReadDir, RequestContext, SetAttr, ShareFs, Vfs,
    },
};
use gateway_api::status::HealthEventKind;
use s3_store::{FaultAction, FaultRule, Hold};

use crate::world::{BUCKET, World};

/// Names of the directory `big`: a hundred pages of a listing.
const NAMES: usize = 100_000;

pub(crate) fn root_user() -> RequestContext {
    RequestContext {
        peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 900)),
        credentials: Credentials { uid: 0, gid: 0, groups: Vec::new() },
        request: None,
    }
}

fn name(number: usize) -> String {
    format!("f{number:05}")
}

/// A bucket with `p/big/`, of which nothing but its name is known.
async fn with_big(names: usize) -> (World, Vfs, Ino) {
    let w = World::new().await;
    for number in 0..names {
        w.foreign(&format!("p/big/{}", name(number)), b"x");
    }
    w.refresher.now(w.share.root).await.unwrap();
    let big = w.entry("big").await.unwrap().ino;
    let fs = w.mount();
    (w, fs, big)
}

/// Holds the listing's request after `pages` more of them.
fn hold_after(w: &World, pages: u64) -> Hold {
    let hold = Hold::new();
    let rule = FaultRule::new(FaultAction::Hold(hold.clone())).operation("ListObjectsV2");
    w.s3.faults().add(rule.skip(pages));
    hold
}

/// A client that reads a directory page by page.
struct Reader {
    cookie: u64,
    verifier: [u8; 8],
    entries_max: usize,
    want_attr: bool,
    names: Vec<String>,
}

impl Reader {
    fn new() -> Self {
        Self { cookie: 0, verifier: [0; 8], entries_max: 300, want_attr: false, names: Vec::new() }
    }

    async fn page(&mut self, fs: &Vfs, dir: Ino) -> Result<DirPage, FsError> {
        let ask = ReadDir {
            cookie: self.cookie,
            verifier: self.verifier,
            entries_max: self.entries_max,
            want_attr: self.want_attr,
        };
        let page = fs.readdir(&root_user(), dir, ask).await?;
        assert!(page.end || !page.entries.is_empty(), "neither names nor the end");
        for entry in &page.entries {
            assert!(entry.cookie > self.cookie);
            self.cookie = entry.cookie;
            self.names.push(String::from_utf8(entry.name.clone()).unwrap());
        }
        self.verifier = page.verifier;
        Ok(page)
    }

    async fn read_on(&mut self, fs: &Vfs, dir: Ino) {
        while !self.page(fs, dir).await.unwrap().end {}
    }

    /// Everything that was read, once each, without `.` and `..`.
    fn entries(&self) -> BTreeSet<&str> {
        let all: BTreeSet<&str> = self.names.iter().map(String::as_str).collect();
        assert_eq!(all.len(), self.names.len(), "a name twice");
        all.into_iter().filter(|name| !matches!(*name, "." | "..")).collect()
    }
}

/// Goal: the first names are there before the store has told the last; nothing is missing or twice in
/// the end; the directory does not change under its reader. Method: the third page is held back.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_read_while_its_first_listing_goes_on() {
    let (w, fs, big) = with_big(NAMES).await;
    let hold = hold_after(&w, 2);
    let before = fs.getattr(&root_user(), big).await.unwrap();
    let mut reader = Reader::new();
    while reader.names.len() < 2 + 2000 {
        let page = reader.page(&fs, big).await.unwrap();
        assert!(!page.end, "an end before the listing's");
        let unchanged = (page.dir.mtime, page.dir.ctime) == (before.mtime, before.ctime);
        assert!(unchanged, "a client would begin anew");
    }
    hold.come(1).await;
    assert_eq!(reader.entries().len(), 2000);
    assert!(w.catalog.inode(big).await.unwrap().listed_at.is_none());
    hold.open();
    reader.read_on(&fs, big).await;
    let expected: Vec<String> = (0..NAMES).map(name).collect();
    assert!(reader.entries().iter().copied().eq(expected.iter().map(String::as_str)));
    let after = fs.getattr(&root_user(), big).await.unwrap();
    assert_eq!(after.mtime, before.mtime, "nobody has changed it");
    assert!(after.ctime > before.ctime, "who has looked in vain is told");
    assert_eq!(w.requests("ListObjectsV2"), 1 + NAMES.div_ceil(1000) as u64);
}

/// Goal: a single name needs no whole listing. Method: everything after the first page is held back.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_looked_up_by_itself_while_the_listing_goes_on() {
    let (w, fs, big) = with_big(2500).await;
    w.foreign("p/big/f02000.d/x", b"x");
    w.foreign("p/big/f02000/x", b"x");
    let hold = hold_after(&w, 1);
    let who = root_user();
    Reader::new().page(&fs, big).await.unwrap();
    hold.come(1).await;
    let asked = w.requests("ListObjectsV2");
    let late = fs.lookup(&who, big, b"f02400").await.unwrap();
    assert_eq!((late.kind, late.size), (FileKind::File, 1));
    assert_eq!(fs.lookup(&who, big, b"f02400").await.unwrap().ino, late.ino);
    assert_eq!(w.requests("ListObjectsV2"), asked + 1, "then it is known");
    assert_eq!(fs.lookup(&who, big, b"f0240").await.unwrap_err(), FsError::NotFound);
    let both = fs.lookup(&who, big, b"f02000").await.unwrap();
    assert_eq!(both.kind, FileKind::Directory, "it wins over the object of its name");
    let guarded = CreateHow::Guarded(SetAttr::default());
    let created = fs.create(&who, big, b"f02300", guarded).await;
    assert_eq!(created.unwrap_err(), FsError::Exists);
    fs.create(&who, big, b"new", guarded).await.unwrap();
    hold.open();
    let mut reader = Reader::new();
    reader.read_on(&fs, big).await;
    assert!(reader.entries().is_superset(&["f00000", "f02400", "f02000.d", "new"].into()));
    assert_eq!(fs.lookup(&who, big, b"f02400").await.unwrap().ino, late.ino);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_breaks_off_ends_its_reader_with_an_error_and_removes_nothing() {
    let (w, fs, big) = with_big(3500).await;
    let fault = FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() };
    w.s3.faults().add(FaultRule::new(fault).operation("ListObjectsV2").skip(2).times(100));
    let mut reader = Reader::new();
    let error = loop {
        match reader.page(&fs, big).await {
            Ok(page) => assert!(!page.end, "the error would be taken for the end"),
            Err(error) => break error,
        }
    };
    assert_eq!(error, FsError::Access);
    assert_eq!(reader.entries().len(), 2000);
    assert_eq!(w.catalog.children(big, Ino(0), 5000).await.unwrap().len(), 2000);
    // The client asks again from where it was.
    w.s3.faults().clear();
    reader.read_on(&fs, big).await;
    assert_eq!(reader.entries().len(), 3500);
}

/// Goal: a refresh costs those who read nothing. Method: its second page is held back.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_directory_is_served_as_it_is_known_while_it_is_listed_again() {
    let (w, fs, big) = with_big(2500).await;
    let who = root_user();
    Reader::new().read_on(&fs, big).await;
    let known = fs.lookup(&who, big, b"f02000").await.unwrap();
    w.s3.delete(BUCKET, "p/big/f00001");
    w.foreign("p/big/a new one", b"1");
    w.foreign("p/big/f02000", b"longer");
    w.clock.advance_millis(5_000);
    let hold = hold_after(&w, 1);
    let before = fs.getattr(&who, big).await.unwrap();
    hold.come(1).await;
    let mut reader = Reader::new();
    reader.read_on(&fs, big).await;
    assert!(reader.entries().contains("f00001"), "known until the listing has ended");
    assert_eq!(fs.lookup(&who, big, b"f02000").await.unwrap(), known);
    assert_eq!(fs.lookup(&who, big, b"nothing").await.unwrap_err(), FsError::NotFound);
    hold.open();
    w.refresher.on_access(big).await.unwrap();
    let mut reader = Reader::new();
    reader.read_on(&fs, big).await;
    assert!(!reader.entries().contains("f00001") && reader.entries().contains("a new one"));
    let changed = fs.lookup(&who, big, b"f02000").await.unwrap();
    assert_eq!((changed.ino, changed.size), (known.ino, 6));
    assert!(fs.getattr(&who, big).await.unwrap().mtime > before.mtime);
}

/// Goal: a directory of one page is seen as S3 has it, and a store that does not answer is not waited
/// for without end.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_directory_is_refreshed_before_it_is_answered_unless_s3_is_slow() {
    let w = World::new().await;
    let (fs, who, root) = (w.mount(), root_user(), w.share.root);
    w.foreign("p/a", b"1");
    assert_eq!(fs.lookup(&who, root, b"b").await.unwrap_err(), FsError::NotFound);
    w.foreign("p/b", b"2");
    w.clock.advance_millis(5_000);
    fs.lookup(&who, root, b"b").await.unwrap();
    fs.lookup(&who, root, b"a").await.unwrap();
    w.clock.advance_millis(5_000);
    w.s3.delete(BUCKET, "p/a");
    let hold = hold_after(&w, 0);
    fs.lookup(&who, root, b"a").await.unwrap();
    hold.open();
    w.refresher.on_access(root).await.unwrap();
    assert_eq!(fs.lookup(&who, root, b"a").await.unwrap_err(), FsError::NotFound);
}

/// Goal: what the bucket has lost is absent, not a stale handle, which would be the directory's. Method:
/// the object goes between the listing and the question for its attributes.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_goes_before_it_is_looked_up_is_absent() {
    let w = World::new().await;
    w.foreign("p/a", b"1");
    w.refresher.now(w.share.root).await.unwrap();
    w.s3.delete(BUCKET, "p/a");
    let gone = w.mount().lookup(&root_user(), w.share.root, b"a").await;
    assert_eq!(gone.unwrap_err(), FsError::NotFound);
}

/// Goal: a directory that is too large to be listed is not listed again and again; it is said, and what is
/// in it can be used by name. Method: three pages are too many.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_too_many_pages_is_given_up_once() {
    let (mut w, fs, big) = with_big(3500).await;
    drop(fs);
    w.limit_pages(3);
    let (fs, who) = (w.mount(), root_user());
    let mut reader = Reader::new();
    let error = loop {
        match reader.page(&fs, big).await {
            Ok(page) => assert!(!page.end, "the error would be taken for the end"),
            Err(error) => break error,
        }
    };
    assert_eq!(error, FsError::Io);
    let said = w.events.list();
    let kinds: Vec<_> = said.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [HealthEventKind::DirectoryTooLarge]);
    let asked = w.requests("ListObjectsV2");
    assert_eq!(Reader::new().page(&fs, big).await.unwrap_err(), FsError::Io);
    assert_eq!(w.requests("ListObjectsV2"), asked, "known to be in vain");
    assert_eq!(fs.lookup(&who, big, b"f03400").await.unwrap().size, 1);
    assert_eq!(w.requests("ListObjectsV2"), asked + 1);
    let (gone, guarded) =
        (fs.lookup(&who, big, b"f0").await, CreateHow::Guarded(SetAttr::default()));
    assert_eq!(gone.unwrap_err(), FsError::NotFound);
    assert_eq!(fs.create(&who, big, b"f03401", guarded).await.unwrap_err(), FsError::Exists);
    // A command tries all the same, and so does an access when a day has passed.
    w.refresher.now(big).await.unwrap_err();
    w.clock.advance_millis(24 * 3_600_000);
    let asked = w.requests("ListObjectsV2");
    Reader::new().page(&fs, big).await.unwrap();
    w.refresher.on_access(big).await.unwrap_err();
    assert_eq!(w.requests("ListObjectsV2"), asked + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_of_a_directory_cost_no_listing_of_it() {
    let (w, fs, big) = with_big(3).await;
    let asked = w.requests("ListObjectsV2");
    assert_eq!(fs.getattr(&root_user(), big).await.unwrap().links, 1, "nobody knows yet");
    assert_eq!(w.requests("ListObjectsV2"), asked);
    Reader::new().read_on(&fs, big).await;
    assert_eq!(fs.getattr(&root_user(), big).await.unwrap().links, 2);
    assert_eq!(w.requests("ListObjectsV2"), asked + 1);
}

/// Goal: a page of which the bucket has lost every entry is not an empty one, which clients take for the
/// end or ask for for ever. Method: the first entries go between the listing and the questions for
/// their attributes. How many of the others one page holds depends on how many of the gone ones were
/// asked for ahead by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_entries_that_have_just_gone_is_passed_over() {
    let (w, fs, big) = with_big(10).await;
    w.refresher.now(big).await.unwrap();
    for number in 0..8 {
        w.s3.delete(BUCKET, &format!("p/big/{}", name(number)));
    }
    let mut reader = Reader { entries_max: 4, want_attr: true, ..Reader::new() };
    (reader.cookie, reader.verifier) = (2, *b"by-ino-1");
    reader.read_on(&fs, big).await;
    assert_eq!(reader.entries(), BTreeSet::from(["f00008", "f00009"]));
}

/// Goal: a HEAD that finds nothing takes no entry away unless a listing agrees: 404 to HEAD is also what a
/// missing bucket or a proxy says. Method: HEAD fails so while the object is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_finds_nothing_is_not_believed_alone() {
    let w = World::new().await;
    w.foreign("p/a", b"1");
    let (fs, who) = (w.mount(), root_user());
    for (status, code) in [(404, "NoSuchKey"), (404, "NoSuchBucket")] {
        let fault = FaultAction::FailBefore { status, code: code.to_owned() };
        // It is asked once more.
        w.s3.faults().add(FaultRule::new(fault).operation("HeadObject").times(2));
        let served = fs.lookup(&who, w.share.root, b"a").await.unwrap();
        assert_eq!((served.size, served.mode), (1, 0o666), "as the listing tells");
        assert_eq!(w.s3.faults().pending(), 0);
    }
    let fault = FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() };
    w.s3.delete(BUCKET, "p/a");
    w.s3.faults().add(FaultRule::new(fault).operation("ListObjectsV2"));
    fs.lookup(&who, w.share.root, b"a").await.unwrap();
    let gone = fs.lookup(&who, w.share.root, b"a").await;
    assert_eq!(gone.unwrap_err(), FsError::NotFound);
}

/// Goal: the same of a directory's attributes. Method: its object says other ones than the share, and is known of a listing;
/// HEAD fails while it is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_finds_no_object_of_a_directory_is_not_believed_alone() {
    let w = World::new().await;
    let dir = w.create(w.share.root, "d", NewKind::Directory).await;
    w.chmod(dir, 0o700).await;
    w.drain().await;
    let w = w.with_new_disk().await;
    let (fs, who) = (w.mount(), root_user());
    w.refresher.now(w.share.root).await.unwrap();
    w.refresher.now(w.entry("d").await.unwrap().ino).await.unwrap();
    let gone = FaultAction::FailBefore { status: 404, code: "NoSuchBucket".to_owned() };
    w.s3.faults().add(FaultRule::new(gone).operation("HeadObject"));
    fs.lookup(&who, w.share.root, b"d").await.unwrap();
    assert_eq!(w.s3.faults().pending(), 0);
    assert_eq!(fs.lookup(&who, w.share.root, b"d").await.unwrap().mode, 0o700);
}

/// Goal: a read that finds no object takes no entry away unless a listing agrees. Method: GET fails so while the object is
/// there, or HEAD after a GET that has met another object; then the object is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_finds_nothing_is_not_believed_alone() {
    let w = World::new().await;
    let ino = w.file("a", b"1").await;
    w.drain().await;
    w.evict(ino).await;
    let (fs, who) = (w.mount(), root_user());
    let fails = |operation: &str, status, code: &str| {
        let fault = FaultAction::FailBefore { status, code: code.to_owned() };
        w.s3.faults().add(FaultRule::new(fault).operation(operation));
    };
    fails("GetObject", 404, "NoSuchKey");
    assert_eq!(fs.read(&who, ino, 0, 1).await.unwrap_err(), FsError::TryLater);
    fails("GetObject", 412, "PreconditionFailed");
    fails("HeadObject", 404, "NoSuchBucket");
    assert_eq!(fs.read(&who, ino, 0, 1).await.unwrap_err(), FsError::TryLater);
    fails("GetObject", 404, "NoSuchKey");
    fails("ListObjectsV2", 403, "AccessDenied");
    fs.read(&who, ino, 0, 1).await.unwrap_err();
    assert_eq!(w.s3.faults().pending(), 0);
    assert_eq!(fs.read(&who, ino, 0, 1).await.unwrap().data, b"1".as_slice());
    // It would come to the cache after it was evicted.
    w.read(ino, 0..1).await;
    w.evict(ino).await;
    w.s3.delete(BUCKET, "p/a");
    // The fetch that brought it may hold it for a moment more.
    let is_gone = || async { fs.read(&who, ino, 0, 1).await.err() == Some(FsError::Stale) };
    w.until("nothing is found", is_gone).await;
}
