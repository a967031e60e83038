//! What others have said of an object of which no more than its listing is known here: asked for before the
//! object is published anew, with metadata that takes the place of theirs.
//!
//! A client that changes attributes or bytes asks first. What is renamed along with its directory has
//! nobody who asks.
use super::{
    job::{JobError, Tools},
    publish::{Outcome, look, lost_source, source, take_over},
};
use crate::{
    catalog::{CatalogError, Inode, SyncJob},
    share::Form,
    store::{ObjectMeta, StoreError, StoreErrorKind, StoreOp},
};

/// What came of asking.
#[derive(Debug)]
pub(super) enum Asked {
    /// The file's row, with what its object says, and the object if it was asked.
    Told(Box<Inode>, Option<ObjectMeta>),
    /// Something else is first.
    Otherwise(Outcome),
}

/// Whether S3 has to be asked before `job` is done.
pub(super) fn are_unknown(job: &SyncJob) -> bool {
    job.inode.needs_head && source(job).is_some()
}

/// Asks S3 what the job's object says of itself, and notes it in the catalog (HeadObject, and GetObject of
/// a link's target).
pub(super) async fn ask(tools: &Tools, job: &SyncJob) -> Result<Asked, JobError> {
    let inode = &job.inode;
    let Some((from, believed)) = source(job) else {
        return Ok(Asked::Told(Box::new(inode.clone()), None));
    };
    let head = match look(tools, from).await? {
        Some(head) if head.etag == *believed => head,
        // The bytes are ours: its condition tells what becomes of the object.
        Some(_) | None if inode.content_dirty => {
            return Ok(Asked::Told(Box::new(inode.clone()), None));
        }
        Some(head) => return Ok(Asked::Otherwise(take_over(tools, job, from, head).await?)),
        None => {
            let refusal = StoreError {
                op: StoreOp::HeadObject,
                key: Some(from.clone()),
                kind: StoreErrorKind::NotFound,
                request_id: None,
                message: "it is gone".to_owned(),
            };
            return Ok(Asked::Otherwise(lost_source(tools, job, refusal).await?));
        }
    };
    let target = match tools.share.form_of(inode.kind, from, &head).await? {
        Form::AsKnown => None,
        Form::File => Some(None),
        Form::Link(target) => Some(Some(target)),
    };
    let attr = tools.share.attr_of(&head, inode.kind);
    let noted = async {
        if let Some(target) = target {
            tools.catalog.take_link(inode.ino, &head.etag, target).await?;
        }
        tools.catalog.apply_head_to_send(inode.ino, (head.stored(), attr)).await
    };
    match noted.await {
        Ok(after) if after.version == inode.version && !after.writing => {
            Ok(Asked::Told(Box::new(after), Some(head)))
        }
        // It has another version or object by now, or is gone: from the beginning.
        Ok(_) | Err(CatalogError::Changed | CatalogError::Gone(_)) => {
            Ok(Asked::Otherwise(Outcome::AskAgain))
        }
        Err(error) => Err(error.into()),
    }
}
