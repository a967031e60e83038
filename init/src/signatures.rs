//! What is on a disk, by its signatures and by looking for anything that is not zero. Pure reading.
//!
//! A disk is called blank only if no signature is known and every sample is zero. Whoever is not sure
//! that a disk is blank does not format it.
use std::io::{self, Read, Seek, SeekFrom};

use crate::{
    claim::{self, Mark},
    disks::CACHE_LABEL,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// Bytes looked at in full at either end: every known signature is in there.
const END_BYTES: u64 = 2 * MIB;
/// Places in between that are sampled, besides those of [`backups`].
const SAMPLES: u64 = 1024;
const SAMPLE_BYTES: u64 = 4 * KIB;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing.
    Blank,
    /// An XFS file system.
    Xfs {
        /// Its label.
        label: String,
        /// Its UUID, as hexadecimal digits.
        uuid: String,
    },
    /// A claim of ours: formatting it was begun and not ended, and nothing else of it counts. The UUID
    /// of the XFS file system on it, if there is one.
    Claimed(Option<String>),
    /// A mark of ours: it was a cache disk, and was given back when nothing on it was missed.
    Released,
    /// Something else of a known kind.
    Known(&'static str),
    /// Bytes that are not zero, of no known kind.
    Data,
}

/// Offset, magic, name. Sources: the formats' own headers, as blkid's table lists them.
const MAGICS: &[(u64, &[u8], &str)] = &[
    (510, &[0x55, 0xaa], "a partition table or boot sector"),
    (512, b"EFI PART", "a GPT partition table"),
    (4096, b"EFI PART", "a GPT partition table"),
    (0x438, &[0x53, 0xef], "an ext file system"),
    (0x10040, b"_BHRfS_M", "a btrfs file system"),
    (3, b"NTFS    ", "an NTFS file system"),
    (3, b"EXFAT   ", "an exFAT file system"),
    (54, b"FAT1", "a FAT file system"),
    (82, b"FAT32", "a FAT file system"),
    (0, b"hsqs", "a squashfs file system"),
    (1024, &[0xe2, 0xe1, 0xf5, 0xe0], "an erofs file system"),
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (0x218, b"LVM2 001", "an LVM physical volume"),
    (0x18, b"LVM2 001", "an LVM physical volume"),
    (0x1000, &[0xfc, 0x4e, 0x2b, 0xa9], "a Linux RAID member"),
    (0, &[0xfc, 0x4e, 0x2b, 0xa9], "a Linux RAID member"),
    (4086, b"SWAPSPACE2", "swap space"),
    (4086, b"SWAP-SPACE", "swap space"),
    (0x10_0000, &[0x0d, 0xd0, 0x01, 0xc0], "a VMFS volume"),
    (0x8001, b"CD001", "an ISO 9660 image"),
    (0x2_1000 - 0x1000, &[0x0c, 0xb1, 0xba, 0x00], "a ZFS member"),
    (0, b"bcache", "a bcache device"),
    (24, &[0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca], "a bcache device"),
    (0x10400 - 0x400, b"ReIsEr", "a reiserfs file system"),
    (0x8000, b"JFS1", "a JFS file system"),
    (0x400, b"H+\x00\x04", "an HFS+ file system"),
    (32, b"NXSB", "an APFS container"),
    (1024, &[0x10, 0x20, 0xf5, 0xf2], "an f2fs file system"),
    (0, b"QFI\xfb", "a disk image"),
    (0, b"KDMV", "a disk image"),
];

/// Looks at a disk of `size` bytes.
///
/// # Errors
/// The disk cannot be read: it is not blank as far as anybody knows.
pub(crate) fn probe(disk: &mut (impl Read + Seek), size: u64) -> io::Result<Content> {
    let start = read_at(disk, 0, END_BYTES.min(size))?;
    let known = known(&start);
    if let Some(found) = marked(disk, size, &start, known.as_ref())? {
        return Ok(found);
    }
    if let Some(found) = known {
        return Ok(found);
    }
    if !is_zero(&start) {
        return Ok(Content::Data);
    }
    if size > END_BYTES {
        let from = size.saturating_sub(END_BYTES).max(END_BYTES);
        if !is_zero(&read_at(disk, from, size - from)?) {
            return Ok(Content::Data);
        }
        let step = (size / SAMPLES).max(SAMPLE_BYTES) / SAMPLE_BYTES * SAMPLE_BYTES;
        let samples = (1..).map(|n| END_BYTES + n * step).take_while(|at| *at < from);
        let inside = |at: &u64| *at >= END_BYTES && at + SAMPLE_BYTES <= from;
        for at in backups(size).chain(samples).filter(inside) {
            if !is_zero(&read_at(disk, at, SAMPLE_BYTES)?) {
                return Ok(Content::Data);
            }
        }
    }
    Ok(Content::Blank)
}

/// What a mark of ours says, where it counts. It speaks of what we left: others write at the start, or at the
/// end, and may leave the mark as it is.
fn marked(
    disk: &mut (impl Read + Seek),
    size: u64,
    start: &[u8],
    known: Option<&Content>,
) -> io::Result<Option<Content>> {
    let Some(mark) = claim::mark_of(disk, size)? else { return Ok(None) };
    if !claim::stands_last(disk, size)? {
        return Ok(None);
    }
    let cleared = &start[..start.len().min(claim::CLEARED_BYTES)];
    Ok(match (mark, known) {
        // mkfs.xfs writes magic, label and UUID with one sector: none of them is ever there alone.
        (Mark::Claimed, Some(Content::Xfs { label, uuid })) if label == CACHE_LABEL => {
            Some(Content::Claimed(Some(uuid.clone())))
        }
        // A power cut may have left parts of what mkfs wrote, in any order.
        (Mark::Claimed, None) if is_part_of_xfs(cleared) => Some(Content::Claimed(None)),
        (Mark::Released, Some(Content::Xfs { label, .. })) if label == CACHE_LABEL => {
            Some(Content::Released)
        }
        (Mark::Released, None) if is_zero(cleared) => Some(Content::Released),
        (Mark::Claimed | Mark::Released, _) => None,
    })
}

/// Whether there is nothing but what `mkfs.xfs` writes at the start of a disk: headers in the first sectors,
/// then blocks that begin with the magic of their kind. Source: XFS Algorithms & Data Structures, appendix
/// of magic numbers.
fn is_part_of_xfs(start: &[u8]) -> bool {
    const SECTOR: usize = 512;
    const BLOCK: usize = 4096;
    const HEADERS: [&[u8]; 3] = [b"XAGF", b"XAGI", b"XAFL"];
    const BLOCKS: [&[u8]; 7] = [b"AB3B", b"AB3C", b"IAB3", b"FIB3", b"RMB3", b"R3FC", b"IN"];
    let (first, rest) = start.split_at(start.len().min(BLOCK));
    let begins = |bytes: &[u8], magics: &[&[u8]]| magics.iter().any(|m| bytes.starts_with(m));
    first.chunks(SECTOR).all(|sector| is_zero(sector) || begins(sector, &HEADERS))
        && rest.chunks(BLOCK).all(|block| is_zero(block) || begins(block, &BLOCKS))
}

/// Where file systems keep copies of their superblock: what is left when only the start of a disk was
/// wiped. ext4 in block groups 1 and powers of 3, 5 and 7 (`sparse_super`, blocks of 1, 2 or 4 KiB),
/// XFS at each of four allocation groups, btrfs at 64 MiB and 256 GiB.
fn backups(size: u64) -> impl Iterator<Item = u64> {
    let groups = [1, 3, 5, 7, 9, 25, 27, 49, 81, 125, 243, 343];
    let ext4 = [8 * MIB, 32 * MIB, 128 * MIB]
        .into_iter()
        .flat_map(move |group| groups.into_iter().map(move |n| n * group));
    let xfs = (1..4).map(move |n| size / 4 / SAMPLE_BYTES * SAMPLE_BYTES * n);
    ext4.chain(xfs).chain([64 * MIB, 256 << 30])
}

fn known(start: &[u8]) -> Option<Content> {
    if start.starts_with(b"XFSB") && start.len() >= 512 {
        let label = String::from_utf8_lossy(&start[108..120]);
        return Some(Content::Xfs {
            label: label.trim_end_matches('\0').to_owned(),
            uuid: start[32..48].iter().map(|b| format!("{b:02x}")).collect(),
        });
    }
    let at = |offset: u64, magic: &[u8]| {
        usize::try_from(offset)
            .ok()
            .and_then(|offset| start.get(offset..offset + magic.len()))
            .is_some_and(|bytes| bytes == magic)
    };
    MAGICS
        .iter()
        .find(|(offset, magic, _)| at(*offset, magic))
        .map(|(_, _, name)| Content::Known(name))
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn read_at(disk: &mut (impl Read + Seek), at: u64, length: u64) -> io::Result<Vec<u8>> {
    disk.seek(SeekFrom::Start(at))?;
    let mut bytes = vec![0; usize::try_from(length).expect("at most 2 MiB")];
    disk.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write};

    use super::*;
    use crate::claim::RESERVED_BYTES;

    const SIZE: u64 = 1 << 30;

    fn disk_with(at: u64, bytes: &[u8]) -> Content {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(SIZE).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(bytes).unwrap();
        probe(&mut file, SIZE).unwrap()
    }

    #[test]
    fn an_empty_disk_is_blank() {
        assert_eq!(disk_with(0, b""), Content::Blank);
    }

    #[test]
    fn known_contents_are_named() {
        for (offset, magic, name) in MAGICS {
            let found = disk_with(*offset, magic);
            assert!(matches!(found, Content::Known(_)), "{name}: {found:?}");
        }
    }

    #[test]
    fn stray_bytes_anywhere_looked_at_are_data() {
        let step = SIZE / SAMPLES;
        for at in [100_000, END_BYTES - 1, END_BYTES + 7 * step + 11, SIZE - 1, SIZE - END_BYTES] {
            assert_eq!(disk_with(at, b"x"), Content::Data, "at {at}");
        }
        for (at, whose) in [
            (128 * MIB, "ext4's"),
            (3 * 32 * MIB, "ext4's"),
            (SIZE / 4, "XFS's"),
            (64 * MIB, "btrfs'"),
        ] {
            assert_eq!(disk_with(at + 1, b"x"), Content::Data, "{whose} copy at {at}");
        }
    }

    #[test]
    fn our_own_disks_are_known_by_label_and_uuid() {
        let mut block = vec![0; 512];
        block[..4].copy_from_slice(b"XFSB");
        block[32..48].copy_from_slice(&[0xab; 16]);
        block[108..115].copy_from_slice(b"TGCACHE");
        let expected = Content::Xfs { label: "TGCACHE".to_owned(), uuid: "ab".repeat(16) };
        assert_eq!(disk_with(0, &block), expected);
    }

    #[test]
    fn a_mark_makes_what_we_left_worthless() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(SIZE).unwrap();
        claim::mark(file.path(), SIZE, Mark::Claimed).unwrap();
        assert_eq!(probe(&mut file, SIZE).unwrap(), Content::Claimed(None));
        let mut block = vec![0; 512];
        block[..4].copy_from_slice(b"XFSB");
        block[32..48].copy_from_slice(&[0xab; 16]);
        block[108..115].copy_from_slice(b"TGCACHE");
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(&block).unwrap();
        assert_eq!(probe(&mut file, SIZE).unwrap(), Content::Claimed(Some("ab".repeat(16))));
        claim::mark(file.path(), SIZE, Mark::Released).unwrap();
        assert_eq!(probe(&mut file, SIZE).unwrap(), Content::Released);
        claim::unmark(file.path(), SIZE).unwrap();
        assert!(matches!(probe(&mut file, SIZE).unwrap(), Content::Xfs { .. }));
    }

    /// What is found on a disk with this mark, after somebody has written to it.
    fn written_since(mark: Mark, at: u64, bytes: &[u8]) -> Content {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(SIZE).unwrap();
        claim::mark(file.path(), SIZE, mark).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(bytes).unwrap();
        probe(&mut file, SIZE).unwrap()
    }

    /// Makers of file systems write at the start, and leave our mark where it is.
    #[test]
    fn what_others_have_written_since_counts_whatever_mark_is_there() {
        let mut block = vec![0; 512];
        block[..4].copy_from_slice(b"XFSB");
        block[108..112].copy_from_slice(b"home");
        for mark in [Mark::Released, Mark::Claimed] {
            for (at, magic, name) in MAGICS {
                let found = written_since(mark, *at, magic);
                assert!(matches!(found, Content::Known(_)), "{mark:?}, {name}: {found:?}");
            }
            let found = written_since(mark, 0, &block);
            assert!(matches!(&found, Content::Xfs { label, .. } if label == "home"), "{found:?}");
            block[108..112].fill(0);
            let found = written_since(mark, 0, &block);
            assert!(matches!(&found, Content::Xfs { label, .. } if label.is_empty()), "{found:?}");
            block[108..112].copy_from_slice(b"home");
            for (at, bytes, what) in [
                (4096, &b"rows"[..], "of no known kind"),
                (0x4000, &[1, 1, 0, 0], "a ZFS label without an uberblock"),
            ] {
                let found = written_since(mark, at, bytes);
                assert_eq!(found, Content::Data, "{mark:?}, {what}");
            }
        }
    }

    #[test]
    fn what_others_have_written_behind_a_mark_counts() {
        let raid = [0xfc, 0x4e, 0x2b, 0xa9];
        for mark in [Mark::Released, Mark::Claimed] {
            for (at, bytes, what) in [
                (SIZE - 8192, &raid[..], "a RAID member of version 1.0"),
                (SIZE - 65_536, &raid, "a RAID member of version 0.90"),
                (SIZE - 512, b"EFI PART", "a GPT's copy alone"),
                (SIZE - RESERVED_BYTES + 4096, b"x", "right behind it"),
            ] {
                let found = written_since(mark, at, bytes);
                assert_eq!(found, Content::Data, "{mark:?}, {what}");
            }
        }
    }

    #[test]
    fn a_disk_that_cannot_be_read_is_an_error() {
        let mut short: File = tempfile::tempfile().unwrap();
        short.set_len(SIZE / 2).unwrap();
        assert!(probe(&mut short, SIZE).is_err());
    }
}
