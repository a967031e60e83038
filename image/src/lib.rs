//! Builds the Tidegate disk image, without root and bit for bit reproducibly.
//!
//! Inputs are files: the gateway's and init's binaries, and Debian 13 packages pinned in
//! `packages.lock`. The output is one GPT disk that boots by UEFI (systemd-boot and a unified
//! kernel image) and by BIOS (GRUB) into a dm-verity protected squashfs root.
//!
//! The crate depends on no other crate of the workspace. [`debs`], [`closure`], [`modules`] and
//! [`initramfs`] are also used by the tests to make a client VM from the same packages.

mod assemble;
mod cmdline;
mod copyright;
mod esp;
mod gpt;
mod host;
mod kernel;
mod packages;
mod progress;
mod rootfs;
mod squashfs;
mod uki;

pub mod apt;
pub mod closure;
pub mod debs;
pub mod grub;
pub mod initramfs;
pub mod lock;
pub mod manifest;
pub mod mirror;
pub mod modules;
pub mod plan;
pub mod update;
pub mod verity;

pub use assemble::{BuildInputs, BuildReport, OLDEST, build};
pub use host::{HostPackage, Probe, host_packages, missing_host_packages};
pub use packages::{KERNEL_META, PACKAGES, resolve_newest};
pub use progress::{PrintProgress, Progress, Quiet};
