//! Which journalled work may go to S3 next: one mutation per key (I7), sources before what replaces
//! them, deletions folded into the publish that replaces the object.
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Catalog, changed,
    due::{Due, due_ops, of_op, others_at, sync_of},
    early,
    error::CatalogError,
    flush, inode,
    journal::{
        self, Deletion, KIND_ABORT, KIND_DELETE, KIND_SYNC, NEVER, delete_op, enqueue_delete,
        next_seq,
    },
    moves, multipart,
    namespace::has_sync,
    turn,
    types::{DeleteJob, Expected, Inode, Job, OpId, SyncJob},
    writer::Txn,
};
use crate::{
    clock::Timestamp,
    ids::{FileKind, Ino, ShareId},
    object::{ETag, ObjectKey},
};

/// How long an operation that waits for another one is left alone, in milliseconds. Short: the
/// other one is usually done within one round trip to S3.
const WAIT_MILLIS: u64 = 250;
/// How long a file that is being written is left alone, in milliseconds: the commit of that sets a time, or
/// has set it just now.
pub(super) const HELD_MILLIS: u64 = 1000;
/// Files that wait for each other that are looked at in one step; the next step goes on from there.
const WALK_FILES: usize = 64;

/// What is to become of a due row.
pub(super) enum Decision {
    /// Hand it out; it works on these keys. It may be another file's, which is in the way.
    Claim(Job, Vec<String>),
    /// Something else must be done first: look again after so many milliseconds.
    Wait(u64),
    /// A flush waits for this file, or it has waited long enough, and somebody is writing it.
    Still(Ino),
    /// A job that is out holds its key.
    Busy,
}

impl Catalog {
    /// Hands out at most `limit` jobs that are due, the longest due first, each key to one job at a
    /// time. Also takes a bounded step of every renamed directory's walk. A claim ends with
    /// [`Catalog::finish_sync`], [`Catalog::finish_delete`], [`Catalog::fail_job`],
    /// [`Catalog::release_job`] or [`Catalog::stepped_aside`]; a restart ends all of them.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn claim_jobs(&self, now: Timestamp, limit: usize) -> Result<Vec<Job>, CatalogError> {
        self.write(move |txn| {
            let out = txn.state.claims.clone();
            let claimed = claim_due(txn, now, limit);
            if claimed.is_err() {
                // Nobody gets them.
                txn.state.claims = out;
                txn.state.claims.note_release();
            }
            claimed
        })
        .await
    }

    /// Ends the claims of jobs that are over and could not be told so; what is to be done is in the journal.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn free_claims(&self, ops: Vec<OpId>) -> Result<(), CatalogError> {
        self.write_soon(move |txn| {
            ops.into_iter().try_for_each(|op| journal::release(txn, op, Timestamp::MIN))
        })
        .await
    }

    /// How many jobs are handed out and have not ended.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn jobs_out(&self) -> Result<usize, CatalogError> {
        self.write_soon(|txn| Ok(txn.state.claims.len())).await
    }

    /// When the next unclaimed operation is due; `None` when nothing waits. Not before
    /// [`Catalog::journal_changed`] changes can it become earlier.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, CatalogError> {
        self.write_soon(move |txn| {
            let moving: Option<i64> = txn
                .db
                .prepare_cached(
                    "SELECT min(not_before) FROM journal INDEXED BY journal_moves
                     WHERE kind = 2",
                )?
                .query_row([], |row| row.get(0))?;
            let mut query = txn.db.prepare_cached(
                "SELECT op, not_before FROM journal WHERE kind <> 2 AND not_before < ?1
                 ORDER BY not_before, op LIMIT ?2",
            )?;
            let rows = query
                .query_map(params![NEVER.as_nanos(), txn.state.claims.len() + 1], |row| {
                    Ok((OpId(row.get(0)?), row.get::<_, i64>(1)?))
                })?
                .collect::<Result<Vec<_>, _>>()?;
            let next = rows.into_iter().find(|(op, _)| !txn.state.claims.has(*op));
            let earliest = next.map(|(_, due)| due).into_iter().chain(moving).min();
            Ok(earliest.map(Timestamp::from_nanos))
        })
        .await
    }
}

