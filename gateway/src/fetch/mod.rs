//! Read misses: brings bytes of an object into its file's cache, once for all who wait.
//!
//! Owns: which blocks are on their way, and how far ahead a sequential reader is served. Every GET
//! is pinned to the inode's ETag (I6). Must not know: NFS, who reads.
//!
//! Lock rank: a fetch takes the inode's lock exclusively only while it installs bytes; callers must
//! not hold it.
mod come;
mod fetcher;
mod install;
mod single_flight;
mod window;

pub use come::Come;
pub use fetcher::{FetchError, Fetcher};
