//! How a share is, and what the operator should know of.
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use gateway_api::{
    ShareName,
    status::{HealthEventKind, ShareState},
};

use super::Events;
use crate::{
    clock::Timestamp,
    store::{StoreError, StoreErrorKind, StoreOp},
};

/// Directories whose keys under an alias are counted one by one; beyond it the count is a lower bound.
const ODD_DIRECTORIES_MAX: usize = 10_000;
/// What a bucket that answers again takes back.
const HEALED: [HealthEventKind; 3] = [
    HealthEventKind::AccessDenied,
    HealthEventKind::CredentialsRejected,
    HealthEventKind::UploadFailing,
];
/// How long what was refused is left alone before the next attempt asks again.
const PROBE_INTERVAL_MS: u64 = 10_000;
/// Requests in a row without an answer between them, and the time from the first of them to the last, from which on
/// what may pass by itself is the share's state: one of many requests that is put off says nothing of the share,
/// and of an outage a client's second repetition comes after five seconds.
const PASSING_MIN: u32 = 3;
const PASSING_MS: u64 = 5_000;
/// How long a refusal counts for the share's state, if nothing of its kind was asked since: a job that was refused is
/// tried again within a minute.
const REFUSAL_SHOWN_MS: u64 = 120_000;

/// Keys of one listing that are shown under an alias: how many, and one to be named. A bucket may hold
/// any number of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OddKeys {
    count: u64,
    first: Option<String>,
}

impl OddKeys {
    /// Notes one.
    pub fn met(&mut self, key: String) {
        self.count += 1;
        self.first.get_or_insert(key);
    }
}

/// What a key may be allowed to do in a bucket, one without the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// List and read.
    Read,
    /// Make objects.
    Write,
    /// Delete objects, and abort uploads in parts.
    Delete,
}

impl Right {
    /// The one that a request takes.
    pub fn of(op: StoreOp) -> Self {
        match op {
            StoreOp::HeadObject
            | StoreOp::GetObject
            | StoreOp::ListObjects
            | StoreOp::ListMultipartUploads
            | StoreOp::ListParts => Self::Read,
            StoreOp::PutObject
            | StoreOp::CopyObject
            | StoreOp::CreateMultipartUpload
            | StoreOp::UploadPart
            | StoreOp::UploadPartCopy
            | StoreOp::CompleteMultipartUpload => Self::Write,
            StoreOp::DeleteObject | StoreOp::AbortMultipartUpload => Self::Delete,
        }
    }
}

/// Why something is refused.
#[derive(Clone, Debug)]
struct Refusal {
    reason: String,
    at: Timestamp,
    /// Until when it is not asked for again.
    until: Option<Timestamp>,
}

/// What the bucket has answered.
#[derive(Debug, Default)]
struct State {
    /// Whether it ever has.
    known: bool,
    /// Everything.
    whole: Option<Refusal>,
    /// What takes this right, by [`Right`].
    denied: [Option<Refusal>; 3],
    /// Since the last answer: when the first request failed of what may pass by itself, and how many have.
    passing: Option<(Timestamp, u32)>,
    /// At how many looks in a row the bucket has taken nothing.
    takes_nothing: u32,
}

impl State {
    /// One more request failed of what may pass by itself; whether it does not pass. Of a bucket that has never
    /// answered there is nothing else to say.
    fn persists(&mut self, now: Timestamp) -> bool {
        // A clock that was set back begins anew.
        let before = self.passing.filter(|(since, _)| *since <= now).unwrap_or((now, 0));
        let (since, count) = (before.0, before.1.saturating_add(1));
        self.passing = Some((since, count));
        !self.known || count >= PASSING_MIN && now >= since.plus_millis(PASSING_MS)
    }

    /// Why what takes `right` was refused lately.
    fn refusal(&self, right: Right, now: Timestamp) -> Option<&Refusal> {
        let recent = |refusal: &&Refusal| now < refusal.at.plus_millis(REFUSAL_SHOWN_MS);
        self.denied[right as usize].as_ref().filter(recent)
    }

