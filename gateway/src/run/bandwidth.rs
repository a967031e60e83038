//! Keeps the bounds of the link to S3 at what the schedule says for the minute.
use std::{path::Path, sync::Arc, time::Duration};

use gateway_api::bandwidth::{BandwidthInterval, BandwidthLimits, Day, Minute, limits_at};
use jiff::{civil::Weekday, tz::TimeZone};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{Clock, Timestamp},
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
}

impl Bandwidth {
    /// No limits.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let (schedule, _) = tokio::sync::watch::channel(Vec::new());
        Self { schedule, paces: Paces::default(), clock }
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
        let limits = if schedule.is_empty() {
            BandwidthLimits::default()
        } else {
            let (day, minute) = local(self.clock.now(), &zone(Path::new(LOCALTIME)));
            limits_at(&schedule, day, minute)
        };
        self.paces.upload.set(limits.upload);
        self.paces.download.set(limits.download);
    }
}

/// The time zone that the file has (RFC 9636); UTC where there is none.
fn zone(file: &Path) -> TimeZone {
    std::fs::read(file)
        .ok()
        .and_then(|data| TimeZone::tzif("local", &data).ok())
        .unwrap_or(TimeZone::UTC)
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
        assert_eq!(zone(Path::new("/does/not/exist")), TimeZone::UTC);
    }

    #[test]
    fn limits_come_and_go_with_the_clock() {
        let clock = Arc::new(ManualClock::new(Timestamp::new(NIGHT, 0)));
        let bandwidth = Bandwidth::new(Arc::clone(&clock) as _);
        let (_, minute) = local(clock.now(), &zone(Path::new(LOCALTIME)));
        let interval = BandwidthInterval {
            days: Day::ALL.to_vec(),
            from: minute,
            to: minute,
            upload_bits_per_second: Some(80_000_000),
            download_bits_per_second: None,
        };
        bandwidth.replace(&[interval]);
        assert!(bandwidth.paces().upload.step().is_some(), "limited at once");
        assert!(bandwidth.paces().download.step().is_none());
        clock.advance_millis(60_000);
        bandwidth.follow();
        assert!(bandwidth.paces().upload.step().is_none(), "the minute is over");
    }
}
