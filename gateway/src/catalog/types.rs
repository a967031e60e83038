//! What the catalog's transitions take and give.
use std::{ops::Range, sync::Arc};

use bytes::Bytes;

use super::{changed::LARGE_FILE_BYTES, sums::EndSum};
use crate::{
    clock::Timestamp,
    ids::{DiskId, FileKind, Ino, RequestId, ShareId},
    object::{ETag, ObjectKey},
    ranges::RangeSet,
    sums::BlockSums,
};

/// When a change happens, when its upload may begin, and who asked for it.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// The change's time: ctime, and a directory's mtime.
    pub now: Timestamp,
    /// Earliest time to send it to S3 (now + the share's upload delay).
    pub due: Timestamp,
    /// The request that the change answers: noted with it ([`super::Catalog::done_before`]).
    pub request: Option<RequestId>,
}

/// One inode's row, as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "POSIX names; the rest is documented")]
pub struct Inode {
    pub ino: Ino,
    pub share: ShareId,
    /// The parent directory; the root's is itself.
    pub parent: Ino,
    /// The name in it; the root's is empty.
    pub name: String,
    pub kind: FileKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    /// A symlink's target.
    pub target: Option<Vec<u8>>,
    /// The verifier of an exclusive create (RFC 1813 §3.3.8).
    pub create_verifier: Option<[u8; 8]>,
    /// Whether S3 is not up to date with this row.
    pub dirty: bool,
    /// Whether the bytes differ from the object's, not only the metadata or the key.
    pub content_dirty: bool,
    /// Counts changes; an upload of one version never makes another clean (I4).
    pub version: u64,
    /// Whether a burst of writes is open that no commit has closed. Not uploaded meanwhile.
    pub writing: bool,
    /// The base object's tag; `None` when there is no object.
    pub etag: Option<ETag>,
    /// The key under which the object now exists in S3; `None` when there is none.
    pub object_key: Option<ObjectKey>,
    /// Whether mode, owner and times are defaults from a listing; HEAD tells the real ones.
    pub needs_head: bool,
    /// When the directory was last listed to its end.
    pub listed_at: Option<Timestamp>,
    /// Directories in it that are known.
    pub subdirectories: u32,
    /// What its key has in place of its name, where the name is an alias.
    pub key_part: Option<String>,
}

impl Inode {
    /// Whether it is a file that is too large for one request.
    pub fn goes_in_parts(&self) -> bool {
        self.kind == FileKind::File && self.size > LARGE_FILE_BYTES
    }
}

/// What a new inode is.
#[derive(Clone, Debug)]
pub enum NewKind {
    /// An empty file, with the verifier of an exclusive create.
    File {
        /// RFC 1813 §3.3.8 createverf3.
        verifier: Option<[u8; 8]>,
    },
    /// An empty directory.
    Directory,
    /// A symlink to this target.
    Symlink(Vec<u8>),
}

/// A new inode with all its attributes.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "POSIX names")]
pub struct NewInode {
    pub parent: Ino,
    pub name: String,
    pub kind: NewKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub atime: Timestamp,
    pub mtime: Timestamp,
}

/// Attributes to set; `None` leaves one. ctime becomes the stamp's.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "POSIX names")]
pub struct AttrChange {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// A new size: bytes beyond the old one are zero and count as present.
    pub size: Option<u64>,
    pub atime: Option<Timestamp>,
    pub mtime: Option<Timestamp>,
    /// The sum of what a smaller one leaves of the block that it ends in, if that is here.
    pub end_sum: Option<EndSum>,
    /// Where the zeros of a larger size are.
    pub disk: Option<DiskId>,
    /// Whoever changes them has seen what they are: refused if S3 has to be asked for them by now.
    pub told: bool,
}

impl AttrChange {
    /// Whether S3 must learn of it; a change of atime alone stays local.
    pub fn publishes(&self) -> bool {
        self.mode.is_some()
            || self.uid.is_some()
            || self.gid.is_some()
            || self.size.is_some()
            || self.mtime.is_some()
    }
}

/// What a commit makes durable. The bytes of `ranges` must have been `fdatasync`ed (I1).
#[derive(Clone, Debug)]
pub struct WriteCommit {
    /// The version that [`begin_write`](super::Catalog::begin_write) gave; `None` for a burst that was
    /// only held ([`hold`](super::Catalog::hold)).
    pub noted: Option<u64>,
    /// The file's size, in bytes.
    pub size: u64,
    /// Its modification time (ctime too).
    pub mtime: Timestamp,
    /// Whether setuid and setgid are to go (a write by somebody else than the superuser).
    pub clear_set_id: bool,
    /// What was written since the last commit; zeros in holes included.
    pub ranges: Vec<Range<u64>>,
    /// The sums that are known of their blocks: of those that are here as a whole.
    pub sums: BlockSums,
    /// The disk of the cache file.
    pub disk: DiskId,
    /// How they are durable.
    pub bytes: DurableBytes,
    /// Whether nothing has been written since `ranges` were taken: the burst ends and the upload
    /// may begin at `due`.
    pub closes: bool,
    /// Earliest time to upload.
    pub due: Timestamp,
}

