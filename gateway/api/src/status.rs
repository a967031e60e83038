//! The status document: what console, command line and tests see of a running gateway.
use serde::{Deserialize, Serialize};

use crate::{
    figures::Figures,
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
    /// Whether the machine may be shut down with everything in S3.
    #[serde(default)]
    pub shutdown: Shutdown,
    /// What all shares have done since the start.
    #[serde(default)]
    pub figures: Figures,
    /// The machine.
    #[serde(default)]
    pub machine: MachineStatus,
    /// Directories whose rename S3 does not have yet, the oldest first, twenty at most.
    #[serde(default)]
    pub renames: Vec<RenameStatus>,
    /// File shares, in the order of the settings.
    pub shares: Vec<ShareStatus>,
    /// Shares that the settings do not name any more, of which S3 does not have everything.
    #[serde(default)]
    pub stranded: Vec<StrandedShare>,
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
    /// How long the file that has waited longest has waited, in seconds; none when none waits.
    #[serde(default)]
    pub oldest_seconds: Option<u64>,
    /// How long the rest takes at the rate of the last seconds; none when nothing moves.
    #[serde(default)]
    pub drain_seconds: Option<u64>,
}

/// Whether everything that has been acknowledged is in S3: one word. Shutting down loses nothing in any
/// of these; what is not in S3 stays on the cache disk and goes on at the next start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shutdown {
    /// It is.
    Safe,
    /// Not yet.
    #[default]
    Uploading,
    /// It is not, and nothing gets through until somebody mends what the status names.
    Stuck,
}

impl Shutdown {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Uploading => "uploading",
            Self::Stuck => "stuck",
        }
    }
}

/// The machine that the gateway runs on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MachineStatus {
    /// Memory there is.
    pub memory_total: ByteSize,
    /// Memory in use, without what the kernel would give back.
    pub memory_used: ByteSize,
    /// Processor time spent in programs over the last seconds, in percent.
    pub user_cpu_percent: f64,
    /// Processor time spent waiting for disks over the last seconds, in percent.
    pub io_wait_percent: f64,
    /// Connections of NFS clients.
    pub nfs_sessions: u64,
}

/// How far the move of a renamed directory's objects is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenameStatus {
    /// The share.
    pub share: ShareName,
    /// The prefix that the objects had.
    pub from: String,
    /// The prefix that they get; none when the directory has been removed since.
    pub to: Option<String>,
    /// Objects found to move so far.
    pub objects: u64,
    /// Whether these are all.
    pub all_found: bool,
    /// Objects that still wait for their copy; 100,000 stands for that many or more.
    pub objects_left: u64,
    /// What the whole move costs in requests: a question, a copy and a deletion for each object found.
    pub requests: u64,
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
    /// What is still to be uploaded.
    #[serde(default)]
    pub upload: UploadStatus,
    /// What it has done since the start.
    #[serde(default)]
    pub figures: Figures,
    /// What its bucket can do, as far as it was asked.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// What of it is pinned, if anything is.
    #[serde(default)]
    pub pinned: Option<PinnedStatus>,
    /// Refreshes by command that are under way.
    #[serde(default)]
    pub refreshes: Vec<RefreshStatus>,
}

/// What is left of a share that the settings do not name any more. It waits on the cache disk, and is uploaded
/// when they name a share with these three again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrandedShare {
    /// Its name.
    pub name: ShareName,
    /// Its bucket.
    pub bucket: BucketName,
    /// Its prefix.
    pub prefix: KeyPrefix,
    /// What S3 does not have.
    pub upload: UploadStatus,
}

/// Whether a store can do one thing, found out by trying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ability {
    /// Not asked: the share is read-only, or its bucket has not answered yet.
    #[default]
    Unknown,
    /// It does.
    Yes,
    /// It says that it does not.
    No,
    /// It says that it does and does not: the condition did not hold and the change was made.
    Ignored,
}

/// What a bucket can do that S3 can, each found out by trying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// PutObject with `If-None-Match: *`.
    pub put_if_absent: Ability,
    /// PutObject with `If-Match`.
    pub put_if_match: Ability,
    /// CompleteMultipartUpload with `If-None-Match: *`.
    pub complete_if_absent: Ability,
    /// CompleteMultipartUpload with `If-Match`.
    pub complete_if_match: Ability,
    /// CopyObject with `If-None-Match: *`.
    pub copy_if_absent: Ability,
    /// CopyObject with `If-Match`.
    pub copy_if_match: Ability,
    /// CopyObject with `x-amz-copy-source-if-match`.
    pub copy_source_if_match: Ability,
    /// DeleteObject with `If-Match`.
    pub delete_if_match: Ability,
    /// UploadPartCopy.
    pub upload_part_copy: Ability,
    /// UploadPartCopy with `x-amz-copy-source-if-match`.
    pub part_copy_source_if_match: Ability,
    /// ListMultipartUploads.
    pub list_multipart_uploads: Ability,
    /// Whole-object checksums, `x-amz-checksum-crc64nvme`.
    pub crc64nvme: Ability,
}

impl Capabilities {
    /// The same of everything: S3 itself is [`Ability::Yes`].
    pub fn all(ability: Ability) -> Self {
        Self {
            put_if_absent: ability,
            put_if_match: ability,
            complete_if_absent: ability,
            complete_if_match: ability,
            copy_if_absent: ability,
            copy_if_match: ability,
            copy_source_if_match: ability,
            delete_if_match: ability,
            upload_part_copy: ability,
            part_copy_source_if_match: ability,
            list_multipart_uploads: ability,
            crc64nvme: ability,
        }
    }

