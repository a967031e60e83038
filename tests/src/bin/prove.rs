//! `cargo prove`: the long forms of the tests by which the cache's promises are proved; `cargo verify` runs their
//! short forms.
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use e2e::{
    boot_cost,
    mutants::Outcome,
    workspace::{GATEWAY_VARIABLE, Workspace},
};

/// Runs the long form of one proof, shows how far it is, and keeps everything that was said in `out`.
#[derive(Debug, Parser)]
#[command(name = "cargo prove")]
struct Arguments {
    #[command(subcommand)]
    proof: Proof,
}

#[derive(Clone, Debug, Subcommand)]
enum Proof {
    /// Kills the gateway's process at any moment, again and again: nothing acknowledged is lost.
    Kills {
        /// How many times.
        #[arg(long, default_value_t = 1000)]
        times: u64,
        /// Where the random choices begin.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Ends the gateway's process between any two of its steps, whichever operation is at them: nothing acknowledged is
    /// lost.
    CrashPoints {
        /// At how many comings of each step, at most.
        #[arg(long, default_value_t = 1000)]
        comings: u64,
    },
    /// Kills the gateway and destroys its catalog, in twelve ways: nothing acknowledged is lost.
    Catalog {
        /// How many times.
        #[arg(long, default_value_t = 1000)]
        times: u64,
        /// Where the random choices begin.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Lets clients work while S3 refuses, forgets to answer, cuts bodies off and goes away, the clock jumps, and the
    /// cache disk changes bits: nothing is lost or wrong, nothing is left in the bucket, and the gateway's process does
    /// not grow.
    Soak {
        /// How many answered calls; some hundreds a second.
        #[arg(long, default_value_t = 1_000_000)]
        calls: u64,
        /// Where the random choices begin.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Fills the cache disk while S3 is away, with large files and with small ones in turns: writers are slowed and
    /// refused, nothing is lost, and all of it arrives when S3 is back.
    Full {
        /// How many times; some minutes each.
        #[arg(long, default_value_t = 10)]
        rounds: u64,
    },
    /// Kills a gateway that knows very many files, and prints how soon it serves again and what each file costs.
    Entries {
        /// How many files.
        #[arg(long, default_value_t = 1_000_000)]
        entries: u64,
    },
    /// Leaves one sync or check after the other out of the gateway: a test notices each.
    Mutants,
    /// Cuts the power of the gateway's cache disk at any write, in a virtual machine: nothing acknowledged is lost.
    PowerCuts {
        /// How many.
        #[arg(long, default_value_t = 10_000)]
        points: u64,
        /// Where the random choices begin.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Cuts the appliance's power at any moment of its first boot and of a change of its settings: they are
    /// whole afterwards.
    SettingsCuts {
        /// How many times; half a minute each.
        #[arg(long, default_value_t = 40)]
        times: u64,
        /// Where the random choices begin.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Updates the appliance in a virtual machine, by BIOS and by UEFI: a version is tried and kept, one that does not
    /// come up gives way, and the power is cut while it is written.
    Update {
        /// How often the power is cut, on each firmware.
        #[arg(long, default_value_t = 12)]
        cuts: u64,
    },
    /// Photographs every page of the console on the screen, in `out/pictures`, to be looked at.
    Pictures,
    /// Boots this appliance and one with PID 1 and image of an earlier revision in turns: time and memory, and
    /// their ratios.
    Boot {
        /// The earlier revision, as git names it.
        #[arg(long)]
        against: String,
        /// How often each.
        #[arg(long, default_value_t = 3)]
        rounds: u32,
    },
}

/// A test and how its long form is asked for.
struct Long {
    name: &'static str,
    /// What is done, so many times if there is a number.
    what: &'static str,
    /// The program, and which of its tests.
    program: &'static str,
    tests: &'static [&'static str],
    /// How many times, and the variable that says it.
    times: Option<(&'static str, u64)>,
    /// Where the random choices begin, if there are any.
    seed: Option<u64>,
}

/// Lines of a proof that are shown.
const SHOWN: &str = "proof: ";

fn main() -> ExitCode {
    match run(Arguments::parse().proof) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo prove: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a proof.
fn run(proof: Proof) -> Result<()> {
    match proof {
        Proof::Kills { times, seed } => prove(Long {
            name: "kills",
            what: "kills",
            program: "serve",
            tests: &["kills_at_any_moment"],
            times: Some(("TIDEGATE_KILLS", times)),
            seed: Some(seed),
        }),
        Proof::CrashPoints { comings } => prove(Long {
            name: "crash-points",
            what: "comings of each step, at most",
            program: "serve",
            tests: &["crash_between_the_steps_of"],
            times: Some(("TIDEGATE_COMINGS", comings)),
            seed: None,
        }),
        Proof::Catalog { times, seed } => prove(Long {
            name: "catalog",
            what: "destroyed catalogs",
            program: "serve",
            tests: &["a_destroyed_catalog_loses_nothing"],
            times: Some(("TIDEGATE_LOSSES", times)),
            seed: Some(seed),
        }),
        Proof::Soak { calls, seed } => prove(Long {
            name: "soak",
            what: "calls",
            program: "serve",
            tests: &["mixed_load_under_an_s3_of_all_moods"],
            times: Some(("TIDEGATE_CALLS", calls)),
            seed: Some(seed),
        }),
        Proof::Full { rounds } => prove(Long {
            name: "full",
            what: "fillings of the cache disk",
            program: "serve",
            tests: &["a_cache_that_fills_up"],
            times: Some(("TIDEGATE_ROUNDS", rounds)),
            seed: None,
        }),
        Proof::Entries { entries } => prove(Long {
            name: "entries",
            what: "entries",
            program: "serve",
            tests: &["a_gateway_that_knows_many_files"],
            times: Some(("TIDEGATE_ENTRIES", entries)),
            seed: None,
        }),
        Proof::Mutants => mutants(Workspace::find().root()),
        Proof::PowerCuts { points, seed } => prove(Long {
            name: "power-cuts",
            what: "power cuts of the cache disk",
            program: "power",
            tests: &["in_a_vm::"],
            times: Some(("TIDEGATE_POINTS", points)),
            seed: Some(seed),
        }),
        Proof::SettingsCuts { times, seed } => prove(Long {
            name: "settings-cuts",
            what: "power cuts of the appliance",
            program: "cuts",
            tests: &["--ignored", "long::"],
            times: Some(("TIDEGATE_CUTS", times)),
            seed: Some(seed),
        }),
        Proof::Update { cuts } => prove(Long {
            name: "update",
            what: "power cuts of updates on each firmware",
            program: "update",
            tests: &["--test-threads", "1"],
            times: Some(("TIDEGATE_UPDATE_CUTS", cuts)),
            seed: None,
        }),
        Proof::Pictures => prove(Long {
            name: "pictures",
            what: "pictures of the console",
            program: "pictures",
            tests: &["--ignored", "long::"],
            times: None,
            seed: None,
        }),
        Proof::Boot { against, rounds } => boot_cost::compare(&against, rounds),
    }
}

fn prove(long: Long) -> Result<()> {
    let Long { name, what, program, tests, times, seed } = long;
    let workspace = Workspace::find();
    let out = workspace.root().join("out");
    fs::create_dir_all(&out).context("the folder of the log")?;
    let log = out.join(format!("prove-{name}.log"));
    let from = seed.map(|seed| format!(" from the seed {seed}")).unwrap_or_default();
    let many = times.map(|(_, times)| format!("{times} ")).unwrap_or_default();
    println!("{many}{what}{from}; everything that is said goes to {}", log.display());
    // `serve` is of the gateway's package: with it, cargo builds the gateway's program with its crash points and
    // switches, which tests in virtual machines take from beside this one.
    build(workspace.root())?;
    let mut test = cargo(workspace.root());
    test.args(["--test", program, "--", "--nocapture"])
        .args(tests)
        .env(GATEWAY_VARIABLE, std::env::current_exe()?.with_file_name("gateway"));
    test.envs(times.map(|(variable, times)| (variable, times.to_string())));
    test.envs(seed.map(|seed| ("TIDEGATE_SEED", seed.to_string())));
    follow(test, &log)
}

/// Runs every mutant that needs no virtual machine.
fn mutants(root: &Path) -> Result<()> {
    let Outcome { noticed, survived, elsewhere } =
        e2e::mutants::run(root, |line| println!("{line}"))?;
    println!("{noticed} noticed, {survived} survived; {elsewhere} are controls of the power cuts");
    if survived > 0 {
        bail!("{survived} can be left out and no test notices");
    }
    Ok(())
}

/// Builds the gateway's program as its tests use it.
fn build(root: &Path) -> Result<()> {
    let status = cargo(root).args(["--no-run", "--test", "serve"]).status()?;
    if !status.success() {
        bail!("the gateway does not compile ({status})");
    }
    Ok(())
}

/// Cargo's tests with the features of every other run, so that nothing is compiled anew.
fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--release", "--workspace", "--features", "gateway/testing"]);
    cargo.current_dir(root);
    cargo
}

/// Runs it, keeps its output in `log`, and shows what a proof says of itself.
fn follow(mut command: Command, log: &Path) -> Result<()> {
    let (reader, writer) = std::io::pipe().context("a pipe for the output")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .context("cannot run cargo")?;
    // It holds the pipe's other ends.
    drop(command);
    let mut kept = File::create(log).with_context(|| log.display().to_string())?;
    for line in BufReader::new(reader).split(b'\n') {
        let line = line?;
        kept.write_all(&line)?;
        kept.write_all(b"\n")?;
        let line = String::from_utf8_lossy(&line);
        if let Some(said) = line.strip_prefix(SHOWN) {
            println!("{said}");
        } else if line.starts_with("test result: ") && !line.contains(" 0 passed; 0 failed") {
            println!("{line}");
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("it failed ({status}); see {}", log.display());
    }
    Ok(())
}
