//! Files of which bytes are nowhere: they were changed here in part, and the object that alone had the
//! rest was replaced or deleted by others (ADR 19).
//!
//! Such a file gives its place to what the bucket has, keeps what is here under a name that says so, and
//! is not sent before somebody has written the rest.
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Catalog, changed, claim, defaults, depth,
    error::CatalogError,
    inode,
    journal::{self, Deletion, NEVER},
    listing, multipart, namespace, range,
    types::{Inode, ListDefaults, ListedKind, OpId},
    writer::Txn,
};
use crate::{
    clock::Timestamp,
    ids::ShareId,
    object::{ETag, OBJECT_KEY_BYTES_MAX, ObjectKey},
};

/// How a file gives its place up.
#[derive(Clone, Debug)]
pub struct SetAside {
    /// The inode's version when its bytes were found missing.
    pub version: u64,
    /// The object that had them, as the catalog believes; `None`: it is known to be gone.
    pub base: Option<(ObjectKey, ETag)>,
    /// The name that the file gets, in its directory.
    pub name: String,
    /// The object that is at the key of the file's place.
    pub there: Option<ListedKind>,
    /// Attributes of that, until somebody asks for them.
    pub defaults: ListDefaults,
    /// Which bytes are missing, in words.
    pub reason: String,
    /// The time.
    pub now: Timestamp,
}

impl Catalog {
    /// Takes a file out of its place whose missing bytes are nowhere, and puts what the bucket has there.
    /// Nothing of what is here is lost; an upload in parts of it is journalled to be aborted, and its own
    /// waits until the file changes ([`Catalog::park`]). The claim ends. Call with the inode's exclusive
    /// lock held.
    ///
    /// # Errors
    /// [`CatalogError::Changed`], and nothing happens, when the file has changed since, has another object or
    /// lacks nothing; [`CatalogError::Exists`], [`CatalogError::KeyTooLong`] for the name;
    /// [`CatalogError::NoEntry`] when the operation is gone.
    pub async fn set_aside(&self, op: OpId, aside: SetAside) -> Result<(), CatalogError> {
        self.write(move |txn| {
            let ino = journal::ino_of(txn.db, op)?.ok_or(CatalogError::NoEntry)?;
            let inode = inode::get(txn.db, ino)?;
            let has_base = inode.object_key.clone().zip(inode.etag.clone()) == aside.base;
            let lacks = !range::of(txn.db, ino)?.covers(&(0..inode.size));
            if inode.version != aside.version || inode.writing || !has_base || !lacks {
                return Err(CatalogError::Changed);
            }
            let key = inode::key_of(txn.db, &inode)?;
            let leaves = step_out(txn, op, &inode, &aside)?;
            let stays = |there: &&ListedKind| match (there, &leaves) {
                (ListedKind::File { etag, .. }, Some((at, tag))) => *at != key || etag != tag,
                (ListedKind::File { .. } | ListedKind::Directory, _) => true,
            };
            if let Some(there) = aside.there.as_ref().filter(stays)
                && claim::other_owner(txn.db, inode.share, &key, ino)?.is_none()
            {
                let (seq, now) = (journal::next_seq(txn.db)?, aside.now);
                let defaults = defaults::in_force(txn.db, inode.share, aside.defaults)?;
                let dir = inode::get(txn.db, inode.parent)?;
                let new = listing::New { dir: &dir, seq, defaults, now };
                let name = (inode.name.as_str(), inode.key_part.as_deref());
                listing::insert(txn.db, &new, there, name, &key)?;
            }
            if let Some((at, _)) = aside.base.as_ref().filter(|(at, _)| at.as_str() != key) {
                list_again(txn.db, &inode, at)?;
            }
            namespace::touch(txn.db, inode.parent, aside.now)?;
            put_off(txn, op, &aside.reason)
        })
        .await
    }

