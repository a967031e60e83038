//! Finds out what a bucket can do, by trying: servers differ, and some take a condition and ignore it.
//!
//! Works on one scratch object, which is gone afterwards. A crash half-way leaves it behind; the next
//! probe of the same key begins by removing it.
use std::ops::Range;

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use gateway_api::status::{Ability, Capabilities};

use super::{Checksums, S3Bucket, wire::tag};
use crate::{
    object::{ETag, ObjectKey, Stored},
    store::{
        Expect, ObjectStore, PutOptions, StoreError, StoreErrorKind, StoreOp, UploadedPart,
        s3_error::{self, At},
    },
};

/// Some bytes of the scratch object's, and not all.
const A_RANGE: Range<u64> = 1..4;

/// Unfinished uploads of the scratch key that are cleaned up at once: what some crashed probes leave.
const UPLOADS_MAX: usize = 100;

impl S3Bucket {
    /// Tries each of S3's abilities on the object `scratch`, stored with `options`, and removes it. Some
    /// 30 small requests, counted but for their bytes, which are no file's. Bodies carry
    /// checksums afterwards if the store checks them.
    ///
    /// # Errors
    /// [`StoreError`] where the store does not answer, or may not be written: nothing is known then.
    pub async fn capabilities(
        &self,
        scratch: &ObjectKey,
        options: &PutOptions,
    ) -> Result<Capabilities, StoreError> {
        let store = self.clone().with_checksums(Checksums::PayloadSignature);
        let probe = Probe { store, key: scratch, options };
        let list = probe.clean().await?;
        let asked = probe.ask(list).await;
        let cleaned = probe.clean().await;
        let capabilities = asked?;
        cleaned?;
        self.use_checksums(match capabilities.crc64nvme {
            Ability::Yes => Checksums::Crc64Nvme,
            Ability::No | Ability::Ignored | Ability::Unknown => Checksums::PayloadSignature,
        });
        Ok(capabilities)
    }
}

/// What a request that must be refused for its condition tells.
fn verdict<T>(answer: Result<T, StoreError>) -> Result<Ability, StoreError> {
    match answer {
        Ok(_) => Ok(Ability::Ignored),
        Err(error) => match error.kind {
            StoreErrorKind::Changed => Ok(Ability::Yes),
            StoreErrorKind::Invalid | StoreErrorKind::NotFound => Ok(Ability::No),
            _ => Err(error),
        },
    }
}

/// What a request tells that must succeed if the store has the ability.
fn works<T>(answer: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match answer {
        Ok(done) => Ok(Some(done)),
        Err(error) => match error.kind {
            StoreErrorKind::Changed
            | StoreErrorKind::Invalid
            | StoreErrorKind::NotFound
            | StoreErrorKind::Integrity => Ok(None),
            _ => Err(error),
        },
    }
}

/// A tag that no object has.
fn no_tag() -> ETag {
    ETag::new("\"00000000000000000000000000000000\"")
}

fn wrong_tag() -> Expect {
    Expect::Tag(no_tag())
}

struct Probe<'p> {
    store: S3Bucket,
    key: &'p ObjectKey,
    options: &'p PutOptions,
}