fn claim_due(txn: &mut Txn<'_>, now: Timestamp, limit: usize) -> Result<Vec<Job>, CatalogError> {
    moves::step(txn, now)?;
    let mut jobs = early::claim(txn, limit)?;
    // Those that are decided otherwise are not out.
    txn.state.claims.note_release();
    for op in due_ops(txn, now, limit)? {
        if jobs.len() >= limit {
            break;
        }
        if txn.state.claims.has(op) {
            continue;
        }
        // One that came before may have put it off, or folded it into another.
        let Some(due) = of_op(txn.db, op)?.filter(|due| due.not_before <= now) else { continue };
        match decide(txn, &due, now) {
            Ok(Decision::Claim(job, keys)) => jobs.push(hand_out(txn, &due, job, keys, now)?),
            Ok(Decision::Still(ino)) => jobs.push(turn::give(txn, &due, ino)?),
            Ok(Decision::Wait(millis)) => wait(txn, &due, now.plus_millis(millis))?,
            Ok(Decision::Busy) => {}
            // Of this row alone: the others are not to wait for it. It makes no more sense later, unless something
            // changes it; a flush looks again.
            Err(CatalogError::Corrupt(why)) => {
                tracing::error!(
                    op = due.op.0,
                    "the journal has an operation that cannot be done: {why}"
                );
                txn.db
                    .prepare_cached(
                        "UPDATE journal SET attempts = attempts + 1, last_error = ?2, failed_at = ?3,
                             latest = ?4
                         WHERE op = ?1",
                    )?
                    .execute(params![due.op.0, why, next_seq(txn.db)?, NEVER.as_nanos()])?;
                wait(txn, &due, NEVER)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(jobs)
}

/// What comes of `due` goes out, and works on `keys`.
pub(super) fn hand_out(
    txn: &mut Txn<'_>,
    due: &Due,
    job: Job,
    keys: Vec<String>,
    now: Timestamp,
) -> Result<Job, CatalogError> {
    let keys = keys.into_iter().map(|key| (due.share, key)).collect();
    let is_own = job.op() == due.op;
    let uploads = due.ino.filter(|_| is_own && due.kind == KIND_SYNC);
    let since = flush::seq(txn.db)?;
    txn.state.claims.claim(job.op(), keys, uploads, since);
    if !is_own {
        wait(txn, due, now.plus_millis(WAIT_MILLIS))?;
    }
    Ok(job)
}

/// The row is not looked at before `until`.
pub(super) fn wait(txn: &Txn<'_>, due: &Due, until: Timestamp) -> Result<(), CatalogError> {
    txn.db
        .prepare_cached("UPDATE journal SET not_before = ?2 WHERE op = ?1")?
        .execute(params![due.op.0, until.as_nanos()])?;
    Ok(())
}

pub(super) fn decide(
    txn: &mut Txn<'_>,
    due: &Due,
    now: Timestamp,
) -> Result<Decision, CatalogError> {
    match (due.kind, &due.ino, &due.key) {
        // From here on nobody can hold it; given back with the claim, or after this transaction.
        (KIND_SYNC, Some(ino), _) if !txn.state.held.claim(*ino) => {
            let inode = inode::get(txn.db, *ino)?;
            Ok(turn::being_written(txn, due, &inode, (now, HELD_MILLIS)))
        }
        (KIND_SYNC, Some(ino), _) => decide_sync(txn, due, *ino, now),
        (KIND_DELETE, _, Some(key)) => decide_delete(txn, due, key, now),
        (KIND_ABORT, _, Some(key)) => {
            let (Some(upload_id), Some(object)) =
                (due.upload_id.clone(), ObjectKey::new(key.as_str()))
            else {
                return Err(CatalogError::Corrupt(format!("abort {} names no upload", due.op.0)));
            };
            let job = Job::Abort {
                op: due.op,
                share: due.share,
                key: object,
                upload_id,
                attempts: due.attempts,
            };
            // The upload id keeps the claim apart from the key's own: an abort changes no object.
            Ok(Decision::Claim(job, vec![format!("{key}\0{}", due.op.0)]))
        }
        (kind, _, _) => Err(CatalogError::Corrupt(format!("journal row of kind {kind}"))),
    }
}

fn decide_delete(
    txn: &mut Txn<'_>,
    due: &Due,
    key: &str,
    now: Timestamp,
) -> Result<Decision, CatalogError> {
    if txn.state.claims.is_busy(&(due.share, key.to_owned())) {
        return Ok(Decision::Busy);
    }
    if !due.uncertain
        && let Some(successor) = inode::at_key(txn.db, due.share, key)?
        && has_sync(txn.db, successor.ino)?
    {
        // The successor's publish replaces the object: the key is never without one. Who waits for this waits for
        // that.
        let is_awaited = txn.state.awaited.has(due.born);
        flush::stems_from(txn.db, successor.ino, due.born, is_awaited, now)?;
        return Ok(Decision::Wait(WAIT_MILLIS));
    }
    let object = ObjectKey::new(key)
        .ok_or_else(|| CatalogError::Corrupt(format!("delete {} has a bad key", due.op.0)))?;
    let job = DeleteJob {
        op: due.op,
        share: due.share,
        key: object,
        etag: due.etag.clone(),
        uncertain: due.uncertain,
        sent_by: due.ino,
        attempts: due.attempts,
    };
    Ok(Decision::Claim(Job::Delete(job), vec![key.to_owned()]))
}

fn decide_sync(
    txn: &mut Txn<'_>,
    due: &Due,
    ino: Ino,
    now: Timestamp,
) -> Result<Decision, CatalogError> {
    let inode = inode::get(txn.db, ino)?;
    let key = inode::key_of(txn.db, &inode)?;
    let object = ObjectKey::new(key.as_str())
        .ok_or_else(|| CatalogError::Corrupt(format!("inode {} has key {key:?}", ino.0)))?;
    let moved_from = inode.object_key.clone().filter(|at| *at != object);
    let busy = |txn: &Txn<'_>, key: &str| txn.state.claims.is_busy(&(due.share, key.to_owned()));
    if busy(txn, &key) || moved_from.as_ref().is_some_and(|from| busy(txn, from.as_str())) {
        return Ok(Decision::Busy);
    }
    if inode.writing {
        return Ok(turn::being_written(txn, due, &inode, (now, WAIT_MILLIS)));
    }
    if let Some(at) = unsettled(due, &inode, &object).cloned() {
        return settle_first(txn, due, inode, at);
    }
    leave_old_keys(txn, due, &inode, &key, now)?;
    // Files that had this name before, and were renamed: what they know of the key, or may have left there,
    // counts for this one. Left with them it would be deleted later, with whatever is there then.
    for other in others_at(txn.db, due, &key)? {
        let Some(ino) = other.ino else { continue };
        let inode = inode::get(txn.db, ino)?;
        // One whose own object is there owns the key, and settles it itself.
        if inode.object_key.as_ref() != Some(&object) {
            let wants = inode::key_of(txn.db, &inode)?;
            leave_old_keys(txn, &other, &inode, &wants, now)?;
        }
    }
    if let Some(owner) = other_owner(txn.db, due.share, &key, ino)? {
        return resolve_owner(txn, due, (&inode, object), &owner, now);
    }
    let mut taken_over = due.taken_over.clone().filter(|(taken, _)| *taken == key);
    let mut is_seen = due.is_seen && taken_over.is_some();
    let mut is_moved = due.is_moved && taken_over.is_some();
    match take_over_delete(txn, due.share, &key)? {
        Takeover::Nothing => {}
        Takeover::Tag(etag, moved, born) => {
            flush::stems_from(txn.db, ino, born, false, now)?;
            taken_over = Some((key.clone(), etag.as_str().to_owned()));
            (is_seen, is_moved) = (false, moved);
        }
        Takeover::MustRunFirst => return Ok(Decision::Wait(WAIT_MILLIS)),
    }
    let (expect_key, expect_etag) = taken_over.clone().unzip();
    txn.db
        .prepare_cached(
            "UPDATE journal SET expect_key = ?2, expect_etag = ?3, sent_key = ?4,
                 sent_version = coalesce(sent_version, ?5), expect_seen = ?6, moved = ?7
             WHERE op = ?1",
        )?
        .execute(params![
            due.op.0,
            expect_key,
            expect_etag,
            key,
            inode.version,
            is_seen,
            is_moved
        ])?;
    let moved_from = moved_from.zip(inode.etag.clone());
    let mut keys = vec![key.clone()];
    keys.extend(moved_from.iter().map(|(from, _)| from.as_str().to_owned()));
    let job = SyncJob {
        op: due.op,
        expect: journal::expected(&inode, &key, taken_over),
        key: object,
        moved_from,
        sent_before: due.sent_key.is_some(),
        sent_version: due.sent_version.filter(|_| due.sent_key.as_deref() == Some(key.as_str())),
        foreign: due.gaps.clone(),
        is_elsewhere: false,
        is_found: is_seen,
        is_incomplete: due.is_incomplete,
        multipart: multipart::of(txn.db, due.op)?,
        changed: changed::of(txn.db, &inode)?,
        attempts: due.attempts,
        inode,
    };
    Ok(Decision::Claim(Job::Sync(Box::new(job)), keys))
}

/// The object's own key, if the inode has been renamed since an attempt to replace the object there, or
/// since an upload for that: the object may be ours, and the bytes that it had may be in ours alone.
pub(super) fn unsettled<'i>(due: &Due, inode: &'i Inode, key: &ObjectKey) -> Option<&'i ObjectKey> {
    let may_be_at = |at: &&ObjectKey| {
        let at = Some(at.as_str());
        due.sent_key.as_deref() == at || due.upload_key.as_deref() == at
    };
    inode.object_key.as_ref().filter(|at| *at != key).filter(may_be_at)
}

fn settle_first(
    txn: &Txn<'_>,
    due: &Due,
    inode: Inode,
    at: ObjectKey,
) -> Result<Decision, CatalogError> {
    let keys = vec![at.as_str().to_owned()];
    let job = SyncJob {
        op: due.op,
        expect: journal::expected(&inode, at.as_str(), None),
        key: at,
        moved_from: None,
        sent_before: true,
        sent_version: due.sent_version,
        foreign: due.gaps.clone(),
        is_elsewhere: true,
        is_found: false,
        is_incomplete: due.is_incomplete,
        multipart: multipart::of(txn.db, due.op)?,
        changed: None,
        attempts: due.attempts,
        inode,
    };
    Ok(Decision::Claim(Job::Sync(Box::new(job)), keys))
}

/// The inode has been renamed since an earlier attempt: what that attempt had taken over, or may
/// have left at another key, is journalled for deletion. What it has found there stays.
fn leave_old_keys(
    txn: &mut Txn<'_>,
    due: &Due,
    inode: &Inode,
    key: &str,
    now: Timestamp,
) -> Result<(), CatalogError> {
    if let Some((taken, etag)) = due.taken_over.as_ref().filter(|(taken, _)| taken != key)
        && !due.is_seen
    {
        let may_have_sent = due.sent_key.as_ref() == Some(taken);
        let etag = ETag::new(etag.as_str());
        let taken = Deletion::of(taken, Some(&etag)).moved(due.is_moved).born(due.born);
        let taken = taken.or_left_by(may_have_sent.then_some(inode.ino));
        enqueue_delete(txn, due.share, taken, now)?;
    }
    if let Some(sent) = due.sent_key.as_ref().filter(|sent| *sent != key)
        && inode.object_key.as_ref().is_none_or(|at| at.as_str() != sent)
    {
        let left = Deletion::left_by(inode.ino, sent).born(due.born);
        enqueue_delete(txn, due.share, left, now)?;
    }
    if due.upload_key.as_ref().is_some_and(|upload_key| upload_key != key) {
        multipart::abandon(txn, due.op)?;
    }
    txn.db
        .prepare_cached(
            "UPDATE journal SET
                 expect_etag = CASE WHEN expect_key = ?2 THEN expect_etag END,
                 expect_key = CASE WHEN expect_key = ?2 THEN expect_key END,
                 sent_version = CASE WHEN sent_key = ?2 THEN sent_version END,
                 sent_key = CASE WHEN sent_key = ?2 THEN sent_key END
             WHERE op = ?1",
        )?
        .execute(params![due.op.0, key])?;
    Ok(())
}

/// Whether the deletion of `key` cannot be folded into a publish: nobody knows what is there.
pub(super) fn must_be_deleted_first(
    db: &Connection,
    share: ShareId,
    key: &str,
) -> Result<bool, CatalogError> {
    Ok(db
        .prepare_cached(
            "SELECT 1 FROM journal WHERE kind = 1 AND share = ?1 AND key = ?2
                 AND (etag IS NULL OR uncertain)",
        )?
        .exists(params![share.0, key])?)
}

enum Takeover {
    Nothing,
    /// The object's tag, whether its bytes are elsewhere, and when it was removed, by the sequence.
    Tag(ETag, bool, u64),
    MustRunFirst,
}

/// Folds a pending deletion of `key` into the publish that replaces the object.
fn take_over_delete(
    txn: &mut Txn<'_>,
    share: ShareId,
    key: &str,
) -> Result<Takeover, CatalogError> {
    let row: Option<(u64, Option<String>, bool, bool, u64)> = txn
        .db
        .prepare_cached(
            "SELECT op, etag, uncertain, moved, born FROM journal
             WHERE kind = 1 AND share = ?1 AND key = ?2",
        )?
        .query_row(params![share.0, key], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .optional()?;
    match row {
        None => Ok(Takeover::Nothing),
        Some((op, Some(etag), false, moved, born)) => {
            delete_op(txn.db, OpId(op))?;
            Ok(Takeover::Tag(ETag::new(etag), moved, born))
        }
        // Nobody knows what is there: find out and delete it before the key is used again.
        Some(_) => Ok(Takeover::MustRunFirst),
    }
}

/// Another inode whose object is at `key`: it must be moved away first.
pub(super) fn other_owner(
    db: &Connection,
    share: ShareId,
    key: &str,
    ino: Ino,
) -> Result<Option<Inode>, CatalogError> {
    Ok(db
        .prepare_cached(concat!(
            "SELECT ",
            inode::columns!(),
            " FROM inode WHERE share = ?1 AND object_key = ?2 AND ino <> ?3"
        ))?
        .query_row(params![share.0, key, ino.0], inode::from_row)
        .optional()?)
}

/// The key of `inode`, `object`, still holds `owner`'s object. Usually that moves away soon; when the two
/// (or a longer ring) wait for each other, or the last of those who wait is kept from moving, one object
/// steps aside. Which of them are a ring is found out in steps; of a long one the least steps aside, so
/// that it is one.
fn resolve_owner(
    txn: &mut Txn<'_>,
    due: &Due,
    (inode, object): (&Inode, ObjectKey),
    owner: &Inode,
    now: Timestamp,
) -> Result<Decision, CatalogError> {
    let reached = match due.walk {
        Some((at, least)) => inode::find(txn.db, at)?.map(|at| (at, least)),
        None => None,
    };
    let is_long = reached.is_some();
    let (mut at, mut least) = reached.unwrap_or_else(|| (owner.clone(), inode.ino));
    if due.walk.is_some() {
        note_walk(txn, due, None)?;
    }
    for _ in 0..WALK_FILES {
        least = least.min(at.ino);
        if journal::op_of(txn.db, at.ino)?.is_some_and(|op| txn.state.claims.has(op)) {
            return Ok(Decision::Wait(WAIT_MILLIS));
        }
        let wants = inode::key_of(txn.db, &at)?;
        match other_owner(txn.db, due.share, &wants, at.ino)? {
            None => return make_room(txn, at, &wants, now),
            Some(next) if next.ino != inode.ino => at = next,
            Some(_) if is_long && least != inode.ino => return Ok(Decision::Wait(WAIT_MILLIS)),
            Some(_) => return step_aside(txn, due, inode, object, now),
        }
    }
    note_walk(txn, due, Some((at.ino, least)))?;
    Ok(Decision::Wait(WAIT_MILLIS))
}

fn note_walk(txn: &Txn<'_>, due: &Due, walk: Option<(Ino, Ino)>) -> Result<(), CatalogError> {
    let (at, least) = walk.map(|(at, least)| (at.0, least.0)).unzip();
    txn.db
        .prepare_cached("UPDATE journal SET walk_at = ?2, walk_least = ?3 WHERE op = ?1")?
        .execute(params![due.op.0, at, least])?;
    Ok(())
}

/// Brings `inode`'s object out of the way of another file, or does without it.
fn step_aside(
    txn: &mut Txn<'_>,
    due: &Due,
    inode: &Inode,
    object: ObjectKey,
    now: Timestamp,
) -> Result<Decision, CatalogError> {
    // What is not known to be a link or a marker alone has to be asked for first.
    let has_all = (inode.kind == FileKind::File || inode.needs_head) && !inode.content_dirty;
    // One that is sent as a whole anyway needs its object no more.
    if !has_all && journal::detach(txn, inode, now)? {
        return Ok(Decision::Wait(WAIT_MILLIS));
    }
    Ok(stepping_aside(due, inode, object))
}

fn stepping_aside(due: &Due, inode: &Inode, object: ObjectKey) -> Decision {
    let job = SyncJob {
        op: due.op,
        expect: Expected::Absent,
        key: object,
        moved_from: inode.object_key.clone().zip(inode.etag.clone()),
        sent_before: false,
        sent_version: None,
        foreign: Vec::new(),
        is_elsewhere: false,
        is_found: false,
        is_incomplete: due.is_incomplete,
        multipart: None,
        changed: None,
        attempts: due.attempts,
        inode: inode.clone(),
    };
    let key = inode.object_key.iter().map(|key| key.as_str().to_owned()).collect();
    Decision::Claim(Job::StepAside(Box::new(job)), key)
}

/// Nothing is in the way of `owner`, whose object is in the way of others. It moves when it is due; while
/// somebody goes on writing it, its object steps aside: that touches none of its bytes.
fn make_room(
    txn: &mut Txn<'_>,
    owner: Inode,
    wants: &str,
    now: Timestamp,
) -> Result<Decision, CatalogError> {
    let wait = Decision::Wait(WAIT_MILLIS);
    let (Some(row), Some(at)) = (sync_of(txn.db, owner.ino)?, owner.object_key.as_ref()) else {
        return Ok(wait);
    };
    let is_put_off = row.attempts == 0 && row.not_before > now.plus_millis(HELD_MILLIS);
    let is_kept = owner.writing || is_put_off || txn.state.held.is_held(owner.ino);
    let is_busy = txn.state.claims.is_busy(&(owner.share, at.as_str().to_owned()));
    if owner.kind != FileKind::File || !is_kept || is_busy {
        return Ok(wait);
    }
    let wants = ObjectKey::new(wants)
        .ok_or_else(|| CatalogError::Corrupt(format!("inode {} has key {wants:?}", owner.ino.0)))?;
    match unsettled(&row, &owner, &wants).cloned() {
        Some(at) => settle_first(txn, &row, owner, at),
        None => Ok(stepping_aside(&row, &owner, wants)),
    }
}
