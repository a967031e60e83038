//! Files that want each other's keys: the object of one steps aside, within the bucket.
//!
//! Its copy at a key of its own is noted before it is made, as an object to be deleted, which the job's claim
//! keeps back: so neither a failure nor a crash leaves anything behind. The note goes in the transaction
//! that makes the copy the file's object.
use rusqlite::{OptionalExtension, params};

use super::{
    Catalog, changed,
    error::CatalogError,
    inode,
    journal::{Deletion, KIND_DELETE, born, delete_op, enqueue_delete, ino_of},
    types::OpId,
    writer::Txn,
};
use crate::{
    clock::Timestamp,
    ids::ShareId,
    object::{ETag, ObjectKey},
};

impl Catalog {
    /// Notes that the object of the claimed file is to be copied to the key `aside`, which becomes part of
    /// the claim: call it before that. If the claim ends without [`Catalog::stepped_aside`], or with this
    /// run, what is there is deleted, from `due` on.
    ///
    /// # Errors
    /// [`CatalogError::NoEntry`] when the operation is gone; [`CatalogError::Changed`] while what an
    /// earlier attempt has left there is being deleted.
    pub async fn begin_aside(
        &self,
        op: OpId,
        aside: &ObjectKey,
        due: Timestamp,
    ) -> Result<(), CatalogError> {
        let aside = aside.clone();
        self.write(move |txn| {
            let ino = ino_of(txn.db, op)?.ok_or(CatalogError::NoEntry)?;
            let share = txn.state.claims.share_of(op).ok_or(CatalogError::NoEntry)?;
            let key = (share, aside.as_str().to_owned());
            if txn.state.claims.is_busy(&key) {
                return Err(CatalogError::Changed);
            }
            enqueue_delete(txn, share, Deletion::left_by(ino, aside.as_str()), due)?;
            delete_at(txn, share, &aside, due)?;
            txn.state.claims.also(op, key);
            Ok(())
        })
        .await
    }

    /// The object that [`Catalog::begin_aside`] has noted is deleted: the note goes, and the key is not part of the
    /// claim any more. Nothing happens if it was not noted.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn aside_gone(&self, op: OpId, aside: &ObjectKey) -> Result<(), CatalogError> {
        let aside = aside.clone();
        self.write(move |txn| {
            let Some(share) = txn.state.claims.share_of(op) else { return Ok(()) };
            if let Some(note) = deletion_of(txn, share, &aside)? {
                delete_op(txn.db, note)?;
            }
            txn.state.claims.no_longer(op, &(share, aside.as_str().to_owned()));
            txn.state.journal_changed = true;
            Ok(())
        })
        .await
    }

    /// The object `from` of the claimed file has been copied to `to`, which is the file's object from here
    /// on; the deletion of `from` is journalled, so that the file that is to have its key takes it
    /// over. If the file has another object by now, or none, the copy goes instead. The claim ends.
    ///
    /// # Errors
    /// [`CatalogError::NoEntry`] for an operation that was not claimed, or a copy that was not noted.
    pub async fn stepped_aside(
        &self,
        op: OpId,
        from: (ObjectKey, ETag),
        to: (ObjectKey, ETag),
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        self.write(move |txn| {
            let share = txn.state.claims.share_of(op).ok_or(CatalogError::NoEntry)?;
            let note = deletion_of(txn, share, &to.0)?.ok_or(CatalogError::NoEntry)?;
            let inode = match ino_of(txn.db, op)? {
                Some(ino) => inode::find(txn.db, ino)?,
                None => None,
            };
            let owner = inode.filter(|inode| {
                inode.object_key.as_ref() == Some(&from.0) && inode.etag.as_ref() == Some(&from.1)
            });
            match owner {
                Some(inode) => {
                    delete_op(txn.db, note)?;
                    let moved = Deletion::of(from.0.as_str(), Some(&from.1)).moved(true);
                    let moved = moved.born(born(txn.db, op)?);
                    enqueue_delete(txn, share, moved, now)?;
                    txn.db
                        .prepare_cached(
                            "UPDATE inode SET object_key = ?2, etag = ?3 WHERE ino = ?1",
                        )?
                        .execute(params![inode.ino.0, to.0.as_str(), to.1.as_str()])?;
                    // The copy has the same bytes.
                    changed::is_of(txn.db, inode.ino, &to.1, 0)?;
                }
                None => delete_at(txn, share, &to.0, now)?,
            }
            txn.state.claims.release(op);
            txn.state.journal_changed = true;
            Ok(())
        })
        .await
    }
}

fn delete_at(
    txn: &mut Txn<'_>,
    share: ShareId,
    key: &ObjectKey,
    at: Timestamp,
) -> Result<(), CatalogError> {
    txn.db
        .prepare_cached(
            "UPDATE journal SET not_before = ?4 WHERE kind = ?1 AND share = ?2 AND key = ?3",
        )?
        .execute(params![KIND_DELETE, share.0, key.as_str(), at.as_nanos()])?;
    Ok(())
}

fn deletion_of(
    txn: &mut Txn<'_>,
    share: ShareId,
    key: &ObjectKey,
) -> Result<Option<OpId>, CatalogError> {
    Ok(txn
        .db
        .prepare_cached("SELECT op FROM journal WHERE kind = ?1 AND share = ?2 AND key = ?3")?
        .query_row(params![KIND_DELETE, share.0, key.as_str()], |row| Ok(OpId(row.get(0)?)))
        .optional()?)
}
