//! One file, replaced atomically: temporary file, fsync, rename, fsync of the directory.
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use gateway_api::{Settings, SettingsError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const FILE: &str = "settings.toml";
const BROKEN_FILE: &str = "settings.toml.broken";
/// The same document once more, for when the disk has spoilt the other.
const LAST_FILE: &str = "settings.last.toml";

/// Why the settings could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The state directory cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The document is not usable.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The document that is kept is not usable.
    #[error("{path}: {problem}")]
    Unusable {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Somebody else changed the settings first.
    #[error(
        "the settings are at revision {current}, the change was made to {based_on}: read them again"
    )]
    Outdated {
        /// The revision in force.
        current: u64,
        /// The revision that the change was based on.
        based_on: u64,
    },
}

/// The document with what the store needs to know about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// Counts every replacement.
    pub revision: u64,
    /// SHA-256 of the seed that was last applied, in hex; empty if none was.
    pub seed_sha256: String,
    /// The settings.
    pub settings: Settings,
}

/// The settings file of one state directory.
#[derive(Debug)]
pub struct SettingsStore {
    directory: PathBuf,
    current: Stored,
    problem: Option<String>,
}

impl SettingsStore {
    /// Reads the settings of `directory`, seeding them from `seed` (the text of `--settings FILE`)
    /// when the directory has none yet or when the seed is another one than last time.
    ///
    /// A broken document does not stop the gateway: it is kept aside as `settings.toml.broken`, the last good one is
    /// used, which is kept beside it (defaults, with no shares, if that is broken too), and
    /// [`SettingsStore::problem`] says what is wrong.
    ///
    /// # Errors
    /// [`StoreError::Io`] when a seed is to be applied and the directory cannot be written.
    pub fn open(directory: &Path, seed: Option<&str>) -> Result<Self, StoreError> {
        let mut store = Self {
            directory: directory.to_owned(),
            current: Stored {
                revision: 0,
                seed_sha256: String::new(),
                settings: Settings::default(),
            },
            problem: None,
        };
        store.load()?;
        if let Some(seed) = seed {
            store.apply_seed(seed)?;
        }
        Ok(store)
    }

    /// The settings that a gateway with this directory and seed would start with. Changes nothing: it
    /// may be asked beside a gateway that runs, which keeps the document.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] where the document cannot be read or is not usable, [`StoreError::Settings`] where the
    /// seed is not.
    pub fn look(directory: &Path, seed: Option<&str>) -> Result<Settings, StoreError> {
        let unusable = |problem| StoreError::Unusable { path: directory.join(FILE), problem };
        let stored = match (read(&directory.join(FILE)), read(&directory.join(LAST_FILE))) {
            (Some(Ok(stored)), _) | (Some(Err(_)) | None, Some(Ok(stored))) => Some(stored),
            (Some(Err(problem)), Some(Err(_)) | None) => return Err(unusable(problem)),
            (None, Some(Err(_)) | None) => None,
        };
        let applied = stored.as_ref().map_or("", |stored| stored.seed_sha256.as_str());
        match (seed.filter(|seed| digest(seed) != applied).map(parse_seed), stored) {
            (Some(Ok(settings)), _) => Ok(settings),
            // As at the start: a seed that is not usable leaves the old settings in force.
            (Some(Err(_)) | None, Some(stored)) => Ok(stored.settings),
            (Some(Err(problem)), None) => Err(problem.into()),
            (None, None) => Ok(Settings::default()),
        }
    }

    /// The settings in force.
    pub fn current(&self) -> &Stored {
        &self.current
    }

    /// What is wrong with the file or the seed, in words for the operator.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Replaces the settings; durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Outdated`] when `based_on` is given and is not the revision in force;
    /// [`StoreError::Settings`] when the document is not usable; [`StoreError::Io`].
    pub fn replace(&mut self, settings: Settings, based_on: Option<u64>) -> Result<(), StoreError> {
        check(&settings)?;
        match based_on {
            Some(based_on) if based_on != self.current.revision => {
                return Err(StoreError::Outdated { current: self.current.revision, based_on });
            }
            Some(_) | None => {}
        }
        let next = Stored {
            revision: self.current.revision + 1,
            seed_sha256: self.current.seed_sha256.clone(),
            settings,
        };
        self.write(next)?;
        self.problem = None;
        Ok(())
    }

