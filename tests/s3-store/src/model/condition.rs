//! Conditional requests: If-Match, If-None-Match and the two dates, as S3 evaluates them.
//!
//! Sources: S3 User Guide "Conditional requests"; RFC 9110 §13.

use super::{Content, Refused, Version};

/// One `If-Match` / `If-None-Match` value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tag {
    /// `*`
    Any,
    /// An ETag without quotes.
    ETag(String),
}

impl Tag {
    fn matches(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::ETag(wanted) => wanted == etag,
        }
    }

    /// Reads a header value: `*`, `"abc"` or `abc`.
    pub(crate) fn parse(value: &str) -> Self {
        match value.trim() {
            "*" => Self::Any,
            tag => Self::ETag(tag.trim_matches('"').to_owned()),
        }
    }
}

/// What a PUT, CompleteMultipartUpload, CopyObject (destination) or DELETE requires of the current version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WriteCondition {
    pub(crate) if_match: Option<Tag>,
    pub(crate) if_none_match: Option<Tag>,
}

impl WriteCondition {
    /// Checks the condition against the current content (`None`: no object, or a delete marker).
    ///
    /// # Errors
    /// `NoSuchKey` for If-Match on a missing key, `PreconditionFailed`, or `NotImplemented` for an If-None-Match
    /// with an ETag, which S3 does not know on writes.
    pub(crate) fn check<B>(&self, current: Option<&Content<B>>) -> Result<(), Refused> {
        match &self.if_none_match {
            None => {}
            Some(Tag::Any) if current.is_some() => {
                return Err(Refused::PreconditionFailed("If-None-Match"));
            }
            Some(Tag::Any) => {}
            Some(Tag::ETag(_)) => {
                return Err(Refused::NotImplemented("If-None-Match with an ETag on a write"));
            }
        }
        match (&self.if_match, current) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(Refused::NoSuchKey { delete_marker: None }),
            (Some(tag), Some(content)) if tag.matches(&content.etag) => Ok(()),
            (Some(_), Some(_)) => Err(Refused::PreconditionFailed("If-Match")),
        }
    }
}

/// What a GET, HEAD or the source of a copy requires. Times are seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReadCondition {
    pub(crate) if_match: Option<Tag>,
    pub(crate) if_none_match: Option<Tag>,
    pub(crate) if_modified_since: Option<i64>,
    pub(crate) if_unmodified_since: Option<i64>,
}

impl ReadCondition {
    /// Checks the condition for GET and HEAD, where a negative answer is 304.
    ///
    /// # Errors
    /// `PreconditionFailed` or `NotModified`.
    pub(crate) fn check<B>(
        &self,
        version: &Version<B>,
        content: &Content<B>,
    ) -> Result<(), Refused> {
        // If-Match that holds beats If-Unmodified-Since; If-None-Match that fails beats If-Modified-Since.
        match (&self.if_match, self.if_unmodified_since) {
            (Some(tag), _) if !tag.matches(&content.etag) => {
                return Err(Refused::PreconditionFailed("If-Match"));
            }
            (None, Some(time)) if version.modified > time => {
                return Err(Refused::PreconditionFailed("If-Unmodified-Since"));
            }
            (Some(_) | None, _) => {}
        }
        match (&self.if_none_match, self.if_modified_since) {
            (Some(tag), _) if tag.matches(&content.etag) => Err(Refused::NotModified),
            (None, Some(time)) if version.modified <= time => Err(Refused::NotModified),
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// Checks the condition for the source of CopyObject and UploadPartCopy, where every refusal is 412.
    ///
    /// # Errors
    /// `PreconditionFailed`.
    pub(crate) fn check_source<B>(
        &self,
        version: &Version<B>,
        content: &Content<B>,
    ) -> Result<(), Refused> {
        self.check(version, content).map_err(|refused| match refused {
            Refused::NotModified => Refused::PreconditionFailed("x-amz-copy-source-if-*"),
            other => other,
        })
    }
}
