//! The new catalog's rows.
use std::{collections::HashSet, path::Path};

use rusqlite::{Connection, params};

use super::{Move, Rebuilt};
use crate::{
    catalog::{
        dirty_log::{self, Record, Told, Upload},
        error::CatalogError,
        inode, schema,
    },
    ids::Ino,
};

/// What triggers and transitions keep is counted once.
const COUNTED: &str = "
    UPDATE inode SET subdirectories = (
        SELECT count(*) FROM inode c WHERE c.parent = inode.ino AND c.kind = 1 AND c.ino <> c.parent)
    WHERE kind = 1;
    WITH RECURSIVE
        inside (dir, bytes) AS (
            SELECT parent, max(octet_length(coalesce(key_part, name)) + (kind = 1))
            FROM inode WHERE parent <> ino GROUP BY parent),
        below (dir, bytes) AS (
            SELECT dir, bytes FROM inside
            UNION
            SELECT inode.parent, below.bytes + octet_length(coalesce(inode.key_part, inode.name)) + 1
            FROM below JOIN inode ON inode.ino = below.dir WHERE inode.parent <> inode.ino)
    UPDATE inode SET deepest = longest.bytes
    FROM (SELECT dir, max(bytes) AS bytes FROM below GROUP BY dir) AS longest
    WHERE inode.ino = longest.dir;
";

/// Makes the database `path` of what was told; complete and durable when this returns.
pub(super) fn database(path: &Path, told: &Told) -> Result<Rebuilt, CatalogError> {
    let mut db = Connection::open(path)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    schema::migrate(&mut db)?;
    let mut rebuilt = Rebuilt {
        why: String::new(),
        aside: None,
        waiting: 0,
        bytes: 0,
        deletions: 0,
        moves: Vec::new(),
    };
    let rows = db.transaction()?;
    places(&rows, told)?;
    directories(&rows, told)?;
    // They have their numbers; what is published gets others.
    operations(&rows, told, &mut rebuilt)?;
    if !rebuilt.moves.is_empty() {
        // The log, which tells of these, is to be told anew, also by a start after one that is cut off.
        dirty_log::say_untold(&rows, true)?;
    }
    for dirty in told.dirty.values() {
        let record = &dirty.record;
        insert(&rows, record)?;
        publish(&rows, record)?;
        rebuilt.waiting += 1;
        if record.has_bytes() {
            rebuilt.bytes += record.size;
            for range in dirty.ranges.iter() {
                rows.prepare_cached("INSERT INTO range (ino, start, end) VALUES (?1, ?2, ?3)")?
                    .execute(params![record.ino, range.start, range.end])?;
            }
            if let Some(at) = &dirty.carried {
                let bytes = told
                    .carried(at)
                    .map_err(|error| CatalogError::Commit(format!("the dirty log: {error}")))?;
                rows.prepare_cached("INSERT INTO carried (ino, bytes) VALUES (?1, ?2)")?
                    .execute(params![record.ino, bytes])?;
            }
        }
    }
    rows.execute_batch(COUNTED)?;
    sent(&rows, told)?;
    rows.execute("UPDATE meta SET value = 0 WHERE name = 'clean'", [])?;
    rows.execute("UPDATE meta SET value = ?1 WHERE name = 'log'", [told.seq])?;
    if let Some((catalog, _)) = told.head {
        rows.execute("UPDATE meta SET value = ?1 WHERE name = 'generation'", [catalog])?;
    }
    let last_op = told.ops.keys().next_back().copied().unwrap_or(0);
    for (table, last) in [("inode", told.inos), ("journal", last_op)] {
        rows.execute("DELETE FROM sqlite_sequence WHERE name = ?1", [table])?;
        let most = format!("max(?2, (SELECT coalesce(max(rowid), 0) FROM {table}))");
        rows.execute(
            &format!("INSERT INTO sqlite_sequence (name, seq) VALUES (?1, {most})"),
            params![table, last],
        )?;
    }
    rows.commit()?;
    db.close().map_err(|(_, error)| error)?;
    Ok(rebuilt)
}

fn places(db: &Connection, told: &Told) -> Result<(), CatalogError> {
    for share in &told.shares {
        db.execute(
            "INSERT INTO share (id, name, bucket, prefix, root, current)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![share.id, share.name, share.bucket, share.prefix, share.root, share.current],
        )?;
    }
    for disk in &told.disks {
        db.execute(
            "INSERT INTO disk (id, name, path, draining) VALUES (?1, ?2, ?3, ?4)",
            params![disk.id, disk.name, disk.path, disk.draining],
        )?;
    }
    Ok(())
}

/// The roots of all shares, and the directories on the way to something dirty. S3 is asked about them when
/// somebody looks.
fn directories(db: &Connection, told: &Told) -> Result<(), CatalogError> {
    let mut needed: HashSet<u64> = HashSet::new();
    let parents = told.dirty.values().map(|dirty| dirty.record.parent);
    // Where objects are hidden that wait to be deleted or moved, listings show no directory by itself.
    let beside = told.dirty.values().flat_map(|dirty| dirty.beside.iter().copied());
    let of_keys = told.ops.values().filter_map(|undone| undone.dir);
    let is_there = |ino: &u64| told.dirs.contains_key(ino);
    for mut at in parents.chain(beside.chain(of_keys).filter(is_there)) {
        while needed.insert(at) {
            at = told.dirs.get(&at).ok_or_else(|| unknown(at))?.parent;
        }
    }
    for share in told.shares.iter().filter(|share| share.current) {
        needed.insert(share.root);
        if !told.dirs.contains_key(&share.root) {
            directory(db, (share.root, share.id, share.root), ("", None), (0o777, 0, 0, 0))?;
            needed.remove(&share.root);
        }
    }
    for ino in needed.into_iter().filter(|ino| !told.dirty.contains_key(ino)) {
        let dir = told.dirs.get(&ino).ok_or_else(|| unknown(ino))?;
        let attributes = (dir.mode, dir.uid, dir.gid, dir.mtime);
        directory(
            db,
            (dir.ino, dir.share, dir.parent),
            (&dir.name, dir.part.as_deref()),
            attributes,
        )?;
    }
    Ok(())
}

