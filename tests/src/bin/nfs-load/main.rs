//! `nfs-load`: NFSv3 load on one server at 127.0.0.1, made through libnfs's asynchronous calls; prints one line of JSON.
//!
//! A process of its own, so that what it takes of the processors is not counted to a server. Any
//! status that the work does not expect ends it with an error.
mod call;
mod calls;
mod client;
mod data;
mod engine;
mod ffi;
mod files;
mod reply;

use std::{ffi::CString, process::ExitCode, time::Duration};

use anyhow::{Result, ensure};
use call::Call;
use calls::{Calls, Procedure};
use clap::{Args, Parser, Subcommand};
use client::{Client, Target};
use data::Order;
use e2e::bench::{content, measurement::Measurement, process_clock::ProcessClock, whole::moment};
use engine::Tally;
use files::{Durability, Entries, NewFiles};

/// Puts NFSv3 load on a server at 127.0.0.1 and prints one line of JSON.
#[derive(Debug, Parser)]
#[command(name = "nfs-load")]
struct Arguments {
    #[arg(long)]
    nfs_port: u16,
    #[arg(long)]
    mount_port: u16,
    #[arg(long)]
    export: String,
    /// The server's process: what it takes of the processors is measured, and it comes to rest before and after.
    #[arg(long)]
    server_pid: Option<i32>,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Calls, or files, that are worked on at once, over all connections.
    #[arg(long, default_value_t = 8)]
    depth: usize,
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, Subcommand)]
enum Work {
    /// One call after another, for a time; GETATTR and LOOKUP on files that `create` has made.
    Calls {
        procedure: Procedure,
        #[arg(long)]
        milliseconds: u64,
        #[arg(long, default_value = "")]
        directory: String,
        #[arg(long, default_value_t = 0)]
        files: usize,
    },
    /// A new file: WRITE UNSTABLE in sequence, one COMMIT.
    Write {
        directory: String,
        name: String,
        #[command(flatten)]
        size: Size,
        /// Remove the file when it has been measured.
        #[arg(long)]
        remove: bool,
    },
    /// A file of `write`; once before it is measured.
    Read {
        directory: String,
        name: String,
        #[command(flatten)]
        size: Size,
        /// Not before it is measured.
        #[arg(long)]
        cold: bool,
        /// At random, for so long.
        #[arg(long)]
        random_milliseconds: Option<u64>,
    },
    /// LOOKUP, CREATE, WRITE and, if need be, COMMIT, for each of many files.
    Create {
        directory: String,
        #[arg(long)]
        files: usize,
        #[arg(long, default_value_t = 4096)]
        size: u32,
        durability: Durability,
        /// Say how far it is.
        #[arg(long)]
        say_progress: bool,
    },
    /// REMOVE of many files, which are made before it is measured.
    Remove {
        directory: String,
        #[arg(long)]
        files: usize,
    },
    /// READDIRPLUS of a whole directory of `create`; once before it is measured.
    List {
        directory: String,
        #[arg(long)]
        files: usize,
        /// Not before it is measured; entries may come without attributes.
        #[arg(long)]
        cold: bool,
        /// LOOKUP of each entry that comes without attributes.
        #[arg(long)]
        attributes: bool,
    },
    /// RENAME of something in the export's root.
    Rename { from: String, to: String },
    /// Mounts, and asks once for the attributes of the root.
    Up,
}

#[derive(Clone, Copy, Debug, Args)]
struct Size {
    #[arg(long)]
    bytes: u64,
    /// Bytes of each READ or WRITE.
    #[arg(long)]
    block: u32,
}

