//! Merging what S3 lists with what is here (architecture §3.6): local changes win (I8), an entry is
//! removed only by a listing that came to its end (I13).
//!
//! A listing shows the bucket at some moment after it began. Every row carries the number of its
//! last publish (`synced_seq`); what was published, inserted or deleted after the listing began is
//! newer than what it shows, and is left alone.
use rusqlite::{Connection, params};

use super::{
    Catalog, alias, defaults, depth,
    error::CatalogError,
    inode, journal, namespace,
    range::{self, ChangedObject, replace_object},
    types::{Inode, ListDefaults, ListedEntry, ListedKind, ListedPage, ListingToken, Merged},
    writer::Txn,
};
use crate::{
    clock::Timestamp,
    essential::{self, Step},
    ids::{FileKind, Ino, ShareId},
    object::ETag,
    ranges::RangeSet,
};

/// Rows removed in one transaction.
const REMOVE_ROWS_MAX: usize = 1000;

/// What a page is merged into.
struct Merge<'a> {
    dir: &'a Inode,
    prefix: &'a str,
    seq: u64,
    defaults: ListDefaults,
    beside: fn(&str) -> String,
    now: Timestamp,
}

/// Where and when a row comes to be of what S3 has.
pub(super) struct New<'a> {
    pub(super) dir: &'a Inode,
    pub(super) seq: u64,
    pub(super) defaults: ListDefaults,
    pub(super) now: Timestamp,
}

impl Catalog {
    /// Begins a listing of `dir`: list [`ListingToken::prefix`] after this, not before.
    ///
    /// # Errors
    /// [`CatalogError::Gone`], [`CatalogError::NotDirectory`].
    pub async fn begin_listing(&self, dir: Ino) -> Result<ListingToken, CatalogError> {
        self.write(move |txn| {
            let row = inode::get_directory(txn.db, dir)?;
            let prefix = inode::key_of(txn.db, &row)?;
            let seq = journal::next_seq(txn.db)?;
            let alive = txn.state.listings.begin(seq);
            Ok(ListingToken { dir, prefix, seq, alive, seen: RangeSet::new(), marker_seen: false })
        })
        .await
    }

    /// Merges one page.
    ///
    /// # Errors
    /// [`CatalogError::ListingExpired`], or [`CatalogError::Changed`] when the directory has been
    /// renamed since: begin again. [`CatalogError::Gone`] when it was removed.
    pub async fn merge_listing_page(
        &self,
        token: &mut ListingToken,
        page: ListedPage,
    ) -> Result<Merged, CatalogError> {
        let (dir, seq, prefix) = (token.dir, token.seq, token.prefix.clone());
        let has_marker = page.marker.is_some();
        let (merged, seen) = self
            .write(move |txn| {
                let dir = still_listed(txn, dir, &prefix, seq)?;
                let merge = Merge {
                    dir: &dir,
                    prefix: &prefix,
                    seq,
                    defaults: defaults::in_force(txn.db, dir.share, page.defaults)?,
                    beside: page.beside,
                    now: page.now,
                };
                let mut merged = Merged::default();
                let mut seen = Vec::with_capacity(page.entries.len());
                for entry in &page.entries {
                    merge_entry(txn, &merge, entry, &mut merged, &mut seen)?;
                }
                let bytes = |entry: &ListedEntry| {
                    let part = entry.part.as_deref().unwrap_or(&entry.name);
                    depth::bytes(part, entry.kind == ListedKind::Directory)
                };
                if let Some(longest) = page.entries.iter().map(bytes).max() {
                    depth::came(txn.db, dir.ino, longest)?;
                }
                if let Some(etag) = &page.marker {
                    merge_marker(txn.db, &dir, &prefix, seq, etag)?;
                }
                if merged.inserted + merged.renamed > 0 && dir.listed_at.is_some() {
                    namespace::touch(txn.db, dir.ino, page.now)?;
                }
                Ok((merged, seen))
            })
            .await?;
        for ino in seen {
            token.seen.insert(ino.0..ino.0 + 1);
        }
        token.marker_seen |= has_marker;
        Ok(merged)
    }

