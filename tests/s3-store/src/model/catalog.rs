//! All buckets, and the changes that lead from one state to the next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Bucket, Part, Refused, Upload, Version, Versioning};

/// One atomic step of the store: the journal keeps these, [`Catalog::apply`] executes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change<B> {
    /// Numbers below this have been given out.
    Sequence {
        next: u64,
    },
    CreateBucket {
        bucket: String,
        created: i64,
    },
    DeleteBucket {
        bucket: String,
    },
    SetVersioning {
        bucket: String,
        versioning: Versioning,
    },
    PutVersion {
        bucket: String,
        key: String,
        version: Version<B>,
    },
    RemoveVersion {
        bucket: String,
        key: String,
        version_id: String,
    },
    CreateUpload {
        bucket: String,
        upload: Upload<B>,
    },
    PutPart {
        bucket: String,
        upload_id: String,
        number: u16,
        part: Part<B>,
    },
    AbortUpload {
        bucket: String,
        upload_id: String,
    },
    CompleteUpload {
        bucket: String,
        upload_id: String,
        key: String,
        version: Version<B>,
    },
}

/// Every bucket by name.
#[derive(Debug)]
pub(crate) struct Catalog<B> {
    buckets: BTreeMap<String, Bucket<B>>,
    next_sequence: u64,
}

impl<B: Clone> Catalog<B> {
    /// No buckets.
    pub(crate) fn new() -> Self {
        Self { buckets: BTreeMap::new(), next_sequence: 1 }
    }

    /// The number of the next change that makes a version or an upload.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The buckets in order of their names.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (&String, &Bucket<B>)> {
        self.buckets.iter()
    }

    /// One bucket.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub(crate) fn bucket(&self, name: &str) -> Result<&Bucket<B>, Refused> {
        self.buckets.get(name).ok_or(Refused::NoSuchBucket)
    }

    /// Decides CreateBucket.
    ///
    /// # Errors
    /// `BucketAlreadyOwnedByYou`.
    pub(crate) fn create_bucket(&self, name: &str, now: i64) -> Result<Change<B>, Refused> {
        match self.buckets.get(name) {
            Some(_) => Err(Refused::BucketAlreadyOwnedByYou),
            None => Ok(Change::CreateBucket { bucket: name.to_owned(), created: now }),
        }
    }

    /// Decides DeleteBucket: only an empty bucket goes, and uploads in progress go with it.
    ///
    /// # Errors
    /// `NoSuchBucket`, `BucketNotEmpty`.
    pub(crate) fn delete_bucket(&self, name: &str) -> Result<Change<B>, Refused> {
        if self.bucket(name)?.keys.is_empty() {
            return Ok(Change::DeleteBucket { bucket: name.to_owned() });
        }
        Err(Refused::BucketNotEmpty)
    }

    /// Executes a change. One that names what is not there changes nothing.
    pub(crate) fn apply(&mut self, change: Change<B>) {
        match change {
            Change::Sequence { next } => self.next_sequence = self.next_sequence.max(next),
            Change::CreateBucket { bucket, created } => {
                self.buckets.entry(bucket).or_insert_with(|| Bucket::new(created));
            }
            Change::DeleteBucket { bucket } => {
                self.buckets.remove(&bucket);
            }
            Change::SetVersioning { bucket, versioning } => {
                self.change_bucket(&bucket, |bucket| bucket.versioning = versioning);
            }
            Change::PutVersion { bucket, key, version } => {
                self.pass_sequence(version.sequence);
                self.change_bucket(&bucket, |bucket| bucket.put_version(key, version));
            }
            Change::RemoveVersion { bucket, key, version_id } => {
                self.change_bucket(&bucket, |bucket| bucket.remove_version(&key, &version_id));
            }
            Change::CreateUpload { bucket, upload } => {
                self.pass_sequence(upload.sequence);
                self.change_bucket(&bucket, |bucket| {
                    bucket.uploads.insert(upload.id.clone(), upload);
                });
            }
            Change::PutPart { bucket, upload_id, number, part } => {
                self.change_bucket(&bucket, |bucket| {
                    if let Some(upload) = bucket.uploads.get_mut(&upload_id) {
                        upload.parts.insert(number, part);
                    }
                })
            }
            Change::AbortUpload { bucket, upload_id } => self.change_bucket(&bucket, |bucket| {
                bucket.uploads.remove(&upload_id);
            }),
            Change::CompleteUpload { bucket, upload_id, key, version } => {
                self.pass_sequence(version.sequence);
                self.change_bucket(&bucket, |bucket| {
                    bucket.uploads.remove(&upload_id);
                    bucket.put_version(key, version);
                });
            }
        }
    }

    /// The shortest list of changes that leads from nothing to this state.
    pub(crate) fn snapshot(&self) -> Vec<Change<B>> {
        let mut changes = vec![Change::Sequence { next: self.next_sequence }];
        for (name, bucket) in &self.buckets {
            changes.push(Change::CreateBucket { bucket: name.clone(), created: bucket.created });
            if bucket.versioning != Versioning::Off {
                changes.push(Change::SetVersioning {
                    bucket: name.clone(),
                    versioning: bucket.versioning,
                });
            }
            for (key, versions) in &bucket.keys {
                changes.extend(versions.iter().map(|version| Change::PutVersion {
                    bucket: name.clone(),
                    key: key.clone(),
                    version: version.clone(),
                }));
            }
            changes.extend(bucket.uploads.values().map(|upload| Change::CreateUpload {
                bucket: name.clone(),
                upload: upload.clone(),
            }));
        }
        changes
    }

    fn pass_sequence(&mut self, used: u64) {
        self.next_sequence = self.next_sequence.max(used + 1);
    }

    fn change_bucket(&mut self, name: &str, change: impl FnOnce(&mut Bucket<B>)) {
        if let Some(bucket) = self.buckets.get_mut(name) {
            change(bucket);
        }
    }
}

