//! Faults between the gateway and its object store: answers that are lost, late, cut short or wrong.
//!
//! A decorator of the port, for tests. It stands where an S3 server cannot: after the request was
//! done and before its answer is believed, with a gate that a test opens when it likes.
use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::{
    Expect, ListPage, ObjectMeta, ObjectStore, PutOptions, StoreError, StoreErrorKind, StoreOp,
    UploadedPart, UploadsMarker, UploadsPage,
};
use crate::object::{ETag, ObjectKey, Stored};

/// Rules that one store takes.
const RULES_MAX: usize = 64;
/// What is answered instead of a tag.
const WRONG_TAG: &str = "\"0123456789abcdef0123456789abcdef\"";

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The store refuses and does nothing. [`StoreErrorKind::Changed`] is a condition refused (412).
    FailBefore(StoreErrorKind),
    /// The store does it; the answer says that it failed.
    FailAfter(StoreErrorKind),
    /// The request waits before the store sees it, until the gate is opened.
    Hold(Gate),
    /// The body ends early: [`StoreErrorKind::Integrity`], as the port has it. Of GetObject only.
    ShortBody,
    /// The store does it and answers with a tag that no object has. Of operations that answer with one.
    WrongETag,
}

/// Where requests wait. Cloning gives another handle to the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    is_open: watch::Sender<bool>,
    arrived: watch::Sender<u64>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { is_open: watch::Sender::new(false), arrived: watch::Sender::new(0) }
    }
}

impl Gate {
    /// Lets pass who waits and who comes.
    pub fn open(&self) {
        self.is_open.send_replace(true);
    }

    /// Returns when `requests` have come to the gate, since it was made.
    pub async fn arrived(&self, requests: u64) {
        let mut arrived = self.arrived.subscribe();
        // This gate has the sender: it cannot be gone.
        drop(arrived.wait_for(|seen| *seen >= requests).await.expect("the gate is here"));
    }

    async fn pass(&self) {
        self.arrived.send_modify(|seen| *seen += 1);
        let mut is_open = self.is_open.subscribe();
        drop(is_open.wait_for(|open| *open).await.expect("the gate is here"));
    }
}

/// When something goes wrong: by default with the first request of any kind and key, once.
#[derive(Clone, Debug)]
pub struct FaultRule {
    fault: Fault,
    op: Option<StoreOp>,
    prefix: String,
    skip: u64,
    times: u64,
}

impl FaultRule {
    /// `fault`, with the next request.
    pub fn new(fault: Fault) -> Self {
        Self { fault, op: None, prefix: String::new(), skip: 0, times: 1 }
    }

    /// Only of this operation.
    #[must_use]
    pub fn on(self, op: StoreOp) -> Self {
        Self { op: Some(op), ..self }
    }

    /// Only of keys that begin so; of a copy the key that it makes.
    #[must_use]
    pub fn below(self, prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), ..self }
    }

    /// From the nth matching request on, counted from 1.
    #[must_use]
    pub fn nth(self, nth: u64) -> Self {
        Self { skip: nth.saturating_sub(1), ..self }
    }

    /// With so many requests in a row.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { times, ..self }
    }

    fn is_possible(&self) -> bool {
        match self.fault {
            Fault::FailBefore(_) | Fault::FailAfter(_) | Fault::Hold(_) => true,
            Fault::ShortBody => self.op == Some(StoreOp::GetObject),
            Fault::WrongETag => matches!(
                self.op,
                Some(
                    StoreOp::HeadObject
                        | StoreOp::PutObject
                        | StoreOp::CopyObject
                        | StoreOp::UploadPart
                        | StoreOp::UploadPartCopy
                        | StoreOp::CompleteMultipartUpload
                )
            ),
        }
    }

    /// Whether the request meets the fault.
    fn meets(&mut self, op: StoreOp, key: &str) -> bool {
        if self.times == 0 || self.op.is_some_and(|of| of != op) || !key.starts_with(&self.prefix) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

#[derive(Debug, Default)]
struct Rules {
    rules: Vec<FaultRule>,
    happened: u64,
    /// Bytes of bodies that are being sent, and the most that ever were.
    sending: u64,
    sending_max: u64,
}

/// A store whose requests meet faults. Cloning gives another handle to the same rules and store.
#[derive(Clone, Debug)]
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    rules: Arc<Mutex<Rules>>,
}

