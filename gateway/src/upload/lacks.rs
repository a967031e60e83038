//! What S3 lacks of a file that goes in parts: the upload to go on with, and what becomes of each part.
use std::ops::Range;

use super::{
    job::Tools,
    plan::{self, Piece},
    publish::source,
};
use crate::{
    catalog::{CatalogError, EarlyJob, Inode, MultipartState, PartRecord, SyncJob},
    object::{ETag, ObjectKey},
    ranges::RangeSet,
};

/// Who brings the file to S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// A publish of what nobody writes.
    Publish,
    /// Its turn: what it has is not sent again, whatever that costs.
    Turn,
}

/// A file that goes in parts, as it is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct InParts<'f> {
    inode: &'f Inode,
    /// The object that S3 has of it.
    source: Option<(&'f ObjectKey, &'f ETag)>,
    /// What differs from that; `None`: all may.
    changed: Option<&'f RangeSet>,
    begun: Option<&'f MultipartState>,
}

impl<'f> From<&'f SyncJob> for InParts<'f> {
    fn from(job: &'f SyncJob) -> Self {
        let SyncJob { inode, changed, multipart, .. } = job;
        let (changed, begun) = (changed.as_ref(), multipart.as_ref());
        Self { inode, source: source(job), changed, begun }
    }
}

impl<'f> From<&'f EarlyJob> for InParts<'f> {
    fn from(job: &'f EarlyJob) -> Self {
        let EarlyJob { inode, changed, multipart, .. } = job;
        let source = inode.object_key.as_ref().zip(inode.etag.as_ref());
        Self { inode, source, changed: changed.as_ref(), begun: multipart.as_ref() }
    }
}

impl<'f> InParts<'f> {
    /// The upload to go on with, and what becomes of each part of the file in it.
    pub(super) async fn plan(
        self,
        tools: &Tools,
        by: By,
    ) -> Result<(Option<&'f MultipartState>, Vec<(u32, Piece)>), CatalogError> {
        let resumed = self.resumed(tools, by).await?;
        let known = resumed.map_or(&[][..], |state| &state.parts);
        Ok((resumed, self.pieces(tools, known)))
    }

    async fn resumed(
        self,
        tools: &Tools,
        by: By,
    ) -> Result<Option<&'f MultipartState>, CatalogError> {
        let Some(state) = self.begun else { return Ok(None) };
        let goes_on =
            self.is_worth_resuming(tools, state, by) || self.has_the_only(tools, state).await?;
        Ok(Some(state).filter(|_| goes_on))
    }

    /// Whether to go on with an upload. One that was begun for an earlier version gives the object that
    /// version's attributes, and mending them takes a copy and makes another version of the object: not for
    /// the lesser part of the bytes, not for a copy, and not where the store could not make that copy. What
    /// went ahead was sent at that price, and is not sent again.
    fn is_worth_resuming(self, tools: &Tools, state: &MultipartState, by: By) -> bool {
        let inode = self.inode;
        if state.is_whole(inode.version) {
            return true;
        }
        let sent = plan::done_bytes(inode.size, &state.parts);
        let is_any = state.is_early || by == By::Turn;
        let enough = if is_any { 1 } else { inode.size / 2 };
        let is_mendable = inode.size <= tools.copy_bytes_max || tools.share.store.copies_parts();
        inode.content_dirty && is_mendable && sent >= enough
    }

    /// Whether parts that S3 has are of bytes that are not here, and no object is known to have them: they were
    /// copied from one that is another by now.
    async fn has_the_only(
        self,
        tools: &Tools,
        state: &MultipartState,
    ) -> Result<bool, CatalogError> {
        let is_known =
            self.source.is_some() && (self.changed.is_some() || !self.inode.content_dirty);
        if is_known {
            return Ok(false);
        }
        let here = tools.catalog.ranges(self.inode.ino).await?;
        Ok(state.parts.iter().any(|part| !here.covers(&part.range)))
    }

    /// What is to be done with each part, of which `known` are in S3. Where the store copies nothing, every part is
    /// sent.
    fn pieces(self, tools: &Tools, known: &[PartRecord]) -> Vec<(u32, Piece)> {
        let nothing = RangeSet::new();
        let changed = match self.source {
            Some(_) if !tools.share.store.copies_parts() => None,
            Some(_) if self.inode.content_dirty => self.changed,
            Some(_) => Some(&nothing),
            None => None,
        };
        plan::pieces(self.inode.size, changed, known, tools.copy_bytes_max)
    }
}

/// The parts that are sent, among all.
pub(super) fn sent(pieces: &[(u32, Piece)]) -> Vec<(u32, Range<u64>)> {
    let range = |piece: &Piece| match piece {
        Piece::Send(range) => Some(range.clone()),
        Piece::Done(_) | Piece::Copy(_) => None,
    };
    pieces.iter().filter_map(|(number, piece)| Some((*number, range(piece)?))).collect()
}

/// All bytes of these parts.
pub(super) fn bytes_of(parts: &[(u32, Range<u64>)]) -> u64 {
    parts.iter().map(|(_, range)| range.end - range.start).sum()
}
