//! The whole path, NFS → cache → S3: how long it is from a write to an object and from an object to a read,
//! beside a plain S3 client, the disk, and other NFS servers in front of the same store.
//!
//! `lines` says what is timed and what the bars are, `rounds` does it, `plain` and `local` are what it is measured
//! by, `peers` are the others, `store` is the S3 server and how far away it is, `table` makes sense of it.
pub mod lines;
pub mod local;
pub mod moment;
pub mod peers;
pub mod plain;
pub mod rounds;
pub mod run;
pub mod store;
pub mod table;
