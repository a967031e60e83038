//! Passwords that are being looked at, and how many were wrong: whoever guesses has to wait. On all consoles
//! together: a second one is no second chance.
use std::process::Child;

use anyhow::Result;

/// The delay before an answer doubles with each wrong password, from one second to this.
const DELAY_SECONDS_MAX: u64 = 32;

/// What PID 1 knows of attempts to log in.
#[derive(Debug, Default)]
pub(super) struct LogIns {
    /// Processes that look whether a password is right.
    pids: Vec<i32>,
    /// Wrong passwords in a row.
    failures: u32,
}

impl LogIns {
    /// How long the answer to the next attempt waits.
    pub(super) fn delay_seconds(&self) -> u64 {
        delay_seconds(self.failures)
    }

    /// A process looks whether a password is right.
    pub(super) fn began(&mut self, child: &Child) -> Result<()> {
        self.pids.push(i32::try_from(child.id())?);
        Ok(())
    }

    /// A child has ended; whether it was one of these. Whatever kept it from finding the password right
    /// counts as a wrong one.
    pub(super) fn ended(&mut self, pid: i32, code: Option<i32>) -> bool {
        let Some(at) = self.pids.iter().position(|log_in| *log_in == pid) else { return false };
        self.pids.swap_remove(at);
        if code == Some(0) {
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
            tracing::warn!("a wrong password on the console, {} in a row", self.failures);
        }
        true
    }
}

/// How long an answer waits after so many wrong passwords in a row.
fn delay_seconds(failures: u32) -> u64 {
    match failures {
        0 => 0,
        failures => 1_u64.checked_shl(failures - 1).unwrap_or(u64::MAX).min(DELAY_SECONDS_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_delay_doubles_up_to_a_bound() {
        let delays = [0, 1, 2, 3, 6, 7, 64, 65, u32::MAX].map(delay_seconds);
        assert_eq!(delays, [0, 1, 2, 4, 32, 32, 32, 32, 32]);
    }

    /// Goal: guessing on two consoles is as slow as on one. Method: processes that end as those that look at
    /// a password do.
    #[test]
    fn wrong_passwords_are_counted_over_both_consoles_until_a_right_one() {
        let mut log_ins = LogIns::default();
        let attempt = |log_ins: &mut LogIns, ends: &str| {
            let child = Command::new("sh").args(["-c", ends]).spawn().unwrap();
            log_ins.began(&child).unwrap();
            child
        };
        let ended = |log_ins: &mut LogIns, mut child: std::process::Child| {
            let code = child.wait().unwrap().code();
            assert!(log_ins.ended(child.id().try_into().unwrap(), code));
            log_ins.delay_seconds()
        };
        let screen = attempt(&mut log_ins, "exit 1");
        let serial = attempt(&mut log_ins, "exit 1");
        assert_eq!(log_ins.delay_seconds(), 0, "neither is known to be wrong yet");
        assert_eq!(ended(&mut log_ins, serial), 1);
        assert_eq!(ended(&mut log_ins, screen), 2, "both count, whichever ends first");
        let killed = attempt(&mut log_ins, "kill -9 $$");
        assert_eq!(ended(&mut log_ins, killed), 4, "one that was killed has found nothing right");
        assert!(!log_ins.ended(i32::MAX, Some(0)), "another child");
        assert_eq!(log_ins.delay_seconds(), 4, "does not count");
        let right = attempt(&mut log_ins, "exit 0");
        assert_eq!(ended(&mut log_ins, right), 0);
        let wrong = attempt(&mut log_ins, "exit 1");
        assert_eq!(ended(&mut log_ins, wrong), 1, "it begins anew");
    }
}
