//! What an upload has to know before it reads its file, of one moment.
use std::ops::Range;

use super::{Catalog, error::CatalogError, inode, journal, range, sums, types::OpId};
use crate::ids::Ino;

/// A file whose claimed publish is still of its current bytes.
#[derive(Clone, Debug)]
pub struct ToSend {
    /// Its size in bytes.
    pub size: u64,
    /// What of the range asked for is not here.
    pub missing: Vec<Range<u64>>,
    /// The sums of the range's blocks.
    pub known: sums::SumsNow,
}

impl Catalog {
    /// What there is to be sent of `range` by the publish `op`; `None` when the file has another version than
    /// `version`, which it was claimed with.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn to_send(
        &self,
        (op, version): (OpId, u64),
        ino: Ino,
        range: Range<u64>,
    ) -> Result<Option<ToSend>, CatalogError> {
        self.read(move |db| {
            if !journal::is_current(db, op, version)? {
                return Ok(None);
            }
            let size = inode::get(db, ino)?.size;
            let missing = range::of(db, ino)?.missing(range.clone());
            Ok(Some(ToSend { size, missing, known: sums::now(db, ino, size, &range)? }))
        })
        .await
    }
}
