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
use e2e::workspace::Workspace;

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
    /// Updates the appliance in a virtual machine, by BIOS and by UEFI: a version is tried and kept, one that does not
    /// come up gives way, and the power is cut while it is written.
    Update {
        /// How often the power is cut, on each firmware.
        #[arg(long, default_value_t = 12)]
        cuts: u64,
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
    let (words, log) = match proof {
        Proof::Kills { times, seed } => {
            test.args(["--test", "serve", "--", "--nocapture", "kills_at_any_moment"])
                .env("TIDEGATE_KILLS", times.to_string())
                .env("TIDEGATE_SEED", seed.to_string());
            (format!("{times} kills from the seed {seed}"), out.join("prove-kills.log"))
        }
        Proof::Update { cuts } => {
            test.args(["--test", "update", "--", "--nocapture", "--test-threads", "1"])
                .env("TIDEGATE_UPDATE_CUTS", cuts.to_string());
            let words = format!("updates, and {cuts} power cuts, on each firmware");
            (words, out.join("prove-update.log"))
        }
    };
    println!("{words}; everything that is said goes to {}", log.display());
    follow(test, &log)
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
