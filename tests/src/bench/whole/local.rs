//! What the disk gives whoever asks it directly, on the file system that the gateway's cache is on: the physical
//! limit of what is promised to be on the disk.
use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::FileExt,
    path::Path,
    thread,
};

use anyhow::{Result, anyhow};

use super::moment;
use crate::bench::content::{self, BLOCK_MAX};

/// Writes a file of `bytes` bytes in blocks of 1 MiB, one after the other, and has it brought to the disk
/// (fdatasync); answers the seconds, and removes it.
///
/// # Errors
/// Of the disk.
pub fn write(folder: &Path, bytes: u64) -> Result<f64> {
    content::prepare();
    let path = folder.join("local-large");
    let begun = moment::now();
    let file = File::create(&path)?;
    let mut at = 0;
    while at < bytes {
        let block = u64::from(BLOCK_MAX).min(bytes - at);
        file.write_all_at(content::content(at, usize::try_from(block)?), at)?;
        at += block;
    }
    file.sync_data()?;
    let seconds = moment::now() - begun;
    drop(file);
    fs::remove_file(path)?;
    Ok(seconds)
}

/// Makes `count` files of `bytes` bytes in one directory, each of which is brought to the disk (fsync) before the next
/// one of its thread, by `threads` threads; answers the seconds, and removes them.
///
/// # Errors
/// Of the disk.
pub fn create(folder: &Path, count: u64, bytes: u64, threads: u64) -> Result<f64> {
    let folder = folder.join("local-small");
    fs::create_dir(&folder)?;
    let body = content::content(0, usize::try_from(bytes)?);
    let begun = moment::now();
    thread::scope(|scope| {
        let makers: Vec<_> = (0..threads)
            .map(|first| {
                let folder = &folder;
                scope.spawn(move || {
                    for number in (first..count).step_by(usize::try_from(threads).unwrap_or(1)) {
                        let mut file = File::create(folder.join(number.to_string()))?;
                        file.write_all(body)?;
                        file.sync_all()?;
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        makers.into_iter().try_for_each(|maker| {
            maker.join().map_err(|_| anyhow!("a thread that makes files has panicked"))?
        })
    })?;
    let seconds = moment::now() - begun;
    fs::remove_dir_all(folder)?;
    Ok(seconds)
}
