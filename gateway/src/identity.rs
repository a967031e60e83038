//! Who this gateway is: made once per state directory, kept for its life.
//!
//! Owns `identity.toml` (the gateway's id and the key that signs file handles) and the lock that
//! keeps a second process off the same directory.
use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::settings::replace_file;

const FILE: &str = "identity.toml";
const LOCK_FILE: &str = "lock";

/// The directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it.
    #[error("{0} is in use by another gateway process: stop that one first")]
    InUse(PathBuf),
    /// The identity file is damaged: without it every mounted client would see stale handles.
    #[error(
        "{path} is damaged ({problem}): restore it from a backup, or remove it and mount the shares again on every client"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// The gateway's identity.
#[derive(Debug)]
pub struct Identity {
    /// 16 hex digits, written into each object's generation tag.
    pub gateway_id: String,
    /// Key of the MAC in file handles (I9).
    pub handle_key: [u8; 32],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    gateway_id: String,
    handle_key: String,
}

impl Identity {
    /// Reads the identity of `state`, or makes one that is durable when it returns.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn load_or_create(state: &Path) -> Result<Self, IdentityError> {
        let path = state.join(FILE);
        let at = |source| IdentityError::Io { path: path.clone(), source };
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text)
                .map_err(|problem| IdentityError::Damaged { path: path.clone(), problem }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let identity = Self { gateway_id: hex(&random::<8>()?), handle_key: random()? };
                let document = Document {
                    gateway_id: identity.gateway_id.clone(),
                    handle_key: hex(&identity.handle_key),
                };
                let text = toml::to_string(&document).map_err(|e| at(io::Error::other(e)))?;
                replace_file(state, &path, text.as_bytes()).map_err(at)?;
                Ok(identity)
            }
            Err(source) => Err(at(source)),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let document: Document = toml::from_str(text).map_err(|e| e.to_string())?;
        let key = unhex(&document.handle_key).ok_or("handle_key is not hexadecimal")?;
        let handle_key = key.try_into().map_err(|_| "handle_key is not 32 bytes")?;
        if unhex(&document.gateway_id).is_none_or(|id| id.len() != 8) {
            return Err("gateway_id is not 16 hexadecimal digits".to_owned());
        }
        Ok(Self { gateway_id: document.gateway_id, handle_key })
    }
}

/// Keeps other processes off `directory` while it lives (`flock`).
#[derive(Debug)]
pub struct DirectoryLock(#[expect(dead_code, reason = "held for its lock")] Flock<File>);

impl DirectoryLock {
    /// Takes the lock, creating the directory if need be.
    ///
    /// # Errors
    /// [`IdentityError::InUse`] when another process holds it, [`IdentityError::Io`].
    pub fn take(directory: &Path) -> Result<Self, IdentityError> {
        let path = directory.join(LOCK_FILE);
        let at = |source| IdentityError::Io { path: path.clone(), source };
        fs::create_dir_all(directory).map_err(at)?;
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(at)?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map(Self)
            .map_err(|(_, _)| IdentityError::InUse(directory.to_owned()))
    }
}

fn random<const N: usize>() -> Result<[u8; N], IdentityError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| IdentityError::Io {
        path: "the system's random numbers".into(),
        source: io::Error::other(e.to_string()),
    })?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create(dir.path()).unwrap();
        let again = Identity::load_or_create(dir.path()).unwrap();
        assert_eq!(first.gateway_id, again.gateway_id);
        assert_eq!(first.handle_key, again.handle_key);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(first.handle_key, Identity::load_or_create(other.path()).unwrap().handle_key);
    }

    #[test]
    fn a_damaged_identity_is_never_replaced_silently() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "gateway_id = \"zz\"\nhandle_key = \"00\"\n").unwrap();
        let error = Identity::load_or_create(dir.path()).unwrap_err().to_string();
        assert!(error.contains("mount the shares again"), "{error}");
    }

    #[test]
    fn a_directory_has_one_gateway() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirectoryLock::take(dir.path()).unwrap();
        assert!(matches!(DirectoryLock::take(dir.path()), Err(IdentityError::InUse(_))));
        drop(held);
        DirectoryLock::take(dir.path()).unwrap();
    }
}
