//! Brings one object to the state of its inode: by PUT, by multipart upload, or by a copy on the
//! server, always on the condition that the object is the one that the catalog believes in (I10).
use std::sync::atomic::Ordering;

use bytes::Bytes;
use gateway_api::status::HealthEventKind;

use super::{
    aside, assemble,
    attributes::{self, Asked},
    conflict::keep_theirs,
    copy::Whole,
    gone::let_go,
    job::{JobError, Tools},
    landed::{Earlier, done_before, landed},
    multipart,
    plan::SINGLE_PUT_BYTES_MAX,
    still::Read,
};
use crate::{
    catalog::{ChangedObject, Expected, SyncJob},
    essential::{self, Step},
    failpoint::{self, Point},
    ids::FileKind,
    object::{ETag, ObjectKey, Stored},
    share::Carried,
    store::{Expect, ObjectMeta, PutOptions, StoreError, StoreErrorKind},
};

/// MD5 of nothing: the tag of an object without content, if S3 has it from the bytes.
const OF_NO_BYTES: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// How a publish ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The object is there.
    Published(Sent),
    /// An earlier attempt has made it of what the file was then.
    Earlier(Earlier),
    /// Something had to be settled first: claim the job again.
    AskAgain,
    /// The file has been set aside or put off; the catalog has ended the claim.
    Ended,
}

/// An object that S3 has taken.
#[derive(Debug)]
pub(super) struct Sent {
    /// Its tag and version.
    pub(super) object: Stored,
    /// Whether it has the file's attributes, not only its bytes.
    pub(super) is_whole: bool,
    /// The upload in parts that has made it; `None`: it was one request.
    pub(super) upload: Option<String>,
}

impl Sent {
    fn whole(object: Stored) -> Self {
        Self { object, is_whole: true, upload: None }
    }
}

/// Publishes.
pub(super) async fn publish(tools: &Tools, job: &SyncJob) -> Result<Outcome, JobError> {
    if job.sent_before
        && let Some(found) = done_before(tools, job).await?
    {
        return Ok(found);
    }
    if job.is_elsewhere {
        tools.catalog.settle(job.op).await?;
        return Ok(Outcome::AskAgain);
    }
    let told;
    let (job, head) = if attributes::are_unknown(job) {
        match attributes::ask(tools, job).await? {
            Asked::Told(inode, head) => {
                told = SyncJob { inode: *inode, ..job.clone() };
                (&told, head)
            }
            Asked::Otherwise(outcome) => return Ok(outcome),
        }
    } else {
        (job, None)
    };
    let mut options = tools.share.put_options(&job.inode);
    carry(tools, job, head, &mut options).await?;
    match send(tools, job, &options).await {
        Ok(sent) => Ok(Outcome::Published(sent)),
        Err(JobError::Store(error)) if is_condition(&error) => {
            settle(tools, job, &options, error).await
        }
        Err(JobError::BaseLost(error)) => aside::without_base(tools, job, error).await,
        Err(JobError::Incomplete) => aside::without_any(tools, job).await,
        Err(error) => Err(error),
    }
}

/// Whether the store says that the object is not the one expected: 412, or 404 for an `If-Match`.
pub(super) fn is_condition(error: &StoreError) -> bool {
    matches!(error.kind, StoreErrorKind::Changed | StoreErrorKind::NotFound)
}

fn expect(job: &SyncJob) -> Expect {
    match &job.expect {
        _ if essential::is_left_out(Step::PublishConditionCheck) => Expect::Anything,
        Expected::Absent => Expect::Absent,
        Expected::Tag(etag) => Expect::Tag(etag.clone()),
    }
}

