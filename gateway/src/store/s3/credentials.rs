//! The credentials that all buckets sign with: one value that can be replaced while requests run.
//!
//! Owns: the keys of the settings, or those of a file that somebody else renews. Every request asks
//! anew, so new keys count from the next request on, and no share has to be built again.
use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, error::CredentialsError, future},
};
use gateway_api::{settings::S3Settings, time::Moment};

use super::credentials_file::{self, Keys};
use crate::clock::Timestamp;

/// Most bytes of a credentials file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// How long before their end credentials are said to be ending: time to act, and no more than the
/// shortest life that STS gives (15 minutes).
const EXPIRING_SECONDS: i64 = 10 * 60;

/// Credentials in force. Cloning gives another handle to the same ones.
#[derive(Clone, Debug)]
pub struct S3Credentials {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    source: ArcSwap<Source>,
}

#[derive(Debug)]
enum Source {
    Settings(Keys),
    File(KeysFile),
}

/// A file of keys, with what is known of it: a request that still reads one that was replaced notes
/// what it finds where nobody looks any more.
#[derive(Debug)]
struct KeysFile {
    path: PathBuf,
    state: Mutex<FileState>,
}

/// What is known of the credentials file.
#[derive(Debug, Default)]
struct FileState {
    /// Which state of the file was read, if any was.
    stamp: Option<Stamp>,
    /// The keys of the latest state that could be read.
    keys: Option<Keys>,
    /// Why the file's present state cannot be used.
    problem: Option<String>,
}

/// Tells one state of a file from the next: a change of content or name changes its ctime, a
/// replacement its inode.
#[derive(Debug, PartialEq)]
struct Stamp {
    device_and_inode: (u64, u64),
    changed: (i64, i64),
    bytes: u64,
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self {
            device_and_inode: (file.dev(), file.ino()),
            changed: (file.ctime(), file.ctime_nsec()),
            bytes: file.len(),
        }
    }
}

/// How the credentials stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialsStanding {
    /// Nothing is known against them.
    Good,
    /// They end soon, at this time.
    Expiring(Moment),
    /// They have ended.
    Expired(Moment),
    /// Their file cannot be used; earlier keys of it, if any, are still signed with.
    Unreadable(String),
}

impl S3Credentials {
    /// The credentials of `settings`.
    pub fn new(settings: &S3Settings) -> Self {
        let shared = Shared { source: ArcSwap::from_pointee(source(settings)) };
        Self { shared: Arc::new(shared) }
    }

    /// Takes the credentials of `settings` from the next request on; answers whether they are others.
    pub fn replace(&self, settings: &S3Settings) -> bool {
        let source = source(settings);
        if self.shared.source.load().is_same(&source) {
            return false;
        }
        self.shared.source.store(Arc::new(source));
        true
    }

    /// How they stand at `now`. Looks at the file, where there is one.
    pub async fn standing(&self, now: Timestamp) -> CredentialsStanding {
        let source = self.shared.source.load_full();
        let keys = match source.keys().await {
            Ok(keys) => keys,
            Err(problem) => return CredentialsStanding::Unreadable(problem),
        };
        let problem = match &*source {
            Source::Settings(_) => None,
            Source::File(file) => file.state().problem.clone(),
        };
        match (keys.expires_at, problem) {
            (Some(end), _) if end.unix_seconds() <= now.seconds() => {
                CredentialsStanding::Expired(end)
            }
            (_, Some(problem)) => CredentialsStanding::Unreadable(problem),
            (Some(end), None) if end.unix_seconds() <= now.seconds() + EXPIRING_SECONDS => {
                CredentialsStanding::Expiring(end)
            }
            (Some(_) | None, None) => CredentialsStanding::Good,
        }
    }
}

impl Source {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Settings(mine), Self::Settings(theirs)) => mine == theirs,
            (Self::File(mine), Self::File(theirs)) => mine.path == theirs.path,
            (Self::Settings(_), Self::File(_)) | (Self::File(_), Self::Settings(_)) => false,
        }
    }

    /// The keys to sign with.
    ///
    /// # Errors
    /// Why there are none, in words for the operator.
    async fn keys(&self) -> Result<Keys, String> {
        match self {
            Self::Settings(keys) => Ok(keys.clone()),
            Self::File(file) => file.keys().await,
        }
    }
}

impl KeysFile {
    async fn keys(&self) -> Result<Keys, String> {
        let path = &self.path;
        let stamp = match tokio::fs::metadata(path).await {
            Ok(file) => Stamp::of(&file),
            Err(error) => return self.unusable(None, format!("{}: {error}", path.display())),
        };
        {
            let known = self.state();
            if known.stamp.as_ref() == Some(&stamp) {
                return match (&known.keys, &known.problem) {
                    (Some(keys), _) => Ok(keys.clone()),
                    (None, problem) => Err(problem.clone().unwrap_or_default()),
                };
            }
        }
        let read = if stamp.bytes > FILE_BYTES_MAX {
            Err("is over 1 MiB".to_owned())
        } else {
            let text = tokio::fs::read_to_string(path).await;
            text.map_err(|e| e.to_string()).and_then(|text| credentials_file::parse(&text))
        };
        match read {
            Ok(keys) => {
                let mut known = self.state();
                *known = FileState { stamp: Some(stamp), keys: Some(keys.clone()), problem: None };
                Ok(keys)
            }
            Err(why) => self.unusable(Some(stamp), format!("{}: {why}", path.display())),
        }
    }

