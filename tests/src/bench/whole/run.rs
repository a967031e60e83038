//! Sets up the store, the gateways and the peers at each distance of S3, runs the rounds and prints the table.
use std::{
    fs,
    io::IsTerminal,
    path::{Path, PathBuf},
};

use anyhow::Result;
use gateway_api::settings::{Settings, ShareSettings};
use serde_json::{Value, json};

use super::{
    lines::{self, EXPERIMENTS, Experiment, Line, Scale},
    peers::Peer,
    plain::PlainClient,
    rounds::{self, Bench, Contender, PLAIN_BUCKET, Times},
    store::{self, Link},
    table as whole_table,
};
use crate::{
    bench::{
        gateway,
        machine::{self, Machine},
        table::Style,
    },
    seed,
};

/// Quiet time of the gateway after the last write to a file before its upload begins: the shortest that keeps
/// CREATE, WRITE and COMMIT of a new file together.
const UPLOAD_DELAY_MS: u64 = 100;
/// The same of the gateway that uploads when it is told to.
const HELD_MS: u64 = 3_600_000;

/// What is run, and how.
#[derive(Debug)]
pub struct Options {
    /// How often.
    pub rounds: u32,
    /// How much.
    pub scale: Scale,
    /// Names of lines begin so; all of them, if there are none.
    pub only: Vec<String>,
    /// Where S3 is.
    pub links: Vec<Link>,
    /// Who takes part besides.
    pub peers: Vec<Peer>,
    /// How the tables are written.
    pub style: Style,
}

/// The programs that take part.
#[derive(Debug)]
pub struct Programs {
    /// The gateway.
    pub gateway: PathBuf,
    /// The S3 server.
    pub store: PathBuf,
    /// The load.
    pub load: PathBuf,
    /// Where programs of peers are.
    pub out: PathBuf,
}

/// The lines that are wanted, and the work that they take.
#[derive(Debug)]
struct Chosen {
    lines: Vec<Line>,
    experiments: Vec<Experiment>,
}

impl Options {
    fn chosen(&self) -> Chosen {
        let is_wanted = |line: &Line| {
            self.only.is_empty() || self.only.iter().any(|wish| line.id.starts_with(wish.as_str()))
        };
        let lines: Vec<Line> = lines::all(&self.scale).into_iter().filter(is_wanted).collect();
        let is_used =
            |experiment: &Experiment| lines.iter().any(|line| line.experiment == *experiment);
        let experiments = EXPERIMENTS.into_iter().filter(is_used).collect();
        Chosen { lines, experiments }
    }
}

/// Runs it all in `folder`, prints tables, and writes every round to the file `json`.
///
/// # Errors
/// When the store, the plain client or the gateway fails.
pub fn run(
    programs: &Programs,
    options: &Options,
    machine: &Machine,
    folder: &Path,
    json: &Path,
) -> Result<()> {
    let chosen = options.chosen();
    let mut reports = Vec::new();
    for &link in &options.links {
        println!("{}; {} rounds in turns, medians", link.title(), options.rounds);
        let (text, report) = at(link, programs, options, &chosen, &folder.join(link.id()))?;
        println!("\n{text}");
        reports.push(json!({ "link": link.id(), "title": link.title(), "lines": report }));
        // Each time, so that a run that is broken off leaves what it has measured.
        let report = json!({ "machine": machine, "links": reports });
        fs::write(json, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    println!("{}", whole_table::LEGEND);
    Ok(())
}

fn at(
    link: Link,
    programs: &Programs,
    options: &Options,
    chosen: &Chosen,
    folder: &Path,
) -> Result<(String, Value)> {
    fs::create_dir_all(folder)?;
    let store = store::start(&programs.store, link, &folder.join("store.log"))?;
    let plain = PlainClient::new(&store.endpoint)?;
    let mut bench = set_up(programs, options, &store.endpoint, plain, folder)?;
    for round in 1..=options.rounds {
        for &experiment in &chosen.experiments {
            say(&format!("{experiment:?}: round {round} of {}", options.rounds));
            bench.run(experiment, round)?;
        }
    }
    say("");
    let peers: Vec<&str> = bench.peers.iter().map(|peer| peer.server.name).collect();
    let text = whole_table::render(&chosen.lines, &bench.times, &peers, options.style);
    let memory = machine::peak_memory_mib(bench.gateway.server.process.pid())?;
    let text = format!("{text}most memory of the gateway at once: {memory} MiB\n");
    let report = whole_table::report(&chosen.lines, &bench.times, &peers);
    let Bench { gateway, held: (held, _), peers, .. } = bench;
    peers.into_iter().chain([gateway, held]).try_for_each(Contender::end)?;
    Ok((text, report))
}

/// Fills the buckets, then starts the servers on them: what is read and listed is there before they look.
fn set_up(
    programs: &Programs,
    options: &Options,
    endpoint: &str,
    plain: PlainClient,
    folder: &Path,
) -> Result<Bench> {
    let peers = options.peers.iter().map(|peer| peer.bucket());
    for bucket in [PLAIN_BUCKET, "gateway", "held"].into_iter().chain(peers.clone()) {
        plain.make_bucket(bucket)?;
    }
    for bucket in [PLAIN_BUCKET, "gateway"].into_iter().chain(peers) {
        say(&format!("making what is read and listed in the bucket {bucket}"));
        rounds::seed(&plain, bucket, &options.scale, options.rounds)?;
    }
    let gateway = |bucket: &str, upload_delay_ms| {
        let folder = folder.join(bucket);
        gateway::prepare(&folder, settings(endpoint, bucket, upload_delay_ms)?)?;
        let server = gateway::launch(&programs.gateway, &folder)?;
        let (bucket, besides, mounts) = (bucket.to_owned(), Vec::new(), vec![folder]);
        anyhow::Ok(Contender { server, bucket, besides, mounts })
    };
    let mut peers = Vec::new();
    for peer in &options.peers {
        match peer.start(&programs.out, endpoint, &folder.join(peer.bucket())) {
            Ok(contender) => peers.push(contender),
            Err(error) => println!("{} does not take part: {error:#}", peer.name()),
        }
    }
    let held = gateway("held", HELD_MS)?;
    Ok(Bench {
        plain,
        program: programs.gateway.clone(),
        folder: folder.join("gateway"),
        gateway: gateway("gateway", UPLOAD_DELAY_MS)?,
        held: (held, gateway::admin_socket(&folder.join("held"))),
        peers,
        load: programs.load.clone(),
        scale: options.scale,
        times: Times::default(),
    })
}

fn settings(endpoint: &str, bucket: &str, upload_delay_ms: u64) -> Result<Settings> {
    let mut settings = seed::settings(endpoint)?;
    settings.cache.upload_delay_ms = upload_delay_ms;
    settings.shares = vec![ShareSettings::new(seed::SHARE.parse()?, bucket.parse()?, "".parse()?)];
    Ok(settings)
}

/// Replaces the terminal's line; says nothing where there is no terminal.
fn say(text: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{text}");
    }
}
