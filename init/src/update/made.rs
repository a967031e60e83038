//! Updates for tests, made by the builder's own code.
use std::io::Read;

use ed25519_dalek::SigningKey;
use image::update::{self, UpdateParts};

use super::signature::Keys;

/// A version, whose parts all differ from every other version's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) version: String,
    pub(super) root: Vec<u8>,
    pub(super) efi: Vec<u8>,
    pub(super) cmdline: String,
}

pub(super) const KERNEL: std::ops::Range<usize> = 3000..70_000;
pub(super) const INITRD: std::ops::Range<usize> = 512..2000;

impl Made {
    pub(super) fn kernel(&self) -> &[u8] {
        &self.efi[KERNEL]
    }

    pub(super) fn initrd(&self) -> &[u8] {
        &self.efi[INITRD]
    }
}

pub(super) fn version(number: u8) -> Made {
    let bytes = |length: usize| -> Vec<u8> {
        let salt = number.wrapping_mul(37);
        (0..length).map(|at| u8::try_from(at % 251).unwrap() ^ salt).collect()
    };
    Made {
        version: format!("1.{number}.0"),
        root: bytes((1 << 20) + 4096),
        efi: bytes(70_001 + usize::from(number)),
        cmdline: format!("tidegate.verity={number}:ab:cd quiet"),
    }
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

/// The keys that are trusted here.
pub(super) fn keys() -> Keys {
    Keys::parse(&update::public_text(&key(1))).unwrap()
}

pub(super) fn unsigned(made: &Made) -> Vec<u8> {
    let parts = UpdateParts {
        version: &made.version,
        oldest: "1.0.0",
        root: &made.root,
        efi: &made.efi,
        kernel: KERNEL,
        initrd: INITRD,
        cmdline: &made.cmdline,
    };
    let mut bytes = Vec::new();
    update::archive(&mut bytes, &parts, 0).unwrap();
    bytes
}

pub(super) fn signed_by(made: &Made, number: u8) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.update");
    std::fs::write(&path, unsigned(made)).unwrap();
    update::sign(&path, &key(number)).unwrap();
    std::fs::read(&path).unwrap()
}

pub(super) fn update(made: &Made) -> Vec<u8> {
    signed_by(made, 1)
}

/// Names and contents of an archive's members.
pub(super) fn members(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().to_str().unwrap().to_owned(), content)
    });
    entries.collect()
}

/// An archive as the builder makes them, of other members.
pub(super) fn archive<'a>(members: impl Iterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content).unwrap();
    }
    archive.into_inner().unwrap()
}
