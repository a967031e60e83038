//! Did it land? What an attempt of unknown outcome has left in the bucket, known by the tags in the
//! object's metadata (I10).
//!
//! The file may have changed since, and may have been renamed; what S3 has of it is then not sent again,
//! and what only the replaced object had is in ours.
use super::{
    job::{JobError, Tools},
    plan,
    publish::{Outcome, Sent, look},
};
use crate::{catalog::SyncJob, object::ETag, share::metadata, store::ObjectMeta};

/// An object that an earlier attempt has made of a file that has changed since.
#[derive(Debug)]
pub(super) struct Earlier {
    /// Its tag.
    pub(super) etag: ETag,
    /// The version whose attributes it has.
    pub(super) version: u64,
    /// Its bytes.
    pub(super) size: u64,
    /// The upload in parts that has made it; `None`: it was one request.
    pub(super) upload: Option<String>,
}

/// Looks whether an earlier attempt has landed. If not, notes that what may land from now on is of the
/// job's version.
pub(super) async fn done_before(tools: &Tools, job: &SyncJob) -> Result<Option<Outcome>, JobError> {
    if let Some(found) = look(tools, &job.key).await?.and_then(|head| landed(tools, job, &head)) {
        return Ok(Some(found));
    }
    let version = job.inode.version;
    if !job.is_elsewhere && job.sent_version != Some(version) {
        tools.catalog.note_sent(job.op, version).await?;
    }
    Ok(None)
}

/// What it means that the object at the job's key is `head`, if an attempt of this job has made it.
pub(super) fn landed(tools: &Tools, job: &SyncJob, head: &ObjectMeta) -> Option<Outcome> {
    let (share, inode) = (&tools.share, &job.inode);
    let tag = head.user.get(metadata::GENERATION)?;
    let etag = head.etag.clone();
    let earlier = |version, upload| {
        Outcome::Earlier(Earlier { etag: etag.clone(), version, size: head.size, upload })
    };
    if *tag == share.generation(inode) {
        return Some(Outcome::Published(Sent::whole(etag)));
    }
    let made_by = |of: &&crate::catalog::MultipartState| {
        of.key == job.key
            && *tag == share.upload_generation(inode.ino, of.version, of.tag.as_deref())
    };
    if let Some(upload) = job.multipart.as_ref().filter(made_by) {
        let made_by = Some(upload.upload_id.clone());
        if upload.version == inode.version {
            return Some(Outcome::Published(Sent { upload: made_by, ..Sent::whole(etag) }));
        }
        // Parts that are noted as taken are those that it was completed of.
        let has_all = head.size == inode.size && plan::is_done(inode.size, &upload.parts);
        return Some(if has_all {
            Outcome::Published(Sent { etag, is_whole: false, upload: made_by })
        } else {
            earlier(upload.version, made_by)
        });
    }
    let sent = |version: &u64| *tag == share.upload_generation(inode.ino, *version, None);
    job.sent_version.filter(sent).map(|version| earlier(version, None))
}
