//! A store taken for what it is: what it cannot do by itself is done around it, or said.
//!
//! Owns: what is known of the store's abilities, and how each that is missing is made up for. A
//! condition that the store does not keep is looked at right before the change: between look and
//! change another writer's change is still overwritten unseen, which is why the operator is told.
//! Until the abilities are known, both are done. Must not know: how they are found out.
use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use gateway_api::status::{Ability, Capabilities};

use super::{
    Expect, ListPage, ObjectMeta, ObjectStore, PutOptions, StoreError, StoreErrorKind, StoreOp,
    UploadedPart, UploadsMarker, UploadsPage,
};
use crate::object::{ETag, ObjectKey, Stored};

/// Name of a scratch object under a share's prefix, without the gateway's id. Never shown as a file.
pub const SCRATCH_NAME: &str = ".tidegate-probe-";

/// What is known of a store. Cloning gives another handle to the same knowledge.
#[derive(Clone, Debug, Default)]
pub struct KnownAbilities {
    known: Arc<Mutex<Capabilities>>,
}

impl KnownAbilities {
    /// What is known.
    pub fn get(&self) -> Capabilities {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what was found out.
    pub fn set(&self, capabilities: Capabilities) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = capabilities;
    }
}

/// Makes up for what `inner` is known to lack.
#[derive(Debug)]
pub struct DegradedStore {
    inner: Arc<dyn ObjectStore>,
    known: KnownAbilities,
    /// Keys that begin so are scratch objects of this or another gateway.
    scratch: String,
}

impl DegradedStore {
    /// `inner`, which is known by `known`; the share's keys begin with `prefix`.
    pub fn new(inner: Arc<dyn ObjectStore>, known: KnownAbilities, prefix: &str) -> Self {
        Self { inner, known, scratch: format!("{prefix}{SCRATCH_NAME}") }
    }

    /// The condition to send, after a look at the object where the store alone is not to be trusted.
    async fn settled<'e>(
        &self,
        op: StoreOp,
        key: &ObjectKey,
        expect: &'e Expect,
        ability: Ability,
    ) -> Result<&'e Expect, StoreError> {
        match (expect, ability) {
            (Expect::Anything, _) | (_, Ability::Yes) => Ok(expect),
            (Expect::Absent | Expect::Tag(_), Ability::Unknown) => {
                self.look(op, key, expect).await?;
                Ok(expect)
            }
            (Expect::Absent | Expect::Tag(_), Ability::No | Ability::Ignored) => {
                self.look(op, key, expect).await?;
                Ok(&Expect::Anything)
            }
        }
    }

    /// Compares the object with what is expected, as S3 would.
    async fn look(&self, op: StoreOp, key: &ObjectKey, expect: &Expect) -> Result<(), StoreError> {
        let found = match self.inner.head(key).await {
            Ok(head) => Some(head.etag),
            Err(error) if error.kind == StoreErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let refuse = |kind, message: String| {
            Err(StoreError { op, key: Some(key.clone()), kind, request_id: None, message })
        };
        match (expect, found) {
            (Expect::Anything, _) | (Expect::Absent, None) => Ok(()),
            (Expect::Tag(tag), Some(found)) if *tag == found => Ok(()),
            (Expect::Tag(tag), None) => {
                refuse(StoreErrorKind::NotFound, format!("no object, {tag} was expected"))
            }
            (Expect::Absent | Expect::Tag(_), Some(found)) => {
                refuse(StoreErrorKind::Changed, format!("the object has the tag {found}"))
            }
        }
    }
}

fn of(expect: &Expect, if_absent: Ability, if_match: Ability) -> Ability {
    match expect {
        Expect::Absent => if_absent,
        Expect::Tag(_) => if_match,
        Expect::Anything => Ability::Yes,
    }
}

#[async_trait]
impl ObjectStore for DegradedStore {
    async fn probe(&self, prefix: &str) -> Result<(), StoreError> {
        self.inner.probe(prefix).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.inner.head(key).await
    }

    async fn get(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        etag: &ETag,
    ) -> Result<Bytes, StoreError> {
        self.inner.get(key, range, etag).await
    }

    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage, StoreError> {
        let mut page = self.inner.list(prefix, page).await?;
        page.objects.retain(|object| !object.key.starts_with(&self.scratch));
        Ok(page)
    }