impl FaultStore {
    /// `inner`, without a fault so far.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, rules: Arc::default() }
    }

    /// Adds a rule. The first that a request meets counts.
    ///
    /// # Panics
    /// When the operation cannot have that fault, or with the 65th rule.
    pub fn add(&self, rule: FaultRule) {
        assert!(rule.is_possible(), "no answer has this fault: {rule:?}");
        let mut rules = self.lock();
        assert!(rules.rules.len() < RULES_MAX, "at most {RULES_MAX} rules");
        rules.rules.push(rule);
    }

    /// Forgets all rules.
    pub fn clear(&self) {
        self.lock().rules.clear();
    }

    /// How many requests have met a fault: a test in which none has shows nothing.
    pub fn happened(&self) -> u64 {
        self.lock().happened
    }

    /// The most bytes of bodies (PutObject, UploadPart) that were on their way at once, those that a gate
    /// held among them.
    pub fn sending_max(&self) -> u64 {
        self.lock().sending_max
    }

    fn lock(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a body as being sent for as long as the answer lives.
    fn sends(&self, body: &Bytes) -> Sends<'_> {
        let bytes = body.len() as u64;
        let mut rules = self.lock();
        rules.sending += bytes;
        rules.sending_max = rules.sending_max.max(rules.sending);
        Sends { store: self, bytes }
    }

    fn met(&self, op: StoreOp, key: &str) -> Option<Fault> {
        let mut rules = self.lock();
        let met = rules.rules.iter_mut().find_map(|rule| {
            let meets = rule.meets(op, key);
            meets.then(|| rule.fault.clone())
        });
        rules.happened += u64::from(met.is_some());
        met
    }

    /// Passes a request of a key on.
    async fn of_key<T: Answer>(
        &self,
        op: StoreOp,
        key: &ObjectKey,
        request: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.pass(op, key.as_str(), Some(key), request).await
    }

    async fn pass<T: Answer>(
        &self,
        op: StoreOp,
        at: &str,
        key: Option<&ObjectKey>,
        request: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let failed = |kind| StoreError {
            op,
            key: key.cloned(),
            kind,
            request_id: None,
            message: format!("a fault of the test: {kind:?}"),
        };
        match self.met(op, at) {
            None => request.await,
            Some(Fault::FailBefore(kind)) => Err(failed(kind)),
            Some(Fault::FailAfter(kind)) => {
                request.await?;
                Err(failed(kind))
            }
            Some(Fault::Hold(gate)) => {
                gate.pass().await;
                request.await
            }
            Some(Fault::ShortBody) => {
                request.await?;
                Err(failed(StoreErrorKind::Integrity))
            }
            Some(Fault::WrongETag) => Ok(request.await?.with_wrong_tag()),
        }
    }
}

/// A body that is being sent.
struct Sends<'s> {
    store: &'s FaultStore,
    bytes: u64,
}

impl Drop for Sends<'_> {
    fn drop(&mut self) {
        self.store.lock().sending -= self.bytes;
    }
}

/// What a store answers.
trait Answer: Sized {
    /// The same with another tag, if it has one.
    fn with_wrong_tag(self) -> Self {
        self
    }
}

impl Answer for () {}
impl Answer for Bytes {}
impl Answer for String {}
impl Answer for ListPage {}
impl Answer for UploadsPage {}

impl Answer for ETag {
    fn with_wrong_tag(self) -> Self {
        Self::new(WRONG_TAG)
    }
}

impl Answer for Stored {
    fn with_wrong_tag(self) -> Self {
        Self { etag: self.etag.with_wrong_tag(), ..self }
    }
}

impl Answer for UploadedPart {
    fn with_wrong_tag(self) -> Self {
        Self { etag: self.etag.with_wrong_tag(), ..self }
    }
}

