//! The lines of the table: what is measured, at which size, in which unit.
use super::measurement::Measurement;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Of lines that go on for a time.
    pub call_ms: u64,
    /// Of the large file.
    pub large_bytes: u64,
    /// In the directory that is listed.
    pub listed_files: u64,
    /// Made by one caller after the other; several callers make four times as many, 32 eight times.
    pub new_files: u64,
}

impl Scale {
    /// For numbers that are to be believed.
    pub const FULL: Self =
        Self { call_ms: 2000, large_bytes: 512 << 20, listed_files: 100_000, new_files: 1000 };
    /// For a first look.
    pub const QUICK: Self =
        Self { call_ms: 700, large_bytes: 128 << 20, listed_files: 10_000, new_files: 300 };
}

/// What throughput is counted in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unit {
    /// Calls.
    Calls,
    /// MiB of payload.
    Mebibytes,
    /// Files.
    Files,
    /// Entries of a directory.
    Entries,
}

impl Unit {
    /// Per second.
    pub fn rate(self) -> &'static str {
        match self {
            Self::Calls => "calls/s",
            Self::Mebibytes => "MiB/s",
            Self::Files => "files/s",
            Self::Entries => "entries/s",
        }
    }

    /// What the processor time is for.
    pub fn cost(self) -> &'static str {
        match self {
            Self::Mebibytes => "s/GiB",
            Self::Calls | Self::Files | Self::Entries => "s/1000",
        }
    }

    /// Throughput per second.
    pub fn rate_of(self, measured: &Measurement) -> f64 {
        self.amount(measured) / measured.seconds
    }

    /// Processor seconds of the server per GiB or per 1000.
    pub fn cost_of(self, measured: &Measurement) -> f64 {
        let per = if self == Self::Mebibytes { 1024.0 } else { 1000.0 };
        measured.server_cpu_seconds / self.amount(measured) * per
    }

    fn amount(self, measured: &Measurement) -> f64 {
        match self {
            Self::Mebibytes => measured.bytes as f64 / f64::from(1 << 20),
            Self::Calls | Self::Files | Self::Entries => measured.operations as f64,
        }
    }
}

/// Files that are made once on each server, before the first line that uses them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Set {
    /// Files of 4 KiB, for calls.
    Small,
    /// One large file.
    Large,
    /// Empty files, for listings.
    Many,
}

const SMALL_FILES: u64 = 1000;
const MIB: u32 = 1 << 20;

