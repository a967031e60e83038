//! What must always hold of the tables, as queries that find violations.
use std::path::Path;

use rusqlite::Connection;

use super::{
    Catalog,
    dirty_log::{self, Stand, Told},
    error::CatalogError,
    sums,
};

/// Rule in words, and a query that counts the rows that break it.
const RULES: [(&str, &str); 13] = [
    (
        "a parent that is no directory",
        "SELECT count(*) FROM inode WHERE NOT EXISTS
             (SELECT 1 FROM inode p WHERE p.ino = inode.parent AND p.kind = 1)",
    ),
    (
        "a dirty inode without a journal entry",
        "SELECT count(*) FROM inode WHERE dirty = 1
             AND NOT EXISTS (SELECT 1 FROM journal j WHERE j.kind = 0 AND j.ino = inode.ino)",
    ),
    (
        "a journal entry of an inode that is clean or gone",
        "SELECT count(*) FROM journal WHERE kind = 0
             AND NOT EXISTS (SELECT 1 FROM inode i WHERE i.ino = journal.ino AND i.dirty = 1)",
    ),
    (
        "a clean file without an object",
        "SELECT count(*) FROM inode WHERE dirty = 0 AND kind <> 1 AND object_key IS NULL",
    ),
    (
        "an object without a tag",
        "SELECT count(*) FROM inode WHERE (object_key IS NULL) <> (etag IS NULL)",
    ),
    (
        "two inodes with the same object",
        "SELECT count(*) FROM (SELECT 1 FROM inode WHERE object_key IS NOT NULL
             GROUP BY share, object_key HAVING count(*) > 1)",
    ),
    (
        "two entries of a directory with the same key",
        "SELECT count(*) FROM (SELECT 1 FROM inode WHERE ino <> parent
             GROUP BY parent, coalesce(key_part, name), kind = 1 HAVING count(*) > 1)",
    ),
    (
        "a directory with a longer key below it than it knows of",
        "SELECT count(*) FROM inode JOIN inode p ON p.ino = inode.parent AND p.ino <> inode.ino
             WHERE octet_length(coalesce(inode.key_part, inode.name))
                 + CASE inode.kind WHEN 1 THEN 1 + inode.deepest ELSE 0 END > p.deepest",
    ),
    (
        "a range of no file, or beyond its end",
        "SELECT count(*) FROM range WHERE NOT EXISTS
             (SELECT 1 FROM inode i WHERE i.ino = range.ino AND i.kind = 0 AND range.end <= i.size)",
    ),
    (
        "carried bytes of no file, or beyond its end",
        "SELECT count(*) FROM carried WHERE NOT EXISTS
             (SELECT 1 FROM inode i WHERE i.ino = carried.ino AND i.kind = 0
                  AND length(carried.bytes) <= i.size)",
    ),
    (
        "checksums of no file",
        "SELECT count(*) FROM sum WHERE NOT EXISTS
             (SELECT 1 FROM inode i WHERE i.ino = sum.ino AND i.kind = 0)",
    ),
    (
        "ranges of one file that touch",
        "SELECT count(*) FROM range a JOIN range b ON a.ino = b.ino AND b.start > a.start
             AND b.start <= a.end",
    ),
    (
        "a part of no upload",
        "SELECT count(*) FROM part WHERE NOT EXISTS
             (SELECT 1 FROM journal j WHERE j.op = part.op AND j.upload_id IS NOT NULL)",
    ),
];

/// Violations in words; empty when all is well.
pub(super) fn violations(db: &Connection) -> Result<Vec<String>, CatalogError> {
    let mut found = Vec::new();
    for (rule, query) in RULES {
        let rows: u64 = db.query_row(query, [], |row| row.get(0))?;
        if rows > 0 {
            found.push(format!("{rule} ({rows})"));
        }
    }
    let astray = sums::astray(db)?;
    if astray > 0 {
        found.push(format!("a checksum of a block that is not here as a whole ({astray} files)"));
    }
    Ok(found)
}

impl Catalog {
    /// Checks what must always hold (fsck), and that the dirty log tells the same; empty when all is well. Reads
    /// everything.
    ///
    /// # Errors
    /// Of the database or the log only.
    pub async fn verify(&self) -> Result<Vec<String>, CatalogError> {
        let mut found = self.read(violations).await?;
        let difference = loop {
            // What was put off is told; then, with the writer, nothing is told meanwhile.
            self.settled().await?;
            let cache = self.inner.cache.clone();
            if let Some(told) = self.write(move |txn| log_difference(txn.db, &cache)).await? {
                break told;
            }
        };
        found.extend(difference.map(|difference| format!("against the dirty log: {difference}")));
        Ok(found)
    }
}

/// What the dirty log in `cache` tells otherwise; `None`: there is something that it has not been told.
fn log_difference(db: &Connection, cache: &Path) -> Result<Option<Option<String>>, CatalogError> {
    if dirty_log::is_untold(db)? {
        return Ok(None);
    }
    let told = Told::read(cache).map_err(|error| CatalogError::Commit(error.to_string()))?;
    let Some(mut told) = told else { return Ok(Some(Some("there is none".to_owned()))) };
    let stand = told.compare_with(dirty_log::number(db)?, false);
    if told.is_damaged() {
        return Ok(Some(Some("it is damaged".to_owned())));
    }
    Ok(Some(match stand {
        Stand::Even => dirty_log::difference(db, &told)?,
        stand @ (Stand::Ahead | Stand::Behind(_)) => Some(format!("{stand:?}")),
    }))
}
