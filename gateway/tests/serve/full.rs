//! S3 is away until the cache disk is full of what it does not have, and comes back (semantics.md "When
//! something is wrong").
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use gateway_api::status::HealthEventKind;
use nfs3_client::nfs3_types::nfs3::{nfs_fh3, nfsstat3};
use s3_store::{FaultAction, FaultRule};

use crate::{
    BUCKET,
    crash::asked,
    mount::Mount,
    object_with, pattern,
    process::{Gateway, Home, settings, store, until},
};

/// Of which three quarters are given to writers.
const DISK_BYTES: u64 = 256 << 20;
/// A little more than nine tenths of these.
const NEARLY_FULL_BYTES: usize = 174 << 20;
const WRITE_BYTES: usize = 1 << 20;
/// Writes that make one file, which goes to S3 in one request.
const WRITES: usize = 8;
/// What a write of [`WRITE_BYTES`] waits for at least from nine tenths on: two thirds of the time that it takes
/// at 4 MiB/s, which uploads are taken to do when they do nothing.
const SLOWED: Duration = Duration::from_millis(160);

/// A client that writes one file after the other, and knows what was acknowledged.
struct Writer {
    share: Mount,
    file: Option<nfs_fh3>,
    /// By name; the last is being written.
    acknowledged: BTreeMap<String, Vec<u8>>,
}

impl Writer {
    fn new(gateway: &Gateway) -> Self {
        let share = Mount::new(gateway.port, "sales");
        Self { share, file: None, acknowledged: BTreeMap::new() }
    }

    fn bytes(&self) -> usize {
        self.acknowledged.values().map(Vec::len).sum()
    }

    /// Writes the next bytes and commits them.
    fn write(&mut self) -> Result<(), nfsstat3> {
        let number = self.bytes() / WRITE_BYTES;
        let name = format!("big{:03}", number / WRITES);
        let file = match self.file.take().filter(|_| !number.is_multiple_of(WRITES)) {
            Some(file) => file,
            None => self.share.create(&name),
        };
        let written = self.acknowledged.entry(name).or_default();
        let content = pattern(WRITE_BYTES, number.to_le_bytes()[0]);
        let wrote = self.share.try_write(&file, written.len() as u64, &content);
        if wrote.is_ok() {
            self.share.commit(&file);
            written.extend(content);
        }
        self.file = Some(file);
        wrote
    }

    /// What goes on whatever the disk and S3 do: COMMIT, REMOVE, and READ of what is here.
    fn goes_on(&mut self, removed: &str) {
        let file = self.file.clone().expect("something is being written");
        self.share.commit(&file);
        self.share.remove(removed);
        assert!(!self.share.list("").contains(&removed.to_owned()));
        let ends = [self.acknowledged.first_key_value(), self.acknowledged.last_key_value()];
        for (name, content) in ends.into_iter().flatten() {
            assert!(self.share.read(name).is_ok_and(|read| read == *content), "{name}");
        }
    }
}

/// Writers are slowed, then told to come again, then that there is no space; what was accepted can be
/// committed, read and removed all the time. When S3 is back all of it arrives, and writers go on, without a
/// restart or a command.
#[test]
fn a_cache_that_fills_up_while_s3_is_away_drains_when_it_is_back() {
    let (store, home) = (store(), Home::new());
    let gateway =
        Gateway::start_on(&home, &settings(&store), None, Some(DISK_BYTES)).expect("it serves");
    asked(&gateway);
    let mut writer = Writer::new(&gateway);
    for name in ["gone1", "gone2", "gone3"] {
        writer.share.write(name, b"in S3");
    }
    gateway.flush();
    let unavailable =
        FaultAction::FailBefore { status: 503, code: "ServiceUnavailable".to_owned() };
    store.faults().add(FaultRule::new(unavailable).key_prefix("onprem/big").times(u64::MAX));
    let is_said = || {
        let events = gateway.status().events;
        events.iter().any(|event| event.kind == HealthEventKind::CacheFull)
    };
    while writer.bytes() < NEARLY_FULL_BYTES {
        writer.write().expect("there is room");
    }
    until("it is said that the cache is nearly full", || is_said().then_some(()));
    let begun = Instant::now();
    for _ in 0..3 {
        writer.write().expect("there is room");
    }
    assert!(begun.elapsed() >= 3 * SLOWED, "not slowed: {:?}", begun.elapsed());
    writer.goes_on("gone1");
    // The last that S3 takes: for a minute from here on writers are given hope.
    writer.share.write("tick", b"the last");
    object_with(&store, "tick", b"the last");
    store.faults().add(FaultRule::new(FaultAction::DropBefore).times(u64::MAX));
    let put_off = until("the disk is full", || writer.write().err());
    assert_eq!(put_off, nfsstat3::NFS3ERR_JUKEBOX);
    writer.goes_on("gone2");
    let refused = until("S3 is given up", || match writer.write() {
        Ok(()) | Err(nfsstat3::NFS3ERR_JUKEBOX) => None,
        Err(refused) => Some(refused),
    });
    assert_eq!(refused, nfsstat3::NFS3ERR_NOSPC);
    writer.goes_on("gone3");
    let full = writer.bytes();
    assert!(gateway.status().upload.dirty_bytes.0 >= full as u64, "something was not at risk");
    store.faults().clear();
    until("writers go on", || writer.write().ok());
    until("everything is in S3", || gateway.status().upload.is_idle().then_some(()));
    for _ in 0..3 * WRITES {
        until("there is room", || writer.write().ok());
    }
    gateway.flush();
    for (name, content) in &writer.acknowledged {
        object_with(&store, name, content);
    }
    assert_eq!(store.keys(BUCKET).len(), writer.acknowledged.len() + 1, "and the last before");
}
