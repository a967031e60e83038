//! Mixed load without an end, under an S3 that refuses, forgets to answer, cuts bodies off, and goes away altogether:
//! no byte is lost or wrong, nothing is left in the bucket, and the process does not grow. The clock jumps, and the cache
//! disk changes bits of what S3 has.
//!
//! The clients are those of the kills; nothing is killed. `TIDEGATE_CALLS` answered calls (some hundreds without), from
//! the seed `TIDEGATE_SEED` (1 without); `cargo prove soak` sets them.
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gateway_api::status::HealthEventKind;
use s3_store::{FaultAction, FaultRule, S3Store};

use super::{
    CLIENTS, Seen, WORK,
    client::{Client, Manifest},
    compare_bucket,
    dice::Dice,
    number, settle, work_until,
};
use crate::{
    crash::{asked, tree},
    held::Held,
    mount::Mount,
    process::{Gateway, Home, settings, store, until},
};

/// Calls of the short form.
const CALLS: u64 = 600;
/// Answered calls while S3 is in one mood.
const SPELL: usize = 60;
/// The moods, one after the other: the first comparison is after all of them.
const MOODS: &[Mood] = &[Mood::Fair, Mood::Mixed, Mood::Denied, Mood::Mixed, Mood::Gone];
/// Spells before what the process has is taken for the measure.
const SPELLS_WARM: u64 = 5;
/// Bits that the cache disk changes before everything is read.
const FLIPS: usize = 16;
/// By how many seconds the clock is wrong at most: ten years.
const JUMP_SECONDS_MAX: usize = 10 * 365 * 86_400;
/// File descriptors that it may have more than then: connections come and go.
const DESCRIPTORS_MORE: usize = 128;
/// Memory that it may have more than then. What the allocator keeps is a few MiB; buffers that it kept were hundreds.
const RESIDENT_KIB_MORE: u64 = 64 << 10;

/// What S3 may have done although nobody heard of it. Not CreateMultipartUpload: what that leaves is swept up when it is
/// days old.
const DONE_UNHEARD: [&str; 9] = [
    "PutObject",
    "CopyObject",
    "DeleteObject",
    "UploadPart",
    "UploadPartCopy",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
    "HeadObject",
    "ListObjectsV2",
];

/// How S3 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Fair,
    /// A bit of everything.
    Mixed,
    /// Nobody may do anything.
    Denied,
    /// There is no such bucket.
    Gone,
}

/// Rules of the mood.
fn set(store: &S3Store, mood: Mood, dice: &mut Dice) {
    let faults = store.faults();
    faults.clear();
    let mut often = |rule: FaultRule, per_mille| {
        faults.add(rule.times(u64::MAX).chance(per_mille, dice.seed()));
    };
    let fails = |status, code: &str| {
        FaultRule::new(FaultAction::FailBefore { status, code: code.to_owned() })
    };
    match mood {
        Mood::Fair => {}
        Mood::Denied => often(fails(403, "AccessDenied"), 1000),
        Mood::Gone => often(fails(404, "NoSuchBucket"), 1000),
        Mood::Mixed => {
            let failed = FaultAction::FailAfter { status: 500, code: "InternalError".to_owned() };
            for operation in DONE_UNHEARD {
                often(FaultRule::new(failed.clone()).operation(operation), 50);
                often(FaultRule::new(FaultAction::DropAfter).operation(operation), 10);
            }
            often(FaultRule::new(FaultAction::DropBefore), 10);
            often(fails(409, "ConditionalRequestConflict").operation("PutObject"), 5);
            often(FaultRule::new(FaultAction::Delay(Duration::from_millis(30))), 20);
            let short = FaultRule::new(FaultAction::ShortBody { bytes: 100 });
            often(short.operation("GetObject"), 10);
            often(fails(503, "SlowDown"), 200);
        }
    }
}

/// Turns bits of cache files around, one in each of some; answers how many. S3 has everything. A hole is nowhere on the
/// disk, which cannot damage it.
fn flip(home: &Home, dice: &mut Dice) -> usize {
    let data = home.path("cache").join("data");
    let list = |dir| {
        fs::read_dir(dir).expect("it is a directory").map(|entry| entry.expect("it is read").path())
    };
    let mut files: Vec<_> = list(data).flat_map(list).collect();
    files.sort();
    let mut places = Vec::new();
    for _ in 0..FLIPS.min(files.len()) {
        let path = files.swap_remove(dice.below(files.len()));
        // What is evicted or removed meanwhile needs no other bits.
        let Ok(file) = File::options().read(true).write(true).open(&path) else { continue };
        let size =
            usize::try_from(file.metadata().expect("it is open").len()).expect("it is small");
        if size == 0 {
            continue;
        }
        let (at, mut byte) = (dice.below(size) as u64, [0]);
        let Ok(at) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) else { continue };
        file.read_exact_at(&mut byte, at).expect("it is so long");
        file.write_all_at(&[byte[0] ^ 1 << dice.below(8)], at).expect("it can be written");
        places.push(format!("{}: {at} of {size}", path.file_name().expect("a file").display()));
    }
    eprintln!("bits flipped in {places:?}");
    places.len()
}

/// How often the gateway says that the cache disk has changed bytes.
fn damage_told(gateway: &Gateway) -> usize {
    let events = gateway.status().events;
    events.iter().filter(|event| event.kind == HealthEventKind::CacheDamaged).count()
}

