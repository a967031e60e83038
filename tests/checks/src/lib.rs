//! What `cargo verify` runs, and what running it takes: packages of the host, programs by others, the tests in
//! virtual machines.
//!
//! A crate of its own with few dependencies: it is compiled before everything else, with features of its own, and
//! whatever it depends on is compiled a second time for the tests.
mod apt_sources;
pub mod fuzzing;
pub mod host;
pub mod moto;
pub mod net;
pub mod test_count;
pub mod vm_tests;
pub mod wait;
pub mod workspace;
