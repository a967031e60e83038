//! Files whose object turns out to be a symbolic link, and the other way round.
use rusqlite::params;

use super::{Catalog, error::CatalogError, inode, range};
use crate::{
    ids::{FileKind, Ino},
    object::ETag,
};

impl Catalog {
    /// Takes the entry for what its object is: a symlink to `target`, or a file. Its attributes are
    /// still to come ([`Catalog::apply_head`]). What has been settled meanwhile stays, and so do bytes that
    /// were written here.
    ///
    /// # Errors
    /// [`CatalogError::Changed`] when the object is not the one with `etag`; [`CatalogError::Gone`];
    /// [`CatalogError::IsDirectory`].
    pub async fn take_link(
        &self,
        ino: Ino,
        etag: &ETag,
        target: Option<Vec<u8>>,
    ) -> Result<(), CatalogError> {
        let etag = etag.clone();
        self.write(move |txn| {
            let row = inode::get(txn.db, ino)?;
            if row.kind == FileKind::Directory {
                return Err(CatalogError::IsDirectory);
            }
            if !row.needs_head || row.content_dirty {
                return Ok(());
            }
            if row.etag.as_ref() != Some(&etag) {
                return Err(CatalogError::Changed);
            }
            let kind = if target.is_some() { FileKind::Symlink } else { FileKind::File };
            range::clear(txn.db, ino)?;
            txn.db
                .prepare_cached("UPDATE inode SET kind = ?2, target = ?3 WHERE ino = ?1")?
                .execute(params![ino.0, inode::kind_number(kind), target])?;
            Ok(())
        })
        .await
    }
}
