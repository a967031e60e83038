//! File shares: a bucket and prefix under an export path, who may do what with it, how its names
//! and attributes look in S3, and how it is.
pub mod access;
pub mod carried;
mod events;
pub mod health;
pub mod keymap;
mod link;
pub mod metadata;
mod pins;

use std::{fmt, sync::Arc};

use gateway_api::settings::ShareSettings;

pub use carried::Carried;
pub use events::Events;
pub use health::{OddKeys, Right, ShareHealth};
pub use link::Form;
pub use pins::Pins;

use crate::{
    catalog::{HeadAttr, Inode, ListDefaults},
    ids::{FileKind, Ino, ShareId},
    store::{ObjectMeta, ObjectStore, PutOptions, UserMeta},
};

/// One share as its movers see it: an immutable snapshot of its settings with its bucket.
pub struct Share {
    /// Its number in the catalog.
    pub id: ShareId,
    /// Its root directory.
    pub root: Ino,
    /// Its settings.
    pub settings: ShareSettings,
    /// Its bucket.
    pub store: Arc<dyn ObjectStore>,
    /// How it is.
    pub health: ShareHealth,
    /// Whose generation tags it writes.
    pub gateway_id: String,
    /// Of which catalog ([`Catalog::generation`](crate::catalog::Catalog::generation)): a catalog made
    /// anew counts inodes and versions from the start, and must not take an older one's for its own.
    pub catalog: u64,
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("id", &self.id).field("name", &self.settings.name).finish()
    }
}

/// How every object of a share is encrypted, and who may use it.
pub fn protection(settings: &ShareSettings) -> PutOptions {
    PutOptions {
        encryption: settings.encryption.as_str().map(str::to_owned),
        kms_key: Some(&settings.kms_key).filter(|key| !key.is_empty()).cloned(),
        acl: settings.object_acl.as_str().map(str::to_owned),
        ..PutOptions::default()
    }
}

impl Share {
    /// Attributes of objects that carry none.
    pub fn defaults(&self) -> ListDefaults {
        ListDefaults {
            file_mode: self.settings.file_mode,
            directory_mode: self.settings.directory_mode,
            uid: self.settings.owner_id,
            gid: self.settings.group_id,
        }
    }

    /// What the object `head` says of a file of this kind; what it does not say is the share's.
    pub fn attr_of(&self, head: &ObjectMeta, kind: FileKind) -> HeadAttr {
        metadata::to_attr(&head.user, kind, self.defaults(), head.last_modified)
    }

    /// How the object of `inode` is stored: metadata, type and class (I11).
    pub fn put_options(&self, inode: &Inode) -> PutOptions {
        let content_type = match inode.kind {
            FileKind::Directory => Some("application/x-directory".to_owned()),
            FileKind::Symlink => None,
            FileKind::File if self.settings.guess_mime_type => {
                // By the end of its key: an alias says nothing of what the object is.
                let part = inode.key_part.as_ref().unwrap_or(&inode.name);
                carried::guessed_type(part).map(str::to_owned)
            }
            FileKind::File => None,
        };
        PutOptions {
            user: metadata::of_inode(inode, &self.generation(inode)),
            content_type,
            storage_class: self.settings.storage_class.as_str().to_owned(),
            ..protection(&self.settings)
        }
    }

    /// The tag that tells this version of this inode from every other upload (I10).
    pub fn generation(&self, inode: &Inode) -> String {
        self.upload_generation(inode.ino, inode.version, None)
    }

    /// The same of an upload in parts: it is begun at one version and may be completed at a later one, and
    /// several may be begun at one, so each has a tag of its own besides.
    pub fn upload_generation(&self, ino: Ino, version: u64, upload: Option<&str>) -> String {
        let mut tag = format!("{}:{}:{version}", self.writer(), ino.0);
        if let Some(upload) = upload {
            tag.push(':');
            tag.push_str(upload);
        }
        tag
    }

    /// Whether `user` metadata carries a generation that this gateway wrote from this catalog.
    pub fn wrote(&self, user: &UserMeta) -> bool {
        self.generation_of(user).is_some()
    }

    /// Whether `user` metadata carries a generation that this gateway wrote of this very inode.
    /// Narrower than [`Share::wrote`]: somebody else may have copied an object of ours to another
    /// key, and S3 copies its tag along.
    pub fn wrote_of(&self, user: &UserMeta, ino: Ino) -> bool {
        self.generation_of(user)
            .and_then(|rest| rest.split_once(':'))
            .is_some_and(|(number, _)| number.parse() == Ok(ino.0))
    }

    /// The version of the inode in the generation of an object of it, however that was made.
    pub fn version_in(&self, user: &UserMeta, ino: Ino) -> Option<u64> {
        let mut parts = self.generation_of(user)?.split(':');
        let number: u64 = parts.next()?.parse().ok()?;
        parts.next()?.parse().ok().filter(|_| number == ino.0)
    }

    /// The version of the inode that the object with this `user` metadata was made of in one request;
    /// `None` for objects of anything else, and of uploads in parts.
    pub fn version_of(&self, user: &UserMeta, ino: Ino) -> Option<u64> {
        let (number, version) = self.generation_of(user)?.split_once(':')?;
        if number.parse() == Ok(ino.0) { version.parse().ok() } else { None }
    }

    fn generation_of<'m>(&self, user: &'m UserMeta) -> Option<&'m str> {
        let (id, rest) = user.get(metadata::GENERATION)?.split_once(':')?;
        (id == self.writer()).then_some(rest)
    }

    fn writer(&self) -> String {
        format!("{}-{:x}", self.gateway_id, self.catalog)
    }
}