    fn load(&mut self) -> Result<(), StoreError> {
        let (path, last) = (self.directory.join(FILE), self.directory.join(LAST_FILE));
        let (found, other) = (read(&path), read(&last));
        let problem = match found {
            Some(Ok(stored)) => {
                let is_kept = matches!(&other, Some(Ok(last)) if *last == stored);
                self.current = stored;
                if !is_kept {
                    self.keep_again();
                }
                return Ok(());
            }
            None if other.is_none() => return Ok(()),
            None => "is gone".to_owned(),
            Some(Err(problem)) => {
                let aside = self.directory.join(BROKEN_FILE);
                // The file itself stays until another one is there.
                let kept = match fs::copy(&path, &aside) {
                    Ok(_) => format!("was kept as {}", aside.display()),
                    Err(error) => format!("was not kept: {error}"),
                };
                format!("was not usable ({problem}); it {kept}")
            }
        };
        let outcome = match other {
            Some(Ok(last)) => {
                self.current = last.clone();
                if let Err(error) = self.write(last) {
                    tracing::warn!("the settings in force are not in their file: {error}");
                }
                "the last good settings, which were kept beside it, are in force"
            }
            Some(Err(_)) | None => "its settings are not in force: give them anew",
        };
        self.problem = Some(format!("the settings file {problem}; {outcome}"));
        Ok(())
    }

    fn apply_seed(&mut self, seed: &str) -> Result<(), StoreError> {
        let digest = digest(seed);
        if digest == self.current.seed_sha256 {
            return Ok(());
        }
        match parse_seed(seed) {
            Ok(settings) => {
                let revision = self.current.revision + 1;
                self.write(Stored { revision, seed_sha256: digest, settings })?;
                // What was lost before is still said: it may have been more than the seed.
                if let Some(problem) = &mut self.problem {
                    problem.push_str("; now the settings given at start are in force");
                }
            }
            Err(problem) => {
                self.problem =
                    Some(format!("the settings given at start are not usable: {problem}"));
            }
        }
        Ok(())
    }

    fn write(&mut self, next: Stored) -> Result<(), StoreError> {
        let text = toml::to_string(&next).map_err(|e| SettingsError::Write(Box::new(e)))?;
        let path = self.directory.join(FILE);
        replace_file(&self.directory, &path, text.as_bytes())
            .map_err(|source| StoreError::Io { path, source })?;
        self.current = next;
        self.keep_again();
        Ok(())
    }

    /// Keeps the settings that are in force once more. They are, with or without that; but none must be there that were
    /// in force before them.
    fn keep_again(&self) {
        let last = self.directory.join(LAST_FILE);
        let text = toml::to_string(&self.current).map_err(io::Error::other);
        let kept = text.and_then(|text| replace_file(&self.directory, &last, text.as_bytes()));
        if let Err(error) = kept {
            let removed = fs::remove_file(&last);
            tracing::warn!(
                "there is no second copy of the settings: {}: {error} (removed: {removed:?})",
                last.display()
            );
        }
    }
}

/// The document in a file, or why it is not usable: what it says, or that the disk does not give it; `None`: there is no
/// file.
fn read(path: &Path) -> Option<Result<Stored, String>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(Err(error.to_string())),
    };
    let text = str::from_utf8(&bytes).map_err(|error| SettingsError::Syntax {
        line: Some(bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1),
        what: "it is not text".to_owned(),
    });
    Some(text.and_then(parse).map_err(|error| error.to_string()))
}

/// Reads and checks the document.
fn parse(text: &str) -> Result<Stored, SettingsError> {
    let stored: Stored =
        toml::from_str(text).map_err(|error| SettingsError::syntax(text, &error))?;
    check(&stored.settings)?;
    Ok(stored)
}