impl Answer for ObjectMeta {
    fn with_wrong_tag(self) -> Self {
        Self { etag: self.etag.with_wrong_tag(), ..self }
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn probe(&self, prefix: &str) -> Result<(), StoreError> {
        self.pass(StoreOp::ListObjects, prefix, None, self.inner.probe(prefix)).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.of_key(StoreOp::HeadObject, key, self.inner.head(key)).await
    }

    async fn get(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        etag: &ETag,
    ) -> Result<Bytes, StoreError> {
        self.of_key(StoreOp::GetObject, key, self.inner.get(key, range, etag)).await
    }

    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage, StoreError> {
        self.pass(StoreOp::ListObjects, prefix, None, self.inner.list(prefix, page)).await
    }

    async fn put(
        &self,
        key: &ObjectKey,
        body: Bytes,
        options: &PutOptions,
        expect: &Expect,
    ) -> Result<Stored, StoreError> {
        let _sends = self.sends(&body);
        self.of_key(StoreOp::PutObject, key, self.inner.put(key, body, options, expect)).await
    }

    async fn copy(
        &self,
        from: &ObjectKey,
        from_etag: &ETag,
        to: &ObjectKey,
        options: &PutOptions,
        expect: &Expect,
    ) -> Result<Stored, StoreError> {
        let request = self.inner.copy(from, from_etag, to, options, expect);
        self.of_key(StoreOp::CopyObject, to, request).await
    }

    async fn delete(&self, key: &ObjectKey, etag: Option<&ETag>) -> Result<(), StoreError> {
        self.of_key(StoreOp::DeleteObject, key, self.inner.delete(key, etag)).await
    }

    async fn create_multipart(
        &self,
        key: &ObjectKey,
        options: &PutOptions,
    ) -> Result<String, StoreError> {
        let request = self.inner.create_multipart(key, options);
        self.of_key(StoreOp::CreateMultipartUpload, key, request).await
    }

    async fn put_part(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        number: u32,
        body: Bytes,
    ) -> Result<UploadedPart, StoreError> {
        let _sends = self.sends(&body);
        let request = self.inner.put_part(key, upload_id, number, body);
        self.of_key(StoreOp::UploadPart, key, request).await
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
        let request = self.inner.copy_part(key, upload_id, number, from, from_etag, range);
        self.of_key(StoreOp::UploadPartCopy, key, request).await
    }

    async fn complete_multipart(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        parts: &[UploadedPart],
        expect: &Expect,
    ) -> Result<Stored, StoreError> {
        let request = self.inner.complete_multipart(key, upload_id, parts, expect);
        self.of_key(StoreOp::CompleteMultipartUpload, key, request).await
    }

    async fn abort_multipart(&self, key: &ObjectKey, upload_id: &str) -> Result<(), StoreError> {
        let request = self.inner.abort_multipart(key, upload_id);
        self.of_key(StoreOp::AbortMultipartUpload, key, request).await
    }

    async fn list_multipart(
        &self,
        prefix: &str,
        after: Option<&UploadsMarker>,
    ) -> Result<UploadsPage, StoreError> {
        let request = self.inner.list_multipart(prefix, after);
        self.pass(StoreOp::ListMultipartUploads, prefix, None, request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{ManualClock, Timestamp},
        store::MemoryStore,
    };

    fn world() -> (Arc<MemoryStore>, FaultStore) {
        let clock = Arc::new(ManualClock::new(Timestamp::new(1_800_000_000, 0)));
        let inner = Arc::new(MemoryStore::new(clock));
        (Arc::clone(&inner), FaultStore::new(inner))
    }

    async fn put(store: &FaultStore, at: &str) -> Result<ETag, StoreErrorKind> {
        let key = ObjectKey::new(at).unwrap();
        let (body, options) = (Bytes::from_static(b"body"), PutOptions::default());
        let put = store.put(&key, body, &options, &Expect::Absent).await;
        put.map(|stored| stored.etag).map_err(|error| error.kind)
    }

    #[tokio::test]
    async fn a_failure_before_changes_nothing_and_one_after_is_done() {
        let (inner, store) = world();
        store.add(FaultRule::new(Fault::FailBefore(StoreErrorKind::Changed)));
        store.add(FaultRule::new(Fault::FailAfter(StoreErrorKind::Timeout)));
        assert_eq!(put(&store, "a").await, Err(StoreErrorKind::Changed));
        assert!(inner.keys().is_empty());
        assert_eq!(put(&store, "a").await, Err(StoreErrorKind::Timeout));
        assert_eq!(inner.keys(), ["a"]);
        assert_eq!(store.happened(), 2);
    }

    #[tokio::test]
    async fn a_rule_counts_only_its_operation_and_keys() {
        let (inner, store) = world();
        let fault = Fault::FailBefore(StoreErrorKind::Unavailable);
        let rule = FaultRule::new(fault).on(StoreOp::PutObject).below("p/").nth(2).times(2);
        store.add(rule);
        store.head(&ObjectKey::new("p/a").unwrap()).await.expect_err("it is not there");
        for (at, is_done) in [("p/1", true), ("q", true), ("p/2", false), ("p/3", false)] {
            assert_eq!(put(&store, at).await.is_ok(), is_done, "{at}");
        }
        assert!(put(&store, "p/4").await.is_ok(), "no more than twice");
        assert_eq!(inner.keys(), ["p/1", "p/4", "q"]);
    }

    #[tokio::test]
    async fn a_request_waits_at_the_gate_and_is_done_when_it_opens() {
        let (inner, store) = world();
        let gate = Gate::default();
        store.add(FaultRule::new(Fault::Hold(gate.clone())));
        let held = tokio::spawn({
            let store = store.clone();
            async move { put(&store, "a").await }
        });
        gate.arrived(1).await;
        assert!(inner.keys().is_empty());
        gate.open();
        held.await.unwrap().unwrap();
        assert_eq!(inner.keys(), ["a"]);
    }

    #[tokio::test]
    async fn answers_can_be_short_or_name_another_tag() {
        let (_, store) = world();
        store.add(FaultRule::new(Fault::WrongETag).on(StoreOp::PutObject));
        store.add(FaultRule::new(Fault::ShortBody).on(StoreOp::GetObject));
        let key = ObjectKey::new("a").unwrap();
        let wrong = put(&store, "a").await.unwrap();
        let right = store.head(&key).await.unwrap().etag;
        assert_ne!(wrong, right);
        let short = store.get(&key, 0..4, &right).await.expect_err("it was cut");
        assert_eq!(short.kind, StoreErrorKind::Integrity);
        assert_eq!(store.get(&key, 0..4, &right).await.unwrap(), "body");
    }

    #[test]
    #[should_panic(expected = "no answer has this fault")]
    fn a_fault_that_no_answer_has_is_refused() {
        world().1.add(FaultRule::new(Fault::ShortBody).on(StoreOp::PutObject));
    }
}
