//! Runs the lines: each server in turn, round after round.
use std::{collections::HashSet, io::IsTerminal, path::PathBuf, process::Stdio};

use anyhow::{Context, Result, ensure};

use super::{
    ganesha,
    lines::{Line, Scale, Set},
    measurement::Measurement,
    processors::Processors,
    server::Server,
    summary::Rounds,
};

/// The servers and what loads them.
#[derive(Debug)]
pub struct Bench {
    /// Ours.
    pub gateway: Server,
    /// Theirs.
    pub ganesha: Server,
    /// A program that only answers NULL.
    pub least: Server,
    /// The program `nfs-load`.
    pub load: PathBuf,
    /// How much.
    pub scale: Scale,
    /// How often.
    pub rounds: u32,
    /// The sets that have been made, on both.
    pub made: HashSet<Set>,
}

/// The rounds of one line.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which.
    pub line: Line,
    /// Ours.
    pub ours: Rounds,
    /// Theirs, as shipped.
    pub shipped: Rounds,
    /// Theirs with synchronous changes of names: only where names change.
    pub synchronous: Option<Rounds>,
    /// Of the program that only answers NULL, where there is nothing else.
    pub least: Option<Rounds>,
}

impl Outcome {
    /// Theirs with the same promise as ours.
    pub fn equal(&self) -> &Rounds {
        self.synchronous.as_ref().unwrap_or(&self.shipped)
    }
}

impl Bench {
    /// Runs one line.
    ///
    /// # Errors
    /// When a server answers anything else than the work expects.
    pub fn run(&mut self, line: Line) -> Result<Outcome> {
        if let Some(set) = line.set
            && self.made.insert(set)
        {
            for server in [&self.gateway, &self.ganesha] {
                say(&format!("{}: {}", server.name, set.name()));
                self.load(server, false, &set.arguments(&self.scale, ganesha::PLAIN))?;
            }
        }
        let mut outcome = Outcome {
            line,
            ours: Rounds::default(),
            shipped: Rounds::default(),
            synchronous: line.changes_names().then(Rounds::default),
            least: line.is_null().then(Rounds::default),
        };
        for round in 1..=self.rounds {
            say(&format!("{}: round {round} of {}", line.title, self.rounds));
            let round = round.to_string();
            let measure = |server, directory| {
                let words = line.arguments(&self.scale, directory, &round);
                self.load(server, line.one_processor, &words).with_context(|| line.title)
            };
            outcome.ours.0.push(measure(&self.gateway, ganesha::PLAIN)?);
            if let Some(synchronous) = &mut outcome.synchronous {
                synchronous.0.push(measure(&self.ganesha, ganesha::SYNCHRONOUS)?);
            }
            outcome.shipped.0.push(measure(&self.ganesha, ganesha::PLAIN)?);
            if let Some(least) = &mut outcome.least {
                least.0.push(measure(&self.least, ganesha::PLAIN)?);
            }
        }
        say("");
        Ok(outcome)
    }

    fn load(&self, server: &Server, one_processor: bool, words: &[String]) -> Result<Measurement> {
        let processors = if one_processor { Processors::First } else { Processors::All };
        let _confined = processors.confine(server.process.pid())?;
        let output = processors
            .command(&self.load)
            .args(["--nfs-port", &server.nfs_port.to_string()])
            .args(["--mount-port", &server.mount_port.to_string()])
            .args(["--export", &server.export])
            .args(["--server-pid", &server.process.pid().to_string()])
            .args(words)
            // Its progress and errors.
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run nfs-load")?;
        let (name, status) = (server.name, output.status);
        ensure!(status.success(), "{name}: nfs-load {}: {status}", words.join(" "));
        let measured = Measurement::from_json(String::from_utf8(output.stdout)?.trim())?;
        ensure!(measured.errors == 0, "{}: {} errors", server.name, measured.errors);
        Ok(measured)
    }
}

/// Replaces the terminal's line; says nothing where there is no terminal.
fn say(text: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{text}");
    }
}