    /// The listing came to its end: removes clean entries that it did not show, and notes the
    /// directory as listed at `now`. Answers the files that are gone, whose cache files are
    /// nobody's any more. In bounded steps: others see some removed before the rest.
    ///
    /// # Errors
    /// As [`Catalog::merge_listing_page`]; what was removed before the error stays removed.
    pub async fn finish_listing(
        &self,
        token: ListingToken,
        now: Timestamp,
    ) -> Result<Vec<Ino>, CatalogError> {
        let ListingToken { dir, prefix, seq, alive, seen, marker_seen } = token;
        let seen = std::sync::Arc::new(seen);
        let mut gone = Vec::new();
        let mut after = Ino(0);
        loop {
            let (prefix, seen, still) = (prefix.clone(), seen.clone(), alive.clone());
            let (next, removed) = self
                .write(move |txn| {
                    // Held so that deletions stay remembered until the end.
                    let _alive = still;
                    let row = still_listed(txn, dir, &prefix, seq)?;
                    let sweep = Sweep { prefix: &prefix, seq, now };
                    let mut removal = Removal { budget: REMOVE_ROWS_MAX, files: Vec::new() };
                    let next = remove_unseen(txn.db, &sweep, dir, after, &seen, &mut removal)?;
                    if removal.budget < REMOVE_ROWS_MAX {
                        namespace::touch(txn.db, dir, now)?;
                    }
                    if next.is_none() {
                        end_listing(txn.db, &row, (&prefix, seq), marker_seen, now)?;
                    }
                    Ok((next, removal.files))
                })
                .await?;
            gone.extend(removed);
            match next {
                Some(next) => after = next,
                None => return Ok(gone),
            }
        }
    }
}

/// The directory, if it still has the prefix that was listed.
fn still_listed(txn: &Txn<'_>, dir: Ino, prefix: &str, seq: u64) -> Result<Inode, CatalogError> {
    if txn.state.listings.is_expired(seq) {
        return Err(CatalogError::ListingExpired);
    }
    let row = inode::get_directory(txn.db, dir)?;
    if inode::key_of(txn.db, &row)? == prefix { Ok(row) } else { Err(CatalogError::Changed) }
}

/// Where a listed entry has its place in the directory.
struct Spot<'a> {
    name: String,
    part: Option<&'a str>,
    row: Option<Inode>,
}

fn merge_entry(
    txn: &mut Txn<'_>,
    merge: &Merge<'_>,
    entry: &ListedEntry,
    merged: &mut Merged,
    seen: &mut Vec<Ino>,
) -> Result<(), CatalogError> {
    let slash = if entry.kind == ListedKind::Directory { "/" } else { "" };
    let part = entry.part.as_deref().unwrap_or(&entry.name);
    let key = format!("{}{part}{slash}", merge.prefix);
    let Some(spot) = spot(txn, merge, entry, &key, merged, seen)? else { return Ok(()) };
    let Some(row) = spot.row else {
        if !is_hidden(txn, merge, &key)? {
            let Merge { dir, seq, defaults, now, .. } = *merge;
            let new = New { dir, seq, defaults, now };
            seen.push(insert(txn.db, &new, &entry.kind, (&spot.name, spot.part), &key)?);
            merged.inserted += 1;
        }
        return Ok(());
    };
    seen.push(row.ino);
    if synced_seq(txn.db, row.ino)? > merge.seq
        && !essential::is_left_out(Step::ListingSequenceCheck)
    {
        return Ok(());
    }
    let in_place = row.object_key.as_ref().is_some_and(|at| at.as_str() == key);
    match &entry.kind {
        ListedKind::Directory => {}
        ListedKind::File { etag, .. } if !in_place || row.etag.as_ref() == Some(etag) => {
            // Not this object's row, or nothing new.
        }
        ListedKind::File { .. }
            if row.dirty && !essential::is_left_out(Step::ListingDirtyCheck) =>
        {
            if !txn.state.claims.is_busy(&(row.share, key)) {
                merged.conflicts.push(row.ino);
            }
        }
        ListedKind::File { size, etag, last_modified } => {
            let is = ChangedObject {
                size: *size,
                etag: etag.clone(),
                last_modified: *last_modified,
                now: merge.now,
            };
            replace_object(txn, &row, &is)?;
            merged.changed.push(row.ino);
        }
    }
    Ok(())
}

