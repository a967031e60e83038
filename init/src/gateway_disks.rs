//! What the gateway says of its cache disks, and what it is asked about them: the one place that knows how
//! they are spoken of on its admin socket.
use std::time::Duration;

use gateway_api::{
    admin::{self, ADMIN_SOCKET},
    client::AdminClient,
    disks::{DiskNameError, DiskRequest, DisksStatus, ForgetReport, ForgetRequest},
};
pub(crate) use gateway_api::{
    disks::{DiskState, DiskStatus as GatewayDisk},
    status::Shutdown,
};

/// The gateway answers at once or not at all.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// It looks through its catalog for what is lost.
const FORGET_TIME: Duration = Duration::from_secs(120);

/// In an operator's words.
pub(crate) fn words_of(state: DiskState) -> &'static str {
    match state {
        DiskState::InUse => "in use",
        DiskState::Draining => "being emptied",
        DiskState::Empty => "empty",
        DiskState::Missing => "missing",
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

/// Every disk of the gateway.
///
/// # Errors
/// It does not tell; why.
pub(crate) fn list() -> Result<Vec<GatewayDisk>, String> {
    let answer = client().request("GET", admin::DISKS, b"").map_err(words)?;
    serde_json::from_slice(&answer).map(|known: DisksStatus| known.disks).map_err(words)
}

/// The same, and whether S3 has everything: names, attributes and empty files are on no disk, and may wait for S3
/// all the same.
///
/// # Errors
/// It does not tell; why.
pub(crate) fn list_with_word() -> Result<(Vec<GatewayDisk>, Shutdown), String> {
    let disks = list()?;
    Ok((disks, client().status().map_err(words)?.shutdown))
}

/// Asks something about one of them.
///
/// # Errors
/// It refuses; why, and what to do.
pub(crate) fn ask(verb: Verb, name: &str) -> Result<(), String> {
    let path = match verb {
        Verb::Release => admin::DISKS_RELEASE,
        Verb::Keep => admin::DISKS_KEEP,
    };
    let name = name.parse().map_err(|error: DiskNameError| words(error))?;
    let body = serde_json::to_vec(&DiskRequest { name }).map_err(words)?;
    client().request("POST", path, &body).map(drop).map_err(words)
}

/// Has it forget a missing disk, if it has nothing that is nowhere else.
///
/// # Errors
/// It refuses; why, and what to do.
pub(crate) fn forget(name: &str) -> Result<(), String> {
    post_forget(name, false).map(drop)
}

/// Has it do without a missing disk, and without what was only there. Answers how many files that were.
///
/// # Errors
/// It refuses; why, and what to do.
pub(crate) fn give_up(name: &str) -> Result<u64, String> {
    post_forget(name, true)
}

fn post_forget(name: &str, lose_dirty: bool) -> Result<u64, String> {
    let name = name.parse().map_err(|error: DiskNameError| words(error))?;
    let body = serde_json::to_vec(&ForgetRequest { name, lose_dirty }).map_err(words)?;
    let client = AdminClient::new(ADMIN_SOCKET, FORGET_TIME);
    let answer = client.request("POST", admin::DISKS_FORGET, &body).map_err(words)?;
    serde_json::from_slice(&answer).map(|lost: ForgetReport| lost.lost_files).map_err(words)
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn client() -> AdminClient {
    AdminClient::new(ADMIN_SOCKET, ANSWER_TIME)
}
