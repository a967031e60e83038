//! An update file, read from front to back: a tar (POSIX ustar) of four members in a fixed order.
//!
//! Before the signature was found right nothing of it is believed, and all that is looked at are two
//! headers of 512 bytes. After it everything that may come is known to the byte; each block is handed on
//! only when its digest is right.
use std::io::{self, Read};

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{
    manifest::{BLOCK_BYTES, MANIFEST_BYTES_MAX, Manifest, Member},
    signature::{Keys, SIGNATURE_BYTES},
};

/// Size of a header, and what members are filled up to.
const RECORD: usize = 512;
/// Zero records that may follow the two which end an archive.
const TRAILING_MAX: u64 = 1 << 20;

/// What is said of an update that ends too early.
pub(super) const CUT_OFF: &str = "it is cut off";

/// Why an update is not taken.
#[derive(Debug, Error)]
pub(crate) enum Wrong {
    /// It cannot be read.
    #[error("The update cannot be read: {0}.")]
    Unreadable(#[source] io::Error),
    /// It is something else.
    #[error("This is no update: {0}.")]
    NotOne(&'static str),
    /// Nobody whom we know has signed it.
    #[error("{0}")]
    NotSigned(String),
    /// It is signed and makes no sense here.
    #[error("The update's manifest is of no use here: {0}.")]
    Manifest(String),
    /// It is not what was signed.
    #[error("The update is damaged: {0}. Get it again.")]
    Damaged(String),
    /// A block that is right could not be handed on.
    #[error("{0}")]
    NotTaken(String),
}

/// A member of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Root file system.
    Root,
    /// Kernel image.
    Efi,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Root => "root.img",
            Self::Efi => "tidegate.efi",
        }
    }
}

/// An update of which the manifest was read.
#[derive(Debug)]
pub(crate) struct Stream<R>(R);

impl<R: Read> Stream<R> {
    /// Reads up to the manifest.
    ///
    /// # Errors
    /// It is no update, not signed, or not of use.
    pub(crate) fn open(from: R, keys: &Keys) -> Result<(Manifest, Self), Wrong> {
        let mut stream = Self(from);
        let size = stream.header("manifest.json")?;
        if size == 0 || size > MANIFEST_BYTES_MAX {
            return Err(Wrong::NotOne("its manifest has no size of one"));
        }
        let manifest = stream.small(size)?;
        if stream.header("manifest.sig")? != SIGNATURE_BYTES {
            return Err(Wrong::NotOne("its signature has no size of one"));
        }
        let signature = stream.small(SIGNATURE_BYTES)?;
        keys.check(&manifest, &signature).map_err(Wrong::NotSigned)?;
        let manifest = Manifest::parse(&manifest).map_err(Wrong::Manifest)?;
        Ok((manifest, stream))
    }