/// How the bytes of a [`WriteCommit`] are durable.
#[derive(Clone, Debug)]
pub enum DurableBytes {
    /// The cache file was `fdatasync`ed after they were written, and after the catalog carried bytes
    /// of it under this number ([`carried_of`](super::Catalog::carried_of)).
    Synced(Option<u64>),
    /// The commit makes them so: all of the file's bytes, as they are now,
    /// [`CARRIED_BYTES_MAX`](super::CARRIED_BYTES_MAX) at most.
    Carried(Bytes),
}

/// What must hold of a key for a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// No object has it.
    Absent,
    /// Its object has this tag.
    Tag(ETag),
}

/// A journal operation's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// A part of a multipart upload that S3 has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRecord {
    /// 1 to 10,000.
    pub number: u32,
    /// Its tag.
    pub etag: ETag,
    /// Which bytes of the file it holds.
    pub range: Range<u64>,
}

/// A multipart upload that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultipartState {
    /// S3's id.
    pub upload_id: String,
    /// The key of the object that it makes.
    pub key: ObjectKey,
    /// The inode's version when it was begun: whose attributes the object will have.
    pub version: u64,
    /// What tells it from every other upload, in the object's metadata; `None`: nothing does.
    pub tag: Option<String>,
    /// Whether the file was being written then: the object will have attributes of the middle of a write,
    /// which are those of no version.
    pub is_early: bool,
    /// The parts that S3 has taken and that hold what the file holds, by number.
    pub parts: Vec<PartRecord>,
}

impl MultipartState {
    /// Whether its object has the attributes of `version`, and its bytes if it was completed of them.
    pub fn is_whole(&self, version: u64) -> bool {
        self.version == version && !self.is_early
    }
}

/// Bring an object to the state of its inode.
#[derive(Clone, Debug)]
pub struct SyncJob {
    /// The operation.
    pub op: OpId,
    /// The inode when the job was claimed.
    pub inode: Inode,
    /// The key to publish to.
    pub key: ObjectKey,
    /// The condition of the publish (I10).
    pub expect: Expected,
    /// Where the object is now, when that is another key: copy from it if the content is clean.
    /// [`finish_sync`](super::Catalog::finish_sync) journals its deletion.
    pub moved_from: Option<(ObjectKey, ETag)>,
    /// Whether what is expected was found there, and belongs to others: no deletion of ours is behind it.
    pub is_found: bool,
    /// Whether an earlier attempt (perhaps before a restart) may have been done by S3 although its
    /// outcome is not known: when the condition fails, HEAD and compare our generation first.
    pub sent_before: bool,
    /// The version of the first such attempt. What may have landed in one request is of that version or of
    /// one since: a request of which nothing was heard may be done after all, and after later ones.
    pub sent_version: Option<u64>,
    /// Versions of the inode that this gateway has never given it: an object that has one was made before its disk
    /// went back to a snapshot, or beside it, and is another writer's.
    pub foreign: Vec<Range<u64>>,
    /// The file has another key by now: find out whether that attempt has landed at `key`, and then call
    /// [`settle`](super::Catalog::settle). Nothing is to be published here.
    pub is_elsewhere: bool,
    /// Whether bytes of the file were found to be nowhere
    /// ([`set_aside`](super::Catalog::set_aside)): if they still are,
    /// [`park`](super::Catalog::park).
    pub is_incomplete: bool,
    /// A multipart upload of this key begun earlier.
    pub multipart: Option<MultipartState>,
    /// Which bytes differ from the object that S3 has; `None`: all may.
    pub changed: Option<RangeSet>,
    /// Failures so far.
    pub attempts: u32,
}

/// Send the parts of a large file that are committed, while more of it is written.
#[derive(Clone, Debug)]
pub struct EarlyJob {
    /// The operation that will publish the file.
    pub op: OpId,
    /// The inode when the job was claimed.
    pub inode: Inode,
    /// The key that the file will be published to.
    pub key: ObjectKey,
    /// Bytes that are committed here.
    pub ranges: RangeSet,
    /// Which bytes differ from the object that S3 has; `None`: all may.
    pub changed: Option<RangeSet>,
    /// The upload begun earlier.
    pub multipart: Option<MultipartState>,
}