fn unknown(ino: u64) -> CatalogError {
    CatalogError::Corrupt(format!("the dirty log does not tell where inode {ino} is"))
}

fn directory(
    db: &Connection,
    (ino, share, parent): (u64, u32, u64),
    (name, part): (&str, Option<&str>),
    (mode, uid, gid, mtime): (u32, u32, u32, i64),
) -> Result<(), CatalogError> {
    db.prepare_cached(
        "INSERT INTO inode (ino, share, parent, name, kind, mode, uid, gid, size, atime, mtime, ctime,
             dirty, version, content_version, synced_version, needs_head, key_part)
         VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7, 0, ?8, ?8, ?8, 0, 0, 0, 0, ?1 <> ?3, ?9)",
    )?
    .execute(params![ino, share, parent, name, mode, uid, gid, mtime, part])?;
    Ok(())
}

/// A dirty row. What its cache file holds has no checksums any more.
fn insert(db: &Connection, record: &Record) -> Result<(), CatalogError> {
    db.prepare_cached(
        "INSERT INTO inode (ino, share, parent, name, kind, mode, uid, gid, size, atime, mtime, ctime,
             target, verifier, dirty, version, content_version, synced_version, etag, object_key, key_part,
             disk, unsure, needs_head)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 1, ?15, ?16, ?17, ?18, ?19,
             ?20, ?21, 1, ?22)",
    )?
    .execute(params![
        record.ino,
        record.share,
        record.parent,
        record.name,
        record.kind,
        record.mode,
        record.uid,
        record.gid,
        record.size,
        record.atime,
        record.mtime,
        record.ctime,
        record.target,
        record.verifier,
        record.version,
        record.content_version,
        record.synced_version,
        record.etag,
        record.object,
        record.part,
        record.disk,
        record.needs_head,
    ])?;
    Ok(())
}

/// The journal row that publishes it.
fn publish(db: &Connection, record: &Record) -> Result<(), CatalogError> {
    let (expect_key, expect_etag) = record.expect.clone().unzip();
    let not_before = if record.incomplete.is_some() { i64::MAX } else { 0 };
    db.prepare_cached(
        "INSERT INTO journal (kind, share, ino, not_before, since, expect_key, expect_etag, incomplete,
             last_error, attempts, expect_seen, moved)
         VALUES (0, ?1, ?2, ?3, CAST(unixepoch('subsec') * 1000 AS INTEGER), ?4, ?5, ?6, ?7, ?6, ?8, ?9)",
    )?
    .execute(params![
        record.share,
        record.ino,
        not_before,
        expect_key,
        expect_etag,
        record.incomplete.is_some(),
        record.incomplete,
        record.is_seen,
        record.is_moved,
    ])?;
    if let Some(Upload { id, key, version, tag, early }) = &record.upload {
        db.prepare_cached(
            "UPDATE journal SET upload_id = ?2, upload_key = ?3, upload_version = ?4, upload_tag = ?5,
                 upload_early = ?6
             WHERE kind = 0 AND ino = ?1",
        )?
        .execute(params![record.ino, id, key, version, tag, early])?;
    }
    Ok(())
}

/// Where an attempt may have landed: where the log says, or at the place's own key. It may be of any version that
/// the file has had since it is dirty, or since S3 was last heard to have one. Of none before: an object of such a
/// version is not this file's, but that of a disk which went back to a snapshot.
fn sent(db: &Connection, told: &Told) -> Result<(), CatalogError> {
    for dirty in told.dirty.values() {
        let record = &dirty.record;
        let key = inode::key_of(db, &inode::get(db, Ino(record.ino))?)?;
        let since = record.since;
        let (key, version) = match &record.sent {
            Some((at, version)) if *at != key => (at.clone(), version.unwrap_or(since)),
            Some(_) | None => (key, since),
        };
        db.prepare_cached(
            "UPDATE journal SET sent_key = ?2, sent_version = ?3 WHERE kind = 0 AND ino = ?1",
        )?
        .execute(params![record.ino, key, version])?;
    }
    Ok(())
}

fn operations(db: &Connection, told: &Told, rebuilt: &mut Rebuilt) -> Result<(), CatalogError> {
    for op in told.ops.values().map(|undone| &undone.op) {
        if op.kind == 1 {
            db.prepare_cached(
                "INSERT INTO journal (op, kind, share, ino, key, etag, uncertain, moved, not_before)
                 VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6, ?7, 0)",
            )?
            .execute(params![
                op.op,
                op.share,
                op.ino,
                op.key,
                op.etag,
                op.uncertain,
                op.is_moved
            ])?;
            rebuilt.deletions += 1;
        } else {
            let to = op.ino.and_then(|ino| told.path_of_dir(ino));
            rebuilt.moves.push(Move {
                share: told.share(op.share).to_owned(),
                from: op.key.clone(),
                to: to.unwrap_or_else(|| "a directory that was removed".to_owned()),
            });
        }
    }
    Ok(())
}
