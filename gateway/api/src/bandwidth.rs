//! When the gateway may use how much of the link to S3 (AWS BandwidthRateLimitSchedule).
use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Most intervals (AWS: 20).
pub const INTERVALS_MAX: usize = 20;
/// Least limits in bits per second (AWS's).
const UPLOAD_BITS_MIN: u64 = 51_200;
const DOWNLOAD_BITS_MIN: u64 = 102_400;

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "each says itself")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    /// From Monday on.
    pub const ALL: [Self; 7] =
        [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];
}

/// A minute of the day, `HH:MM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Minute(u16);

impl Minute {
    /// From hours and minutes; `None` beyond 23:59.
    pub fn new(hour: u8, minute: u8) -> Option<Self> {
        (hour < 24 && minute < 60).then(|| Self(u16::from(hour) * 60 + u16::from(minute)))
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl FromStr for Minute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let two = |part: &str| (part.len() == 2).then(|| part.parse::<u8>().ok()).flatten();
        text.split_once(':')
            .and_then(|(hour, minute)| Self::new(two(hour)?, two(minute)?))
            .ok_or_else(|| format!("{text:?} is not a time of day such as \"08:30\""))
    }
}

impl TryFrom<String> for Minute {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Minute> for String {
    fn from(minute: Minute) -> Self {
        minute.to_string()
    }
}

/// A part of the week in which the link to S3 is shared with others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BandwidthInterval {
    /// On these days, in the gateway's time zone. Left out: every day.
    #[serde(default = "every_day")]
    pub days: Vec<Day>,
    /// The first minute. Left out: `00:00`.
    #[serde(default = "first")]
    pub from: Minute,
    /// The last minute, inclusive. Left out: `23:59`.
    #[serde(default = "last")]
    pub to: Minute,
    /// Most bits per second to S3. Left out: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_bits_per_second: Option<u64>,
    /// Most bits per second from S3. Left out: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download_bits_per_second: Option<u64>,
}

fn every_day() -> Vec<Day> {
    Day::ALL.to_vec()
}
fn first() -> Minute {
    Minute(0)
}
fn last() -> Minute {
    Minute(24 * 60 - 1)
}

/// Bytes per second that may be used; `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BandwidthLimits {
    /// To S3.
    pub upload: Option<u64>,
    /// From S3.
    pub download: Option<u64>,
}

impl BandwidthInterval {
    fn covers(&self, day: Day, minute: Minute) -> bool {
        self.days.contains(&day) && (self.from..=self.to).contains(&minute)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.days.iter().any(|day| other.days.contains(day))
            && self.from <= other.to
            && other.from <= self.to
    }
}

/// What is allowed in one minute of the week.
pub fn limits_at(schedule: &[BandwidthInterval], day: Day, minute: Minute) -> BandwidthLimits {
    let bytes = |bits: Option<u64>| bits.map(|bits| bits / 8);
    match schedule.iter().find(|interval| interval.covers(day, minute)) {
        Some(interval) => BandwidthLimits {
            upload: bytes(interval.upload_bits_per_second),
            download: bytes(interval.download_bits_per_second),
        },
        None => BandwidthLimits::default(),
    }
}

/// What is wrong with a schedule, in words for the operator.
pub(crate) fn problem(schedule: &[BandwidthInterval]) -> Option<String> {
    if schedule.len() > INTERVALS_MAX {
        return Some(format!("at most {INTERVALS_MAX} intervals"));
    }
    for (i, interval) in schedule.iter().enumerate() {
        let BandwidthInterval { from, to, .. } = interval;
        if from > to {
            return Some(format!("{from} to {to} passes midnight: write two intervals"));
        }
        if interval.upload_bits_per_second.is_some_and(|bits| bits < UPLOAD_BITS_MIN) {
            return Some(format!("upload_bits_per_second must be {UPLOAD_BITS_MIN} or more"));
        }
        if interval.download_bits_per_second.is_some_and(|bits| bits < DOWNLOAD_BITS_MIN) {
            return Some(format!("download_bits_per_second must be {DOWNLOAD_BITS_MIN} or more"));
        }
        if let Some(other) = schedule[..i].iter().find(|other| other.overlaps(interval)) {
            return Some(format!(
                "{from} to {to} and {} to {} overlap: in each minute one interval counts",
                other.from, other.to
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(text: &str) -> BandwidthInterval {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_interval_of_the_minute_counts_its_last_minute_included() {
        let work = interval(
            "days = [\"mon\", \"fri\"]\nfrom = \"08:00\"\nto = \"17:59\"\n\
             upload_bits_per_second = 80000000",
        );
        let night = interval("from = \"22:00\"\ndownload_bits_per_second = 8000000");
        let schedule = [work, night];
        assert_eq!(problem(&schedule), None);
        let at = |day, time: &str| limits_at(&schedule, day, time.parse().unwrap());
        let upload = BandwidthLimits { upload: Some(10_000_000), download: None };
        assert_eq!(at(Day::Mon, "08:00"), upload);
        assert_eq!(at(Day::Fri, "17:59"), upload);
        for (day, time) in [(Day::Mon, "07:59"), (Day::Fri, "18:00"), (Day::Tue, "12:00")] {
            assert_eq!(at(day, time), BandwidthLimits::default(), "{day:?} {time}");
        }
        assert_eq!(at(Day::Sun, "23:59").download, Some(1_000_000));
    }

    #[test]
    fn schedules_that_mean_nothing_are_refused() {
        for (text, says) in [
            ("from = \"22:00\"\nto = \"06:00\"", "two intervals"),
            ("upload_bits_per_second = 1000", "51200"),
            ("download_bits_per_second = 51200", "102400"),
        ] {
            let said = problem(&[interval(text)]).unwrap();
            assert!(said.contains(says), "{said}");
        }
        let noon = interval("days = [\"sat\"]\nfrom = \"12:00\"\nto = \"12:00\"");
        let said = problem(&[interval(""), noon]).unwrap();
        assert!(said.contains("overlap"), "{said}");
        let many = vec![interval("days = []"); INTERVALS_MAX + 1];
        assert!(problem(&many).unwrap().contains("at most 20"));
    }

    #[test]
    fn times_of_day_are_read_strictly() {
        for text in ["24:00", "12:60", "1:00", "12", "", "-1:00", "12:00:00"] {
            text.parse::<Minute>().unwrap_err();
        }
        assert_eq!("07:05".parse::<Minute>().unwrap().to_string(), "07:05");
    }
}
