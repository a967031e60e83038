//! The current settings: kept in the state directory, seeded at first start, replaced as a whole.
//!
//! Owns `settings.toml` in `--state`. Must not know: what the settings are used for (`run.rs`
//! applies them). The document's shape, defaults and checks are `gateway-api`'s.
mod store;

pub(crate) use store::replace_file;
pub use store::{SettingsStore, StoreError, Stored};
