//! Packs the root tree as squashfs with Debian 13's mksquashfs, so that the bytes do not depend on
//! the host's version of it.

use std::path::Path;

use anyhow::{Context, Result};

use crate::host::{run, tree_command};
use crate::verity::BLOCK_BYTES;

/// zstd level: 2 % larger than the highest one, in a third of its time.
const LEVEL: &str = "15";

/// Packs `root` into `out`, all owned by root, all times `epoch`; padded to whole verity blocks.
pub(crate) fn pack(tools: &Path, root: &Path, out: &Path, epoch: u32) -> Result<Vec<u8>> {
    let epoch = epoch.to_string();
    run(tree_command(tools, "usr/bin/mksquashfs")
        .arg(root)
        .arg(out)
        .args(["-comp", "zstd", "-Xcompression-level", LEVEL, "-b", "131072"])
        .args(["-all-root", "-no-xattrs", "-noappend", "-no-progress", "-quiet"])
        .args(["-mkfs-time", &epoch, "-all-time", &epoch])
        // With it, mksquashfs refuses the two options above.
        .env_remove("SOURCE_DATE_EPOCH"))
    .context("cannot pack the root file system")?;
    let mut image = std::fs::read(out).with_context(|| format!("cannot read {}", out.display()))?;
    image.resize(image.len().next_multiple_of(BLOCK_BYTES), 0);
    Ok(image)
}
