//! File shares: a bucket and prefix under an export path, who may do what with it, how its names
//! and attributes look in S3, and how it is.
pub mod access;
pub mod health;
pub mod keymap;
pub mod metadata;

use std::{fmt, sync::Arc};

use gateway_api::settings::ShareSettings;

pub use health::{Events, ShareHealth};

use crate::{
    catalog::{Inode, ListDefaults},
    ids::{FileKind, Ino, ShareId},
    store::{ObjectStore, PutOptions},
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
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("id", &self.id).field("name", &self.settings.name).finish()
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

    /// How the object of `inode` is stored: metadata, type and class (I11).
    pub fn put_options(&self, inode: &Inode) -> PutOptions {
        let content_type = match inode.kind {
            FileKind::Directory => Some("application/x-directory".to_owned()),
            FileKind::Symlink => None,
            FileKind::File if self.settings.guess_mime_type => {
                mime_guess::from_path(&inode.name).first_raw().map(str::to_owned)
            }
            FileKind::File => None,
        };
        PutOptions {
            user: metadata::of_inode(inode, &self.generation(inode)),
            content_type,
            storage_class: self.settings.storage_class.as_str().to_owned(),
        }
    }

    /// The tag that tells this version of this inode from every other upload (I10).
    pub fn generation(&self, inode: &Inode) -> String {
        format!("{}:{}:{}", self.gateway_id, inode.ino.0, inode.version)
    }

    /// Whether `user` metadata carries a generation that this gateway wrote.
    pub fn wrote(&self, user: &crate::store::UserMeta) -> bool {
        user.get(metadata::GENERATION)
            .and_then(|tag| tag.split(':').next())
            .is_some_and(|id| id == self.gateway_id)
    }
}
