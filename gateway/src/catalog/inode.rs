//! The inode table: rows, lookups, and the key that a place in the tree means.
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Catalog, alias, error::CatalogError, rows::Since, types::Inode};
use crate::{
    clock::Timestamp,
    ids::{FileKind, Ino, ShareId},
    object::{ETag, ObjectKey},
};

/// Columns in the order that [`from_row`] reads.
macro_rules! columns {
    () => {
        "ino, share, parent, name, kind, mode, uid, gid, size, atime, mtime, ctime, target, \
         verifier, dirty, version, content_version, synced_version, writing, etag, object_key, \
         needs_head, listed_at, subdirectories, key_part"
    };
}
pub(super) use columns;

/// Deepest directory nesting that a key of 1,024 bytes allows; a longer walk is damage.
const DEPTH_MAX: usize = 1024;

pub(super) fn kind_number(kind: FileKind) -> u8 {
    match kind {
        FileKind::File => 0,
        FileKind::Directory => 1,
        FileKind::Symlink => 2,
    }
}

fn kind_of(number: u8) -> rusqlite::Result<FileKind> {
    match number {
        0 => Ok(FileKind::File),
        1 => Ok(FileKind::Directory),
        2 => Ok(FileKind::Symlink),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(4, i64::from(other))),
    }
}

pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Inode> {
    let content_version: u64 = row.get(16)?;
    let synced_version: u64 = row.get(17)?;
    let writing: u64 = row.get(18)?;
    Ok(Inode {
        ino: Ino(row.get(0)?),
        share: ShareId(row.get(1)?),
        parent: Ino(row.get(2)?),
        name: row.get(3)?,
        kind: kind_of(row.get(4)?)?,
        mode: row.get(5)?,
        uid: row.get(6)?,
        gid: row.get(7)?,
        size: row.get(8)?,
        atime: Timestamp::from_nanos(row.get(9)?),
        mtime: Timestamp::from_nanos(row.get(10)?),
        ctime: Timestamp::from_nanos(row.get(11)?),
        target: row.get(12)?,
        create_verifier: row.get(13)?,
        dirty: row.get(14)?,
        version: row.get(15)?,
        content_dirty: content_version > synced_version,
        writing: writing != 0,
        etag: row.get::<_, Option<String>>(19)?.map(ETag::new),
        object_key: row.get::<_, Option<String>>(20)?.and_then(ObjectKey::new),
        needs_head: row.get(21)?,
        listed_at: row.get::<_, Option<i64>>(22)?.map(Timestamp::from_nanos),
        subdirectories: row.get(23)?,
        key_part: row.get(24)?,
    })
}

/// The row of `ino`.
pub(super) fn find(db: &Connection, ino: Ino) -> Result<Option<Inode>, CatalogError> {
    Ok(db
        .prepare_cached(concat!("SELECT ", columns!(), " FROM inode WHERE ino = ?1"))?
        .query_row([ino.0], from_row)
        .optional()?)
}

/// The row of `ino`, which must be there.
pub(super) fn get(db: &Connection, ino: Ino) -> Result<Inode, CatalogError> {
    find(db, ino)?.ok_or(CatalogError::Gone(ino))
}

/// The row of `ino`, which must be a directory.
pub(super) fn get_directory(db: &Connection, ino: Ino) -> Result<Inode, CatalogError> {
    let inode = get(db, ino)?;
    if inode.kind == FileKind::Directory { Ok(inode) } else { Err(CatalogError::NotDirectory) }
}

/// The entry `name` of `dir`.
pub(super) fn child(db: &Connection, dir: Ino, name: &str) -> Result<Option<Inode>, CatalogError> {
    Ok(db
        .prepare_cached(concat!(
            "SELECT ",
            columns!(),
            " FROM inode WHERE parent = ?1 AND name = ?2 AND ino <> parent"
        ))?
        .query_row(params![dir.0, name], from_row)
        .optional()?)
}

/// Whether `dir` has any entry.
pub(super) fn has_child(db: &Connection, dir: Ino) -> Result<bool, CatalogError> {
    Ok(db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM inode WHERE parent = ?1 AND ino <> ?1)")?
        .query_row([dir.0], |row| row.get(0))?)
}

