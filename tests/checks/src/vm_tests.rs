//! The tests in virtual machines, several at a time: an emulated machine keeps one processor busy, so each
//! processor gets one test. Each runs in a process of its own; what it says is shown when it has ended.
use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context, Result};

use crate::test_count::TestCount;

/// The module of each program's tests that need virtual machines.
pub const MODULE: &str = "in_a_vm::";

/// More at a time would want more memory than small machines have.
const LANES_MAX: usize = 4;

/// A program of e2e's tests, or one test of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmTest {
    /// `tests/tests/PROGRAM`.
    pub program: &'static str,
    /// The test's name in [`MODULE`]; empty for all of them, one after another.
    pub test: &'static str,
}

/// All of a program.
const fn all(program: &'static str) -> VmTest {
    VmTest { program, test: "" }
}

/// One test of the client suites.
const fn suite(test: &'static str) -> VmTest {
    VmTest { program: "conformance", test }
}

/// All of them, the longest first: so no processor is left with a long one at the end.
pub const VM_TESTS: &[VmTest] = &[
    suite("pjdfstest"),
    suite("a_project_tree_larger_than_the_cache_is_copied_linted_archived_and_compared_twice"),
    suite("fsx_with_10_000_operations"),
    all("story"),
    all("power"),
    all("laptop"),
    all("disks"),
    all("network"),
    all("settings"),
    suite("two_clients_see_what_the_other_has_closed"),
    all("console"),
    all("appliance"),
    all("outside"),
    all("clock"),
    all("support"),
    all("firmware"),
    all("ova"),
    all("trial"),
];

impl VmTest {
    /// What cargo's test command takes after its options for building.
    pub fn words(&self) -> Vec<String> {
        let filter = format!("{MODULE}{}", self.test);
        ["--test", self.program, "--", &filter, "--nocapture", "--test-threads", "1"]
            .map(str::to_owned)
            .to_vec()
    }

    fn name(&self) -> &'static str {
        if self.test.is_empty() { self.program } else { self.test }
    }
}

/// What came of all of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Tests of those programs; one that ended badly without a summary counts as one that failed.
    pub count: TestCount,
    /// What was wrong: a test failed or could not be run, none ran in a program, its log could not be written.
    pub failed: Vec<String>,
}

/// Runs `tests` with the commands that `command` makes, on all processors, all of them whatever fails.
/// What each says is kept in `logs` as `NAME.log`.
///
/// # Errors
/// When the folder of the logs cannot be made.
pub fn run(
    tests: &[VmTest],
    command: impl Fn(&VmTest) -> Result<Command> + Sync,
    logs: &Path,
) -> Result<Outcome> {
    let lanes = thread::available_parallelism().map_or(1, usize::from).min(LANES_MAX);
    run_side_by_side(lanes, tests, command, logs)
}

fn run_side_by_side(
    lanes: usize,
    tests: &[VmTest],
    command: impl Fn(&VmTest) -> Result<Command> + Sync,
    logs: &Path,
) -> Result<Outcome> {
    fs::create_dir_all(logs).context("the folder of the tests' logs")?;
    let shared =
        Mutex::new(Progress { waiting: tests.iter(), ended: 0, outcome: Outcome::default() });
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                loop {
                    let next = lock().waiting.next();
                    let Some(test) = next else { return };
                    println!("-- begun: {}", test.name());
                    let begun = Instant::now();
                    let ran = run_one(test, &command, logs);
                    let mut progress = lock();
                    progress.ended += 1;
                    progress.take(test, ran, begun.elapsed().as_secs(), tests.len());
                }
            });
        }
    });
    Ok(shared.into_inner().unwrap_or_else(PoisonError::into_inner).outcome)
}

/// What the lanes share.
struct Progress<'t> {
    waiting: std::slice::Iter<'t, VmTest>,
    ended: usize,
    outcome: Outcome,
}

/// What a test said, how it counted, and whether its process ended well.
type Ran = Result<(String, TestCount, bool)>;

