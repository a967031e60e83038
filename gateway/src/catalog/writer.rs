//! The one connection that writes, and its group commit.
//!
//! Operations queue; the writer's thread takes all that wait, runs each in a savepoint of its own inside
//! one transaction, and commits once: while one batch is being synced the next gathers, so nobody waits
//! for a timer. An operation is answered after the commit (SQLite `synchronous = FULL`: after the
//! WAL is on the disk), never before. A caller who may wait for a disk where it is, and finds the writer
//! free, commits itself: two changes of thread cost as much as the commit.
//!
//! What S3 says again after a power cut is not waited for ([`Durable::Soon`], ADR 34): those operations are
//! committed without a sync, and the next one that is synced makes them durable too, in their order.
use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::{Arc, Mutex, TryLockError, Weak},
};

use rusqlite::Connection;
use tokio::{
    runtime::Runtime,
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    dirty_log::{DirtyLog, Noted},
    epoch::Epoch,
    error::CatalogError,
    flush::{Awaited, Begun},
    held::Held,
    inode,
    latest::Latest,
    pragmas::Synchronous,
    rows::{Changes, Rows, Touched},
    sums::SumMemory,
    types::OpId,
    unsent::Unsent,
};
use crate::{
    essential::{self, Step},
    failpoint::{self, Point},
    ids::{Ino, ShareId},
    ranges::RangeSet,
};

/// Operations that may wait for the writer; further callers wait for room.
pub(super) const QUEUE_OPERATIONS_MAX: usize = 1024;
/// Operations in one transaction: bounds how long the first of them waits.
const BATCH_OPERATIONS_MAX: usize = 512;
/// Finished deletions remembered for listings under way. Beyond it the listings are given up.
const FINISHED_DELETES_MAX: usize = 100_000;

/// Called with the outcome of the commit.
pub(super) type Completion = Box<dyn FnOnce(Result<(), String>) + Send>;
/// Runs inside the transaction.
pub(super) type Run = Box<dyn FnOnce(&mut Txn<'_>) -> Completion + Send>;

/// When an operation is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durable {
    /// Before it is answered.
    Now,
    /// Not after any that is committed later, and before long. Only for what S3 says again: a power cut takes it
    /// back, and everything goes on as if the cut had come before it.
    Soon,
}

/// What is to be committed.
pub(super) struct Operation {
    pub(super) durable: Durable,
    pub(super) run: Run,
}

impl Operation {
    /// Changes nothing: makes durable what is not, and has the dirty log tell of it.
    fn settling() -> Self {
        let settled = |outcome: Result<(), String>| {
            if let Err(error) = outcome {
                tracing::error!("what was committed last is not durable yet: {error}");
            }
        };
        Self { durable: Durable::Now, run: Box::new(move |_| Box::new(settled)) }
    }
}

/// What an operation works on.
pub(super) struct Txn<'a> {
    pub(super) db: &'a Connection,
    pub(super) state: &'a mut WriterState,
}

/// A key of a share.
pub(super) type ShareKey = (ShareId, String);

/// A job that is out.
#[derive(Clone, Debug)]
struct Claim {
    keys: Vec<Arc<ShareKey>>,
    /// What it uploads, if it does.
    ino: Option<Ino>,
    /// The sequence's value when it was claimed.
    since: u64,
    /// Bytes of the file that have changed since then, if that is followed.
    changed: Option<RangeSet>,
}

/// Ranges that are told apart of what changes while a file is sent.
const CHANGED_RANGES_MAX: usize = 256;

/// Jobs handed out and not yet answered. In memory: a restart hands them out again. Each transaction keeps a clone, to
/// go back to where it is not committed: what they hold is shared.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    by_op: HashMap<OpId, Arc<Claim>>,
    busy: HashSet<Arc<ShareKey>>,
    /// Whether any was given back since this was last asked.
    released: bool,
}

impl Claims {
    /// Claims `op`, which works on `keys` (I7) and uploads `ino`.
    /// `since` is the sequence's value.
    pub(super) fn claim(&mut self, op: OpId, keys: Vec<ShareKey>, ino: Option<Ino>, since: u64) {
        let keys: Vec<_> = keys.into_iter().map(Arc::new).collect();
        self.busy.extend(keys.iter().cloned());
        self.by_op.insert(op, Arc::new(Claim { keys, ino, since, changed: None }));
    }

    /// From here on what changes of the claimed file is noted.
    pub(super) fn follow(&mut self, op: OpId) {
        if let Some(claim) = self.by_op.get_mut(&op) {
            Arc::make_mut(claim).changed = Some(RangeSet::new());
        }
    }