/// Delete an object.
#[derive(Clone, Debug)]
pub struct DeleteJob {
    /// The operation.
    pub op: OpId,
    /// The share.
    pub share: ShareId,
    /// The object's key.
    pub key: ObjectKey,
    /// The tag it must have; `None` when only `uncertain` uploads can have made it.
    pub etag: Option<ETag>,
    /// Whether an upload of ours may have replaced (or made) the object after `etag` was known:
    /// HEAD; delete it with its current tag if it has `etag` or its generation is ours.
    pub uncertain: bool,
    /// Whose uploads those were; `None`: of any inode of this catalog. Others may have copied an object of
    /// another one of ours there, with its generation.
    pub sent_by: Option<Ino>,
    /// Failures so far.
    pub attempts: u32,
}

/// What the movers are to do.
#[derive(Clone, Debug)]
pub enum Job {
    /// Publish.
    Sync(Box<SyncJob>),
    /// Send what is there of a file that is being written; then
    /// [`release_job`](super::Catalog::release_job).
    Early(Box<EarlyJob>),
    /// Delete.
    Delete(DeleteJob),
    /// Abort a multipart upload that nobody will complete; then
    /// [`finish_delete`](super::Catalog::finish_delete).
    Abort {
        /// The operation.
        op: OpId,
        /// The share.
        share: ShareId,
        /// The upload's key.
        key: ObjectKey,
        /// S3's id.
        upload_id: String,
        /// Failures so far.
        attempts: u32,
    },
    /// A file is being written, again and again, and a flush waits for it, or it has waited long enough. Keep its
    /// writers away and ask [`claim_still`](super::Catalog::claim_still).
    Still {
        /// The operation.
        op: OpId,
        /// The share.
        share: ShareId,
        /// The file.
        ino: Ino,
        /// Whether no other operation comes first, as far as is known: otherwise nothing need be made ready.
        is_free: bool,
        /// Whether parts of it may be sent before that: it is large, and its key is the job's
        /// ([`ahead_of`](super::Catalog::ahead_of)).
        goes_ahead: bool,
    },
    /// Two files have swapped keys: neither copy can go first. Or another file waits for this one's key, and
    /// this one cannot go, as it is being written. Copy the object of this one, which is at
    /// [`SyncJob::moved_from`], to a key that is nobody's
    /// ([`begin_aside`](super::Catalog::begin_aside)), then call
    /// [`stepped_aside`](super::Catalog::stepped_aside).
    StepAside(Box<SyncJob>),
}

impl Job {
    /// The operation's number.
    pub fn op(&self) -> OpId {
        match self {
            Self::Sync(job) | Self::StepAside(job) => job.op,
            Self::Early(job) => job.op,
            Self::Delete(job) => job.op,
            Self::Abort { op, .. } | Self::Still { op, .. } => *op,
        }
    }

    /// The share it concerns.
    pub fn share(&self) -> ShareId {
        match self {
            Self::Sync(job) | Self::StepAside(job) => job.inode.share,
            Self::Early(job) => job.inode.share,
            Self::Delete(job) => job.share,
            Self::Abort { share, .. } | Self::Still { share, .. } => *share,
        }
    }
}

/// What a publish did to its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// S3 has the inode's current state.
    Clean,
    /// The inode has changed since; its operation stays in the journal.
    Superseded,
    /// The inode was removed meanwhile; the deletion of what was published is journalled.
    Removed,
}

/// Attributes from an object's metadata; what that does not say is the share's default.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "POSIX names")]
pub struct HeadAttr {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    /// The share's, as whoever asked believes them to be.
    pub defaults: ListDefaults,
}

impl HeadAttr {
    /// Whether the object says mode and owner, and nothing of them is the share's default.
    pub fn is_told(&self) -> bool {
        self.mode.is_some() && self.uid.is_some() && self.gid.is_some()
    }

    /// Mode, owner and group of a file of this kind in a share with these defaults.
    pub fn filled(&self, kind: FileKind, defaults: ListDefaults) -> (u32, u32, u32) {
        (
            self.mode.unwrap_or(defaults.mode(kind)),
            self.uid.unwrap_or(defaults.uid),
            self.gid.unwrap_or(defaults.gid),
        )
    }
}

/// What a name in a listing stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListedKind {
    /// An object.
    File {
        /// Bytes.
        size: u64,
        /// Its tag.
        etag: ETag,
        /// When S3 took it.
        last_modified: Timestamp,
    },
    /// A common prefix.
    Directory,
}

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedEntry {
    /// The name, without slash.
    pub name: String,
    /// What its key has in place of the name, where the name is an alias.
    pub part: Option<String>,
    /// What it stands for.
    pub kind: ListedKind,
}

