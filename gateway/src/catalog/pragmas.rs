//! How SQLite is set up: the version floor and the settings of each connection.
use std::time::Duration;

use rusqlite::{Connection, config::DbConfig};

use super::{error::CatalogError, writer::Durable};
use crate::essential::{self, Step};

/// 3.51.3, the first release without the WAL-reset bug (sqlite.org/wal.html#walresetbug).
const SQLITE_VERSION_MIN: i32 = 3_051_003;
/// Page cache of the writer in KiB.
const WRITER_CACHE_KIB: i64 = 16 * 1024;
/// Page cache of each reader in KiB.
const READER_CACHE_KIB: i64 = 4 * 1024;
/// WAL pages after which a commit also checkpoints (4 KiB each: 16 MiB).
const CHECKPOINT_PAGES: i64 = 4096;
/// Prepared statements kept per connection; more than the catalog has.
const STATEMENTS_MAX: usize = 160;

/// Refuses a library that can lose commits: its version as a number and in words.
pub(super) fn check_version(number: i32, found: &'static str) -> Result<(), CatalogError> {
    if number < SQLITE_VERSION_MIN {
        return Err(CatalogError::SqliteTooOld { found });
    }
    Ok(())
}

/// The writer: WAL with `synchronous = FULL`, so that a commit survives a power cut. It is also the
/// only connection that checkpoints.
pub(super) fn for_writer(connection: &Connection) -> Result<(), CatalogError> {
    common(connection, WRITER_CACHE_KIB)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(CatalogError::Corrupt(format!("journal mode is {mode}, WAL was asked for")));
    }
    Synchronous::default().set(connection, Durable::Now)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", 4 * CHECKPOINT_PAGES * 4096)?;
    Ok(())
}

/// How the writer's connection commits: with a sync of the WAL (`FULL`), or with none of its own (`NORMAL`), so that
/// the next sync takes it along. A power cut takes back a tail of what was committed, never something from the middle.
#[derive(Debug, Default)]
pub(super) struct Synchronous(Option<Durable>);

impl Synchronous {
    /// What is committed from here on is durable so. Call outside a transaction.
    pub(super) fn set(
        &mut self,
        connection: &Connection,
        durable: Durable,
    ) -> Result<(), CatalogError> {
        if self.0 != Some(durable) {
            let mode = match durable {
                _ if essential::is_left_out(Step::CatalogSync) => "OFF",
                Durable::Now => "FULL",
                Durable::Soon => "NORMAL",
            };
            self.0 = None;
            connection.pragma_update(None, "synchronous", mode)?;
            self.0 = Some(durable);
        }
        Ok(())
    }
}

/// A reader: never writes, never checkpoints.
pub(super) fn for_reader(connection: &Connection) -> Result<(), CatalogError> {
    common(connection, READER_CACHE_KIB)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(())
}

fn common(connection: &Connection, cache_kib: i64) -> Result<(), CatalogError> {
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // A plan depends on its statement alone: else one whose parameters decide whether a partial index
    // serves is compiled anew for every value.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_can_lose_commits_is_refused() {
        for (number, found, is_good) in [
            (3_040_001, "3.40.1", false),
            (3_051_002, "3.51.2", false),
            (3_051_003, "3.51.3", true),
        ] {
            assert_eq!(check_version(number, found).is_ok(), is_good, "{found}");
        }
        check_version(rusqlite::version_number(), rusqlite::version()).unwrap();
    }
}
