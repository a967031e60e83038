//! A catalog that is gone or damaged is made anew, of what the dirty log tells (I12, ADR 31).
//!
//! Done when the catalog is opened: what waits for S3 is what it was, with its inode numbers; everything else
//! the bucket has, and comes again by listing. The files of the old catalog are put aside, never deleted.
mod make;

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, ErrorCode, ffi};

use super::{
    CATALOG_FILE,
    dirty_log::{self, Stand, Told, sync_directory},
    error::CatalogError,
    pragmas, schema,
};
use crate::clock::{Clock, SystemClock};

/// Says that the catalog was found damaged while it was in use, with the words of that.
const DAMAGE_FILE: &str = "catalog.damage";
/// A catalog that is being made.
const NEW_FILE: &str = "catalog.new";

/// What became of a catalog that was made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// What was wrong with the old one.
    pub why: String,
    /// Where its files are; `None`: there were none.
    pub aside: Option<PathBuf>,
    /// Files, directories and symbolic links that S3 does not have, or has otherwise.
    pub waiting: u64,
    /// Bytes of files among them.
    pub bytes: u64,
    /// Objects that are still to be deleted.
    pub deletions: u64,
    /// Renamed directories of which objects may still have the old key: the share, where they were and where
    /// they should be. What has not moved shows at its old place again.
    pub moves: Vec<Move>,
}

/// A directory's rename that was not done in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The share's name.
    pub share: String,
    /// The prefix of the objects' keys.
    pub from: String,
    /// The directory's path.
    pub to: String,
}

/// Whether a catalog can be made anew in the directory `cache`.
///
/// # Errors
/// The directory cannot be read.
pub fn can_rebuild(cache: &Path) -> io::Result<bool> {
    dirty_log::is_there(cache)
}

/// Leaves word that the catalog in `cache` is damaged: the next start makes it anew.
///
/// # Errors
/// Of the disk.
pub fn note_damage(cache: &Path, words: &str) -> io::Result<()> {
    let path = cache.join(DAMAGE_FILE);
    let mut file = File::create(&path)?;
    file.write_all(words.as_bytes())?;
    file.sync_all()?;
    sync_directory(&path)
}

/// Opens the catalog's database for its writer, made anew if it has to be.
///
/// # Errors
/// [`CatalogError`]: do not serve. Damage that the log cannot mend is [`CatalogError::Corrupt`].
pub(super) fn open(
    cache: &Path,
    told: Option<&mut Told>,
) -> Result<(Connection, Option<Rebuilt>), CatalogError> {
    let Some(told) = told else { return Ok((open_database(cache)?, None)) };
    let why = match look(cache, told)? {
        Look::Good(connection) => return Ok((connection, None)),
        Look::Damaged(why) => why,
    };
    told.take_pending();
    if told.is_damaged() || told.head.is_none() {
        let words = format!(
            "{why}; and the log that it could be made anew of (dirty-*.log) is damaged as well. Nothing was changed"
        );
        // A disk that is away for a moment gives it back: that is no operator's case.
        return Err(match told.is_unreadable {
            true => CatalogError::Commit(words),
            false => CatalogError::Corrupt(words),
        });
    }
    tracing::error!("the catalog is made anew: {why}");
    let new = cache.join(NEW_FILE);
    remove_database(&new)?;
    let mut rebuilt = make::database(&new, told)?;
    rebuilt.why = why;
    rebuilt.aside = put_aside(cache).map_err(|error| disk(&error))?;
    let path = cache.join(CATALOG_FILE);
    let placed = fs::rename(&new, &path).and_then(|()| sync_directory(&path));
    placed.map_err(|error| disk(&error))?;
    let noted = remove_file(&cache.join(DAMAGE_FILE));
    noted.map_err(|error| disk(&error))?;
    match look(cache, told)? {
        Look::Good(connection) => Ok((connection, Some(rebuilt))),
        Look::Damaged(why) => {
            Err(CatalogError::Corrupt(format!("the catalog that was made anew: {why}")))
        }
    }
}

/// What there is.
enum Look {
    Good(Connection),
    Damaged(String),
}