    /// The share as a whole. That nothing can be deleted keeps nobody from reading and writing.
    fn shown(&self, now: Timestamp) -> ShareState {
        let of = |right: Right| self.refusal(right, now);
        match self.whole.as_ref().or(of(Right::Read)).or(of(Right::Write)) {
            Some(refusal) => ShareState::Unavailable(refusal.reason.clone()),
            None if self.known => ShareState::Available,
            None => ShareState::default(),
        }
    }
}

/// One share's health.
#[derive(Debug)]
pub struct ShareHealth {
    name: ShareName,
    events: Events,
    state: Mutex<State>,
    /// Per directory prefix, how many keys of its latest listing are shown under an alias.
    unrepresentable: Mutex<HashMap<String, u64>>,
}

impl ShareHealth {
    /// Health of the share `name`, not asked yet.
    pub fn new(name: ShareName, events: Events) -> Self {
        Self { name, events, state: Mutex::default(), unrepresentable: Mutex::default() }
    }

    /// How it is.
    pub fn state(&self) -> ShareState {
        self.lock().shown(self.events.now())
    }

    /// Notes whether the bucket takes anything.
    pub fn look(&self) {
        let now = self.events.now();
        let mut state = self.lock();
        let takes_nothing = state.whole.is_some() || state.refusal(Right::Write, now).is_some();
        state.takes_nothing = if takes_nothing { state.takes_nothing.saturating_add(1) } else { 0 };
    }

    /// Whether it has taken nothing for so many looks in a row.
    pub fn takes_nothing_for(&self, looks: u32) -> bool {
        self.lock().takes_nothing >= looks
    }

    /// Until when no request that takes `right` should be tried, after a refusal that only the operator can mend.
    pub fn blocked_until(&self, right: Right, now: Timestamp) -> Option<Timestamp> {
        let state = self.lock();
        let until = |refusal: &Option<Refusal>| refusal.as_ref().and_then(|one| one.until);
        let until = until(&state.whole).max(until(&state.denied[right as usize]));
        // A clock that was set back ends the pause.
        let latest = now.plus_millis(PROBE_INTERVAL_MS);
        until.filter(|until| *until > now && *until <= latest)
    }

    /// The bucket has done what takes `right`.
    pub fn answered(&self, right: Right) {
        let now = self.events.now();
        let mut state = self.lock();
        let before = state.shown(now);
        state.known = true;
        state.passing = None;
        let whole = state.whole.take();
        let healed = state.denied[right as usize].take().or(whole).is_some();
        if healed {
            self.events.over(Some(&self.name), &HEALED);
        }
        if before != ShareState::Available && state.shown(now) == ShareState::Available {
            tracing::info!(share = %self.name, "the bucket of /{} answers", self.name);
        }
    }

    /// A request failed. What says something of the whole share changes its state; one that is denied keeps
    /// those waiting that take the same right.
    pub fn failed(&self, error: &StoreError, now: Timestamp) {
        let (event, advice) = match error.kind {
            StoreErrorKind::Denied => return self.denied(error, now),
            StoreErrorKind::Credentials => (
                HealthEventKind::CredentialsRejected,
                "check access key, secret, session token and the clock",
            ),
            StoreErrorKind::NoBucket => {
                (HealthEventKind::AccessDenied, "check bucket, region and endpoint")
            }
            StoreErrorKind::Unavailable | StoreErrorKind::Timeout | StoreErrorKind::Throttled => {
                return self.passing(error, now);
            }
            StoreErrorKind::Archived
            | StoreErrorKind::Integrity
            | StoreErrorKind::TooLarge
            | StoreErrorKind::Invalid => return self.of_one_object(error),
            // Whoever asked finds out what the object is, and says so.
            StoreErrorKind::NotFound | StoreErrorKind::Changed => return,
        };
        let until = Some(now.plus_millis(PROBE_INTERVAL_MS));
        self.unavailable(event, &format!("{} ({advice})", error.message), (now, until));
    }

