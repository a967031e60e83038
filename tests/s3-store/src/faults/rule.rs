//! One fault rule: which requests it matches, when it fires, and what then happens.

use std::time::Duration;

use super::Hold;
use crate::model::mix;

/// What happens to a request that a rule fires for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultAction {
    /// Answers an S3 error and does nothing. Status 200 makes an error inside a successful reply.
    FailBefore {
        /// HTTP status.
        status: u16,
        /// S3 error code.
        code: String,
    },
    /// Does what was asked, then answers an S3 error.
    FailAfter {
        /// HTTP status.
        status: u16,
        /// S3 error code.
        code: String,
    },
    /// Closes the connection and does nothing.
    DropBefore,
    /// Does what was asked, then closes the connection without a reply.
    DropAfter,
    /// Closes the connection after so many bytes of the reply's body.
    ShortBody {
        /// Bytes that still arrive.
        bytes: u64,
    },
    /// Inverts the lowest bit of one byte of the reply's body; headers and checksums stay as they were.
    FlipByte {
        /// Where, counted from the first byte of the reply's body.
        offset: u64,
    },
    /// Waits, then goes on as if nothing had happened.
    Delay(Duration),
    /// Waits until it is let go, then goes on as if nothing had happened.
    Hold(Hold),
}

/// A rule: matches by operation and key prefix, lets some requests pass, then fires a bounded number of times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultRule {
    pub(super) operation: Option<String>,
    pub(super) key_prefix: Option<String>,
    pub(super) skip: u64,
    pub(super) times: u64,
    pub(super) chance: Option<(u16, u64)>,
    pub(super) action: FaultAction,
}

impl FaultRule {
    /// A rule that fires once, for the first request of any operation.
    #[must_use]
    pub fn new(action: FaultAction) -> Self {
        Self { operation: None, key_prefix: None, skip: 0, times: 1, chance: None, action }
    }

    /// A 503 SlowDown before anything is done.
    #[must_use]
    pub fn slow_down() -> Self {
        Self::new(FaultAction::FailBefore { status: 503, code: "SlowDown".to_owned() })
    }

    /// A 500 InternalError after the change is done.
    #[must_use]
    pub fn fail_after() -> Self {
        Self::new(FaultAction::FailAfter { status: 500, code: "InternalError".to_owned() })
    }

    /// Only requests of this S3 operation, such as `PutObject`.
    #[must_use]
    pub fn operation(mut self, name: &str) -> Self {
        self.operation = Some(name.to_owned());
        self
    }

    /// Only requests for keys that start so.
    #[must_use]
    pub fn key_prefix(mut self, prefix: &str) -> Self {
        self.key_prefix = Some(prefix.to_owned());
        self
    }

    /// Lets the first `requests` that match pass.
    #[must_use]
    pub fn skip(mut self, requests: u64) -> Self {
        self.skip = requests;
        self
    }

    /// Fires at most so often.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Fires for so many of a thousand matching requests, by a generator with this seed.
    #[must_use]
    pub fn chance(mut self, per_mille: u16, seed: u64) -> Self {
        self.chance = Some((per_mille, seed));
        self
    }
}

/// A rule with its counters.
#[derive(Debug)]
pub(super) struct Armed {
    rule: FaultRule,
    matched: u64,
    fired: u64,
}

impl Armed {
    pub(super) fn new(rule: FaultRule) -> Self {
        Self { rule, matched: 0, fired: 0 }
    }

    pub(super) fn left(&self) -> u64 {
        self.rule.times - self.fired
    }

    /// Counts a request; gives the action where the rule fires.
    pub(super) fn draw(&mut self, operation: &str, key: &str) -> Option<FaultAction> {
        let rule = &self.rule;
        let matches = rule.operation.as_deref().is_none_or(|name| name == operation)
            && rule.key_prefix.as_deref().is_none_or(|prefix| key.starts_with(prefix));
        if !matches || self.fired == rule.times {
            return None;
        }
        self.matched += 1;
        if self.matched <= rule.skip {
            return None;
        }
        if rule.chance.is_some_and(|(per_mille, seed)| {
            mix(seed ^ mix(self.matched)) % 1000 >= u64::from(per_mille)
        }) {
            return None;
        }
        self.fired += 1;
        Some(rule.action.clone())
    }
}
