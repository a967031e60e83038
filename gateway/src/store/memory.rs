//! A bucket in memory, for tests that need no server: conditions, parts and pages as S3 has them.
//!
//! What it holds is bounded by what its test puts there. One lock, never held across an await.
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{
    Expect, ListPage, ListedObject, ObjectMeta, ObjectStore, PendingUpload, PutOptions, StoreError,
    StoreErrorKind, StoreOp, UploadedPart, UploadsMarker, UploadsPage,
};
use crate::{
    clock::{Clock, Timestamp},
    object::{ETag, ObjectKey, Stored},
};

/// Names on one page of a listing (S3 ListObjectsV2: 1,000).
const PAGE_NAMES: usize = 1000;
/// Greatest part number (S3: 10,000).
const PART_NUMBER_MAX: u32 = 10_000;

/// An object as it is stored.
#[derive(Clone, Debug)]
struct Object {
    body: Bytes,
    etag: ETag,
    options: PutOptions,
    last_modified: Timestamp,
}

/// A multipart upload under way.
#[derive(Debug)]
struct Upload {
    key: String,
    options: PutOptions,
    initiated: Timestamp,
    parts: BTreeMap<u32, (Bytes, ETag)>,
}

#[derive(Debug, Default)]
struct Bucket {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    uploads_begun: u64,
    versions: BTreeMap<String, u64>,
}

/// One bucket. Tags are of the content: equal bytes have equal tags, but for objects made of parts.
#[derive(Debug)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    bucket: Mutex<Bucket>,
}

/// What was asked for: for the error.
#[derive(Clone, Copy)]
struct Asked<'a>(StoreOp, Option<&'a ObjectKey>);

impl Asked<'_> {
    fn refuse(self, kind: StoreErrorKind) -> StoreError {
        let message = format!("the store in memory says {kind:?}");
        StoreError { op: self.0, key: self.1.cloned(), kind, request_id: None, message }
    }
}

fn tag_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Bucket {
    /// The object with exactly this tag.
    fn tagged(
        &self,
        asked: Asked<'_>,
        key: &ObjectKey,
        etag: &ETag,
    ) -> Result<&Object, StoreError> {
        let found = self.objects.get(key.as_str());
        let found = found.ok_or_else(|| asked.refuse(StoreErrorKind::NotFound))?;
        if found.etag == *etag { Ok(found) } else { Err(asked.refuse(StoreErrorKind::Changed)) }
    }

    fn check(&self, asked: Asked<'_>, key: &ObjectKey, expect: &Expect) -> Result<(), StoreError> {
        match (expect, self.objects.get(key.as_str())) {
            (Expect::Anything, _) | (Expect::Absent, None) => Ok(()),
            (Expect::Absent, Some(_)) => Err(asked.refuse(StoreErrorKind::Changed)),
            (Expect::Tag(_), None) => Err(asked.refuse(StoreErrorKind::NotFound)),
            (Expect::Tag(tag), Some(found)) if found.etag == *tag => Ok(()),
            (Expect::Tag(_), Some(_)) => Err(asked.refuse(StoreErrorKind::Changed)),
        }
    }

    fn store(&mut self, key: &ObjectKey, object: Object) -> ETag {
        let etag = object.etag.clone();
        *self.versions.entry(key.as_str().to_owned()).or_default() += 1;
        self.objects.insert(key.as_str().to_owned(), object);
        etag
    }

    fn upload(
        &mut self,
        asked: Asked<'_>,
        key: &ObjectKey,
        id: &str,
    ) -> Result<&mut Upload, StoreError> {
        let found = self.uploads.get_mut(id).filter(|upload| upload.key == key.as_str());
        found.ok_or_else(|| asked.refuse(StoreErrorKind::NotFound))
    }
}

fn cut(asked: Asked<'_>, body: &Bytes, range: Range<u64>) -> Result<Bytes, StoreError> {
    let index = |at: u64| usize::try_from(at).ok().filter(|at| *at <= body.len());
    match (index(range.start), index(range.end)) {
        (Some(start), Some(end)) if start <= end => Ok(body.slice(start..end)),
        _ => Err(asked.refuse(StoreErrorKind::Invalid)),
    }
}

