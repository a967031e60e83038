//! What does not get to S3, one by one: the admin API's answer to [`crate::admin::FAILING`].
use serde::{Deserialize, Serialize};

use crate::names::ShareName;

/// Asks for a page of what fails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailingRequest {
    /// Of this share; of all if left out.
    #[serde(default)]
    pub share: Option<ShareName>,
    /// Where an earlier page ended ([`FailingPage::next`]); none for the first.
    #[serde(default)]
    pub after: Option<FailingMark>,
}

/// A place in the list, by the gateway's own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailingMark {
    /// Number of a share.
    pub share: u32,
    /// Number of an operation.
    pub operation: u64,
}

/// Some of what fails, by share and in the order in which it came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailingPage {
    /// At most two hundred.
    pub failing: Vec<FailingObject>,
    /// Where the next page begins; none on the last.
    pub next: Option<FailingMark>,
}

/// What is done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailingWork {
    /// A file, directory or symbolic link is uploaded.
    Upload,
    /// An object is deleted.
    Deletion,
    /// What is below a renamed directory is moved.
    Move,
}

impl FailingWork {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Deletion => "deletion",
            Self::Move => "move",
        }
    }
}

/// Something that has failed and is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailingObject {
    /// The share; the settings need not name it any more.
    pub share: ShareName,
    /// What is done.
    pub what: FailingWork,
    /// Path inside the share, of an upload.
    pub path: Option<String>,
    /// Key of the object; of a move the prefix that the objects had.
    pub key: String,
    /// How often it has failed.
    pub attempts: u64,
    /// Since when S3 lacks it, in seconds since 1970; none where that was not noted.
    pub since_unix_seconds: Option<i64>,
    /// When it is tried next, in seconds since 1970; none if only a write helps.
    pub next_try_unix_seconds: Option<i64>,
    /// Why it failed last.
    pub error: String,
}
