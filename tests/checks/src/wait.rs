//! Waiting for something to become true, with a deadline and words for what did not happen.
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Pause between two looks: short against anything a person or a VM does.
const PAUSE: Duration = Duration::from_millis(100);
/// Pause as a multiple of what the look took, up to a second: whoever is waited for needs the
/// processors, too.
const PAUSE_PER_LOOK: u32 = 10;
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Calls `look` until it finds something.
///
/// # Errors
/// `look`'s own error at once, or one that names `what` when `limit` has passed.
pub fn poll_until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        let begun = Instant::now();
        if let Some(found) = look()? {
            return Ok(found);
        }
        let looked = begun.elapsed();
        if begun >= end {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        std::thread::sleep(PAUSE.max((looked * PAUSE_PER_LOOK).min(PAUSE_MAX)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_happens_is_named_and_what_happens_is_returned() {
        let never = poll_until::<()>("a wonder", Duration::ZERO, || Ok(None));
        assert!(never.unwrap_err().to_string().contains("a wonder"));
        let mut looks = 0;
        let found = poll_until("the third look", Duration::from_secs(60), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.unwrap(), 3);
    }
}
