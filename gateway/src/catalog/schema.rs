//! The tables, and how an older database becomes a newer one.
//!
//! `PRAGMA user_version` numbers the schema. A newer one is refused without a write.
use rusqlite::Connection;

use super::error::CatalogError;

/// The schema that this gateway writes.
pub(super) const SCHEMA_VERSION: u32 = 21;

/// One step per version: `MIGRATIONS[n]` leads from version n to n + 1.
const MIGRATIONS: [&str; SCHEMA_VERSION as usize] = [
    include_str!("schema/0001.sql"),
    include_str!("schema/0002.sql"),
    include_str!("schema/0003.sql"),
    include_str!("schema/0004.sql"),
    include_str!("schema/0005.sql"),
    include_str!("schema/0006.sql"),
    include_str!("schema/0007.sql"),
    include_str!("schema/0008.sql"),
    include_str!("schema/0009.sql"),
    include_str!("schema/0010.sql"),
    include_str!("schema/0011.sql"),
    include_str!("schema/0012.sql"),
    include_str!("schema/0013.sql"),
    include_str!("schema/0014.sql"),
    include_str!("schema/0015.sql"),
    include_str!("schema/0016.sql"),
    include_str!("schema/0017.sql"),
    include_str!("schema/0018.sql"),
    include_str!("schema/0019.sql"),
    include_str!("schema/0020.sql"),
    include_str!("schema/0021.sql"),
];

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

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory `at` in `parent` (itself for the root), or a file.
    fn insert(db: &Connection, at: u64, parent: u64, kind: u8) {
        db.execute(
            "INSERT INTO inode (ino, share, parent, name, kind, mode, uid, gid, size, atime, mtime,
                 ctime, dirty, version, content_version, synced_version)
             VALUES (?1, 1, ?2, 'n' || ?1, ?3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)",
            [at, parent, u64::from(kind)],
        )
        .unwrap();
    }

    #[test]
    fn the_longest_key_below_each_directory_of_an_older_catalog_is_found() {
        let mut db = Connection::open_in_memory().unwrap();
        for step in &MIGRATIONS[..8] {
            db.execute_batch(step).unwrap();
        }
        db.pragma_update(None, "user_version", 8).unwrap();
        for (at, parent, kind) in [(16, 16, 1), (17, 16, 1), (18, 17, 1), (19, 18, 0), (20, 17, 0)]
        {
            insert(&db, at, parent, kind);
        }
        db.execute("UPDATE inode SET key_part = 'four' WHERE ino = 19", []).unwrap();
        migrate(&mut db).unwrap();
        let mut query = db.prepare("SELECT deepest FROM inode ORDER BY ino").unwrap();
        let deepest: Vec<u64> =
            query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        // n17/n18/four, n18/four, four
        assert_eq!(deepest, [12, 8, 4, 0, 0]);
    }

    #[test]
    fn a_version_is_forgotten_with_the_tag_that_it_is_of() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db).unwrap();
        insert(&db, 16, 16, 1);
        let version = |set: &str| -> Option<String> {
            db.execute(&format!("UPDATE inode SET {set} WHERE ino = 16"), []).unwrap();
            db.query_row("SELECT version_id FROM inode", [], |row| row.get(0)).unwrap()
        };
        assert_eq!(version("etag = 'a', version_id = 'v1'").as_deref(), Some("v1"));
        assert_eq!(version("etag = 'a'").as_deref(), Some("v1"), "the same object");
        assert_eq!(version("etag = 'b', version_id = 'v2'").as_deref(), Some("v2"));
        assert_eq!(version("etag = 'c'"), None);
        assert_eq!(version("etag = 'c', version_id = 'v3'").as_deref(), Some("v3"));
        assert_eq!(version("etag = NULL"), None);
    }

    #[test]
    fn directories_of_an_older_catalog_are_counted_and_then_followed() {
        let mut db = Connection::open_in_memory().unwrap();
        for step in &MIGRATIONS[..2] {
            db.execute_batch(step).unwrap();
        }
        db.pragma_update(None, "user_version", 2).unwrap();
        for (at, parent, kind) in [(16, 16, 1), (17, 16, 1), (18, 16, 1), (19, 17, 1), (20, 17, 0)]
        {
            insert(&db, at, parent, kind);
        }
        migrate(&mut db).unwrap();
        let counts = |db: &Connection| -> Vec<u64> {
            let mut query =
                db.prepare("SELECT subdirectories FROM inode WHERE kind = 1 ORDER BY ino").unwrap();
            query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        assert_eq!(counts(&db), [2, 1, 0, 0]);
        insert(&db, 21, 18, 1);
        insert(&db, 22, 18, 0);
        assert_eq!(counts(&db), [2, 1, 1, 0, 0]);
        db.execute("UPDATE inode SET parent = 17, name = 'moved' WHERE ino = 18", []).unwrap();
        assert_eq!(counts(&db), [1, 2, 1, 0, 0]);
        db.execute("UPDATE inode SET name = 'again' WHERE ino = 18", []).unwrap();
        db.execute("DELETE FROM inode WHERE ino IN (19, 20)", []).unwrap();
        assert_eq!(counts(&db), [1, 1, 1, 0]);
    }
}