/// Sends the object by the cheapest way that is right.
async fn send(tools: &Tools, job: &SyncJob, options: &PutOptions) -> Result<Sent, JobError> {
    let inode = &job.inode;
    match inode.kind {
        FileKind::Directory => match marker(job) {
            Some((from, etag)) => keep_content(tools, job, from, etag, options).await,
            None => put(tools, job, Bytes::new(), options).await,
        }
        .map(Sent::whole),
        FileKind::Symlink => {
            let target = Bytes::from(inode.target.clone().unwrap_or_default());
            put(tools, job, target, options).await.map(Sent::whole)
        }
        FileKind::File => match source(job) {
            Some((from, etag)) if !inode.content_dirty => {
                copy(tools, job, from, etag, options).await
            }
            _ => content(tools, job, options).await,
        },
    }
}

/// The object that S3 has of the file: to be copied from where the content is the same.
pub(super) fn source(job: &SyncJob) -> Option<(&ObjectKey, &ETag)> {
    match &job.moved_from {
        Some((key, etag)) => Some((key, etag)),
        None => job.inode.object_key.as_ref().zip(job.inode.etag.as_ref()),
    }
}

/// Has the object say what the one says that it is to be a copy of (HeadObject, unless `head` is known).
///
/// Asked before each copy, also of an object that was made here: others change what it says in place, by a copy onto
/// itself, and neither its tag nor anything else that the copy could have for a condition tells of that.
async fn carry(
    tools: &Tools,
    job: &SyncJob,
    head: Option<ObjectMeta>,
    options: &mut PutOptions,
) -> Result<(), StoreError> {
    let inode = &job.inode;
    let from = match inode.kind {
        FileKind::Directory => before(job),
        FileKind::File | FileKind::Symlink if inode.content_dirty => None,
        FileKind::File | FileKind::Symlink => source(job),
    };
    let Some((from, etag)) = from else { return Ok(()) };
    let head = match head {
        Some(head) => Some(head),
        None => glance(tools, from).await?.ok(),
    };
    // Of another one its condition tells.
    if let Some(head) = head.filter(|head| head.etag == *etag) {
        take_along(tools, &head, inode.kind, from, options);
    }
    Ok(())
}

/// Has a copy of `head` say what that says besides attributes.
pub(super) fn take_along(
    tools: &Tools,
    head: &ObjectMeta,
    kind: FileKind,
    from: &ObjectKey,
    options: &mut PutOptions,
) {
    let carried = Carried::of(head, kind, from, tools.share.settings.guess_mime_type);
    let no_room = carried.put_into(options);
    if !no_room.is_empty() {
        let names = no_room.join(", ");
        tracing::warn!(key = %from, "S3 takes 2 KB of metadata: of its writer's these are left out: {names}");
    }
    if !head.unsayable.is_empty() {
        let names = head.unsayable.join(", ");
        tracing::warn!(key = %from, "of what its writer has said, what is not in ASCII is left out: {names}");
    }
}

/// The object of a directory: where that came from, or what was found at its key.
fn before(job: &SyncJob) -> Option<(&ObjectKey, &ETag)> {
    let found = || match &job.expect {
        Expected::Tag(etag) if job.is_found => Some((&job.key, etag)),
        Expected::Tag(_) | Expected::Absent => None,
    };
    source(job).or_else(found)
}

/// The object of a directory, if it may have content: others can put some at a key that ends in `/`.
fn marker(job: &SyncJob) -> Option<(&ObjectKey, &ETag)> {
    before(job).filter(|(_, etag)| etag.as_str().trim_matches('"') != OF_NO_BYTES)
}

/// Gives a directory's object its attributes, and leaves the content that others gave it.
async fn keep_content(
    tools: &Tools,
    job: &SyncJob,
    from: &ObjectKey,
    etag: &ETag,
    options: &PutOptions,
) -> Result<Stored, JobError> {
    let store = &tools.share.store;
    let refused = match store.copy(from, etag, &job.key, options, &expect(job)).await {
        Ok(copied) => {
            failpoint::passed(Point::UploadAfterCopy);
            return Ok(copied);
        }
        Err(error) => error,
    };
    if refused.kind != StoreErrorKind::Invalid {
        return Err(refused.into());
    }
    // It is too large for one copy, or the store makes none, which matters only where there is something to be kept.
    let size = store.head(from).await?.size;
    if size == 0 {
        return put(tools, job, Bytes::new(), options).await;
    }
    let whole = Whole { from: from.clone(), etag: etag.clone(), size, to: job.key.clone() };
    whole.copy(tools, options, &expect(job)).await
}

