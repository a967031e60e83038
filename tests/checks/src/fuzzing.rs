//! The gateway's fuzz targets, each for a short time: cargo-fuzz compiles and runs them, this reads
//! what libFuzzer says of it. How to run one for hours: `gateway/fuzz/README.md`.
//!
//! They are compiled with flags of their own, so nothing of it is shared with the workspace: it is done
//! beside other work, which leaves processors idle now and then. They run when nothing else does, one
//! on each processor, so that each tries as much as alone.
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result, bail, ensure};

use crate::host::Need;

/// What compiling libFuzzer takes.
pub const NEEDS: &[Need] =
    &[Need { package: "g++", why: "compiles libFuzzer", file: "/usr/bin/c++" }];

/// Time for one target, in seconds.
const SECONDS_PER_TARGET: u32 = 10;
/// Resident memory that ends a run as a finding. Far above what a target may hold at one time,
/// which it checks itself; this is for what adds up.
const RSS_MIB_MAX: u32 = 512;
/// Time for one input, in seconds; the longest take some milliseconds.
const TIMEOUT_SECONDS: u32 = 10;
/// The same inputs, as far as the time reaches, in every run.
const SEED: u32 = 1813;

/// Lines of libFuzzer's output that are shown of a finding: its trace, and how to repeat it.
const LINES_SHOWN: usize = 100;

/// Names a run's executed inputs in libFuzzer's final statistics.
const EXECUTED: &str = "stat::number_of_executed_units:";

/// One target's run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fuzzed {
    /// The target.
    pub target: String,
    /// Inputs that were tried.
    pub executions: u64,
}

/// The targets, while they are compiled with the least right to the processors.
#[derive(Debug)]
pub struct Compiling {
    fuzz: Fuzz,
    cargo: Child,
    log: PathBuf,
}

impl Compiling {
    /// Begins to compile all targets of the repository in `root`.
    ///
    /// # Errors
    /// When cargo cannot be run.
    pub fn begin(root: &Path) -> Result<Self> {
        let fuzz = Fuzz { root: root.to_owned(), sanitizer: sanitizer()? };
        let out = root.join("out");
        fs::create_dir_all(&out).context("the folder of the log")?;
        let log = out.join("fuzz-build.log");
        let said = File::create(&log).context("the log of the compiler")?;
        let compile = fuzz.cargo(&["build"], &[]);
        let cargo = Command::new("nice")
            .args(["-n", "19"])
            .arg(compile.get_program())
            .args(compile.get_args())
            .current_dir(root)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()
            .context("cannot run cargo fuzz")?;
        Ok(Self { fuzz, cargo, log })
    }

    /// Runs each target from the committed inputs, as soon as all are compiled. What libFuzzer finds worth
    /// keeping goes to `out/fuzz/TARGET`, which is emptied first.
    ///
    /// # Errors
    /// When a target does not compile, crashes, takes too much memory or time, or tries nothing.
    pub fn run_briefly(mut self) -> Result<Vec<Fuzzed>> {
        if !self.cargo.wait().context("compiling the targets")?.success() {
            let said = fs::read_to_string(&self.log).context("the log of the compiler")?;
            bail!("the targets do not compile:\n{said}");
        }
        let targets = self.fuzz.cargo_fuzz(&["list"]).output();
        let targets = targets.context("cannot run cargo fuzz list")?;
        ensure!(targets.status.success(), "cargo fuzz list failed");
        let targets = String::from_utf8(targets.stdout).context("names of targets")?;
        let fuzzed = self.fuzz.run_all(&targets)?;
        ensure!(!fuzzed.is_empty(), "there are no fuzz targets");
        Ok(fuzzed)
    }
}

impl Drop for Compiling {
    /// What the compiler is at is left to it; the next run finds it done.
    fn drop(&mut self) {
        // It may have ended by itself: nothing is left to do then.
        self.cargo.kill().ok();
        self.cargo.wait().ok();
    }
}

