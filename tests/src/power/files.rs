//! The files of a directory as one stream, holes left out: how what Linux found on a disk leaves the machine.
//!
//! Per entry: length of the path, path, kind, size, number of extents; per extent: place, length, bytes. Numbers
//! are 64-bit, little-endian; a path of no bytes is the end.
use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Write},
    os::unix::{ffi::OsStrExt, fs::FileExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use nix::{
    errno::Errno,
    unistd::{Whence, lseek},
};

const DIRECTORY: u64 = 0;
const FILE: u64 = 1;
/// Most bytes of a path, and of one extent that are in memory at a time.
const PATH_BYTES_MAX: u64 = 4096;
const PIECE_BYTES: u64 = 1 << 20;

fn put(out: &mut impl Write, numbers: &[u64]) -> io::Result<()> {
    numbers.iter().try_for_each(|number| out.write_all(&number.to_le_bytes()))
}

fn number(input: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    input.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Writes everything below `root`.
///
/// # Errors
/// When something cannot be read or written.
pub fn pack(root: &Path, out: &mut impl Write) -> Result<()> {
    let mut ahead = vec![root.to_owned()];
    while let Some(folder) = ahead.pop() {
        let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let path = entry?.path();
            let metadata = fs::symlink_metadata(&path)?;
            let name = path.strip_prefix(root)?.as_os_str().as_bytes();
            put(out, &[name.len() as u64])?;
            out.write_all(name)?;
            if metadata.is_dir() {
                put(out, &[DIRECTORY, 0, 0])?;
                ahead.push(path);
            } else {
                pack_file(&path, metadata.len(), out)
                    .with_context(|| path.display().to_string())?;
            }
        }
    }
    put(out, &[0])?;
    out.flush()?;
    Ok(())
}

fn pack_file(path: &Path, size: u64, out: &mut impl Write) -> Result<()> {
    let file = File::open(path)?;
    let extents = extents(&file, size)?;
    put(out, &[FILE, size, extents.len() as u64])?;
    let mut piece = Vec::new();
    for (begin, end) in extents {
        put(out, &[begin, end - begin])?;
        let mut at = begin;
        while at < end {
            piece.resize(usize::try_from(PIECE_BYTES.min(end - at))?, 0);
            file.read_exact_at(&mut piece, at)?;
            out.write_all(&piece)?;
            at += piece.len() as u64;
        }
    }
    Ok(())
}

fn extents(file: &File, size: u64) -> Result<Vec<(u64, u64)>> {
    let mut extents = Vec::new();
    let mut at = 0;
    while at < size {
        let begin = match lseek(file, i64::try_from(at)?, Whence::SeekData) {
            Err(Errno::ENXIO) => break,
            begin => u64::try_from(begin?)?,
        };
        let end = u64::try_from(lseek(file, i64::try_from(begin)?, Whence::SeekHole)?)?.min(size);
        extents.push((begin, end));
        at = end;
    }
    Ok(extents)
}

/// Makes everything that `input` holds below `root`.
///
/// # Errors
/// When it cannot be made, or the stream is damaged.
pub fn unpack(input: impl Read, root: &Path) -> Result<()> {
    let mut input = BufReader::with_capacity(1 << 20, input);
    fs::create_dir_all(root)?;
    loop {
        let length = number(&mut input)?;
        if length == 0 {
            return Ok(());
        }
        ensure!(length <= PATH_BYTES_MAX, "a path of {length} bytes");
        let mut name = vec![0; usize::try_from(length)?];
        input.read_exact(&mut name)?;
        let path: PathBuf = root.join(String::from_utf8(name)?);
        let [kind, size, extents] = [number(&mut input)?, number(&mut input)?, number(&mut input)?];
        if kind == DIRECTORY {
            fs::create_dir(&path)?;
            continue;
        }
        let file = File::create(&path)?;
        file.set_len(size)?;
        for _ in 0..extents {
            let (mut at, mut left) = (number(&mut input)?, number(&mut input)?);
            let mut piece = Vec::new();
            while left > 0 {
                piece.resize(usize::try_from(PIECE_BYTES.min(left))?, 0);
                input.read_exact(&mut piece)?;
                file.write_all_at(&piece, at)?;
                at += piece.len() as u64;
                left -= piece.len() as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_their_holes_arrive() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(from.path().join("data/00")).unwrap();
        fs::write(from.path().join("empty"), b"").unwrap();
        let file = File::create(from.path().join("data/00/7")).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(b"end", 5 << 20).unwrap();
        file.set_len(6 << 20).unwrap();
        let mut stream = Vec::new();
        pack(from.path(), &mut stream).unwrap();
        assert!(stream.len() < 1 << 20, "holes are left out: {}", stream.len());
        stream.extend([9; 100]);
        unpack(stream.as_slice(), &to.path().join("new")).unwrap();
        for name in ["empty", "data/00/7"] {
            let of = |root: &Path| fs::read(root.join(name)).unwrap();
            assert!(of(from.path()) == of(&to.path().join("new")), "{name}");
        }
        unpack(&stream[..50], &to.path().join("short")).unwrap_err();
    }
}
