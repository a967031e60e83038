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
use e2e::{artifacts::GATEWAY_VARIABLE, workspace::Workspace};

/// Runs the long form of one proof, shows how far it is, and keeps everything that was said in `out`.
#[derive(Debug, Parser)]
#[command(name = "cargo prove")]
struct Arguments {
    #[command(subcommand)]
    proof: Proof,
}

#[derive(Clone, Copy, Debug, Subcommand)]
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
    /// Cuts the power of the gateway's cache disk at any write, in a virtual machine: nothing acknowledged is lost.
    PowerCuts {
        /// How many.
        #[arg(long, default_value_t = 10_000)]
        points: u64,
        /// Where the random choices begin.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
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

fn run(proof: Proof) -> Result<()> {
    let workspace = Workspace::find();
    let out = workspace.root().join("out");
    fs::create_dir_all(&out).context("the folder of the log")?;
    let mut test = cargo(workspace.root());
    let (name, what) = match proof {
        Proof::Kills { times, seed } => {
            test.args(["--test", "serve", "--", "--nocapture", "kills_at_any_moment"])
                .env("TIDEGATE_KILLS", times.to_string())
                .env("TIDEGATE_SEED", seed.to_string());
            ("kills", format!("{times} kills from the seed {seed}"))
        }
        Proof::PowerCuts { points, seed } => {
            // `serve` is of the gateway's package: with it, cargo builds the gateway's program with its crash
            // points and switches, which the test takes from beside this one.
            build(workspace.root())?;
            test.args(["--test", "power", "--", "--nocapture", "in_a_vm::"])
                .env(GATEWAY_VARIABLE, std::env::current_exe()?.with_file_name("gateway"))
                .env("TIDEGATE_POINTS", points.to_string())
                .env("TIDEGATE_SEED", seed.to_string());
            ("power-cuts", format!("{points} power cuts from the seed {seed}"))
        }
    };
    let log = out.join(format!("prove-{name}.log"));
    println!("{what}; everything that is said goes to {}", log.display());
    follow(test, &log)
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
