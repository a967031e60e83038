//! What the end-to-end tests, `cargo appliance` and `cargo ova` share: building the
//! appliance, running it in QEMU beside an S3 store, and a second machine that mounts it.
//!
//! Knows every part of the workspace from the outside only: binaries, images, ports and files.
pub mod accel;
pub mod appliance_vm;
pub mod artifacts;
pub mod attach;
pub mod bench;
pub mod boot_cost;
pub mod bucket;
pub mod client_image;
pub mod client_vm;
pub mod console;
pub mod fragments;
pub mod instructions;
pub mod iso;
pub mod lab;
pub mod laptop;
pub mod mutants;
pub mod numbers;
pub mod pages;
pub mod power;
pub mod qemu;
pub mod qmp;
pub mod run_state;
pub mod screen;
pub mod seed;
pub mod set_up;
pub mod shell_vm;
mod small_disk;
pub mod state_partition;
pub mod stop_signal;
pub mod suites;
pub mod switch;
pub mod terminal;
pub mod transcript;
pub mod uplink;
pub mod web;

pub use checks::{fuzzing, host, moto, net, wait, workspace};
