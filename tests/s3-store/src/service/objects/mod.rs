//! Operations on single objects: one file each for reading, writing, copying and deleting.

pub(super) mod copy;
pub(super) mod delete;
pub(super) mod get;
pub(super) mod put;
