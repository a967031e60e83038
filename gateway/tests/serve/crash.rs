//! The process ends at each crash point, one after the other: nothing acknowledged is lost, and the bucket
//! becomes the tree.
//!
//! Each point is met by the same work, or by a start after such work; one that is not met fails its test.
//! An operation that was under way may have been done or not.
//!
//! `TIDEGATE_COMINGS` ends the process at each coming of each point, up to that many, and so in whichever operation
//! passes it; `cargo prove crash-points` sets it. Without, at those of `comings`.
use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::process::ExitStatusExt,
    panic::AssertUnwindSafe,
    process::ExitStatus,
};

use gateway::failpoint::Point;
use gateway_api::status::Ability;
use nix::sys::signal::Signal;
use s3_store::{FaultAction, FaultRule, S3Store};

use crate::{
    BUCKET, keys,
    kills::number,
    mount::Mount,
    pattern,
    process::{Gateway, Home, settings, store, until},
};

/// More than one request takes: two parts.
const LARGE: usize = (17 << 20) + 5;

/// Operations whose points one test goes through, so that several do it side by side.
const GROUPS: [&[&str]; 6] = [
    &["catalog"],
    &["burst", "commit", "settle"],
    &["resize", "remove", "fetch", "rename"],
    &["upload"],
    &["recovery"],
    &["evict"],
];

/// A cache disk on which the work's second large file, which stays dirty, leaves no room for the first.
const SMALL_DISK: u64 = 44 << 20;

/// How often a point is passed before the process ends there: some are passed by many operations.
fn comings(point: Point) -> &'static [u64] {
    match point {
        // The first two are of the start.
        Point::CatalogAfterChanges | Point::CatalogAfterLog | Point::CatalogAfterCommit => {
            &[1, 2, 5, 9, 14, 20]
        }
        Point::UploadAfterPut | Point::UploadAfterFinish | Point::EvictAfterCatalog => &[1, 3],
        _ => &[1],
    }
}

/// Parts leave the cache only where there is little room.
fn cache_bytes(point: Point) -> Option<u64> {
    (operation(point) == "evict").then_some(SMALL_DISK)
}

fn operation(point: Point) -> &'static str {
    point.name().split("_after_").next().expect("a part before any separator")
}

fn points(group: &[&str]) -> Vec<Point> {
    Point::ALL.iter().copied().filter(|point| group.contains(&operation(*point))).collect()
}

/// Files by their paths; what they hold, where that is known.
type Files = BTreeMap<String, Option<Vec<u8>>>;

/// What the gateway has acknowledged.
#[derive(Debug, Default)]
struct Told {
    files: Files,
    dirs: BTreeSet<String>,
    /// As it is if the operation under way is done.
    maybe: Option<Files>,
}

/// A client that notes what it was told.
struct Client<'t> {
    share: Mount,
    told: &'t mut Told,
}

impl Client<'_> {
    /// Does `operation`, which leads to `files` if it is done.
    fn change(&mut self, files: Files, operation: impl FnOnce(&mut Mount)) {
        self.told.maybe = Some(files);
        operation(&mut self.share);
        self.told.files = self.told.maybe.take().expect("it was said above");
    }

    /// Nobody knows what a file holds while it is written.
    fn filling(&mut self, path: &str, content: Vec<u8>, operation: impl FnOnce(&mut Mount)) {
        if let Some(before) = self.told.files.get_mut(path) {
            *before = None;
        }
        let mut files = self.told.files.clone();
        files.insert(path.to_owned(), None);
        self.change(files, operation);
        self.told.files.insert(path.to_owned(), Some(content));
    }

    fn write(&mut self, path: &str, content: &[u8]) {
        self.filling(path, content.to_vec(), |share| share.write(path, content));
    }

    fn write_into(&mut self, path: &str, at: usize, bytes: &[u8]) {
        let mut content = self.told.files[path].clone().expect("its content is known");
        content[at..at + bytes.len()].copy_from_slice(bytes);
        self.filling(path, content, |share| {
            let file = share.lookup(path).expect("it is there");
            share.write_at(&file, at as u64, bytes);
        });
    }

    fn mkdir(&mut self, path: &str) {
        self.share.mkdir(path);
        self.told.dirs.insert(path.to_owned());
    }

    /// Renames a file, or a directory with what is below it.
    fn rename(&mut self, from: &str, to: &str) {
        let moved = |path: &str| match path.strip_prefix(from) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{to}{rest}"),
            _ => path.to_owned(),
        };
        let files = self.told.files.iter().map(|(path, c)| (moved(path), c.clone())).collect();
        let dirs = self.told.dirs.iter().map(|path| moved(path)).collect();
        // Either name, until it is acknowledged.
        let before = std::mem::take(&mut self.told.dirs);
        self.told.dirs = before.intersection(&dirs).cloned().collect();
        self.change(files, |share| share.rename(from, to));
        self.told.dirs = dirs;
    }

    fn remove(&mut self, path: &str) {
        let mut files = self.told.files.clone();
        files.remove(path);
        self.change(files, |share| share.remove(path));
    }

    fn read(&mut self, path: &str) {
        let content = self.share.read(path).expect("it can be read");
        assert!(self.told.files[path].as_ref() == Some(&content), "{path} holds something else");
    }
}

