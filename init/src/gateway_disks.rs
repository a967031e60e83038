//! What the gateway says of its cache disks, and what it is asked about them: the one place that knows how
//! they are spoken of on its admin socket.
use std::time::Duration;

use gateway_api::{ByteSize, admin::ADMIN_SOCKET, client::AdminClient};
use serde::{Deserialize, Serialize};

/// The gateway answers at once or not at all.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// It looks through its catalog for what is lost.
const FORGET_TIME: Duration = Duration::from_secs(120);
const DISKS: &str = "/v1/disks";

/// A cache disk as the gateway sees it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct GatewayDisk {
    /// UUID of its file system; `primary` for the primary one.
    pub(crate) name: String,
    /// Whether the catalog is on it.
    pub(crate) primary: bool,
    pub(crate) state: DiskState,
    /// Size of its file system.
    pub(crate) total: ByteSize,
    /// Bytes that are free on it.
    pub(crate) free: ByteSize,
    /// Bytes of files on it.
    #[serde(rename = "cached_bytes")]
    pub(crate) cached: ByteSize,
    /// Bytes of files on it that are not in the bucket yet.
    #[serde(rename = "dirty_bytes")]
    pub(crate) dirty: ByteSize,
    /// Files with bytes on it.
    pub(crate) files: u64,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DiskState {
    InUse,
    /// Nothing new goes there, and what is there leaves it.
    Draining,
    /// Drained: it may be taken away.
    Empty,
    /// It is known and not there.
    Missing,
}

impl DiskState {
    /// In words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::InUse => "in use",
            Self::Draining => "being emptied",
            Self::Empty => "empty",
            Self::Missing => "missing",
        }
    }
}

/// What may be asked about a further disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Empty it, so that it can be taken away.
    Release,
    /// Use it again after all.
    Keep,
}

#[derive(Deserialize)]
struct Known {
    disks: Vec<GatewayDisk>,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Forgotten<'a> {
    name: &'a str,
    /// Whether files that are nowhere else may be lost with it.
    lose_dirty: bool,
}

#[derive(Deserialize)]
struct Lost {
    lost_files: u64,
}

/// Every disk of the gateway.
///
/// # Errors
/// It does not tell; why.
pub(crate) fn list() -> Result<Vec<GatewayDisk>, String> {
    let answer = client().request("GET", DISKS, b"").map_err(words)?;
    serde_json::from_slice(&answer).map(|known: Known| known.disks).map_err(words)
}

/// Asks something about one of them.
///
/// # Errors
/// It refuses; why, and what to do.
pub(crate) fn ask(verb: Verb, name: &str) -> Result<(), String> {
    let path = match verb {
        Verb::Release => "/v1/disks/release",
        Verb::Keep => "/v1/disks/keep",
    };
    let body = serde_json::to_vec(&Named { name }).map_err(words)?;
    client().request("POST", path, &body).map(drop).map_err(words)
}

/// Has it forget a missing disk, if it has nothing that is nowhere else.
///
/// # Errors
/// It refuses; why, and what to do.
pub(crate) fn forget(name: &str) -> Result<(), String> {
    post_forget(&Forgotten { name, lose_dirty: false }).map(drop)
}

/// Has it do without a missing disk, and without what was only there. Answers how many files that were.
///
/// # Errors
/// It refuses; why, and what to do.
pub(crate) fn give_up(name: &str) -> Result<u64, String> {
    post_forget(&Forgotten { name, lose_dirty: true })
}

fn post_forget(forgotten: &Forgotten<'_>) -> Result<u64, String> {
    let body = serde_json::to_vec(forgotten).map_err(words)?;
    let client = AdminClient::new(ADMIN_SOCKET, FORGET_TIME);
    let answer = client.request("POST", "/v1/disks/forget", &body).map_err(words)?;
    serde_json::from_slice(&answer).map(|lost: Lost| lost.lost_files).map_err(words)
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn client() -> AdminClient {
    AdminClient::new(ADMIN_SOCKET, ANSWER_TIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_s_answers_are_understood() {
        let answer = r#"{"disks":[{"name":"primary","path":"/cache","primary":true,"state":"in_use",
            "total":100,"free":40,"cached_bytes":50,"dirty_bytes":7,"dirty_files":2,"files":9}]}"#;
        let known: Known = serde_json::from_str(answer).unwrap();
        let expected = GatewayDisk {
            name: "primary".to_owned(),
            primary: true,
            state: DiskState::InUse,
            total: ByteSize(100),
            free: ByteSize(40),
            cached: ByteSize(50),
            dirty: ByteSize(7),
            files: 9,
        };
        assert_eq!(known.disks, [expected]);
        let lost: Lost = serde_json::from_str(r#"{"lost":[],"lost_files":3}"#).unwrap();
        assert_eq!(lost.lost_files, 3);
    }
}
