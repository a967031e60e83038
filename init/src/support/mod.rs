//! The support bundle: what somebody who helps from afar wants to see, in one archive, without secrets.
//!
//! `gather.rs` collects what the console may see; secrets that it may not see are not among that.
//! `redact.rs` takes out what may stand in logs all the same. `offer.rs` hands the archive over by HTTP,
//! once; the gateway's program stores it in a bucket.
mod gather;
mod offer;
mod redact;

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};

pub(crate) use self::{
    gather::{Known, gather},
    offer::{OFFER_SECONDS, Offer, serve},
    redact::redacted,
};

/// Most bytes of one piece, and of all together, before they are compressed. The compressed archive is
/// at most a little larger, a tenth as a rule.
pub(crate) const PIECE_BYTES_MAX: usize = 8 << 20;
pub(crate) const BYTES_MAX: usize = 24 << 20;
/// End of what was longer.
const CUT: &str = "\n[cut here]\n";

/// One file of the bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Its path in the bundle.
    pub(crate) name: String,
    /// What it holds; or why that could not be had.
    pub(crate) text: Result<String, String>,
}

impl Piece {
    fn new(name: impl Into<String>, text: Result<String, String>) -> Self {
        Self { name: name.into(), text }
    }
}

/// A bundle.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// The archive (tar.gz).
    pub(crate) archive: Vec<u8>,
    /// Pieces in it, and those that could not be had.
    pub(crate) pieces: usize,
    pub(crate) missing: usize,
}

/// Packs pieces into an archive whose files are below `folder`, secrets taken out.
///
/// # Errors
/// A piece's name is too long for an archive.
pub(crate) fn pack(folder: &str, seconds: u64, pieces: Vec<Piece>) -> io::Result<Bundle> {
    let mut readme = String::from(
        "Support bundle of a Tidegate appliance. Credentials, passwords and their hashes are left out;\n\
         what looks like one in a log is replaced by [removed]. Names of hosts, shares, buckets and\n\
         files, and addresses, are in it.\n\n",
    );
    let missing = pieces.iter().filter(|piece| piece.text.is_err()).count();
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let mut left = BYTES_MAX;
    let mut number = 0;
    for Piece { name, text } in pieces {
        match text {
            Ok(text) => {
                let text = redacted(&cut(&text, PIECE_BYTES_MAX.min(left)));
                left = left.saturating_sub(text.len());
                add(&mut archive, &format!("{folder}/{name}"), seconds, text.as_bytes())?;
                number += 1;
            }
            Err(why) => readme.push_str(&format!("missing: {name}: {why}\n")),
        }
    }
    let readme = redacted(&readme);
    add(&mut archive, &format!("{folder}/README.txt"), seconds, readme.as_bytes())?;
    let archive = archive.into_inner()?.finish()?;
    Ok(Bundle { archive, pieces: number, missing })
}

fn add(
    archive: &mut tar::Builder<impl Write>,
    name: &str,
    seconds: u64,
    content: &[u8],
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(seconds);
    archive.append_data(&mut header, name, content)
}

/// The first `bytes_max` bytes at most, and a word where there were more.
fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut end = bytes_max.saturating_sub(CUT.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{CUT}", &text[..end])
}

/// The name of a bundle, without its ending: host and time, such as `tidegate-20261123-180000`.
pub(crate) fn name(hostname: &str, clock: &str) -> String {
    let digits = |from: usize, to: usize| -> String {
        let part = clock.get(from..to).unwrap_or_default();
        part.chars().filter(char::is_ascii_digit).collect()
    };
    let time = format!("{}-{}", digits(0, 10), digits(11, 19));
    format!("{hostname}-{}", time.trim_matches('-')).trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    /// Names and contents.
    fn unpacked(archive: &[u8]) -> Vec<(String, String)> {
        let mut archive = tar::Archive::new(GzDecoder::new(archive));
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (entry.path().unwrap().to_str().unwrap().to_owned(), text)
        });
        entries.collect()
    }

    #[test]
    fn pieces_are_files_and_what_is_missing_is_said() {
        let bundle = pack(
            "gate7-1",
            1_800_000_000,
            vec![
                Piece::new("proc/meminfo", Ok("MemTotal: 1 kB\n".to_owned())),
                Piece::new("gateway/status.json", Err("it is being started".to_owned())),
            ],
        );
        let bundle = bundle.unwrap();
        assert_eq!((bundle.pieces, bundle.missing), (1, 1));
        let files = unpacked(&bundle.archive);
        assert_eq!(files[0], ("gate7-1/proc/meminfo".to_owned(), "MemTotal: 1 kB\n".to_owned()));
        assert_eq!(files[1].0, "gate7-1/README.txt");
        assert!(files[1].1.contains("missing: gateway/status.json: it is being started"));
    }

    #[test]
    fn a_bundle_is_bounded() {
        let large = || Ok("words \u{e9} ".repeat(PIECE_BYTES_MAX / 4));
        let pieces = (0..5).map(|n| Piece::new(format!("log{n}"), large())).collect();
        let files = unpacked(&pack("a", 0, pieces).unwrap().archive);
        assert!(files[0].1.len() <= PIECE_BYTES_MAX && files[0].1.ends_with(CUT));
        let all: usize = files.iter().map(|(_, text)| text.len()).sum();
        assert!(all <= BYTES_MAX + (64 << 10), "{all}");
    }

    #[test]
    fn a_bundle_is_named_by_host_and_time() {
        assert_eq!(name("gate7", "2026-11-23 18:00:00 KST (+0900)"), "gate7-20261123-180000");
        assert_eq!(name("gate7", ""), "gate7");
        assert_eq!(name("gate7", "/usr/bin/date: no such file"), "gate7");
    }
}