/// Waits until the gateway has asked the bucket what it can do: that takes uploads of its own.
pub(crate) fn asked(gateway: &Gateway) {
    until("the bucket was asked", || {
        (gateway.status().shares[0].capabilities.crc64nvme != Ability::Unknown).then_some(())
    });
}

fn refuse(store: &S3Store, operation: &str) {
    let refused = FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() };
    store.faults().add(FaultRule::new(refused).operation(operation).times(u64::MAX));
}

/// Goes through every operation of a file's life. Panics where the gateway does not answer any more.
fn work(gateway: &Gateway, store: &S3Store, told: &mut Told) {
    asked(gateway);
    let mut client = Client { share: Mount::new(gateway.port, "sales"), told };
    client.mkdir("d");
    client.write("small", b"carried with its row");
    client.write("medium", &pattern(300_000, 1));
    client.write("d/inner", b"below");
    client.write("victim", b"to be removed");
    gateway.flush();
    client.write_into("medium", 100_000, &pattern(50_000, 2));
    client.rename("small", "moved");
    client.rename("d", "e");
    client.remove("victim");
    client.read("cold");
    gateway.flush();
    client.write("moved", b"other words");
    client.write("large", &pattern(LARGE, 3));
    gateway.flush();
    refuse(store, "UploadPart");
    client.write("doomed", &pattern(LARGE, 4));
    until("its upload has begun", || {
        gateway.status();
        (store.uploads_in_progress(BUCKET) > 0).then_some(())
    });
    client.remove("doomed");
    store.faults().clear();
    gateway.flush();
}

/// The files and directories of the share, as a client sees them.
pub(crate) fn tree(share: &mut Mount) -> (BTreeMap<String, Vec<u8>>, BTreeSet<String>) {
    share.tree()
}

/// Whether the tree has these files and no other.
fn is_as(files: &BTreeMap<String, Vec<u8>>, told: &Files) -> bool {
    let holds = |path: &String, content: &Vec<u8>| {
        told.get(path).is_some_and(|known| known.as_ref().is_none_or(|known| known == content))
    };
    files.len() == told.len() && files.iter().all(|(path, content)| holds(path, content))
}

/// Starts the gateway again and looks: at its files, then, when all is in S3, at the bucket.
fn check(home: &Home, store: &S3Store, told: &Told, at: &str) {
    store.faults().clear();
    let gateway = Gateway::start(home, &settings(store));
    asked(&gateway);
    let (files, dirs) = tree(&mut Mount::new(gateway.port, "sales"));
    let fits = is_as(&files, &told.files) || told.maybe.as_ref().is_some_and(|m| is_as(&files, m));
    let sizes = |files: &Files| -> Vec<_> {
        files.iter().map(|(path, c)| (path.clone(), c.as_ref().map(Vec::len))).collect()
    };
    let found: Vec<_> = files.iter().map(|(path, content)| (path, content.len())).collect();
    assert!(
        fits,
        "{at}: there is {found:?}, told {:?} or {:?}",
        sizes(&told.files),
        told.maybe.as_ref().map(sizes)
    );
    assert!(dirs.is_superset(&told.dirs), "{at}: {dirs:?} of {:?}", told.dirs);

    gateway.flush();
    let markers = dirs.iter().map(|dir| format!("onprem/{dir}/"));
    let mut expected: Vec<_> =
        files.keys().map(|path| format!("onprem/{path}")).chain(markers).collect();
    expected.sort();
    assert_eq!(keys(store), expected, "{at}");
    for (path, content) in &files {
        let object = store.object(BUCKET, &format!("onprem/{path}")).expect("listed above");
        assert!(object.body == *content, "{at}: {path} is another one in the bucket");
    }
    // Its id was with the process alone (semantics.md, "One file is one object").
    let lost = match at.split_once(':') {
        Some((point, _)) if point == Point::UploadAfterCreate.name() => 1..=1,
        // Where the catalog was to be told of it.
        Some((point, _)) if point.starts_with("catalog_") => 0..=1,
        _ => 0..=0,
    };
    assert!(lost.contains(&store.uploads_in_progress(BUCKET)), "{at}: uploads under way");
    assert!(gateway.status().upload.is_idle(), "{at}");
}

pub(crate) fn aborted(status: ExitStatus, at: &str) {
    assert_eq!(status.signal(), Some(Signal::SIGABRT as i32), "{at}: {status}");
}

