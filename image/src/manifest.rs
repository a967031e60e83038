//! The manifest beside the image: what is in it, so that anybody can check it or build it again.

use serde::Serialize;

use crate::lock::Package;

/// Everything that went into an image.
#[derive(Debug, Clone, Serialize)]
pub struct Manifest {
    /// Version of the product.
    pub version: String,
    /// SHA-256 of the disk image, hex.
    pub image_sha256: String,
    /// Times in the image, seconds since 1970.
    pub source_date_epoch: u32,
    /// Kernel release.
    pub kernel: String,
    /// Kernel command line of slot a.
    pub cmdline: String,
    /// Root hash of the dm-verity tree, hex.
    pub root_hash: String,
    /// Debian packages whose files are in the image or made it.
    pub packages: Vec<Package>,
    /// Every regular file of the root file system with its SHA-256, sorted by path.
    pub files: Vec<(String, String)>,
}

impl Manifest {
    /// As JSON text.
    ///
    /// # Errors
    /// Never in practice: all fields are text and numbers.
    pub fn to_json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}
