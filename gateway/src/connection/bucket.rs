//! The steps that S3 answers: who we are, the bucket, and each right that the gateway needs.
use bytes::Bytes;
use gateway_api::connection::{ConnectionTest, Step};

use super::{Broken, Reports, Steps, advice};
use crate::{
    object::{ETag, ObjectKey},
    share::protection,
    store::{Expect, ObjectStore, PutOptions, S3Bucket, StoreError, StoreErrorKind},
};

const BODY: &[u8] = b"Written by a connection test of Tidegate, and deleted at its end.\n";

/// Asks for everything that the gateway needs.
pub(super) async fn test<R: Reports>(
    target: &ConnectionTest,
    bucket: &S3Bucket,
    name: &str,
    steps: &mut Steps<'_, R>,
) -> Result<(), Broken> {
    list(target, bucket, steps).await?;
    if target.share.read_only {
        steps.skip_rest("the share is read-only");
        return Ok(());
    }
    let Some(key) = ObjectKey::new(format!("{}{name}", target.prefix())) else {
        let why = format!("the prefix {:?} leaves no room for a name", target.prefix().as_str());
        return Err(steps.failed(Step::Put, why, "use a shorter prefix"));
    };
    let scratch = Scratch { bucket, key, options: protection(&target.share) };
    let tested = scratch.test(steps).await;
    if tested.is_err() {
        // Whatever was left behind. That it cannot be deleted either is no news now.
        let _left = bucket.delete(&scratch.key, None).await;
    }
    tested
}

/// One listing tells three things: S3 looks at the signature first, then at the bucket, then at the
/// right.
async fn list<R: Reports>(
    target: &ConnectionTest,
    bucket: &S3Bucket,
    steps: &mut Steps<'_, R>,
) -> Result<(), Broken> {
    let key = &target.s3.access_key_id;
    let known = if key.is_empty() { "from the credentials file".to_owned() } else { key.clone() };
    let found = format!("{} in {}", target.bucket(), target.s3.region);
    match bucket.probe(target.prefix().as_str()).await {
        Ok(()) => {
            steps.passed(Step::Credentials, known);
            steps.passed(Step::Bucket, found);
            steps.passed(Step::List, format!("below {:?}", target.prefix().as_str()));
            Ok(())
        }
        Err(error) => {
            let step = match error.kind {
                StoreErrorKind::NoBucket | StoreErrorKind::NotFound => Step::Bucket,
                StoreErrorKind::Denied => Step::List,
                StoreErrorKind::Credentials
                | StoreErrorKind::Changed
                | StoreErrorKind::Archived
                | StoreErrorKind::TooLarge
                | StoreErrorKind::Throttled
                | StoreErrorKind::Unavailable
                | StoreErrorKind::Timeout
                | StoreErrorKind::Integrity
                | StoreErrorKind::Invalid => Step::Credentials,
            };
            if step != Step::Credentials {
                steps.passed(Step::Credentials, known);
            }
            if step == Step::List {
                steps.passed(Step::Bucket, target.bucket().to_string());
            }
            Err(steps.failed(step, &error.message, advice::of(step, &error)))
        }
    }
}

/// The object that is written and deleted.
struct Scratch<'b> {
    bucket: &'b S3Bucket,
    key: ObjectKey,
    options: PutOptions,
}

impl Scratch<'_> {
    async fn test<R: Reports>(&self, steps: &mut Steps<'_, R>) -> Result<(), Broken> {
        let etag = match self.put(&Expect::Anything).await {
            Ok(etag) => etag,
            Err(error) => return Err(refused(Step::Put, &error, steps)),
        };
        steps.passed(Step::Put, self.key.as_str());
        self.get(&etag, steps).await?;
        self.condition(steps).await?;
        self.multipart(steps).await?;
        match self.bucket.delete(&self.key, None).await {
            Ok(()) => {
                steps.passed(Step::Delete, "nothing is left behind");
                Ok(())
            }
            Err(error) => Err(refused(Step::Delete, &error, steps)),
        }
    }

    async fn put(&self, expect: &Expect) -> Result<ETag, StoreError> {
        let put = self.bucket.put(&self.key, Bytes::from_static(BODY), &self.options, expect);
        Ok(put.await?.etag)
    }

    async fn get<R: Reports>(&self, etag: &ETag, steps: &mut Steps<'_, R>) -> Result<(), Broken> {
        match self.bucket.get(&self.key, 0..BODY.len() as u64, etag).await {
            Ok(body) if body == BODY => {
                steps.passed(Step::Get, format!("{} bytes", BODY.len()));
                Ok(())
            }
            Ok(_) => {
                let advice = "look what stands between here and S3 and changes bytes";
                Err(steps.failed(Step::Get, "other bytes than were written", advice))
            }
            Err(error) => Err(refused(Step::Get, &error, steps)),
        }
    }

    /// The object is there: one that is to be new must be refused.
    async fn condition<R: Reports>(&self, steps: &mut Steps<'_, R>) -> Result<(), Broken> {
        const STEP: Step = Step::ConditionalWrite;
        let alone = "let nobody but this gateway write under the prefix";
        match self.put(&Expect::Absent).await {
            Err(error) => match error.kind {
                StoreErrorKind::Changed => steps.passed(STEP, "If-None-Match is kept"),
                StoreErrorKind::Invalid => steps.warning(
                    STEP,
                    format!("the store knows no conditional writes: {}", error.message),
                    alone,
                ),
                StoreErrorKind::NotFound
                | StoreErrorKind::Denied
                | StoreErrorKind::Credentials
                | StoreErrorKind::Archived
                | StoreErrorKind::TooLarge
                | StoreErrorKind::NoBucket
                | StoreErrorKind::Throttled
                | StoreErrorKind::Unavailable
                | StoreErrorKind::Timeout
                | StoreErrorKind::Integrity => return Err(refused(STEP, &error, steps)),
            },
            Ok(_) => {
                let why = "the store takes If-None-Match and ignores it: another writer's change \
                           could be overwritten unseen";
                steps.warning(STEP, why, alone);
            }
        }
        Ok(())
    }

    async fn multipart<R: Reports>(&self, steps: &mut Steps<'_, R>) -> Result<(), Broken> {
        let refused =
            |error, steps: &mut Steps<'_, R>| Err(refused(Step::Multipart, &error, steps));
        let id = match self.bucket.create_multipart(&self.key, &self.options).await {
            Ok(id) => id,
            Err(error) => return refused(error, steps),
        };
        let ended = async {
            let part = self.bucket.put_part(&self.key, &id, 1, Bytes::from_static(BODY)).await?;
            self.bucket.complete_multipart(&self.key, &id, &[part], &Expect::Anything).await
        };
        let ended = ended.await;
        // A second upload, to see that one can be given up: unfinished uploads cost money for ever.
        let given_up = async {
            let id = match ended {
                Ok(_) => self.bucket.create_multipart(&self.key, &self.options).await?,
                Err(_) => id.clone(),
            };
            self.bucket.abort_multipart(&self.key, &id).await
        };
        let given_up = given_up.await;
        if let Err(error) = ended {
            return refused(error, steps);
        }
        if let Err(error) = given_up {
            let why = format!("an unfinished upload cannot be given up: {}", error.message);
            steps.warning(Step::Multipart, why, "allow s3:AbortMultipartUpload under the prefix");
            return Ok(());
        }
        steps.passed(Step::Multipart, "parts are taken, and uploads can be given up");
        Ok(())
    }
}

fn refused<R: Reports>(step: Step, error: &StoreError, steps: &mut Steps<'_, R>) -> Broken {
    steps.failed(step, &error.message, advice::of(step, error))
}
