//! The lines of the table of the whole path: what is timed, what by, and the bar.
use crate::bench::summary::{Ratio, median};

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Of the large file.
    pub large_bytes: u64,
    /// In the directories of small files that are made, uploaded and renamed.
    pub small_files: u64,
    /// In the directories that are listed.
    pub listed_files: u64,
    /// In the directories that are listed with the attributes of each.
    pub attributed_files: u64,
}

impl Scale {
    /// What the bars are about.
    pub const FULL: Self = Self {
        large_bytes: 512 << 20,
        small_files: 2000,
        listed_files: 10_000,
        attributed_files: 2000,
    };
    /// For a first look.
    pub const QUICK: Self = Self {
        large_bytes: 128 << 20,
        small_files: 500,
        listed_files: 2000,
        attributed_files: 500,
    };
    /// The larger directories that the bars name, too.
    pub const LARGE: Self =
        Self { small_files: 10_000, listed_files: 100_000, attributed_files: 10_000, ..Self::FULL };
}

/// Bytes of a small file.
pub const SMALL_BYTES: u64 = 4096;
/// Requests of the plain client at once, for small objects: as many as the gateway may have.
pub const CONNECTIONS: u64 = 64;
/// HEAD requests of the plain client at once: as many as the gateway has in the background.
pub const HEADS: u64 = 32;

/// What is done in one go; its lines are timed together.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Experiment {
    /// A large file is written and becomes an object.
    Write,
    /// A large object is read that nobody has read.
    Read,
    /// Small files are made and become objects; then their directory is renamed.
    Small,
    /// Small files that wait are uploaded.
    Upload,
    /// A directory is listed for the first time, and again.
    List,
    /// The same with the attributes of each entry.
    Attributes,
    /// The server starts.
    Start,
}

/// All of them, in the order of a round. The start is last: it ends the server that is there.
pub const EXPERIMENTS: [Experiment; 7] = [
    Experiment::Write,
    Experiment::Read,
    Experiment::Small,
    Experiment::Upload,
    Experiment::List,
    Experiment::Attributes,
    Experiment::Start,
];

/// In what a line's time is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    /// As it is.
    Seconds,
    /// So many MiB, files or objects per second.
    Rate(f64, &'static str),
}

impl Unit {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Rate(_, name) => name,
        }
    }

    /// The value of a time.
    pub fn of(self, seconds: f64) -> f64 {
        match self {
            Self::Seconds => seconds,
            Self::Rate(amount, _) => amount / seconds,
        }
    }
}

/// What is asked of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    /// Nothing.
    None,
    /// At most so many times the time of what it is measured by.
    Times(f64),
    /// At least so much of the rate of what it is measured by.
    Of(f64),
    /// At most so many seconds.
    Within(f64),
}

/// One line.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// For `--only`, and in the report.
    pub id: &'static str,
    /// For people.
    pub title: &'static str,
    /// What it is measured by.
    pub by: &'static str,
    /// Which piece of work times it.
    pub experiment: Experiment,
    /// Of its values.
    pub unit: Unit,
    /// What is asked.
    pub bar: Bar,
}

impl Line {
    /// Ours by theirs, round by round: of times, or of rates, as the line is shown.
    pub fn ratio(&self, ours: &[f64], theirs: &[f64]) -> Ratio {
        match self.unit {
            Unit::Seconds => Ratio::of(ours, theirs),
            Unit::Rate(..) => Ratio::of(theirs, ours),
        }
    }

    /// Whether the bar is met; `None` where there is none, or nothing was measured.
    pub fn is_met(&self, ours: &[f64], by: &[f64]) -> Option<bool> {
        if ours.is_empty() {
            return None;
        }
        let ratio = || (!by.is_empty()).then(|| self.ratio(ours, by).median);
        match self.bar {
            Bar::None => None,
            Bar::Times(most) => ratio().map(|ratio| ratio <= most),
            Bar::Of(least) => ratio().map(|ratio| ratio >= least),
            Bar::Within(seconds) => Some(median(ours) <= seconds),
        }
    }
}