impl MemoryStore {
    /// An empty bucket whose objects are dated by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, bucket: Mutex::default() }
    }

    /// The keys of all objects, in order.
    pub fn keys(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    /// The object's bytes.
    pub fn body(&self, key: &str) -> Option<Bytes> {
        self.lock().objects.get(key).map(|object| object.body.clone())
    }

    /// How often an object was stored under the key.
    pub fn versions(&self, key: &str) -> u64 {
        self.lock().versions.get(key).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self, body: Bytes, etag: String, options: &PutOptions) -> Object {
        let last_modified = Timestamp::new(self.clock.now().seconds(), 0);
        let etag = ETag::new(format!("\"{etag}\""));
        Object { body, etag, options: options.clone(), last_modified }
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    async fn probe(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        let asked = Asked(StoreOp::HeadObject, Some(key));
        let bucket = self.lock();
        let found = bucket.objects.get(key.as_str());
        let found = found.ok_or_else(|| asked.refuse(StoreErrorKind::NotFound))?;
        Ok(ObjectMeta {
            size: found.body.len() as u64,
            etag: found.etag.clone(),
            version: None,
            last_modified: found.last_modified,
            user: found.options.user.clone(),
            content_type: found.options.content_type.clone(),
            headers: found.options.headers.clone(),
            unsayable: Vec::new(),
        })
    }

    async fn get(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        etag: &ETag,
    ) -> Result<Bytes, StoreError> {
        let asked = Asked(StoreOp::GetObject, Some(key));
        cut(asked, &self.lock().tagged(asked, key, etag)?.body, range)
    }

    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage, StoreError> {
        let bucket = self.lock();
        let mut listed = ListPage::default();
        // A page's token is the last name of the page before it.
        let below = bucket.objects.iter().filter(|(key, _)| key.starts_with(prefix));
        let mut last = page.map(str::to_owned);
        for (key, object) in below {
            let name = match key[prefix.len()..].find('/') {
                Some(at) => &key[..=prefix.len() + at],
                None => key.as_str(),
            };
            if last.as_deref().is_some_and(|last| name <= last) {
                continue;
            }
            if listed.objects.len() + listed.prefixes.len() == PAGE_NAMES {
                listed.next = last;
                break;
            }
            last = Some(name.to_owned());
            if name.len() < key.len() || (name.ends_with('/') && name != prefix) {
                listed.prefixes.push(name.to_owned());
            } else {
                listed.objects.push(ListedObject {
                    key: key.clone(),
                    size: object.body.len() as u64,
                    etag: object.etag.clone(),
                    last_modified: object.last_modified,
                });
            }
        }
        Ok(listed)
    }

    async fn put(
        &self,
        key: &ObjectKey,
        body: Bytes,
        options: &PutOptions,
        expect: &Expect,
    ) -> Result<Stored, StoreError> {
        let asked = Asked(StoreOp::PutObject, Some(key));
        let mut bucket = self.lock();
        bucket.check(asked, key, expect)?;
        let etag = tag_of(&body);
        Ok(bucket.store(key, self.object(body, etag, options)).into())
    }

    async fn copy(
        &self,
        from: &ObjectKey,
        from_etag: &ETag,
        to: &ObjectKey,
        options: &PutOptions,
        expect: &Expect,
    ) -> Result<Stored, StoreError> {
        let asked = Asked(StoreOp::CopyObject, Some(to));
        let mut bucket = self.lock();
        let body = bucket.tagged(asked, from, from_etag)?.body.clone();
        bucket.check(asked, to, expect)?;
        let etag = tag_of(&body);
        Ok(bucket.store(to, self.object(body, etag, options)).into())
    }

    async fn delete(&self, key: &ObjectKey, etag: Option<&ETag>) -> Result<(), StoreError> {
        let asked = Asked(StoreOp::DeleteObject, Some(key));
        let mut bucket = self.lock();
        if let Some(found) = bucket.objects.get(key.as_str())
            && etag.is_some_and(|etag| *etag != found.etag)
        {
            return Err(asked.refuse(StoreErrorKind::Changed));
        }
        bucket.objects.remove(key.as_str());
        Ok(())
    }

    async fn create_multipart(
        &self,
        key: &ObjectKey,
        options: &PutOptions,
    ) -> Result<String, StoreError> {
        let mut bucket = self.lock();
        bucket.uploads_begun += 1;
        let id = format!("upload-{:08}", bucket.uploads_begun);
        let initiated = Timestamp::new(self.clock.now().seconds(), 0);
        let key = key.as_str().to_owned();
        let upload = Upload { key, options: options.clone(), initiated, parts: BTreeMap::new() };
        bucket.uploads.insert(id.clone(), upload);
        Ok(id)
    }

    async fn put_part(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        number: u32,
        body: Bytes,
    ) -> Result<UploadedPart, StoreError> {
        let asked = Asked(StoreOp::UploadPart, Some(key));
        if !(1..=PART_NUMBER_MAX).contains(&number) {
            return Err(asked.refuse(StoreErrorKind::TooLarge));
        }
        let etag = ETag::new(format!("\"{}\"", tag_of(&body)));
        let mut bucket = self.lock();
        let upload = bucket.upload(asked, key, upload_id)?;
        upload.parts.insert(number, (body, etag.clone()));
        Ok(UploadedPart { number, etag })
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
        let asked = Asked(StoreOp::UploadPartCopy, Some(key));
        let body = cut(asked, &self.lock().tagged(asked, from, from_etag)?.body, range)?;
        self.put_part(key, upload_id, number, body).await
    }

    async fn complete_multipart(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        parts: &[UploadedPart],
        expect: &Expect,
    ) -> Result<Stored, StoreError> {
        let asked = Asked(StoreOp::CompleteMultipartUpload, Some(key));
        let mut bucket = self.lock();
        let upload = bucket.upload(asked, key, upload_id)?;
        let (mut body, mut tags) = (Vec::new(), String::new());
        for part in parts {
            let sent = upload.parts.get(&part.number).filter(|(_, etag)| *etag == part.etag);
            let (bytes, etag) = sent.ok_or_else(|| asked.refuse(StoreErrorKind::Invalid))?;
            body.extend_from_slice(bytes);
            tags.push_str(etag.as_str());
        }
        let options = upload.options.clone();
        bucket.check(asked, key, expect)?;
        bucket.uploads.remove(upload_id);
        let etag = format!("{}-{}", tag_of(tags.as_bytes()), parts.len());
        Ok(bucket.store(key, self.object(Bytes::from(body), etag, &options)).into())
    }

    async fn abort_multipart(&self, _: &ObjectKey, upload_id: &str) -> Result<(), StoreError> {
        self.lock().uploads.remove(upload_id);
        Ok(())
    }

    async fn list_multipart(
        &self,
        prefix: &str,
        after: Option<&UploadsMarker>,
    ) -> Result<UploadsPage, StoreError> {
        let bucket = self.lock();
        let mut below: Vec<_> =
            bucket.uploads.iter().filter(|(_, upload)| upload.key.starts_with(prefix)).collect();
        below.sort_by_key(|(id, upload)| (&upload.key, *id));
        let is_behind = |(id, upload): &(&String, &Upload)| {
            after.is_none_or(|after| match &after.upload_id {
                Some(last) => (&upload.key, *id) > (&after.key, last),
                None => upload.key > after.key,
            })
        };
        let mut page = UploadsPage::default();
        for (id, upload) in below.into_iter().filter(is_behind) {
            if page.uploads.len() == PAGE_NAMES {
                page.next = page.uploads.last().map(|last| UploadsMarker {
                    key: last.key.clone(),
                    upload_id: Some(last.upload_id.clone()),
                });
                break;
            }
            page.uploads.push(PendingUpload {
                key: upload.key.clone(),
                upload_id: id.clone(),
                initiated: upload.initiated,
            });
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn store() -> MemoryStore {
        MemoryStore::new(Arc::new(ManualClock::new(Timestamp::new(1_800_000_000, 5))))
    }

    fn key(key: &str) -> ObjectKey {
        ObjectKey::new(key).unwrap()
    }

    fn kind<T: std::fmt::Debug>(refused: Result<T, StoreError>) -> StoreErrorKind {
        refused.expect_err("it should have been refused").kind
    }

    async fn put(store: &MemoryStore, at: &str, expect: &Expect) -> Result<ETag, StoreError> {
        let body = Bytes::copy_from_slice(at.as_bytes());
        Ok(store.put(&key(at), body, &PutOptions::default(), expect).await?.etag)
    }

    /// As `contract_a_publish_happens_only_on_its_condition` has it of a server.
    #[tokio::test]
    async fn contract_a_publish_happens_only_on_its_condition() {
        let (store, k) = (store(), key("k"));
        let first = put(&store, "k", &Expect::Absent).await.unwrap();
        assert_eq!(kind(put(&store, "k", &Expect::Absent).await), StoreErrorKind::Changed);
        let tag = Expect::Tag(first.clone());
        let other = Bytes::from_static(b"2");
        let second = store.put(&k, other, &PutOptions::default(), &tag).await.unwrap().etag;
        assert_eq!(kind(put(&store, "k", &tag).await), StoreErrorKind::Changed);
        assert_eq!(kind(put(&store, "none", &tag).await), StoreErrorKind::NotFound);
        assert_eq!(kind(store.get(&k, 0..1, &first).await), StoreErrorKind::Changed);
        assert_eq!(kind(store.delete(&k, Some(&first)).await), StoreErrorKind::Changed);
        store.delete(&k, Some(&second)).await.unwrap();
        store.delete(&k, Some(&second)).await.unwrap();
        assert_eq!(kind(store.get(&k, 0..1, &second).await), StoreErrorKind::NotFound);
        assert_eq!(store.versions("k"), 2);
    }

    #[tokio::test]
    async fn contract_listings_page_in_byte_order_with_prefixes_and_markers() {
        let store = store();
        for i in 0..2100 {
            put(&store, &format!("d/{i:05}"), &Expect::Absent).await.unwrap();
        }
        for at in ["d/", "d/00007/below", "d/zz/", "d/zz/2", "d0", "c"] {
            put(&store, at, &Expect::Absent).await.unwrap();
        }
        let (mut objects, mut prefixes, mut pages, mut next) = (vec![], vec![], 0, None);
        loop {
            let page = store.list("d/", next.as_deref()).await.unwrap();
            objects.extend(page.objects.into_iter().map(|object| object.key));
            prefixes.extend(page.prefixes);
            pages += 1;
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        assert_eq!((objects.len(), pages), (2101, 3));
        assert!(objects.is_sorted() && objects[0] == "d/");
        assert_eq!(prefixes, ["d/00007/", "d/zz/"]);
    }

    #[tokio::test]
    async fn contract_an_upload_in_parts_appears_whole_and_on_its_condition() {
        let (store, k) = (store(), key("large"));
        let id = store.create_multipart(&k, &PutOptions::default()).await.unwrap();
        let etag = put(&store, "from", &Expect::Absent).await.unwrap();
        let one = store.put_part(&k, &id, 1, Bytes::from_static(b"one,")).await.unwrap();
        let two = store.copy_part(&k, &id, 2, &key("from"), &etag, 0..2).await.unwrap();
        assert_eq!(kind(store.head(&k).await), StoreErrorKind::NotFound, "not before its end");
        assert_eq!(store.list_multipart("lar", None).await.unwrap().uploads.len(), 1);
        put(&store, "large", &Expect::Absent).await.unwrap();
        let parts = [one, two];
        let refused = store.complete_multipart(&k, &id, &parts, &Expect::Absent).await;
        assert_eq!(kind(refused), StoreErrorKind::Changed);
        store.complete_multipart(&k, &id, &parts, &Expect::Anything).await.unwrap();
        assert_eq!(store.body("large").unwrap(), "one,fr");
        let late = store.put_part(&k, &id, 1, Bytes::new()).await;
        assert_eq!(kind(late), StoreErrorKind::NotFound);
        store.abort_multipart(&k, &id).await.unwrap();
        assert!(store.list_multipart("", None).await.unwrap().uploads.is_empty());
    }

    /// As `contract_uploads_are_told_in_pages_each_once` has it of a server.
    #[tokio::test]
    async fn contract_uploads_are_told_in_pages_each_once() {
        let store = store();
        let mut begun = Vec::new();
        for number in 0..1003 {
            let k = key(&format!("of {}", number / 5));
            begun.push(store.create_multipart(&k, &PutOptions::default()).await.unwrap());
        }
        let first = store.list_multipart("of", None).await.unwrap();
        let second = store.list_multipart("of", first.next.as_ref()).await.unwrap();
        assert!(first.next.is_some() && second.next.is_none());
        let both = first.uploads.into_iter().chain(second.uploads);
        let mut seen: Vec<_> = both.map(|upload| upload.upload_id).collect();
        seen.sort();
        assert_eq!(seen, begun);
    }
}
