//! Entries whose name is not the end of their key: objects and prefixes that no file name can stand
//! for, and objects beside a directory of the same name.
//!
//! A row with a `key_part` has that in its key in place of its name; all else is as with every row, so
//! reading, writing and removing reach its own key, and renaming it gives it an ordinary one. Which
//! name such a row has is decided by whoever lists.
use rusqlite::{Connection, params};

use super::{Catalog, error::CatalogError, inode, types::Inode};
use crate::ids::{FileKind, Ino, ShareId};

/// An entry under an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aliased {
    /// Its number.
    pub ino: Ino,
    /// Its path below the share's root.
    pub path: String,
    /// Its object's key, or its prefix.
    pub key: String,
    /// The end of the key that it stands for.
    pub part: String,
}

/// The entry of `dir` that stands for `part` of a key: an object, or keys below it.
pub(super) fn of_part(
    db: &Connection,
    dir: Ino,
    part: &str,
    directory: bool,
) -> Result<Option<Inode>, CatalogError> {
    let fits = |row: &Inode| (row.kind == FileKind::Directory) == directory;
    let named = inode::child(db, dir, part)?.filter(|row| row.key_part.is_none() && fits(row));
    if named.is_some() {
        return Ok(named);
    }
    let mut query = db.prepare_cached(concat!(
        "SELECT ",
        inode::columns!(),
        " FROM inode WHERE parent = ?1 AND key_part = ?2 AND (kind = 1) = ?3"
    ))?;
    let mut rows = query.query_map(params![dir.0, part, directory], inode::from_row)?;
    Ok(rows.next().transpose()?)
}

/// Lets the entry stand for its name in its key under another name.
pub(super) fn step_aside(db: &Connection, row: &Inode, alias: &str) -> Result<(), CatalogError> {
    db.prepare_cached("UPDATE inode SET name = ?2, key_part = ?3 WHERE ino = ?1")?
        .execute(params![row.ino.0, alias, row.name])?;
    Ok(())
}

/// Gives an object its own name back if that has become free: a directory had it.
pub(super) fn step_back(db: &Connection, dir: Ino, name: &str) -> Result<bool, CatalogError> {
    let changed = db
        .prepare_cached(
            "UPDATE inode SET name = key_part, key_part = NULL
             WHERE parent = ?1 AND key_part = ?2 AND kind <> 1
                 AND NOT EXISTS (SELECT 1 FROM inode WHERE parent = ?1 AND name = ?2)",
        )?
        .execute(params![dir.0, name])?;
    Ok(changed > 0)
}

/// The directory is not there any more, or not under its name: an object may have the name.
pub(super) fn directory_left(db: &Connection, directory: &Inode) -> Result<(), CatalogError> {
    if directory.kind == FileKind::Directory && directory.key_part.is_none() {
        step_back(db, directory.parent, &directory.name)?;
    }
    Ok(())
}

impl Catalog {
    /// At most `limit` entries under an alias above `after`, by ino.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn aliased(
        &self,
        share: ShareId,
        after: Ino,
        limit: usize,
    ) -> Result<Vec<Aliased>, CatalogError> {
        self.read(move |db| {
            let mut query = db.prepare_cached(concat!(
                "SELECT ",
                inode::columns!(),
                " FROM inode WHERE share = ?1 AND ino > ?2 AND key_part IS NOT NULL
                  ORDER BY ino LIMIT ?3"
            ))?;
            let rows = query
                .query_map(params![share.0, after.0, limit], inode::from_row)?
                .collect::<Result<Vec<_>, _>>()?;
            rows.into_iter()
                .map(|row| {
                    let path = inode::path_of(db, row.ino)?;
                    let key = match &row.object_key {
                        Some(key) => key.as_str().to_owned(),
                        None => inode::key_of(db, &row)?,
                    };
                    let part = row.key_part.unwrap_or_default();
                    Ok(Aliased { ino: row.ino, path, key, part })
                })
                .collect()
        })
        .await
    }
}
