//! What a store is started with, and why it cannot start.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

pub use crate::journal::JournalError;

/// Everything a store is started with.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The access key id that requests are signed with.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The region that requests are signed for.
    pub region: String,
    /// Buckets to make where they do not exist.
    pub buckets: Vec<String>,
    /// Where to keep everything between runs; `None` keeps it in memory.
    pub directory: Option<PathBuf>,
    /// Requests to `BUCKET.<this>` name the bucket in the host; `None` is `localhost`.
    pub base_domain: Option<String>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            access_key_id: "tidegate".to_owned(),
            secret_access_key: "tidegate-secret".to_owned(),
            region: "us-east-1".to_owned(),
            buckets: Vec::new(),
            directory: None,
            base_domain: None,
        }
    }
}

/// Why a store cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not of this machine.
    #[error("cannot listen on {address}: {source}; choose another address or port")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
    /// A bucket's name breaks S3's rules.
    #[error(
        "{0:?} is not a bucket name: 3 to 63 of a-z, 0-9, '-' and '.', starting and ending with a letter or digit"
    )]
    BucketName(String),
    /// The directory cannot be used.
    #[error(transparent)]
    Directory(#[from] JournalError),
    /// A bucket cannot be made.
    #[error("cannot make bucket {name}: {reason}")]
    Bucket {
        /// Its name.
        name: String,
        /// The reason.
        reason: String,
    },
    /// The runtime of `start_blocking` cannot start.
    #[error("cannot start the store's threads: {0}")]
    Runtime(std::io::Error),
}
