//! Which directories are the gateway's cache disks: looked at before anything in them is touched.
//!
//! Each disk besides the primary has `disk.toml`, written at its first use: whose it is and what it is called.
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use gateway_api::disks::{DiskName, PRIMARY};
use serde::{Deserialize, Serialize};

use crate::{
    cache::{DISKS_MAX, DiskAt, DiskIo},
    catalog::{self, CATALOG_FILE, Catalog, CatalogError, DiskRow},
    cli::DiskArg,
    settings::replace_file,
};

/// The disk's word on whose it is.
const MARK_FILE: &str = "disk.toml";

/// Why the gateway does not start with these cache disks. Nothing on them has been touched.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The primary disk would be one of the others.
    #[error(
        "{} is a further cache disk (it has {MARK_FILE}) and cannot be the primary one: its files are known to the catalog \
         on its own primary disk. Give that one as --cache, and this one as --cache-disk", dir.display()
    )]
    NotPrimary {
        /// Where.
        dir: PathBuf,
    },
    /// There are cache files, and nothing that knows of what.
    #[error(
        "{} holds cache files, no {CATALOG_FILE} and no log to make it anew of (dirty-*.log): a new catalog would know none of them, and what is not in S3 is \
         there alone. Put one of them back; or, if nothing there is needed any more, remove {}/data", dir.display(),
        dir.display()
    )]
    NoCatalog {
        /// Where.
        dir: PathBuf,
    },
    /// The primary disk cannot be looked at.
    #[error("{}: {source}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The command line does not fit together.
    #[error("{0}")]
    Arguments(String),
    /// The catalog does not tell.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Why a further cache disk is not taken. Nothing on it has been touched.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    /// It is another gateway's, or a former life's of this one.
    #[error(
        "{} is the cache disk {name:?} of another installation ({found}; this one is {own}). Give it back to that \
         one; or, if nothing on it is needed any more, empty it and start again", dir.display()
    )]
    Foreign { dir: PathBuf, name: String, found: String, own: String },
    /// It has another name than it was given.
    #[error("{} was given as cache disk {given:?}, but is {found:?}: give it under that name", dir.display())]
    OtherName { dir: PathBuf, given: String, found: String },
    /// It was used before, and what is there now is not it.
    #[error(
        "{} is not cache disk {name:?}, which was used before: it has no {MARK_FILE}. Is the disk mounted?", dir.display()
    )]
    NotThere { dir: PathBuf, name: String },
    /// Somebody else's files are there.
    #[error(
        "{} holds a cache already and cannot become cache disk {name:?}: give an empty directory", dir.display()
    )]
    InUse { dir: PathBuf, name: String },
    /// Its mark cannot be read.
    #[error("{}: {problem}", path.display())]
    Mark { path: PathBuf, problem: String },
    /// It cannot be looked at.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// What [`MARK_FILE`] holds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    /// The catalog's number, in hexadecimal digits.
    installation: String,
    name: String,
}

/// Whether a catalog may be opened, or made, at `cache`: not over the files of another one.
///
/// # Errors
/// [`DiskError`]: do not start.
pub(super) fn check_primary(cache: &Path) -> Result<(), DiskError> {
    let dir = cache.to_owned();
    if cache.join(MARK_FILE).exists() {
        return Err(DiskError::NotPrimary { dir });
    }
    let at = |source| DiskError::Io { path: cache.to_owned(), source };
    if !cache.join(CATALOG_FILE).exists()
        && !catalog::can_rebuild(cache).map_err(at)?
        && has_cache_files(&cache.join("data"))?
    {
        return Err(DiskError::NoCatalog { dir });
    }
    Ok(())
}

/// Whether a file is in one of the folders in `data`.
fn has_cache_files(data: &Path) -> Result<bool, DiskError> {
    for shard in entries(data)? {
        if !entries(&shard)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What is in a folder; nothing in one that is none.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, DiskError> {
    let at = |source| DiskError::Io { path: dir.to_owned(), source };
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry.map_err(at)?.path())).collect(),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(at(error)),
    }
}

/// The given disks.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// Those that can be used, the primary first.
    pub(super) disks: Vec<DiskAt>,
    /// Why others are left out.
    pub(super) left_out: LeftOut,
}

/// Why disks that were given are not used, by their names. Nothing on them has been touched.
pub(super) type LeftOut = BTreeMap<DiskName, String>;

