//! Keeps the bounds of the link to S3 at what the schedule says for the minute.
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gateway_api::{
    bandwidth::{BandwidthInterval, BandwidthLimits, Day, Minute, limits_at},
    status::HealthEventKind,
};
use jiff::{civil::Weekday, tz::TimeZone};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{Clock, Timestamp},
    share::Events,
    store::pace::Paces,
};

/// The machine's time zone, as init or the console sets it.
const LOCALTIME: &str = "/etc/localtime";
/// How often the clock is looked at: a limit begins and ends within this of its minute, and a changed
/// time zone counts as soon.
const LOOK: Duration = Duration::from_secs(5);

/// The schedule in force, and the bounds that follow it.
#[derive(Debug)]
pub(super) struct Bandwidth {
    schedule: tokio::sync::watch::Sender<Vec<BandwidthInterval>>,
    paces: Paces,
    clock: Arc<dyn Clock>,
    events: Events,
    localtime: PathBuf,
    /// Why the schedule is not followed in the machine's time zone.
    problem: Mutex<Option<String>>,
}

impl Bandwidth {
    /// No limits.
    pub(super) fn new(clock: Arc<dyn Clock>, events: Events) -> Self {
        Self::in_zone_of(Path::new(LOCALTIME), clock, events)
    }

    fn in_zone_of(localtime: &Path, clock: Arc<dyn Clock>, events: Events) -> Self {
        let (schedule, _) = tokio::sync::watch::channel(Vec::new());
        let (paces, problem) = (Paces::default(), Mutex::default());
        Self { schedule, paces, clock, events, localtime: localtime.to_owned(), problem }
    }

    /// Why the schedule is not followed in the machine's time zone, in words for the operator.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The bounds.
    pub(super) fn paces(&self) -> Paces {
        self.paces.clone()
    }

    /// Replaces the schedule; what it says for now counts at once.
    pub(super) fn replace(&self, schedule: &[BandwidthInterval]) {
        self.schedule.send_replace(schedule.to_vec());
        self.follow();
    }

    /// Follows the clock until `stop`.
    pub(super) async fn run(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => self.follow(),
                () = stop.cancelled() => return,
            }
        }
    }

    fn follow(&self) {
        let schedule = self.schedule.borrow();
        let (limits, problem) = if schedule.is_empty() {
            (BandwidthLimits::default(), None)
        } else {
            let (zone, problem) = match zone(&self.localtime) {
                Ok(zone) => (zone, None),
                Err(problem) => (TimeZone::UTC, Some(problem)),
            };
            let (day, minute) = local(self.clock.now(), &zone);
            (limits_at(&schedule, day, minute), problem)
        };
        self.note(problem);
        self.paces.upload.set(limits.upload);
        self.paces.download.set(limits.download);
    }

    /// Says what is wrong when it begins to be.
    fn note(&self, problem: Option<String>) {
        let mut known = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(problem) = problem.as_ref().filter(|problem| known.as_ref() != Some(problem)) {
            self.events.over(None, &[HealthEventKind::TimeZoneUnknown]);
            self.events.add(HealthEventKind::TimeZoneUnknown, None, problem.clone());
        }
        *known = problem;
    }
}