/// Opens the database and compares it with what the log has told.
fn look(cache: &Path, told: &mut Told) -> Result<Look, CatalogError> {
    match fs::read_to_string(cache.join(DAMAGE_FILE)) {
        Ok(words) => return Ok(Look::Damaged(format!("the catalog was found damaged: {words}"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(disk(&error)),
    }
    if !cache.join(CATALOG_FILE).exists() {
        return Ok(Look::Damaged(format!("{CATALOG_FILE} is gone")));
    }
    let compared = match compared(cache, told) {
        // Once more: what is unreadable stays so.
        Err(error) if is_unreadable(&error) => compared(cache, told),
        compared => compared,
    };
    match compared {
        Ok((connection, None)) => Ok(Look::Good(connection)),
        Ok((_, Some(difference))) => Ok(Look::Damaged(format!(
            "the catalog is not what it was when it was written last: {difference}"
        ))),
        Err(CatalogError::NewerSchema { found, known })
            if told.head.is_some_and(|(_, schema)| schema <= known) =>
        {
            Ok(Look::Damaged(format!("the catalog's schema {found} was never written")))
        }
        Err(error) if is_damage(&error) => {
            Ok(Look::Damaged(format!("the catalog is damaged: {error}")))
        }
        Err(error) => Err(error),
    }
}

/// Opens the database and finds the first difference from what the log has told.
fn compared(cache: &Path, told: &mut Told) -> Result<(Connection, Option<String>), CatalogError> {
    let connection = open_database(cache)?;
    let (number, is_untold) = (dirty_log::number(&connection)?, dirty_log::is_untold(&connection)?);
    let difference = match told.compare_with(number, is_untold) {
        // An older gateway's log tells in other words; that and a damaged one are told anew.
        Stand::Even if told.is_damaged() || !told.is_of_schema(schema::SCHEMA_VERSION) => None,
        Stand::Even => dirty_log::difference(&connection, told)?,
        Stand::Ahead => None,
        Stand::Behind(lacks) => Some(format!("its last {lacks} changes are not there")),
    };
    Ok((connection, difference))
}

/// Whether the disk cannot read what it has of the database.
fn is_unreadable(error: &CatalogError) -> bool {
    let CatalogError::Sqlite(error) = error else { return false };
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_CORRUPTFS))
}

/// Whether an error says that the database is damaged, when there is a log to make it anew of. What else is
/// wrong with the disk, or with who has the file open, is no damage.
fn is_damage(error: &CatalogError) -> bool {
    if is_unreadable(error) {
        return true;
    }
    let CatalogError::Sqlite(error) = error else { return error.is_corruption() };
    match error.sqlite_error_code() {
        Some(
            ErrorCode::PermissionDenied
            | ErrorCode::OperationAborted
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::OutOfMemory
            | ErrorCode::ReadOnly
            | ErrorCode::OperationInterrupted
            | ErrorCode::SystemIoFailure
            | ErrorCode::DiskFull
            | ErrorCode::CannotOpen
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::NoLargeFileSupport
            | ErrorCode::AuthorizationForStatementDenied,
        ) => false,
        Some(_) | None => true,
    }
}

/// Opens the database, brings it to this gateway's schema and, if it was not closed in order, lets SQLite
/// check it.
fn open_database(cache: &Path) -> Result<Connection, CatalogError> {
    let mut connection = Connection::open(cache.join(CATALOG_FILE))?;
    let found = schema::version(&connection)?;
    if found > schema::SCHEMA_VERSION {
        return Err(CatalogError::NewerSchema { found, known: schema::SCHEMA_VERSION });
    }
    pragmas::for_writer(&connection)?;
    schema::migrate(&mut connection)?;
    let clean = "SELECT value FROM meta WHERE name = 'clean'";
    let was_clean: u64 = connection.query_row(clean, [], |row| row.get(0))?;
    if was_clean != 1 {
        let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if found != "ok" {
            return Err(CatalogError::Corrupt(found));
        }
    }
    Ok(connection)
}

/// Moves what there is of the catalog's files into a folder of their own.
fn put_aside(cache: &Path) -> io::Result<Option<PathBuf>> {
    let files: Vec<PathBuf> = database_files(&cache.join(CATALOG_FILE))
        .into_iter()
        .filter(|path| path.symlink_metadata().is_ok())
        .collect();
    if files.is_empty() {
        return Ok(None);
    }
    let seconds = SystemClock.now().seconds();
    let names = (0_u32..).map(|n| cache.join(format!("catalog.damaged-{seconds}-{n}")));
    let mut aside = None;
    for name in names {
        match fs::create_dir(&name) {
            Ok(()) => {
                aside = Some(name);
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    let Some(aside) = aside else { return Ok(None) };
    for path in files {
        let Some(name) = path.file_name() else { continue };
        fs::rename(&path, aside.join(name))?;
    }
    sync_directory(&aside.join(CATALOG_FILE))?;
    sync_directory(&aside)?;
    Ok(Some(aside))
}

/// The database and what SQLite keeps beside it.
fn database_files(path: &Path) -> [PathBuf; 4] {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    [beside("-wal"), beside("-shm"), beside("-journal"), path.to_owned()]
}

/// Removes a database that nobody has used so far.
fn remove_database(path: &Path) -> Result<(), CatalogError> {
    for path in database_files(path) {
        remove_file(&path).map_err(|error| disk(&error))?;
    }
    Ok(())
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn disk(error: &io::Error) -> CatalogError {
    CatalogError::Commit(format!("the catalog cannot be made anew: {error}"))
}