async fn put(
    tools: &Tools,
    job: &SyncJob,
    body: Bytes,
    options: &PutOptions,
) -> Result<Stored, JobError> {
    let bytes = body.len() as u64;
    let stored = tools.share.store.put(&job.key, body, options, &expect(job)).await?;
    tools.sent.fetch_add(bytes, Ordering::Relaxed);
    failpoint::passed(Point::UploadAfterPut);
    Ok(stored)
}

async fn copy(
    tools: &Tools,
    job: &SyncJob,
    from: &ObjectKey,
    etag: &ETag,
    options: &PutOptions,
) -> Result<Sent, JobError> {
    if job.inode.size > tools.copy_bytes_max {
        return multipart::send(tools, job, options, &expect(job)).await;
    }
    match tools.share.store.copy(from, etag, &job.key, options, &expect(job)).await {
        Ok(copied) => {
            failpoint::passed(Point::UploadAfterCopy);
            Ok(Sent::whole(copied))
        }
        // It does not copy: the bytes are fetched and sent.
        Err(error) if error.kind == StoreErrorKind::Invalid => content(tools, job, options).await,
        Err(error) => Err(error.into()),
    }
}

async fn content(tools: &Tools, job: &SyncJob, options: &PutOptions) -> Result<Sent, JobError> {
    let inode = &job.inode;
    if inode.size > SINGLE_PUT_BYTES_MAX {
        return multipart::send(tools, job, options, &expect(job)).await;
    }
    let taken = tools.take();
    if let Some(Read::Body(body)) = taken.as_ref().map(|taken| &taken.what) {
        return put(tools, job, body.clone(), options).await.map(Sent::whole);
    }
    let _memory = tools.budget.reserve(inode.size).await;
    let body = assemble::bytes(tools, job, 0..inode.size).await?;
    put(tools, job, body, options).await.map(Sent::whole)
}

/// The condition did not hold: either an earlier attempt of ours was done after all, or somebody
/// else has changed the object. `refusal` is what the store said.
async fn settle(
    tools: &Tools,
    job: &SyncJob,
    options: &PutOptions,
    refusal: StoreError,
) -> Result<Outcome, JobError> {
    let Some(head) = look(tools, &job.key).await? else {
        return gone(tools, job, refusal).await;
    };
    if let Some(found) = landed(tools, job, &head).await? {
        return Ok(found);
    }
    if let Expected::Tag(expected) = &job.expect
        && *expected == head.etag
    {
        // The target is as believed, so it was the source of a copy that is not.
        return lost_source(tools, job, refusal).await;
    }
    let in_place = job.inode.object_key.as_ref() == Some(&job.key);
    if in_place && !job.inode.content_dirty && job.inode.kind == FileKind::File {
        // Only attributes were changed here: their bytes are the file's, with our attributes.
        return take_over(tools, job, &job.key, head).await;
    }
    if aside::needs_replaced(tools, job).await? {
        return aside::without_base(tools, job, refusal).await;
    }
    // What a directory's object holds stays in it, unless it is replaced by that of another directory.
    let stays = job.inode.kind == FileKind::Directory
        && (head.size == 0 || source(job).is_none_or(|(from, _)| *from == job.key));
    let known = |version| !job.foreign.iter().any(|gap| gap.contains(&version));
    let ours = tools.share.version_in(&head.user, job.inode.ino).is_some_and(known);
    if !ours && !stays {
        keep_theirs(tools, job, &head, options).await?;
    }
    tools.catalog.adopt_object(job.op, &job.key, Some(head.etag)).await?;
    Ok(Outcome::AskAgain)
}

