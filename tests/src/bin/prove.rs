//! `cargo prove`: the long forms of the tests by which promises are proved; `cargo verify` runs their short
//! forms.
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
    /// Cuts the appliance's power at any moment of its first boot and of a change of its settings: they are
    /// whole afterwards.
    SettingsCuts {
        /// How many times; a minute each.
        #[arg(long, default_value_t = 40)]
        times: u64,
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
    let (name, what, test, times_variable, times, seed) = match proof {
        Proof::Kills { times, seed } => {
            let test = ["--test", "serve", "--", "--nocapture", "kills_at_any_moment"].as_slice();
            ("kills", "kills", test, "TIDEGATE_KILLS", times, seed)
        }
        Proof::SettingsCuts { times, seed } => {
            let test = ["--test", "cuts", "--", "--nocapture", "--ignored", "long::"].as_slice();
            ("settings-cuts", "power cuts", test, "TIDEGATE_CUTS", times, seed)
        }
    };
    let workspace = Workspace::find();
    let out = workspace.root().join("out");
    fs::create_dir_all(&out).context("the folder of the log")?;
    let log = out.join(format!("prove-{name}.log"));
    println!(
        "{times} {what} from the seed {seed}; everything that is said goes to {}",
        log.display()
    );
    let mut command = cargo(workspace.root());
    command
        .args(test)
        .env(times_variable, times.to_string())
        .env("TIDEGATE_SEED", seed.to_string());
    follow(command, &log)
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