/// All of them, in the order of the table.
pub fn all(scale: &Scale) -> Vec<Line> {
    use Experiment::{Attributes, List, Read, Small, Start, Upload, Write};
    let mebibytes = Unit::Rate(scale.large_bytes as f64 / f64::from(1 << 20), "MiB/s");
    let files = Unit::Rate(scale.small_files as f64, "files/s");
    let line = |experiment, id, title, by, unit, bar| Line { id, title, by, experiment, unit, bar };
    vec![
        line(Write, "write", "large file, write to COMMIT", "disk: write, fdatasync", mebibytes, {
            Bar::None
        }),
        line(Write, "put", "… whole in S3, after the first write", "8-part PUT", Unit::Seconds, {
            Bar::None
        }),
        line(Write, "put-last", "… after the last write", "8-part PUT", Unit::Seconds, {
            Bar::Times(1.3)
        }),
        line(Read, "read", "large object, read cold", "8-part GET", mebibytes, Bar::Of(0.8)),
        line(Small, "create", "small files, 32 callers", "disk: create, fsync", files, Bar::None),
        line(Small, "small", "… all in S3, after the first call", "64 PUTs", Unit::Seconds, {
            Bar::Times(1.3)
        }),
        line(Small, "rename", "rename of their directory: reply", "", Unit::Seconds, {
            Bar::Within(0.05)
        }),
        line(Small, "moved", "… done in S3", "64 copies + deletes", files, Bar::Of(0.8)),
        line(Upload, "upload", "small files that wait, uploaded", "64 PUTs", files, Bar::Of(0.8)),
        line(List, "ls", "READDIRPLUS, first", "LIST", Unit::Seconds, Bar::Times(1.5)),
        line(List, "ls-page", "… its first entries", "LIST, one page", Unit::Seconds, Bar::None),
        line(List, "ls-again", "… again", "LIST", Unit::Seconds, Bar::None),
        line(Attributes, "ls-l", "ls -l of others' objects, first", "LIST", Unit::Seconds, {
            Bar::Times(1.5)
        }),
        line(Attributes, "ls-l-head", "… the same", "LIST + 32 HEADs", Unit::Seconds, Bar::None),
        line(Start, "start", "start to first GETATTR", "", Unit::Seconds, Bar::Within(0.5)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str) -> Line {
        all(&Scale::QUICK).into_iter().find(|line| line.id == id).unwrap()
    }

    #[test]
    fn times_and_rates_are_compared_as_they_are_shown() {
        let (put, read) = (line("put-last"), line("read"));
        // Ours took twice as long.
        assert!((put.ratio(&[2.0], &[1.0]).median - 2.0).abs() < 1e-9);
        assert!((read.ratio(&[2.0], &[1.0]).median - 0.5).abs() < 1e-9);
        assert!((read.unit.of(2.0) - 64.0).abs() < 1e-9);
    }

    #[test]
    fn bars_are_judged_where_there_is_something_to_judge() {
        assert_eq!(line("put-last").is_met(&[1.2], &[1.0]), Some(true));
        assert_eq!(line("put-last").is_met(&[1.4], &[1.0]), Some(false));
        assert_eq!(line("read").is_met(&[1.2], &[1.0]), Some(true));
        assert_eq!(line("read").is_met(&[1.3], &[1.0]), Some(false));
        assert_eq!(line("rename").is_met(&[0.04, 0.06, 0.01], &[]), Some(true));
        assert_eq!(line("rename").is_met(&[], &[]), None);
        assert_eq!(line("put-last").is_met(&[1.0], &[]), None);
        assert_eq!(line("write").is_met(&[1.0], &[1.0]), None);
    }

    #[test]
    fn every_experiment_has_lines_and_ids_are_different() {
        let lines = all(&Scale::FULL);
        for experiment in EXPERIMENTS {
            assert!(lines.iter().any(|line| line.experiment == experiment), "{experiment:?}");
        }
        let ids: std::collections::HashSet<_> = lines.iter().map(|line| line.id).collect();
        assert_eq!(ids.len(), lines.len());
    }
}
