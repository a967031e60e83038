//! S3 is away until the cache disk is full of what it does not have, and comes back (semantics.md "When
//! something is wrong").
//!
//! The disk is a file system of its own, on which the catalog is as well: what is kept free for it must be enough,
//! also where each file has few bytes, of which it is full before their bytes come to much. Where none can be mounted,
//! it is counted off a larger one. One round with large files; `TIDEGATE_ROUNDS` of them, every other one with small
//! files, with `cargo prove full`.
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    time::{Duration, Instant},
};

use gateway_api::status::HealthEventKind;
use nfs3_client::nfs3_types::nfs3::{nfs_fh3, nfsstat3};
use nix::sys::statvfs::statvfs;
use s3_store::{FaultAction, FaultRule, S3Store};

use crate::{
    BUCKET,
    crash::asked,
    kills::number,
    mount::Mount,
    object_with, pattern,
    process::{Gateway, Home, PATIENCE, in_namespaces, settings, store, until},
};

/// Of which three quarters are given to writers.
const DISK_BYTES: u64 = 256 << 20;
/// A little more than nine tenths of these.
const NEARLY_FULL_BYTES: u64 = 174 << 20;
/// Of dirty bytes, before they are nearly so many.
const WRITTEN_BETWEEN_LOOKS: usize = 1 << 20;
/// What a large write waits for at least from nine tenths on: two thirds of the time that it takes at 4 MiB/s, which
/// uploads are taken to do when they do nothing.
const SLOWED: Duration = Duration::from_millis(160);
/// A disk that is full takes names all the same: so many.
const NAMES: usize = 300;

/// Mounts the cache disk, then becomes the program.
const ON_A_DISK_OF_ITS_OWN: &str =
    "mount -t tmpfs -o \"size=$1\" tmpfs \"$2\" && shift 2 && exec \"$@\"";

/// What a client writes.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// Bytes of one WRITE.
    bytes: usize,
    /// WRITEs that make one file, which goes to S3 in one request.
    writes: usize,
}

const LARGE: Kind = Kind { bytes: 1 << 20, writes: 8 };
const SMALL: Kind = Kind { bytes: 4 << 10, writes: 1 };

/// A client that writes one file after the other, and knows what was acknowledged.
struct Writer {
    share: Mount,
    kind: Kind,
    /// How many WRITEs were acknowledged.
    done: usize,
    file: Option<nfs_fh3>,
    /// By name; the last is being written.
    acknowledged: BTreeMap<String, Vec<u8>>,
}

impl Writer {
    fn new(gateway: &Gateway, kind: Kind) -> Self {
        let share = Mount::new(gateway.port, "sales");
        Self { share, kind, done: 0, file: None, acknowledged: BTreeMap::new() }
    }

    fn bytes(&self) -> usize {
        self.done * self.kind.bytes
    }

    /// Writes the next bytes and commits them.
    fn write(&mut self) -> Result<(), nfsstat3> {
        let name = format!("big{:05}", self.done / self.kind.writes);
        let file = match self.file.take().filter(|_| !self.done.is_multiple_of(self.kind.writes)) {
            Some(file) => file,
            None => self.share.create(&name),
        };
        let written = self.acknowledged.entry(name).or_default();
        let content = pattern(self.kind.bytes, self.done.to_le_bytes()[0]);
        let wrote = self.share.try_write(&file, written.len() as u64, &content);
        if wrote.is_ok() {
            self.share.commit(&file);
            written.extend(content);
            self.done += 1;
        }
        self.file = Some(file);
        wrote
    }

    /// Writes until that is refused, and why it is.
    fn fill(&mut self) -> nfsstat3 {
        let begun = Instant::now();
        loop {
            if let Err(refused) = self.write() {
                return refused;
            }
            assert!(begun.elapsed() < PATIENCE, "{} bytes, and no end", self.bytes());
        }
    }

    /// What goes on whatever the disk and S3 do: COMMIT, REMOVE, and READ of what is here.
    fn goes_on(&mut self, removed: &str) {
        let file = self.file.clone().expect("something is being written");
        self.share.commit(&file);
        self.share.remove(removed);
        assert!(self.share.lookup(removed).is_err());
        let ends = [self.acknowledged.first_key_value(), self.acknowledged.last_key_value()];
        for (name, content) in ends.into_iter().flatten() {
            assert!(self.share.read(name).is_ok_and(|read| read == *content), "{name}");
        }
    }
}

/// A gateway on a disk of [`DISK_BYTES`], and whether that is a file system of its own.
fn start(home: &Home, settings: &str) -> (Gateway, bool) {
    let Some(mut words) = in_namespaces(ON_A_DISK_OF_ITS_OWN) else {
        let gateway = Gateway::start_on(home, settings, None, Some(DISK_BYTES));
        return (gateway.expect("it serves"), false);
    };
    let cache = home.path("cache");
    fs::create_dir(&cache).expect("nothing is there");
    words.extend([OsString::from(DISK_BYTES.to_string()), cache.into_os_string()]);
    (Gateway::start_under(home, settings, &words), true)
}

