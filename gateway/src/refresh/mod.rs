//! S3 → catalog: lists directories, merges what others wrote, asks for attributes.
//!
//! Owns: when a directory is listed again, that it is listed once for all who wait, and how long a
//! caller waits for it. The rules of the merge are the catalog's. An error never removes an entry (I13).
//!
//! A listing is a task of its own: whoever asked for it may go away. A directory that was never
//! listed is read while its first listing goes on ([`Known::Part`]); of one that was, a caller waits
//! for the first page of the new listing, and not for long.
mod attributes;
mod flight;
mod heads;
mod listing;
mod pages;
mod refresher;
mod subtree;
mod too_large;
mod walk;

pub use flight::Progress;
pub use refresher::{Known, RefreshError, Refresher};