/// Jobs with which files are made that are not measured.
const PREPARING_DEPTH: usize = 64;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(measurement) => {
            println!("{}", measurement.to_json());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("nfs-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Long enough without work that what a server puts off for a second or less has been done.
const AFTER_WRITING: Duration = Duration::from_millis(1500);
/// After reading, nothing is put off.
const AFTER_READING: Duration = Duration::from_millis(100);

/// Measures time and the server's processor time of one piece of work.
struct Meter {
    clock: Option<ProcessClock>,
    /// How long the server must rest until its work counts as done.
    quiet: Duration,
}

impl Meter {
    /// Begins when the server has nothing left to do and the disk nothing left to write.
    fn measure(&self, work: impl FnOnce() -> Result<Tally>) -> Result<Measurement> {
        nix::unistd::sync();
        let before = self.settle(AFTER_READING)?;
        let tally = work()?;
        let ended = moment::now();
        // What the server puts off belongs to the work as well.
        let cpu = self.settle(self.quiet)?.saturating_sub(before);
        Ok(Measurement {
            operations: tally.operations,
            bytes: tally.bytes,
            begun: ended - tally.elapsed.as_secs_f64(),
            seconds: tally.elapsed.as_secs_f64(),
            first_seconds: tally.first.as_secs_f64(),
            errors: 0,
            p50_us: tally.percentile(0.5).as_secs_f64() * 1e6,
            p99_us: tally.percentile(0.99).as_secs_f64() * 1e6,
            server_cpu_seconds: cpu.as_secs_f64(),
        })
    }

    /// Waits until the server has rested so long, if anybody asks for its processor time.
    fn settle(&self, quiet: Duration) -> Result<Duration> {
        self.clock.map_or(Ok(Duration::ZERO), |clock| clock.settle(quiet))
    }
}

fn run(arguments: &Arguments) -> Result<Measurement> {
    let depth = arguments.depth;
    ensure!(depth > 0 && arguments.connections > 0, "at least one connection and one job");
    let target = Target {
        nfs_port: arguments.nfs_port,
        mount_port: arguments.mount_port,
        export: CString::new(arguments.export.as_str())?,
    };
    let client = &mut Client::mount(&target, arguments.connections)?;
    let quiet = match arguments.work {
        Work::Calls { .. } | Work::Read { .. } | Work::List { .. } | Work::Up => AFTER_READING,
        Work::Write { .. } | Work::Create { .. } | Work::Remove { .. } | Work::Rename { .. } => {
            AFTER_WRITING
        }
    };
    let meter = Meter { clock: arguments.server_pid.map(ProcessClock::of).transpose()?, quiet };
    content::prepare();
    perform(&arguments.work, client, depth, &meter)
}

fn perform(work: &Work, client: &mut Client, depth: usize, meter: &Meter) -> Result<Measurement> {
    match work {
        Work::Calls { procedure, milliseconds, directory, files } => {
            let directory = client.directory(directory)?;
            let time = Duration::from_millis(*milliseconds);
            let calls = Calls::new(client, *procedure, directory, *files, depth)?;
            meter.measure(|| engine::run(client, depth, &mut calls.run_for(time)))
        }
        Work::Write { directory, name, size, remove } => {
            let directory = client.directory(directory)?;
            let file = data::create(client, &directory, name)?;
            let measured =
                meter.measure(|| data::write(client, file, size.bytes, size.block, depth))?;
            if *remove {
                let name = CString::new(name.as_str())?;
                engine::success("REMOVE", client.call(&Call::Remove(&directory, &name))?)?;
            }
            Ok(measured)
        }
        Work::Read { directory, name, size, cold, random_milliseconds } => {
            let directory = client.directory(directory)?;
            let file = data::open(client, &directory, name, size.bytes)?;
            let Size { bytes, block } = *size;
            if !cold {
                data::read(client, file, bytes, content::BLOCK_MAX, depth, Order::Sequence)?;
            }
            let order = match random_milliseconds {
                Some(time) => Order::Random(Duration::from_millis(*time)),
                None => Order::Sequence,
            };
            meter.measure(|| data::read(client, file, bytes, block, depth, order))
        }
        &Work::Create { ref directory, files, size, durability, say_progress } => {
            let directory = client.directory(directory)?;
            let new = NewFiles { count: files, size, durability, say_progress };
            meter.measure(|| files::create(client, directory, new, depth))
        }
        &Work::Remove { ref directory, files } => {
            let directory = client.directory(directory)?;
            let new = NewFiles {
                count: files,
                size: 4096,
                durability: Durability::FileSync,
                say_progress: false,
            };
            files::create(client, directory, new, PREPARING_DEPTH)?;
            meter.settle(AFTER_WRITING)?;
            meter.measure(|| files::remove(client, directory, files, depth))
        }
        &Work::List { ref directory, files, cold, attributes } => {
            let directory = client.directory(directory)?;
            let entries = match (cold, attributes) {
                (_, true) => Entries::LookedUp,
                (true, false) => Entries::Named,
                (false, false) => Entries::Complete,
            };
            if !cold {
                files::list(client, &directory, files, entries)?;
            }
            meter.measure(|| files::list(client, &directory, files, entries))
        }
        Work::Rename { from, to } => {
            let (from, to) = (CString::new(from.as_str())?, CString::new(to.as_str())?);
            meter.measure(|| files::rename(client, &from, &to))
        }
        Work::Up => {
            let root = client.root;
            meter.measure(|| engine::once(client, "GETATTR", &Call::Getattr(&root)))
        }
    }
}
