//! The catalog is destroyed when the gateway has been killed: nothing that was acknowledged is lost, nothing of
//! others is overwritten, and the bucket becomes the tree.
//!
//! Clients of two shares on two cache disks, whose manifests are outside of what is killed and destroyed.
//! `TIDEGATE_LOSSES` times (every kind once without), from the seed `TIDEGATE_SEED` (1 without); `cargo prove
//! catalog` sets them. Renames of directories are left out: what of one is not in S3 when the catalog is lost
//! shows at its old place, as semantics.md says.
use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
};

use gateway_api::status::{GatewayStatus, HealthEventKind};
use s3_store::{FaultAction, FaultRule, S3Store};

use super::{
    CALLS, CLIENTS,
    client::{Client, Manifest, Work},
    dice::Dice,
    number, set_weather, settle, work_until_killed,
};
use crate::{
    BUCKET,
    crash::{asked, tree},
    keys,
    mount::Mount,
    pattern,
    process::{Gateway, Home, settings, store},
};

const WORK: Work = Work { shares: &["sales", "hr"], swaps: false };
const PAGE: u64 = 4096;

/// A way to destroy a catalog.
struct Harm {
    name: &'static str,
    /// Whether there can be no use of what is left.
    is_total: bool,
    does: fn(&Path, &mut Dice),
}

const HARMS: [Harm; 12] = [
    Harm { name: "all removed", is_total: true, does: |dir, _| remove(dir, &[DB, WAL, SHM]) },
    Harm { name: "database removed", is_total: true, does: |dir, _| remove(dir, &[DB]) },
    Harm {
        name: "write-ahead log removed",
        is_total: false,
        does: |dir, _| remove(dir, &[WAL, SHM]),
    },
    Harm { name: "emptied", is_total: false, does: |dir, _| cut(dir, DB, 0) },
    Harm {
        name: "emptied, log removed",
        is_total: true,
        does: |dir, _| {
            remove(dir, &[WAL, SHM]);
            cut(dir, DB, 0);
        },
    },
    Harm {
        name: "cut, log removed",
        is_total: true,
        does: |dir, dice| {
            remove(dir, &[WAL, SHM]);
            cut(dir, DB, len(dir, DB) * (1 + dice.below(8) as u64) / 10);
        },
    },
    Harm {
        name: "header zeroed, log removed",
        is_total: true,
        does: |dir, _| {
            remove(dir, &[WAL, SHM]);
            overwrite(dir, DB, 0, &[0; 100]);
        },
    },
    Harm {
        name: "pages zeroed",
        is_total: false,
        does: |dir, dice| pages(dir, dice, |_| vec![0; 4096]),
    },
    Harm {
        name: "pages of something else",
        is_total: false,
        does: |dir, dice| pages(dir, dice, |dice| dice.bytes(4096)),
    },
    Harm {
        name: "bits of page headers flipped",
        is_total: false,
        does: |dir, dice| {
            for _ in 0..8 {
                let page = 1 + dice.below(pages_of(dir) - 1) as u64;
                let at = page * PAGE + dice.below(8) as u64;
                flip(dir, DB, at, dice);
            }
        },
    },
    Harm {
        name: "write-ahead log flipped",
        is_total: false,
        does: |dir, dice| {
            let at = dice.below(usize::try_from(len(dir, WAL)).expect("it fits")) as u64;
            flip(dir, WAL, at, dice);
        },
    },
    Harm {
        name: "all of something else",
        is_total: true,
        does: |dir, dice| {
            for name in [DB, WAL, SHM] {
                fs::write(dir.join(name), dice.bytes(50_000)).expect("it can be written");
            }
        },
    },
];

const DB: &str = "catalog.db";
const WAL: &str = "catalog.db-wal";
const SHM: &str = "catalog.db-shm";

fn remove(dir: &Path, names: &[&str]) {
    for name in names {
        match fs::remove_file(dir.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{name}: {error}"),
            Ok(()) | Err(_) => {}
        }
    }
}

fn len(dir: &Path, name: &str) -> u64 {
    fs::metadata(dir.join(name)).expect("it is there").len()
}

fn open(dir: &Path, name: &str) -> File {
    File::options().read(true).write(true).open(dir.join(name)).expect("it is there")
}

fn cut(dir: &Path, name: &str, to: u64) {
    open(dir, name).set_len(to).expect("it can be cut");
}

fn overwrite(dir: &Path, name: &str, at: u64, bytes: &[u8]) {
    open(dir, name).write_all_at(bytes, at).expect("it can be written");
}

fn flip(dir: &Path, name: &str, at: u64, dice: &mut Dice) {
    let (file, mut byte) = (open(dir, name), [0]);
    file.read_exact_at(&mut byte, at).expect("it is so long");
    file.write_all_at(&[byte[0] ^ (1 << dice.below(8))], at).expect("it can be written");
}

fn pages_of(dir: &Path) -> usize {
    usize::try_from(len(dir, DB) / PAGE).expect("it fits")
}

