//! Mutants: the gateway with one sync or one check left out, and the test that notices each
//! (gateway/docs/mutants.md).
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Says which step is left out.
const DROP: &str = "TIDEGATE_DROP";
/// The program of the library's own tests.
const LIBRARY: &str = "gateway";
/// Tests in virtual machines are mutants' witnesses of their own: they leave the step out themselves.
const IN_A_VM: &str = "::in_a_vm::";
/// A test that goes on for longer than this is not noticing anything.
const TIME_MAX: Duration = Duration::from_secs(300);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// What is left out, as `TIDEGATE_DROP` names it.
    pub step: String,
    /// The test that notices, `program::path::name`.
    pub test: String,
}

/// What came of all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Noticed by their tests.
    pub noticed: usize,
    /// Not noticed.
    pub survived: usize,
    /// Left to the tests in virtual machines.
    pub elsewhere: usize,
}

/// The table's lines: `` | `step` | what | `program::test` | ``.
pub fn listed(table: &str) -> Vec<Mutant> {
    let quoted = |cell: &str| cell.trim().strip_prefix('`')?.strip_suffix('`').map(str::to_owned);
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').collect();
        match cells.as_slice() {
            [step, _, test] => Some(Mutant { step: quoted(step)?, test: quoted(test)? }),
            _ => None,
        }
    };
    table.lines().filter_map(row).collect()
}

/// Runs each mutant's test twice, as it is and with the step left out, and `say`s what came of it.
///
/// # Errors
/// When the tests do not compile or fail as they are, a test does not end, or the table is empty.
pub fn run(root: &Path, mut say: impl FnMut(String)) -> Result<Outcome> {
    let table = root.join("gateway/docs/mutants.md");
    let table =
        std::fs::read_to_string(&table).with_context(|| format!("no {}", table.display()))?;
    let (elsewhere, mutants): (Vec<Mutant>, Vec<Mutant>) =
        listed(&table).into_iter().partition(|mutant| mutant.test.contains(IN_A_VM));
    if mutants.is_empty() {
        bail!("the table of mutants has no line that can be read");
    }
    let programs = programs(root, &mutants)?;
    as_it_is(root, &programs, &mutants)?;
    let mut outcome = Outcome { elsewhere: elsewhere.len(), ..Outcome::default() };
    for (at, Mutant { step, test }) in (1..).zip(&mutants) {
        let begun = Instant::now();
        let is_noticed = !passes(test_of(root, &programs, test)?.env(DROP, step))?;
        *(if is_noticed { &mut outcome.noticed } else { &mut outcome.survived }) += 1;
        let word = if is_noticed { "noticed" } else { "SURVIVED" };
        let (of, seconds) = (mutants.len(), begun.elapsed().as_secs_f64());
        say(format!("{at:>3}/{of} {word:<8} {seconds:>6.1} s  {step:<24} {test}"));
    }
    Ok(outcome)
}

/// Compiles the tests; where each program is.
fn programs(root: &Path, mutants: &[Mutant]) -> Result<BTreeMap<String, PathBuf>> {
    let wanted: BTreeSet<&str> = mutants.iter().map(|mutant| split(&mutant.test).0).collect();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The features of every other run, so that nothing is compiled anew.
    cargo.args(["test", "--release", "--workspace", "--features", "gateway/testing", "--no-run"]);
    cargo.args(["--message-format", "json-render-diagnostics"]).current_dir(root);
    for program in &wanted {
        if *program == LIBRARY {
            cargo.arg("--lib");
        } else {
            cargo.args(["--test", program]);
        }
    }
    let output = cargo.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("the tests do not compile ({})", output.status);
    }
    let found: BTreeMap<String, PathBuf> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["profile"]["test"] == true)
        .filter_map(|message| {
            let name = message["target"]["name"].as_str()?.to_owned();
            Some((name, PathBuf::from(message["executable"].as_str()?)))
        })
        .collect();
    match wanted.iter().find(|program| !found.contains_key(**program)) {
        Some(program) => bail!("there is no test program {program}"),
        None => Ok(found),
    }
}

/// `program` and the test's path within it.
fn split(test: &str) -> (&str, &str) {
    test.split_once("::").unwrap_or((test, ""))
}

/// Runs this test alone.
fn test_of(root: &Path, programs: &BTreeMap<String, PathBuf>, test: &str) -> Result<Command> {
    let (program, path) = split(test);
    let program = programs.get(program).with_context(|| format!("no test program {program}"))?;
    let mut command = Command::new(program);
    command.args(["--exact", path]).current_dir(root.join("gateway")).env_remove(DROP);
    Ok(command)
}

/// With nothing left out every test passes.
fn as_it_is(root: &Path, programs: &BTreeMap<String, PathBuf>, mutants: &[Mutant]) -> Result<()> {
    let tests: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.test.as_str()).collect();
    for test in tests {
        if !passes(&mut test_of(root, programs, test)?)? {
            bail!("{test} fails with nothing left out");
        }
    }
    Ok(())
}

/// Whether the one test of the command passes.
fn passes(command: &mut Command) -> Result<bool> {
    let output = tempfile::NamedTempFile::new().context("a file for the output")?;
    let child = command
        .stdin(Stdio::null())
        .stdout(output.reopen()?)
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {:?}", command.get_program()))?;
    let status = ended(child)?;
    let said = std::fs::read_to_string(output.path()).context("the test's output")?;
    let told = |what: &str| said.lines().any(|line| line.starts_with(what));
    match status {
        Some(status) if status.success() && told("test result: ok. 1 passed; 0 failed") => Ok(true),
        // Of the two, only this is a test that has run and found something.
        Some(_) if told("test result: FAILED. 0 passed; 1 failed") => Ok(false),
        Some(status) => bail!("{command:?} ran no test ({status})"),
        None => bail!("{command:?} did not end within {} s", TIME_MAX.as_secs()),
    }
}

/// The status; `None`: it was ended after [`TIME_MAX`].
fn ended(mut child: Child) -> Result<Option<std::process::ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() > TIME_MAX {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_line_by_line() {
        let table = "# Mutants\n\n| step | left out | noticed by |\n|---|---|---|\n\
                     | `a_sync` | A sync, of `x`. | `gateway::a::b` |\n| `b_check` | B. | `movers::c` |\n";
        let mutant = |step: &str, test: &str| Mutant { step: step.into(), test: test.into() };
        assert_eq!(
            listed(table),
            [mutant("a_sync", "gateway::a::b"), mutant("b_check", "movers::c")]
        );
        assert_eq!(split("gateway::a::b"), ("gateway", "a::b"));
    }

    #[test]
    fn a_test_that_fails_is_told_from_none_at_all() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        let passed = "echo 'test result: ok. 1 passed; 0 failed; 0 ignored'";
        assert!(passes(&mut shell(passed)).unwrap());
        let failed = "echo 'test result: FAILED. 0 passed; 1 failed'; exit 101";
        assert!(!passes(&mut shell(failed)).unwrap());
        let none = "echo 'test result: ok. 0 passed; 0 failed'";
        passes(&mut shell(none)).unwrap_err();
        passes(&mut shell("kill -9 $$")).unwrap_err();
    }
}
