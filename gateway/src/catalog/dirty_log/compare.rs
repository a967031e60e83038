//! Whether a catalog is the one that the log tells of, as far as the log tells.
//!
//! The log has checksums and the catalog has none: where they differ, it is the catalog that is damaged, or
//! older than it should be (its write-ahead log is gone). Their numbers of the last batch are the same here.
use rusqlite::Connection;

use super::{entry, told::Told};
use crate::{
    catalog::{error::CatalogError, range},
    ids::Ino,
};

/// The first difference, in words; `None` when there is none.
pub(super) fn difference(db: &Connection, told: &Told) -> Result<Option<String>, CatalogError> {
    let number: u64 =
        db.query_row("SELECT value FROM meta WHERE name = 'generation'", [], |row| row.get(0))?;
    if told.head.is_some_and(|(catalog, _)| catalog != number) {
        return Ok(Some("it is another catalog".to_owned()));
    }
    if entry::places(db)? != (told.shares.clone(), told.disks.clone()) {
        return Ok(Some("it has other shares or disks".to_owned()));
    }
    let last: Option<u64> = db.query_row("SELECT max(ino) FROM inode", [], |row| row.get(0))?;
    if told.inos > 0 && last.is_some_and(|last| last > told.inos) {
        return Ok(Some("it has an inode that was not given out".to_owned()));
    }
    let (inos, ops) = entry::keys(db)?;
    if let Some(ino) = inos.iter().find(|ino| !told.dirty.contains_key(ino)) {
        return Ok(Some(format!("inode {ino} waits for S3 there and should not")));
    }
    if inos.len() < told.dirty.len() {
        let lacks = told.dirty.len() - inos.len();
        return Ok(Some(format!("{lacks} files or directories that wait for S3 are not there")));
    }
    if !ops.iter().eq(told.ops.keys()) {
        return Ok(Some("other deletions wait there than should".to_owned()));
    }
    for (op, said) in &told.ops {
        if entry::op(db, *op)?.as_ref() != Some(&said.op) {
            return Ok(Some(format!("deletion {op} is another one")));
        }
    }
    for (ino, dirty) in &told.dirty {
        let is_same = entry::record(db, *ino)?
            .is_some_and(|record| record.comparable() == dirty.record.clone().comparable());
        let other = || Ok(Some(format!("{} is another one there", told.path_of(&dirty.record))));
        if !is_same {
            return other();
        }
        if !dirty.record.has_bytes() {
            continue;
        }
        if range::of(db, Ino(*ino))? != dirty.ranges {
            return other();
        }
        // The log may have bytes that are carried no more; what is carried it has.
        if let Some(bytes) = entry::carried(db, *ino)? {
            let said = dirty.carried.as_ref().map(|at| told.carried(at)).transpose();
            if said.map_err(|error| CatalogError::Commit(error.to_string()))? != Some(bytes) {
                return other();
            }
        }
    }
    Ok(None)
}
