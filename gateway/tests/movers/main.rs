//! The movers end to end: catalog, cache, uploader, fetcher and refresher against a real S3 server
//! over TCP, with faults on the server's side and other writers in the bucket.
//!
//! Time is a hand-driven clock; waiting is for the journal, never for a duration.
#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails the test")]
mod answers;
mod attempts;
mod clock;
mod conflict;
mod copied;
mod copies;
mod damaged;
mod denied;
mod disks;
mod fetch;
mod forms;
mod gone;
mod heads;
mod keys;
mod latest;
mod listing;
mod markers;
mod moved;
mod multipart;
mod no_bucket;
mod pages;
mod parallel;
mod peers;
mod quiet;
mod refresh;
mod renames;
mod said;
mod settle;
mod snapshot;
mod stale;
mod storm;
mod subtree;
mod swaps;
mod turns;
mod unreachable;
mod upload;
mod versions;
mod walk;
mod ways;
mod world;