impl Probe<'_> {
    async fn counted<T>(
        &self,
        op: StoreOp,
        request: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.store.meter.counted(op, request).await
    }

    async fn delete(&self, etag: Option<&ETag>) -> Result<(), StoreError> {
        self.counted(StoreOp::DeleteObject, self.store.delete(self.key, etag)).await
    }

    async fn begin_upload(&self) -> Result<String, StoreError> {
        let begin = self.store.create_multipart(self.key, self.options);
        self.counted(StoreOp::CreateMultipartUpload, begin).await
    }

    async fn abort(&self, id: &str) -> Result<(), StoreError> {
        let abort = self.store.abort_multipart(self.key, id);
        self.counted(StoreOp::AbortMultipartUpload, abort).await
    }

    /// Removes the scratch object and its uploads; tells whether uploads can be listed.
    async fn clean(&self) -> Result<Ability, StoreError> {
        self.delete(None).await?;
        let list = self.store.list_multipart(self.key.as_str(), None);
        let listed = self.counted(StoreOp::ListMultipartUploads, list).await;
        let Some(listed) = works(listed)? else {
            return Ok(Ability::No);
        };
        let ours = listed.uploads.iter().filter(|upload| upload.key == self.key.as_str());
        for upload in ours.take(UPLOADS_MAX) {
            self.abort(&upload.upload_id).await?;
        }
        Ok(Ability::Yes)
    }

    /// Asks for everything, from no object at the key on.
    async fn ask(&self, list_multipart_uploads: Ability) -> Result<Capabilities, StoreError> {
        let put_if_absent = self.put_if_absent().await?;
        let put_if_match = self.put_if_match().await?;
        let crc64nvme = self.crc64nvme().await?;
        let (copy_if_absent, copy_if_match, copy_source_if_match) = self.copies().await?;
        let store = self.store.clone().with_checksums(match crc64nvme {
            Ability::Yes => Checksums::Crc64Nvme,
            Ability::No | Ability::Ignored | Ability::Unknown => Checksums::PayloadSignature,
        });
        let sending = Probe { store, ..*self };
        let (complete_if_absent, complete_if_match) = sending.completes().await?;
        let (upload_part_copy, part_copy_source_if_match) = sending.part_copy().await?;
        let delete_if_match = self.delete_if_match().await?;
        Ok(Capabilities {
            put_if_absent,
            put_if_match,
            complete_if_absent,
            complete_if_match,
            copy_if_absent,
            copy_if_match,
            copy_source_if_match,
            delete_if_match,
            upload_part_copy,
            part_copy_source_if_match,
            list_multipart_uploads,
            crc64nvme,
        })
    }

    async fn put(&self, expect: &Expect) -> Result<ETag, StoreError> {
        let put = self.store.put(self.key, Bytes::from_static(b"probe"), self.options, expect);
        Ok(self.counted(StoreOp::PutObject, put).await?.etag)
    }

    /// The tag of the scratch object, stored anew.
    async fn stored(&self) -> Result<ETag, StoreError> {
        self.put(&Expect::Anything).await
    }

    async fn put_if_absent(&self) -> Result<Ability, StoreError> {
        if works(self.put(&Expect::Absent).await)?.is_none() {
            return Ok(Ability::No);
        }
        verdict(self.put(&Expect::Absent).await)
    }

    async fn put_if_match(&self) -> Result<Ability, StoreError> {
        let etag = self.stored().await?;
        let refused = verdict(self.put(&wrong_tag()).await)?;
        if refused == Ability::Yes && works(self.put(&Expect::Tag(etag)).await)?.is_none() {
            return Ok(Ability::No);
        }
        Ok(refused)
    }

    /// A right checksum must be taken, a wrong one refused.
    async fn crc64nvme(&self) -> Result<Ability, StoreError> {
        let body = Bytes::from_static(b"checked");
        let right = Checksums::Crc64Nvme.of(&body);
        if works(self.put_checked(body.clone(), right).await)?.is_none() {
            return Ok(Ability::No);
        }
        let wrong = Checksums::Crc64Nvme.of(b"something else");
        match works(self.put_checked(body, wrong).await)? {
            None => Ok(Ability::Yes),
            Some(_) => Ok(Ability::Ignored),
        }
    }

    async fn put_checked(&self, body: Bytes, checksum: Option<String>) -> Result<ETag, StoreError> {
        let at = At::key(StoreOp::PutObject, self.key);
        let request = self
            .store
            .put_request(self.key, self.options, &Expect::Anything)
            .set_checksum_crc64_nvme(checksum)
            .body(ByteStream::from(body));
        self.counted(StoreOp::PutObject, async {
            let put = request.send().await.map_err(|e| s3_error::from_sdk(at, e))?;
            tag(put.e_tag(), at)
        })
        .await
    }

    /// The conditions on a copy's destination (absent, tag) and on its source.
    async fn copies(&self) -> Result<(Ability, Ability, Ability), StoreError> {
        let etag = self.stored().await?;
        let copy = async |from: &ETag, expect: &Expect| {
            let copy = self.store.copy(self.key, from, self.key, self.options, expect);
            self.counted(StoreOp::CopyObject, copy).await
        };
        if works(copy(&etag, &Expect::Anything).await)?.is_none() {
            return Ok((Ability::No, Ability::No, Ability::No));
        }
        let etag = self.stored().await?;
        let if_absent = verdict(copy(&etag, &Expect::Absent).await)?;
        let etag = self.stored().await?;
        let mut if_match = verdict(copy(&etag, &wrong_tag()).await)?;
        let right = Expect::Tag(etag.clone());
        if if_match == Ability::Yes && works(copy(&etag, &right).await)?.is_none() {
            if_match = Ability::No;
        }
        let source_if_match = verdict(copy(&no_tag(), &Expect::Anything).await)?;
        Ok((if_absent, if_match, source_if_match))
    }

    /// The conditions on the end of an upload in parts: absent, tag.
    async fn completes(&self) -> Result<(Ability, Ability), StoreError> {
        self.stored().await?;
        let if_absent = verdict(self.upload(&Expect::Absent).await)?;
        let etag = self.stored().await?;
        let mut if_match = verdict(self.upload(&wrong_tag()).await)?;
        if if_match == Ability::Yes && works(self.upload(&Expect::Tag(etag)).await)?.is_none() {
            if_match = Ability::No;
        }
        Ok((if_absent, if_match))
    }

    /// An upload of one part that ends under a condition.
    async fn upload(&self, expect: &Expect) -> Result<Stored, StoreError> {
        let id = self.begin_upload().await?;
        let ended = async {
            let put = self.store.put_part(self.key, &id, 1, Bytes::from_static(b"part"));
            let part = [self.counted(StoreOp::UploadPart, put).await?];
            let complete = self.store.complete_multipart(self.key, &id, &part, expect);
            self.counted(StoreOp::CompleteMultipartUpload, complete).await
        }
        .await;
        if ended.is_err() {
            self.abort(&id).await?;
        }
        ended
    }

    /// UploadPartCopy, and the condition on its source.
    async fn part_copy(&self) -> Result<(Ability, Ability), StoreError> {
        let etag = self.stored().await?;
        let id = self.begin_upload().await?;
        let asked = async {
            if works(self.copy_whole_part(&id, &etag).await)?.is_none() {
                return Ok((Ability::No, Ability::Unknown));
            }
            Ok((Ability::Yes, verdict(self.copy_whole_part(&id, &no_tag()).await)?))
        }
        .await;
        self.abort(&id).await?;
        let (copies, keeps_condition) = asked?;
        if copies == Ability::Yes && self.ignores_ranges().await? {
            return Ok((Ability::Ignored, keeps_condition));
        }
        Ok((copies, keeps_condition))
    }

    /// Whether a part that is copied is all of the object, whatever range of it was asked for: what came of
    /// it would be too long, and wrong. S3 itself takes a range only of objects above 5 MiB and refuses
    /// this one (UploadPartCopy, `x-amz-copy-source-range`); whoever refuses it has read it.
    async fn ignores_ranges(&self) -> Result<bool, StoreError> {
        let etag = self.stored().await?;
        let id = self.begin_upload().await?;
        let made = async {
            let copy = self.store.copy_part(self.key, &id, 1, self.key, &etag, A_RANGE);
            let copied = works(self.counted(StoreOp::UploadPartCopy, copy).await)?;
            let Some(part) = copied else { return Ok(false) };
            let parts = [part];
            let complete = self.store.complete_multipart(self.key, &id, &parts, &Expect::Anything);
            let complete = self.counted(StoreOp::CompleteMultipartUpload, complete).await;
            Ok(works(complete)?.is_some())
        }
        .await;
        if !matches!(made, Ok(true)) {
            self.abort(&id).await?;
        }
        if !made? {
            return Ok(false);
        }
        let head = self.counted(StoreOp::HeadObject, self.store.head(self.key)).await?;
        Ok(head.size != A_RANGE.end - A_RANGE.start)
    }

    /// UploadPartCopy of the whole object: S3 copies ranges only of objects above 5 MiB.
    async fn copy_whole_part(&self, id: &str, etag: &ETag) -> Result<UploadedPart, StoreError> {
        let at = At::key(StoreOp::UploadPartCopy, self.key);
        let request = self.store.part_copy_request(self.key, id, self.key, etag).part_number(1);
        self.counted(StoreOp::UploadPartCopy, async {
            let copied = request.send().await.map_err(|e| s3_error::from_sdk(at, e))?;
            let etag = copied.copy_part_result().and_then(|result| result.e_tag());
            Ok(UploadedPart { number: 1, etag: tag(etag, at)? })
        })
        .await
    }

    async fn delete_if_match(&self) -> Result<Ability, StoreError> {
        let etag = self.stored().await?;
        let refused = verdict(self.delete(Some(&no_tag())).await)?;
        let right = self.delete(Some(&etag)).await;
        if refused == Ability::Yes && works(right)?.is_none() {
            return Ok(Ability::No);
        }
        Ok(refused)
    }
}