    /// What may pass by itself is tried again all the same, and told when it does not pass.
    fn passing(&self, error: &StoreError, now: Timestamp) {
        if !self.lock().persists(now) {
            return;
        }
        let advice = if error.kind == StoreErrorKind::Throttled {
            "S3 asks for fewer requests: they become fewer by themselves; if it stays so, look who else uses \
             the bucket, and at the store's limits"
        } else if error.is_answer_of_s3() {
            "S3 has trouble of its own: it is tried again; if it stays so, ask whoever runs the store"
        } else {
            "check the network, name resolution and the endpoint"
        };
        let reason = format!("{} ({advice})", error.message);
        self.unavailable(HealthEventKind::UploadFailing, &reason, (now, None));
    }

    /// What says nothing of the share, and is told all the same: an upload has no client that waits for it.
    fn of_one_object(&self, error: &StoreError) {
        let (kind, advice) = match error.kind {
            StoreErrorKind::Invalid if error.op == StoreOp::ListObjects => {
                return self.bad_listing(error);
            }
            StoreErrorKind::Archived => {
                (HealthEventKind::InaccessibleStorageClass, "restore the object in S3 to read it")
            }
            StoreErrorKind::Integrity => (
                HealthEventKind::TransferDamaged,
                "it is tried again; if it stays so, check the network and what is between",
            ),
            StoreErrorKind::TooLarge => {
                (HealthEventKind::UploadFailing, "the store takes no object of this size")
            }
            StoreErrorKind::Invalid => (
                HealthEventKind::AccessDenied,
                "the store does not know the request, or takes it for a wrong one",
            ),
            StoreErrorKind::NotFound
            | StoreErrorKind::Changed
            | StoreErrorKind::Denied
            | StoreErrorKind::Credentials
            | StoreErrorKind::NoBucket
            | StoreErrorKind::Throttled
            | StoreErrorKind::Unavailable
            | StoreErrorKind::Timeout => return,
        };
        let advice = error.setting_to_change().unwrap_or(advice);
        self.event(kind, format!("{error}: {advice}"));
    }

    /// A listing that the store refuses, or answers with what cannot be one. It is met for each directory,
    /// in other words: one event for all of them.
    fn bad_listing(&self, error: &StoreError) {
        let message = format!(
            "{}: directories stay as they were known, and one that was never listed cannot be read; \
             check endpoint and prefix, and what is between, such as a proxy",
            error.message
        );
        self.events.add_latest(HealthEventKind::ListingInvalid, &self.name, message);
    }

    fn denied(&self, error: &StoreError, now: Timestamp) {
        let advice = error
            .setting_to_change()
            .unwrap_or("allow this key to list, read, write and delete under the prefix");
        let reason = format!("{} ({advice})", error.message);
        let until = Some(now.plus_millis(PROBE_INTERVAL_MS));
        let refusal = Refusal { reason: reason.clone(), at: now, until };
        self.lock().denied[Right::of(error.op) as usize] = Some(refusal);
        self.events.add(HealthEventKind::AccessDenied, Some(self.name.clone()), reason);
    }

    /// What was refused may be tried again at once: there are new credentials, or somebody wants to know.
    pub fn try_again(&self) {
        let mut state = self.lock();
        let State { known: _, whole, denied, passing: _, takes_nothing: _ } = &mut *state;
        for refusal in whole.iter_mut().chain(denied.iter_mut().flatten()) {
            refusal.until = None;
        }
    }

