//! The gateway's settings: one TOML document, versioned, strict about unknown names.
//!
//! Owns the shape, the defaults and the checks; the gateway keeps the current document in its
//! settings database and applies it. `gateway/docs/settings.md` documents every field.
mod error;
mod s3;

use serde::{Deserialize, Serialize};

pub use self::{
    error::{SettingsError, without_value},
    s3::{Addressing, S3Settings},
};

use crate::{
    bandwidth::{self, BandwidthInterval},
    names::{BucketName, ClientSpec, KeyPrefix, ShareName},
};

/// The document version that this build reads and writes.
pub const SETTINGS_VERSION: u32 = 1;
/// Most file shares on one gateway (AWS: 50).
pub const SHARES_MAX: usize = 50;
/// Most entries in a client list (AWS ClientList: 100).
pub const CLIENTS_MAX: usize = 100;

/// Most pinned paths of a share: each is compared with each file that could leave the cache.
pub const PINNED_MAX: usize = 100;

/// Everything that the gateway (not the machine) is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// [`SETTINGS_VERSION`].
    pub version: u32,
    /// Where and how objects are stored.
    #[serde(default)]
    pub s3: S3Settings,
    /// The write-back cache.
    #[serde(default)]
    pub cache: CacheSettings,
    /// How much of the link to S3 may be used when, each `[[bandwidth]]`; no limit at other times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bandwidth: Vec<BandwidthInterval>,
    /// Metrics for others to fetch.
    #[serde(default)]
    pub metrics: MetricsSettings,
    /// File shares, each `[[share]]`.
    #[serde(default, rename = "share")]
    pub shares: Vec<ShareSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: SETTINGS_VERSION,
            s3: S3Settings::default(),
            cache: CacheSettings::default(),
            bandwidth: Vec::new(),
            metrics: MetricsSettings::default(),
            shares: Vec::new(),
        }
    }
}

/// The write-back cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSettings {
    /// Quiet time after the last write to a file before its upload begins, in milliseconds.
    pub upload_delay_ms: u64,
    /// How long a file that is written on and on may be kept from S3, in milliseconds from when its upload would have
    /// begun; 0 = until it is left alone.
    pub upload_latest_ms: u64,
    /// Most uploads under way at once; how many are, the gateway finds by what they bring.
    pub uploads_max: u32,
    /// Files of at least this many bytes are uploaded while they are still being written; 0 = never.
    pub early_upload_bytes: u64,
    /// Uploads in parts below a share's prefix that this gateway does not know and that were begun so many
    /// days ago are aborted; 0 = never.
    pub orphaned_upload_days: u32,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            upload_delay_ms: 2000,
            upload_latest_ms: 300_000,
            uploads_max: 128,
            early_upload_bytes: 1 << 30,
            orphaned_upload_days: 7,
        }
    }
}

/// Where Prometheus may fetch metrics: `http://ADDRESS:PORT/metrics`. They name shares and buckets, and
/// whoever is listed may read them without a password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsSettings {
    /// `ADDRESS:PORT`; left out: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<std::net::SocketAddr>,
    /// Who may fetch them.
    pub client_list: Vec<ClientSpec>,
}

/// S3 storage class of new objects (AWS DefaultStorageClass).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StorageClass {
    /// S3 Standard.
    #[default]
    Standard,
    /// S3 Intelligent-Tiering.
    IntelligentTiering,
    /// S3 Standard-IA.
    StandardIa,
    /// S3 One Zone-IA.
    OnezoneIa,
}

impl StorageClass {
    /// The name in S3 requests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::IntelligentTiering => "INTELLIGENT_TIERING",
            Self::StandardIa => "STANDARD_IA",
            Self::OnezoneIa => "ONEZONE_IA",
        }
    }
}

/// Server-side encryption of new objects (AWS EncryptionType).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encryption {
    /// As the bucket's default encryption says.
    #[default]
    BucketDefault,
    /// With keys of S3.
    SseS3,
    /// With a key of KMS.
    SseKms,
    /// With a key of KMS, in two layers.
    DsseKms,
}

