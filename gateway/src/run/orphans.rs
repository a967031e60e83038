//! Looks for orphaned uploads of a share once a day.
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use gateway_api::status::ShareState;

use super::{rounds::Rounds, shares::Parts};
use crate::{clock::Timestamp, share::Share, upload};

/// Pause after a sweep.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Pause while the bucket does not answer, or after a sweep that failed or has left some.
const RETRY: Duration = Duration::from_secs(if cfg!(feature = "testing") { 1 } else { 600 });
/// The first look, when the bucket has had time to answer.
pub(super) const FIRST: Duration =
    Duration::from_secs(if cfg!(feature = "testing") { 1 } else { 60 });

/// Sweeps.
pub(super) struct Sweeps(pub(super) Parts);

#[async_trait]
impl Rounds for Sweeps {
    type Of = Share;

    async fn round(&mut self, share: &Share) -> Duration {
        look(share, &self.0).await
    }
}

/// One look; answers how long to pause.
async fn look(share: &Share, parts: &Parts) -> Duration {
    let Some(before) = begun_before(parts.clock.now(), &parts.orphaned_upload_days) else {
        return RETRY;
    };
    if share.settings.read_only || share.health.state() != ShareState::Available {
        return RETRY;
    }
    match upload::sweep(share, &parts.catalog, before).await {
        Ok(swept) if swept.is_all => DAY,
        Ok(_) => RETRY,
        Err(error) => {
            let name = &share.settings.name;
            tracing::warn!(share = %name, "orphaned uploads are looked for again later: {error}");
            RETRY
        }
    }
}

/// Before when an orphan must have been begun; `None` when none is to be aborted.
fn begun_before(now: Timestamp, days: &AtomicU32) -> Option<Timestamp> {
    let days = i64::from(days.load(Ordering::Relaxed));
    (days > 0).then(|| Timestamp::new(now.seconds() - days * 86_400, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orphans_are_as_old_as_the_settings_say_or_none() {
        let now = Timestamp::new(10 * 86_400, 5);
        assert_eq!(begun_before(now, &AtomicU32::new(7)), Some(Timestamp::new(3 * 86_400, 0)));
        assert_eq!(begun_before(now, &AtomicU32::new(0)), None);
    }
}