    /// Puts the upload of a file that lacks bytes off until the file changes; `false`, and only the claim
    /// ends, when it has changed since `version`, or lacks nothing. The claim ends.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn park(&self, op: OpId, version: u64, reason: String) -> Result<bool, CatalogError> {
        self.write(move |txn| {
            let inode = match journal::ino_of(txn.db, op)? {
                Some(ino) => inode::find(txn.db, ino)?,
                None => None,
            };
            let is_same = |inode: &Inode| inode.version == version && !inode.writing;
            let lacks = match inode.filter(is_same) {
                Some(inode) => !range::of(txn.db, inode.ino)?.covers(&(0..inode.size)),
                None => false,
            };
            if lacks {
                put_off(txn, op, &reason)?;
            } else {
                journal::release(txn, op, Timestamp::MIN)?;
            }
            Ok(lacks)
        })
        .await
    }
}

/// Gives the file its new name, without an object. Answers the object that is deleted after all, as its bytes
/// are elsewhere.
fn step_out(
    txn: &mut Txn<'_>,
    op: OpId,
    inode: &Inode,
    aside: &SetAside,
) -> Result<Option<(String, ETag)>, CatalogError> {
    if inode::child(txn.db, inode.parent, &aside.name)?.is_some() {
        return Err(CatalogError::Exists);
    }
    multipart::abandon(txn, op)?;
    changed::forget_base(txn.db, inode.ino)?;
    txn.db
        .prepare_cached(
            "UPDATE inode SET name = ?2, key_part = NULL, object_key = NULL, etag = NULL,
                 ctime = ?3, version = next_version(version),
                 content_version = next_version(version)
             WHERE ino = ?1",
        )?
        .execute(params![inode.ino.0, aside.name, aside.now.as_nanos()])?;
    depth::came(txn.db, inode.parent, depth::bytes(&aside.name, false))?;
    let leaves = give_back(txn, op, inode.share, aside.now)?;
    txn.db
        .prepare_cached("UPDATE journal SET sent_key = NULL, sent_version = NULL WHERE op = ?1")?
        .execute([op.0])?;
    let moved = inode::get(txn.db, inode.ino)?;
    let is_long = inode::key_of(txn.db, &moved)?.len() > OBJECT_KEY_BYTES_MAX;
    if is_long { Err(CatalogError::KeyTooLong) } else { Ok(leaves) }
}

/// What the file had replaced, or was to replace, is what the bucket has: it stays. But if that is an object
/// of which the bytes are elsewhere by now, its deletion is journalled again, and its key and tag are
/// answered.
pub(super) fn give_back(
    txn: &mut Txn<'_>,
    op: OpId,
    share: ShareId,
    now: Timestamp,
) -> Result<Option<(String, ETag)>, CatalogError> {
    let moved: Option<(String, String)> = txn
        .db
        .prepare_cached(
            "SELECT expect_key, expect_etag FROM journal
             WHERE op = ?1 AND expect_key IS NOT NULL AND expect_seen = 0 AND moved = 1",
        )?
        .query_row([op.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    txn.db
        .prepare_cached("UPDATE journal SET expect_key = NULL, expect_etag = NULL WHERE op = ?1")?
        .execute([op.0])?;
    let Some((key, etag)) = moved else { return Ok(None) };
    let etag = ETag::new(etag);
    let moved = Deletion::of(&key, Some(&etag)).moved(true).born(journal::born(txn.db, op)?);
    journal::enqueue_delete(txn, share, moved, now)?;
    Ok(Some((key, etag)))
}

/// The object that the file came from has another key than the file: the directory of that key is listed
/// anew, so that what is there now is seen.
fn list_again(db: &Connection, inode: &Inode, at: &ObjectKey) -> Result<(), CatalogError> {
    let Some((dir, _)) = at.as_str().rsplit_once('/') else { return Ok(()) };
    if let Some(dir) = inode::at_key(db, inode.share, &format!("{dir}/"))? {
        db.prepare_cached("UPDATE inode SET listed_at = NULL WHERE ino = ?1")?
            .execute([dir.ino.0])?;
    }
    Ok(())
}

fn put_off(txn: &mut Txn<'_>, op: OpId, reason: &str) -> Result<(), CatalogError> {
    let seq = journal::next_seq(txn.db)?;
    txn.db
        .prepare_cached(
            "UPDATE journal SET incomplete = 1, attempts = attempts + 1, last_error = ?2,
                 failed_at = ?3, not_before = ?4, latest = ?4
             WHERE op = ?1",
        )?
        .execute(params![op.0, reason, seq, NEVER.as_nanos()])?;
    txn.state.claims.release(op);
    txn.state.journal_changed = true;
    Ok(())
}
