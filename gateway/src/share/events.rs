//! What the operator should know of, the latest first.
#[cfg(test)]
pub(super) mod log;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gateway_api::{
    ShareName,
    status::{HealthEvent, HealthEventKind},
};

use crate::clock::{Clock, Timestamp};

/// Events kept, the latest first.
const EVENTS_MAX: usize = 100;
/// So long the same words are not logged again while what they tell goes on.
const LOGGED_AGAIN_MS: u64 = 3_600_000;
/// And so long if it had been over: what comes and goes every second does not fill the log.
const RETURNED_MS: u64 = 60_000;

/// The gateway's latest events. Cloning gives another handle to the same list.
#[derive(Clone, Debug)]
pub struct Events {
    told: Arc<Mutex<Told>>,
    clock: Arc<dyn Clock>,
}

/// What was told so far.
#[derive(Debug, Default)]
struct Told {
    list: VecDeque<Kept>,
    /// Lines of the log by share, and of the gateway itself.
    lines: HashMap<Option<ShareName>, u64>,
}

/// An event of the list.
#[derive(Clone, Debug)]
struct Kept {
    event: HealthEvent,
    /// When its words were logged last; an event that takes another's place keeps that one's time.
    logged: Timestamp,
    /// Whether what it tells has ended since then.
    is_over: bool,
}

impl Kept {
    /// Whether the log is to have it once more when it is told again.
    fn is_due(&self, now: Timestamp) -> bool {
        let pause = if self.is_over { RETURNED_MS } else { LOGGED_AGAIN_MS };
        // A clock that was set back ends the pause.
        now >= self.logged.plus_millis(pause) || now < self.logged
    }
}

