//! Asks a share's bucket: whether it answers, whenever it did not the last time, and once what it can
//! do. So the status is true although nobody reads or writes.
use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use gateway_api::{
    settings::ShareSettings,
    status::{Ability, Capabilities, HealthEventKind, ShareState},
};
use tokio::sync::Mutex;

use super::{rounds::Rounds, shares::Parts};
use crate::{
    clock::Timestamp,
    object::ObjectKey,
    share::{Right, Share, protection},
    store::{KnownAbilities, PutOptions, S3Bucket, SCRATCH_NAME, StoreError, StoreErrorKind},
};

/// Pause between two looks at a share whose bucket does not answer.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Looks that pass after the bucket has refused to be asked what it can do: five minutes.
const LOOKS_AFTER_REFUSAL: u32 = 60;

/// What a bucket is asked with.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    bucket: S3Bucket,
    scratch: ObjectKey,
    options: PutOptions,
    known: KnownAbilities,
    /// One bucket of this gateway is asked at a time: a share that is started anew asks with the same
    /// scratch object as before.
    turn: Arc<Mutex<()>>,
}

impl Asked {
    /// The question to `bucket`; `None` for a share that may not write.
    pub(super) fn new(
        share: &ShareSettings,
        gateway_id: &str,
        bucket: &S3Bucket,
        known: &KnownAbilities,
        turn: &Arc<Mutex<()>>,
    ) -> Option<Self> {
        if share.read_only {
            return None;
        }
        let scratch = ObjectKey::new(format!("{}{SCRATCH_NAME}{gateway_id}", share.prefix))?;
        let options = protection(share);
        let (bucket, known, turn) = (bucket.clone(), known.clone(), Arc::clone(turn));
        Some(Self { bucket, scratch, options, known, turn })
    }

    async fn ask(&self) -> Result<Capabilities, StoreError> {
        let _turn = self.turn.lock().await;
        let capabilities = self.bucket.capabilities(&self.scratch, &self.options).await?;
        self.known.set(capabilities);
        Ok(capabilities)
    }
}

/// Looks at the bucket of a share; asks once what it can do, if there is something to ask.
pub(super) struct Probe {
    asked: Option<Asked>,
    looks_to_pass: u32,
    parts: Parts,
}

impl Probe {
    /// Looks for `parts`, and asks what is `asked`.
    pub(super) fn new(asked: Option<Asked>, parts: Parts) -> Self {
        Self { asked, looks_to_pass: 0, parts }
    }
}

#[async_trait]
impl Rounds for Probe {
    type Of = Share;

    async fn round(&mut self, share: &Share) -> Duration {
        look(share, &self.parts).await;
        if self.looks_to_pass > 0 {
            self.looks_to_pass -= 1;
        } else if share.health.state() == ShareState::Available
            && let Some(question) = &self.asked
        {
            match question.ask().await {
                Ok(capabilities) => {
                    say(share, &capabilities);
                    self.asked = None;
                }
                Err(error) => {
                    self.looks_to_pass = refused(share, &error, self.parts.clock.now());
                }
            }
        }
        LOOK_INTERVAL
    }
}

async fn look(share: &Share, parts: &Parts) {
    if share.health.state() == ShareState::Available {
        return;
    }
    match share.store.probe(share.settings.prefix.as_str()).await {
        Ok(()) => share.health.answered(Right::Read),
        Err(error) => share.health.refused(&error, parts.clock.now()),
    }
}

/// Says why it is not known what the bucket can do; answers how many looks are to pass before it is
/// asked again.
fn refused(share: &Share, error: &StoreError, now: Timestamp) -> u32 {
    if error.kind.is_retryable() {
        tracing::debug!(%error, "the bucket is asked again what it can do");
        return 0;
    }
    if matches!(error.kind, StoreErrorKind::Credentials | StoreErrorKind::NoBucket) {
        // Of the share as a whole: asked again as soon as the bucket answers.
        share.health.failed(error, now);
        return 0;
    }
    let message = format!(
        "what the bucket can do is not known: {error} (list, read, write and delete must be allowed \
         under the prefix)"
    );
    share.health.event(HealthEventKind::AccessDenied, message);
    LOOKS_AFTER_REFUSAL
}

fn say(share: &Share, capabilities: &Capabilities) {
    tracing::info!(share = %share.settings.name, ?capabilities, "the bucket was asked");
    for message in complaints(capabilities) {
        share.health.event(HealthEventKind::StoreLacksAbility, message);
    }
}

/// What the operator must know of a store that is not quite S3.
fn complaints(capabilities: &Capabilities) -> Vec<String> {
    let mut said = Vec::new();
    let not_kept = capabilities.conditions_not_kept();
    if !not_kept.is_empty() {
        said.push(format!(
            "the store does not keep conditions on changes ({}): another writer's change could be \
             overwritten unseen. Each object is looked at right before it is changed, which leaves \
             a moment in between: let nobody else write under the prefix",
            not_kept.join(", ")
        ));
    }
    match capabilities.upload_part_copy {
        Ability::No | Ability::Ignored => said.push(
            "the store cannot copy parts of objects (UploadPartCopy), or copies others than it is \
             asked for: a file over 5 GiB that is \
             uploaded is fetched and sent again when it is renamed or its attributes are changed, \
             and large files do not go ahead while they are written"
                .to_owned(),
        ),
        Ability::Yes | Ability::Unknown => {}
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_that_are_not_kept_are_complained_of_and_s3_is_not() {
        let s3 = Capabilities::all(Ability::Yes);
        assert!(complaints(&s3).is_empty());
        assert!(complaints(&Capabilities::default()).is_empty(), "not asked is not lacking");
        for ability in [Ability::No, Ability::Ignored] {
            let said = complaints(&Capabilities { put_if_match: ability, ..s3 });
            assert_eq!(said.len(), 1);
            assert!(said[0].contains("(put_if_match)") && said[0].contains("overwritten unseen"));
        }
        for ability in [Ability::No, Ability::Ignored] {
            let said = complaints(&Capabilities { upload_part_copy: ability, ..s3 });
            assert!(said[0].contains("5 GiB"), "{said:?}");
        }
        assert!(complaints(&Capabilities { crc64nvme: Ability::No, ..s3 }).is_empty());
    }
}
