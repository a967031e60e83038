//! A gateway that knows very many files: how soon it serves after a kill, and what each file costs on the disk and in
//! memory.
//!
//! `TIDEGATE_ENTRIES` objects (some thousands without); `cargo prove entries` sets them. Times are printed and judged
//! by nobody: machines differ.
use std::{
    fs,
    time::{Duration, Instant},
};

use s3_store::{FaultAction, FaultRule};

use crate::{
    BUCKET,
    crash::asked,
    held::Held,
    mount::Mount,
    process::{Gateway, Home, settings, store},
};

/// Of the short form.
const ENTRIES: u64 = 6_000;
const IN_A_DIRECTORY: u64 = 1_000;
/// One file in so many is dirty at the kill.
const CLEAN_PER_DIRTY: u64 = 100;
/// Most that memory may grow by while a million files become known: what is kept of rows is bounded.
const GROWTH_KIB_MAX: u64 = 192 << 10;

fn directory(number: u64) -> String {
    format!("d{:05}", number / IN_A_DIRECTORY)
}

/// Bytes of the catalog's files.
fn catalog_bytes(home: &Home) -> u64 {
    let files = fs::read_dir(home.path("cache")).expect("the cache's folder");
    let size = |file: fs::DirEntry| {
        let is_of_it = file.file_name().to_string_lossy().starts_with("catalog.db");
        is_of_it.then(|| file.metadata().map_or(0, |about| about.len()))
    };
    files.filter_map(Result::ok).filter_map(size).sum()
}

#[test]
fn a_gateway_that_knows_many_files_comes_back_after_a_kill_with_all_that_waits() {
    let entries: u64 = match std::env::var("TIDEGATE_ENTRIES") {
        Ok(value) => value.parse().unwrap_or_else(|e| panic!("TIDEGATE_ENTRIES={value}: {e}")),
        Err(_) => ENTRIES,
    };
    let dirty = entries / CLEAN_PER_DIRTY;
    let (store, home) = (store(), Home::new());
    for number in 0..entries {
        store.put(BUCKET, &format!("onprem/{}/f{number:08}", directory(number)), b"");
    }
    let never = settings(&store).replace("timeout_seconds = 1", "timeout_seconds = 0");
    let gateway = Gateway::start(&home, &never);
    asked(&gateway);
    let empty = (Held::by(&gateway), catalog_bytes(&home));
    let begun = Instant::now();
    let listed = Gateway::command(&home, &["refresh", "sales", "--recursive"]).expect("it lists");
    let listing = begun.elapsed();
    assert!(listed.contains(&format!("{} names", entries + entries.div_ceil(IN_A_DIRECTORY))));
    let known = Held::by(&gateway);

    let refuse = FaultAction::FailBefore { status: 503, code: "SlowDown".to_owned() };
    store.faults().add(FaultRule::new(refuse).times(u64::MAX));
    let mut share = Mount::new(gateway.port, "sales");
    share.mkdir("new");
    let begun = Instant::now();
    for number in 0..dirty {
        share.write(&format!("new/f{number}"), format!("waits {number}").as_bytes());
    }
    let writing = begun.elapsed();
    drop(share);
    let (full, worked) = (catalog_bytes(&home), Held::by(&gateway));
    gateway.kill();

    let begun = Instant::now();
    let gateway = Gateway::start(&home, &never);
    let mut share = Mount::new(gateway.port, "sales");
    let last = entries - 1;
    let found = share.getattr(&format!("{}/f{last:08}", directory(last)));
    let (serving, started) = (begun.elapsed(), Held::by(&gateway));
    assert_eq!(found.size, 0);
    // The directory is one more.
    assert_eq!(gateway.status().upload.dirty_files, dirty + 1);
    let seconds = Duration::as_secs_f64;
    let each = |bytes: u64| bytes as f64 / entries as f64;
    eprintln!(
        "proof: {entries} entries, listed in {:.1} s; {dirty} dirty files, written in {:.1} s",
        seconds(&listing),
        seconds(&writing)
    );
    eprintln!(
        "proof: after a kill it serves after {:.3} s; the catalog has {:.0} bytes for each entry",
        seconds(&serving),
        each(full - empty.1)
    );
    eprintln!(
        "proof: resident: {} KiB empty, {} listed, {} with dirty files, {} started again: {:.1} bytes \
         for each entry",
        empty.0.resident_kib,
        known.resident_kib,
        worked.resident_kib,
        started.resident_kib,
        each(started.resident_kib.saturating_sub(empty.0.resident_kib) * 1024)
    );
    for held in [known, worked, started] {
        let grown = held.resident_kib.saturating_sub(empty.0.resident_kib);
        assert!(grown <= GROWTH_KIB_MAX, "{held:?}, and {:?} with nothing known", empty.0);
    }
    store.faults().clear();
    let begun = Instant::now();
    gateway.flush();
    eprintln!("proof: all of them are in S3 after {:.1} s", seconds(&begun.elapsed()));
    for number in 0..dirty {
        let object = store.object(BUCKET, &format!("onprem/new/f{number}")).expect("it is there");
        assert_eq!(object.body, format!("waits {number}").as_bytes());
    }
}