impl Events {
    /// No events yet; times come from `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { told: Arc::default(), clock }
    }

    /// The time that events get.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Adds an event. The same words of the same kind again move to the front; the log has them again after an
    /// hour, or a minute if they were [over](Events::over) in between.
    pub fn add(&self, kind: HealthEventKind, share: Option<ShareName>, message: String) {
        let at_unix_seconds = self.now().seconds();
        let event = HealthEvent { at_unix_seconds, kind, share, message };
        self.put(event, |old, new| {
            (old.kind, &old.share, &old.message) == (new.kind, &new.share, &new.message)
        });
    }

    /// Adds an event that takes the place of the one before of its kind and share: of what has other words
    /// each time, and may be met again and again, the latest is enough. The log has it as often as
    /// [`Events::add`]'s.
    pub fn add_latest(&self, kind: HealthEventKind, share: &ShareName, message: String) {
        let at_unix_seconds = self.now().seconds();
        let event = HealthEvent { at_unix_seconds, kind, share: Some(share.clone()), message };
        self.put(event, |old, new| (old.kind, &old.share) == (new.kind, &new.share));
    }

    /// What the events of these kinds tell, of the share or of the gateway, has ended: if it comes again, it is
    /// news.
    pub fn over(&self, share: Option<&ShareName>, kinds: &[HealthEventKind]) {
        for kept in &mut self.lock().list {
            let is_of = kept.event.share.as_ref() == share;
            kept.is_over |= is_of && kinds.contains(&kept.event.kind);
        }
    }

    /// Puts an event in front, in the place of the one that it is the same as.
    fn put(&self, event: HealthEvent, is_same: impl Fn(&HealthEvent, &HealthEvent) -> bool) {
        let now = self.now();
        let mut told = self.lock();
        let Told { list, lines } = &mut *told;
        let known = list.iter().position(|kept| is_same(&kept.event, &event));
        let known = known.and_then(|at| list.remove(at));
        let kept = match known {
            Some(known) if !known.is_due(now) => Kept { event, ..known },
            Some(_) | None => {
                log_line(&event);
                *lines.entry(event.share.clone()).or_default() += 1;
                Kept { event, logged: now, is_over: false }
            }
        };
        list.push_front(kept);
        list.truncate(EVENTS_MAX);
    }

    /// The events, the latest first.
    pub fn list(&self) -> Vec<HealthEvent> {
        self.lock().list.iter().map(|kept| kept.event.clone()).collect()
    }

    /// How often something was told since the start, as often as the log has it: of a share, or of the gateway
    /// and all shares.
    pub fn count(&self, share: Option<&ShareName>) -> u64 {
        let lines = &self.lock().lines;
        match share {
            Some(_) => lines.get(&share.cloned()).copied().unwrap_or(0),
            None => lines.values().sum(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log_line(event: &HealthEvent) {
    let share = event.share.as_ref().map(ShareName::as_str);
    let place = share.map(|share| format!("/{share}: ")).unwrap_or_default();
    tracing::warn!(kind = ?event.kind, share, "{place}{}", event.message);
}

#[cfg(test)]
mod tests {
    use super::{
        log::{Line, Log},
        *,
    };
    use crate::clock::ManualClock;

    /// semantics.md, "When something is wrong": an event is in the log once, and can be found by its fields.
    #[test]
    fn events_are_logged_once_with_their_kind_and_share() {
        let log = Log::default();
        let events = Events::new(Arc::new(ManualClock::default()));
        let add = |kind, share: Option<&str>, message: &str| {
            let share = share.map(|name| name.parse().unwrap());
            events.add(kind, share, message.to_owned());
        };
        tracing::subscriber::with_default(log.clone(), || {
            add(HealthEventKind::Conflict, Some("sales"), "both are kept");
            add(HealthEventKind::Conflict, Some("sales"), "both are kept");
            add(HealthEventKind::Conflict, Some("hr"), "both are kept");
            add(HealthEventKind::CacheFull, None, "writers are slowed");
            add(HealthEventKind::Conflict, Some("sales"), "both are kept");
        });
        let line = |kind: &str, share: Option<&str>, message: &str| {
            let fields =
                [("kind", Some(kind)), ("level", Some("WARN")), ("message", Some(message))];
            let fields = fields.into_iter().chain([("share", share)]);
            Line(fields.filter_map(|(name, value)| Some((name, value?.to_owned()))).collect())
        };
        let expected = [
            line("Conflict", Some("sales"), "/sales: both are kept"),
            line("Conflict", Some("hr"), "/hr: both are kept"),
            line("CacheFull", None, "writers are slowed"),
        ];
        assert_eq!(*log.0.lock().unwrap(), expected);
    }

    /// semantics.md, "When something is wrong": what comes again is in the log again, and what goes on is not
    /// there all the time.
    #[test]
    fn what_comes_again_is_logged_again() {
        const MINUTE_MS: i64 = 60_000;
        let (log, clock) = (Log::default(), Arc::new(ManualClock::default()));
        let (events, sales) = (Events::new(clock.clone()), "sales".parse::<ShareName>().unwrap());
        let kind = HealthEventKind::UploadFailing;
        let lines = |latest: bool| {
            if latest {
                events.add_latest(HealthEventKind::ListingInvalid, &sales, "a circle".to_owned());
            } else {
                events.add(kind, Some(sales.clone()), "no answer".to_owned());
            }
            log.0.lock().unwrap().len()
        };
        tracing::subscriber::with_default(log.clone(), || {
            assert_eq!([lines(false), lines(true)], [1, 2]);
            clock.advance_millis(59 * MINUTE_MS);
            assert_eq!([lines(false), lines(true)], [2, 2], "it goes on");
            clock.advance_millis(MINUTE_MS);
            assert_eq!([lines(false), lines(true)], [3, 4], "an hour after the last line");
            events.over(Some(&sales), &[kind]);
            assert_eq!(lines(false), 4, "it flickers");
            events.over(None, &[HealthEventKind::ListingInvalid]);
            clock.advance_millis(MINUTE_MS);
            assert_eq!([lines(false), lines(true)], [5, 5], "one was over, and has come back");
            clock.advance_millis(MINUTE_MS);
            assert_eq!(lines(false), 5, "and goes on");
            clock.advance_millis(-10 * MINUTE_MS);
            assert_eq!(lines(false), 6, "the clock was set back");
        });
        assert_eq!(events.list().len(), 2);
    }

    /// A figure that only grows, with what comes again too, and does not end with the list.
    #[test]
    fn what_was_told_is_counted() {
        let clock = Arc::new(ManualClock::default());
        let (events, sales) = (Events::new(clock.clone()), "sales".parse::<ShareName>().unwrap());
        for n in 0..=EVENTS_MAX {
            for _ in 0..3 {
                events.add(HealthEventKind::Conflict, Some(sales.clone()), n.to_string());
            }
        }
        events.add(HealthEventKind::CacheFull, None, "writers are slowed".to_owned());
        assert_eq!(events.list().len(), EVENTS_MAX);
        let told = EVENTS_MAX as u64 + 1;
        assert_eq!((events.count(Some(&sales)), events.count(None)), (told, told + 1));
        clock.advance_millis(3_600_000);
        events.add(HealthEventKind::CacheFull, None, "writers are slowed".to_owned());
        assert_eq!((events.count(Some(&sales)), events.count(None)), (told, told + 2));
    }
}
