//! One bucket: its keys in UTF-8 byte order, their versions, its uploads, and what may be done to them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Change, Content, NULL_VERSION, Refused, Tag, Upload, Version, WriteCondition, version_id,
};

/// Whether a bucket keeps old versions (S3 PutBucketVersioning).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Versioning {
    /// Never enabled.
    Off,
    Enabled,
    Suspended,
}

/// A bucket. `str` orders by UTF-8 bytes, which is S3's listing order.
#[derive(Debug, Clone)]
pub(crate) struct Bucket<B> {
    /// Seconds since 1970.
    pub(crate) created: i64,
    pub(crate) versioning: Versioning,
    /// Versions oldest first; never empty.
    pub(crate) keys: BTreeMap<String, Vec<Version<B>>>,
    /// By upload id.
    pub(crate) uploads: BTreeMap<String, Upload<B>>,
}

/// What a DELETE did, for its reply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Deletion {
    /// The version removed, or the delete marker made; `None` in a bucket without versions.
    pub(crate) version_id: Option<String>,
    /// Whether a delete marker was made or removed.
    pub(crate) delete_marker: bool,
}

impl<B: Clone> Bucket<B> {
    /// An empty, unversioned bucket.
    pub(crate) fn new(created: i64) -> Self {
        Self {
            created,
            versioning: Versioning::Off,
            keys: BTreeMap::new(),
            uploads: BTreeMap::new(),
        }
    }

    /// The newest version of `key`, delete marker or not.
    pub(crate) fn newest(&self, key: &str) -> Option<&Version<B>> {
        self.keys.get(key).and_then(|versions| versions.last())
    }

    /// The content that a plain GET of `key` answers.
    pub(crate) fn current(&self, key: &str) -> Option<&Content<B>> {
        self.newest(key).and_then(|version| version.content.as_ref())
    }

    /// The version that a GET or HEAD of `key` reads (S3 GetObject, versionId).
    ///
    /// # Errors
    /// `NoSuchKey`, `NoSuchVersion`, or `MethodNotAllowed` for a delete marker asked for by its id.
    pub(crate) fn read(
        &self,
        key: &str,
        id: Option<&str>,
    ) -> Result<(&Version<B>, &Content<B>), Refused> {
        let Some(id) = id else {
            let newest = self.newest(key).ok_or(Refused::NoSuchKey { delete_marker: None })?;
            let marker = || Refused::NoSuchKey { delete_marker: Some(newest.id.clone()) };
            return newest.content.as_ref().map(|content| (newest, content)).ok_or_else(marker);
        };
        let version = self.version(key, id).ok_or(Refused::NoSuchVersion)?;
        version.content.as_ref().map(|content| (version, content)).ok_or(Refused::MethodNotAllowed)
    }

    fn version(&self, key: &str, id: &str) -> Option<&Version<B>> {
        self.keys.get(key).and_then(|versions| versions.iter().find(|version| version.id == id))
    }

    /// The upload `id` of `key`.
    ///
    /// # Errors
    /// `NoSuchUpload`.
    pub(crate) fn upload(&self, key: &str, id: &str) -> Result<&Upload<B>, Refused> {
        self.uploads.get(id).filter(|upload| upload.key == key).ok_or(Refused::NoSuchUpload)
    }

    /// Checks what a write of `key` requires of its current content.
    ///
    /// # Errors
    /// As [`WriteCondition::check`].
    pub(crate) fn check_write(&self, key: &str, condition: &WriteCondition) -> Result<(), Refused> {
        condition.check(self.current(key))
    }

    /// The version that writing `content` makes as change number `sequence`.
    pub(crate) fn next_version(
        &self,
        content: Option<Content<B>>,
        sequence: u64,
        now: i64,
    ) -> Version<B> {
        let id = match self.versioning {
            Versioning::Enabled => version_id(sequence),
            Versioning::Off | Versioning::Suspended => NULL_VERSION.to_owned(),
        };
        Version { id, sequence, modified: now, content }
    }

    /// The version id that replies show for a version: none in a bucket that never had versions.
    pub(crate) fn shown_id(&self, id: &str) -> Option<String> {
        match self.versioning {
            Versioning::Off => None,
            Versioning::Enabled | Versioning::Suspended => Some(id.to_owned()),
        }
    }

    /// Decides a DELETE of `key`, or of one of its versions (S3 DeleteObject).
    ///
    /// # Errors
    /// `NoSuchKey` for If-Match on a missing key, `PreconditionFailed`.
    pub(crate) fn delete(
        &self,
        name: &str,
        key: &str,
        id: Option<&str>,
        if_match: Option<&Tag>,
        at: (u64, i64),
    ) -> Result<(Option<Change<B>>, Deletion), Refused> {
        if let Some(tag) = if_match {
            if self.newest(key).is_some_and(|version| version.content.is_none()) {
                return Err(Refused::PreconditionFailed("If-Match"));
            }
            self.check_write(
                key,
                &WriteCondition { if_match: Some(tag.clone()), if_none_match: None },
            )?;
        }
        let remove = |id: &str| Change::RemoveVersion {
            bucket: name.to_owned(),
            key: key.to_owned(),
            version_id: id.to_owned(),
        };
        if let Some(id) = id {
            let version = self.version(key, id);
            let delete_marker = version.is_some_and(|version| version.content.is_none());
            return Ok((
                version.map(|_| remove(id)),
                Deletion { version_id: Some(id.to_owned()), delete_marker },
            ));
        }
        match self.versioning {
            Versioning::Off => {
                Ok((self.newest(key).map(|version| remove(&version.id)), Deletion::default()))
            }
            Versioning::Enabled | Versioning::Suspended => {
                let version = self.next_version(None, at.0, at.1);
                let deletion =
                    Deletion { version_id: Some(version.id.clone()), delete_marker: true };
                let change =
                    Change::PutVersion { bucket: name.to_owned(), key: key.to_owned(), version };
                Ok((Some(change), deletion))
            }
        }
    }

    /// Adds a version; one with the same id (`null`) is replaced.
    pub(super) fn put_version(&mut self, key: String, version: Version<B>) {
        let versions = self.keys.entry(key).or_default();
        versions.retain(|old| old.id != version.id);
        versions.push(version);
    }

    /// Removes one version, and the key with its last version.
    pub(super) fn remove_version(&mut self, key: &str, id: &str) {
        if let Some(versions) = self.keys.get_mut(key) {
            versions.retain(|version| version.id != id);
            if versions.is_empty() {
                self.keys.remove(key);
            }
        }
    }
}