    /// Notes why the file cannot be used. Keys read earlier stay good: whoever renews the file may be
    /// in the middle of it.
    fn unusable(&self, stamp: Option<Stamp>, problem: String) -> Result<Keys, String> {
        let mut known = self.state();
        if known.problem.as_ref() != Some(&problem) {
            tracing::warn!("the credentials file cannot be used: {problem}");
        }
        known.stamp = stamp;
        known.problem = Some(problem.clone());
        known.keys.clone().ok_or(problem)
    }

    fn state(&self) -> MutexGuard<'_, FileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn source(settings: &S3Settings) -> Source {
    if settings.credentials_file.is_empty() {
        Source::Settings(Keys {
            access_key_id: settings.access_key_id.clone(),
            secret_access_key: settings.secret_access_key.clone(),
            session_token: settings.session_token.clone(),
            expires_at: settings.expires_at.clone(),
        })
    } else {
        let path = PathBuf::from(&settings.credentials_file);
        Source::File(KeysFile { path, state: Mutex::default() })
    }
}

impl ProvideCredentials for S3Credentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            let source = self.shared.source.load_full();
            let keys = source.keys().await.map_err(CredentialsError::not_loaded)?;
            let token = keys.session_token.expose();
            Ok(Credentials::new(
                keys.access_key_id,
                keys.secret_access_key.expose(),
                (!token.is_empty()).then(|| token.to_owned()),
                // S3 decides whether they are good, by its own clock.
                None,
                "tidegate",
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use gateway_api::Secret;

    use super::*;

    fn file(id: &str, more: &str) -> String {
        format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = s-{id}\n{more}")
    }

    fn of_file(path: &std::path::Path) -> S3Credentials {
        let credentials_file = path.to_str().unwrap().to_owned();
        S3Credentials::new(&S3Settings { credentials_file, ..S3Settings::default() })
    }

    async fn id(credentials: &S3Credentials) -> Result<String, String> {
        credentials
            .provide_credentials()
            .await
            .map(|keys| keys.access_key_id().to_owned())
            .map_err(|error| format!("{error:?}"))
    }

    #[tokio::test]
    async fn replaced_credentials_count_from_the_next_request() {
        let settings = |id: &str| S3Settings {
            access_key_id: id.to_owned(),
            secret_access_key: Secret::new("hush"),
            ..S3Settings::default()
        };
        let credentials = S3Credentials::new(&settings("one"));
        let signer = credentials.clone();
        assert_eq!(id(&signer).await.unwrap(), "one");
        assert!(!credentials.replace(&settings("one")));
        assert!(credentials.replace(&settings("two")));
        assert_eq!(id(&signer).await.unwrap(), "two");
        assert!(!format!("{credentials:?}").contains("hush"));
    }

    #[tokio::test]
    async fn a_renewed_file_is_read_again_and_a_broken_one_keeps_the_old_keys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let credentials = of_file(&path);
        let now = Timestamp::default();
        assert!(id(&credentials).await.unwrap_err().contains("keys"), "the file is named");
        fs::write(&path, file("one", "")).unwrap();
        assert_eq!(id(&credentials).await.unwrap(), "one");
        assert_eq!(credentials.standing(now).await, CredentialsStanding::Good);
        fs::write(&path, "[default]\naws_access_key_id = half").unwrap();
        assert_eq!(id(&credentials).await.unwrap(), "one");
        let CredentialsStanding::Unreadable(why) = credentials.standing(now).await else {
            panic!("it should be said")
        };
        assert!(why.contains("aws_secret_access_key"), "{why}");
        fs::write(&path, file("three", "")).unwrap();
        assert_eq!(id(&credentials).await.unwrap(), "three");
        assert_eq!(credentials.standing(now).await, CredentialsStanding::Good);
        fs::remove_file(&path).unwrap();
        assert_eq!(id(&credentials).await.unwrap(), "three");
        assert!(matches!(credentials.standing(now).await, CredentialsStanding::Unreadable(_)));
    }

    /// Goal: keys of a file that the settings do not name any more are never signed with. Method: a
    /// request has begun to read the old file; the new one cannot be read.
    #[tokio::test]
    async fn a_request_that_still_reads_the_old_file_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        fs::write(&old, file("one", "")).unwrap();
        let credentials = of_file(&old);
        let under_way = credentials.shared.source.load_full();
        let credentials_file = new.to_str().unwrap().to_owned();
        assert!(credentials.replace(&S3Settings { credentials_file, ..S3Settings::default() }));
        assert_eq!(under_way.keys().await.unwrap().access_key_id, "one");
        assert!(id(&credentials).await.unwrap_err().contains("new"));
        fs::write(&new, file("two", "")).unwrap();
        assert_eq!(id(&credentials).await.unwrap(), "two");
    }

    #[tokio::test]
    async fn the_end_of_credentials_is_foreseen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        fs::write(&path, file("one", "expiration = 1970-01-01T01:00:00Z\n")).unwrap();
        let credentials = of_file(&path);
        let end: Moment = "1970-01-01T01:00:00Z".parse().unwrap();
        for (seconds, standing) in [
            (0, CredentialsStanding::Good),
            (2999, CredentialsStanding::Good),
            (3000, CredentialsStanding::Expiring(end.clone())),
            (3599, CredentialsStanding::Expiring(end.clone())),
            (3600, CredentialsStanding::Expired(end)),
        ] {
            let now = Timestamp::new(seconds, 0);
            assert_eq!(credentials.standing(now).await, standing, "{seconds}");
        }
        assert_eq!(id(&credentials).await.unwrap(), "one", "S3 says when they are not good");
    }
}
