//! The gateway beside a reference model: the same operations on both, compared after each, and at
//! quiescence the tree and the bucket against the model.
//!
//! What runs is the real stack: the file system as NFS calls it, SQLite, cache files, uploader, fetcher
//! and refresher against an S3 server over TCP. Only the clock is driven by hand, and in half of the
//! cases the cache disk is one that forgets what was not synced.
//!
//! A failure prints the seed and the shortest operations that fail. The long form:
//! `PROPTEST_CASES=20000 PROPTEST_RNG_SEED=N cargo test --release --workspace --features gateway/testing
//! --test model`; without the variables the same cases run every time.
#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails the test")]
mod bucket;
mod lockstep;
mod ops;
mod reached;
mod refusals;
mod regressions;
mod remote;
mod rest;
mod scan;
mod tree;
mod walk;
mod world;

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner},
};
use reached::Reached::{
    Conflict, CrashWithDirty, CrashWithUnstable, Fault, Late, Met, PartCopied, PartLeft,
};

/// Longest time for shrinking a failure.
const SHRINK_MS_MAX: u32 = 240_000;

/// Runs `check` on generated cases: `cases` of them with `seed` unless the environment says otherwise.
fn run<S: Strategy>(
    cases: u32,
    seed: u64,
    strategy: &S,
    check: impl Fn(&S::Value) -> Result<(), String>,
) {
    let defaults = Config::default();
    let rng_seed = match defaults.rng_seed {
        RngSeed::Random => RngSeed::Fixed(seed),
        given @ RngSeed::Fixed(_) => given,
    };
    let cases = std::env::var("PROPTEST_CASES").map_or(cases, |_| defaults.cases);
    let config = Config {
        cases,
        rng_seed,
        failure_persistence: None,
        max_shrink_time: SHRINK_MS_MAX,
        max_shrink_iters: 4096,
        ..defaults
    };
    let mut runner = TestRunner::new(config);
    let trace = std::env::var_os("TIDEGATE_MODEL_TRACE").is_some();
    let checked = |case: S::Value| {
        let outcome = check(&case);
        if trace {
            println!("{outcome:?}");
        }
        outcome.map_err(TestCaseError::fail)
    };
    match runner.run(strategy, checked) {
        Ok(()) => {}
        Err(TestError::Fail(why, case)) => panic!("{rng_seed:?}: {why}\nshortest case: {case:#?}"),
        Err(TestError::Abort(why)) => panic!("{rng_seed:?}: gave up: {why}"),
    }
}

#[test]
fn model_tree_and_bucket_follow_local_changes_through_faults_and_crashes() {
    run(64, 1, &ops::case(ops::local()), lockstep::check);
    // How far an upload is at a crash is up to the machine; `reached` prints how often one was under way.
    reached::assert_often(&[(CrashWithUnstable, 1), (CrashWithDirty, 10), (Fault, 5)]);
}

#[test]
fn model_large_files_whose_parts_leave_the_cache_and_are_copied_within_s3() {
    run(12, 3, &ops::large_case(), lockstep::check);
    reached::assert_often(&[(PartLeft, 5), (PartCopied, 5), (CrashWithDirty, 1)]);
}

#[test]
fn model_no_version_is_lost_between_clients_and_other_writers_of_the_bucket() {
    run(64, 2, &remote::case(), remote::check);
    reached::assert_often(&[(Met, 5), (Conflict, 5), (CrashWithDirty, 3), (Late, 20)]);
}

#[test]
fn model_no_version_of_large_files_is_lost_to_changes_in_the_middle_of_their_uploads() {
    run(8, 4, &remote::large_case(), remote::check);
    reached::assert_often(&[(Late, 5), (PartCopied, 3)]);
}
