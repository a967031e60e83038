//! Goal: the power may be cut at any moment while a cache disk is made or given back: the next look makes it,
//! uses it, or knows that it is blank; it is never somebody's data. Method: what mkfs.xfs writes, in its
//! order, and every state that may be left of it.
use gateway_api::size::GIB;

use super::{
    super::{
        choice::{self, Primary},
        cut::{SIZE, device, sync, write},
        record::Record,
        survey::Attached,
    },
    *,
};
use crate::{
    machine::CacheDisks,
    power_cut::{self, Operation},
    signatures::{self, Content},
};

const DEVICE: &str = "/dev/sdb";

fn uuid() -> String {
    "ab".repeat(16)
}

fn superblock() -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..4].copy_from_slice(b"XFSB");
    block[32..48].copy_from_slice(&[0xab; 16]);
    block[108..115].copy_from_slice(CACHE_LABEL.as_bytes());
    block
}

/// What mkfs.xfs 6 writes to the first allocation group, as strace shows it; the sync is at its end.
fn mkfs_xfs(disk: &Path) {
    write(disk, SIZE - (1 << 20) - (128 << 10), &[0; 128 << 10]);
    write(disk, 0, &[0; 128 << 10]);
    write(disk, 0, &superblock());
    for (at, magic) in [(512, b"XAGF"), (1536, b"XAFL"), (1024, b"XAGI")] {
        write(disk, at, magic);
    }
    for (at, magic) in
        [(4096, b"AB3B"), (8192, b"AB3C"), (12_288, b"IAB3"), (16_384, b"FIB3"), (20_480, b"R3FC")]
    {
        write(disk, at, magic);
    }
    for inode in [65_536, 81_920] {
        write(disk, inode, b"INA\xed");
    }
    write(disk, 0, &superblock());
    sync(disk);
}

/// What is chosen when this is on the disk, and the record says so.
fn chosen(content: &Content, noted: bool) -> Primary {
    let disk = Attached {
        device: DEVICE.to_owned(),
        size: ByteSize(150 * GIB),
        model: String::new(),
        is_system: false,
        content: Ok(content.clone()),
    };
    let record = Record { primary: noted.then(uuid), ..Record::default() };
    choice::primary(&[disk], &record, CacheDisks::SingleBlank)
}

/// A disk in place of a device.
fn disk() -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(SIZE).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    (file, path)
}

#[test]
fn a_power_cut_while_a_cache_disk_is_made_leaves_one_that_is_made_anew_or_used() {
    let (file, path) = disk();
    let noted = Path::new("/config/cache-disk");
    let operations = power_cut::record(|| {
        let make = |room: u64| {
            assert_eq!(room, SIZE - (1 << 20));
            mkfs_xfs(file.path());
            Ok(())
        };
        // The record is replaced as a whole: it is there or not.
        format_by(&path, SIZE, make, || {
            power_cut::note(|| Operation::SyncFolder { path: noted.to_owned() });
            Ok(())
        })
        .unwrap();
        assert_eq!(claim::mark_of(&mut File::open(&path).unwrap(), SIZE).unwrap(), None);
        claim::mark(file.path(), SIZE, Mark::Claimed).unwrap();
        unmark(&path, SIZE).unwrap();
    });
    let at = |wanted: &Operation| operations.iter().position(|operation| operation == wanted);
    let noted = at(&Operation::SyncFolder { path: noted.to_owned() }).unwrap();
    let states = power_cut::devices(file.path(), &operations);
    assert!(states.len() > 100, "{}", states.len());
    for (done, writes) in states {
        let content = signatures::probe(&mut device(&writes), SIZE).unwrap();
        let expected = if done > noted {
            Primary::Mount { device: DEVICE.to_owned(), uuid: uuid() }
        } else {
            Primary::Format { device: DEVICE.to_owned() }
        };
        assert_eq!(chosen(&content, done > noted), expected, "{content:?} after {done}");
    }
}

#[test]
fn a_power_cut_while_a_disk_is_given_back_leaves_a_blank_one_or_all_of_it() {
    let (file, path) = disk();
    let made = power_cut::record(|| mkfs_xfs(file.path()));
    let operations = power_cut::record(|| wipe_by(&path, SIZE).unwrap());
    let states = power_cut::devices(file.path(), &[made.clone(), operations].concat());
    for (done, writes) in states.into_iter().filter(|(done, _)| *done >= made.len()) {
        match signatures::probe(&mut device(&writes), SIZE).unwrap() {
            // Before the mark was there.
            Content::Xfs { .. } => assert!(done <= made.len() + 1, "{done}"),
            Content::Released => assert!(done > made.len(), "{done}"),
            other => panic!("{other:?} after {} operations", done - made.len()),
        }
    }
}

#[test]
fn what_others_wrote_over_a_claim_is_theirs_however_much_it_looks_like_ours() {
    for (at, bytes) in
        [(4096, &b"rows"[..]), (512, b"XAGx"), (8192 + 512, b"AB3B"), (700 << 10, b"\0\0x")]
    {
        let operations = power_cut::record(|| {
            let (file, _) = disk();
            claim::mark(file.path(), SIZE, Mark::Claimed).unwrap();
        });
        let Operation::WriteAt { at: place, bytes: mark, .. } = &operations[0] else { panic!() };
        let writes = vec![(*place, mark.clone()), (at, bytes.to_vec())];
        let found = signatures::probe(&mut device(&writes), SIZE).unwrap();
        assert_eq!(found, Content::Data, "{bytes:?} at {at}");
    }
}