/// Finds the place of a listed entry. A directory has the right to a name, and the object of that name
/// its place beside it, for as long as both are there. `None` for a directory whose name a
/// local file has.
fn spot<'a>(
    txn: &Txn<'_>,
    merge: &Merge<'_>,
    entry: &'a ListedEntry,
    key: &str,
    merged: &mut Merged,
    seen: &mut Vec<Ino>,
) -> Result<Option<Spot<'a>>, CatalogError> {
    let (db, dir) = (txn.db, merge.dir.ino);
    let is_directory = entry.kind == ListedKind::Directory;
    let at = |row| Spot { name: entry.name.clone(), part: entry.part.as_deref(), row };
    match inode::child(db, dir, &entry.name)? {
        Some(row) if (row.kind == FileKind::Directory) == is_directory => Ok(Some(at(Some(row)))),
        Some(object) if is_directory => {
            seen.push(object.ino);
            let own = object.object_key.as_ref().map(|at| format!("{at}/"));
            let aside = (merge.beside)(&entry.name);
            let stays = object.dirty
                || own.as_deref() != Some(key)
                || inode::child(db, dir, &aside)?.is_some()
                || synced_seq(db, object.ino)? > merge.seq
                || is_hidden(txn, merge, key)?;
            if stays {
                return Ok(None);
            }
            alias::step_aside(db, &object, &aside)?;
            merged.renamed += 1;
            Ok(Some(at(None)))
        }
        Some(_directory) => {
            let name = (merge.beside)(&entry.name);
            let row = inode::child(db, dir, &name)?;
            merged.beside.push(key.to_owned());
            Ok(Some(Spot { name, part: Some(&entry.name), row }))
        }
        None if !is_directory
            && entry.part.is_none()
            && alias::step_back(db, dir, &entry.name)? =>
        {
            merged.renamed += 1;
            Ok(Some(at(inode::child(db, dir, &entry.name)?)))
        }
        None => Ok(Some(at(None))),
    }
}

fn synced_seq(db: &Connection, ino: Ino) -> Result<u64, CatalogError> {
    Ok(db
        .prepare_cached("SELECT synced_seq FROM inode WHERE ino = ?1")?
        .query_row([ino.0], |row| row.get(0))?)
}

/// Whether a listed key must not become an entry: it is being deleted or moved away, or was after
/// the listing began, or an upload may have left it there whose file has another name by now. Of a
/// directory's prefix that holds for any key below it.
fn is_hidden(txn: &Txn<'_>, merge: &Merge<'_>, key: &str) -> Result<bool, CatalogError> {
    let share: ShareId = merge.dir.share;
    let prefix = key.ends_with('/');
    let past = if prefix { inode::after_prefix(key) } else { format!("{key}\0") };
    let pending: bool = txn
        .db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM journal
                            WHERE kind = 1 AND share = ?1 AND key >= ?2 AND key < ?3)
                 OR EXISTS (SELECT 1 FROM journal
                            WHERE share = ?1 AND expect_key >= ?2 AND expect_key < ?3)
                 OR EXISTS (SELECT 1 FROM journal
                            WHERE share = ?1 AND sent_key >= ?2 AND sent_key < ?3)
                 OR EXISTS (SELECT 1 FROM inode
                            WHERE share = ?1 AND object_key >= ?2 AND object_key < ?3)
                 OR EXISTS (SELECT 1 FROM journal
                            WHERE kind = 2 AND share = ?1 AND key >= ?2 AND key < ?3)",
        )?
        .query_row(params![share.0, key, past], |row| row.get(0))?;
    let listings = &txn.state.listings;
    Ok(pending
        || listings.deleted_since(&(share, key.to_owned()), merge.seq)
        || (prefix && listings.deleted_below_since(share, key, merge.seq)))
}

