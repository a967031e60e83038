//! Routes of the admin API, spoken as HTTP/1.1 with JSON over a Unix socket.

/// Where the appliance's gateway listens for its console and command line.
pub const ADMIN_SOCKET: &str = "/run/gateway/admin.sock";
/// `GET`: [`crate::GatewayStatus`].
pub const STATUS: &str = "/v1/status";
/// `GET`: the settings as TOML without secrets; `PUT`: replaces them (the body is TOML).
pub const SETTINGS: &str = "/v1/settings";
/// `POST`: list a share's directories again; body [`RefreshRequest`].
pub const REFRESH: &str = "/v1/refresh";
/// `POST`: where one file stands; body [`FileRequest`], answer [`crate::FileStatus`].
pub const FILE: &str = "/v1/file";
/// `POST`: answers when everything acknowledged before the call is in S3.
pub const FLUSH: &str = "/v1/flush";

/// Body of [`REFRESH`].
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefreshRequest {
    /// The share.
    pub share: crate::ShareName,
    /// Directory inside it; empty for the root.
    #[serde(default)]
    pub path: String,
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