impl<B> Change<B> {
    /// What is left of a change whose body no longer exists, because a later change released it: the version it made
    /// is gone, and so are the upload it completed and the version it replaced.
    pub(crate) fn without_body<C>(&self) -> Option<Change<C>> {
        match self {
            Self::PutVersion { bucket, key, version } => Some(Change::RemoveVersion {
                bucket: bucket.clone(),
                key: key.clone(),
                version_id: version.id.clone(),
            }),
            Self::CompleteUpload { bucket, upload_id, .. } => {
                Some(Change::AbortUpload { bucket: bucket.clone(), upload_id: upload_id.clone() })
            }
            Self::Sequence { .. }
            | Self::CreateBucket { .. }
            | Self::DeleteBucket { .. }
            | Self::SetVersioning { .. }
            | Self::RemoveVersion { .. }
            | Self::CreateUpload { .. }
            | Self::PutPart { .. }
            | Self::AbortUpload { .. } => None,
        }
    }

    /// The same change with another kind of body: what the journal writes and reads.
    ///
    /// # Errors
    /// Those of `convert`.
    pub(crate) fn with_body<C, E>(
        self,
        mut convert: impl FnMut(B) -> Result<C, E>,
    ) -> Result<Change<C>, E> {
        Ok(match self {
            Self::Sequence { next } => Change::Sequence { next },
            Self::CreateBucket { bucket, created } => Change::CreateBucket { bucket, created },
            Self::DeleteBucket { bucket } => Change::DeleteBucket { bucket },
            Self::SetVersioning { bucket, versioning } => {
                Change::SetVersioning { bucket, versioning }
            }
            Self::PutVersion { bucket, key, version } => {
                Change::PutVersion { bucket, key, version: version.with_body(convert)? }
            }
            Self::RemoveVersion { bucket, key, version_id } => {
                Change::RemoveVersion { bucket, key, version_id }
            }
            Self::CreateUpload { bucket, upload } => {
                Change::CreateUpload { bucket, upload: upload.with_body(convert)? }
            }
            Self::PutPart { bucket, upload_id, number, part } => {
                Change::PutPart { bucket, upload_id, number, part: part.with_body(&mut convert)? }
            }
            Self::AbortUpload { bucket, upload_id } => Change::AbortUpload { bucket, upload_id },
            Self::CompleteUpload { bucket, upload_id, key, version } => Change::CompleteUpload {
                bucket,
                upload_id,
                key,
                version: version.with_body(convert)?,
            },
        })
    }
}
