//! Opens a root partition through dm-verity with three device-mapper calls: what is read from it is
//! what was built, or the kernel panics (`panic_on_corruption`).
use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsRawFd, unix::fs::FileExt},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// `struct dm_ioctl` (linux/dm-ioctl.h): 312 bytes.
const HEADER: usize = 312;
/// `struct dm_target_spec`: 40 bytes, then the parameters.
const TARGET: usize = 40;
const DM_DEV_CREATE: u64 = 3;
const DM_DEV_SUSPEND: u64 = 6;
const DM_TABLE_LOAD: u64 = 9;
const READ_ONLY: u32 = 1;
const BLOCK_SECTORS: u64 = 8;
const BLOCK_BYTES: usize = 4096;

/// `DATA_BLOCKS:ROOT_HASH:SALT` of the kernel command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    blocks: u64,
    root_hash: String,
    salt: String,
}

impl Spec {
    /// Reads the specification.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let hex = |part: &str| part.len() == 64 && part.bytes().all(|b| b.is_ascii_hexdigit());
        match text.split(':').collect::<Vec<_>>().as_slice() {
            [blocks, root_hash, salt] if hex(root_hash) && hex(salt) => Ok(Self {
                blocks: blocks.parse().context("tidegate.verity: number of blocks")?,
                root_hash: (*root_hash).to_owned(),
                salt: (*salt).to_owned(),
            }),
            _ => bail!("tidegate.verity must be BLOCKS:ROOT_HASH:SALT"),
        }
    }

    /// Whether a device holds this tree, by its topmost block. What is below it is checked when it is
    /// read.
    ///
    /// # Errors
    /// The device cannot be read.
    pub(crate) fn stands_on(&self, device: &File) -> io::Result<bool> {
        // The tree follows the data, its top first; a single block has none.
        let top = if self.blocks > 1 { self.blocks } else { 0 };
        let Some(at) = top.checked_mul(BLOCK_BYTES as u64) else { return Ok(false) };
        let mut block = [0; BLOCK_BYTES];
        match device.read_exact_at(&mut block, at) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
        let mut hash = Sha256::new();
        for pair in self.salt.as_bytes().chunks(2) {
            let byte = str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
            hash.update([byte.ok_or(io::ErrorKind::InvalidData)?]);
        }
        hash.update(block);
        let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(found.eq_ignore_ascii_case(&self.root_hash))
    }

    fn table(&self, device: &str) -> String {
        let Self { blocks, root_hash, salt } = self;
        format!(
            "1 {device} {device} 4096 4096 {blocks} {blocks} sha256 {root_hash} {salt} 1 panic_on_corruption"
        )
    }
}

fn request(size: usize, flags: u32) -> Vec<u8> {
    let mut buffer = vec![0; size];
    let size = u32::try_from(size).expect("a request is a few hundred bytes");
    let header = u32::try_from(HEADER).expect("312 fits");
    for (i, value) in [4, 0, 0, size, header, 0, 0, flags].into_iter().enumerate() {
        buffer[i * 4..i * 4 + 4].copy_from_slice(&u32::to_ne_bytes(value));
    }
    buffer[48..52].copy_from_slice(b"root");
    buffer
}

fn call(control: &File, number: u64, buffer: &mut [u8]) -> Result<()> {
    let code = (3 << 30) | ((HEADER as u64) << 16) | (0xfd << 8) | number;
    // SAFETY: `buffer` is a dm_ioctl header followed by its payload, its `data_size` field is its
    // length, and it outlives the call.
    let done =
        unsafe { libc::ioctl(control.as_raw_fd(), code as libc::Ioctl, buffer.as_mut_ptr()) };
    if done < 0 { Err(std::io::Error::last_os_error().into()) } else { Ok(()) }
}

/// Opens `device` and answers the path of the verified device.
pub(crate) fn open(device: &str, spec: &Spec) -> Result<String> {
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/mapper/control")
        .context("/dev/mapper/control")?;
    let mut create = request(HEADER, 0);
    call(&control, DM_DEV_CREATE, &mut create).context("creating the verity device")?;
    let number = u64::from_ne_bytes(create[40..48].try_into().expect("eight bytes"));
    let minor = (number & 0xff) | ((number >> 12) & 0xfff00);
    let table = spec.table(device);
    let size = HEADER + TARGET + (table.len() + 1).next_multiple_of(8);
    let mut load = request(size, READ_ONLY);
    load[20..24].copy_from_slice(&1_u32.to_ne_bytes());
    load[HEADER + 8..HEADER + 16].copy_from_slice(&(spec.blocks * BLOCK_SECTORS).to_ne_bytes());
    let next = u32::try_from(size - HEADER).expect("a table is a few hundred bytes");
    load[HEADER + 20..HEADER + 24].copy_from_slice(&next.to_ne_bytes());
    load[HEADER + 24..HEADER + 30].copy_from_slice(b"verity");
    load[HEADER + TARGET..HEADER + TARGET + table.len()].copy_from_slice(table.as_bytes());
    call(&control, DM_TABLE_LOAD, &mut load).context("loading the verity table")?;
    let mut resume = request(HEADER, 0);
    call(&control, DM_DEV_SUSPEND, &mut resume).context("resuming the verity device")?;
    Ok(format!("/dev/dm-{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_known_by_its_top_wherever_it_stands() {
        let data: Vec<u8> =
            (0..300 * BLOCK_BYTES).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let tree = image::verity::tree(&data).unwrap();
        let spec = |tree: &image::verity::VerityTree| {
            let text = format!("{}:{}:{}", tree.data_blocks, tree.root_hash_hex(), tree.salt_hex());
            Spec::parse(&text).unwrap()
        };
        let mut device = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut device, &[data.as_slice(), &tree.hashes].concat()).unwrap();
        assert!(spec(&tree).stands_on(&device).unwrap());
        let other = image::verity::tree(&data[BLOCK_BYTES..]).unwrap();
        assert!(!spec(&other).stands_on(&device).unwrap());
        let single = image::verity::tree(&data[..BLOCK_BYTES]).unwrap();
        assert!(spec(&single).stands_on(&device).unwrap());
        device.set_len(100).unwrap();
        assert!(!spec(&tree).stands_on(&device).unwrap(), "too short for it");
    }

    #[test]
    fn specifications_are_checked() {
        let (hash, salt) = ("ab".repeat(32), "01".repeat(32));
        let spec = Spec::parse(&format!("2600:{hash}:{salt}")).unwrap();
        assert!(
            spec.table("/dev/sda3")
                .starts_with("1 /dev/sda3 /dev/sda3 4096 4096 2600 2600 sha256 ab")
        );
        for bad in ["", "1:2", "x:y:z", &format!("1:{hash}:short"), &format!("one:{hash}:{salt}")] {
            assert!(Spec::parse(bad).is_err(), "{bad}");
        }
    }
}