    /// The probe of the bucket failed. Whatever the reason is, the share does not work.
    pub fn refused(&self, error: &StoreError, now: Timestamp) {
        match error.kind {
            StoreErrorKind::Archived
            | StoreErrorKind::NotFound
            | StoreErrorKind::Changed
            | StoreErrorKind::TooLarge
            | StoreErrorKind::Integrity
            | StoreErrorKind::Invalid => {
                let advice = "check endpoint, region, addressing and bucket";
                let reason = format!("{} ({advice})", error.message);
                let until = now.plus_millis(PROBE_INTERVAL_MS);
                self.unavailable(HealthEventKind::AccessDenied, &reason, (now, Some(until)));
            }
            _ => self.failed(error, now),
        }
    }

    fn unavailable(
        &self,
        event: HealthEventKind,
        reason: &str,
        (at, until): (Timestamp, Option<Timestamp>),
    ) {
        self.lock().whole = Some(Refusal { reason: reason.to_owned(), at, until });
        self.events.add(event, Some(self.name.clone()), reason.to_owned());
    }

    /// Adds an event of this share.
    pub fn event(&self, kind: HealthEventKind, message: String) {
        self.events.add(kind, Some(self.name.clone()), message);
    }

    /// Keys met in the latest listings that are shown under an alias.
    pub fn unrepresentable_keys(&self) -> u64 {
        let met = self.unrepresentable.lock().unwrap_or_else(PoisonError::into_inner);
        met.values().sum()
    }

    /// Takes the keys below `prefix` that are shown under an alias, as its listing has just met them.
    pub fn met_unrepresentable(&self, prefix: &str, keys: OddKeys) {
        {
            let mut met = self.unrepresentable.lock().unwrap_or_else(PoisonError::into_inner);
            if keys.count == 0 {
                met.remove(prefix);
            } else if met.len() < ODD_DIRECTORIES_MAX || met.contains_key(prefix) {
                met.insert(prefix.to_owned(), keys.count);
            }
        }
        let Some(first) = keys.first else { return };
        self.event(
            HealthEventKind::UnrepresentableKey,
            format!("object {first:?} is shown under an alias: a file cannot have its name"),
        );
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        clock::{Clock, ManualClock},
        share::events::log::Log,
    };

    fn error(kind: StoreErrorKind) -> StoreError {
        StoreError {
            op: StoreOp::PutObject,
            key: None,
            kind,
            request_id: None,
            message: "refused".to_owned(),
        }
    }

    #[test]
    fn a_refusal_is_said_blocks_for_a_while_and_heals() {
        let events = Events::new(Arc::new(ManualClock::default()));
        let health = ShareHealth::new("sales".parse().unwrap(), events.clone());
        let now = Timestamp::default();
        health.failed(&error(StoreErrorKind::Credentials), now);
        health.failed(&error(StoreErrorKind::Credentials), now);
        let ShareState::Unavailable(reason) = health.state() else { panic!("not unavailable") };
        assert!(reason.contains("clock"), "{reason}");
        assert_eq!(events.list().len(), 1, "the same words once");
        let until = health.blocked_until(Right::Write, now).expect("it is left alone");
        assert_eq!(health.blocked_until(Right::Read, now), Some(until), "all of it");
        assert_eq!(health.blocked_until(Right::Write, until), None);
        let set_back = Timestamp::from_nanos(now.as_nanos() - 1);
        assert_eq!(health.blocked_until(Right::Write, set_back), None);
        health.try_again();
        assert_eq!(health.blocked_until(Right::Write, now), None);
        assert_ne!(health.state(), ShareState::Available, "not before it answers");
        health.answered(Right::Read);
        assert_eq!(health.state(), ShareState::Available);
    }