/// What the object is, or the refusal when HEAD says that there is none: enough where nothing comes of its absence
/// but a request that has its own condition.
pub(super) async fn glance(
    tools: &Tools,
    key: &ObjectKey,
) -> Result<Result<ObjectMeta, StoreError>, StoreError> {
    match tools.share.store.head(key).await {
        Ok(head) => Ok(Ok(head)),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(Err(error)),
        Err(error) => Err(error),
    }
}

/// What the object is; `None` when there is none, and a listing agrees: the 404 of a HEAD has no words, and a bucket
/// that is gone says the same (I13).
pub(super) async fn look(tools: &Tools, key: &ObjectKey) -> Result<Option<ObjectMeta>, StoreError> {
    let refusal = match glance(tools, key).await? {
        Ok(head) => return Ok(Some(head)),
        Err(refusal) => refusal,
    };
    if !essential::is_left_out(Step::AbsenceCheck) && tools.share.store.listed(key).await?.is_some()
    {
        return Err(refusal.belied_by_a_listing(StoreErrorKind::Invalid));
    }
    Ok(None)
}

/// No object has the key although one was expected.
async fn gone(tools: &Tools, job: &SyncJob, refusal: StoreError) -> Result<Outcome, JobError> {
    match &job.expect {
        Expected::Tag(_) if aside::needs_replaced(tools, job).await? => {
            aside::without_base(tools, job, refusal).await
        }
        Expected::Tag(_) => {
            let own = job.inode.object_key.as_ref().zip(job.inode.etag.as_ref());
            let own = own.filter(|(at, _)| **at == job.key);
            if let Some(own) = own.filter(|_| !job.inode.content_dirty)
                && let Some(ended) = let_go(tools, job, own).await?
            {
                return Ok(ended);
            }
            // Another file's object was to be replaced, whose deletion may have been done unheard.
            if own.is_some() {
                let message = format!(
                    "{} was deleted in the bucket while it was changed here; it is put back",
                    job.key
                );
                tools.share.health.event(HealthEventKind::Conflict, message);
            }
            tools.catalog.adopt_object(job.op, &job.key, None).await?;
            Ok(Outcome::AskAgain)
        }
        // Nothing was expected and nothing is there: the source of a copy is missing.
        Expected::Absent => lost_source(tools, job, refusal).await,
    }
}

/// The object to be copied is not what the catalog believes.
pub(super) async fn lost_source(
    tools: &Tools,
    job: &SyncJob,
    refusal: StoreError,
) -> Result<Outcome, JobError> {
    let Some((from, believed)) = source(job).filter(|_| !job.inode.content_dirty) else {
        return Err(refusal.into());
    };
    match look(tools, from).await? {
        // Nothing to learn from a second look: a passing conflict, tried again after a pause.
        Some(head) if head.etag == *believed => Err(refusal.into()),
        Some(head) => take_over(tools, job, from, head).await,
        None => {
            if let Some(ended) = let_go(tools, job, (from, believed)).await? {
                return Ok(ended);
            }
            let message = format!("{from} was deleted in the bucket while it was changed here");
            tools.share.health.event(HealthEventKind::Conflict, message);
            tools.catalog.adopt_object(job.op, from, None).await?;
            Ok(Outcome::AskAgain)
        }
    }
}

/// Another writer has replaced the object at `at`, of which only the name or the attributes were
/// changed here: its bytes become the file's. Cached bytes are of the old object and go (I6).
pub(super) async fn take_over(
    tools: &Tools,
    job: &SyncJob,
    at: &ObjectKey,
    head: ObjectMeta,
) -> Result<Outcome, JobError> {
    let is = ChangedObject {
        size: head.size,
        etag: head.etag,
        last_modified: head.last_modified,
        now: tools.clock.now(),
    };
    let _held = tools.locks.exclusive(job.inode.ino).await;
    if tools.catalog.rebase(job.op, at, is).await? {
        let message = format!(
            "{at} was changed in the bucket while its name or attributes were changed here; \
             its new content is kept"
        );
        tools.share.health.event(HealthEventKind::Conflict, message);
    }
    Ok(Outcome::AskAgain)
}