impl Encryption {
    /// The name in S3 requests; `None` leaves it to the bucket.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::BucketDefault => None,
            Self::SseS3 => Some("AES256"),
            Self::SseKms => Some("aws:kms"),
            Self::DsseKms => Some("aws:kms:dsse"),
        }
    }

    fn uses_kms(self) -> bool {
        match self {
            Self::BucketDefault | Self::SseS3 => false,
            Self::SseKms | Self::DsseKms => true,
        }
    }
}

/// Who besides their owner may use new objects (AWS ObjectACL): S3's canned ACLs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectAcl {
    /// Nobody. Sent as no ACL at all: buckets that have ACLs switched off refuse most of them.
    #[default]
    Private,
    /// Everybody may read.
    PublicRead,
    /// Everybody may read and write.
    PublicReadWrite,
    /// Every AWS account may read.
    AuthenticatedRead,
    /// The bucket's owner may read.
    BucketOwnerRead,
    /// The bucket's owner may do everything.
    BucketOwnerFullControl,
    /// EC2 may read, for machine images.
    AwsExecRead,
}

impl ObjectAcl {
    /// The name in S3 requests; `None` for no ACL.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Private => None,
            Self::PublicRead => Some("public-read"),
            Self::PublicReadWrite => Some("public-read-write"),
            Self::AuthenticatedRead => Some("authenticated-read"),
            Self::BucketOwnerRead => Some("bucket-owner-read"),
            Self::BucketOwnerFullControl => Some("bucket-owner-full-control"),
            Self::AwsExecRead => Some("aws-exec-read"),
        }
    }
}

/// Which callers lose their identity (AWS Squash).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Squash {
    /// uid 0 and gid 0 become the anonymous ones.
    #[default]
    RootSquash,
    /// Callers are who they say.
    NoSquash,
    /// Everybody is anonymous.
    AllSquash,
}

/// One file share: a bucket and prefix under an export path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareSettings {
    /// Name; the export path is `/NAME`.
    pub name: ShareName,
    /// Bucket.
    pub bucket: BucketName,
    /// The part of the bucket that the share shows.
    #[serde(default)]
    pub prefix: KeyPrefix,
    /// Storage class of new objects.
    #[serde(default)]
    pub storage_class: StorageClass,
    /// Encryption of new objects.
    #[serde(default)]
    pub encryption: Encryption,
    /// KMS key for it: ARN, id or alias. Empty: the account's own key for S3 (`aws/s3`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kms_key: String,
    /// Who besides their owner may use new objects.
    #[serde(default)]
    pub object_acl: ObjectAcl,
    /// The bucket is somebody else's, and this gateway's account pays for the requests.
    #[serde(default)]
    pub requester_pays: bool,
    /// Who may mount and use the share. Left out: everyone. Empty: nobody.
    #[serde(default = "ClientSpec::everyone")]
    pub client_list: Vec<ClientSpec>,
    /// Refuse every change.
    #[serde(default)]
    pub read_only: bool,
    /// Which callers lose their identity.
    #[serde(default)]
    pub squash: Squash,
    /// Serve only callers whose source port is below 1024.
    #[serde(default)]
    pub require_privileged_port: bool,
    /// uid of squashed callers, and owner of objects without ownership metadata.
    #[serde(default = "nobody")]
    pub owner_id: u32,
    /// gid of squashed callers, and group of objects without ownership metadata.
    #[serde(default = "nobody")]
    pub group_id: u32,
    /// Mode of files without mode metadata, in octal (`"0666"`).
    #[serde(default = "file_mode", with = "octal")]
    pub file_mode: u32,
    /// Mode of directories without mode metadata, in octal (`"0777"`).
    #[serde(default = "directory_mode", with = "octal")]
    pub directory_mode: u32,
    /// Age in seconds after which a directory is listed again on access; 0 = only on command.
    #[serde(default = "stale_seconds")]
    pub cache_stale_timeout_seconds: u32,
    /// Set Content-Type from the file name.
    #[serde(default = "yes")]
    pub guess_mime_type: bool,
    /// Paths in the share of files and directories that are fetched and stay on the cache disk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pinned: Vec<String>,
}

fn nobody() -> u32 {
    65534
}
fn file_mode() -> u32 {
    0o666
}
fn directory_mode() -> u32 {
    0o777
}
fn stale_seconds() -> u32 {
    5
}
fn yes() -> bool {
    true
}