#[derive(Clone, Copy, Debug)]
enum Load {
    Calls(&'static str),
    Write { block: u32 },
    Read { block: u32 },
    ReadRandom { block: u32 },
    List,
    Create { times: u64, durability: &'static str },
    Remove,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// For `--only`, and in the report.
    pub id: &'static str,
    /// For people.
    pub title: &'static str,
    /// Of its throughput.
    pub unit: Unit,
    /// What must be there.
    pub set: Option<Set>,
    /// Whether client and server take turns on one processor.
    pub one_processor: bool,
    connections: u32,
    depth: u32,
    load: Load,
}

impl Line {
    /// Whether it makes NULL calls only.
    pub fn is_null(&self) -> bool {
        matches!(self.load, Load::Calls("null"))
    }
}

/// All of them, in the order of the table.
pub fn all() -> Vec<Line> {
    use Unit::{Calls, Entries, Files, Mebibytes};
    let line = |id, title, unit, set, (connections, depth), load| Line {
        id,
        title,
        unit,
        set,
        one_processor: false,
        connections,
        depth,
        load,
    };
    // One at a time, the two wait for each other: on two processors, each call wakes both from their
    // sleep, which in a virtual machine costs more than all the rest.
    let turns = |id, title, set, load| Line {
        one_processor: true,
        ..line(id, title, Calls, set, (1, 1), load)
    };
    let (null, getattr, lookup) =
        (Load::Calls("null"), Load::Calls("getattr"), Load::Calls("lookup"));
    let create = |times, durability| Load::Create { times, durability };
    let small = Some(Set::Small);
    let large = Some(Set::Large);
    let many = Some(Set::Many);
    vec![
        line("null-1", "NULL, one at a time", Calls, None, (1, 1), null),
        turns("null-1-cpu", "NULL, one at a time, one processor", None, null),
        line("null-32", "NULL, 32 in flight", Calls, None, (1, 32), null),
        line("null-4x16", "NULL, 4 connections × 16", Calls, None, (4, 64), null),
        line("getattr-1", "GETATTR, one at a time", Calls, small, (1, 1), getattr),
        turns("getattr-1-cpu", "GETATTR, one at a time, one processor", small, getattr),
        line("getattr-32", "GETATTR, 32 in flight", Calls, small, (1, 32), getattr),
        line("getattr-4x16", "GETATTR, 4 connections × 16", Calls, small, (4, 64), getattr),
        line("lookup-1", "LOOKUP, one at a time", Calls, small, (1, 1), lookup),
        turns("lookup-1-cpu", "LOOKUP, one at a time, one processor", small, lookup),
        line("lookup-32", "LOOKUP, 32 in flight", Calls, small, (1, 32), lookup),
        line("lookup-4x16", "LOOKUP, 4 connections × 16", Calls, small, (4, 64), lookup),
        line(
            "write-1m",
            "write + COMMIT, 1 MiB",
            Mebibytes,
            None,
            (1, 8),
            Load::Write { block: MIB },
        ),
        line(
            "write-64k",
            "write + COMMIT, 64 KiB",
            Mebibytes,
            None,
            (1, 8),
            Load::Write { block: 64 << 10 },
        ),
        line("read-1m", "read, cached, 1 MiB", Mebibytes, large, (1, 8), Load::Read { block: MIB }),
        line(
            "read-64k",
            "read, cached, 64 KiB",
            Mebibytes,
            large,
            (1, 8),
            Load::Read { block: 64 << 10 },
        ),
        line("random-4k", "read at random, cached, 4 KiB", Calls, large, (1, 8), {
            Load::ReadRandom { block: 4 << 10 }
        }),
        line("create-1", "create 4 KiB, 1 caller", Files, None, (1, 1), create(1, "file-sync")),
        line("create-8", "create 4 KiB, 8 callers", Files, None, (1, 8), create(4, "file-sync")),
        line("create-32", "create 4 KiB, 32 callers", Files, None, (1, 32), create(8, "file-sync")),
        line("create-commit-8", "create 4 KiB with COMMIT, 8 callers", Files, None, (1, 8), {
            create(4, "commit")
        }),
        line("remove-8", "REMOVE, 8 callers", Files, None, (1, 8), Load::Remove),
        line("list", "READDIRPLUS, second listing", Entries, many, (1, 1), Load::List),
        // After everything else: to the gateway, the listed files are as many waiting uploads.
        line("create-8-after", "create 4 KiB, 8 callers, beside those", Files, many, (1, 8), {
            create(1, "file-sync")
        }),
    ]
}

impl Line {
    /// Whether it makes or removes names: then it is a question whether a server syncs that.
    pub fn changes_names(&self) -> bool {
        matches!(self.load, Load::Create { .. } | Load::Remove)
    }

    /// Words for `nfs-load`; `directory` is where, `run` is different each time.
    pub fn arguments(&self, scale: &Scale, directory: &str, run: &str) -> Vec<String> {
        let fresh = format!("{directory}/{}-{run}", self.id);
        let (small, many) = (format!("{directory}/small"), format!("{directory}/many"));
        let text = u64::to_string;
        let bytes = text(&scale.large_bytes);
        let call_ms = text(&scale.call_ms);
        let mut words = vec![format!("--connections={}", self.connections)];
        words.push(format!("--depth={}", self.depth));
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let read = |block: u32| {
            owned(&["read", directory, "large", "--bytes", &bytes, "--block", &block.to_string()])
        };
        words.extend(match self.load {
            Load::Calls("null") => owned(&["calls", "null", "--milliseconds", &call_ms]),
            Load::Calls(procedure) => {
                let files = text(&SMALL_FILES);
                let words = ["calls", procedure, "--milliseconds", &call_ms];
                owned(&[&words[..], &["--directory", &small, "--files", &files]].concat())
            }
            Load::Write { block } => {
                let block = block.to_string();
                let size = ["--bytes", &bytes, "--block", &block, "--remove"];
                owned(&[&["write", &fresh, "large"][..], &size].concat())
            }
            Load::Read { block } => read(block),
            Load::ReadRandom { block } => {
                [read(block), owned(&["--random-milliseconds", &call_ms])].concat()
            }
            Load::List => owned(&["list", &many, "--files", &text(&scale.listed_files)]),
            Load::Create { times, durability } => {
                owned(&["create", &fresh, durability, "--files", &text(&(scale.new_files * times))])
            }
            Load::Remove => owned(&["remove", &fresh, "--files", &text(&(scale.new_files * 4))]),
        });
        words
    }
}

impl Set {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "making small files",
            Self::Large => "making a large file",
            Self::Many => "making the files that are listed",
        }
    }

    /// Words for the `nfs-load` that makes it in `directory`.
    pub fn arguments(self, scale: &Scale, directory: &str) -> Vec<String> {
        let text = match self {
            Self::Small => format!("create {directory}/small file-sync --files {SMALL_FILES}"),
            Self::Large => {
                format!("write {directory} large --bytes {} --block {MIB}", scale.large_bytes)
            }
            Self::Many => {
                let files = scale.listed_files;
                format!("--depth 64 create {directory}/many empty --files {files} --say-progress")
            }
        };
        text.split(' ').map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURED: Measurement = Measurement {
        operations: 2000,
        bytes: 512 << 20,
        begun: 0.0,
        seconds: 4.0,
        first_seconds: 0.0,
        errors: 0,
        p50_us: 1.0,
        p99_us: 2.0,
        server_cpu_seconds: 1.0,
    };

    #[test]
    fn rates_and_costs_are_in_their_units() {
        assert!((Unit::Mebibytes.rate_of(&MEASURED) - 128.0).abs() < 1e-9);
        assert!((Unit::Mebibytes.cost_of(&MEASURED) - 2.0).abs() < 1e-9);
        assert!((Unit::Files.rate_of(&MEASURED) - 500.0).abs() < 1e-9);
        assert!((Unit::Files.cost_of(&MEASURED) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn ids_are_different_and_runs_do_not_meet() {
        let lines = all();
        let ids: std::collections::HashSet<_> = lines.iter().map(|line| line.id).collect();
        assert_eq!(ids.len(), lines.len());
        for line in lines.iter().filter(|line| line.changes_names()) {
            let words = |run| line.arguments(&Scale::QUICK, "plain", run);
            assert_ne!(words("1"), words("2"), "{}", line.id);
        }
    }
}
