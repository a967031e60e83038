//! Tests an S3 target one step after another, and says for each failure the one thing to do.
//!
//! Before settings are in force, and while the gateway does not run: `way.rs` goes as far as TLS and
//! the clock by itself, so that a wrong name is not reported as a wrong password; `bucket.rs` asks S3.
//! Must not know shares that run.
mod advice;
mod bucket;
mod certificates;
mod way;

pub use self::certificates::inspect;

use std::time::Instant;

use gateway_api::connection::{ConnectionTest, Outcome, Step, StepReport};

use crate::store::{S3Bucket, S3Credentials, SCRATCH_NAME};

/// Where the reports go, each as soon as its step has ended.
pub trait Reports: Send {
    /// One more report.
    fn report(&mut self, report: StepReport);
}

impl<F: FnMut(StepReport) + Send> Reports for F {
    fn report(&mut self, report: StepReport) {
        self(report);
    }
}

/// A name for the object of a test: hidden from the shares like that of the probe, and no other
/// test's.
///
/// # Panics
/// The kernel has no random numbers.
#[must_use]
pub fn scratch_name() -> String {
    let mut number = [0; 8];
    getrandom::fill(&mut number).expect("the kernel has random numbers");
    format!("{SCRATCH_NAME}test-{:016x}", u64::from_ne_bytes(number))
}

/// Runs every step; after one that failed, the rest are skipped. `name` is that of the object that is
/// written and deleted below the prefix; nothing else is touched.
pub async fn test(target: &ConnectionTest, name: &str, reports: &mut impl Reports) {
    let mut steps = Steps { reports, since: Instant::now(), done: 0 };
    let credentials = S3Credentials::new(&target.s3);
    let broken = match S3Bucket::open(&target.s3, target.bucket(), &credentials) {
        Ok(bucket) => {
            let bucket = bucket.with_requester_pays(target.share.requester_pays);
            match way::test(target, &mut steps).await {
                Ok(()) => bucket::test(target, &bucket, name, &mut steps).await.err(),
                Err(broken) => Some(broken),
            }
        }
        Err(error) => {
            let advice = "change this setting".to_owned();
            steps.end(Outcome::Failed { why: error.to_string(), advice });
            Some(Broken)
        }
    };
    if let Some(Broken) = broken {
        steps.skip_rest("a step before it failed");
    }
}

/// A step failed: those after it make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Broken;

/// The steps in their order: each ends once.
struct Steps<'r, R> {
    reports: &'r mut R,
    since: Instant,
    done: usize,
}

impl<R: Reports> Steps<'_, R> {
    fn end(&mut self, outcome: Outcome) {
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.reports.report(StepReport { step: Step::ALL[self.done], outcome, millis });
        self.done += 1;
        self.since = Instant::now();
    }

    /// The next step is this one. A step out of order is a bug of this module.
    fn expect(&self, step: Step) {
        debug_assert_eq!(Step::ALL.get(self.done), Some(&step), "steps keep their order");
    }

    fn passed(&mut self, step: Step, note: impl Into<String>) {
        self.expect(step);
        self.end(Outcome::Passed { note: note.into() });
    }

    fn warning(&mut self, step: Step, why: impl Into<String>, advice: impl Into<String>) {
        self.expect(step);
        self.end(Outcome::Warning { why: why.into(), advice: advice.into() });
    }

    fn skipped(&mut self, step: Step, because: impl Into<String>) {
        self.expect(step);
        self.end(Outcome::Skipped { because: because.into() });
    }

    fn failed(&mut self, step: Step, why: impl Into<String>, advice: impl Into<String>) -> Broken {
        self.expect(step);
        self.end(Outcome::Failed { why: why.into(), advice: advice.into() });
        Broken
    }

    fn skip_rest(&mut self, because: &str) {
        while self.done < Step::ALL.len() {
            self.end(Outcome::Skipped { because: because.to_owned() });
        }
    }
}
