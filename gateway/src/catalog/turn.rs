//! Turns of files that are written on and on ([`Job::Still`]): who gets one, and what comes of it.
use super::{
    Catalog,
    claim::{self, Decision, HELD_MILLIS, decide, hand_out, wait},
    due::{Due, of_op},
    early,
    error::CatalogError,
    flush, inode,
    journal::NEVER,
    types::{Inode, Job, OpId},
    writer::Txn,
};
use crate::{clock::Timestamp, ids::Ino, object::ObjectKey};

/// How long a file whose turn has come to nothing waits for the next, in milliseconds.
const TURN_MILLIS: u64 = 2000;

impl Catalog {
    /// The job of a [`Job::Still`] whose writers are kept away: the claim of that ends, and one of the job begins.
    /// `None`: it cannot go yet, as something else comes first, or a burst of writes is open whose commit makes it
    /// due. Call with the inode's exclusive lock held.
    ///
    /// # Errors
    /// Of the database; [`CatalogError::Corrupt`] for an operation that makes no sense.
    pub async fn claim_still(&self, op: OpId, now: Timestamp) -> Result<Option<Job>, CatalogError> {
        self.write(move |txn| {
            txn.state.claims.release(op);
            let out = txn.state.claims.clone();
            let claimed = claim_one(txn, op, now);
            if claimed.is_err() {
                // Nobody gets it, nor what it would have begun with.
                txn.state.claims = out;
            }
            claimed
        })
        .await
    }

    /// Whether a flush waits for the operation, or its latest time has come.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn is_late(&self, op: OpId, now: Timestamp) -> Result<bool, CatalogError> {
        self.write_soon(move |txn| {
            let due = of_op(txn.db, op)?;
            Ok(due.is_some_and(|due| has_no_time(txn, &due, now)))
        })
        .await
    }
}

/// The file's turn. Parts of a large one may go ahead before its writers are kept away: its key is the job's, then.
pub(super) fn give(txn: &mut Txn<'_>, due: &Due, ino: Ino) -> Result<Job, CatalogError> {
    let (op, share) = (due.op, due.share);
    let inode = inode::get(txn.db, ino)?;
    let is_free = is_free(txn, due, &inode)?;
    let goes_ahead = is_free && inode.goes_in_parts();
    let key = if goes_ahead { early::key(txn, op, &inode)? } else { None };
    let goes_ahead = key.is_some();
    let keys = key.into_iter().map(|key| (share, key)).collect();
    let since = flush::seq(txn.db)?;
    txn.state.claims.claim(op, keys, goes_ahead.then_some(ino), since);
    Ok(Job::Still { op, share, ino, is_free, goes_ahead })
}

/// Whether nothing else has to be done before the file can be published, as far as can be told while it is written.
fn is_free(txn: &Txn<'_>, due: &Due, inode: &Inode) -> Result<bool, CatalogError> {
    let key = inode::key_of(txn.db, inode)?;
    let is_busy = |key: &str| txn.state.claims.is_busy(&(due.share, key.to_owned()));
    let Some(object) = ObjectKey::new(key.as_str()) else { return Ok(false) };
    let moved_from = inode.object_key.as_ref().filter(|at| **at != object);
    Ok(!is_busy(&key)
        && !moved_from.is_some_and(|from| is_busy(from.as_str()))
        && claim::unsettled(due, inode, &object).is_none()
        && claim::other_owner(txn.db, due.share, &key, inode.ino)?.is_none()
        && !claim::must_be_deleted_first(txn.db, due.share, &key)?)
}

/// Hands out `op`, whether or not it is due: nobody writes its file.
fn claim_one(txn: &mut Txn<'_>, op: OpId, now: Timestamp) -> Result<Option<Job>, CatalogError> {
    let Some(due) = of_op(txn.db, op)? else { return Ok(None) };
    match decide(txn, &due, now)? {
        Decision::Claim(job, keys) => {
            let job = hand_out(txn, &due, job, keys, now)?;
            if let Job::Sync(sync) = &job
                && sync.op == op
                && sync.inode.goes_in_parts()
            {
                // What its writers change from here on is not in what S3 gets.
                txn.state.claims.follow(sync.op);
            }
            return Ok(Some(job));
        }
        Decision::Still(ino) => {
            // A burst that is held in memory alone is seen at the next look only.
            let is_noted = inode::get(txn.db, ino)?.writing;
            let until_commit =
                if due.latest < NEVER { now.plus_millis(TURN_MILLIS) } else { NEVER };
            wait(txn, &due, if is_noted { until_commit } else { now.plus_millis(HELD_MILLIS) })?;
        }
        // A turn costs its writers something: the next one is not at once.
        Decision::Wait(millis) => wait(txn, &due, now.plus_millis(millis.max(TURN_MILLIS)))?,
        Decision::Busy => wait(txn, &due, now.plus_millis(TURN_MILLIS))?,
    }
    Ok(None)
}

/// Whether a flush waits for it, or it has waited long enough.
fn has_no_time(txn: &Txn<'_>, due: &Due, now: Timestamp) -> bool {
    now >= due.latest || txn.state.awaited.has(due.born)
}

/// A file of which a burst of writes is open, `now`; it is looked at again after so many milliseconds.
pub(super) fn being_written(
    txn: &Txn<'_>,
    due: &Due,
    inode: &Inode,
    (now, millis): (Timestamp, u64),
) -> Decision {
    let is_late = has_no_time(txn, due, now);
    if is_late { Decision::Still(inode.ino) } else { Decision::Wait(millis) }
}