/// The time zone that the file has (RFC 9636); UTC where there is no file (localtime(5)).
///
/// # Errors
/// Why the file's time zone is not known, in words for the operator.
fn zone(file: &Path) -> Result<TimeZone, String> {
    let cannot = |why: &dyn std::fmt::Display| {
        format!(
            "the bandwidth schedule is followed in UTC, as the machine's time zone cannot be read \
             ({}: {why}): set the time zone again",
            file.display()
        )
    };
    match std::fs::read(file) {
        Ok(data) => TimeZone::tzif("local", &data).map_err(|error| cannot(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(TimeZone::UTC),
        Err(error) => Err(cannot(&error)),
    }
}

/// Day and minute in `zone`.
fn local(now: Timestamp, zone: &TimeZone) -> (Day, Minute) {
    let at = jiff::Timestamp::from_nanosecond(i128::from(now.as_nanos())).unwrap_or_default();
    let at = zone.to_datetime(at);
    let day = match at.weekday() {
        Weekday::Monday => Day::Mon,
        Weekday::Tuesday => Day::Tue,
        Weekday::Wednesday => Day::Wed,
        Weekday::Thursday => Day::Thu,
        Weekday::Friday => Day::Fri,
        Weekday::Saturday => Day::Sat,
        Weekday::Sunday => Day::Sun,
    };
    let number = |n: i8| u8::try_from(n).unwrap_or(0);
    let minute = Minute::new(number(at.hour()), number(at.minute()));
    (day, minute.expect("a clock's hours and minutes are in range"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    /// 2026-11-26 23:30 UTC, a Thursday.
    const NIGHT: i64 = 1_795_735_800;

    #[test]
    fn the_schedule_follows_the_machine_s_time_zone() {
        let seoul = TimeZone::fixed(jiff::tz::offset(9));
        let (day, minute) = local(Timestamp::new(NIGHT, 0), &seoul);
        assert_eq!((day, minute.to_string().as_str()), (Day::Fri, "08:30"));
        let (day, minute) = local(Timestamp::new(NIGHT, 0), &TimeZone::UTC);
        assert_eq!((day, minute.to_string().as_str()), (Day::Thu, "23:30"));
        assert_eq!(zone(Path::new("/does/not/exist")), Ok(TimeZone::UTC));
    }

    fn bandwidth(localtime: &Path, clock: &Arc<ManualClock>) -> Bandwidth {
        let clock = Arc::clone(clock) as Arc<dyn Clock>;
        Bandwidth::in_zone_of(localtime, Arc::clone(&clock), Events::new(clock))
    }

    fn always() -> BandwidthInterval {
        BandwidthInterval {
            days: Day::ALL.to_vec(),
            from: Minute::new(0, 0).unwrap(),
            to: Minute::new(23, 59).unwrap(),
            upload_bits_per_second: Some(80_000_000),
            download_bits_per_second: None,
        }
    }

    #[test]
    fn a_time_zone_that_cannot_be_read_is_said_once_and_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let localtime = dir.path().join("localtime");
        std::fs::write(&localtime, "no time zone").unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::new(NIGHT, 0)));
        let bandwidth = bandwidth(&localtime, &clock);
        bandwidth.replace(&[]);
        assert_eq!(bandwidth.problem(), None, "nothing follows it");
        bandwidth.replace(&[always()]);
        assert!(bandwidth.problem().is_some_and(|problem| problem.contains("UTC")));
        bandwidth.events.add(HealthEventKind::CacheFull, None, "later".to_owned());
        bandwidth.follow();
        let kinds: Vec<_> = bandwidth.events.list().iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [HealthEventKind::CacheFull, HealthEventKind::TimeZoneUnknown]);
        std::fs::remove_file(&localtime).unwrap();
        bandwidth.follow();
        assert_eq!(bandwidth.problem(), None);
    }

    #[test]
    fn limits_come_and_go_with_the_clock() {
        let clock = Arc::new(ManualClock::new(Timestamp::new(NIGHT, 0)));
        let bandwidth = bandwidth(Path::new("/does/not/exist"), &clock);
        let (_, minute) = local(clock.now(), &TimeZone::UTC);
        let interval = BandwidthInterval { from: minute, to: minute, ..always() };
        bandwidth.replace(&[interval]);
        assert!(bandwidth.paces().upload.step().is_some(), "limited at once");
        assert!(bandwidth.paces().download.step().is_none());
        clock.advance_millis(60_000);
        bandwidth.follow();
        assert!(bandwidth.paces().upload.step().is_none(), "the minute is over");
    }
}
