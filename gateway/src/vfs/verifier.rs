//! The write verifier: random at every start, another one after any write or sync error (I9, D7).
use std::sync::atomic::{AtomicU64, Ordering};

use super::WriteVerifier;
use crate::essential::{self, Step};

/// The verifier of one running gateway, shared by all its shares.
#[derive(Debug)]
pub struct Verifier(AtomicU64);

impl Verifier {
    /// Draws one.
    ///
    /// # Errors
    /// The system gives no randomness: do not serve.
    pub fn random() -> Result<Self, getrandom::Error> {
        Ok(Self(AtomicU64::new(getrandom::u64()?)))
    }

    /// The verifier now.
    pub fn get(&self) -> WriteVerifier {
        WriteVerifier(self.0.load(Ordering::SeqCst).to_be_bytes())
    }

    /// Takes another one: unstable writes acknowledged until now may be lost, clients must send
    /// them again.
    pub fn rotate(&self) {
        if essential::is_left_out(Step::VerifierCheck) {
            return;
        }
        // The odd increment alone makes it differ; randomness keeps it from being met again.
        let step = getrandom::u64().unwrap_or(0) | 1;
        self.0.fetch_add(step, Ordering::SeqCst);
    }
}