impl Progress<'_> {
    fn take(&mut self, test: &VmTest, ran: Ran, seconds: u64, of: usize) {
        let name = test.name();
        let (count, failure) = match ran {
            Ok((said, count, well)) => {
                // In one piece: the other lanes' words stay apart from it. And by a macro, so that summaries that this
                // module's own tests make up are not counted where those run.
                println!("{said}-- {} of {of}: {name}, {seconds} s", self.ended);
                let failure = match (well, count.passed) {
                    (false, _) => Some(format!("{name} failed")),
                    (true, 0) => Some(format!("no test ran in {name}")),
                    (true, _) => None,
                };
                (count, failure)
            }
            Err(error) => (TestCount::default(), Some(format!("{name}: {error:#}"))),
        };
        let sum = &mut self.outcome.count;
        sum.passed += count.passed;
        sum.failed += count.failed.max(u64::from(failure.is_some()));
        self.outcome.failed.extend(failure);
    }
}

fn run_one(
    test: &VmTest,
    command: &(impl Fn(&VmTest) -> Result<Command> + Sync),
    logs: &Path,
) -> Ran {
    let path = logs.join(format!("{}.log", test.name()));
    let log = File::create(&path).with_context(|| path.display().to_string())?;
    let status = command(test)?
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()
        .with_context(|| format!("cannot run {}", test.name()))?;
    let said = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
    let mut count = TestCount::default();
    said.lines().for_each(|line| count.add_line(line));
    Ok((said, count, status.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Programs that only `cargo prove` runs.
    const LONG_ONLY: [&str; 1] = ["update"];
    const PASSES: &str = "test result: ok. 1 passed; 0 failed; 0 ignored";

    fn shell(script: String) -> Result<Command> {
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        Ok(command)
    }

    #[test]
    fn every_test_runs_once_and_is_counted() -> Result<()> {
        let logs = tempfile::tempdir()?;
        let outcome = run(
            VM_TESTS,
            |test| shell(format!("echo {}; echo '{PASSES}'", test.name())),
            logs.path(),
        )?;
        let count = TestCount { passed: VM_TESTS.len() as u64, failed: 0 };
        assert_eq!(outcome, Outcome { count, failed: Vec::new() });
        for test in VM_TESTS {
            let said = fs::read_to_string(logs.path().join(format!("{}.log", test.name())))?;
            assert!(said.starts_with(test.name()), "{said}");
        }
        Ok(())
    }

    #[test]
    fn a_failure_is_counted_and_the_others_run() -> Result<()> {
        let logs = tempfile::tempdir()?;
        let tests = [all("summed"), all("broken"), all("empty"), all("missing"), all("good")];
        let command = |test: &VmTest| match test.program {
            "summed" => shell("echo 'test result: FAILED. 3 passed; 2 failed'; exit 1".to_owned()),
            "broken" => shell("exit 1".to_owned()),
            "empty" => shell("true".to_owned()),
            "missing" => Ok(Command::new("/nowhere/at/all")),
            _ => shell(format!("echo '{PASSES}'")),
        };
        let outcome = run_side_by_side(1, &tests, command, logs.path())?;
        assert_eq!(outcome.count, TestCount { passed: 4, failed: 5 });
        let [summed, broken, empty, missing] = &outcome.failed[..] else {
            anyhow::bail!("{outcome:?}")
        };
        assert_eq!(
            [summed.as_str(), broken, empty],
            ["summed failed", "broken failed", "no test ran in empty"]
        );
        assert!(missing.starts_with("missing: cannot run missing"), "{missing}");
        Ok(())
    }

    #[test]
    fn every_program_with_tests_in_virtual_machines_is_run() -> Result<()> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
        let mut listed: Vec<&str> = VM_TESTS.iter().map(|test| test.program).collect();
        listed.sort_unstable();
        listed.dedup();
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let source = if path.is_dir() { path.join("main.rs") } else { path.clone() };
            if fs::read_to_string(source).is_ok_and(|source| source.contains("mod in_a_vm")) {
                let name = path.file_stem().context("a file name")?;
                found.push(name.to_string_lossy().into_owned());
            }
        }
        // What takes minutes is for `cargo prove`.
        found.retain(|name| !LONG_ONLY.contains(&name.as_str()));
        found.sort_unstable();
        assert_eq!(found, listed);
        let conformance = fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance/main.rs"),
        )?;
        let suites = conformance.split("mod in_a_vm").nth(1).context("its tests")?;
        let suites = suites.split("\n}").next().context("the module's end")?;
        let named = VM_TESTS.iter().filter(|test| test.program == "conformance");
        assert_eq!(suites.matches("#[test]").count(), named.clone().count());
        for test in named {
            assert!(suites.contains(&format!("fn {}()", test.test)), "{} is gone", test.test);
        }
        Ok(())
    }
}
