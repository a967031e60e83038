//! `cargo bench-nfs`: the gateway beside nfs-ganesha under the same NFSv3 load; with `--s3`, the whole path to S3.
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use e2e::{
    artifacts,
    bench::{
        disk, ganesha, gateway, least,
        lines::{self, Line, Scale},
        machine::{self, Machine},
        private_network,
        report::{self, Servers},
        rounds::Bench,
        table::{self, Style},
        whole::{
            self,
            peers::{self, Peer},
            run::Programs,
            store::Link,
        },
    },
    host::{self, Need},
    lab, run_state,
    workspace::Workspace,
};

/// Measures the gateway and nfs-ganesha, in turns, under the same NFSv3 load on the same disk:
/// throughput, and processor time of each server. Needs root.
#[derive(Debug, Parser)]
#[command(name = "cargo bench-nfs")]
struct Arguments {
    /// The whole path instead: from NFS through the cache to S3 and back, beside a plain S3 client and the disk.
    #[arg(long)]
    s3: bool,
    /// With --s3: the larger directories, too, of 10,000 and 100,000 files.
    #[arg(long, requires = "s3", conflicts_with = "quick")]
    large: bool,
    /// With --s3: only with S3 on bare loopback (loopback), or only far away (distant).
    #[arg(long, requires = "s3", value_name = "WHERE")]
    link: Option<Link>,
    /// With --s3: without the peers.
    #[arg(long, requires = "s3")]
    alone: bool,
    /// How often each line is measured on each server [default: 5; with --quick or --s3 3].
    #[arg(long)]
    rounds: Option<u32>,
    /// Less of everything: a first look, in a few minutes.
    #[arg(long)]
    quick: bool,
    /// Only lines whose name begins like this, such as read or create-8; may be repeated.
    #[arg(long, value_name = "LINE")]
    only: Vec<String>,
    /// Print the table in Markdown.
    #[arg(long)]
    markdown: bool,
    /// Say the lines' names and end.
    #[arg(long)]
    list: bool,
}

const TOOLS: &[Need] = &[
    Need {
        package: "libnfs-dev",
        why: "is the NFS client library of the load generator",
        file: "/usr/include/nfsc/libnfs-raw.h",
    },
    Need {
        package: "iproute2",
        why: "switches the loopback of the benchmark's own network on",
        file: "/usr/bin/ip",
    },
];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo bench-nfs: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if arguments.s3 {
        return whole_path(arguments);
    }
    let lines = chosen(&arguments.only)?;
    if arguments.list {
        lines.iter().for_each(|line| println!("{:<16} {}", line.id, line.title));
        return Ok(());
    }
    let begun = Instant::now();
    private_network::check()?;
    host::ensure_packages(&[host::COMPILER, ganesha::PACKAGES, disk::PACKAGES, TOOLS].concat())?;
    let workspace = Workspace::find();
    let program = artifacts::gateway(&workspace)?;
    let load = artifacts::nfs_load(&workspace)?;
    let null_server = artifacts::null_server(&workspace)?;
    private_network::enter()?;

    let folder = workspace.out().join("bench-nfs");
    let _alone = run_state::lock(&folder)?;
    let folder = new_folder(&folder)?;
    let machine = Machine::read(&folder)?;
    let store = lab::start_store(0, None)?;
    let gateway = gateway::start(&program, &folder.join("gateway"), &store.endpoint())?;
    let ganesha = ganesha::start(&folder.join("ganesha"))?;
    let least = least::start(&null_server, &folder.join("least.log"), &gateway)?;
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { 3 } else { 5 });
    let scale = if arguments.quick { Scale::QUICK } else { Scale::FULL };
    introduce(&machine, rounds);

    let made = HashSet::new();
    let mut bench = Bench { gateway, ganesha, least, load, scale, rounds, made };
    let json = workspace.out().join("bench-nfs.json");
    let mut outcomes = Vec::new();
    println!("{}", table::line_heading());
    for line in lines {
        let outcome = bench.run(line)?;
        println!("{}", table::line(&outcome));
        outcomes.push(outcome);
        // Each time, so that a run that is broken off leaves what it has measured.
        report::write(&json, &machine, &servers(&bench, &program)?, &outcomes)?;
    }
    let servers = servers(&bench, &program)?;
    drop(bench);
    ganesha::unmount(&folder.join("ganesha"))?;
    disk::unmount(&folder.join("gateway"))?;
    remove(&folder)?;
    println!(
        "\n{}\n{}\n\n{}",
        table::render(&outcomes, style(arguments)),
        table::LEGEND,
        table::least(&outcomes)
    );
    println!(
        "most memory at once: gateway {} MiB, nfs-ganesha {} MiB; {:.0} s; every round: {}",
        servers.gateway_peak_memory_mib,
        servers.ganesha_peak_memory_mib,
        begun.elapsed().as_secs_f64(),
        json.display()
    );
    Ok(())
}