    /// Every ability under its name.
    pub fn each(&self) -> [(&'static str, Ability); 12] {
        [
            ("put_if_absent", self.put_if_absent),
            ("put_if_match", self.put_if_match),
            ("complete_if_absent", self.complete_if_absent),
            ("complete_if_match", self.complete_if_match),
            ("copy_if_absent", self.copy_if_absent),
            ("copy_if_match", self.copy_if_match),
            ("copy_source_if_match", self.copy_source_if_match),
            ("delete_if_match", self.delete_if_match),
            ("upload_part_copy", self.upload_part_copy),
            ("part_copy_source_if_match", self.part_copy_source_if_match),
            ("list_multipart_uploads", self.list_multipart_uploads),
            ("crc64nvme", self.crc64nvme),
        ]
    }

    /// Whether nothing was asked.
    pub fn are_unknown(&self) -> bool {
        self.each().iter().all(|(_, ability)| *ability == Ability::Unknown)
    }

    /// The conditions of writes and deletions that the store does not keep, by name.
    pub fn conditions_not_kept(&self) -> Vec<&'static str> {
        let not_kept = |name: &str, ability: Ability| match ability {
            Ability::No | Ability::Ignored => name.contains("_if_"),
            Ability::Yes | Ability::Unknown => false,
        };
        let each = self.each().into_iter();
        each.filter(|(name, ability)| not_kept(name, *ability)).map(|(name, _)| name).collect()
    }
}

/// Pinned files, as far as listings have them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedStatus {
    /// Their bytes.
    pub total: ByteSize,
    /// How many of them are on the cache disk.
    pub cached: ByteSize,
    /// Whether all are, and all directories below pinned paths are known.
    pub complete: bool,
    /// Why nothing more comes at the moment, and when it is tried again, in words; none while it does.
    #[serde(default)]
    pub problem: Option<String>,
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
    /// Bytes on the cache disk are not those that were written there.
    CacheDamaged,
    /// The catalog was lost or damaged, and has been made anew.
    CatalogRebuilt,
    /// A cache disk does not take what is written to it.
    CacheDiskFailing,
    /// A cache disk is not there, and has what S3 does not have.
    CacheDiskMissing,
    /// The object's storage class cannot be read at once.
    InaccessibleStorageClass,
    /// The store refused the request.
    AccessDenied,
    /// The store refused the credentials.
    CredentialsRejected,
    /// The credentials end soon.
    CredentialsExpiring,
    /// An upload failed and is being retried.
    UploadFailing,
    /// A share of the settings cannot be served as they are.
    ShareRefused,
    /// The settings do not name a share any more of which S3 does not have everything.
    ShareStranded,
    /// Bytes came from the store, or came to it, cut short or other than they were sent.
    TransferDamaged,
    /// The cache disk is nearly full of data not yet in S3.
    CacheFull,
    /// Pinned files do not fit on the cache disk.
    PinsDoNotFit,
    /// A key in the bucket cannot be a file name, and is shown under an alias.
    UnrepresentableKey,
    /// The store lacks an ability of S3's, or pretends to have it.
    StoreLacksAbility,
    /// The store refuses listings, or answers them with what cannot be one.
    ListingInvalid,
    /// A directory holds more names than are listed.
    DirectoryTooLarge,
    /// The machine's time zone cannot be read, which the bandwidth schedule follows.
    TimeZoneUnknown,
}

impl HealthEventKind {
    /// Its name in the status document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::DataLost => "data_lost",
            Self::CacheDamaged => "cache_damaged",
            Self::CatalogRebuilt => "catalog_rebuilt",
            Self::CacheDiskFailing => "cache_disk_failing",
            Self::CacheDiskMissing => "cache_disk_missing",
            Self::InaccessibleStorageClass => "inaccessible_storage_class",
            Self::AccessDenied => "access_denied",
            Self::CredentialsRejected => "credentials_rejected",
            Self::CredentialsExpiring => "credentials_expiring",
            Self::UploadFailing => "upload_failing",
            Self::ShareRefused => "share_refused",
            Self::ShareStranded => "share_stranded",
            Self::TransferDamaged => "transfer_damaged",
            Self::CacheFull => "cache_full",
            Self::PinsDoNotFit => "pins_do_not_fit",
            Self::UnrepresentableKey => "unrepresentable_key",
            Self::StoreLacksAbility => "store_lacks_ability",
            Self::ListingInvalid => "listing_invalid",
            Self::DirectoryTooLarge => "directory_too_large",
            Self::TimeZoneUnknown => "time_zone_unknown",
        }
    }
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
    /// Version of that object in a bucket with versions; none where it is not known.
    #[serde(default)]
    pub version_id: Option<String>,
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
    /// Bytes of it are nowhere, as others have replaced or deleted the object that alone had them. It is
    /// not uploaded before somebody writes them.
    Incomplete {
        /// Which, and what to do.
        reason: String,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_events_have_the_same_name_everywhere() {
        for kind in [
            HealthEventKind::Conflict,
            HealthEventKind::DataLost,
            HealthEventKind::CacheDamaged,
            HealthEventKind::CatalogRebuilt,
            HealthEventKind::CacheDiskFailing,
            HealthEventKind::CacheDiskMissing,
            HealthEventKind::InaccessibleStorageClass,
            HealthEventKind::AccessDenied,
            HealthEventKind::CredentialsRejected,
            HealthEventKind::CredentialsExpiring,
            HealthEventKind::UploadFailing,
            HealthEventKind::ShareRefused,
            HealthEventKind::ShareStranded,
            HealthEventKind::TransferDamaged,
            HealthEventKind::CacheFull,
            HealthEventKind::PinsDoNotFit,
            HealthEventKind::UnrepresentableKey,
            HealthEventKind::StoreLacksAbility,
            HealthEventKind::ListingInvalid,
            HealthEventKind::DirectoryTooLarge,
            HealthEventKind::TimeZoneUnknown,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
