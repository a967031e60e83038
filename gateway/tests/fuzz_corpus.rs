//! Goal: what fuzzing once found stays mended, and its targets keep working. Method: every input of
//! `gateway/fuzz/corpus` goes through its target; fuzzing itself is `cargo verify`'s.
use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use gateway::nfs::testing::fuzz::{TARGETS, seeds};

/// Fewer inputs than this are no corpus.
const INPUTS_MIN: usize = 10;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.expect("an entry can be read").file_name();
        name.into_string().expect("inputs have names in ASCII")
    };
    entries.map(name).collect()
}

#[test]
fn every_input_of_the_corpus_is_taken_without_harm() {
    for target in TARGETS {
        let folder = corpus().join(target.name);
        let inputs = names(&folder);
        assert!(inputs.len() >= INPUTS_MIN, "{} holds {}", folder.display(), inputs.len());
        for input in inputs {
            let bytes = fs::read(folder.join(&input)).expect("an input can be read");
            let run = AssertUnwindSafe(|| (target.run)(&bytes));
            assert!(catch_unwind(run).is_ok(), "{}/{input} fails; see above", target.name);
        }
    }
}

#[test]
fn every_target_is_fuzzed_and_has_a_corpus() {
    let targets = |suffix| TARGETS.iter().map(|t| format!("{}{suffix}", t.name)).collect();
    assert_eq!(names(&corpus()), targets(""));
    assert_eq!(names(&corpus().with_file_name("fuzz_targets")), targets(".rs"));
}

#[test]
fn the_corpus_holds_the_seeds_as_they_are_made() {
    for seed in seeds() {
        let file = corpus().join(seed.target).join(&seed.name);
        let held = fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        assert!(held == seed.bytes, "{} is old: run the example fuzz_seeds", file.display());
    }
}