fn pages(dir: &Path, dice: &mut Dice, with: fn(&mut Dice) -> Vec<u8>) {
    for _ in 0..8 {
        let page = 1 + dice.below(pages_of(dir) - 1) as u64;
        let bytes = with(dice);
        overwrite(dir, DB, page * PAGE, &bytes);
    }
}

/// What was seen, so that a run in which nothing was at stake does not count as one.
#[derive(Debug, Default)]
struct Seen {
    losses: u64,
    made_anew: u64,
    with_dirty_files: u64,
    dirty_files: u64,
    cascading: u64,
    made_by_cascades: u64,
    buckets_compared: u64,
    objects_compared: u64,
    made_anew_by_kind: BTreeMap<&'static str, u64>,
}

/// The settings of two shares.
fn two_shares(store: &S3Store) -> String {
    let hr = "
[[share]]
name = \"hr\"
bucket = \"bucket\"
prefix = \"people/\"
squash = \"NoSquash\"
cache_stale_timeout_seconds = 1
";
    settings(store) + hr
}

/// A second cache disk.
fn disk(home: &Home) -> Vec<String> {
    let dir = home.path("d1");
    fs::create_dir_all(&dir).expect("it can be made");
    vec![format!("--cache-disk=d1={}", dir.display())]
}

fn start(home: &Home, store: &S3Store) -> Gateway {
    Gateway::start_with(home, &two_shares(store), None, &disk(home))
        .unwrap_or_else(|status| panic!("the gateway ended at its start: {status}"))
}

fn refuse_changes(store: &S3Store) {
    for operation in ["PutObject", "CreateMultipartUpload", "CopyObject", "DeleteObject"] {
        let refused = FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() };
        store.faults().add(FaultRule::new(refused).operation(operation).times(u64::MAX));
    }
}

fn made_anew(status: &GatewayStatus) -> Option<&str> {
    let mut events = status.events.iter();
    let event = events.find(|event| event.kind == HealthEventKind::CatalogRebuilt)?;
    Some(&event.message)
}

/// Compares what is on the mounts with what the clients were told.
fn compare(gateway: &Gateway, manifests: &mut [Manifest], at: &str) {
    for share in WORK.shares {
        let (files, dirs) = tree(&mut Mount::new(gateway.port, share));
        for (number, manifest) in manifests.iter_mut().enumerate() {
            if WORK.share(number) == *share {
                settle(number, manifest, (&files, &dirs), at);
            }
        }
    }
}

/// Lets everything go to S3, and compares: there is an object for each file and directory, and no other.
fn compare_bucket(gateway: &Gateway, store: &S3Store, seen: &mut Seen, at: &str) {
    store.faults().clear();
    gateway.flush();
    let mut expected = BTreeMap::new();
    for (share, prefix) in [("sales", "onprem/"), ("hr", "people/")] {
        let (files, dirs) = tree(&mut Mount::new(gateway.port, share));
        let files = files.into_iter().map(|(path, content)| (format!("{prefix}{path}"), content));
        expected.extend(files);
        expected.extend(dirs.into_iter().map(|dir| (format!("{prefix}{dir}/"), Vec::new())));
    }
    assert_eq!(keys(store), expected.keys().cloned().collect::<Vec<_>>(), "{at}");
    for (key, content) in expected {
        let object = store.object(BUCKET, &key).expect("listed above");
        assert!(object.body == content, "{at}: {key} is another one in the bucket");
        seen.objects_compared += 1;
    }
    seen.buckets_compared += 1;
}

#[test]
fn a_destroyed_catalog_loses_nothing_that_was_acknowledged() {
    let (losses, seed) =
        (number("TIDEGATE_LOSSES", HARMS.len() as u64), number("TIDEGATE_SEED", 1));
    eprintln!("proof: {losses} catalogs destroyed from the seed {seed}");
    let (store, home, mut dice) = (store(), Home::new(), Dice::new(seed));
    let mut manifests = vec![Manifest::default(); CLIENTS];
    let mut seen = Seen::default();
    let mut gateway = start(&home, &store);
    asked(&gateway);
    (0..CLIENTS).for_each(|number| Client::prepare(number, WORK, gateway.port));
    for (round, harm) in (0..losses).zip(HARMS.iter().cycle()) {
        let at = format!("loss {round} ({}) from the seed {seed}", harm.name);
        // Every kind meets every weather.
        let weather = round + round / HARMS.len() as u64;
        if weather.is_multiple_of(3) {
            store.faults().clear();
            refuse_changes(&store);
        } else {
            set_weather(&store, weather, &mut dice);
        }
        let calls = 20 + dice.below(CALLS);
        work_until_killed(gateway, WORK, &mut manifests, calls, &mut dice);
        (harm.does)(&home.path("cache"), &mut dice);
        // Directories are listed again: S3 must answer that.
        store.faults().clear();
        refuse_changes(&store);
        let was_there = home.path("cache").join(DB).exists();
        let mut is_made_before = false;
        if dice.one_in(4) {
            let (settings, disk) = (two_shares(&store), disk(&home));
            Gateway::start_and_kill(&home, &settings, &disk, dice.below(60));
            seen.cascading += 1;
            is_made_before = was_made(&home, was_there);
            seen.made_by_cascades += u64::from(is_made_before);
        }
        gateway = start(&home, &store);
        let status = gateway.status();
        let is_anew = made_anew(&status).is_some();
        seen.losses += 1;
        seen.made_anew += u64::from(is_anew);
        if is_anew || is_made_before {
            *seen.made_anew_by_kind.entry(harm.name).or_default() += 1;
        }
        seen.dirty_files += status.upload.dirty_files;
        seen.with_dirty_files += u64::from(status.upload.dirty_files > 0);
        assert!(is_anew || is_made_before || !harm.is_total, "{at}: nobody noticed");
        compare(&gateway, &mut manifests, &at);
        if round % 3 == 2 {
            compare_bucket(&gateway, &store, &mut seen, &at);
        }
        remove_asides(&home);
        if (round + 1) % 20 == 0 {
            eprintln!("proof: {seen:?}");
        }
    }
    compare_bucket(&gateway, &store, &mut seen, "the end");
    eprintln!("proof: {seen:?}, violations: 0");
    assert!(seen.with_dirty_files * 3 >= seen.losses * 2, "too seldom was something dirty");
    assert!(seen.made_anew * 2 >= seen.losses, "too seldom was a catalog made anew");
    for harm in HARMS.iter().filter(|harm| harm.is_total && losses >= HARMS.len() as u64) {
        assert!(seen.made_anew_by_kind.contains_key(harm.name), "none after {}", harm.name);
    }
}

