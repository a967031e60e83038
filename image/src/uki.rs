//! The unified kernel image: systemd's EFI stub with kernel, initramfs and command line appended
//! as PE sections (UAPI Group Specification UKI). One file that UEFI firmware can start.

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};

/// Offset of `e_lfanew`, the position of the PE header (PE Format, MS-DOS Stub).
const PE_POINTER_OFFSET: usize = 0x3c;
const COFF_HEADER_BYTES: usize = 20;
const SECTION_HEADER_BYTES: usize = 40;
/// `IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ`.
const SECTION_FLAGS: u32 = 0x4000_0040;

/// What a unified kernel image is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'a> {
    /// `linuxx64.efi.stub`.
    pub(crate) stub: &'a [u8],
    /// os-release text: the boot menu's title and version.
    pub(crate) os_release: &'a str,
    /// Kernel command line.
    pub(crate) cmdline: &'a str,
    /// Kernel release.
    pub(crate) uname: &'a str,
    /// Compressed initramfs.
    pub(crate) initrd: &'a [u8],
    /// bzImage.
    pub(crate) linux: &'a [u8],
}

/// A unified kernel image, and where in it GRUB's two files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unified {
    /// The file.
    pub(crate) bytes: Vec<u8>,
    /// bzImage.
    pub(crate) linux: Range<usize>,
    /// Compressed initramfs.
    pub(crate) initrd: Range<usize>,
}

/// Puts the parts together.
///
/// # Errors
/// When the stub is not a PE file with room for the section headers.
pub(crate) fn build(parts: &Parts<'_>) -> Result<Unified> {
    let mut image = Image::open(parts.stub)?;
    image.append(".osrel", parts.os_release.as_bytes())?;
    image.append(".cmdline", parts.cmdline.as_bytes())?;
    image.append(".uname", parts.uname.as_bytes())?;
    let initrd = image.append(".initrd", parts.initrd)?;
    // Last, so that nothing follows it in memory.
    let linux = image.append(".linux", parts.linux)?;
    Ok(Unified { bytes: image.bytes, linux, initrd })
}

struct Image {
    bytes: Vec<u8>,
    /// Offset of the COFF header.
    coff: usize,
    /// Offset of the optional header.
    optional: usize,
    section_alignment: u32,
    file_alignment: u32,
    headers_bytes: usize,
}

impl Image {
    fn open(stub: &[u8]) -> Result<Self> {
        let pe = usize::try_from(u32_at(stub, PE_POINTER_OFFSET)?)?;
        ensure!(stub.get(pe..pe + 4) == Some(b"PE\0\0"), "the EFI stub is not a PE file");
        let coff = pe + 4;
        let optional = coff + COFF_HEADER_BYTES;
        ensure!(u16_at(stub, optional)? == 0x20b, "the EFI stub is not a 64-bit PE file");
        Ok(Self {
            bytes: stub.to_vec(),
            coff,
            optional,
            section_alignment: u32_at(stub, optional + 32)?,
            file_alignment: u32_at(stub, optional + 36)?,
            headers_bytes: usize::try_from(u32_at(stub, optional + 60)?)?,
        })
    }

