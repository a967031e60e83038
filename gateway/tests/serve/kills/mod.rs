//! The process is killed (kill -9) at any moment while clients work and uploads go on, many times in one life
//! of a cache and a bucket: nothing acknowledged is lost, nothing else appears, and the bucket becomes the tree.
//!
//! The manifest of what was acknowledged is with the clients, outside of what is killed. A kill leaves the
//! kernel's pages, so it proves no `fsync`; that is the part of power cuts. `TIDEGATE_KILLS` kills (a few
//! without), from the seed `TIDEGATE_SEED` (1 without); `cargo prove kills` sets them.
mod client;
mod content;
mod dice;
mod loss;
mod soak;

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    panic::{self, AssertUnwindSafe},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use gateway_api::status::HealthEventKind;
use s3_store::{FaultAction, FaultRule, S3Store};

use crate::{
    BUCKET,
    crash::{asked, tree},
    keys,
    mount::Mount,
    process::{Gateway, Home, settings, store},
};
use client::{Client, Manifest, Work};
use dice::Dice;

const CLIENTS: usize = 3;
/// What they do here.
const WORK: Work = Work { shares: &["sales"], swaps: true };
/// Kills of the short form.
const KILLS: u64 = 6;
/// Starts in a row that are killed, too, after one of ten kills.
const STARTS_CUT: usize = 5;
/// Most calls of a round before the kill.
const CALLS: usize = 150;

/// What was seen, so that a run in which nothing was at stake does not count as one.
#[derive(Debug, Default)]
struct Seen {
    kills: u64,
    calls: u64,
    calls_cut: u64,
    with_unsure_bytes: u64,
    with_dirty_files: u64,
    with_parts_under_way: u64,
    buckets_compared: u64,
    objects_compared: u64,
}

/// The number that a variable of the environment has.
pub(crate) fn number(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(value) => value.parse().unwrap_or_else(|e| panic!("{variable}={value}: {e}")),
        Err(_) => otherwise,
    }
}

/// What S3 does in a round.
fn set_weather(store: &S3Store, round: u64, dice: &mut Dice) {
    let faults = store.faults();
    faults.clear();
    let mut often = |action, per_mille| {
        faults.add(FaultRule::new(action).times(u64::MAX).chance(per_mille, dice.seed()));
    };
    let fails = |status, code: &str| FaultAction::FailBefore { status, code: code.to_owned() };
    match round % 3 {
        // It takes nothing: everything stays dirty.
        0 => often(fails(403, "AccessDenied"), 1000),
        1 => {}
        _ => {
            often(fails(503, "SlowDown"), 100);
            often(FaultAction::FailAfter { status: 500, code: "InternalError".to_owned() }, 50);
            often(FaultAction::DropBefore, 20);
            often(FaultAction::DropAfter, 50);
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref().copied()).unwrap_or_default()
}

/// Lets the clients work until so many calls were answered, and kills the gateway under them.
fn work_until_killed(
    gateway: Gateway,
    work: Work,
    manifests: &mut [Manifest],
    calls: usize,
    dice: &mut Dice,
) {
    work_until(gateway.port, work, manifests, (calls, || gateway.kill()), dice);
}

/// Lets the clients work until so many calls were answered, then makes an `end` of it while they go on; they stop
/// there, or where they are not answered any more.
fn work_until(
    port: u16,
    work: Work,
    manifests: &mut [Manifest],
    (calls, end): (usize, impl FnOnce()),
    dice: &mut Dice,
) {
    let (answered, answers) = mpsc::channel();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for (number, manifest) in manifests.iter_mut().enumerate() {
            let (answered, is_over, dice) = (answered.clone(), &is_over, Dice::new(dice.seed()));
            scope.spawn(move || {
                let worked = panic::catch_unwind(AssertUnwindSafe(|| {
                    let mut client = Client::new(number, work, port, manifest, dice);
                    while !is_over.load(Ordering::SeqCst) {
                        client.step();
                        answered.send(()).expect("the receiver outlives the clients");
                    }
                }));
                if let Err(why) = worked {
                    let is_cut = words(&*why).contains("is answered")
                        || words(&*why).contains("can be mounted");
                    if !(is_cut && is_over.load(Ordering::SeqCst)) {
                        panic::resume_unwind(why);
                    }
                }
            });
        }
        drop(answered);
        // Ends early if every client has failed, which the scope tells.
        answers.iter().take(calls).for_each(drop);
        is_over.store(true, Ordering::SeqCst);
        end();
    });
}

