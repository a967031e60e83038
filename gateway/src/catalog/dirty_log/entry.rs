//! What the log says: entries, and how they are read from the database.
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use crate::{
    catalog::{error::CatalogError, inode},
    ids::{FileKind, ShareId},
};

/// One thing that the log says. Entries of one batch are one transaction's. Older logs must be read: a field that
/// comes later needs a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::catalog) enum Entry {
    /// Whose log it is, and which schema its catalog has; whether nothing before it counts; and the number of the file
    /// without which this one does not tell everything.
    Head {
        catalog: u64,
        schema: u32,
        is_anew: bool,
        #[serde(default)]
        rests_on: Option<u64>,
    },
    /// All shares and disks.
    Places { shares: Vec<Share>, disks: Vec<Disk> },
    /// No ino above this was given out.
    Inos(u64),
    /// Where a directory is.
    Dir(Dir),
    /// S3 does not have this, or not so.
    Dirty {
        record: Box<Record>,
        /// Which bytes of its cache file are the content; `None`: as said before.
        ranges: Option<Vec<(u64, u64)>>,
        /// Bytes that are carried, behind the batch's entries.
        carried: Option<u64>,
        /// The directories of other keys that it has, or takes over, in the bucket.
        beside: Vec<u64>,
    },
    /// These bytes are the content from here on, or are not.
    Range { ino: u64, start: u64, end: u64, is_here: bool },
    /// S3 has it, or it is gone.
    Clean(u64),
    /// A directory is gone.
    NoDir(u64),
    /// An object is to be deleted, or a directory's objects moved; and the directory of the key.
    Op { op: Op, dir: Option<u64> },
    /// It is done.
    Done(u64),
}

/// A share's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::catalog) struct Share {
    pub(in crate::catalog) id: u32,
    pub(in crate::catalog) name: String,
    pub(in crate::catalog) bucket: String,
    pub(in crate::catalog) prefix: String,
    pub(in crate::catalog) root: u64,
    pub(in crate::catalog) current: bool,
}

/// A disk's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::catalog) struct Disk {
    pub(in crate::catalog) id: u32,
    pub(in crate::catalog) name: String,
    pub(in crate::catalog) path: String,
    pub(in crate::catalog) draining: bool,
}

/// A directory on the way to something dirty. The root is its own parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::catalog) struct Dir {
    pub(in crate::catalog) ino: u64,
    pub(in crate::catalog) share: u32,
    pub(in crate::catalog) parent: u64,
    pub(in crate::catalog) name: String,
    pub(in crate::catalog) part: Option<String>,
    pub(in crate::catalog) mode: u32,
    pub(in crate::catalog) uid: u32,
    pub(in crate::catalog) gid: u32,
    pub(in crate::catalog) mtime: i64,
}

/// The row of a dirty inode, and what its journal row says of its publish.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::catalog) struct Record {
    pub(in crate::catalog) ino: u64,
    pub(in crate::catalog) share: u32,
    pub(in crate::catalog) parent: u64,
    pub(in crate::catalog) name: String,
    pub(in crate::catalog) part: Option<String>,
    pub(in crate::catalog) kind: u8,
    pub(in crate::catalog) mode: u32,
    pub(in crate::catalog) uid: u32,
    pub(in crate::catalog) gid: u32,
    pub(in crate::catalog) size: u64,
    pub(in crate::catalog) atime: i64,
    pub(in crate::catalog) mtime: i64,
    pub(in crate::catalog) ctime: i64,
    pub(in crate::catalog) target: Option<Vec<u8>>,
    pub(in crate::catalog) verifier: Option<Vec<u8>>,
    pub(in crate::catalog) version: u64,
    pub(in crate::catalog) content_version: u64,
    pub(in crate::catalog) synced_version: u64,
    pub(in crate::catalog) etag: Option<String>,
    pub(in crate::catalog) object: Option<String>,
    /// S3 has to be asked for the object's attributes.
    pub(in crate::catalog) needs_head: bool,
    pub(in crate::catalog) disk: u32,
    pub(in crate::catalog) expect: Option<(String, String)>,
    /// What it expects there was found, and is not its own to delete.
    pub(in crate::catalog) is_seen: bool,
    /// The bytes of that are another file's, elsewhere.
    pub(in crate::catalog) is_moved: bool,
    /// The first version that an attempt which S3 may have may be of.
    pub(in crate::catalog) since: u64,
    pub(in crate::catalog) sent: Option<(String, Option<u64>)>,
    /// Why its upload waits for somebody to write what is missing.
    pub(in crate::catalog) incomplete: Option<String>,
    pub(in crate::catalog) upload: Option<Upload>,
}

