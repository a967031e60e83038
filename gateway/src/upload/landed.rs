//! Did it land? What an attempt of unknown outcome has left in the bucket, known by the tags in the
//! object's metadata (I10).
//!
//! The file may have changed since, and may have been renamed; what S3 has of it is then not sent again,
//! and what only the replaced object had is in ours.
use super::{
    job::{JobError, Tools},
    plan,
    publish::{Outcome, Sent, glance, look},
};
use crate::{
    catalog::{CatalogError, MultipartState, SyncJob},
    object::Stored,
    share::metadata,
    store::ObjectMeta,
};

/// An object that an earlier attempt has made of a file that has changed since.
#[derive(Debug)]
pub(super) struct Earlier {
    /// Its tag and version.
    pub(super) object: Stored,
    /// The version whose attributes it has.
    pub(super) version: u64,
    /// Its bytes.
    pub(super) size: u64,
    /// The upload in parts that has made it; `None`: it was one request.
    pub(super) upload: Option<String>,
}

/// Looks whether an earlier attempt has landed.
pub(super) async fn done_before(tools: &Tools, job: &SyncJob) -> Result<Option<Outcome>, JobError> {
    let found = if job.is_elsewhere {
        // No request follows whose condition would tell.
        look(tools, &job.key).await?
    } else {
        glance(tools, &job.key).await?.ok()
    };
    match found {
        Some(head) => Ok(landed(tools, job, &head).await?),
        None => Ok(None),
    }
}

/// What it means that the object at the job's key is `head`, if an attempt of this job has made it: one
/// before, or the one that is under way.
pub(super) async fn landed(
    tools: &Tools,
    job: &SyncJob,
    head: &ObjectMeta,
) -> Result<Option<Outcome>, CatalogError> {
    let (share, inode) = (&tools.share, &job.inode);
    let Some(tag) = head.user.get(metadata::GENERATION) else { return Ok(None) };
    if *tag == share.generation(inode) {
        return Ok(Some(Outcome::Published(found(head, true, None))));
    }
    let made_by = |of: &MultipartState| {
        let tag_of = share.upload_generation(inode.ino, of.version, of.tag.as_deref());
        of.key == job.key && *tag == tag_of
    };
    // This attempt may have begun one, in place of one before.
    let begun = tools.catalog.upload_of(job.op).await?;
    let uploads = begun.as_ref().into_iter().chain(&job.multipart);
    if let Some(upload) = uploads.into_iter().find(|of| made_by(of)) {
        return Ok(Some(of_upload(job, head, upload)));
    }
    let since = job.sent_version.map(|first| first..=inode.version);
    let version = share.version_of(&head.user, inode.ino);
    let version = version.filter(|version| since.is_some_and(|since| since.contains(version)));
    // Of a course of events that this disk knows nothing of.
    let is_foreign = |version: &u64| job.foreign.iter().any(|gap| gap.contains(version));
    let version = version.filter(|version| !is_foreign(version));
    Ok(version.map(|version| earlier(head, version, None)))
}

/// What `upload` has made.
fn of_upload(job: &SyncJob, head: &ObjectMeta, upload: &MultipartState) -> Outcome {
    let inode = &job.inode;
    let made_by = Some(upload.upload_id.clone());
    if upload.is_whole(inode.version) {
        return Outcome::Published(found(head, true, made_by));
    }
    // Parts that are noted as taken are those that it was completed of.
    if head.size == inode.size && plan::is_done(inode.size, &upload.parts) {
        Outcome::Published(found(head, false, made_by))
    } else {
        earlier(head, upload.version, made_by)
    }
}

/// The object `head`, made by an attempt before, or by the one under way.
fn found(head: &ObjectMeta, is_whole: bool, upload: Option<String>) -> Sent {
    Sent { object: head.stored(), is_whole, upload }
}

fn earlier(head: &ObjectMeta, version: u64, upload: Option<String>) -> Outcome {
    Outcome::Earlier(Earlier { object: head.stored(), version, size: head.size, upload })
}