/// Whether `path` can be a path below a share's root; a `/` at its end does no harm.
fn is_path(path: &str) -> bool {
    let names = path.strip_suffix('/').unwrap_or(path);
    names.len() <= 1024
        && names.split('/').all(|name| {
            !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains('\0')
        })
}

mod octal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(mode: &u32, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{mode:04o}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
        let text = String::deserialize(from)?;
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if mode <= 0o7777 && text.len() <= 5 => Ok(mode),
            _ => Err(D::Error::custom(format!("{text:?} is not an octal mode such as \"0644\""))),
        }
    }
}

impl ShareSettings {
    /// A share of a bucket and prefix with every other setting at its default.
    pub fn new(name: ShareName, bucket: BucketName, prefix: KeyPrefix) -> Self {
        Self {
            name,
            bucket,
            prefix,
            storage_class: StorageClass::default(),
            encryption: Encryption::default(),
            kms_key: String::new(),
            object_acl: ObjectAcl::default(),
            requester_pays: false,
            client_list: ClientSpec::everyone(),
            read_only: false,
            squash: Squash::default(),
            require_privileged_port: false,
            owner_id: nobody(),
            group_id: nobody(),
            file_mode: file_mode(),
            directory_mode: directory_mode(),
            cache_stale_timeout_seconds: stale_seconds(),
            guess_mime_type: true,
            pinned: Vec::new(),
        }
    }
}

impl Settings {
    /// Reads and checks a document.
    ///
    /// # Errors
    /// [`SettingsError`]; show its message to the operator as it is.
    pub fn from_toml(text: &str) -> Result<Self, SettingsError> {
        let settings: Self =
            toml::from_str(text).map_err(|error| SettingsError::syntax(text, &error))?;
        settings.check()?;
        Ok(settings)
    }

    /// Writes the document, secrets included: for the settings store and the export only.
    ///
    /// # Errors
    /// [`SettingsError::Write`], which no checked document causes.
    pub fn to_toml(&self) -> Result<String, SettingsError> {
        Ok(toml::to_string(self).map_err(Box::new)?)
    }

