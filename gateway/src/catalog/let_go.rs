//! Files that go with their object: others have deleted it, and of the file only the name or the attributes
//! were changed here.
use super::{
    Catalog, aside,
    error::CatalogError,
    inode,
    journal::{self, Deletion},
    namespace, range,
    types::{OpId, Stamp},
};
use crate::{
    clock::Timestamp,
    object::{ETag, ObjectKey},
};

/// Of what a file goes.
#[derive(Clone, Debug)]
pub struct LetGo {
    /// The inode's version when its object was found to be gone.
    pub version: u64,
    /// The object, as the catalog believes.
    pub object: (ObjectKey, ETag),
    /// The time.
    pub now: Timestamp,
}

impl Catalog {
    /// Takes a file out of the tree whose object is gone. What it was to replace stays, unless the bytes
    /// of that are elsewhere; what its own attempts may have left is journalled for deletion. Its cache
    /// file is nobody's any more. The claim ends. Call with the inode's exclusive lock held.
    ///
    /// # Errors
    /// [`CatalogError::Changed`], and nothing happens, when the file has changed since, has another object,
    /// bytes of its own, or all of its bytes; [`CatalogError::NoEntry`] when the operation is gone.
    pub async fn let_go(&self, op: OpId, going: LetGo) -> Result<(), CatalogError> {
        self.write(move |txn| {
            let ino = journal::ino_of(txn.db, op)?.ok_or(CatalogError::NoEntry)?;
            let entry = inode::get(txn.db, ino)?;
            let is_same = entry.version == going.version
                && entry.object_key.clone().zip(entry.etag.clone()) == Some(going.object);
            let has_bytes = entry.content_dirty
                || entry.writing
                || range::of(txn.db, ino)?.covers(&(0..entry.size));
            if !is_same || has_bytes {
                return Err(CatalogError::Changed);
            }
            aside::give_back(txn, op, entry.share, going.now)?;
            let journal::Dropped { sent, born } = journal::drop_sync(txn, &entry, going.now)?;
            if let Some(key) = sent
                && entry.object_key.as_ref().is_none_or(|object| object.as_str() != key)
            {
                let left = Deletion::left_by(ino, &key).born(born);
                journal::enqueue_delete(txn, entry.share, left, going.now)?;
            }
            range::clear(txn.db, ino)?;
            txn.db.prepare_cached("DELETE FROM inode WHERE ino = ?1")?.execute([ino.0])?;
            namespace::touch(txn.db, entry.parent, going.now)?;
            let stamp = Stamp { now: going.now, due: going.now, request: None };
            namespace::keep_directory(txn, entry.parent, stamp)?;
            txn.state.claims.release(op);
            txn.state.journal_changed = true;
            Ok(())
        })
        .await
    }
}
