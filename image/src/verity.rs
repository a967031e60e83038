//! The dm-verity hash tree (Linux `Documentation/admin-guide/device-mapper/verity.rst`): format 1,
//! SHA-256, 4096-byte blocks, no superblock. What `veritysetup format --no-superblock` writes.

use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};

/// Block size of data and hashes, in bytes.
pub const BLOCK_BYTES: usize = 4096;
const DIGEST_BYTES: usize = 32;

/// A hash tree over data blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerityTree {
    /// Number of data blocks.
    pub data_blocks: usize,
    /// Hash of the top block.
    pub root_hash: [u8; 32],
    /// Salt hashed before each block.
    pub salt: [u8; 32],
    /// The tree's blocks, top level first; they follow the data on the partition.
    pub hashes: Vec<u8>,
}

impl VerityTree {
    /// Root hash in lower-case hex.
    #[must_use]
    pub fn root_hash_hex(&self) -> String {
        crate::debs::hex(&self.root_hash)
    }

    /// Salt in lower-case hex.
    #[must_use]
    pub fn salt_hex(&self) -> String {
        crate::debs::hex(&self.salt)
    }
}

/// Computes the tree. The salt is derived from the data, so that equal data gives an equal tree.
///
/// # Errors
/// When `data` is empty or not whole blocks.
pub fn tree(data: &[u8]) -> Result<VerityTree> {
    ensure!(
        !data.is_empty() && data.len().is_multiple_of(BLOCK_BYTES),
        "verity needs whole blocks of {BLOCK_BYTES} bytes, got {} bytes",
        data.len()
    );
    let salt: [u8; 32] = Sha256::digest(data).into();
    // Hash level upon level until one block is left; the root hash is the hash of that block.
    let mut levels: Vec<Vec<u8>> = Vec::new();
    while let top = levels.last().map_or(data, Vec::as_slice)
        && top.len() > BLOCK_BYTES
    {
        let above = level(top, &salt);
        levels.push(above);
    }
    let root_hash = digest(levels.last().map_or(data, Vec::as_slice), &salt);
    let hashes = levels.iter().rev().flatten().copied().collect();
    Ok(VerityTree { data_blocks: data.len() / BLOCK_BYTES, root_hash, salt, hashes })
}

/// The hashes of all blocks, padded with zeros to whole blocks.
fn level(blocks: &[u8], salt: &[u8; 32]) -> Vec<u8> {
    let count = blocks.len() / BLOCK_BYTES;
    let mut hashes = Vec::with_capacity((count * DIGEST_BYTES).next_multiple_of(BLOCK_BYTES));
    for block in blocks.chunks(BLOCK_BYTES) {
        hashes.extend_from_slice(&digest(block, salt));
    }
    hashes.resize(hashes.len().next_multiple_of(BLOCK_BYTES), 0);
    hashes
}

fn digest(block: &[u8], salt: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(block).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(blocks: usize) -> Vec<u8> {
        (0..blocks * BLOCK_BYTES).map(|i| u8::try_from(i * 31 % 251).expect("below 251")).collect()
    }

    #[test]
    fn a_single_block_needs_no_tree() {
        let tree = tree(&data(1)).expect("whole blocks");
        assert_eq!((tree.data_blocks, tree.hashes.len()), (1, 0));
    }

    #[test]
    fn a_second_level_appears_past_128_blocks() {
        assert_eq!(tree(&data(128)).expect("whole").hashes.len(), BLOCK_BYTES);
        assert_eq!(tree(&data(129)).expect("whole").hashes.len(), 3 * BLOCK_BYTES);
    }

    #[test]
    fn a_changed_byte_changes_the_root_hash() {
        let mut changed = data(200);
        let before = tree(&changed).expect("whole").root_hash;
        changed[150 * BLOCK_BYTES + 7] ^= 1;
        assert_ne!(tree(&changed).expect("whole").root_hash, before);
    }

    #[test]
    fn partial_blocks_are_refused() {
        assert!(tree(&[1, 2, 3]).is_err());
        assert!(tree(&[]).is_err());
    }

    /// Goal: the kernel will accept our tree. Method: cryptsetup's own verifier, where installed.
    #[test]
    fn veritysetup_accepts_the_tree() {
        let Some(veritysetup) = ["/usr/sbin/veritysetup", "/sbin/veritysetup"]
            .into_iter()
            .find(|path| std::path::Path::new(path).exists())
        else {
            eprintln!("skipped: veritysetup is not installed");
            return;
        };
        for blocks in [2, 128, 129, 20_000] {
            let data = data(blocks);
            let tree = tree(&data).expect("whole");
            let dir = tempfile::tempdir().expect("a temporary folder");
            let file = dir.path().join("root");
            std::fs::write(&file, [data.as_slice(), &tree.hashes].concat()).expect("writable");
            let status = std::process::Command::new(veritysetup)
                .args(["verify", "--no-superblock", "--hash=sha256"])
                .arg(format!("--hash-offset={}", data.len()))
                .arg(format!("--data-blocks={blocks}"))
                .arg(format!("--salt={}", tree.salt_hex()))
                .args([&file, &file])
                .arg(tree.root_hash_hex())
                .status()
                .expect("it starts");
            assert!(status.success(), "{blocks} blocks");
        }
    }
}
