//! The status document: what console, command line and tests see of a running gateway.
use serde::{Deserialize, Serialize};

use crate::{
    names::{BucketName, KeyPrefix, ShareName},
    size::ByteSize,
};

/// A whole gateway at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// Product version.
    pub version: String,
    /// Seconds since the process started.
    pub uptime_seconds: u64,
    /// Whether NFS is being served.
    pub serving: bool,
    /// What is wrong with the settings, if anything, in words for the operator.
    pub settings_problem: Option<String>,
    /// The cache disk.
    pub cache: CacheStatus,
    /// What is still to be uploaded, over all shares.
    pub upload: UploadStatus,
    /// File shares, in the order of the settings.
    pub shares: Vec<ShareStatus>,
    /// Latest events first, bounded.
    pub events: Vec<HealthEvent>,
}

/// The cache disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CacheStatus {
    /// Size of the file system under the cache.
    pub total: ByteSize,
    /// Bytes in use on it.
    pub used: ByteSize,
    /// Bytes free on it.
    pub free: ByteSize,
}

/// Work that S3 has not seen yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadStatus {
    /// Files and directories whose object is not up to date.
    pub dirty_files: u64,
    /// Bytes of file content not yet in S3.
    pub dirty_bytes: ByteSize,
    /// Deletions not yet done in S3.
    pub pending_deletes: u64,
    /// Objects that have failed at least once and are being retried.
    pub failing: u64,
    /// The latest failure, in words.
    pub last_error: Option<String>,
}

impl UploadStatus {
    /// Whether everything acknowledged is in S3.
    pub fn is_idle(&self) -> bool {
        self.dirty_files == 0 && self.pending_deletes == 0
    }
}

/// One file share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShareStatus {
    /// Name; the export path is `/NAME`.
    pub name: ShareName,
    /// Bucket.
    pub bucket: BucketName,
    /// Prefix.
    pub prefix: KeyPrefix,
    /// Whether its bucket answers.
    pub state: ShareState,
    /// Read-only by its settings.
    pub read_only: bool,
    /// Objects and prefixes in the bucket that no file name can stand for, met in listings so far: they
    /// are shown under an alias.
    pub unrepresentable_keys: u64,
    /// Refreshes by command that are under way.
    #[serde(default)]
    pub refreshes: Vec<RefreshStatus>,
}

/// A refresh by command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshStatus {
    /// The directory; empty for the root.
    pub path: String,
    /// Whether everything below it is listed too.
    pub recursive: bool,
    /// Seconds since 1970.
    pub begun_at_unix_seconds: i64,
    /// Directories met so far.
    pub directories_found: u64,
    /// Of those, how many are done.
    pub directories_done: u64,
    /// Names met so far.
    pub names: u64,
}

/// Whether a share can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "reason")]
pub enum ShareState {
    /// Not asked yet.
    #[default]
    Starting,
    /// Its bucket answers.
    Available,
    /// Its bucket does not; cached files are served and writes are kept. Why, and what to do.
    Unavailable(String),
}

/// Something that the operator should know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthEvent {
    /// Seconds since 1970.
    pub at_unix_seconds: i64,
    /// What kind of event.
    pub kind: HealthEventKind,
    /// The share, where one is concerned.
    pub share: Option<ShareName>,
    /// What happened and what to do, in words.
    pub message: String,
}

/// Kinds of event, named as AWS's health notifications where AWS has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthEventKind {
    /// The object changed behind us; both versions were kept.
    Conflict,
    /// A dirty file's bytes are gone from the cache disk.
    DataLost,
    /// The object's storage class cannot be read at once.
    InaccessibleStorageClass,
    /// The store refused the request.
    AccessDenied,
    /// The store refused the credentials.
    CredentialsRejected,
    /// An upload failed and is being retried.
    UploadFailing,
    /// The cache disk is nearly full of data not yet in S3.
    CacheFull,
    /// A key in the bucket cannot be a file name, and is shown under an alias.
    UnrepresentableKey,
}

/// Where one file, directory or symbolic link stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStatus {
    /// `file`, `directory` or `symlink`.
    pub kind: String,
    /// Its bytes.
    pub size: ByteSize,
    /// How many of them are on the cache disk.
    pub cached: ByteSize,
    /// The bucket of its object.
    pub bucket: BucketName,
    /// The key of its object.
    pub key: String,
    /// Tag of the object that S3 has of it; none when S3 has none.
    pub etag: Option<String>,
    /// What is still to be done.
    pub state: FileState,
}

/// Whether S3 has a file as it is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum FileState {
    /// It has.
    InS3,
    /// It is being written, or waits for its upload.
    Waiting,
    /// It is being uploaded.
    Uploading,
    /// Its upload has failed and is tried again.
    Failing {
        /// How often it has been tried.
        attempts: u64,
        /// Why it failed last.
        error: String,
    },
}

impl GatewayStatus {
    /// The Linux command that mounts `share` from the gateway at `host`.
    ///
    /// `nolock` because the gateway serves no NLM; `hard` so that no write is ever dropped.
    pub fn mount_command(host: &str, share: &ShareName) -> String {
        format!("mount -t nfs -o vers=3,nolock,hard {host}:/{share} /mnt/{share}")
    }
}
