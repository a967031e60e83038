//! The S3 names that every layer below the file system shares.
use std::fmt;

/// Longest object key in bytes (S3: "key names … up to 1,024 bytes" of UTF-8).
pub const OBJECT_KEY_BYTES_MAX: usize = 1024;

/// A complete object key: prefix and path, UTF-8, 1 to 1,024 bytes. Not normalised in any way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// Takes a key as S3 would; `None` when it is empty or too long.
    pub fn new(key: impl Into<String>) -> Option<Self> {
        let key = key.into();
        (1..=OBJECT_KEY_BYTES_MAX).contains(&key.len()).then_some(Self(key))
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An object's entity tag, exactly as S3 sent it, quotes included. Compared, never interpreted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ETag(String);

impl ETag {
    /// Takes a tag as received. Tags without quotes (some servers, some fields) get them.
    pub fn new(tag: impl Into<String>) -> Self {
        let tag = tag.into();
        if tag.starts_with('"') { Self(tag) } else { Self(format!("\"{tag}\"")) }
    }

    /// The tag with its quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// S3: "Version IDs are Unicode, UTF-8 encoded, URL-ready, opaque strings that are no longer than 1,024
/// bytes."
const VERSION_ID_BYTES_MAX: usize = 1024;

/// The id of one version of an object, in a bucket with versions. Never interpreted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VersionId(String);

impl VersionId {
    /// Takes an id as received; `None` when it is empty or longer than S3's are.
    pub fn new(id: impl Into<String>) -> Option<Self> {
        let id = id.into();
        (1..=VERSION_ID_BYTES_MAX).contains(&id.len()).then_some(Self(id))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What S3 tells of an object that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its tag.
    pub etag: ETag,
    /// Its version; `None` where the bucket has none, or it was not told (a listing tells none).
    pub version: Option<VersionId>,
}

impl From<ETag> for Stored {
    fn from(etag: ETag) -> Self {
        Self { etag, version: None }
    }
}

impl From<&ETag> for Stored {
    fn from(etag: &ETag) -> Self {
        etag.clone().into()
    }
}
