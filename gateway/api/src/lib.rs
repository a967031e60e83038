//! Shared vocabulary of the appliance: what the gateway, PID 1, the console and the tests all name.
//!
//! Owns: names that are parsed once and trusted afterwards, the settings document, the status
//! document, and a small blocking client for the admin socket. Must not know: tokio, AWS, SQLite.
pub mod admin;
pub mod bandwidth;
pub mod client;
pub mod connection;
pub mod disks;
pub mod failing;
pub mod figures;
pub mod names;
pub mod secret;
pub mod settings;
pub mod size;
pub mod status;
pub mod time;
mod url;
mod utc;

pub use names::{BucketName, ClientSpec, KeyPrefix, NameError, ShareName};
pub use secret::Secret;
pub use settings::{Settings, SettingsError, ShareSettings};
pub use size::ByteSize;
pub use status::{FileStatus, GatewayStatus};
pub use url::shown_url;
pub use utc::utc;