/// Bytes that are free on the gateway's cache disk.
fn free(gateway: &Gateway, home: &Home) -> u64 {
    let cache = home.path("cache");
    let seen = format!("/proc/{}/root{}", gateway.pid(), cache.display());
    let disk = statvfs(seen.as_str()).expect("it is there");
    disk.blocks_available() * disk.fragment_size()
}

/// When it was last said that the cache is nearly full.
fn said_full(gateway: &Gateway) -> Option<i64> {
    let events = gateway.status().events;
    let full = events.iter().filter(|event| event.kind == HealthEventKind::CacheFull);
    full.map(|event| event.at_unix_seconds).max()
}

/// Writers are slowed, then told to come again, then that there is no space; what was accepted can be
/// committed, read and removed all the time, and names be made. When S3 is back all of it arrives, and writers go on,
/// without a restart or a command.
#[test]
fn a_cache_that_fills_up_while_s3_is_away_drains_when_it_is_back() {
    let rounds = number("TIDEGATE_ROUNDS", 1);
    let (store, home) = (store(), Home::new());
    let (gateway, is_own) = start(&home, &settings(&store));
    asked(&gateway);
    for (round, kind) in (1..=rounds).zip([LARGE, SMALL].into_iter().cycle()) {
        let (written, least_free) = fill_and_drain(&gateway, &home, &store, (kind, round == 1));
        assert!(
            !is_own || (1..DISK_BYTES / 2).contains(&least_free),
            "{least_free} bytes are left"
        );
        eprintln!(
            "proof: round {round}: full with {written} bytes in files of {}, {least_free} bytes were free; all are in S3",
            kind.bytes * kind.writes
        );
    }
}

/// One round; how many bytes were written while S3 was away, and how many of the disk were left.
fn fill_and_drain(
    gateway: &Gateway,
    home: &Home,
    store: &S3Store,
    (kind, is_first): (Kind, bool),
) -> (usize, u64) {
    let mut writer = Writer::new(gateway, kind);
    for name in ["gone1", "gone2", "gone3"] {
        writer.share.write(name, b"in S3");
    }
    gateway.flush();
    let unavailable =
        FaultAction::FailBefore { status: 503, code: "ServiceUnavailable".to_owned() };
    store.faults().add(FaultRule::new(unavailable).key_prefix("onprem/big").times(u64::MAX));
    until("the cache is nearly full", || {
        if gateway.status().upload.dirty_bytes.0 >= NEARLY_FULL_BYTES {
            return Some(());
        }
        let many = WRITTEN_BETWEEN_LOOKS / kind.bytes;
        let refused = (0..many).find_map(|_| writer.write().err())?;
        assert_eq!(refused, nfsstat3::NFS3ERR_JUKEBOX);
        Some(())
    });
    // Again, if it was said in the round before: by a look since.
    let said = said_full(gateway);
    until("that is said", || (said_full(gateway) > said).then_some(()));
    writer.goes_on("gone1");
    let begun = Instant::now();
    // The catalog is as large as it ever was: after a round of small files there may be no room for these any more.
    let has_room = kind.writes > 1 && (0..3).all(|_| writer.write().is_ok());
    assert!(has_room || !is_first, "there was no room although the cache was only nearly full");
    if has_room {
        assert!(begun.elapsed() >= 3 * SLOWED, "not slowed: {:?}", begun.elapsed());
        // The last that S3 takes: for a minute from here on writers are given hope.
        writer.share.write("gone4", b"the last");
        object_with(store, "gone4", b"the last");
    }
    store.faults().add(FaultRule::new(FaultAction::DropBefore).times(u64::MAX));
    let put_off = writer.fill();
    // How long ago S3 last took something depends on how long it took to fill the disk with so many.
    assert!(put_off == nfsstat3::NFS3ERR_JUKEBOX || !has_room, "{put_off:?}");
    writer.goes_on("gone2");
    let refused = until("S3 is given up", || match writer.write() {
        Ok(()) | Err(nfsstat3::NFS3ERR_JUKEBOX) => None,
        Err(refused) => Some(refused),
    });
    assert_eq!(refused, nfsstat3::NFS3ERR_NOSPC);
    writer.goes_on("gone3");
    for name in 0..NAMES {
        writer.share.create(&format!("empty{name}"));
    }
    let (full, least_free) = (writer.bytes(), free(gateway, home));
    assert!(gateway.status().upload.dirty_bytes.0 >= full as u64, "something was not at risk");
    store.faults().clear();
    until("writers go on", || writer.write().ok());
    until("everything is in S3", || gateway.status().upload.is_idle().then_some(()));
    for _ in 0..3 * kind.writes {
        until("there is room", || writer.write().ok());
    }
    gateway.flush();
    for (name, content) in &writer.acknowledged {
        object_with(store, name, content);
    }
    if has_room {
        writer.share.remove("gone4");
        gateway.flush();
    }
    assert_eq!(store.keys(BUCKET).len(), writer.acknowledged.len() + NAMES, "and nothing else");
    let others = (0..NAMES).map(|n| format!("empty{n}"));
    let written: Vec<String> = writer.acknowledged.keys().cloned().chain(others).collect();
    written.iter().for_each(|name| writer.share.remove(name));
    gateway.flush();
    assert_eq!(store.keys(BUCKET), Vec::<String>::new());
    (full, least_free)
}
