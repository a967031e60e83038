//! Packs the Tidegate disk image as an OVA that VMware imports: OVF descriptor, streamOptimized
//! VMDK, SHA-256 manifest. The cache disk is declared by its capacity alone.
//!
//! Depends on no other crate of the workspace: its input is the image file. The same image gives
//! the same bytes.

mod manifest;
mod ovf;
mod pack;

pub mod ova;
pub mod spec;
pub mod vmdk;
pub mod vmdk_reader;

pub use ovf::descriptor;
pub use pack::{CacheDisk, PackInputs, PackReport, pack};
