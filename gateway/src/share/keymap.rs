//! Which names in a listing can be file names. Pure.
//!
//! Keys are bytes to S3; a file name has rules. What breaks them is counted and reported, never
//! touched (the other direction, path to key, is the catalog's).

/// Longest file name in bytes (RFC 1813 leaves it to the server; Linux clients take 255).
pub const NAME_BYTES_MAX: usize = 255;

/// What a listed key is to the directory that was listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed<'k> {
    /// The directory's own marker object.
    Marker,
    /// An entry of this name.
    Name(&'k str),
    /// No file name can stand for it.
    Unrepresentable,
}

/// Whether `name` can be a file name.
pub fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name != "."
        && name != ".."
        && !name.chars().any(|c| c == '/' || c.is_control())
}

/// What the object `key` is to the directory with the key prefix `prefix`.
pub fn listed_object<'k>(prefix: &str, key: &'k str) -> Listed<'k> {
    match key.strip_prefix(prefix) {
        Some("") => Listed::Marker,
        Some(name) if is_file_name(name) => Listed::Name(name),
        Some(_) | None => Listed::Unrepresentable,
    }
}

/// What the common prefix `common` (ending in `/`) is to the directory with the prefix `prefix`.
pub fn listed_prefix<'k>(prefix: &str, common: &'k str) -> Listed<'k> {
    match common.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('/')) {
        Some(name) if is_file_name(name) => Listed::Name(name),
        Some(_) | None => Listed::Unrepresentable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_names_markers_or_reported() {
        let long = format!("p/{}", "x".repeat(256));
        for (key, listed) in [
            ("p/", Listed::Marker),
            ("p/a b.txt", Listed::Name("a b.txt")),
            ("p/서울", Listed::Name("서울")),
            ("p/.", Listed::Unrepresentable),
            ("p/..", Listed::Unrepresentable),
            ("p/new\nline", Listed::Unrepresentable),
            (long.as_str(), Listed::Unrepresentable),
            ("elsewhere", Listed::Unrepresentable),
        ] {
            assert_eq!(listed_object("p/", key), listed, "{key:?}");
        }
        assert_eq!(listed_prefix("p/", "p/d/"), Listed::Name("d"));
        for odd in ["p//", "p/../", "p/./"] {
            assert_eq!(listed_prefix("p/", odd), Listed::Unrepresentable, "{odd}");
        }
        assert_eq!(listed_object("", "top"), Listed::Name("top"));
    }
}