/// Starts the gateway, which may be killed at its start too, and compares the tree with the manifests.
fn start_and_compare(
    home: &Home,
    store: &S3Store,
    manifests: &mut [Manifest],
    at: &str,
) -> Gateway {
    let gateway = Gateway::start(home, &settings(store));
    let (files, dirs) = tree(&mut Mount::new(gateway.port, "sales"));
    for (number, manifest) in manifests.iter_mut().enumerate() {
        settle(number, manifest, (&files, &dirs), at);
    }
    let status = gateway.status();
    let damage = status.events.iter().find(|event| event.kind == HealthEventKind::CatalogRebuilt);
    assert!(damage.is_none(), "{at}: a kill damages no catalog: {damage:?}");
    gateway
}

/// Compares what a client was told with what is there of it among these files and directories.
fn settle(
    number: usize,
    manifest: &mut Manifest,
    (files, dirs): (&BTreeMap<String, Vec<u8>>, &BTreeSet<String>),
    at: &str,
) {
    let found = Manifest::part_of(number, files, dirs);
    manifest.settle(&found).unwrap_or_else(|why| panic!("{at}, client {number}: {why}"));
}

/// Lets everything go to S3, and compares.
fn compare_bucket(gateway: &Gateway, store: &S3Store, seen: &mut Seen, at: &str) {
    store.faults().clear();
    gateway.flush();
    let (files, dirs) = tree(&mut Mount::new(gateway.port, "sales"));
    let markers = dirs.iter().map(|dir| format!("onprem/{dir}/"));
    let mut expected: Vec<_> =
        files.keys().map(|path| format!("onprem/{path}")).chain(markers).collect();
    expected.sort();
    assert_eq!(keys(store), expected, "{at}");
    for (path, content) in &files {
        let object = store.object(BUCKET, &format!("onprem/{path}")).expect("listed above");
        assert!(object.body == *content, "{at}: {path} is another one in the bucket");
        seen.objects_compared += 1;
    }
    assert!(gateway.status().upload.is_idle(), "{at}");
    seen.buckets_compared += 1;
}

#[test]
fn kills_at_any_moment_lose_nothing_that_was_acknowledged() {
    let (kills, seed) = (number("TIDEGATE_KILLS", KILLS), number("TIDEGATE_SEED", 1));
    eprintln!("proof: {kills} kills from the seed {seed}");
    let (store, home, mut dice) = (store(), Home::new(), Dice::new(seed));
    let mut manifests = vec![Manifest::default(); CLIENTS];
    let mut seen = Seen::default();
    let mut gateway = Gateway::start(&home, &settings(&store));
    asked(&gateway);
    (0..CLIENTS).for_each(|number| Client::prepare(number, WORK, gateway.port));
    for round in 0..kills {
        let at = format!("kill {round} from the seed {seed}");
        set_weather(&store, round, &mut dice);
        let calls = 1 + dice.below(CALLS);
        work_until_killed(gateway, WORK, &mut manifests, calls, &mut dice);
        let manifests_with =
            |is: fn(&Manifest) -> bool| manifests.iter().filter(|m| is(m)).count() as u64;
        seen.kills += 1;
        seen.calls += calls as u64;
        seen.calls_cut += manifests_with(Manifest::is_asking);
        seen.with_unsure_bytes += u64::from(manifests_with(Manifest::is_unsure) > 0);
        seen.with_parts_under_way += u64::from(store.uploads_in_progress(BUCKET) > 0);
        // Recovery is cut by itself, now and then many times in a row.
        let starts_cut = if round % 10 == 1 { STARTS_CUT } else { usize::from(dice.one_in(4)) };
        for _ in 0..starts_cut {
            Gateway::start_and_kill(&home, &settings(&store), &[], dice.below(60));
        }
        gateway = start_and_compare(&home, &store, &mut manifests, &at);
        seen.with_dirty_files += u64::from(gateway.status().upload.dirty_files > 0);
        if round % 3 == 2 {
            compare_bucket(&gateway, &store, &mut seen, &at);
        }
        if (round + 1) % 10 == 0 {
            eprintln!("proof: {seen:?}");
        }
    }
    compare_bucket(&gateway, &store, &mut seen, "the end");
    eprintln!("proof: {seen:?}, violations: 0");
    assert!(seen.calls_cut > 0, "no call was under way at a kill");
    assert!(seen.with_unsure_bytes > 0, "no kill had bytes at stake");
    assert!(seen.with_dirty_files * 3 >= seen.kills, "too seldom was something dirty");
}