/// A row for what S3 has at `key`.
pub(super) fn insert(
    db: &Connection,
    new: &New<'_>,
    kind: &ListedKind,
    (name, part): (&str, Option<&str>),
    key: &str,
) -> Result<Ino, CatalogError> {
    let New { dir, seq, defaults, now } = new;
    let (kind, mode, size, time, object) = match kind {
        ListedKind::File { size, etag, last_modified } => {
            let object = Some((key, etag.as_str()));
            (FileKind::File, defaults.file_mode, *size, *last_modified, object)
        }
        ListedKind::Directory => (FileKind::Directory, defaults.directory_mode, 0, *now, None),
    };
    let (object_key, etag) = object.unzip();
    db.prepare_cached(
        "INSERT INTO inode (share, parent, name, kind, mode, uid, gid, size, atime, mtime, ctime,
             dirty, version, content_version, synced_version, etag, object_key, needs_head,
             synced_seq, key_part, defaulted)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, 0, 0, 0, 0, ?11, ?12, 1, ?13, ?14, 1)",
    )?
    .execute(params![
        dir.share.0,
        dir.ino.0,
        name,
        inode::kind_number(kind),
        mode,
        defaults.uid,
        defaults.gid,
        size,
        time.as_nanos(),
        now.as_nanos(),
        etag,
        object_key,
        seq,
        part,
    ])?;
    u64::try_from(db.last_insert_rowid())
        .map(Ino)
        .map_err(|_| CatalogError::Corrupt("a negative ino".to_owned()))
}

/// The directory's own marker object was listed.
fn merge_marker(
    db: &Connection,
    dir: &Inode,
    prefix: &str,
    seq: u64,
    etag: &ETag,
) -> Result<(), CatalogError> {
    let known = dir.object_key.as_ref().is_some_and(|key| key.as_str() == prefix)
        && dir.etag.as_ref() == Some(etag);
    let elsewhere = dir.object_key.as_ref().is_some_and(|key| key.as_str() != prefix);
    if known || elsewhere || dir.dirty || prefix.is_empty() || synced_seq(db, dir.ino)? > seq {
        return Ok(());
    }
    db.prepare_cached(
        "UPDATE inode SET object_key = ?2, etag = ?3, needs_head = 1 WHERE ino = ?1",
    )?
    .execute(params![dir.ino.0, prefix, etag.as_str()])?;
    Ok(())
}

/// Notes the end of a listing of `prefix` in the directory's row.
fn end_listing(
    db: &Connection,
    dir: &Inode,
    (prefix, seq): (&str, u64),
    marker_seen: bool,
    now: Timestamp,
) -> Result<(), CatalogError> {
    // A marker that is still at the place that the directory was renamed from is not missed here.
    let elsewhere = dir.object_key.as_ref().is_some_and(|key| key.as_str() != prefix);
    if !marker_seen && !elsewhere && !dir.dirty && synced_seq(db, dir.ino)? <= seq {
        db.prepare_cached(
            "UPDATE inode SET object_key = NULL, etag = NULL, needs_head = 0 WHERE ino = ?1",
        )?
        .execute([dir.ino.0])?;
    }
    // A first listing finds what has been there: the directory keeps the time of its last change, and
    // keeps it page after page, so that nobody who reads it begins anew. Once, at the end, its ctime
    // tells who has looked for a name in vain that there is more by now.
    db.prepare_cached(
        "UPDATE inode SET listed_at = ?2, list_seq = ?3,
             ctime = CASE WHEN listed_at IS NULL THEN max(?2, ctime + 1) ELSE ctime END
         WHERE ino = ?1",
    )?
    .execute(params![dir.ino.0, now.as_nanos(), seq])?;
    Ok(())
}

/// A listing's end, for the rows it did not show.
struct Sweep<'a> {
    prefix: &'a str,
    seq: u64,
    now: Timestamp,
}

/// What one step of a sweep has removed.
struct Removal {
    /// Rows that may still be removed.
    budget: usize,
    /// Files among those removed.
    files: Vec<Ino>,
}

