//! The kernel command line: the contract between the boot loaders, the kernel and init's stage 1.

use crate::verity::VerityTree;

/// Kernel messages go to the screen and the serial port; a panic reboots after 10 seconds, which
/// boot counting turns into a fall-back to the other slot.
const CONSOLE: &str = "console=tty0 console=ttyS0,115200 panic=10 quiet loglevel=5";

/// `tidegate.verity=DATA_BLOCKS:ROOT_HASH:SALT ...`; blocks are 4096 bytes and the hash tree follows
/// the data on the same partition, without a superblock. The line names no partition: stage 1 takes the
/// slot that holds this tree, so that one kernel image serves in either.
pub(crate) fn cmdline(tree: &VerityTree) -> String {
    format!(
        "tidegate.verity={}:{}:{} {CONSOLE}",
        tree.data_blocks,
        tree.root_hash_hex(),
        tree.salt_hex(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_blocks_hash_and_salt() {
        let tree =
            VerityTree { data_blocks: 3, root_hash: [0xab; 32], salt: [0x01; 32], hashes: vec![] };
        let line = cmdline(&tree);
        let expected =
            format!("tidegate.verity=3:{}:{} console=tty0", "ab".repeat(32), "01".repeat(32));
        assert!(line.starts_with(&expected), "{line}");
        assert!(line.contains(" panic=10 "), "a panic must end in a reboot: {line}");
    }
}
