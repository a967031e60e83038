//! What an upload has to know before it reads its file, of one moment.
use std::ops::Range;

use super::{Catalog, error::CatalogError, journal, range, sums, types::OpId};

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
        op: OpId,
        version: u64,
        range: Range<u64>,
    ) -> Result<Option<ToSend>, CatalogError> {
        self.read(move |db| {
            let Some(inode) = journal::current(db, op, version)? else { return Ok(None) };
            let (ino, size) = (inode.ino, inode.size);
            let missing = range::of(db, ino)?.missing(range.clone());
            Ok(Some(ToSend { size, missing, known: sums::now(db, ino, size, &range)? }))
        })
        .await
    }
}