/// An upload in parts that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::catalog) struct Upload {
    pub(in crate::catalog) id: String,
    pub(in crate::catalog) key: Option<String>,
    pub(in crate::catalog) version: Option<u64>,
    pub(in crate::catalog) tag: Option<String>,
    pub(in crate::catalog) early: bool,
}

/// A deletion or a move that is not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::catalog) struct Op {
    pub(in crate::catalog) op: u64,
    /// 1 deletion, 2 move.
    pub(in crate::catalog) kind: u8,
    pub(in crate::catalog) share: u32,
    /// Of a move: the directory; of a deletion: whose upload may have replaced the object.
    pub(in crate::catalog) ino: Option<u64>,
    /// The object; of a move: the prefix that its objects had.
    pub(in crate::catalog) key: String,
    pub(in crate::catalog) etag: Option<String>,
    pub(in crate::catalog) uncertain: bool,
    /// Its bytes are a file's that does not need it any more.
    pub(in crate::catalog) is_moved: bool,
}

impl Record {
    /// Whether bytes of it are here alone.
    pub(in crate::catalog) fn has_bytes(&self) -> bool {
        self.kind == 0 && self.content_version > self.synced_version
    }

    /// Whether nothing is lost with it but its name: it is a file without bytes that S3 knows nothing of.
    pub(super) fn is_bare(&self) -> bool {
        self.kind == 0 && self.size == 0 && self.object.is_none()
    }

    /// Without what may change unsaid: it is of use, but not of need.
    pub(super) fn comparable(mut self) -> Self {
        (self.atime, self.ctime, self.sent, self.since) = (0, 0, None, 0);
        if self.kind == 1 {
            // Every entry that comes and goes changes it.
            self.mtime = 0;
        }
        if self.incomplete.is_some() {
            self.incomplete = Some(String::new());
        }
        self
    }
}

const RECORD: &str = "
    SELECT i.share, i.parent, i.name, i.key_part, i.kind, i.mode, i.uid, i.gid, i.size, i.atime, i.mtime,
        i.ctime, i.target, i.verifier, i.version, i.content_version, i.synced_version, i.etag, i.object_key,
        i.disk, j.expect_key, j.expect_etag, j.sent_key, j.sent_version, j.incomplete, j.last_error,
        j.upload_id, j.upload_key, j.upload_version, j.upload_tag, j.upload_early, i.ino,
        coalesce(j.expect_seen, 0), coalesce(j.moved, 0), i.needs_head
    FROM inode i LEFT JOIN journal j ON j.kind = 0 AND j.ino = i.ino
    WHERE i.ino = ?1 AND i.dirty = 1";

fn record_row(row: &Row<'_>) -> rusqlite::Result<Record> {
    let incomplete: Option<bool> = row.get(24)?;
    let reason: Option<String> = row.get(25)?;
    let upload_id: Option<String> = row.get(26)?;
    let upload = match upload_id {
        None => None,
        Some(id) => Some(Upload {
            id,
            key: row.get(27)?,
            version: row.get(28)?,
            tag: row.get(29)?,
            early: row.get::<_, Option<bool>>(30)?.unwrap_or(false),
        }),
    };
    let sent: Option<String> = row.get(22)?;
    let sent_version: Option<u64> = row.get(23)?;
    Ok(Record {
        share: row.get(0)?,
        parent: row.get(1)?,
        name: row.get(2)?,
        part: row.get(3)?,
        kind: row.get(4)?,
        mode: row.get(5)?,
        uid: row.get(6)?,
        gid: row.get(7)?,
        size: row.get(8)?,
        atime: row.get(9)?,
        mtime: row.get(10)?,
        ctime: row.get(11)?,
        target: row.get(12)?,
        verifier: row.get(13)?,
        version: row.get(14)?,
        content_version: row.get(15)?,
        synced_version: row.get(16)?,
        etag: row.get(17)?,
        object: row.get(18)?,
        disk: row.get(19)?,
        expect: row.get::<_, Option<String>>(20)?.zip(row.get::<_, Option<String>>(21)?),
        sent: sent.map(|key| (key, sent_version)),
        incomplete: incomplete.filter(|is| *is).map(|_| reason.unwrap_or_default()),
        upload,
        ino: row.get(31)?,
        is_seen: row.get(32)?,
        is_moved: row.get(33)?,
        needs_head: row.get(34)?,
        // The log knows.
        since: 0,
    })
}

