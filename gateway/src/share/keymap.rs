//! Names for keys: what a listed key is called, and which key a name means. Pure.
//!
//! Keys are bytes to S3; a file name has rules, and a directory may hold one entry of a name. A part
//! of a key that breaks a rule is shown under an *alias*, which no other key has:
//!
//! - `s3key%` or, for a common prefix, `s3dir%`, and then the part with `%` and control characters
//!   written `%XX`; `.` and `..` are so written whole;
//! - if that is over 255 bytes: as much of it as leaves room for `%~` and 32 hexadecimal digits of the
//!   part's SHA-256. `%~` is in no other alias, as after `%` come two digits.
//!
//! A part that begins as an alias does is shown under an alias itself, so that no name means two keys;
//! clients cannot make names that begin so. An object whose name a directory has is shown under
//! its alias beside it.
use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Longest file name in bytes (RFC 1813 leaves it to the server; Linux clients take 255).
pub const NAME_BYTES_MAX: usize = 255;

/// What aliases of objects begin with.
const OBJECT_ALIAS: &str = "s3key%";
/// What aliases of common prefixes begin with.
const PREFIX_ALIAS: &str = "s3dir%";
/// Before the digits of a shortened alias.
const HASH_MARK: &str = "%~";
/// Digits of a shortened alias: 128 bits.
const HASH_DIGITS: usize = 32;

/// What a part of a key stands for in its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// An object.
    Object,
    /// Keys below it: a directory.
    Prefix,
}

/// What a listed key is to the directory that was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed<'k> {
    /// The directory's own marker object.
    Marker,
    /// An entry of this name, which is the key's own.
    Name(&'k str),
    /// An entry under an alias, for this part of the key.
    Alias {
        /// Its name.
        name: String,
        /// What of the key it stands for.
        part: &'k str,
    },
    /// It is not below the directory: no answer to what was asked.
    Elsewhere,
}

/// Which key a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    /// The one that ends in this part.
    Part(String),
    /// One that begins with this part, and is known by its alias only.
    Begins(String),
    /// None.
    Nothing,
}

/// Whether `name` can be a file name.
pub fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name != "."
        && name != ".."
        && !name.chars().any(|c| c == '/' || c.is_control())
}

/// Whether `name` is kept for aliases: nobody may give it to a file.
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(OBJECT_ALIAS) || name.starts_with(PREFIX_ALIAS)
}

/// The name under which a part of a key is shown that cannot be shown as it is.
pub fn alias(part: &str, kind: PartKind) -> String {
    let marker = match kind {
        PartKind::Object => OBJECT_ALIAS,
        PartKind::Prefix => PREFIX_ALIAS,
    };
    let whole = format!("{marker}{}", escaped(part));
    if whole.len() <= NAME_BYTES_MAX {
        return whole;
    }
    let mut short = marker.to_owned();
    let room = NAME_BYTES_MAX - HASH_MARK.len() - HASH_DIGITS;
    for c in part.chars() {
        let whole = short.len();
        push_escaped(&mut short, c);
        if short.len() > room {
            short.truncate(whole);
            break;
        }
    }
    short.push_str(HASH_MARK);
    short.push_str(&digits(part));
    short
}

/// The name of an object whose own name a directory has.
pub fn beside(part: &str) -> String {
    alias(part, PartKind::Object)
}

/// Which key the name `name` means in a directory, and of what kind; `None` for any kind.
pub fn meant(name: &str) -> (Meant, Option<PartKind>) {
    let (text, kind) = if let Some(text) = name.strip_prefix(OBJECT_ALIAS) {
        (text, PartKind::Object)
    } else if let Some(text) = name.strip_prefix(PREFIX_ALIAS) {
        (text, PartKind::Prefix)
    } else {
        let meant = if is_file_name(name) { Meant::Part(name.to_owned()) } else { Meant::Nothing };
        return (meant, None);
    };
    if !is_file_name(name) {
        return (Meant::Nothing, Some(kind));
    }
    let meant = match text.split_once(HASH_MARK) {
        Some((begin, _)) => unescaped(begin).map_or(Meant::Nothing, Meant::Begins),
        // Written another way it is not a name that is shown.
        None => match unescaped(text).filter(|part| alias(part, kind) == name) {
            Some(part) => Meant::Part(part),
            None => Meant::Nothing,
        },
    };
    (meant, Some(kind))
}

