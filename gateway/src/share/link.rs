//! Symbolic links in the bucket: objects that say that they are one, with the target for their content.
use super::{Share, metadata};
use crate::{
    ids::FileKind,
    object::ObjectKey,
    store::{ObjectMeta, StoreError},
};

/// Longest target of a symbolic link in bytes (Linux PATH_MAX without its NUL).
const TARGET_BYTES_MAX: u64 = 4095;

/// What an entry is by its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// What it is known as.
    AsKnown,
    /// A file, although it is known as a link, or a link that cannot be one.
    File,
    /// A link to this.
    Link(Vec<u8>),
}

impl Share {
    /// What the entry known as `kind` is by its object, of which `head` was told. Asks for a link's target
    /// (S3 GetObject, If-Match).
    ///
    /// # Errors
    /// Of the store; [`StoreErrorKind::Changed`](crate::store::StoreErrorKind::Changed) when the object has
    /// changed since.
    pub async fn form_of(
        &self,
        kind: FileKind,
        key: &ObjectKey,
        head: &ObjectMeta,
    ) -> Result<Form, StoreError> {
        let is_link =
            metadata::is_symlink(&head.user) && (1..=TARGET_BYTES_MAX).contains(&head.size);
        match (kind, is_link) {
            (FileKind::Directory, _) | (FileKind::File, false) => Ok(Form::AsKnown),
            (FileKind::Symlink, false) => Ok(Form::File),
            (FileKind::File | FileKind::Symlink, true) => {
                let target = self.store.get(key, 0..head.size, &head.etag).await?;
                // What cannot be a path is shown as what it is, bytes.
                let is_path = !target.contains(&0);
                Ok(if is_path { Form::Link(target.to_vec()) } else { Form::File })
            }
        }
    }
}
