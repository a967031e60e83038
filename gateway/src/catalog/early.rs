//! Large files whose upload begins while they are written.
//!
//! Their bursts stay open, so they are not claimed as others are: who writes them offers them, and a
//! claim of the parts that are committed so far keeps every other job away from them and their key.
use std::collections::HashSet;

use rusqlite::Connection;

use super::{
    Catalog, changed,
    error::CatalogError,
    flush, inode, journal, multipart, range,
    types::{EarlyJob, Inode, Job, OpId},
    writer::Txn,
};
use crate::{
    ids::{FileKind, Ino},
    object::ObjectKey,
};

/// Files that may be offered at one time.
const OFFERED_MAX: usize = 64;

/// Files that were offered and not looked at since.
#[derive(Debug, Default)]
pub(super) struct Offered(HashSet<Ino>);

impl Catalog {
    /// What of a claimed turn could go ahead by now ([`Job::Still`]); `None`: nothing can, as the file is gone or has
    /// another name.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn ahead_of(&self, op: OpId) -> Result<Option<EarlyJob>, CatalogError> {
        self.read(move |db| {
            let Some(ino) = journal::ino_of(db, op)? else { return Ok(None) };
            let Some(inode) = inode::find(db, ino)? else { return Ok(None) };
            let key = inode::key_of(db, &inode)?;
            if journal::upload_key(db, op)?.is_some_and(|at| at != key) {
                return Ok(None);
            }
            let Some(key) = ObjectKey::new(key) else { return Ok(None) };
            of_file(db, op, inode, key).map(Some)
        })
        .await
    }

    /// Offers a file that is being written for an early upload. Its burst must be one that the catalog
    /// knows ([`Catalog::begin_write`]): `false`, and nothing happens, while it is held back in memory.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn offer_early(&self, ino: Ino) -> Result<bool, CatalogError> {
        if !self.inner.held.attempt(ino) {
            return Ok(false);
        }
        self.write(move |txn| {
            let offered = &mut txn.state.offered.0;
            if offered.len() < OFFERED_MAX {
                offered.insert(ino);
                txn.state.journal_changed = true;
            }
            Ok(true)
        })
        .await
    }
}

/// Claims what has been offered, `limit` files at most.
pub(super) fn claim(txn: &mut Txn<'_>, limit: usize) -> Result<Vec<Job>, CatalogError> {
    let mut jobs = Vec::new();
    let offered: Vec<Ino> = txn.state.offered.0.iter().copied().take(limit).collect();
    for ino in offered {
        txn.state.offered.0.remove(&ino);
        let Some(job) = job(txn, ino)? else { continue };
        let key = (job.inode.share, job.key.as_str().to_owned());
        let since = flush::seq(txn.db)?;
        txn.state.claims.claim(job.op, vec![key], Some(ino), since);
        jobs.push(Job::Early(Box::new(job)));
    }
    Ok(jobs)
}

/// The key of the file's upload, if parts of it may go ahead in it.
pub(super) fn key(
    txn: &mut Txn<'_>,
    op: OpId,
    inode: &Inode,
) -> Result<Option<String>, CatalogError> {
    let key = inode::key_of(txn.db, inode)?;
    let is_elsewhere = journal::upload_key(txn.db, op)?.is_some_and(|at| at != key);
    let is_busy = txn.state.claims.is_busy(&(inode.share, key.clone()));
    // While it is held back in memory, the catalog does not know that it is being written.
    let may_go = !is_elsewhere && !is_busy && txn.state.held.attempt(inode.ino);
    Ok(may_go.then_some(key))
}

fn job(txn: &mut Txn<'_>, ino: Ino) -> Result<Option<EarlyJob>, CatalogError> {
    let Some(inode) = inode::find(txn.db, ino)? else { return Ok(None) };
    let Some(op) = journal::op_of(txn.db, ino)? else { return Ok(None) };
    let Some(key) = ObjectKey::new(inode::key_of(txn.db, &inode)?) else { return Ok(None) };
    let is_busy = txn.state.claims.is_busy(&(inode.share, key.as_str().to_owned()));
    if inode.kind != FileKind::File || txn.state.claims.has(op) || is_busy {
        return Ok(None);
    }
    if let Some(at) = journal::upload_key(txn.db, op)?.filter(|at| at != key.as_str()) {
        if inode.object_key.as_ref().is_some_and(|object| object.as_str() == at) {
            // It may be what the object is made of: that is found out first.
            return Ok(None);
        }
        multipart::abandon(txn, op)?;
    }
    of_file(txn.db, op, inode, key).map(Some)
}

/// What is there of the file.
fn of_file(
    db: &Connection,
    op: OpId,
    inode: Inode,
    key: ObjectKey,
) -> Result<EarlyJob, CatalogError> {
    let ranges = range::of(db, inode.ino)?;
    let changed = changed::of(db, &inode)?;
    Ok(EarlyJob { op, key, ranges, changed, multipart: multipart::of(db, op)?, inode })
}
