//! The share's defaults in rows whose objects tell nothing: when the settings change, the rows follow, in steps that
//! survive a restart.
//!
//! Rows that nobody has asked S3 about, and directories without an object, are given the new ones. A row whose object
//! told some of its attributes and not others is asked about anew when somebody wants to know.
use rusqlite::{Connection, OptionalExtension, params};

use super::{Catalog, error::CatalogError, types::ListDefaults};
use crate::{clock::Timestamp, ids::ShareId};

/// Rows looked at in one transaction.
const STEP_ROWS: usize = 1000;

/// As the share's row has them.
fn text(defaults: ListDefaults) -> String {
    let ListDefaults { file_mode, directory_mode, uid, gid } = defaults;
    format!("{file_mode:o} {directory_mode:o} {uid} {gid}")
}

/// The same read again.
fn parse(text: &str) -> Option<ListDefaults> {
    let mut words = text.split(' ');
    let mut mode = || u32::from_str_radix(words.next()?, 8).ok();
    let (file_mode, directory_mode) = (mode()?, mode()?);
    let mut number = || words.next()?.parse().ok();
    Some(ListDefaults { file_mode, directory_mode, uid: number()?, gid: number()? })
}

/// The defaults that rows of `share` are to have by now. Whoever lists or asks S3 `believed` in those of when that began:
/// the settings may have changed since, and a row that comes behind [`Catalog::give_defaults`] would keep the old ones.
pub(super) fn in_force(
    db: &Connection,
    share: ShareId,
    believed: ListDefaults,
) -> Result<ListDefaults, CatalogError> {
    let wanted: Option<String> = db
        .prepare_cached("SELECT defaults FROM share WHERE id = ?1")?
        .query_row([share.0], |row| row.get(0))?;
    let Some(wanted) = wanted else { return Ok(believed) };
    let wrong = || CatalogError::Corrupt(format!("the defaults of share {}: {wanted:?}", share.0));
    parse(&wanted).ok_or_else(wrong)
}

impl Catalog {
    /// Notes that rows of `share` are to have these defaults from here on. Answers whether
    /// [`Catalog::give_defaults`] has something to do.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn want_defaults(
        &self,
        share: ShareId,
        defaults: ListDefaults,
    ) -> Result<bool, CatalogError> {
        self.write(move |txn| {
            let wanted = text(defaults);
            txn.db
                .prepare_cached(
                    "UPDATE share SET defaults = ?2,
                         defaults_at = CASE WHEN defaults IS NULL THEN NULL ELSE 0 END
                     WHERE id = ?1 AND defaults IS NOT ?2",
                )?
                .execute(params![share.0, wanted])?;
            Ok(txn
                .db
                .prepare_cached("SELECT defaults_at IS NOT NULL FROM share WHERE id = ?1")?
                .query_row([share.0], |row| row.get(0))?)
        })
        .await
    }

    /// Gives the next rows of `share` these defaults. `false` when all have them, or others are wanted by now.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn give_defaults(
        &self,
        share: ShareId,
        defaults: ListDefaults,
        now: Timestamp,
    ) -> Result<bool, CatalogError> {
        self.write(move |txn| {
            let after: Option<u64> = txn
                .db
                .prepare_cached("SELECT defaults_at FROM share WHERE id = ?1 AND defaults = ?2")?
                .query_row(params![share.0, text(defaults)], |row| row.get(0))
                .optional()?
                .flatten();
            let Some(after) = after else { return Ok(false) };
            let last: Option<u64> = txn
                .db
                .prepare_cached(
                    "SELECT ino FROM inode WHERE ino > ?1 ORDER BY ino LIMIT 1 OFFSET ?2",
                )?
                .query_row(params![after, STEP_ROWS - 1], |row| row.get(0))
                .optional()?;
            let until = last.unwrap_or(i64::MAX.unsigned_abs());
            let ListDefaults { file_mode, directory_mode, uid, gid } = defaults;
            txn.db
                .prepare_cached(
                    "UPDATE inode SET mode = CASE kind WHEN 1 THEN ?4 ELSE ?5 END, uid = ?6, gid = ?7,
                         ctime = max(?8, ctime + 1)
                     WHERE share = ?1 AND ino > ?2 AND ino <= ?3 AND defaulted = 1 AND dirty = 0
                         AND (needs_head = 1 OR object_key IS NULL)",
                )?
                .execute(params![
                    share.0, after, until, directory_mode, file_mode, uid, gid, now.as_nanos()
                ])?;
            txn.db
                .prepare_cached(
                    "UPDATE inode SET needs_head = 1
                     WHERE share = ?1 AND ino > ?2 AND ino <= ?3 AND defaulted = 1 AND dirty = 0
                         AND needs_head = 0 AND object_key IS NOT NULL",
                )?
                .execute(params![share.0, after, until])?;
            txn.db
                .prepare_cached("UPDATE share SET defaults_at = ?2 WHERE id = ?1")?
                .execute(params![share.0, last])?;
            Ok(last.is_some())
        })
        .await
    }
}