    /// What has changed of the file since [`Claims::follow`]; `None`: nobody knows.
    pub(super) fn changed_since(&self, op: OpId) -> Option<RangeSet> {
        self.by_op.get(&op).and_then(|claim| claim.changed.clone())
    }

    /// Bytes of `ino` change.
    pub(super) fn note_change(&mut self, ino: Ino, range: &Range<u64>) {
        let is_followed =
            |claim: &&mut Arc<Claim>| claim.ino == Some(ino) && claim.changed.is_some();
        let claims = self.by_op.values_mut().filter(is_followed);
        for changed in claims.filter_map(|claim| Arc::make_mut(claim).changed.as_mut()) {
            changed.insert(range.clone());
            if changed.len() > CHANGED_RANGES_MAX {
                let hull = changed.iter().reduce(|all, next| all.start..next.end);
                changed.insert(hull.unwrap_or_default());
            }
        }
    }

    /// The sequence's value when `op` was claimed; 0 if it is not.
    pub(super) fn since(&self, op: OpId) -> u64 {
        self.by_op.get(&op).map_or(0, |claim| claim.since)
    }

    /// The job works on this key as well.
    pub(super) fn also(&mut self, op: OpId, key: ShareKey) {
        if let Some(claim) = self.by_op.get_mut(&op) {
            let key = Arc::new(key);
            self.busy.insert(Arc::clone(&key));
            Arc::make_mut(claim).keys.push(key);
        }
    }

    /// Whether a job that uploads `ino` is out.
    pub(super) fn has_upload_of(&self, ino: Ino) -> bool {
        self.by_op.values().any(|claim| claim.ino == Some(ino))
    }

    /// Whether the job is out.
    pub(super) fn has(&self, op: OpId) -> bool {
        self.by_op.contains_key(&op)
    }

    /// The share of a job that is out.
    pub(super) fn share_of(&self, op: OpId) -> Option<ShareId> {
        self.by_op.get(&op).and_then(|claim| claim.keys.first()).map(|key| key.0)
    }

    /// Whether a job works on `key`.
    pub(super) fn is_busy(&self, key: &ShareKey) -> bool {
        self.busy.contains(key) && !essential::is_left_out(Step::BusyKeyCheck)
    }

    /// Lets what is claimed be compared with what is out after this transaction.
    pub(super) fn note_release(&mut self) {
        self.released = true;
    }

    /// Gives the job's keys back.
    pub(super) fn release(&mut self, op: OpId) {
        if let Some(claim) = self.by_op.remove(&op) {
            for key in &claim.keys {
                self.busy.remove(key);
            }
        }
        self.released = true;
    }

    /// The job has done with this key.
    pub(super) fn no_longer(&mut self, op: OpId, key: &ShareKey) {
        if let Some(claim) = self.by_op.get_mut(&op)
            && let Some(at) = claim.keys.iter().position(|known| **known == *key)
        {
            Arc::make_mut(claim).keys.swap_remove(at);
            self.busy.remove(key);
        }
    }

    /// How many keys jobs work on.
    pub(super) fn keys(&self) -> usize {
        self.busy.len()
    }

    /// How many jobs are out.
    pub(super) fn len(&self) -> usize {
        self.by_op.len()
    }
}

/// Listings under way and what they must not undo.
#[derive(Debug, Default)]
pub(super) struct Listings {
    active: Vec<(u64, Weak<()>)>,
    finished_deletes: HashMap<ShareKey, u64>,
    /// Listings that began before this cannot be merged any more.
    expired_before: u64,
}

impl Listings {
    /// Notes a listing that began at `seq`; it is active as long as the answer lives.
    pub(super) fn begin(&mut self, seq: u64) -> Arc<()> {
        let alive = Arc::new(());
        self.prune();
        self.active.push((seq, Arc::downgrade(&alive)));
        alive
    }

    /// Notes that the object of `key` was deleted at `seq`.
    pub(super) fn deleted(&mut self, key: ShareKey, seq: u64) {
        self.prune();
        if self.active.is_empty() {
            return;
        }
        if self.finished_deletes.len() >= FINISHED_DELETES_MAX {
            self.finished_deletes.clear();
            self.active.clear();
            self.expired_before = seq;
            return;
        }
        self.finished_deletes.insert(key, seq);
    }

    /// Whether `key` was deleted after `seq`.
    pub(super) fn deleted_since(&self, key: &ShareKey, seq: u64) -> bool {
        self.finished_deletes.get(key).is_some_and(|at| *at > seq)
    }

    /// Whether any key below `prefix` was deleted after `seq`.
    pub(super) fn deleted_below_since(&self, share: ShareId, prefix: &str, seq: u64) -> bool {
        self.finished_deletes
            .iter()
            .any(|((of, key), at)| *of == share && *at > seq && key.starts_with(prefix))
    }

