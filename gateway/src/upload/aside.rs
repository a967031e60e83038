//! A file that was changed here in part, and whose other bytes are nowhere any more: the object that had
//! them was replaced or deleted by others (ADR 19). The path is given to what the bucket has; what is
//! here is kept beside it, declared as incomplete, and never sent as if it were whole.
use std::{fmt::Write, ops::Range};

use gateway_api::status::HealthEventKind;

use super::{
    job::{JobError, Tools},
    landed::landed,
    plan::SINGLE_PUT_BYTES_MAX,
    publish::{Outcome, look, source},
};
use crate::{
    catalog::{CatalogError, ListedKind, SetAside, SyncJob},
    fetch::FetchError,
    ids::FileKind,
    locks::ExclusiveGuard,
    object::{ETag, OBJECT_KEY_BYTES_MAX, ObjectKey},
    share::keymap,
    store::StoreError,
};

/// Ranges that an operator is told of.
const NAMED_MAX: usize = 4;

/// Whether a file that goes in one request needs bytes of the object that it is to replace.
pub(super) async fn needs_replaced(tools: &Tools, job: &SyncJob) -> Result<bool, CatalogError> {
    let inode = &job.inode;
    let in_place = inode.object_key.as_ref() == Some(&job.key);
    let one_request = inode.kind == FileKind::File && inode.size <= SINGLE_PUT_BYTES_MAX;
    Ok(in_place && one_request && inode.content_dirty && !missing(tools, job).await?.is_empty())
}

/// The object that alone has bytes of the file was refused: it is another one, or gone.
pub(super) async fn without_base(
    tools: &Tools,
    job: &SyncJob,
    refusal: StoreError,
) -> Result<Outcome, JobError> {
    let Some((from, believed)) = source(job) else { return without_any(tools, job).await };
    let found = look(tools, from).await?;
    if found.as_ref().is_some_and(|head| head.etag == *believed) {
        // It is what it was: a passing conflict, tried again after a pause.
        return Err(FetchError::from(refusal).into());
    }
    if *from == job.key
        && let Some(head) = &found
        && let Some(ours) = landed(tools, job, head).await?
    {
        return Ok(ours);
    }
    set_aside(tools, job, Some((from.clone(), believed.clone()))).await
}

/// The file has no object, and not all of its bytes are here.
pub(super) async fn without_any(tools: &Tools, job: &SyncJob) -> Result<Outcome, JobError> {
    if !job.is_incomplete {
        return set_aside(tools, job, None).await;
    }
    let (_held, version) = at_rest(tools, job).await?;
    let reason = reason(&job.inode.name, &missing(tools, job).await?);
    tools.catalog.park(job.op, version, reason).await?;
    Ok(Outcome::Ended)
}

