//! Watches over the S3 credentials: says in time that they end, and that they have ended.
use std::time::Duration;

use gateway_api::status::HealthEventKind;

use super::shares::Parts;
use crate::store::CredentialsStanding;

/// Pause between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);

/// Says how the credentials stand whenever that changes, until the stop.
pub(super) async fn watch(parts: Parts) {
    let stopping = parts.tasks.stopping();
    let mut last = CredentialsStanding::Good;
    loop {
        let standing = parts.credentials.standing(parts.clock.now()).await;
        if standing != last {
            if let Some((kind, message)) = words(&standing) {
                parts.events.over(None, &[kind]);
                parts.events.add(kind, None, message);
            }
            last = standing;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
            () = stopping.cancelled() => return,
        }
    }
}

/// What is wrong with the credentials, in words for the operator.
pub(super) async fn problem(parts: &Parts) -> Option<String> {
    let standing = parts.credentials.standing(parts.clock.now()).await;
    words(&standing).map(|(_, message)| message)
}

fn words(standing: &CredentialsStanding) -> Option<(HealthEventKind, String)> {
    match standing {
        CredentialsStanding::Good => None,
        CredentialsStanding::Expiring(end) => Some((
            HealthEventKind::CredentialsExpiring,
            format!("the S3 credentials end at {end}: give new ones before"),
        )),
        CredentialsStanding::Expired(end) => Some((
            HealthEventKind::CredentialsRejected,
            format!(
                "the S3 credentials ended at {end}: give new ones; what is written is kept and \
                 uploaded then"
            ),
        )),
        CredentialsStanding::Unreadable(why) => {
            Some((HealthEventKind::CredentialsRejected, format!("s3.credentials_file: {why}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_tells_what_to_do() {
        let end = || "2026-11-26T18:00:00Z".parse().unwrap();
        for (standing, kind, says) in [
            (CredentialsStanding::Expiring(end()), HealthEventKind::CredentialsExpiring, "before"),
            (CredentialsStanding::Expired(end()), HealthEventKind::CredentialsRejected, "kept"),
            (
                CredentialsStanding::Unreadable("/keys: No such file".to_owned()),
                HealthEventKind::CredentialsRejected,
                "/keys",
            ),
        ] {
            let (said, message) = words(&standing).unwrap();
            assert_eq!(said, kind);
            assert!(message.contains(says), "{message}");
        }
        assert_eq!(words(&CredentialsStanding::Good), None);
    }
}
