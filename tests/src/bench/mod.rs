//! `cargo bench-nfs`: the gateway and nfs-ganesha under the same NFSv3 load, in turns, on the same
//! disk; how fast each is, and how much of the processors each takes for it.
//!
//! `lines` says what is measured, `servers` what on, `nfs-load` (a program of its own) does it,
//! `summary` and `table` make sense of it.
pub mod content;
pub mod disk;
pub mod ganesha;
pub mod gateway;
pub mod least;
pub mod lines;
pub mod machine;
pub mod measurement;
pub mod private_network;
pub mod process_clock;
pub mod processors;
pub mod report;
pub mod rounds;
pub mod server;
pub mod summary;
pub mod table;
pub mod whole;