/// A bucket with an object that nobody has read.
fn bucket() -> (S3Store, Told) {
    let (store, mut told) = (store(), Told::default());
    let cold = pattern((3 << 20) + 7, 9);
    store.put(BUCKET, "onprem/cold", &cold);
    told.files.insert("cold".to_owned(), Some(cold));
    (store, told)
}

/// Works until the process ends at the point; `false` where the work `may_miss` it, as it comes less often.
fn end_at(point: Point, nth: u64, may_miss: bool) -> bool {
    let at = format!("{}:{nth}", point.name());
    let ((store, mut told), home) = (bucket(), Home::new());
    let started = Gateway::start_on(&home, &settings(&store), Some(&at), cache_bytes(point));
    let status = match started {
        Err(status) => status,
        Ok(gateway) => {
            // It ends under the work, which fails then, or in the background after it.
            let worked = std::panic::catch_unwind(AssertUnwindSafe(|| {
                work(&gateway, &store, &mut told);
            }));
            if may_miss && worked.is_ok() {
                gateway.stop()
            } else {
                gateway.ended(&format!("{at} is reached; the work ended well: {}", worked.is_ok()))
            }
        }
    };
    if may_miss && status.success() {
        return false;
    }
    aborted(status, &at);
    check(&home, &store, &told, &at);
    true
}

fn end_at_all(group: &[&str]) {
    let most = number("TIDEGATE_COMINGS", 0);
    for point in points(group) {
        for nth in comings(point).iter().filter(|nth| **nth > most) {
            end_at(point, *nth, false);
        }
        let ends = (1..=most).take_while(|nth| end_at(point, *nth, *nth > 1)).count();
        if most > 0 {
            eprintln!("proof: {}: {ends} times, violations: 0", point.name());
        }
    }
}

#[test]
fn crash_every_point_has_its_test() {
    let tested: usize = GROUPS.iter().map(|group| points(group).len()).sum();
    assert_eq!(tested, Point::ALL.len());
}

#[test]
fn crash_between_the_steps_of_the_catalog() {
    end_at_all(GROUPS[0]);
}

#[test]
fn crash_between_the_steps_of_writes_and_commits() {
    end_at_all(GROUPS[1]);
}

#[test]
fn crash_between_the_steps_of_fetches_and_changes_of_names_and_sizes() {
    end_at_all(GROUPS[2]);
}

#[test]
fn crash_between_the_steps_of_uploads() {
    end_at_all(GROUPS[3]);
}

/// A part is off the disk, or is not, while the catalog knows nothing of it any more.
#[test]
fn crash_between_the_steps_of_evictions() {
    end_at_all(GROUPS[5]);
}

/// A gateway that was killed in the middle of things while S3 refused files.
fn cut_off() -> (S3Store, Told, Home) {
    let ((store, mut told), home) = (bucket(), Home::new());
    let gateway = Gateway::start(&home, &settings(&store));
    asked(&gateway);
    let mut client = Client { share: Mount::new(gateway.port, "sales"), told: &mut told };
    client.read("cold");
    refuse(&store, "PutObject");
    client.mkdir("d");
    client.write("d/small", b"carried with its row");
    client.write("medium", &pattern(300_000, 1));
    client.write("removed", &pattern(100_000, 2));
    client.remove("removed");
    client.write("open", &pattern(100_000, 3));
    let file = client.share.lookup("open").expect("it is there");
    client.share.write_unstable(&file, 50_000, &pattern(100_000, 4));
    client.told.files.insert("open".to_owned(), None);
    drop(client);
    gateway.kill();
    (store, told, home)
}

/// A start that ends at this step.
fn start_in_vain(store: &S3Store, home: &Home, at: &str) {
    match Gateway::start_armed(home, &settings(store), Some(at)) {
        Err(status) => aborted(status, at),
        Ok(_) => panic!("{at} was not reached"),
    }
}

/// A start that ends at each of its steps, after an end in the middle of things.
#[test]
fn crash_between_the_steps_of_a_start() {
    for point in points(GROUPS[4]) {
        let (store, told, home) = cut_off();
        store.faults().clear();
        start_in_vain(&store, &home, point.name());
        check(&home, &store, &told, point.name());
    }
}

/// Goal: however often a start is cut off, the next one has all that was acknowledged. Method: it ends at each of
/// its steps, one start after the other on one cache, in the order of the steps and then backwards.
#[test]
fn crash_one_start_after_the_other_at_each_of_its_steps() {
    let (store, told, home) = cut_off();
    let steps = points(GROUPS[4]);
    let starts: Vec<Point> = steps.iter().chain(steps.iter().rev()).copied().collect();
    assert!(starts.len() >= 5, "that is no row of crashes: {starts:?}");
    for point in starts {
        start_in_vain(&store, &home, point.name());
    }
    check(&home, &store, &told, "eight starts in a row");
}