    /// Reads a member, which must be the next one; hands each block to `take` with its place.
    ///
    /// # Errors
    /// It is not what the manifest says, or `take` gives up.
    pub(crate) fn member(
        &mut self,
        part: Part,
        member: &Member,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), String>,
    ) -> Result<(), Wrong> {
        let name = part.name();
        if self.header(name)? != member.size {
            return Err(Wrong::Damaged(format!("{name} has not the size that was signed")));
        }
        let (mut at, mut block) = (0, Vec::new());
        for digest in &member.blocks {
            let length = (member.size - at).min(BLOCK_BYTES);
            block.resize(usize::try_from(length).unwrap_or_default(), 0);
            self.fill(&mut block)?;
            if !digest.eq_ignore_ascii_case(&sha256(&block)) {
                return Err(Wrong::Damaged(format!("{name} is not what was signed, at byte {at}")));
            }
            take(at, &block).map_err(Wrong::NotTaken)?;
            at += length;
        }
        self.padding(member.size)
    }

    /// Reads what is behind the last member, which must be nothing.
    ///
    /// # Errors
    /// It is something.
    pub(crate) fn end(mut self) -> Result<(), Wrong> {
        let mut record = [0; RECORD];
        for _ in 0..2 {
            self.fill(&mut record)?;
            if record != [0; RECORD] {
                return Err(Wrong::Damaged("something follows its last member".to_owned()));
            }
        }
        let mut rest = self.0.take(TRAILING_MAX);
        loop {
            match rest.read(&mut record).map_err(Wrong::Unreadable)? {
                0 => return Ok(()),
                read if record[..read].iter().all(|byte| *byte == 0) => {}
                _ => return Err(Wrong::Damaged("something follows its end".to_owned())),
            }
        }
    }

    /// Reads the header of a regular file with this name; its size.
    fn header(&mut self, name: &str) -> Result<u64, Wrong> {
        let mut header = [0; RECORD];
        self.fill(&mut header)?;
        let field = |range: std::ops::Range<usize>| &header[range];
        // "ustar", and the version of POSIX.
        if *field(257..265) != *b"ustar\x0000" {
            return Err(Wrong::NotOne("it is no archive of the kind"));
        }
        // The sum counts its own field as blanks.
        let sum: u64 = (0..RECORD)
            .map(|at| if (148..156).contains(&at) { u64::from(b' ') } else { header[at].into() })
            .sum();
        if octal(field(148..156)) != Some(sum) {
            return Err(Wrong::NotOne("a header in it is damaged"));
        }
        let found = field(0..100).split(|byte| *byte == 0).next().unwrap_or_default();
        // A folder before the name, or another kind than a file, is not what we write either.
        if found != name.as_bytes() || header[345] != 0 || header[156] != b'0' {
            return Err(Wrong::NotOne("its members are not those of an update"));
        }
        octal(field(124..136)).ok_or(Wrong::NotOne("a header in it is damaged"))
    }

    fn small(&mut self, size: u64) -> Result<Vec<u8>, Wrong> {
        let mut content = vec![0; usize::try_from(size).unwrap_or_default()];
        self.fill(&mut content)?;
        self.padding(size)?;
        Ok(content)
    }

    /// Reads what fills a member up to whole records.
    fn padding(&mut self, size: u64) -> Result<(), Wrong> {
        let record = RECORD as u64;
        let length = usize::try_from(size.next_multiple_of(record) - size).unwrap_or_default();
        let mut padding = [0; RECORD];
        self.fill(&mut padding[..length])?;
        if padding == [0; RECORD] {
            Ok(())
        } else {
            Err(Wrong::NotOne("it has bytes between its members"))
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Wrong> {
        self.0.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Wrong::Damaged(CUT_OFF.to_owned()),
            _ => Wrong::Unreadable(error),
        })
    }
}

