//! Which operations of the journal have failed, one by one.
use rusqlite::{Connection, Row, params};

use super::{Catalog, error::CatalogError, inode, journal, types::OpId};
use crate::{
    clock::Timestamp,
    ids::{Ino, ShareId},
};

/// What an operation of the journal does in the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Brings a file, directory or symbolic link there.
    Upload,
    /// Deletes an object.
    Deletion,
    /// Moves what is below a renamed directory.
    Move,
}

/// An operation that has failed and is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// Its share.
    pub share: ShareId,
    /// Its number.
    pub op: OpId,
    /// What it does.
    pub work: Work,
    /// The path below the share's root of what is uploaded.
    pub path: Option<String>,
    /// The key of the object; of a move the prefix that its objects had.
    pub key: String,
    /// How often it has failed.
    pub attempts: u64,
    /// Since when S3 lacks it, in seconds since 1970, where that is known.
    pub since_seconds: Option<i64>,
    /// When it is tried next; none before somebody writes.
    pub next: Option<Timestamp>,
    /// Why it failed last.
    pub error: String,
}

/// A row as it is read; what it is about is found afterwards.
struct Found {
    failing: Failing,
    ino: Option<Ino>,
}

fn found(row: &Row<'_>) -> rusqlite::Result<Found> {
    let kind: u8 = row.get(2)?;
    let (since_ms, next): (i64, i64) = (row.get(6)?, row.get(7)?);
    let (next, is_incomplete) = (Timestamp::from_nanos(next), row.get::<_, bool>(9)?);
    let work = match kind {
        journal::KIND_DELETE => Work::Deletion,
        journal::KIND_MOVE => Work::Move,
        _ => Work::Upload,
    };
    let failing = Failing {
        share: ShareId(row.get(0)?),
        op: OpId(row.get(1)?),
        work,
        path: None,
        key: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
        attempts: row.get(5)?,
        since_seconds: (since_ms > 0).then_some(since_ms / 1000),
        next: (!is_incomplete && next != journal::NEVER).then_some(next),
        error: row.get::<_, Option<String>>(8)?.unwrap_or_default(),
    };
    let ino = row.get::<_, Option<u64>>(3)?.map(Ino).filter(|_| work == Work::Upload);
    Ok(Found { failing, ino })
}

impl Found {
    /// With the path and the key of its inode, if it is about one.
    fn named(self, db: &Connection) -> Result<Failing, CatalogError> {
        let Self { mut failing, ino } = self;
        if let Some(ino) = ino {
            failing.path = Some(inode::path_of(db, ino)?);
            failing.key = inode::key_of(db, &inode::get(db, ino)?)?;
        }
        Ok(failing)
    }
}

impl Catalog {
    /// At most `limit` operations that have failed and wait, of one share or of all, after the one that `after`
    /// names, by share and in the order in which they came. What is counted as failing ([`Catalog::pending`]).
    ///
    /// # Errors
    /// Of the database only.
    pub async fn failing(
        &self,
        share: Option<ShareId>,
        after: Option<(ShareId, OpId)>,
        limit: usize,
    ) -> Result<Vec<Failing>, CatalogError> {
        self.read(move |db| {
            let (first, op) = after.unwrap_or((share.unwrap_or(ShareId(0)), OpId(0)));
            let last = share.map_or(i64::MAX, |share| i64::from(share.0));
            let mut query = db.prepare_cached(
                "SELECT share, op, kind, ino, key, attempts, since, not_before, last_error, incomplete
                 FROM journal
                 WHERE attempts > 0 AND (share, op) > (?1, ?2) AND share <= ?3 AND kind <> ?4
                 ORDER BY share, op LIMIT ?5",
            )?;
            let rows = query
                .query_map(params![first.0, op.0, last, journal::KIND_ABORT, limit], found)?
                .collect::<Result<Vec<_>, _>>()?;
            rows.into_iter().map(|row| row.named(db)).collect()
        })
        .await
    }
}
