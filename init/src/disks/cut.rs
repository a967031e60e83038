//! Goal: the power may be cut at any moment of the first boot, and the next one makes or uses the config
//! partition. Method: what mke2fs writes, in its order, and every state that may be left of it.
use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    path::Path,
};

use super::*;
use crate::power_cut::{self, Operation, Writes};

pub(super) const SIZE: u64 = 64 << 20;

/// Writes to what is a device in these tests.
pub(super) fn write(device: &Path, at: u64, bytes: &[u8]) {
    power_cut::note(|| Operation::WriteAt { path: device.to_owned(), at, bytes: bytes.to_owned() });
}

pub(super) fn sync(device: &Path) {
    power_cut::note(|| Operation::Sync { path: device.to_owned() });
}

/// A device with this on it.
pub(super) fn device(writes: &Writes) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.set_len(SIZE).unwrap();
    for (at, bytes) in writes {
        file.seek(SeekFrom::Start(*at)).unwrap();
        file.write_all(bytes).unwrap();
    }
    file
}

/// What mke2fs 1.47 writes, as strace shows it: bitmaps and tables, the groups' descriptors, copies of the
/// superblock, a sync, then the superblock and another sync.
fn mke2fs(device: &Path) {
    write(device, 0, &[0; 1024]);
    for table in [262_144, 263_168, 264_192, 300_032, 282_624, 267_264, 280_576] {
        write(device, table, &[0xff; 1024]);
    }
    for descriptors in [2048, 3072] {
        write(device, descriptors, &[4, 1, 0, 0]);
    }
    let mut superblock = [0_u8; 1024];
    superblock[0x38..0x3a].copy_from_slice(&[0x53, 0xef]);
    write(device, 8 << 20 | 1024, &superblock);
    sync(device);
    write(device, 1024, &superblock);
    sync(device);
}

#[test]
fn a_power_cut_at_the_first_boot_costs_nothing() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(SIZE).unwrap();
    let operations = power_cut::record(|| {
        make_config(file.path(), SIZE, |room| {
            assert_eq!(room, SIZE - (1 << 20));
            mke2fs(file.path());
            Ok(())
        })
        .unwrap();
    });
    let states = power_cut::devices(file.path(), &operations);
    assert!(states.len() > 100, "{}", states.len());
    for (done, writes) in states {
        let found = config_content(&mut device(&writes), SIZE).unwrap();
        let expected = match found {
            Config::Made => done >= operations.len() - 2,
            Config::ToBeMade => done < operations.len(),
            Config::Foreign(_) => false,
        };
        assert!(expected, "{found:?} after {done} of {} operations", operations.len());
    }
}

#[test]
fn a_partition_that_holds_something_else_is_left_alone() {
    let content = |at, bytes: &[u8]| config_content(&mut device(&vec![(at, bytes.to_vec())]), SIZE);
    assert_eq!(content(0x438, &[0x53, 0xef]).unwrap(), Config::Made);
    assert_eq!(content(4096, b"rows").unwrap(), Config::Foreign(Content::Data));
    assert_eq!(content(0, b"").unwrap(), Config::ToBeMade);
}
