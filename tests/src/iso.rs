//! A CD with one file in its root folder, as a hypervisor makes it for the OVF transport "iso": plain
//! ISO 9660 (ECMA-119) without extensions.
use std::{fs, io, path::Path};

const BLOCK: usize = 2048;
const DESCRIPTOR: usize = 16;
const END: usize = 17;
const PATHS_LITTLE: usize = 18;
const PATHS_BIG: usize = 19;
const ROOT: usize = 20;
const FILE: usize = 21;
/// A folder's flag in its record.
const FOLDER: u8 = 2;

/// Writes an image of a CD with this label and this file, whose name is one of ISO 9660's: capitals, and
/// `;1` at its end.
///
/// # Errors
/// It cannot be written.
pub fn write(image: &Path, label: &str, name: &str, content: &[u8]) -> io::Result<()> {
    let blocks = FILE + content.len().div_ceil(BLOCK);
    let mut cd = vec![0; blocks * BLOCK];
    let mut put = |at: usize, bytes: &[u8]| cd[at..at + bytes.len()].copy_from_slice(bytes);

    let start = DESCRIPTOR * BLOCK;
    put(start, b"\x01CD001\x01");
    put(start + 8, &[b' '; 64]);
    put(start + 40, label.as_bytes());
    put(start + 80, &both_32(blocks));
    for (at, number) in [(120, 1), (124, 1), (128, BLOCK)] {
        put(start + at, &both_16(number));
    }
    put(start + 132, &both_32(10));
    put(start + 140, &little(PATHS_LITTLE).to_le_bytes());
    put(start + 148, &little(PATHS_BIG).to_be_bytes());
    put(start + 156, &record(&[0], ROOT, BLOCK, FOLDER));
    // Names of volume set, publisher and the like, and times: none.
    put(start + 190, &[b' '; 623]);
    put(start + 881, &[1]);
    put(END * BLOCK, b"\xffCD001\x01");

    let (root, parent) = (little(ROOT), 1_u16);
    put(PATHS_LITTLE * BLOCK, &[1, 0]);
    put(PATHS_LITTLE * BLOCK + 2, &root.to_le_bytes());
    put(PATHS_LITTLE * BLOCK + 6, &parent.to_le_bytes());
    put(PATHS_BIG * BLOCK, &[1, 0]);
    put(PATHS_BIG * BLOCK + 2, &root.to_be_bytes());
    put(PATHS_BIG * BLOCK + 6, &parent.to_be_bytes());

    let mut folder = record(&[0], ROOT, BLOCK, FOLDER);
    folder.extend(record(&[1], ROOT, BLOCK, FOLDER));
    folder.extend(record(name.as_bytes(), FILE, content.len(), 0));
    put(ROOT * BLOCK, &folder);
    put(FILE * BLOCK, content);
    fs::write(image, cd)
}

/// A record of a folder (§9.1).
fn record(name: &[u8], block: usize, length: usize, flags: u8) -> Vec<u8> {
    let size = (33 + name.len()).next_multiple_of(2);
    let byte = |number: usize| u8::try_from(number).expect("names here are short");
    let mut record = vec![byte(size), 0];
    record.extend(both_32(block));
    record.extend(both_32(length));
    // 2025-01-01.
    record.extend([125, 1, 1, 0, 0, 0, 0, flags, 0, 0]);
    record.extend(both_16(1));
    record.push(byte(name.len()));
    record.extend(name);
    record.resize(size, 0);
    record
}

fn little(number: usize) -> u32 {
    u32::try_from(number).expect("CDs here are small")
}

/// In both byte orders, as ISO 9660 has its numbers (§7.2.3, §7.3.3).
fn both_16(number: usize) -> Vec<u8> {
    let number = u16::try_from(number).expect("it is one of a few constants");
    [number.to_le_bytes(), number.to_be_bytes()].concat()
}

fn both_32(number: usize) -> Vec<u8> {
    [little(number).to_le_bytes(), little(number).to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_and_file_are_where_a_reader_looks() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("cd.iso");
        write(&image, "OVF ENV", "OVF-ENV.XML;1", b"<Environment/>").unwrap();
        let cd = fs::read(&image).unwrap();
        assert_eq!(cd.len(), 22 * BLOCK);
        assert_eq!(&cd[32_769..32_774], b"CD001");
        assert_eq!(&cd[32_808..32_816], b"OVF ENV ");
        // The third record of the root folder.
        let at = ROOT * BLOCK + 34 + 34;
        assert_eq!(usize::from(cd[at]), 46);
        assert_eq!(&cd[at + 33..at + 46], b"OVF-ENV.XML;1");
        let block = usize::from(cd[at + 2]);
        assert_eq!(&cd[block * BLOCK..][..14], b"<Environment/>");
    }
}
