//! S3 → catalog: lists directories, merges what others wrote, asks for attributes.
//!
//! Owns: when a directory is listed again, and that it is listed once for all who wait. The rules of
//! the merge are the catalog's. An error never removes an entry (I13).
mod refresher;

pub use refresher::{RefreshError, Refresher};
