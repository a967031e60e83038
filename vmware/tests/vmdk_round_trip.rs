//! Goal: an importer gets back every byte of the disk. Method: write, then read with our own
//! reader, which trusts nothing, and with qemu-img where it is installed.

use std::io::Cursor;
use std::process::Command;

use vmware::{vmdk, vmdk_reader};

const GRAIN: usize = 1 << 16;

/// A disk with zeros, text and noise; sized to need two grain tables and a cut last grain.
fn disk() -> Vec<u8> {
    let mut disk = vec![0; 600 * GRAIN - 4096];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for grain in [0, 1, 7, 511, 512, 598, 599] {
        for byte in disk.iter_mut().skip(grain * GRAIN).take(GRAIN) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = if grain % 2 == 0 { state.to_le_bytes()[0] } else { b'a' };
        }
    }
    disk
}

fn packed(disk: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let capacity = u64::try_from(disk.len()).expect("small");
    vmdk::write(&mut &disk[..], capacity, "x.vmdk", &mut out, &mut |_| {})
        .expect("memory takes all");
    out
}

#[test]
fn every_byte_comes_back() {
    let disk = disk();
    let mut raw = Cursor::new(Vec::new());
    let capacity = vmdk_reader::unpack(&mut packed(&disk).as_slice(), &mut raw).unwrap();
    assert_eq!(capacity, u64::try_from(600 * GRAIN).unwrap());
    let raw = raw.into_inner();
    assert!(raw[..disk.len()] == disk[..], "the content differs");
    assert!(raw[disk.len()..].iter().all(|byte| *byte == 0), "the padding is not zero");
}

#[test]
fn the_same_disk_gives_the_same_bytes() {
    assert!(packed(&disk()) == packed(&disk()));
}

#[test]
fn an_empty_disk_of_150_gib_is_a_small_file() {
    let mut out = Vec::new();
    vmdk::write(&mut std::io::empty(), 150 << 30, "x.vmdk", &mut out, &mut |_| {}).unwrap();
    assert!(out.len() < 100_000, "{} bytes", out.len());
    let mut raw = Cursor::new(Vec::new());
    assert_eq!(vmdk_reader::unpack(&mut out.as_slice(), &mut raw).unwrap(), 150 << 30);
    assert!(raw.into_inner().is_empty(), "nothing was stored");
}

#[test]
fn a_stream_that_was_cut_short_is_refused() {
    let mut bytes = packed(&disk());
    bytes.truncate(bytes.len() - 512);
    let error = vmdk_reader::unpack(&mut bytes.as_slice(), &mut Cursor::new(Vec::new()))
        .expect_err("the end-of-stream marker is gone");
    assert!(error.to_string().contains("cut short"), "{error}");
}

#[test]
fn a_flipped_bit_in_a_grain_is_noticed() {
    let mut bytes = packed(&disk());
    bytes[128 * 512 + 200] ^= 0x10;
    assert!(vmdk_reader::unpack(&mut bytes.as_slice(), &mut Cursor::new(Vec::new())).is_err());
}

#[test]
fn qemu_img_finds_it_clean_and_equal() {
    if Command::new("qemu-img").arg("--version").output().is_err() {
        eprintln!("skipped: qemu-img is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (raw, vmdk) = (dir.path().join("disk.raw"), dir.path().join("x.vmdk"));
    let mut disk = disk();
    std::fs::write(&vmdk, packed(&disk)).unwrap();
    disk.resize(600 * GRAIN, 0);
    std::fs::write(&raw, &disk).unwrap();
    let check = Command::new("qemu-img").args(["check", "-f", "vmdk"]).arg(&vmdk).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    let compare = Command::new("qemu-img")
        .args(["compare", "-f", "raw", "-F", "vmdk"])
        .args([&raw, &vmdk])
        .output()
        .unwrap();
    assert!(compare.status.success(), "{}", String::from_utf8_lossy(&compare.stdout));
}