/// What the object `key` is to the directory with the key prefix `prefix`.
pub fn listed_object<'k>(prefix: &str, key: &'k str) -> Listed<'k> {
    match key.strip_prefix(prefix) {
        Some("") => Listed::Marker,
        Some(part) => listed(part, PartKind::Object),
        None => Listed::Elsewhere,
    }
}

/// What the common prefix `common` (ending in `/`) is to the directory with the prefix `prefix`.
pub fn listed_prefix<'k>(prefix: &str, common: &'k str) -> Listed<'k> {
    match common.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('/')) {
        Some(part) => listed(part, PartKind::Prefix),
        None => Listed::Elsewhere,
    }
}

fn listed(part: &str, kind: PartKind) -> Listed<'_> {
    if is_file_name(part) && !is_reserved(part) {
        Listed::Name(part)
    } else {
        Listed::Alias { name: alias(part, kind), part }
    }
}

/// Why a part of a key is shown under an alias, in words for the operator.
pub fn reason(part: &str) -> &'static str {
    match part {
        "" => "an empty part",
        "." | ".." => "a part that means a directory to clients",
        _ if part.chars().any(char::is_control) => "a control character",
        _ if part.len() > NAME_BYTES_MAX => "a part of over 255 bytes",
        _ if is_reserved(part) => "begins as aliases do",
        _ => "a directory has its name",
    }
}

fn escaped(part: &str) -> String {
    let mut text = String::with_capacity(part.len());
    for c in part.chars() {
        if matches!(part, "." | "..") {
            text.push_str("%2E");
        } else {
            push_escaped(&mut text, c);
        }
    }
    text
}

