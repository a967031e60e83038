//! Names of secrets with a slip of the finger in them: a document that is refused for one is what an
//! operator has a bundle made of.
//!
//! Only where `=` follows, and with it a value, as in TOML: prose has colons, and words like `taken`.
use super::{value_after, value_end};

/// What names of secrets are made of, and how many slips are let pass in each.
const STEMS: [(&str, usize); 5] =
    [("secret", 1), ("password", 2), ("passwd", 1), ("token", 1), ("passphrase", 2)];
/// The last part of a name of several parts, such as `acces_key`: `key` alone is an object's.
const KEY: &str = "key";
/// Longest name that is looked at.
const NAME_BYTES_MAX: usize = 64;

/// The first value at or after `from` whose name is nearly that of a secret, in a text in lower case.
pub(super) fn next_value(lower: &str, from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    while let Some(sign) = lower[at..].find('=').map(|place| at + place) {
        at = sign + 1;
        let name = name_before(&lower[from..sign]);
        if !is_nearly_secret(name) {
            continue;
        }
        let Some(start) = value_after(lower, sign) else { continue };
        let end = value_end(lower, start);
        if end > start {
            return Some((start, end));
        }
    }
    None
}

/// The name that a text ends with, quotes and blanks behind it left out.
fn name_before(text: &str) -> &str {
    let text = text.trim_end_matches([' ', '\t', '"', '\'', '\\']);
    let belongs = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    &text[text.trim_end_matches(belongs).len()..]
}

fn is_nearly_secret(name: &str) -> bool {
    if name.len() > NAME_BYTES_MAX {
        return false;
    }
    let parts: Vec<&str> = name.split(['_', '-']).filter(|part| !part.is_empty()).collect();
    let nearly = |word: &str| {
        STEMS.iter().any(|(stem, slips)| distance(word.as_bytes(), stem.as_bytes()) <= *slips)
    };
    // The parts may have grown together: `secretacceskey`, `sesiontoken`.
    let joined = |part: &str| STEMS.iter().any(|(stem, _)| part.contains(stem));
    parts.iter().any(|part| nearly(part) || joined(part))
        || matches!(parts.as_slice(), [_, .., last] if distance(last.as_bytes(), KEY.as_bytes()) <= 1)
        || parts.last().is_some_and(|last| last.len() > KEY.len() && last.ends_with(KEY))
}

/// Letters to add, to leave out, to replace or to swap with the next one, to make one word of the other
/// (optimal string alignment).
fn distance(one: &[u8], other: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let replaced = last[j - 1] + usize::from(one[i - 1] != other[j - 1]);
            let mut least = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_in_a_secret_s_name_hides_no_secret_and_other_names_keep_theirs() {
        for name in [
            "secret_acces_key",
            "sercet_access_key",
            "secrt_access_kye",
            "secretacceskey",
            "acces_key",
            "sesion_tokne",
            "pasword",
            "paswrod",
            "password_hsh",
            "proxy-passwrd",
            "tokens",
        ] {
            assert!(is_nearly_secret(name), "{name}");
        }
        for name in [
            "access_key_id",
            "hostname",
            "region",
            "key",
            "shares",
            "version",
            "bucket",
            "prefix",
            "address",
            "",
            "default_adapter",
        ] {
            assert!(!is_nearly_secret(name), "{name}");
        }
    }

    #[test]
    fn letters_are_counted() {
        for (one, other, slips) in
            [("secret", "secret", 0), ("sercet", "secret", 1), ("tokn", "token", 1), ("", "key", 3)]
        {
            assert_eq!(distance(one.as_bytes(), other.as_bytes()), slips, "{one} {other}");
        }
    }
}