    /// Whoever looks at the log sees each outage, though all have the same words.
    #[test]
    fn an_outage_after_a_recovery_is_logged_again() {
        let clock = Arc::new(ManualClock::default());
        let (log, events) = (Log::default(), Events::new(clock.clone()));
        let health = ShareHealth::new("sales".parse().unwrap(), events);
        let denied = StoreError { op: StoreOp::DeleteObject, ..error(StoreErrorKind::Denied) };
        let credentials = error(StoreErrorKind::Credentials);
        tracing::subscriber::with_default(log.clone(), || {
            for (outages, refused, right) in [
                (1, &credentials, Right::Read),
                (2, &credentials, Right::Write),
                (3, &denied, Right::Delete),
                (4, &denied, Right::Delete),
            ] {
                health.failed(refused, clock.now());
                health.failed(refused, clock.now());
                assert_eq!(log.warnings(), outages, "{refused}");
                health.answered(right);
                clock.advance_millis(120_000);
            }
            health.failed(&denied, clock.now());
            health.answered(Right::Read);
            clock.advance_millis(120_000);
            health.failed(&denied, clock.now());
            assert_eq!(log.warnings(), 5, "that it can be read says nothing of deletions");
        });
    }

    /// semantics.md, "When something is wrong": of many requests one is put off now and then.
    #[test]
    fn what_passes_is_not_the_share_s_state_and_what_does_not_is() {
        let clock = Arc::new(ManualClock::default());
        let events = Events::new(clock.clone());
        let health = ShareHealth::new("sales".parse().unwrap(), events.clone());
        let answer =
            |kind, message: &str| StoreError { message: message.to_owned(), ..error(kind) };
        let slow = answer(StoreErrorKind::Throttled, "HTTP 503 SlowDown");
        health.failed(&slow, clock.now());
        assert_ne!(health.state(), ShareState::Starting, "it is all that is known");
        for (error, says) in [
            (slow, "fewer requests"),
            (answer(StoreErrorKind::Unavailable, "HTTP 500 InternalError"), "trouble of its own"),
            (answer(StoreErrorKind::Unavailable, "the endpoint cannot be reached"), "the network"),
            (answer(StoreErrorKind::Timeout, "no answer in time"), "the network"),
            (answer(StoreErrorKind::Timeout, "HTTP 400 RequestTimeout"), "the network"),
        ] {
            health.answered(Right::Read);
            let told = events.list().len();
            (0..100).for_each(|_| health.failed(&error, clock.now()));
            assert_eq!(health.state(), ShareState::Available, "{error}: all at one moment");
            clock.advance_millis(4_000);
            health.answered(Right::Read);
            health.failed(&error, clock.now());
            clock.advance_millis(5_000);
            health.failed(&error, clock.now());
            assert_eq!(health.state(), ShareState::Available, "{error}: two since an answer");
            assert_eq!(events.list().len(), told);
            health.failed(&error, clock.now());
            let ShareState::Unavailable(reason) = health.state() else { panic!("{error}") };
            assert!(reason.contains(says), "{reason}");
            assert_eq!(events.list()[0].message, reason);
            clock.advance_millis(-60_000);
        }
    }

    #[test]
    fn a_denied_right_keeps_only_those_waiting_who_need_it() {
        let clock = Arc::new(ManualClock::default());
        let events = Events::new(clock.clone());
        let health = ShareHealth::new("sales".parse().unwrap(), events.clone());
        let now = clock.now();
        let denied = |op| StoreError { op, ..error(StoreErrorKind::Denied) };
        health.answered(Right::Read);
        health.failed(&denied(StoreOp::DeleteObject), now);
        assert!(health.blocked_until(Right::Delete, now).is_some());
        assert_eq!(health.blocked_until(Right::Write, now), None);
        assert_eq!(health.state(), ShareState::Available, "it can be read and written");
        assert_eq!(events.list()[0].kind, HealthEventKind::AccessDenied, "and it is told");
        health.failed(&denied(StoreOp::UploadPart), now);
        assert!(health.blocked_until(Right::Write, now).is_some());
        assert_eq!(health.blocked_until(Right::Read, now), None);
        health.answered(Right::Read);
        assert_ne!(health.state(), ShareState::Available, "that it can be read is not enough");
        health.answered(Right::Write);
        assert_eq!(health.state(), ShareState::Available);
        assert!(health.blocked_until(Right::Delete, now).is_some(), "that was not done yet");
        // Nobody may want to write again: an old refusal is no state.
        health.failed(&denied(StoreOp::PutObject), now);
        clock.advance_millis(i64::try_from(REFUSAL_SHOWN_MS).unwrap());
        assert_eq!(health.state(), ShareState::Available);
    }

