//! The share table: which tree belongs to which bucket and prefix.
use rusqlite::{OptionalExtension, Row, params};

use super::{Catalog, error::CatalogError, types::ShareRow, writer::Txn};
use crate::{
    clock::Timestamp,
    ids::{Ino, ShareId},
};

/// Attributes of a new share's root directory.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "POSIX names")]
pub struct RootAttr {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub now: Timestamp,
}

fn share_row(row: &Row<'_>) -> rusqlite::Result<ShareRow> {
    Ok(ShareRow {
        id: ShareId(row.get(0)?),
        name: row.get(1)?,
        bucket: row.get(2)?,
        prefix: row.get(3)?,
        root: Ino(row.get(4)?),
    })
}

impl Catalog {
    /// The share called `name`, made with an empty tree if it is new. When it was of another bucket
    /// or prefix and nothing of it waits for S3, it starts a fresh tree under a new number; the old
    /// tree's handles become stale.
    ///
    /// # Errors
    /// [`CatalogError::ShareBusy`] when the old bucket still lacks something.
    pub async fn ensure_share(
        &self,
        name: &str,
        bucket: &str,
        prefix: &str,
        root: RootAttr,
    ) -> Result<ShareRow, CatalogError> {
        let (name, bucket, prefix) = (name.to_owned(), bucket.to_owned(), prefix.to_owned());
        self.write(move |txn| {
            let known = txn
                .db
                .prepare_cached(
                    "SELECT id, name, bucket, prefix, root FROM share
                     WHERE name = ?1 AND current = 1",
                )?
                .query_row([&name], share_row)
                .optional()?;
            if let Some(share) = known {
                if share.bucket == bucket && share.prefix == prefix {
                    return Ok(share);
                }
                retire(txn, share)?;
            }
            create(txn, &name, &bucket, &prefix, root)
        })
        .await
    }

    /// Shares that have a tree here, by number; also those that the settings no longer name.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn shares(&self) -> Result<Vec<ShareRow>, CatalogError> {
        self.read(|db| {
            let mut query = db.prepare_cached(
                "SELECT id, name, bucket, prefix, root FROM share WHERE current = 1 ORDER BY id",
            )?;
            let rows = query.query_map([], share_row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// Drops the tree of a share of which S3 has everything.
fn retire(txn: &mut Txn<'_>, share: ShareRow) -> Result<(), CatalogError> {
    let pending: u64 = txn
        .db
        .prepare_cached("SELECT count(*) FROM journal WHERE share = ?1 AND kind <> 3")?
        .query_row([share.id.0], |row| row.get(0))?;
    if pending > 0 {
        return Err(CatalogError::ShareBusy {
            name: share.name,
            pending,
            bucket: share.bucket,
            prefix: share.prefix,
        });
    }
    // Nobody talks to the old bucket any more: what is left of uploads in parts is for the bucket's rules.
    let left: u64 = txn
        .db
        .prepare_cached("SELECT count(*) FROM journal WHERE share = ?1")?
        .query_row([share.id.0], |row| row.get(0))?;
    if left > 0 {
        tracing::warn!(
            "{left} unfinished uploads in parts stay in the bucket {} below {:?}: let a lifecycle rule abort them",
            share.bucket,
            share.prefix
        );
    }
    for statement in [
        "DELETE FROM journal WHERE share = ?1",
        "UPDATE share SET current = 0 WHERE id = ?1",
        "DELETE FROM range WHERE ino IN (SELECT ino FROM inode WHERE share = ?1)",
        "DELETE FROM sum WHERE ino IN (SELECT ino FROM inode WHERE share = ?1)",
        "DELETE FROM carried WHERE ino IN (SELECT ino FROM inode WHERE share = ?1)",
        "DELETE FROM inode WHERE share = ?1",
    ] {
        txn.db.execute(statement, [share.id.0])?;
    }
    Ok(())
}

fn create(
    txn: &mut Txn<'_>,
    name: &str,
    bucket: &str,
    prefix: &str,
    root: RootAttr,
) -> Result<ShareRow, CatalogError> {
    txn.db.execute(
        "INSERT INTO share (name, bucket, prefix, root) VALUES (?1, ?2, ?3, 0)",
        params![name, bucket, prefix],
    )?;
    let id = txn.db.last_insert_rowid();
    txn.db.execute(
        "INSERT INTO inode (share, parent, name, kind, mode, uid, gid, size, atime, mtime, ctime,
             dirty, version, content_version, synced_version, defaulted)
         VALUES (?1, 0, '', 1, ?2, ?3, ?4, 0, ?5, ?5, ?5, 0, 0, 0, 0, 1)",
        params![id, root.mode, root.uid, root.gid, root.now.as_nanos()],
    )?;
    let ino = txn.db.last_insert_rowid();
    txn.db.execute("UPDATE inode SET parent = ino WHERE ino = ?1", [ino])?;
    txn.db.execute("UPDATE share SET root = ?2 WHERE id = ?1", params![id, ino])?;
    Ok(txn.db.query_row(
        "SELECT id, name, bucket, prefix, root FROM share WHERE id = ?1",
        [id],
        share_row,
    )?)
}
