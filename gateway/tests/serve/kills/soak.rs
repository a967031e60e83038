//! Mixed load without an end, under an S3 that refuses, forgets to answer, cuts bodies off, and goes away altogether:
//! no byte is lost or wrong, nothing is left in the bucket, and the process does not grow.
//!
//! The clients are those of the kills; nothing is killed. `TIDEGATE_CALLS` answered calls (some hundreds without), from
//! the seed `TIDEGATE_SEED` (1 without); `cargo prove soak` sets them.
use std::time::Duration;

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
/// File descriptors that it may have more than then: connections come and go.
const DESCRIPTORS_MORE: usize = 128;

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
    let gateway = Gateway::start(&home, &settings(&store));
    asked(&gateway);
    (0..CLIENTS).for_each(|number| Client::prepare(number, WORK, gateway.port));
    let mut first = None;
    for (spell, mood) in (0..spells).zip(MOODS.iter().cycle()) {
        let at = format!("spell {spell} ({mood:?}) from the seed {seed}");
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
            let (files, dirs) = tree(&mut Mount::new(gateway.port, "sales"));
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
                held.descriptors <= first.descriptors + DESCRIPTORS_MORE,
                "{at}: {held:?}, and {first:?} in the beginning"
            );
        }
    }
    eprintln!("proof: {seen:?}, violations: 0");
    assert!(seen.buckets_compared > 0 && seen.objects_compared > seen.buckets_compared);
}
