//! Which names entries may have: pure rules for bytes that come from a peer (F33, F34, F38).
use super::FsError;
use crate::store::SCRATCH_NAME;

/// Longest name in bytes (RFC 1813 §3.3.20 name_max as we announce it; what Linux takes).
pub const NAME_BYTES_MAX: usize = 255;

/// A name as a peer gave it, for looking up. `.` and `..` pass.
///
/// # Errors
/// [`FsError::Invalid`] when it is empty, not UTF-8 (S3 keys are), or holds `/` or NUL;
/// [`FsError::NameTooLong`].
pub fn parse(name: &[u8]) -> Result<&str, FsError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(FsError::NameTooLong);
    }
    let text = std::str::from_utf8(name).map_err(|_| FsError::Invalid)?;
    if text.is_empty() || text.contains(['/', '\0']) {
        return Err(FsError::Invalid);
    }
    Ok(text)
}

/// Whether the name is `.` or `..`.
pub fn is_dot(name: &str) -> bool {
    matches!(name, "." | "..")
}

/// A name for a new entry.
///
/// # Errors
/// As [`parse`], and for names of the objects that stores are tried with, which no listing shows;
/// [`FsError::Exists`] for `.` and `..`, which every directory has.
pub fn for_new(name: &[u8]) -> Result<&str, FsError> {
    let name = parse(name)?;
    if is_dot(name) {
        return Err(FsError::Exists);
    }
    if name.starts_with(SCRATCH_NAME) { Err(FsError::Invalid) } else { Ok(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_entry_can_have_are_refused() {
        let (longest, longer) = (vec![b'a'; 255], vec![b'a'; 256]);
        let wide = "é".repeat(128);
        for (name, expected) in [
            (&b"a name with spaces"[..], Ok("a name with spaces")),
            (b"", Err(FsError::Invalid)),
            (b"a/b", Err(FsError::Invalid)),
            (b"a\0b", Err(FsError::Invalid)),
            (b"\xff", Err(FsError::Invalid)),
            (b".", Err(FsError::Exists)),
            (b"..", Err(FsError::Exists)),
            (b"...", Ok("...")),
            (b".tidegate-probe-0123456789abcdef", Err(FsError::Invalid)),
            (&longest, Ok(std::str::from_utf8(&longest).unwrap())),
            (&longer, Err(FsError::NameTooLong)),
            (wide.as_bytes(), Err(FsError::NameTooLong)),
        ] {
            assert_eq!(for_new(name), expected, "{name:?}");
        }
    }
}