    #[test]
    fn a_probe_that_fails_is_said_whatever_the_reason() {
        let events = Events::new(Arc::new(ManualClock::default()));
        let health = ShareHealth::new("sales".parse().unwrap(), events);
        for kind in [StoreErrorKind::Invalid, StoreErrorKind::Changed, StoreErrorKind::NoBucket] {
            health.refused(&error(kind), Timestamp::default());
            let ShareState::Unavailable(reason) = health.state() else { panic!("not unavailable") };
            assert!(reason.contains("refused") && reason.contains("endpoint"), "{reason}");
            health.answered(Right::Read);
        }
    }

    #[test]
    fn listings_that_cannot_be_used_are_one_event_however_many_there_are() {
        let events = Events::new(Arc::new(ManualClock::default()));
        let names = ["sales", "legal"].map(|name| name.parse().unwrap());
        for name in &names {
            let health = ShareHealth::new(Clone::clone(name), events.clone());
            health.failed(&error(StoreErrorKind::Invalid), Timestamp::default());
            for dir in 0..200 {
                let message = format!("a listing of \"{dir}/\" goes round in a circle");
                let op = StoreOp::ListObjects;
                let error = StoreError { op, message, ..error(StoreErrorKind::Invalid) };
                health.failed(&error, Timestamp::default());
            }
        }
        let list = events.list();
        let told = list.iter().filter(|event| event.kind == HealthEventKind::ListingInvalid);
        let told: Vec<_> = told.collect();
        assert_eq!((told.len(), list.len()), (2, 4), "one for each share, and no other is lost");
        assert!(told.iter().all(|event| event.message.contains("\"199/\"")), "{told:?}");
    }

    /// What only a setting can mend says which, where each upload fails of it.
    #[test]
    fn a_wrong_setting_is_named() {
        let events = Events::new(Arc::new(ManualClock::default()));
        let health = ShareHealth::new("sales".parse().unwrap(), events.clone());
        for (kind, message, says) in [
            (StoreErrorKind::Invalid, "HTTP 400 AccessControlListNotSupported", "object_acl"),
            (StoreErrorKind::Invalid, "HTTP 400 KMS.NotFoundException", "kms_key"),
            (StoreErrorKind::Denied, "HTTP 403 AccessDenied no kms:Decrypt", "kms:GenerateDataKey"),
        ] {
            let error = StoreError { message: message.to_owned(), ..error(kind) };
            health.failed(&error, Timestamp::default());
            let told = events.list().remove(0).message;
            assert!(told.contains(message) && told.contains(says), "{told}");
        }
    }

    #[test]
    fn one_object_s_trouble_is_told_and_is_not_the_share_s() {
        let events = Events::new(Arc::new(ManualClock::default()));
        let health = ShareHealth::new("sales".parse().unwrap(), events.clone());
        health.answered(Right::Read);
        for (kind, told) in [
            (StoreErrorKind::NotFound, None),
            (StoreErrorKind::Changed, None),
            (StoreErrorKind::Archived, Some(HealthEventKind::InaccessibleStorageClass)),
            (StoreErrorKind::Integrity, Some(HealthEventKind::TransferDamaged)),
            (StoreErrorKind::TooLarge, Some(HealthEventKind::UploadFailing)),
            (StoreErrorKind::Invalid, Some(HealthEventKind::AccessDenied)),
        ] {
            let before = events.list().len();
            health.failed(&error(kind), Timestamp::default());
            assert_eq!(health.state(), ShareState::Available);
            let list = events.list();
            assert_eq!(list.len() - before, usize::from(told.is_some()), "{kind:?}");
            assert!(told.is_none_or(|told| list[0].kind == told), "{kind:?}: {list:?}");
        }
    }
}