    async fn put(
        &self,
        key: &ObjectKey,
        body: Bytes,
        options: &PutOptions,
        expect: &Expect,
    ) -> Result<Stored, StoreError> {
        let known = self.known.get();
        let ability = of(expect, known.put_if_absent, known.put_if_match);
        let expect = self.settled(StoreOp::PutObject, key, expect, ability).await?;
        self.inner.put(key, body, options, expect).await
    }

    async fn copy(
        &self,
        from: &ObjectKey,
        from_etag: &ETag,
        to: &ObjectKey,
        options: &PutOptions,
        expect: &Expect,
    ) -> Result<Stored, StoreError> {
        let known = self.known.get();
        // The condition on the source is sent all the same: no store refuses it.
        let source = Expect::Tag(from_etag.clone());
        self.settled(StoreOp::CopyObject, from, &source, known.copy_source_if_match).await?;
        let ability = of(expect, known.copy_if_absent, known.copy_if_match);
        let expect = self.settled(StoreOp::CopyObject, to, expect, ability).await?;
        self.inner.copy(from, from_etag, to, options, expect).await
    }

    async fn delete(&self, key: &ObjectKey, etag: Option<&ETag>) -> Result<(), StoreError> {
        let Some(etag) = etag else { return self.inner.delete(key, None).await };
        let ability = self.known.get().delete_if_match;
        let expect = Expect::Tag(etag.clone());
        match self.settled(StoreOp::DeleteObject, key, &expect, ability).await {
            Ok(Expect::Anything) => self.inner.delete(key, None).await,
            Ok(Expect::Absent | Expect::Tag(_)) => self.inner.delete(key, Some(etag)).await,
            // It is gone already, if a listing agrees: a bucket that is gone answers HEAD the same (I13).
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                match self.inner.listed(key).await? {
                    None => Ok(()),
                    Some(listed) if listed.etag == *etag => self.inner.delete(key, None).await,
                    Some(_) => Err(error.belied_by_a_listing(StoreErrorKind::Changed)),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn create_multipart(
        &self,
        key: &ObjectKey,
        options: &PutOptions,
    ) -> Result<String, StoreError> {
        self.inner.create_multipart(key, options).await
    }

    async fn put_part(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        number: u32,
        body: Bytes,
    ) -> Result<UploadedPart, StoreError> {
        self.inner.put_part(key, upload_id, number, body).await
    }

    async fn copy_part(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        number: u32,
        from: &ObjectKey,
        from_etag: &ETag,
        range: Range<u64>,
    ) -> Result<UploadedPart, StoreError> {
        let known = self.known.get();
        let source = Expect::Tag(from_etag.clone());
        let (op, kept) = (StoreOp::UploadPartCopy, known.part_copy_source_if_match);
        match known.upload_part_copy {
            Ability::Yes | Ability::Unknown => {
                self.settled(op, from, &source, kept).await?;
                let part =
                    self.inner.copy_part(key, upload_id, number, from, from_etag, range).await?;
                // Where the condition is not kept, it may have been copied from another object's bytes.
                self.settled(op, from, &source, kept).await?;
                Ok(part)
            }
            // Not sent: who asked all the same fetches the bytes and sends them.
            Ability::No | Ability::Ignored => Err(StoreError {
                op,
                key: Some(key.clone()),
                kind: StoreErrorKind::Invalid,
                request_id: None,
                message: "this store does not copy parts of objects (UploadPartCopy)".to_owned(),
            }),
        }
    }

    async fn complete_multipart(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        parts: &[UploadedPart],
        expect: &Expect,
    ) -> Result<Stored, StoreError> {
        let known = self.known.get();
        let ability = of(expect, known.complete_if_absent, known.complete_if_match);
        let op = StoreOp::CompleteMultipartUpload;
        let expect = self.settled(op, key, expect, ability).await?;
        self.inner.complete_multipart(key, upload_id, parts, expect).await
    }

    async fn abort_multipart(&self, key: &ObjectKey, upload_id: &str) -> Result<(), StoreError> {
        self.inner.abort_multipart(key, upload_id).await
    }

    async fn list_multipart(
        &self,
        prefix: &str,
        after: Option<&UploadsMarker>,
    ) -> Result<UploadsPage, StoreError> {
        self.inner.list_multipart(prefix, after).await
    }

    fn copies_parts(&self) -> bool {
        match self.known.get().upload_part_copy {
            Ability::Yes | Ability::Unknown => true,
            Ability::No | Ability::Ignored => false,
        }
    }
}