    /// Whether a listing that began at `seq` is too old.
    pub(super) fn is_expired(&self, seq: u64) -> bool {
        seq < self.expired_before
    }

    fn prune(&mut self) {
        self.active.retain(|(_, alive)| alive.strong_count() > 0);
        match self.active.iter().map(|(seq, _)| *seq).min() {
            None => self.finished_deletes.clear(),
            Some(oldest) => self.finished_deletes.retain(|_, at| *at > oldest),
        }
    }
}

/// What the writer remembers between transactions.
#[derive(Debug, Default)]
pub(super) struct WriterState {
    pub(super) noted: Noted,
    pub(super) held: Held,
    pub(super) latest: Latest,
    /// The versions that inodes get.
    pub(super) epoch: Epoch,
    pub(super) claims: Claims,
    pub(super) listings: Listings,
    pub(super) offered: super::early::Offered,
    /// What a flush waits for.
    pub(super) awaited: Awaited,
    /// Since when the uploads in parts go on.
    pub(super) begun: Begun,
    /// Set by operations that make work for the movers.
    pub(super) journal_changed: bool,
}

/// The writing end, whoever has it at the moment.
#[derive(Debug)]
pub(super) struct Writer(Mutex<Option<Committer>>);

/// What commits.
#[derive(Debug)]
pub(super) struct Committer {
    pub(super) connection: Connection,
    /// Notes what the connection changes; what is in memory follows.
    pub(super) touched: Touched,
    pub(super) rows: Arc<Rows>,
    pub(super) sums: Arc<SumMemory>,
    pub(super) unsent: Unsent,
    /// What S3 does not have, a second time.
    pub(super) log: DirtyLog,
    /// How the connection commits.
    pub(super) synced: Synchronous,
    pub(super) journal: watch::Sender<u64>,
    pub(super) state: WriterState,
}

impl Writer {
    /// Writes through `committer`.
    pub(super) fn new(committer: Committer) -> Self {
        Self(Mutex::new(Some(committer)))
    }

    /// Serves operations until the last sender is gone, then closes the connection. The writer's thread does
    /// this, and waits by `timer`.
    pub(super) fn run(&self, operations: &mut mpsc::Receiver<Operation>, timer: &Runtime) {
        let (mut next, mut settles_in) = (None, None);
        loop {
            let first = match next.take() {
                Some(operation) => Some(operation),
                None => match settles_in {
                    None => operations.blocking_recv(),
                    Some(wait) => timer.block_on(async {
                        let received = timeout(wait, operations.recv()).await;
                        received.unwrap_or_else(|_nobody_came| Some(Operation::settling()))
                    }),
                },
            };
            let Some(first) = first else { break };
            // An operation that panicked has left a transaction nobody knows: no more is committed.
            let Ok(mut committer) = self.0.lock() else { return };
            let Some(committer) = committer.as_mut() else { return };
            next = committer.commit(first, || operations.try_recv().ok());
            settles_in = committer.log.settles_in();
        }
        if let Ok(mut committer) = self.0.lock() {
            committer.take();
        }
    }

    /// Looks at the dirty log while nobody commits.
    #[cfg(test)]
    pub(super) fn with_log<T>(&self, look: impl FnOnce(&mut DirtyLog) -> T) -> T {
        look(&mut self.0.lock().unwrap().as_mut().unwrap().log)
    }

    /// Returns when nobody commits: whoever was answered last was answered before the end of that.
    #[cfg(test)]
    pub(super) fn wait_until_free(&self) {
        drop(self.0.lock());
    }

    /// Commits `operation` on this thread; gives it back if somebody else is at it.
    ///
    /// # Errors
    /// [`CatalogError::Closed`].
    pub(super) fn commit_here(
        &self,
        operation: Operation,
    ) -> Result<Option<Operation>, CatalogError> {
        match self.0.try_lock() {
            Ok(mut committer) => {
                committer.as_mut().ok_or(CatalogError::Closed)?.commit(operation, || None);
                Ok(None)
            }
            Err(TryLockError::WouldBlock) => Ok(Some(operation)),
            Err(TryLockError::Poisoned(_)) => Err(CatalogError::Closed),
        }
    }
}

