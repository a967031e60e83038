//! Routes of the admin API, spoken as HTTP/1.1 with JSON over a Unix socket.

/// Where the appliance's gateway listens for its console and command line.
pub const ADMIN_SOCKET: &str = "/run/gateway/admin.sock";
/// `GET`: [`crate::GatewayStatus`].
pub const STATUS: &str = "/v1/status";
/// `GET`: the settings as TOML without secrets; `PUT`: replaces them (the body is TOML), with the query
/// [`ReplaceQuery`], and answers [`SettingsReport`]. Refused with 409 while a share that they leave out has what S3 does not have.
pub const SETTINGS: &str = "/v1/settings";
/// `POST`: list a share's directories again; body [`RefreshRequest`]. Answers [`RefreshReport`] at the
/// end; meanwhile [`crate::GatewayStatus`] shows how far it is. Hanging up ends it.
pub const REFRESH: &str = "/v1/refresh";
/// `POST`: where one file stands; body [`FileRequest`], answer [`crate::FileStatus`].
pub const FILE: &str = "/v1/file";
/// `POST`: keys that are shown under an alias; body [`KeysRequest`], answer [`KeysPage`].
pub const KEYS: &str = "/v1/keys";
/// `POST`: what fails to get to S3; body [`crate::failing::FailingRequest`], answer
/// [`crate::failing::FailingPage`].
pub const FAILING: &str = "/v1/failing";
/// `POST`: answers when everything acknowledged before the call is in S3.
pub const FLUSH: &str = "/v1/flush";

/// `GET`: the cache disks, [`crate::disks::DisksStatus`].
pub const DISKS: &str = "/v1/disks";
/// `POST`: empties a cache disk so that it can be taken away; body [`crate::disks::DiskRequest`]. Answers at
/// once; [`DISKS`] shows how far it is.
pub const DISKS_RELEASE: &str = "/v1/disks/release";
/// `POST`: takes that back; the same body.
pub const DISKS_KEEP: &str = "/v1/disks/keep";
/// `POST`: forgets a cache disk that is gone for ever; body [`crate::disks::ForgetRequest`], answer
/// [`crate::disks::ForgetReport`].
pub const DISKS_FORGET: &str = "/v1/disks/forget";

/// `POST`: tests a connection to S3 before it is set; body [`crate::connection::ConnectionTest`]. Answers
/// one [`crate::connection::StepReport`] per line, each as soon as its step has ended.
pub const TEST_CONNECTION: &str = "/v1/test-connection";

/// Query of a `PUT` of [`SETTINGS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplaceQuery {
    /// Only if the settings in force still have this revision.
    pub revision: Option<u64>,
    /// Also if shares go of which S3 does not have everything (AWS DeleteFileShare, ForceDelete).
    #[serde(default)]
    pub force_delete: bool,
}

/// What new settings have come to. They are in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SettingsReport {
    /// Their revision.
    pub revision: u64,
    /// Shares of theirs that cannot be served.
    #[serde(default)]
    pub refused: Vec<RefusedShare>,
}

/// A share that the settings name and that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RefusedShare {
    /// Its name.
    pub share: crate::ShareName,
    /// Why, and what to do.
    pub reason: String,
}

/// Body of [`REFRESH`].
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefreshRequest {
    /// The share.
    pub share: crate::ShareName,
    /// Directory inside it; empty for the root.
    #[serde(default)]
    pub path: String,
    /// Whether everything below it is listed too.
    #[serde(default)]
    pub recursive: bool,
}

/// What a refresh has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RefreshReport {
    /// Directories listed.
    pub directories: u64,
    /// Names that they hold in the bucket.
    pub names: u64,
    /// Directories that could not be listed; what is known of them stays.
    pub failed: u64,
    /// Why the first of those failed.
    pub first_failure: Option<String>,
}

/// Body of [`KEYS`].
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysRequest {
    /// The share.
    pub share: crate::ShareName,
    /// Where an earlier page ended ([`KeysPage::next`]); 0 for the first.
    #[serde(default)]
    pub after: u64,
}

/// Some of the keys that are shown under an alias, of those met in listings so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KeysPage {
    /// At most a thousand.
    pub keys: Vec<AliasedKey>,
    /// Where the next page begins; none on the last.
    pub next: Option<u64>,
}

/// An object, or a prefix of keys, that no file name can stand for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AliasedKey {
    /// Its key in the bucket.
    pub key: String,
    /// The path under which it is shown.
    pub path: String,
    /// Why it has an alias.
    pub reason: String,
}

/// Body of [`FILE`].
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRequest {
    /// The share.
    pub share: crate::ShareName,
    /// File, directory or symbolic link inside it.
    pub path: String,
}

/// Body of every refusal.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct ErrorBody {
    /// What is wrong and what to do.
    pub error: String,
}
