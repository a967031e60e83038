//! The EFI system partition: a FAT32 file system made in memory, with fixed times and identifier.

use std::io::{Cursor, Write};

use anyhow::{Context, Result};

/// Volume serial number; any fixed value does.
const VOLUME_ID: u32 = 0x7ed6_a7e0;
const LABEL: &[u8; 11] = b"TIDEGATE   ";
/// Small clusters, so that a partition of this size has the 65525 clusters that FAT32 needs.
const CLUSTER_BYTES: u32 = 512;

/// A FAT has no use for our clock: all times are those of the format's epoch.
#[derive(Debug)]
struct FixedTime;

static FIXED_TIME: FixedTime = FixedTime;

impl fatfs::TimeProvider for FixedTime {
    fn get_current_date(&self) -> fatfs::Date {
        fatfs::Date { year: 1980, month: 1, day: 1 }
    }
    fn get_current_date_time(&self) -> fatfs::DateTime {
        let time = fatfs::Time { hour: 0, min: 0, sec: 0, millis: 0 };
        fatfs::DateTime { date: self.get_current_date(), time }
    }
}

/// Makes a file system of `size` bytes that holds `files` (path and content, in this order) and
/// the folders above them.
pub(crate) fn build(size: u64, files: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut volume = vec![0; usize::try_from(size).context("the ESP fits into memory")?];
    let options = fatfs::FormatVolumeOptions::new()
        .fat_type(fatfs::FatType::Fat32)
        .bytes_per_cluster(CLUSTER_BYTES)
        .volume_id(VOLUME_ID)
        .volume_label(*LABEL);
    fatfs::format_volume(Cursor::new(volume.as_mut_slice()), options)
        .context("cannot format the ESP")?;
    let options = fatfs::FsOptions::new().time_provider(&FIXED_TIME);
    let fs = fatfs::FileSystem::new(Cursor::new(volume.as_mut_slice()), options)
        .context("cannot open the ESP")?;
    for (path, content) in files {
        write(&fs.root_dir(), path, content)
            .with_context(|| format!("{path} does not fit on the ESP"))?;
    }
    fs.unmount().context("cannot finish the ESP")?;
    Ok(volume)
}

fn write<T: fatfs::ReadWriteSeek>(
    root: &fatfs::Dir<'_, T>,
    path: &str,
    content: &[u8],
) -> std::io::Result<()> {
    for (end, _) in path.match_indices('/') {
        root.create_dir(&path[..end])?;
    }
    let mut file = root.create_file(path)?;
    file.write_all(content)?;
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const SIZE: u64 = 40 << 20;

    fn files() -> Vec<(String, Vec<u8>)> {
        vec![
            ("EFI/Linux/tidegate-a+3.efi".into(), vec![7; 70_000]),
            ("EFI/BOOT/BOOTX64.EFI".into(), b"loader".to_vec()),
        ]
    }

    #[test]
    fn files_read_back_from_fat32() {
        let volume = build(SIZE, &files()).expect("they fit");
        let fs = fatfs::FileSystem::new(Cursor::new(volume), fatfs::FsOptions::new()).expect("FAT");
        assert_eq!(fs.fat_type(), fatfs::FatType::Fat32);
        for (path, expected) in files() {
            let mut content = Vec::new();
            let mut file = fs.root_dir().open_file(&path).expect("it was written");
            file.read_to_end(&mut content).expect("readable");
            assert_eq!(content, expected, "{path}");
        }
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        assert!(
            build(SIZE, &files()).expect("they fit") == build(SIZE, &files()).expect("they fit")
        );
    }

    #[test]
    fn a_file_that_does_not_fit_is_named() {
        let files = [("kernel".to_owned(), vec![1; 41 << 20])];
        let error = build(SIZE, &files).expect_err("41 MiB into 40");
        assert!(format!("{error:#}").contains("kernel"), "{error:#}");
    }
}
