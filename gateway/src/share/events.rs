//! What the operator should know of, the latest first.
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use gateway_api::{
    ShareName,
    status::{HealthEvent, HealthEventKind},
};

use crate::clock::{Clock, Timestamp};

/// Events kept, the latest first.
const EVENTS_MAX: usize = 100;

/// The gateway's latest events. Cloning gives another handle to the same list.
#[derive(Clone, Debug)]
pub struct Events {
    list: Arc<Mutex<VecDeque<HealthEvent>>>,
    clock: Arc<dyn Clock>,
}

impl Events {
    /// No events yet; times come from `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { list: Arc::default(), clock }
    }

    /// The time that events get.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Adds an event. The same words of the same kind again only move to the front.
    pub fn add(&self, kind: HealthEventKind, share: Option<ShareName>, message: String) {
        let event =
            HealthEvent { at_unix_seconds: self.clock.now().seconds(), kind, share, message };
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |old: &HealthEvent| {
            (old.kind, &old.share, &old.message) == (event.kind, &event.share, &event.message)
        };
        let known = list.iter().position(same);
        if let Some(known) = known {
            list.remove(known);
        } else {
            let share = event.share.as_ref().map(ShareName::as_str);
            let place = share.map(|share| format!("/{share}: ")).unwrap_or_default();
            tracing::warn!(kind = ?event.kind, share, "{place}{}", event.message);
        }
        list.push_front(event);
        list.truncate(EVENTS_MAX);
    }

    /// Adds an event that takes the place of the one before of its kind and share: of what has other words
    /// each time, and may be met again and again, the latest is enough.
    pub fn add_latest(&self, kind: HealthEventKind, share: &ShareName, message: String) {
        let before = |old: &HealthEvent| old.kind == kind && old.share.as_ref() == Some(share);
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let at_unix_seconds = self.clock.now().seconds();
        match list.iter().position(before) {
            Some(known) => drop(list.remove(known)),
            None => tracing::warn!(?kind, "/{share}: {message}"),
        }
        list.push_front(HealthEvent { at_unix_seconds, kind, share: Some(share.clone()), message });
        list.truncate(EVENTS_MAX);
    }

    /// The events, the latest first.
    pub fn list(&self) -> Vec<HealthEvent> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use tracing::{
        Event, Metadata, Subscriber,
        field::{Field, Visit},
        span,
    };

    use super::*;
    use crate::clock::ManualClock;

    /// A log that keeps the fields of its lines: what journald gets as `F_KIND` and so on.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<Line>>>);

    #[derive(Clone, Debug, Default, PartialEq)]
    struct Line(Vec<(&'static str, String)>);

    impl Visit for Line {
        fn record_str(&mut self, field: &Field, value: &str) {
            self.0.push((field.name(), value.to_owned()));
        }

        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.0.push((field.name(), format!("{value:?}")));
        }
    }

    impl Subscriber for Log {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn event(&self, event: &Event<'_>) {
            let mut line = Line(vec![("level", event.metadata().level().to_string())]);
            event.record(&mut line);
            line.0.sort();
            self.0.lock().unwrap().push(line);
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

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
}
