//! What the writer of an object has said with it beyond the attributes of a file: it moves along when the object is
//! copied within the store, because its name or its attributes change. Pure.
//!
//! A file's new bytes are an object of ours, which says what the share says: what was said of the old ones
//! (how they are encoded, say) need not hold of them.
use super::metadata;
use crate::{
    ids::FileKind,
    object::ObjectKey,
    store::{ObjectHeaders, ObjectMeta, PutOptions, UserMeta},
};

/// User metadata that S3 takes with an object, names and values, in bytes (S3 User Guide, "Working with
/// object metadata": 2 KB).
pub const USER_META_BYTES_MAX: usize = 2048;
/// What S3 answers for an object whose writer has named no type.
const NO_TYPE: &str = "binary/octet-stream";

/// What is to move along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    user: UserMeta,
    content_type: Option<String>,
    headers: ObjectHeaders,
}

/// The type that a file's name tells.
pub(super) fn guessed_type(name: &str) -> Option<&'static str> {
    mime_guess::from_path(name).first_raw()
}

impl Carried {
    /// Of the object `head` at `key`, which is of this kind. In a share that `guesses` types, one that its name
    /// tells is no word of its writer's: another name tells another.
    pub fn of(head: &ObjectMeta, kind: FileKind, key: &ObjectKey, guesses: bool) -> Self {
        let user = head.user.iter().filter(|(name, _)| !metadata::is_attribute(name));
        let is_guess = |name: &String| guesses && guessed_type(key.as_str()) == Some(name);
        let said = |name: &String| name != NO_TYPE && !is_guess(name);
        Self {
            user: user.map(|(name, value)| (name.clone(), value.clone())).collect(),
            content_type: match kind {
                FileKind::File => head.content_type.clone().filter(said),
                FileKind::Directory | FileKind::Symlink => None,
            },
            headers: head.headers.clone(),
        }
    }

    /// Has the copy say the same besides what it says of the file. Answers what there was no room for.
    pub fn put_into(self, options: &mut PutOptions) -> Vec<String> {
        options.headers = self.headers;
        if self.content_type.is_some() {
            options.content_type = self.content_type;
        }
        let bytes = |name: &str, value: &str| name.len() + value.len();
        let mut taken: usize = options.user.iter().map(|(name, value)| bytes(name, value)).sum();
        let mut left_out = Vec::new();
        for (name, value) in self.user {
            if taken + bytes(&name, &value) > USER_META_BYTES_MAX {
                left_out.push(name);
            } else {
                taken += bytes(&name, &value);
                options.user.insert(name, value);
            }
        }
        left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, object::ETag};

    fn head(user: &[(&str, &str)], content_type: &str) -> ObjectMeta {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        ObjectMeta {
            size: 1,
            etag: ETag::new("e"),
            version: None,
            last_modified: Timestamp::default(),
            user: user.iter().map(owned).collect(),
            content_type: Some(content_type.to_owned()),
            headers: ObjectHeaders::default(),
            unsayable: Vec::new(),
        }
    }

    fn carried(head: &ObjectMeta) -> Carried {
        Carried::of(head, FileKind::File, &ObjectKey::new("p/page.html").unwrap(), true)
    }

    #[test]
    fn what_tells_a_file_s_attributes_in_any_form_or_follows_from_its_name_is_not_carried() {
        let attributes = [
            ("file-owner", "1"),
            ("file-permissions", "0100644"),
            ("file-atime", "1ns"),
            ("mode", "33188"),
            ("uid", "1"),
            ("gid", "1"),
            ("mtime", "1"),
            ("atime", "1"),
            ("user-agent", "aws-storage-gateway"),
            ("user-agent-id", "sgw-1"),
            (metadata::GENERATION, "gw:1:1"),
            (metadata::CONFLICT_OF, "x"),
        ];
        for content_type in ["text/html", NO_TYPE] {
            assert_eq!(
                carried(&head(&attributes, content_type)),
                Carried::default(),
                "{content_type}"
            );
        }
        let key = ObjectKey::new("p/page.html").unwrap();
        let told = Carried::of(&head(&[], "text/html"), FileKind::File, &key, false);
        assert_eq!(told.content_type.as_deref(), Some("text/html"), "nobody would guess it");
        assert_eq!(carried(&head(&[("project", "x")], NO_TYPE)).user["project"], "x");
        let other = carried(&head(&[], "text/plain"));
        assert_eq!(other.content_type.as_deref(), Some("text/plain"));
    }

    #[test]
    fn what_there_is_no_room_for_is_told() {
        let long = "x".repeat(USER_META_BYTES_MAX - 10);
        let theirs = carried(&head(&[("a", &long), ("b", "2")], "text/plain"));
        let mut options = PutOptions::default();
        options.user.insert("file-owner".to_owned(), "1".to_owned());
        assert_eq!(theirs.put_into(&mut options), ["a"]);
        assert_eq!(options.user["b"], "2");
        assert_eq!(options.content_type.as_deref(), Some("text/plain"));
    }
}