impl Committer {
    /// One transaction: `first` and what `more` gives. Answers them all, but for one that was taken and must be
    /// durable where `first` need not be: that is given back, for the next transaction.
    fn commit(
        &mut self,
        first: Operation,
        more: impl FnMut() -> Option<Operation>,
    ) -> Option<Operation> {
        let claims_before = self.state.claims.clone();
        let durable = if self.log.must_settle() { Durable::Now } else { first.durable };
        let (completions, outcome, left) = self.commit_batch(durable, first, more);
        let outcome = match outcome {
            Ok(changes) => {
                let touched = self.rows.committed(changes);
                // After the rows: whoever keeps sums asks them whether a commit has come between.
                self.sums.forget(touched.as_ref().map(|inos| inos.iter()));
                if let Err(error) = self.unsent.committed(&self.connection) {
                    tracing::error!("how much S3 does not have is what it was before: {error}");
                }
                Ok(())
            }
            Err(why) => {
                self.rows.doubt_all();
                self.sums.forget(None::<std::iter::Empty<_>>);
                self.state.claims = claims_before;
                self.state.claims.released = true;
                Err(why)
            }
        };
        if std::mem::take(&mut self.state.claims.released) {
            let claims = &self.state.claims;
            // One that is gone has nothing left to do, either.
            let find = |ino| inode::find(&self.connection, ino);
            let is_clean = |ino| match self.rows.get(ino) {
                Some(row) => !row.dirty,
                None => find(ino).is_ok_and(|row| row.is_none_or(|row| !row.dirty)),
            };
            self.state.held.keep_claims(|ino| claims.has_upload_of(ino), is_clean);
        }
        for completion in completions {
            completion(outcome.clone());
        }
        if std::mem::take(&mut self.state.journal_changed) {
            self.journal.send_modify(|changes| *changes += 1);
        }
        left
    }

    fn commit_batch(
        &mut self,
        durable: Durable,
        first: Operation,
        mut more: impl FnMut() -> Option<Operation>,
    ) -> (Vec<Completion>, Result<Changes, String>, Option<Operation>) {
        let (db, log) = (&self.connection, &mut self.log);
        let mut completions = Vec::new();
        let begun = self
            .synced
            .set(db, durable)
            .and_then(|()| log.mend(db))
            .and_then(|()| Ok(run_cached(db, "BEGIN IMMEDIATE")?));
        let changes_before = db.total_changes();
        let (mut next, mut left) = (Some(first), None);
        while let Some(operation) = next {
            completions.push((operation.run)(&mut Txn { db, state: &mut self.state }));
            // An error such as a full disk rolls the whole transaction back inside SQLite.
            let lost = db.is_autocommit();
            next = if lost || completions.len() >= BATCH_OPERATIONS_MAX { None } else { more() };
            left = next.take_if(|next| durable == Durable::Soon && next.durable == Durable::Now);
        }
        let changes = Changes::of(db, &self.touched);
        let outcome = begun.and_then(|()| {
            if db.is_autocommit() {
                return Err(CatalogError::Commit(GIVEN_UP.to_owned()));
            }
            failpoint::passed(Point::CatalogAfterChanges);
            match durable {
                Durable::Now => log.before_commit(db)?,
                Durable::Soon => log.put_off(db, db.total_changes() != changes_before)?,
            }
            failpoint::passed(Point::CatalogAfterLog);
            Ok(run_cached(db, "COMMIT")?)
        });
        let outcome = match outcome {
            // Its sync went on beside that of the commit.
            Ok(()) => log.committed(),
            Err(error) => {
                if !db.is_autocommit()
                    && let Err(rollback) = db.execute_batch("ROLLBACK")
                {
                    tracing::error!("catalog rollback failed: {rollback}");
                }
                log.failed();
                Err(match error {
                    CatalogError::Commit(words) => words,
                    other => other.to_string(),
                })
            }
        };
        if outcome.is_ok() {
            failpoint::passed(Point::CatalogAfterCommit);
        }
        (completions, outcome.map(|()| changes), left)
    }
}

/// Why a transaction that is not open any more was not committed.
const GIVEN_UP: &str = "SQLite gave the transaction up (is the cache disk full or failing?)";

fn run_cached(db: &Connection, statement: &str) -> rusqlite::Result<()> {
    db.prepare_cached(statement)?.execute([]).map(drop)
}

/// Runs `transition` so that its error undoes all of it and nothing else of the batch.
pub(super) fn in_savepoint<T>(
    txn: &mut Txn<'_>,
    transition: impl FnOnce(&mut Txn<'_>) -> Result<T, CatalogError>,
) -> Result<T, CatalogError> {
    let db = txn.db;
    if db.is_autocommit() {
        return Err(CatalogError::Commit("the transaction could not be begun".to_owned()));
    }
    db.prepare_cached("SAVEPOINT operation")?.execute([])?;
    let result = transition(txn);
    if !db.is_autocommit() {
        if result.is_err() {
            txn.state.noted.undone();
            db.prepare_cached("ROLLBACK TO operation")?.execute([])?;
        }
        db.prepare_cached("RELEASE operation")?.execute([])?;
    }
    result
}