/// What the sweep must know of a row.
struct Swept {
    ino: Ino,
    /// The end of its key.
    part: String,
    kind_is_directory: bool,
    object_key: Option<String>,
    is_protected: bool,
}

fn swept_children(
    db: &Connection,
    dir: Ino,
    after: Ino,
    seq: u64,
    limit: usize,
) -> Result<Vec<Swept>, CatalogError> {
    let mut query = db.prepare_cached(
        "SELECT ino, coalesce(key_part, name), kind = 1, object_key,
             dirty = 1 OR synced_seq > ?3 OR list_seq > ?3
         FROM inode WHERE parent = ?1 AND ino > ?2 AND ino <> ?1 ORDER BY ino LIMIT ?4",
    )?;
    let rows = query.query_map(params![dir.0, after.0, seq, limit], |row| {
        Ok(Swept {
            ino: Ino(row.get(0)?),
            part: row.get(1)?,
            kind_is_directory: row.get(2)?,
            object_key: row.get(3)?,
            is_protected: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Looks at the next entries of `dir`; answers where to go on.
fn remove_unseen(
    db: &Connection,
    sweep: &Sweep<'_>,
    dir: Ino,
    after: Ino,
    seen: &RangeSet,
    removal: &mut Removal,
) -> Result<Option<Ino>, CatalogError> {
    let children = swept_children(db, dir, after, sweep.seq, REMOVE_ROWS_MAX)?;
    let mut done = after;
    for row in &children {
        if !seen.covers(&(row.ino.0..row.ino.0 + 1)) && !remove_tree(db, sweep, row, removal)? {
            return Ok(Some(done));
        }
        done = row.ino;
    }
    let more = children.len() == REMOVE_ROWS_MAX;
    Ok(more.then_some(done))
}

/// Removes `row` and what is below it, as far as it is clean and in its place. `false` when the
/// budget ran out: call again.
fn remove_tree(
    db: &Connection,
    sweep: &Sweep<'_>,
    row: &Swept,
    removal: &mut Removal,
) -> Result<bool, CatalogError> {
    let slash = if row.kind_is_directory { "/" } else { "" };
    let key = format!("{}{}{slash}", sweep.prefix, row.part);
    let elsewhere = row.object_key.as_ref().is_some_and(|at| *at != key);
    if row.is_protected || elsewhere {
        return Ok(true);
    }
    if row.kind_is_directory {
        let below = Sweep { prefix: &key, seq: sweep.seq, now: sweep.now };
        let before = removal.budget;
        let done = remove_below(db, &below, row.ino, removal)?;
        if !done || inode::has_child(db, row.ino)? {
            // It stays, for now or for good, with fewer entries than a client may know of.
            if removal.budget < before {
                namespace::touch(db, row.ino, sweep.now)?;
            }
            return Ok(done);
        }
    }
    if removal.budget == 0 {
        return Ok(false);
    }
    removal.budget -= 1;
    if row.kind_is_directory {
        let directory = inode::get(db, row.ino)?;
        forget(db, row.ino)?;
        alias::directory_left(db, &directory)?;
    } else {
        forget(db, row.ino)?;
        removal.files.push(row.ino);
    }
    Ok(true)
}

/// Removes what is in `dir`. `false` when the budget ran out.
fn remove_below(
    db: &Connection,
    sweep: &Sweep<'_>,
    dir: Ino,
    removal: &mut Removal,
) -> Result<bool, CatalogError> {
    let mut after = Ino(0);
    loop {
        let children = swept_children(db, dir, after, sweep.seq, REMOVE_ROWS_MAX)?;
        let Some(last) = children.last() else { return Ok(true) };
        after = last.ino;
        for child in &children {
            if !remove_tree(db, sweep, child, removal)? {
                return Ok(false);
            }
        }
    }
}

/// Takes a clean row out; S3 has lost its object.
fn forget(db: &Connection, ino: Ino) -> Result<(), CatalogError> {
    range::clear(db, ino)?;
    db.prepare_cached("DELETE FROM inode WHERE ino = ?1")?.execute([ino.0])?;
    Ok(())
}