/// Attributes of what has no metadata yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "POSIX names")]
pub struct ListDefaults {
    pub file_mode: u32,
    pub directory_mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl ListDefaults {
    /// The mode of files of this kind.
    pub fn mode(&self, kind: FileKind) -> u32 {
        match kind {
            FileKind::Directory => self.directory_mode,
            FileKind::File | FileKind::Symlink => self.file_mode,
        }
    }
}

/// One page of a directory's listing. Pages come in any order; a name at most once, except that a
/// directory takes the name of an object, which is then shown beside it.
#[derive(Clone, Debug)]
pub struct ListedPage {
    /// Names that can be shown.
    pub entries: Vec<ListedEntry>,
    /// The directory's own marker object (key = the prefix), if this page has it.
    pub marker: Option<ETag>,
    /// Attributes of new entries, as whoever lists believes them to be.
    pub defaults: ListDefaults,
    /// The alias of an object whose name a directory has.
    pub beside: fn(&str) -> String,
    /// The time.
    pub now: Timestamp,
}

/// A listing under way. Dropping it ends it without removing anything (I13).
#[derive(Debug)]
pub struct ListingToken {
    /// The directory.
    pub dir: Ino,
    /// Its key prefix: what to list. Empty for the root of a share of the whole bucket.
    pub prefix: String,
    /// What the catalog had done when the listing began.
    pub(super) seq: u64,
    pub(super) alive: Arc<()>,
    /// The inos that it has shown. Those of one listing were mostly given out in a row.
    pub(super) seen: crate::ranges::RangeSet,
    pub(super) marker_seen: bool,
}

/// What a merged page changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Entries that are new.
    pub inserted: u64,
    /// Files whose object is another one now; their cached bytes are forgotten.
    pub changed: Vec<Ino>,
    /// Names whose object changed while they are dirty here.
    pub conflicts: Vec<Ino>,
    /// Entries that have another name now, as a directory came or went.
    pub renamed: u64,
    /// Keys of objects that are shown beside a directory of their name.
    pub beside: Vec<String>,
}

/// A share's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareRow {
    /// Its number.
    pub id: ShareId,
    /// Its name.
    pub name: String,
    /// Its bucket.
    pub bucket: String,
    /// Its prefix, empty or ending in `/`.
    pub prefix: String,
    /// Its root directory.
    pub root: Ino,
}

/// Where one inode stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its row.
    pub inode: Inode,
    /// The key that its object has or is to have.
    pub key: String,
    /// S3's id of its object's version, in a bucket with versions and where it was told.
    pub version_id: Option<String>,
    /// Bytes of it on the cache disk.
    pub cached: u64,
    /// Whether a job that uploads it is out.
    pub uploading: bool,
    /// How often its upload has failed, and why the last time.
    pub failures: Option<(u64, String)>,
    /// Whether bytes of it are nowhere: the last failure says which.
    pub is_incomplete: bool,
}

/// How much is still to be uploaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PendingCounts {
    /// Inodes whose object is not up to date.
    pub dirty_files: u64,
    /// Bytes of files whose content S3 does not have.
    pub dirty_bytes: u64,
    /// Deletions not done.
    pub pending_deletes: u64,
    /// Directories whose renamed content is still being walked.
    pub pending_moves: u64,
    /// Operations that have failed at least once.
    pub failing: u64,
    /// The latest failure.
    pub last_error: Option<String>,
    /// Since when the longest waiting file or directory has waited (the system's clock).
    pub oldest: Option<Timestamp>,
    /// Orders the latest failures of shares.
    pub last_failure: u64,
}

impl PendingCounts {
    /// What two shares have together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let (latest, earlier) =
            if self.last_failure >= other.last_failure { (&self, &other) } else { (&other, &self) };
        Self {
            dirty_files: self.dirty_files + other.dirty_files,
            dirty_bytes: self.dirty_bytes + other.dirty_bytes,
            pending_deletes: self.pending_deletes + other.pending_deletes,
            pending_moves: self.pending_moves + other.pending_moves,
            failing: self.failing + other.failing,
            last_error: latest.last_error.clone().or_else(|| earlier.last_error.clone()),
            oldest: self.oldest.into_iter().chain(other.oldest).min(),
            last_failure: latest.last_failure,
        }
    }
}

/// How far the move of a renamed directory's objects is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenameProgress {
    /// The share.
    pub share: ShareId,
    /// The prefix that the objects had.
    pub from: String,
    /// The prefix that they get; `None` when the directory has been removed since.
    pub to: Option<String>,
    /// Objects found to move so far.
    pub objects: u64,
    /// Of those, objects that S3 is asked about before they are copied.
    pub asked: u64,
    /// Whether these are all.
    pub all_found: bool,
    /// Of those found, how many still wait for their copy; 100,000 stands for that many or more.
    pub objects_left: u64,
}