/// What is to be said of `ino`; `None` when it is clean or gone.
pub(super) fn record(db: &Connection, ino: u64) -> Result<Option<Record>, CatalogError> {
    Ok(db.prepare_cached(RECORD)?.query_row([ino], record_row).optional()?)
}

/// The bytes that are carried of `ino`.
pub(in crate::catalog) fn carried(
    db: &Connection,
    ino: u64,
) -> Result<Option<Vec<u8>>, CatalogError> {
    Ok(db
        .prepare_cached("SELECT bytes FROM carried WHERE ino = ?1")?
        .query_row([ino], |row| row.get(0))
        .optional()?)
}

/// Where the directory `ino` is.
pub(super) fn dir(db: &Connection, ino: u64) -> Result<Option<Dir>, CatalogError> {
    Ok(db
        .prepare_cached(
            "SELECT ino, share, parent, name, key_part, mode, uid, gid, mtime FROM inode
             WHERE ino = ?1 AND kind = 1",
        )?
        .query_row([ino], |row| {
            Ok(Dir {
                ino: row.get(0)?,
                share: row.get(1)?,
                parent: row.get(2)?,
                name: row.get(3)?,
                part: row.get(4)?,
                mode: row.get(5)?,
                uid: row.get(6)?,
                gid: row.get(7)?,
                mtime: row.get(8)?,
            })
        })
        .optional()?)
}

/// The deletion or move `op`; `None` when it is done.
pub(super) fn op(db: &Connection, op: u64) -> Result<Option<Op>, CatalogError> {
    Ok(db
        .prepare_cached(
            "SELECT op, kind, share, ino, key, etag, uncertain, moved FROM journal
             WHERE op = ?1 AND kind IN (1, 2)",
        )?
        .query_row([op], |row| {
            Ok(Op {
                op: row.get(0)?,
                kind: row.get(1)?,
                share: row.get(2)?,
                ino: row.get(3)?,
                key: row.get(4)?,
                etag: row.get(5)?,
                uncertain: row.get(6)?,
                is_moved: row.get(7)?,
            })
        })
        .optional()?)
}

/// The directory that `key` is in, if it is there.
pub(super) fn dir_of_key(
    db: &Connection,
    share: u32,
    key: &str,
) -> Result<Option<u64>, CatalogError> {
    let key = key.strip_suffix('/').unwrap_or(key);
    let dir = key.rfind('/').map_or("", |slash| &key[..=slash]);
    let found = inode::at_key(db, ShareId(share), dir)?;
    Ok(found.filter(|dir| dir.kind == FileKind::Directory).map(|dir| dir.ino.0))
}

/// All shares and disks.
pub(super) fn places(db: &Connection) -> Result<(Vec<Share>, Vec<Disk>), CatalogError> {
    let mut shares =
        db.prepare_cached("SELECT id, name, bucket, prefix, root, current FROM share ORDER BY id")?;
    let shares = shares
        .query_map([], |row| {
            Ok(Share {
                id: row.get(0)?,
                name: row.get(1)?,
                bucket: row.get(2)?,
                prefix: row.get(3)?,
                root: row.get(4)?,
                current: row.get(5)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    let mut disks = db.prepare_cached("SELECT id, name, path, draining FROM disk ORDER BY id")?;
    let disks = disks
        .query_map([], |row| {
            Ok(Disk {
                id: row.get(0)?,
                name: row.get(1)?,
                path: row.get(2)?,
                draining: row.get(3)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok((shares, disks))
}

/// All dirty inodes, and all deletions and moves.
pub(super) fn keys(db: &Connection) -> Result<(Vec<u64>, Vec<u64>), CatalogError> {
    let all = |query: &str| -> Result<Vec<u64>, CatalogError> {
        let mut query = db.prepare(query)?;
        let rows = query.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    };
    // By its index: a start must not read the rows of millions of clean files.
    let mut inos = all("SELECT ino FROM inode INDEXED BY inode_dirty WHERE dirty = 1")?;
    inos.sort_unstable();
    Ok((inos, all("SELECT op FROM journal WHERE kind IN (1, 2) ORDER BY op")?))
}