fn whole_path(arguments: &Arguments) -> Result<()> {
    let scale = match (arguments.quick, arguments.large) {
        (true, _) => whole::lines::Scale::QUICK,
        (false, true) => whole::lines::Scale::LARGE,
        (false, false) => whole::lines::Scale::FULL,
    };
    let lines = whole::lines::all(&scale);
    if arguments.list {
        lines.iter().for_each(|line| println!("{:<16} {} ({})", line.id, line.title, line.by));
        return Ok(());
    }
    for wish in &arguments.only {
        let known = lines.iter().any(|line| line.id.starts_with(wish.as_str()));
        ensure!(known, "no line begins with {wish:?}; see --s3 --list");
    }
    let begun = Instant::now();
    private_network::check()?;
    host::ensure_packages(&[host::COMPILER, disk::PACKAGES, TOOLS].concat())?;
    let workspace = Workspace::find();
    let peers = if arguments.alone { Vec::new() } else { those_at_hand(&workspace) };
    let programs = Programs {
        gateway: artifacts::gateway(&workspace)?,
        store: artifacts::s3_store(&workspace)?,
        load: artifacts::nfs_load(&workspace)?,
        out: workspace.out(),
    };
    private_network::enter()?;
    let folder = workspace.out().join("bench-s3");
    let _alone = run_state::lock(&folder)?;
    let folder = new_folder(&folder)?;
    let machine = Machine::read(&folder)?;
    println!("{}; gateway {}", describe(&machine), gateway_version(&programs.gateway));
    let options = whole::run::Options {
        rounds: arguments.rounds.unwrap_or(3),
        scale,
        only: arguments.only.clone(),
        links: arguments.link.map_or(vec![Link::Loopback, Link::Distant], |link| vec![link]),
        peers,
        style: style(arguments),
    };
    let json = workspace.out().join("bench-s3.json");
    whole::run::run(&programs, &options, &machine, &folder, &json)?;
    remove(&folder)?;
    let seconds = begun.elapsed().as_secs_f64();
    println!("\n{seconds:.0} s; every round: {}", json.display());
    Ok(())
}

/// The peers that can be had here.
fn those_at_hand(workspace: &Workspace) -> Vec<Peer> {
    let mut peers = Vec::new();
    for peer in peers::ALL {
        match peer.install(&workspace.out()) {
            Ok(()) => peers.push(peer),
            Err(error) => println!("{} does not take part: {error:#}", peer.name()),
        }
    }
    peers
}

fn style(arguments: &Arguments) -> Style {
    if arguments.markdown { Style::Markdown } else { Style::Text }
}

fn chosen(only: &[String]) -> Result<Vec<Line>> {
    let mut lines = lines::all();
    for wish in only {
        let known = lines::all().iter().any(|line| line.id.starts_with(wish.as_str()));
        ensure!(known, "no line begins with {wish:?}; see --list");
    }
    lines.retain(|line| {
        only.is_empty() || only.iter().any(|wish| line.id.starts_with(wish.as_str()))
    });
    Ok(lines)
}

fn new_folder(folder: &Path) -> Result<PathBuf> {
    remove(folder)?;
    fs::create_dir_all(folder)?;
    folder.canonicalize().context("the folder of the benchmark")
}

/// Removes what a run has left, if there was one.
fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

fn describe(machine: &Machine) -> String {
    format!(
        "{} × {}, {} MiB, Linux {}, XFS in images on {}; load average before the first line {}",
        machine.processors,
        machine.processor,
        machine.memory_mib,
        machine.kernel,
        machine.file_system,
        machine.load_before
    )
}

fn introduce(machine: &Machine, rounds: u32) {
    println!("{}", describe(machine));
    println!(
        "gateway (upload delay 1 h: both servers use the local disk only) beside nfs-ganesha {} \
         (VFS); {rounds} rounds in turns, medians",
        ganesha::version()
    );
    println!();
}

fn servers(bench: &Bench, program: &Path) -> Result<Servers> {
    Ok(Servers {
        gateway_version: gateway_version(program),
        ganesha_version: ganesha::version(),
        gateway_peak_memory_mib: machine::peak_memory_mib(bench.gateway.process.pid())?,
        ganesha_peak_memory_mib: machine::peak_memory_mib(bench.ganesha.process.pid())?,
    })
}

fn gateway_version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    output.map_or_else(|_| String::new(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}
