//! The tables, and how an older database becomes a newer one.
//!
//! `PRAGMA user_version` numbers the schema. A newer one is refused without a write.
use rusqlite::Connection;

use super::error::CatalogError;

/// The schema that this gateway writes.
pub(super) const SCHEMA_VERSION: u32 = 2;

/// One step per version: `MIGRATIONS[n]` leads from version n to n + 1.
const MIGRATIONS: [&str; SCHEMA_VERSION as usize] =
    [include_str!("schema/0001.sql"), include_str!("schema/0002.sql")];

/// Brings the database to [`SCHEMA_VERSION`], each step in its own transaction.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), CatalogError> {
    let found = version(connection)?;
    if found > SCHEMA_VERSION {
        return Err(CatalogError::NewerSchema { found, known: SCHEMA_VERSION });
    }
    for (from, step) in (0_u32..).zip(MIGRATIONS).skip_while(|(from, _)| *from < found) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", from + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

/// The database's schema version; 0 for a new one.
pub(super) fn version(connection: &Connection) -> Result<u32, CatalogError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}