/// Address sanitizer where the compiler has it: on nightly. Without it the targets still bound
/// their own memory, and safe Rust leaves little for it to find.
fn sanitizer() -> Result<&'static str> {
    let version = Command::new("rustc").arg("--version").output().context("cannot run rustc")?;
    let nightly = String::from_utf8_lossy(&version.stdout).contains("nightly");
    Ok(if nightly { "address" } else { "none" })
}

#[derive(Debug)]
struct Fuzz {
    root: PathBuf,
    sanitizer: &'static str,
}

impl Fuzz {
    fn cargo_fuzz(&self, words: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .arg("fuzz")
            .args(words)
            .args(["--fuzz-dir", "gateway/fuzz"])
            .current_dir(&self.root);
        command
    }

    fn cargo(&self, words: &[&str], then: &[&str]) -> Command {
        let mut command = self.cargo_fuzz(words);
        command.args(["--sanitizer", self.sanitizer]).args(then);
        command
    }

    /// Runs the targets of a list, as many at a time as there are processors. All are run, whatever the
    /// others find.
    fn run_all(&self, targets: &str) -> Result<Vec<Fuzzed>> {
        let together = thread::available_parallelism().context("the number of processors")?;
        let left = Mutex::new(targets.lines());
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let one_after_the_other =
            || std::iter::from_fn(next).map(|t| self.run(t)).collect::<Vec<_>>();
        thread::scope(|scope| {
            let running: Vec<_> =
                (0..together.get()).map(|_| scope.spawn(one_after_the_other)).collect();
            let ended = running.into_iter().map(|one| one.join().expect("fuzzing does not panic"));
            ended.flatten().collect()
        })
    }

    fn run(&self, target: &str) -> Result<Fuzzed> {
        // libFuzzer writes to the first folder only: a run leaves the repository as it was.
        let kept = format!("out/fuzz/{target}");
        if self.root.join(&kept).exists() {
            fs::remove_dir_all(self.root.join(&kept)).context("old inputs")?;
        }
        fs::create_dir_all(self.root.join(&kept)).context("the folder of new inputs")?;
        let corpus = format!("gateway/fuzz/corpus/{target}");
        let options = [
            format!("-max_total_time={SECONDS_PER_TARGET}"),
            format!("-rss_limit_mb={RSS_MIB_MAX}"),
            format!("-timeout={TIMEOUT_SECONDS}"),
            format!("-seed={SEED}"),
            "-print_final_stats=1".to_owned(),
        ];
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let words = [&[target, &kept, &corpus, "--"], &options[..]].concat();
        let mut running = self
            .cargo(&["run"], &words)
            // The sanitizer keeps freed memory for a while: less of it than the limit above.
            .env("ASAN_OPTIONS", "quarantine_size_mb=64")
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run cargo fuzz")?;
        let output = BufReader::new(running.stderr.take().context("libFuzzer's output")?);
        let mut said = Vec::new();
        for line in output.split(b'\n') {
            said.push(String::from_utf8_lossy(&line?).into_owned());
        }
        if !running.wait()?.success() {
            let shown = &said[said.len().saturating_sub(LINES_SHOWN)..];
            bail!("{target} has found something:\n{}", shown.join("\n"));
        }
        let executions = executions(&said).with_context(|| format!("{target}: no statistics"))?;
        ensure!(executions > 0, "{target} has tried nothing");
        println!("{target:<12} {executions:>9} inputs");
        Ok(Fuzzed { target: target.to_owned(), executions })
    }
}

fn executions(said: &[String]) -> Option<u64> {
    said.iter().find_map(|line| line.strip_prefix(EXECUTED)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_final_statistics_tell_what_was_tried() {
        let said = ["INFO: Seed: 1", "stat::number_of_executed_units: 608741", "stat::x: 1"];
        assert_eq!(executions(&said.map(str::to_owned)), Some(608_741));
        assert_eq!(executions(&["Done 5 runs".to_owned()]), None);
    }
}