/// SHA-256 in hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number of octal digits that ends with a NUL or a blank.
fn octal(field: &[u8]) -> Option<u64> {
    let end = field.iter().position(|byte| matches!(byte, 0 | b' '))?;
    let digits = str::from_utf8(&field[..end]).ok()?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    plain.then(|| u64::from_str_radix(digits, 8).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::{super::made, *};

    type Taken = Vec<(Part, u64, Vec<u8>)>;

    /// Reads all of it; what was handed on, and how it ended.
    fn read(update: &[u8]) -> (Taken, Result<(), Wrong>) {
        let mut taken = Vec::new();
        let outcome = (|| {
            let (manifest, mut stream) = Stream::open(update, &made::keys())?;
            for (part, member) in [(Part::Root, &manifest.root), (Part::Efi, &manifest.efi)] {
                stream.member(part, member, |at, block| {
                    taken.push((part, at, block.to_vec()));
                    Ok(())
                })?;
            }
            stream.end()
        })();
        (taken, outcome)
    }

    fn says(update: &[u8]) -> String {
        read(update).1.unwrap_err().to_string()
    }

    #[test]
    fn what_the_builder_signed_arrives_whole() {
        let (taken, outcome) = read(&made::update(&made::version(1)));
        outcome.unwrap();
        let whole = |part: Part| -> Vec<u8> {
            let blocks = taken.iter().filter(|(of, _, _)| *of == part);
            blocks.flat_map(|(_, _, block)| block.clone()).collect()
        };
        assert!(whole(Part::Root) == made::version(1).root);
        assert!(whole(Part::Efi) == made::version(1).efi);
        assert!(taken.iter().all(|(_, at, _)| at % BLOCK_BYTES == 0));
    }

    /// Wherever a byte is changed: what was handed on before it shows is as it was signed.
    #[test]
    fn no_wrong_byte_is_ever_handed_on() {
        let whole = made::update(&made::version(1));
        let (expected, outcome) = read(&whole);
        outcome.unwrap();
        let mut harmless = Vec::new();
        let end = whole.len();
        let moments = (0..3000).chain((3000..end).step_by(9973)).chain(end - 1100..end);
        for at in moments {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x41;
            let (taken, outcome) = read(&bytes);
            assert!(taken.iter().zip(&expected).all(|(a, b)| a == b), "byte {at}");
            if outcome.is_ok() {
                harmless.push(at);
            }
        }
        assert_eq!(harmless, [0; 0], "a header's sum covers it, a digest, the signature, or zeros");
    }

    #[test]
    fn wherever_it_is_cut_it_is_not_whole() {
        let whole = made::update(&made::version(1));
        for length in (0..4096).step_by(67).chain((4096..whole.len()).step_by(70_001)) {
            assert!(says(&whole[..length]).contains("cut off"), "{length}");
        }
    }

    #[test]
    fn each_kind_of_wrong_is_said() {
        let version = made::version(1);
        let whole = made::update(&version);
        assert!(says(&made::unsigned(&version)).contains("not signed"));
        assert!(says(&made::signed_by(&version, 9)).contains("key that this version knows"));
        assert!(says(b"PK\x03\x04".repeat(300).as_slice()).contains("no archive"));
        let more = [&whole[..], b"x"].concat();
        assert!(says(&more).contains("follows its end"));
        assert!(read(&[&whole[..], &[0; 9000]].concat()).1.is_ok(), "a CD fills up its files");
        // Members in another order; one left out.
        let files = made::members(&whole);
        let in_order = |order: &[usize]| {
            made::archive(order.iter().map(|at| (files[*at].0.as_str(), files[*at].1.as_slice())))
        };
        assert!(read(&in_order(&[0, 1, 2, 3])).1.is_ok(), "as it should be");
        for order in [&[1, 0, 2, 3][..], &[0, 1, 3, 2], &[0, 1, 3], &[0, 2, 3], &[2, 0, 1, 3]] {
            assert!(says(&in_order(order)).contains("members are not those"), "{order:?}");
        }
        assert!(says(&in_order(&[0, 1, 2, 3, 3])).contains("follows its last member"));
        // Sizes that were not signed.
        let mut longer = files.clone();
        longer[2].1.push(0);
        let longer =
            made::archive(longer.iter().map(|(name, content)| (name.as_str(), content.as_slice())));
        assert!(says(&longer).contains("not the size"));
        let mut huge = files.clone();
        huge[0].1 = vec![b' '; 70_000];
        let huge =
            made::archive(huge.iter().map(|(name, content)| (name.as_str(), content.as_slice())));
        assert!(says(&huge).contains("no size of one"));
    }

    #[test]
    fn who_does_not_take_a_block_ends_it() {
        let update = made::update(&made::version(1));
        let (manifest, mut stream) = Stream::open(update.as_slice(), &made::keys()).unwrap();
        let mut calls = 0;
        let full = stream.member(Part::Root, &manifest.root, |_, _| {
            calls += 1;
            Err("disk full".to_owned())
        });
        assert_eq!((full.unwrap_err().to_string().as_str(), calls), ("disk full", 1));
    }

    #[test]
    fn octal_numbers_are_digits_with_an_end() {
        assert_eq!(octal(b"00000001750\0"), Some(1000));
        for wrong in [&b"\0"[..], b"0000000175", b"8\0", b"-1\0", b"+1\0", &[0x80; 12]] {
            assert_eq!(octal(wrong), None);
        }
    }

    proptest::proptest! {
        /// Whatever comes, it ends with words, and nothing unsigned is handed on.
        #[test]
        fn noise_is_no_update(noise in proptest::collection::vec(proptest::num::u8::ANY, 0..4096),
                              at in 0_usize..4096, keep in 0_usize..4096) {
            let mut update = made::update(&made::version(1));
            let (expected, outcome) = read(&update);
            outcome.unwrap();
            let end = (at + noise.len()).min(update.len());
            update.splice(at..end, noise.iter().copied());
            update.truncate(update.len().saturating_sub(keep));
            let (taken, _) = read(&update);
            proptest::prop_assert!(taken.iter().zip(&expected).all(|(a, b)| a == b));
        }
    }
}