/// Catalogs that were put aside.
fn asides(home: &Home) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(home.path("cache")).expect("the cache is there");
    entries
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.to_string_lossy().contains("catalog.damaged-"))
        .collect()
}

/// Whether the start that was cut off has made the catalog anew: it has put one aside, or there was none to put.
fn was_made(home: &Home, was_there: bool) -> bool {
    !asides(home).is_empty() || !was_there && home.path("cache").join(DB).exists()
}

fn remove_asides(home: &Home) {
    for path in asides(home) {
        fs::remove_dir_all(path).expect("it can be removed");
    }
}

/// Goal: what others put into the bucket meanwhile is kept, beside ours where it has the name; handles of files that
/// wait for S3 stay good; what was removed stays removed; the old catalog is kept, and all of it is told.
#[test]
fn a_destroyed_catalog_costs_others_nothing_and_handles_stay_good() {
    let (store, home) = (store(), Home::new());
    let gateway = start(&home, &store);
    asked(&gateway);
    let mut share = Mount::new(gateway.port, "sales");
    share.write("base", &pattern(5000, 1));
    share.write("gone", &pattern(5000, 2));
    share.write("clean", &pattern(5000, 3));
    gateway.flush();
    refuse_changes(&store);
    share.write("base", &pattern(6000, 4));
    share.remove("gone");
    share.mkdir("dir");
    share.write("dir/small", &pattern(900, 5));
    share.write("new", &pattern(300_000, 6));
    share.rename("clean", "dir/renamed");
    let handle = share.lookup("dir/small").expect("it is there");
    gateway.kill();
    fs::write(home.path("cache/catalog.db"), [3; 9000]).expect("it can be written");
    remove(&home.path("cache"), &[WAL, SHM]);
    store.put(BUCKET, "onprem/base", b"their base");
    store.put(BUCKET, "onprem/new", b"their new");

    let gateway = start(&home, &store);
    let status = gateway.status();
    let words = made_anew(&status).expect("it is told");
    assert!(words.contains("is kept in"), "{words}");
    assert_eq!(asides(&home).len(), 1);
    assert_eq!(fs::read(asides(&home)[0].join(DB)).expect("it is kept"), [3; 9000]);
    let mut share = Mount::new(gateway.port, "sales");
    assert_eq!(share.list(""), ["base", "dir", "new"]);
    share.write_at(&handle, 900, &pattern(100, 7));
    store.faults().clear();
    gateway.flush();
    let small = [pattern(900, 5), pattern(100, 7)].concat();
    for (path, content) in [
        ("base", pattern(6000, 4)),
        ("new", pattern(300_000, 6)),
        ("dir/small", small),
        ("dir/renamed", pattern(5000, 3)),
    ] {
        let object = store.object(BUCKET, &format!("onprem/{path}"));
        assert!(object.is_some_and(|object| object.body == content), "{path}");
        assert!(share.read(path) == Ok(content), "{path}");
    }
    let keys = keys(&store);
    for (path, theirs) in [("base", &b"their base"[..]), ("new", b"their new")] {
        let beside = format!("onprem/{path}.conflict-");
        let copy = keys.iter().find(|key| key.starts_with(&beside)).expect("theirs is kept");
        assert_eq!(store.object(BUCKET, copy).expect("it is there").body, theirs);
    }
    assert_eq!(keys.len(), 4 + 1 + 2, "{keys:?}");
    assert!(gateway.stop().success());
    // It is a catalog like any other.
    let gateway = start(&home, &store);
    assert_eq!(made_anew(&gateway.status()), None);
}