/// Reads and checks a seed.
fn parse_seed(seed: &str) -> Result<Settings, SettingsError> {
    let settings = Settings::from_toml(seed)?;
    check(&settings)?;
    Ok(settings)
}

/// SHA-256 of a seed, in hex.
fn digest(seed: &str) -> String {
    Sha256::digest(seed).iter().map(|b| format!("{b:02x}")).collect()
}

/// Checks what the document's own types can tell, and what only the S3 client can.
fn check(settings: &Settings) -> Result<(), SettingsError> {
    settings.check()?;
    #[cfg(feature = "service")]
    crate::store::s3::check(&settings.s3)?;
    Ok(())
}

/// Replaces `path` (in `directory`) with `content`, mode 0600; durable when it returns.
pub(crate) fn replace_file(directory: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "version = 1\n[[share]]\nname = \"sales\"\nbucket = \"bucket\"\n";

    fn names(store: &SettingsStore) -> Vec<String> {
        store.current().settings.shares.iter().map(|s| s.name.to_string()).collect()
    }

    #[test]
    fn the_seed_is_applied_once_and_changes_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SettingsStore::open(dir.path(), Some(SEED)).unwrap();
        assert_eq!(names(&store), ["sales"]);
        let mut changed = store.current().settings.clone();
        changed.shares[0].name = "renamed".parse().unwrap();
        store.replace(changed, Some(1)).unwrap();
        let store = SettingsStore::open(dir.path(), Some(SEED)).unwrap();
        assert_eq!(names(&store), ["renamed"], "the same seed does not undo the change");
        let other = SEED.replace("sales", "other");
        let store = SettingsStore::open(dir.path(), Some(&other)).unwrap();
        assert_eq!(names(&store), ["other"], "a new seed is the operator's word");
    }

    #[test]
    fn a_look_tells_what_a_start_would_use_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let look = |seed: Option<&str>| {
            let settings = SettingsStore::look(dir.path(), seed)?;
            Ok::<_, StoreError>(settings.shares.first().map(|share| share.name.to_string()))
        };
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(look(None).unwrap(), None);
        assert_eq!(look(Some(SEED)).unwrap(), named("sales"), "before the first start");
        assert!(look(Some("nonsense = 1")).is_err());
        let mut store = SettingsStore::open(dir.path(), Some(SEED)).unwrap();
        let mut changed = store.current().settings.clone();
        changed.shares[0].name = "renamed".parse().unwrap();
        store.replace(changed, None).unwrap();
        for (seed, name) in [
            (None, "renamed"),
            (Some(SEED), "renamed"),
            (Some("nonsense = 1"), "renamed"),
            (Some(SEED.replace("sales", "other").as_str()), "other"),
        ] {
            assert_eq!(look(seed).unwrap(), named(name), "{seed:?}");
        }
        fs::write(dir.path().join(FILE), "revision = what").unwrap();
        assert_eq!(look(None).unwrap(), named("renamed"), "the last good one");
        fs::remove_file(dir.path().join(LAST_FILE)).unwrap();
        assert!(look(None).is_err());
        assert_eq!(fs::read_to_string(dir.path().join(FILE)).unwrap(), "revision = what");
    }

    #[test]
    fn a_broken_file_is_kept_aside_and_said() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "revision = what").unwrap();
        let store = SettingsStore::open(dir.path(), None).unwrap();
        assert!(names(&store).is_empty());
        assert!(store.problem().unwrap().contains("settings.toml.broken"));
        assert_eq!(fs::read_to_string(dir.path().join(BROKEN_FILE)).unwrap(), "revision = what");
    }

    /// Goal: settings that the disk has spoilt do not stop the gateway, and cost no share. Method: text that is no TOML, and
    /// bytes that are no text, as a flipped bit makes them; then the second copy is spoilt, too.
    #[test]
    fn the_last_good_settings_take_the_place_of_a_broken_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, last) = (dir.path().join(FILE), dir.path().join(LAST_FILE));
        SettingsStore::open(dir.path(), Some(SEED)).unwrap();
        let good = fs::read(&path).unwrap();
        for broken in [b"revision = what".to_vec(), [&good[..], b"\xff"].concat(), Vec::new()] {
            fs::write(&path, &broken).unwrap();
            let store = SettingsStore::open(dir.path(), Some(SEED)).unwrap();
            assert_eq!((names(&store), store.current().revision), (vec!["sales".to_owned()], 1));
            let problem = store.problem().unwrap();
            assert!(problem.contains("last good"), "{problem}");
            assert_eq!(fs::read(dir.path().join(BROKEN_FILE)).unwrap(), broken);
            assert_eq!(fs::read(&path).unwrap(), good, "written anew");
            assert_eq!(SettingsStore::open(dir.path(), Some(SEED)).unwrap().problem(), None);
        }
        // A copy that is older or not there is brought up to date, as after a power cut between the two.
        for older in [Some(b"revision = 0".as_slice()), None] {
            match older {
                Some(older) => fs::write(&last, older).unwrap(),
                None => fs::remove_file(&last).unwrap(),
            }
            SettingsStore::open(dir.path(), Some(SEED)).unwrap();
            assert_eq!(fs::read(&last).unwrap(), good);
        }
        // It was cut off while the good one took the place of the broken one.
        fs::remove_file(&path).unwrap();
        let store = SettingsStore::open(dir.path(), None).unwrap();
        assert_eq!(names(&store), ["sales"]);
        assert!(store.problem().unwrap().contains("is gone"));
        for file in [&path, &last] {
            fs::write(file, b"\xff").unwrap();
        }
        let store = SettingsStore::open(dir.path(), Some(SEED)).unwrap();
        assert_eq!(names(&store), ["sales"], "by the seed");
        let problem = store.problem().unwrap();
        assert!(problem.contains("line 1: it is not text"), "{problem}");
    }

    #[test]
    fn what_is_said_of_a_broken_document_quotes_no_secret() {
        let quoted = "[s3]\nregion = \"us-east-1\"\nsecret_access_key = hush-hush\n";
        let mistyped = "version = 1\n[s3]\nsecret_acces_key = \"hush-hush\"\n";
        let elsewhere = "version = 1\n[s3]\nallow_http = \"hush-hush\"\n";
        for (seed, says) in [
            (quoted, "line 3: "),
            (mistyped, "line 3: unknown field"),
            (elsewhere, "line 3: invalid type, expected a boolean"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let store = SettingsStore::open(dir.path(), Some(seed)).unwrap();
            let problem = store.problem().unwrap();
            assert!(problem.contains(says) && !problem.contains("hush"), "{problem}");
            let refused = SettingsStore::look(dir.path(), Some(seed)).unwrap_err().to_string();
            assert!(refused.contains(says) && !refused.contains("hush"), "{refused}");
        }
    }

    #[test]
    fn a_broken_seed_leaves_the_old_settings_in_force() {
        let dir = tempfile::tempdir().unwrap();
        SettingsStore::open(dir.path(), Some(SEED)).unwrap();
        let store = SettingsStore::open(dir.path(), Some("version = 1\nnonsense = 1")).unwrap();
        assert_eq!(names(&store), ["sales"]);
        assert!(store.problem().unwrap().contains("nonsense"));
    }

    #[test]
    fn a_change_to_an_outdated_revision_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SettingsStore::open(dir.path(), Some(SEED)).unwrap();
        let settings = store.current().settings.clone();
        store.replace(settings.clone(), Some(1)).unwrap();
        let refused = store.replace(settings, Some(1)).unwrap_err();
        assert!(matches!(refused, StoreError::Outdated { current: 2, based_on: 1 }));
    }

    #[test]
    fn the_file_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        SettingsStore::open(dir.path(), Some(SEED)).unwrap();
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