/// From the share's root down to `ino`, without the root: parents, and what `query` gives besides.
fn way_to(db: &Connection, ino: Ino, query: &str) -> Result<Vec<String>, CatalogError> {
    let mut query = db.prepare_cached(query)?;
    let mut parts: Vec<String> = Vec::new();
    let mut at = ino;
    for _ in 0..DEPTH_MAX {
        let (parent, part): (u64, String) = query
            .query_row([at.0], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?
            .ok_or(CatalogError::Gone(ino))?;
        if parent == at.0 {
            parts.reverse();
            return Ok(parts);
        }
        parts.push(part);
        at = Ino(parent);
    }
    Err(CatalogError::Corrupt(format!("inode {} is its own ancestor", ino.0)))
}

/// The path of `ino` below its share's root: names joined by `/`, empty for the root.
pub(super) fn path_of(db: &Connection, ino: Ino) -> Result<String, CatalogError> {
    Ok(way_to(db, ino, "SELECT parent, name FROM inode WHERE ino = ?1")?.join("/"))
}

/// The key prefix of a share.
pub(super) fn share_prefix(db: &Connection, share: ShareId) -> Result<String, CatalogError> {
    Ok(db
        .prepare_cached("SELECT prefix FROM share WHERE id = ?1")?
        .query_row([share.0], |row| row.get(0))?)
}

/// The object key that the inode's place means: a directory's ends in `/`. The root of a share of
/// the whole bucket has the empty key, which no object can have.
pub(super) fn key_of(db: &Connection, inode: &Inode) -> Result<String, CatalogError> {
    const PARTS: &str = "SELECT parent, coalesce(key_part, name) FROM inode WHERE ino = ?1";
    let mut key = share_prefix(db, inode.share)?;
    let parts = way_to(db, inode.ino, PARTS)?;
    for part in &parts {
        key.push_str(part);
        key.push('/');
    }
    if !parts.is_empty() && inode.kind != FileKind::Directory {
        key.pop();
    }
    Ok(key)
}

/// The inode that now has its place at `key`, if any.
pub(super) fn at_key(
    db: &Connection,
    share: ShareId,
    key: &str,
) -> Result<Option<Inode>, CatalogError> {
    let (prefix, root): (String, u64) = db
        .prepare_cached("SELECT prefix, root FROM share WHERE id = ?1")?
        .query_row([share.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let Some(path) = key.strip_prefix(prefix.as_str()) else { return Ok(None) };
    let mut at = find(db, Ino(root))?;
    if path.is_empty() {
        return Ok(at);
    }
    let (path, directory) = match path.strip_suffix('/') {
        Some(path) => (path, true),
        None => (path, false),
    };
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        let Some(dir) = at else { return Ok(None) };
        at = alias::of_part(db, dir.ino, part, directory || parts.peek().is_some())?;
    }
    Ok(at)
}

/// The first key after all keys that begin with `prefix`, which must end in `/`.
pub(super) fn after_prefix(prefix: &str) -> String {
    let stem = prefix.strip_suffix('/').unwrap_or(prefix);
    // '0' follows '/' in ASCII.
    format!("{stem}0")
}

impl Catalog {
    /// The inode's row.
    ///
    /// # Errors
    /// [`CatalogError::Gone`].
    pub async fn inode(&self, ino: Ino) -> Result<Arc<Inode>, CatalogError> {
        let rows = &self.inner.rows;
        if let Some(row) = rows.get(ino) {
            return Ok(row);
        }
        let since = rows.since();
        let row = Arc::new(self.read(move |db| get(db, ino)).await?);
        rows.keep(since, &row, None);
        Ok(row)
    }

    /// This moment: rows that are read from now on are no older.
    pub fn moment(&self) -> Since {
        self.inner.rows.since()
    }

    /// Whether a commit may have changed the row of `ino` since then. One that has been answered has.
    pub fn changed_since(&self, moment: Since, ino: Ino) -> bool {
        self.inner.rows.changed_since(moment, ino)
    }

    /// The entry `name` of the directory `dir`; `None` if it has none.
    ///
    /// # Errors
    /// [`CatalogError::Gone`], [`CatalogError::NotDirectory`] for `dir`.
    pub async fn child(&self, dir: Ino, name: &str) -> Result<Option<Arc<Inode>>, CatalogError> {
        let rows = &self.inner.rows;
        if let Some(row) = rows.child(dir, name) {
            return Ok(Some(row));
        }
        let since = rows.since();
        let name = name.to_owned();
        let found = self
            .read(move |db| {
                get_directory(db, dir)?;
                child(db, dir, &name)
            })
            .await?;
        let found = found.map(Arc::new);
        if let Some(row) = &found {
            rows.keep(since, row, None);
        }
        Ok(found)
    }

    /// The entry `name` of the directory, if it is in memory; `None` says nothing. Does not wait.
    pub fn child_in_memory(&self, dir: Ino, name: &str) -> Option<Arc<Inode>> {
        self.inner.rows.child(dir, name)
    }

    /// At most `limit` entries of `dir` whose ino is above `after`, by ino: a position that stays
    /// valid while the directory changes.
    ///
    /// # Errors
    /// [`CatalogError::Gone`], [`CatalogError::NotDirectory`] for `dir`.
    pub async fn children(
        &self,
        dir: Ino,
        after: Ino,
        limit: usize,
    ) -> Result<Vec<Inode>, CatalogError> {
        self.read(move |db| {
            get_directory(db, dir)?;
            let mut query = db.prepare_cached(concat!(
                "SELECT ",
                columns!(),
                " FROM inode WHERE parent = ?1 AND ino > ?2 AND ino <> ?1 ORDER BY ino LIMIT ?3"
            ))?;
            let rows = query.query_map(params![dir.0, after.0, limit], from_row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Which of the `limit` entries of `dir` above `after`, by ino, have only what a listing tells of their
    /// attributes.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn unknown_in(
        &self,
        dir: Ino,
        after: Ino,
        limit: usize,
    ) -> Result<Vec<Ino>, CatalogError> {
        self.read(move |db| {
            let mut query = db.prepare_cached(
                "SELECT ino FROM (SELECT ino, needs_head FROM inode
                     WHERE parent = ?1 AND ino > ?2 AND ino <> ?1 ORDER BY ino LIMIT ?3)
                 WHERE needs_head = 1 ORDER BY ino",
            )?;
            let rows =
                query.query_map(params![dir.0, after.0, limit], |row| Ok(Ino(row.get(0)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Whether the directory has any entry.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn has_children(&self, dir: Ino) -> Result<bool, CatalogError> {
        self.read(move |db| has_child(db, dir)).await
    }

    /// The path below the share's root, without leading slash.
    ///
    /// # Errors
    /// [`CatalogError::Gone`].
    pub async fn path(&self, ino: Ino) -> Result<String, CatalogError> {
        self.read(move |db| path_of(db, ino)).await
    }

    /// The object key that the inode's place means now; empty for the root of a whole bucket.
    ///
    /// # Errors
    /// [`CatalogError::Gone`].
    pub async fn key(&self, ino: Ino) -> Result<String, CatalogError> {
        self.read(move |db| key_of(db, &get(db, ino)?)).await
    }

    /// At most `limit` directories in `dir` whose ino is above `after`, by ino.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn directories_in(
        &self,
        dir: Ino,
        after: Ino,
        limit: usize,
    ) -> Result<Vec<Ino>, CatalogError> {
        self.read(move |db| {
            let mut query = db.prepare_cached(
                "SELECT ino FROM inode INDEXED BY inode_directories
                 WHERE parent = ?1 AND ino > ?2 AND ino <> ?1 AND kind = 1 ORDER BY ino LIMIT ?3",
            )?;
            let rows =
                query.query_map(params![dir.0, after.0, limit], |row| Ok(Ino(row.get(0)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Whether `dir` and every directory below it have been listed to the end at least once, so
    /// that everything below is known.
    ///
    /// # Errors
    /// [`CatalogError::Gone`].
    pub async fn is_subtree_listed(&self, dir: Ino) -> Result<bool, CatalogError> {
        Ok(self.unlisted_below(dir, 1).await?.is_empty())
    }

    /// At most `limit` directories at or below `dir` that have never been listed to the end.
    ///
    /// # Errors
    /// [`CatalogError::Gone`].
    pub async fn unlisted_below(&self, dir: Ino, limit: usize) -> Result<Vec<Ino>, CatalogError> {
        self.read(move |db| {
            get_directory(db, dir)?;
            let mut query = db.prepare_cached(
                "WITH RECURSIVE below (ino) AS (
                     SELECT ?1 UNION
                     SELECT inode.ino FROM inode, below
                     WHERE inode.parent = below.ino AND inode.kind = 1)
                 SELECT ino FROM inode WHERE ino IN below AND listed_at IS NULL LIMIT ?2",
            )?;
            let rows = query.query_map(params![dir.0, limit], |row| Ok(Ino(row.get(0)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}