/// Makes the gateway's clock wrong by some seconds or some years; answers by how many seconds.
fn jump(clock: &Path, dice: &mut Dice) -> i64 {
    let most = [0, 120, 3 * 86_400, JUMP_SECONDS_MAX][dice.below(4)];
    let seconds = dice.below(2 * most + 1) as i64 - most as i64;
    // At once: it is read all the time.
    let new = clock.with_extension("new");
    fs::write(&new, seconds.to_string()).expect("it can be written");
    fs::rename(new, clock).expect("it can be renamed");
    seconds
}

/// By how many seconds the time of a new file is wrong.
fn seen_wrong_by(port: u16) -> u64 {
    let mut share = Mount::new(port, "sales");
    share.write("clock", b"?");
    let made = share.getattr("clock").mtime.seconds;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs();
    now.abs_diff(made.into())
}

/// Another gateway on an empty disk sees what this one does, though S3's bodies are cut off now and then.
fn compare_other(gateway: &Gateway, store: &S3Store, dice: &mut Dice, at: &str) {
    let short = FaultRule::new(FaultAction::ShortBody { bytes: 100 }).operation("GetObject");
    store.faults().add(short.times(u64::MAX).chance(10, dice.seed()));
    let home = Home::new();
    let other = Gateway::start(&home, &settings(store));
    let here = tree(&mut Mount::new(gateway.port, "sales"));
    let there = tree(&mut Mount::new(other.port, "sales"));
    assert!(here == there, "{at}: a gateway on an empty disk sees another tree");
    other.kill();
    store.faults().clear();
}

#[test]
fn mixed_load_under_an_s3_of_all_moods_loses_nothing_and_leaves_nothing() {
    let (calls, seed) = (number("TIDEGATE_CALLS", CALLS), number("TIDEGATE_SEED", 1));
    let spells = calls.div_ceil(SPELL as u64).next_multiple_of(MOODS.len() as u64);
    eprintln!("proof: {spells} spells of {SPELL} calls from the seed {seed}");
    let (store, home, mut dice) = (store(), Home::new(), Dice::new(seed));
    let mut manifests = vec![Manifest::default(); CLIENTS];
    let mut seen = Seen::default();
    let clock = home.path("clock");
    jump(&clock, &mut dice);
    let gateway = Gateway::start_with_clock(&home, &settings(&store), &clock);
    asked(&gateway);
    (0..CLIENTS).for_each(|number| Client::prepare(number, WORK, gateway.port));
    let (mut first, mut flipped, mut told, mut wrong_at_most) = (None, 0, 0, 0);
    for (spell, mood) in (0..spells).zip(MOODS.iter().cycle()) {
        let wrong_by = jump(&clock, &mut dice);
        wrong_at_most = wrong_at_most.max(seen_wrong_by(gateway.port));
        let at = format!(
            "spell {spell} ({mood:?}) from the seed {seed}, the clock wrong by {wrong_by} s"
        );
        set(&store, *mood, &mut dice);
        work_until(gateway.port, WORK, &mut manifests, (SPELL, || {}), &mut dice);
        seen.calls += SPELL as u64;
        let dirty = gateway.status().upload.dirty_files;
        seen.with_dirty_files += u64::from(dirty > 0);
        let takes_nothing = matches!(mood, Mood::Denied | Mood::Gone);
        assert!(dirty > 0 || !takes_nothing, "{at}: everything is in S3, which takes nothing");
        if takes_nothing {
            until("S3's refusal is said", || (gateway.status().upload.failing > 0).then_some(()));
        }
        if (spell + 1).is_multiple_of(MOODS.len() as u64) {
            compare_bucket(&gateway, &store, &mut seen, &at);
            // No flush waits for what is only tidied up.
            until("parts of nobody are gone", || {
                (store.uploads_in_progress(crate::BUCKET) == 0).then_some(())
            });
            flipped += flip(&home, &mut dice);
            let (files, dirs) = tree(&mut Mount::new(gateway.port, "sales"));
            told = told.max(damage_told(&gateway));
            for (number, manifest) in manifests.iter_mut().enumerate() {
                settle(number, manifest, (&files, &dirs), &at);
            }
            compare_other(&gateway, &store, &mut dice, &at);
        }
        if (spell + 1).is_multiple_of(SPELLS_WARM) {
            let held = Held::by(&gateway);
            let asked: u64 = store.request_counts().values().sum();
            eprintln!("proof: {} spells: {seen:?}; {asked} requests; {held:?}", spell + 1);
            let first = first.get_or_insert(held);
            assert!(
                held.descriptors <= first.descriptors + DESCRIPTORS_MORE
                    && held.resident_kib <= first.resident_kib + RESIDENT_KIB_MORE,
                "{at}: {held:?}, and {first:?} in the beginning"
            );
        }
    }
    eprintln!(
        "proof: {seen:?}, bits flipped: {flipped}, damage told: {told}, clock wrong by up to {wrong_at_most} s, violations: 0"
    );
    assert!(wrong_at_most > 86_400, "the clock has not jumped");
    assert!(flipped > 0 && told > 0, "{flipped} bits, {told} events: nobody noticed");
    assert!(seen.buckets_compared > 0 && seen.objects_compared > seen.buckets_compared);
}