/// Keeps the file's writers away, with all that they have written committed: a file that is written on and on is
/// settled as any other. Answers its version, or the job's if it has another name by now.
async fn at_rest(tools: &Tools, job: &SyncJob) -> Result<(ExclusiveGuard, u64), JobError> {
    let held = tools.locks.exclusive(job.inode.ino).await;
    if let Some(bursts) = &tools.bursts
        && let Err(error) = bursts.commit(job.inode.ino).await
    {
        // What is known of it is not current: the job is claimed again.
        tracing::debug!(op = job.op.0, "what was written to a file cannot be committed: {error}");
    }
    match tools.catalog.inode(job.inode.ino).await {
        Ok(inode) if (inode.parent, &inode.name) == (job.inode.parent, &job.inode.name) => {
            Ok((held, inode.version))
        }
        Ok(_) | Err(CatalogError::Gone(_)) => Ok((held, job.inode.version)),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn missing(tools: &Tools, job: &SyncJob) -> Result<Vec<Range<u64>>, CatalogError> {
    Ok(tools.catalog.ranges(job.inode.ino).await?.missing(0..job.inode.size))
}

async fn set_aside(
    tools: &Tools,
    job: &SyncJob,
    base: Option<(ObjectKey, ETag)>,
) -> Result<Outcome, JobError> {
    let there = look(tools, &job.key).await?;
    let now = tools.clock.now();
    let Some(name) = aside_name(job, &tools.share.gateway_id, now.seconds()) else {
        // No name beside it: it stays where it is, and waits.
        let reason = reason(&job.inode.name, &missing(tools, job).await?);
        tools.catalog.park(job.op, job.inode.version, reason).await?;
        return Ok(Outcome::Ended);
    };
    let (_held, version) = at_rest(tools, job).await?;
    let missing = missing(tools, job).await?;
    let message = told(job, base.as_ref(), &name, &missing);
    let aside = SetAside {
        version,
        base,
        reason: reason(&name, &missing),
        name,
        there: there.map(|head| ListedKind::File {
            size: head.size,
            etag: head.etag,
            last_modified: head.last_modified,
        }),
        defaults: tools.share.defaults(),
        now,
    };
    match tools.catalog.set_aside(job.op, aside).await {
        Ok(()) => {
            tools.share.health.event(HealthEventKind::Conflict, message);
            Ok(Outcome::Ended)
        }
        // Not what it was when the job was claimed: from the beginning.
        Err(CatalogError::Changed) => Ok(Outcome::AskAgain),
        Err(error) => Err(error.into()),
    }
}

/// What has happened and what can be done, for the event.
fn told(
    job: &SyncJob,
    base: Option<&(ObjectKey, ETag)>,
    name: &str,
    missing: &[Range<u64>],
) -> String {
    let object = base.map_or(&job.key, |(key, _)| key);
    let version = base.map_or_else(String::new, |(_, etag)| {
        format!(" (in a bucket with versions: from the version with the tag {etag})")
    });
    format!(
        "{object} was replaced or deleted in the bucket while the file was changed here in part, and \
         only the object before had {} of it. {} is what the bucket has; what is here is kept as {name} \
         and is not uploaded, as it is not whole. Write the missing bytes there{version}, or copy what \
         you need and remove it",
        places(missing),
        job.key
    )
}

/// Why the upload waits, for the status.
fn reason(name: &str, missing: &[Range<u64>]) -> String {
    format!(
        "{name} is not whole: {} were only in an object that others replaced or deleted. It is uploaded \
         when they are written here; or copy what you need and remove it",
        places(missing)
    )
}

/// Where the bytes are; the first few ranges of them.
fn places(ranges: &[Range<u64>]) -> String {
    let mut words = "bytes".to_owned();
    for (i, Range { start, end }) in ranges.iter().take(NAMED_MAX).enumerate() {
        let comma = if i == 0 { "" } else { "," };
        write!(words, "{comma} {start}-{}", end - 1).expect("writing to a string works");
    }
    if ranges.len() > NAMED_MAX {
        write!(words, " and {} ranges more", ranges.len() - NAMED_MAX)
            .expect("writing to a string works");
    }
    words
}

/// The name under which the job's file is kept; `None`: its directory's key has no room for one.
fn aside_name(job: &SyncJob, gateway_id: &str, seconds: i64) -> Option<String> {
    let inode = &job.inode;
    let part = inode.key_part.as_deref().unwrap_or(&inode.name);
    let room = OBJECT_KEY_BYTES_MAX - job.key.as_str().len().saturating_sub(part.len());
    name_beside(&inode.name, gateway_id, seconds, room)
}

/// A name beside `name`, of at most `room` bytes. No alias, and as long as a name may be.
fn name_beside(name: &str, gateway_id: &str, seconds: i64, room: usize) -> Option<String> {
    let mut stem = name;
    while keymap::is_reserved(stem) {
        stem = stem.split_once('%').map_or("", |(_, rest)| rest);
    }
    let room = room.min(keymap::NAME_BYTES_MAX);
    let long = format!(".conflict-{gateway_id}-{seconds}.incomplete");
    let short = format!("-{seconds:x}.incomplete");
    let suffix = [long, short].into_iter().find(|suffix| suffix.len() < room)?;
    let room = room - suffix.len();
    let end = (0..=room.min(stem.len())).rev().find(|end| stem.is_char_boundary(*end));
    Some(format!("{}{suffix}", &stem[..end.unwrap_or(0)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_what_it_is_and_is_a_name() {
        let aside_name = |name: &str, gateway_id, seconds| {
            name_beside(name, gateway_id, seconds, 1000).expect("there is room")
        };
        assert_eq!(aside_name("report.doc", "gw1", 17), "report.doc.conflict-gw1-17.incomplete");
        for name in ["s3key%a", "s3dir%s3key%a%25", "s3key%", &"é".repeat(127)] {
            let aside = aside_name(name, "gw1", 1_800_000_000);
            assert!(keymap::is_file_name(&aside) && !keymap::is_reserved(&aside), "{aside}");
            assert!(aside.ends_with(".conflict-gw1-1800000000.incomplete"), "{aside}");
        }
    }

    #[test]
    fn beside_a_long_key_the_name_is_short() {
        let seconds = 1_800_000_000;
        for room in 0..60 {
            let name = name_beside("report.doc", "gw1", seconds, room);
            assert_eq!(name.is_some(), room > "-6b49d200.incomplete".len(), "{room}");
            assert!(name.is_none_or(|name| name.len() <= room && name.ends_with(".incomplete")));
        }
    }

    #[test]
    fn the_operator_is_told_which_bytes_and_not_too_much() {
        assert_eq!(places(&[0..10, 20..21]), "bytes 0-9, 20-20");
        let many: Vec<_> = (0..100).map(|i| i * 10..i * 10 + 5).collect();
        assert!(places(&many).ends_with("30-34 and 96 ranges more"));
    }
}