    /// Checks what the field types alone cannot. Missing S3 settings are not an error here: the
    /// gateway runs and says in its status what is missing ([`Settings::missing_for_s3`]).
    ///
    /// # Errors
    /// [`SettingsError::Version`] or the first [`SettingsError::Field`].
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.version != SETTINGS_VERSION {
            return Err(SettingsError::Version { found: self.version });
        }
        let refuse = |field: &str, problem: String| Err(SettingsError::field(field, problem));
        self.s3.check()?;
        if !(1..=256).contains(&self.cache.uploads_max) {
            return refuse("cache.uploads_max", "must be 1 to 256".to_owned());
        }
        if self.cache.upload_delay_ms > 3_600_000 {
            return refuse(
                "cache.upload_delay_ms",
                "must be at most 3600000 (one hour)".to_owned(),
            );
        }
        if !matches!(self.cache.upload_latest_ms, 0 | 1000..=86_400_000) {
            return refuse(
                "cache.upload_latest_ms",
                "must be 1000 to 86400000 (one day), or 0 for no such time".to_owned(),
            );
        }
        if let Some(problem) = bandwidth::problem(&self.bandwidth) {
            return refuse("bandwidth", problem);
        }
        if self.metrics.listen.is_some() && self.metrics.client_list.is_empty() {
            return refuse(
                "metrics.client_list",
                "name the addresses or networks that may fetch the metrics".to_owned(),
            );
        }
        if self.metrics.client_list.len() > CLIENTS_MAX {
            return refuse("metrics.client_list", format!("at most {CLIENTS_MAX} entries"));
        }
        if self.shares.len() > SHARES_MAX {
            return refuse("share", format!("at most {SHARES_MAX} shares"));
        }
        for (i, share) in self.shares.iter().enumerate() {
            if self.shares[..i].iter().any(|other| other.name == share.name) {
                return refuse("share.name", format!("{} is used twice", share.name));
            }
            if share.bucket.is_arn() && self.s3.addressing == Addressing::Path {
                return refuse(
                    "share.bucket",
                    format!(
                        "{}: the ARN of an access point needs s3.addressing = \"virtual-host\"; with \"path\" give the access point's alias",
                        share.name
                    ),
                );
            }
            if !share.kms_key.is_empty() && !share.encryption.uses_kms() {
                return refuse(
                    "share.kms_key",
                    format!(
                        "{}: a KMS key is used with encryption = \"SseKms\" or \"DsseKms\" only",
                        share.name
                    ),
                );
            }
            if share.kms_key.chars().any(|c| !c.is_ascii_graphic()) {
                return refuse(
                    "share.kms_key",
                    format!("{}: must be the ARN, id or alias of a key", share.name),
                );
            }
            if share.pinned.len() > PINNED_MAX {
                return refuse(
                    "share.pinned",
                    format!("{}: at most {PINNED_MAX} paths", share.name),
                );
            }
            if let Some(path) = share.pinned.iter().find(|path| !is_path(path)) {
                return refuse(
                    "share.pinned",
                    format!(
                        "{}: {path:?} is no path in the share such as \"reports/2026/\"",
                        share.name
                    ),
                );
            }
            let overlaps = |other: &&ShareSettings| {
                let (ours, theirs) = (share.prefix.as_str(), other.prefix.as_str());
                other.bucket == share.bucket
                    && (ours.starts_with(theirs) || theirs.starts_with(ours))
                    && !(share.read_only || other.read_only)
            };
            if let Some(other) = self.shares[..i].iter().find(overlaps) {
                return refuse(
                    "share.prefix",
                    format!(
                        "{} and {} would both write under {}/{}: give them separate prefixes, or make one read_only",
                        other.name, share.name, share.bucket, share.prefix
                    ),
                );
            }
            if share.client_list.len() > CLIENTS_MAX {
                return refuse("share.client_list", format!("at most {CLIENTS_MAX} entries"));
            }
        }
        Ok(())
    }

    /// What must still be filled in before S3 can be used, in words for the operator.
    pub fn missing_for_s3(&self) -> Option<&'static str> {
        self.s3.missing()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORY: &str = r#"
        version = 1
        [s3]
        endpoint = "https://bucket.vpce-0a1b.s3.ap-northeast-2.vpce.amazonaws.com"
        region = "ap-northeast-2"
        access_key_id = "AKIDEXAMPLE"
        secret_access_key = "secret"
        [[share]]
        name = "sales"
        bucket = "sales-backup"
        prefix = "onprem"
    "#;

    /// S3 PutObject: the values of `x-amz-storage-class`, `x-amz-server-side-encryption` and `x-amz-acl`.
    #[test]
    fn what_goes_to_s3_is_spelled_as_s3_spells_it() {
        let share = |line: &str| {
            let settings = Settings::from_toml(&format!("{STORY}\n{line}\n"));
            settings.unwrap_or_else(|error| panic!("{line}: {error}")).shares.remove(0)
        };
        for class in ["STANDARD", "INTELLIGENT_TIERING", "STANDARD_IA", "ONEZONE_IA"] {
            let share = share(&format!("storage_class = \"{class}\""));
            assert_eq!(share.storage_class.as_str(), class);
        }
        for acl in [
            "public-read",
            "public-read-write",
            "authenticated-read",
            "bucket-owner-read",
            "bucket-owner-full-control",
            "aws-exec-read",
        ] {
            assert_eq!(share(&format!("object_acl = \"{acl}\"")).object_acl.as_str(), Some(acl));
        }
        let encrypted = share("encryption = \"SseS3\"");
        assert_eq!(encrypted.encryption.as_str(), Some("AES256"));
        for (ours, theirs) in [("SseKms", "aws:kms"), ("DsseKms", "aws:kms:dsse")] {
            let share = share(&format!("encryption = \"{ours}\"\nkms_key = \"a\""));
            assert_eq!(share.encryption.as_str(), Some(theirs));
        }
    }

    #[test]
    fn a_short_document_gets_the_documented_defaults() {
        let settings = Settings::from_toml(STORY).unwrap();
        let share = &settings.shares[0];
        assert_eq!(share.prefix.as_str(), "onprem/");
        assert_eq!(share.storage_class, StorageClass::Standard);
        assert_eq!((share.encryption.as_str(), share.object_acl.as_str()), (None, None));
        assert!(!share.requester_pays);
        assert_eq!((share.file_mode, share.directory_mode), (0o666, 0o777));
        assert_eq!((share.owner_id, share.squash), (65534, Squash::RootSquash));
        assert_eq!(settings.missing_for_s3(), None);
    }

    #[test]
    fn pinned_paths_are_below_the_share_s_root() {
        let with = |paths: &str| Settings::from_toml(&format!("{STORY}\n pinned = {paths}"));
        let share = with(r#"["reports/", "a/b c.csv"]"#).unwrap().shares.remove(0);
        assert_eq!(share.pinned, ["reports/", "a/b c.csv"]);
        for paths in
            [r#"["/a"]"#, r#"[""]"#, r#"["a//b"]"#, r#"["../a"]"#, r#"["a/./b"]"#, r#"["/"]"#]
        {
            let refused = with(paths).unwrap_err().to_string();
            assert!(refused.contains("share.pinned: sales:"), "{paths}: {refused}");
        }
        let many = format!("{:?}", vec!["a"; PINNED_MAX + 1]);
        assert!(with(&many).unwrap_err().to_string().contains("at most 100"));
    }

    #[test]
    fn documents_survive_a_round_trip() {
        let all = "encryption = \"DsseKms\"\nkms_key = \"alias/sales\"\n\
                   object_acl = \"bucket-owner-full-control\"\nrequester_pays = true\n\
                   [metrics]\nlisten = \"[::1]:9100\"\nclient_list = [\"::1\"]\n\
                   [[bandwidth]]\ndays = [\"mon\"]\nfrom = \"08:00\"\n\
                   upload_bits_per_second = 51200";
        for text in [STORY.to_owned(), format!("{STORY}\n{all}")] {
            let settings = Settings::from_toml(&text).unwrap();
            let again = Settings::from_toml(&settings.to_toml().unwrap()).unwrap();
            assert_eq!(settings, again);
        }
    }

    #[test]
    fn refusals_name_the_field() {
        for (change, says) in [
            ("version = 2", "version 2"),
            ("version = 1\ntypo = true", "typo"),
            ("version = 1\n[s3]\nendpoint = \"http://s3\"", "allow_http"),
            ("version = 1\n[s3]\nendpoint = \"s3.example\"", "https://"),
            ("version = 1\n[cache]\nuploads_max = 0", "uploads_max"),
            ("version = 1\n[cache]\nuploads_max = 257", "uploads_max"),
            ("version = 1\n[metrics]\nlisten = \"0.0.0.0:9100\"", "client_list"),
            ("version = 1\n[[bandwidth]]\nfrom = \"25:00\"", "time of day"),
            ("version = 1\n[[bandwidth]]\nupload_bits_per_second = 8", "51200"),
            ("version = 1\n[[share]]\nname = \"a/b\"\nbucket = \"bbb\"", "share name"),
            ("version = 1\n[[share]]\nname = \"a\"\nbucket = \"bbb\"\nfile_mode = \"9\"", "octal"),
            ("version = 1\n[[share]]\nname = \"a\"\nbucket = \"bbb\"\nkms_key = \"k\"", "SseKms"),
            (
                "version = 1\n[s3]\naddressing = \"path\"\n[[share]]\nname = \"a\"\nbucket = \"arn:aws:s3:eu-west-1:111122223333:accesspoint/ap1\"",
                "alias",
            ),
            (
                "version = 1\n[[share]]\nname = \"a\"\nbucket = \"bbb\"\nencryption = \"SseKms\"\nkms_key = \"a b\"",
                "alias",
            ),
            (
                "version = 1\n[[share]]\nname = \"a\"\nbucket = \"bbb\"\nobject_acl = \"public\"",
                "public-read",
            ),
            (
                "version = 1\n[[share]]\nname = \"a\"\nbucket = \"bbb\"\n[[share]]\nname = \"b\"\nbucket = \"bbb\"\nprefix = \"x\"",
                "separate prefixes",
            ),
        ] {
            let error = Settings::from_toml(change).unwrap_err().to_string();
            assert!(error.contains(says), "{change:?} gave {error:?}");
        }
    }

    #[test]
    fn the_default_document_is_valid_and_says_what_is_missing() {
        let settings = Settings::default();
        settings.check().unwrap();
        assert!(settings.missing_for_s3().unwrap().contains("region"));
    }
}
