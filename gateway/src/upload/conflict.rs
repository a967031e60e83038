//! The object of another writer, found where ours was to go, is kept beside it (I10).
//!
//! The copy's name and a mark in its metadata follow from the object that it is of. So an attempt that does
//! not know what became of the one before finds what that has left, and makes no second copy.
use gateway_api::status::HealthEventKind;

use super::{
    copy::Whole,
    job::{JobError, Tools},
    publish::look,
};
use crate::{
    catalog::SyncJob,
    object::{ETag, ObjectKey},
    share::{carried::USER_META_BYTES_MAX, metadata},
    store::{Expect, ObjectMeta, PutOptions, StoreError, StoreErrorKind, StoreOp, UserMeta},
};

/// Names that are tried for a copy: of versions that came within one second each needs another.
const NAMES_MAX: u32 = 32;

/// Keeps the object `head` of another writer at the job's key beside ours, under a name of its own.
pub(super) async fn keep_theirs(
    tools: &Tools,
    job: &SyncJob,
    head: &ObjectMeta,
    options: &PutOptions,
) -> Result<(), JobError> {
    let at = keep(tools, job, head, options).await?;
    let message = format!(
        "{} was changed in the bucket and here; the bucket's version is kept as {at}",
        job.key
    );
    tools.share.health.event(HealthEventKind::Conflict, message);
    Ok(())
}

/// Where the copy is.
async fn keep(
    tools: &Tools,
    job: &SyncJob,
    head: &ObjectMeta,
    options: &PutOptions,
) -> Result<ObjectKey, JobError> {
    let theirs = PutOptions {
        user: marked(head),
        content_type: head.content_type.clone(),
        headers: head.headers.clone(),
        ..options.clone()
    };
    for number in 1..=NAMES_MAX {
        let to = conflict_key(tools, job, head, number)?;
        let (from, etag) = (job.key.clone(), head.etag.clone());
        let whole = Whole { from, etag, size: head.size, to: to.clone() };
        let error = match whole.copy(tools, &theirs, &Expect::Absent).await {
            Ok(_) => return Ok(to),
            Err(JobError::Store(error)) if error.kind == StoreErrorKind::Changed => error,
            Err(error) => return Err(error),
        };
        match look(tools, &to).await? {
            Some(there) if is_copy(&there, head, &theirs) => return Ok(to),
            // Another version's, or somebody's own.
            Some(_) => {}
            // The name is free: it is theirs that is another one by now.
            None => return Err(error.into()),
        }
    }
    Err(no_name(job, "32 of them are there").into())
}

/// The metadata of the copy: theirs, and which object it is of, if there is room for that. The copy's own
/// tag does not always tell: it is another one where objects are encrypted with keys of KMS, or came in
/// parts.
fn marked(head: &ObjectMeta) -> UserMeta {
    let mut user = head.user.clone();
    user.insert(metadata::CONFLICT_OF.to_owned(), bare(&head.etag).to_owned());
    let bytes: usize = user.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > USER_META_BYTES_MAX {
        user.remove(metadata::CONFLICT_OF);
    }
    user
}

/// A tag without its quotes.
fn bare(etag: &ETag) -> &str {
    etag.as_str().trim_matches('"')
}

/// Whether `there` is the copy of `head` that is stored as `theirs` says.
fn is_copy(there: &ObjectMeta, head: &ObjectMeta, theirs: &PutOptions) -> bool {
    let is_marked = theirs.user.contains_key(metadata::CONFLICT_OF);
    there.size == head.size && there.user == theirs.user && (is_marked || there.etag == head.etag)
}

/// The key of the copy of `head`: by when that was made, so that it is the same for every attempt.
fn conflict_key(
    tools: &Tools,
    job: &SyncJob,
    head: &ObjectMeta,
    number: u32,
) -> Result<ObjectKey, StoreError> {
    let stamp = head.last_modified.seconds();
    let key = job.key.as_str().trim_end_matches('/');
    let mut name = format!("{key}.conflict-{}-{stamp}", tools.share.gateway_id);
    if number > 1 {
        name.push_str(&format!("-{number}"));
    }
    ObjectKey::new(name).ok_or_else(|| no_name(job, "its key would be over 1,024 bytes"))
}

fn no_name(job: &SyncJob, why: &str) -> StoreError {
    let key = Some(job.key.clone());
    let message = format!(
        "the object was changed in the bucket and here, and a copy of the bucket's version cannot be \
         kept beside it, as {why}: rename or remove one of the two"
    );
    let (op, kind) = (StoreOp::CopyObject, StoreErrorKind::Invalid);
    StoreError { op, key, kind, request_id: None, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, store::ObjectHeaders};

    fn head(etag: &str, note: &str) -> ObjectMeta {
        ObjectMeta {
            size: 3,
            etag: ETag::new(etag),
            version: None,
            last_modified: Timestamp::new(7, 0),
            user: UserMeta::from([("note".to_owned(), note.to_owned())]),
            content_type: None,
            headers: ObjectHeaders::default(),
            unsayable: Vec::new(),
        }
    }

    fn stored(head: &ObjectMeta) -> PutOptions {
        PutOptions { user: marked(head), ..PutOptions::default() }
    }

    #[test]
    fn a_copy_is_known_by_what_it_is_of_and_not_by_its_own_tag() {
        let theirs = head("one", "n");
        let copy = ObjectMeta { etag: ETag::new("kms"), ..theirs.clone() };
        let copy = ObjectMeta { user: marked(&theirs), ..copy };
        assert!(is_copy(&copy, &theirs, &stored(&theirs)));
        for other in [head("two", "n"), head("one", "m"), ObjectMeta { size: 4, ..theirs.clone() }]
        {
            assert!(!is_copy(&copy, &other, &stored(&other)), "{other:?}");
        }
        assert!(!is_copy(&theirs, &theirs, &stored(&theirs)), "somebody's own");
    }

    #[test]
    fn where_there_is_no_room_for_a_mark_the_tags_are_compared() {
        let full = head("one", &"x".repeat(USER_META_BYTES_MAX - 4));
        assert_eq!(marked(&full), full.user);
        assert!(is_copy(&full, &full, &stored(&full)));
        let other = ObjectMeta { etag: ETag::new("two"), ..full.clone() };
        assert!(!is_copy(&full, &other, &stored(&other)));
    }
}