    /// Appends a section; where its content is in the file.
    fn append(&mut self, name: &str, content: &[u8]) -> Result<Range<usize>> {
        let count = u16_at(&self.bytes, self.coff + 2)?;
        let optional_bytes = usize::from(u16_at(&self.bytes, self.coff + 16)?);
        let table = self.optional + optional_bytes;
        let header = table + usize::from(count) * SECTION_HEADER_BYTES;
        if header + SECTION_HEADER_BYTES > self.headers_bytes {
            bail!("the EFI stub has no room for a section header of {name}");
        }
        let mut address = 0;
        for index in 0..usize::from(count) {
            let section = table + index * SECTION_HEADER_BYTES;
            let end = u32_at(&self.bytes, section + 8)? + u32_at(&self.bytes, section + 12)?;
            address = address.max(end.next_multiple_of(self.section_alignment));
        }
        let size = u32::try_from(content.len()).context("a section is smaller than 4 GiB")?;
        let raw_size = size.next_multiple_of(self.file_alignment);
        let raw_start = self.bytes.len().next_multiple_of(usize::try_from(self.file_alignment)?);
        self.bytes.resize(raw_start, 0);
        self.bytes.extend_from_slice(content);
        self.bytes.resize(raw_start + usize::try_from(raw_size)?, 0);

        let mut entry = [0; SECTION_HEADER_BYTES];
        entry[..name.len()].copy_from_slice(name.as_bytes());
        entry[8..12].copy_from_slice(&size.to_le_bytes());
        entry[12..16].copy_from_slice(&address.to_le_bytes());
        entry[16..20].copy_from_slice(&raw_size.to_le_bytes());
        entry[20..24].copy_from_slice(&u32::try_from(raw_start)?.to_le_bytes());
        entry[36..40].copy_from_slice(&SECTION_FLAGS.to_le_bytes());
        self.bytes[header..header + SECTION_HEADER_BYTES].copy_from_slice(&entry);
        self.put(self.coff + 2, &(count + 1).to_le_bytes());
        let image_size = (address + size).next_multiple_of(self.section_alignment);
        self.put(self.optional + 56, &image_size.to_le_bytes());
        // The checksum is optional for EFI programs; a stale one would be wrong.
        self.put(self.optional + 64, &[0; 4]);
        Ok(raw_start..raw_start + content.len())
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

fn u16_at(bytes: &[u8], offset: usize) -> Result<u16> {
    let found = bytes.get(offset..offset + 2).context("the EFI stub is cut short")?;
    Ok(u16::from_le_bytes(found.try_into().expect("two bytes were taken")))
}

fn u32_at(bytes: &[u8], offset: usize) -> Result<u32> {
    let found = bytes.get(offset..offset + 4).context("the EFI stub is cut short")?;
    Ok(u32::from_le_bytes(found.try_into().expect("four bytes were taken")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PE32+ header with one section and room for `spare` more section headers.
    fn stub(spare: usize) -> Vec<u8> {
        let mut bytes = vec![0; 0x40];
        bytes[PE_POINTER_OFFSET] = 0x40;
        bytes.extend_from_slice(b"PE\0\0");
        let mut coff = [0; COFF_HEADER_BYTES];
        coff[2] = 1; // sections
        coff[16] = 112; // optional header bytes
        bytes.extend_from_slice(&coff);
        let headers = 0x40 + 4 + COFF_HEADER_BYTES + 112 + SECTION_HEADER_BYTES * (1 + spare);
        let mut optional = vec![0; 112];
        optional[0..2].copy_from_slice(&0x20b_u16.to_le_bytes());
        optional[32..36].copy_from_slice(&4096_u32.to_le_bytes());
        optional[36..40].copy_from_slice(&512_u32.to_le_bytes());
        optional[60..64].copy_from_slice(&u32::try_from(headers).expect("small").to_le_bytes());
        bytes.extend_from_slice(&optional);
        let mut section = [0; SECTION_HEADER_BYTES];
        section[..5].copy_from_slice(b".text");
        section[8..12].copy_from_slice(&100_u32.to_le_bytes());
        section[12..16].copy_from_slice(&4096_u32.to_le_bytes());
        bytes.extend_from_slice(&section);
        bytes.resize(headers, 0);
        bytes
    }

    fn parts(stub: &[u8]) -> Parts<'_> {
        let (os_release, cmdline, uname) = ("ID=x\n", "quiet", "6.12");
        Parts { stub, os_release, cmdline, uname, initrd: b"initrd", linux: &[7; 5000] }
    }

    #[test]
    fn the_parts_can_be_read_back_as_sections() {
        let Unified { bytes: image, linux, initrd } =
            build(&parts(&stub(5))).expect("there is room");
        assert_eq!((&image[linux], &image[initrd]), (&[7; 5000][..], &b"initrd"[..]));
        let table = 0x40 + 4 + COFF_HEADER_BYTES + 112;
        let mut previous_end = 0;
        let mut names = Vec::new();
        for index in 0..6 {
            let at = table + index * SECTION_HEADER_BYTES;
            let field = |offset| u32_at(&image, at + offset).expect("inside");
            assert!(field(12) >= previous_end, "sections must not overlap in memory");
            previous_end = field(12) + field(8);
            names.push(
                String::from_utf8_lossy(&image[at..at + 8]).trim_end_matches('\0').to_owned(),
            );
            if names[index] == ".linux" {
                let start = usize::try_from(field(20)).expect("small");
                assert_eq!(image[start..start + 5000], [7; 5000]);
            }
        }
        assert_eq!(names, [".text", ".osrel", ".cmdline", ".uname", ".initrd", ".linux"]);
    }

    #[test]
    fn a_stub_without_room_is_refused() {
        let error = build(&parts(&stub(2))).expect_err("two headers fit, five are needed");
        assert!(error.to_string().contains("no room"), "{error}");
    }

    #[test]
    fn what_is_not_a_pe_file_is_refused() {
        assert!(build(&parts(b"MZ")).is_err());
    }
}