fn push_escaped(text: &mut String, c: char) {
    if c != '%' && !c.is_control() {
        text.push(c);
        return;
    }
    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
        write!(text, "%{byte:02X}").expect("writing to a string works");
    }
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn digits(part: &str) -> String {
    let hash = Sha256::digest(part.as_bytes());
    hash.iter().take(HASH_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What clients make of a name: `None` for the key's own.
    fn shown(part: &str, kind: PartKind) -> Option<String> {
        match listed(part, kind) {
            Listed::Name(name) => {
                assert_eq!(name, part);
                None
            }
            Listed::Alias { name, part: of } => {
                assert_eq!(of, part);
                Some(name)
            }
            other @ (Listed::Marker | Listed::Elsewhere) => panic!("{part:?}: {other:?}"),
        }
    }

    #[test]
    fn keys_are_shown_as_they_are_or_under_an_alias() {
        let longest = "x".repeat(255);
        for (part, object, prefix) in [
            ("a b.txt", None, None),
            ("서울", None, None),
            ("100%", None, None),
            ("...", None, None),
            (longest.as_str(), None, None),
            ("", None, Some("s3dir%")),
            (".", Some("s3key%%2E"), Some("s3dir%%2E")),
            ("..", Some("s3key%%2E%2E"), Some("s3dir%%2E%2E")),
            ("new\nline", Some("s3key%new%0Aline"), Some("s3dir%new%0Aline")),
            ("\0", Some("s3key%%00"), Some("s3dir%%00")),
            ("\u{85}", Some("s3key%%C2%85"), Some("s3dir%%C2%85")),
            ("50%\t", Some("s3key%50%25%09"), Some("s3dir%50%25%09")),
            ("s3key%a", Some("s3key%s3key%25a"), Some("s3dir%s3key%25a")),
            ("s3dir%", Some("s3key%s3dir%25"), Some("s3dir%s3dir%25")),
        ] {
            if !part.is_empty() {
                assert_eq!(shown(part, PartKind::Object).as_deref(), object, "{part:?}");
            }
            assert_eq!(shown(part, PartKind::Prefix).as_deref(), prefix, "{part:?}");
        }
        assert_eq!(listed_object("p/", "p/"), Listed::Marker);
        assert_eq!(listed_object("p/", "q/a"), Listed::Elsewhere);
        assert_eq!(listed_prefix("p/", "p/d/"), Listed::Name("d"));
        assert_eq!(listed_prefix("p/", "p/"), Listed::Elsewhere);
        assert_eq!(listed_object("", "top"), Listed::Name("top"));
        assert_eq!(beside("a"), "s3key%a");
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters_and_told_apart_by_its_hash() {
        let (one, other) = ("é".repeat(200) + "1", "é".repeat(200) + "2");
        let name = alias(&one, PartKind::Object);
        assert!(name.len() <= NAME_BYTES_MAX && name.len() > 250, "{}", name.len());
        assert_ne!(name, alias(&other, PartKind::Object));
        let (Meant::Begins(begin), Some(PartKind::Object)) = meant(&name) else {
            panic!("{name:?} is not known to be short")
        };
        assert!(one.starts_with(&begin) && begin.len() > 200);
        // Escapes make a name too long that is not.
        let tabs = "\t".repeat(100);
        let name = alias(&tabs, PartKind::Prefix);
        assert!(name.len() <= NAME_BYTES_MAX && is_file_name(&name));
        assert!(matches!(meant(&name).0, Meant::Begins(begin) if tabs.starts_with(&begin)));
    }

    #[test]
    fn names_that_no_key_has_mean_nothing() {
        for name in [
            "s3key%a/b",
            "s3key%%2F",
            "s3key%%2",
            "s3key%%ZZ",
            "s3key%%61",
            "s3key%%ff",
            "s3dir%%0a",
            ".",
            "a/b",
        ] {
            assert_eq!(meant(name).0, Meant::Nothing, "{name:?}");
        }
        assert_eq!(meant("a%20b"), (Meant::Part("a%20b".to_owned()), None));
        // Whether there is a directory of the name is not this module's to know.
        assert_eq!(meant("s3key%a"), (Meant::Part("a".to_owned()), Some(PartKind::Object)));
    }

    fn part() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-c%.\\n\\x00é]{0,6}",
            "(s3key%|s3dir%)[a%~0-9E]{0,5}",
            "[a\\t]{80,300}",
            "[^/]{0,20}",
        ]
    }

    fn kind() -> impl Strategy<Value = PartKind> {
        prop_oneof![Just(PartKind::Object), Just(PartKind::Prefix)]
    }

    proptest! {
        #[test]
        fn a_name_stands_for_one_key_and_leads_back_to_it(
            a in part(),
            b in part(),
            k in kind(),
            l in kind(),
        ) {
            let name = |part: &String, kind| shown(part, kind).unwrap_or_else(|| part.clone());
            let (x, y) = (name(&a, k), name(&b, l));
            prop_assert!(is_file_name(&x), "{x:?}");
            if a != b {
                prop_assert_ne!(&x, &y);
            }
            for (part, kind, shown) in [(&a, k, &x), (&a, k, &alias(&a, k))] {
                match meant(shown) {
                    (Meant::Part(of), of_kind) => {
                        prop_assert_eq!(&of, part);
                        prop_assert!(of_kind.is_none_or(|of_kind| of_kind == kind));
                    }
                    (Meant::Begins(begin), of_kind) => {
                        prop_assert!(part.starts_with(&begin));
                        prop_assert_eq!(of_kind, Some(kind));
                    }
                    (Meant::Nothing, _) => prop_assert!(false, "{:?} leads nowhere", shown),
                }
            }
        }
    }
}