/// The disks that are given, as the cache takes them: the primary at `cache` first. A further one that cannot be
/// taken is left out, as if it were missing.
///
/// # Errors
/// [`DiskError::Arguments`], [`DiskError::Catalog`], and of the primary: do not start.
pub(super) async fn open(
    catalog: &Catalog,
    cache: &Path,
    given: &[DiskArg],
    io: impl Fn() -> Arc<dyn DiskIo>,
) -> Result<Given, DiskError> {
    let mut left_out = LeftOut::new();
    let given = check_arguments(cache, given, &mut left_out)?;
    let known = catalog.disks().await?;
    let own = format!("{:016x}", catalog.generation());
    let mut disks = vec![DiskAt::primary(io(), cache)];
    for disk in given {
        if let Err(error) = take(disk, &own, &known) {
            left_out.insert(disk.name.clone(), error.to_string());
            continue;
        }
        let path = disk.dir.display().to_string();
        let DiskRow { id, name, draining, .. } =
            catalog.ensure_disk(disk.name.as_str(), &path).await?;
        disks.push(DiskAt { id, name, dir: disk.dir.clone(), io: io(), draining });
    }
    Ok(Given { disks, left_out })
}

/// Makes sure that the disk is ours: a blank one becomes it.
fn take(disk: &DiskArg, own: &str, known: &[DiskRow]) -> Result<(), NotTaken> {
    if is_marked(disk, own, known)? {
        return Ok(());
    }
    let path = disk.dir.join(MARK_FILE);
    let mark = Mark { installation: own.to_owned(), name: disk.name.as_str().to_owned() };
    let at = |source| NotTaken::Io { path: path.clone(), source };
    let text = toml::to_string(&mark).map_err(|error| at(io::Error::other(error)))?;
    replace_file(&disk.dir, &path, text.as_bytes()).map_err(at)
}

/// Those that can be found. Nothing is left out of what does not fit together: that is a mistake to mend.
fn check_arguments<'a>(
    cache: &Path,
    given: &'a [DiskArg],
    left_out: &mut LeftOut,
) -> Result<Vec<&'a DiskArg>, DiskError> {
    let wrong = |words: String| Err(DiskError::Arguments(words));
    if given.len() >= DISKS_MAX {
        return wrong(format!("{DISKS_MAX} cache disks at most, the primary among them"));
    }
    let primary = fs::canonicalize(cache)
        .map_err(|source| DiskError::Io { path: cache.to_owned(), source })?;
    let (mut names, mut places) = (vec![PRIMARY], vec![primary]);
    let mut found = Vec::new();
    for disk @ DiskArg { name, dir } in given {
        if names.contains(&name.as_str()) {
            return wrong(format!("two cache disks are called {name}"));
        }
        names.push(name.as_str());
        let at = match fs::canonicalize(dir) {
            Ok(at) => at,
            Err(source) => {
                let why = NotTaken::Io { path: dir.clone(), source };
                left_out.insert(name.clone(), why.to_string());
                continue;
            }
        };
        if places.contains(&at) {
            return wrong(format!("{} is given as two cache disks", dir.display()));
        }
        places.push(at);
        found.push(disk);
    }
    Ok(found)
}

/// Whether the disk is ours already; `false`: it is blank and may become so.
fn is_marked(disk: &DiskArg, own: &str, known: &[DiskRow]) -> Result<bool, NotTaken> {
    let DiskArg { name, dir } = disk;
    let path = dir.join(MARK_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return check_blank(name, dir, known).map(|()| false);
        }
        Err(source) => return Err(NotTaken::Io { path, source }),
    };
    let mark: Mark = toml::from_str(&text)
        .map_err(|error| NotTaken::Mark { path, problem: error.to_string() })?;
    let dir = dir.clone();
    if mark.installation != own {
        let (found, own) = (mark.installation, own.to_owned());
        return Err(NotTaken::Foreign { dir, name: mark.name, found, own });
    }
    if mark.name != name.as_str() {
        let given = name.as_str().to_owned();
        return Err(NotTaken::OtherName { dir, given, found: mark.name });
    }
    Ok(true)
}

fn check_blank(name: &DiskName, dir: &Path, known: &[DiskRow]) -> Result<(), NotTaken> {
    let (dir, name) = (dir.to_owned(), name.as_str().to_owned());
    if known.iter().any(|disk| disk.name == name) {
        return Err(NotTaken::NotThere { dir, name });
    }
    if dir.join(CATALOG_FILE).exists() || dir.join("data").exists() {
        return Err(NotTaken::InUse { dir, name });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
