//! The operations and how they are generated. Numbers stand for files, directories and names modulo
//! what there is, so that every operation can be carried out and shrinks to another that can.
use proptest::{collection::vec, prelude::*};

/// Few names, so that they meet; chosen to sort before and after `a/`, which prefixes of keys must bear.
pub(crate) const NAMES: [&str; 5] = ["a", "b", "a-", "a0", "é f"];
/// Modes that clients set.
pub(crate) const MODES: [u32; 6] = [0o644, 0o600, 0o755, 0o2775, 0o4711, 0o1777];
/// Operations of one case.
const STEPS: std::ops::Range<usize> = 1..48;

/// One case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What the cache files are on.
    pub(crate) disk: Disk,
    /// What happens, in order.
    pub(crate) ops: Vec<Op>,
}

/// What the cache files are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    /// The machine's file system: a crash is the process's.
    Host,
    /// A simulated disk: a crash is a power cut, which forgets what was not synced.
    Simulated,
    /// Two of those.
    TwoSimulated,
}

/// How a file is created.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    /// CREATE GUARDED.
    Guarded,
    /// CREATE UNCHECKED, with a size.
    Unchecked(Option<u32>),
    /// CREATE EXCLUSIVE with a verifier of its own.
    Exclusive,
    /// CREATE EXCLUSIVE repeated: with the verifier that the file was made with.
    ExclusiveAgain,
}

/// What goes wrong in S3, for one request or a few.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// 503 SlowDown; nothing was done.
    SlowDown,
    /// 500 before anything was done.
    Fails,
    /// 500 although it was done.
    FailsAfter,
    /// The connection breaks before anything was done.
    Breaks,
    /// The connection breaks although it was done.
    BreaksAfter,
    /// The body ends early.
    ShortBody,
}

/// One operation.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "as the names say")]
pub(crate) enum Op {
    Create {
        dir: u8,
        name: u8,
        mode: u8,
        how: How,
    },
    Write {
        file: u8,
        at: u32,
        len: u32,
        stable: bool,
    },
    Commit {
        file: u8,
    },
    Read {
        file: u8,
        at: u32,
        len: u32,
    },
    Truncate {
        file: u8,
        size: u32,
    },
    Chmod {
        node: u8,
        mode: u8,
    },
    Chown {
        node: u8,
        uid: u8,
        gid: Option<u8>,
    },
    Utimes {
        node: u8,
        seconds: u32,
    },
    Mkdir {
        dir: u8,
        name: u8,
        mode: u8,
    },
    Symlink {
        dir: u8,
        name: u8,
        target: u8,
    },
    Remove {
        node: u8,
    },
    Rmdir {
        node: u8,
    },
    Rename {
        node: u8,
        dir: u8,
        name: u8,
    },
    /// Two names swap what they stand for, through a third.
    Swap {
        one: u8,
        other: u8,
    },
    Lookup {
        dir: u8,
        name: u8,
    },
    List {
        dir: u8,
    },
    /// A handle of something that was removed.
    UseRemoved {
        which: u8,
    },
    AdvanceClock {
        seconds: u16,
    },
    /// Commits what has been quiet for long enough, as the gateway does about every second.
    FlushIdle,
    /// Brings carried bytes to their cache files, as the gateway does about every second.
    Settle,
    /// Lists a directory anew.
    Refresh {
        dir: u8,
    },
    /// Uploads what is due by now.
    Upload,
    /// Uploads from here on, beside whatever follows.
    UploadBeside,
    /// Uploads until S3 has everything, with all faults mended.
    Drain,
    /// Forgets every clean file's bytes.
    Evict,
    /// Makes room for so many bytes: the coldest parts of clean files leave.
    EvictSome {
        bytes: u32,
    },
    Restart,
    Crash,
    /// Uploads, and crashes after some more requests to S3.
    CrashInUpload {
        requests: u8,
    },
    Break {
        fault: Fault,
        operation: u8,
        times: u8,
    },
    Mend,
}

fn offset() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0..5_000_u32, 3 => 0..70_000_u32, 1 => 0..(3_u32 << 20)]
}

fn length() -> impl Strategy<Value = u32> {
    prop_oneof![9 => 1..3_000_u32, 2 => 1..100_000_u32, 1 => 1..(1_u32 << 20)]
}

/// Beyond 16 MiB a file is uploaded in parts.
fn size() -> impl Strategy<Value = u32> {
    prop_oneof![
        10 => Just(0),
        20 => 0..6_000_u32,
        4 => 0..(3_u32 << 20),
        1 => (16_u32 << 20)..(18_u32 << 20),
    ]
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        4 => Just(How::Guarded),
        2 => Just(How::Unchecked(None)),
        1 => size().prop_map(|size| How::Unchecked(Some(size % (1 << 20)))),
        1 => Just(How::Exclusive),
        1 => Just(How::ExclusiveAgain),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        1 => Just(Fault::SlowDown),
        1 => Just(Fault::Fails),
        3 => Just(Fault::FailsAfter),
        1 => Just(Fault::Breaks),
        3 => Just(Fault::BreaksAfter),
        1 => Just(Fault::ShortBody),
    ]
}

fn of_files() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (any::<u8>(), any::<u8>(), any::<u8>(), how())
            .prop_map(|(dir, name, mode, how)| Op::Create { dir, name, mode, how }),
        10 => (any::<u8>(), offset(), length(), any::<bool>())
            .prop_map(|(file, at, len, stable)| Op::Write { file, at, len, stable }),
        2 => any::<u8>().prop_map(|file| Op::Commit { file }),
        3 => (any::<u8>(), offset(), length()).prop_map(|(file, at, len)| Op::Read { file, at, len }),
        3 => (any::<u8>(), size()).prop_map(|(file, size)| Op::Truncate { file, size }),
    ]
}

fn of_attributes() -> impl Strategy<Value = Op> {
    prop_oneof![
        (any::<u8>(), any::<u8>()).prop_map(|(node, mode)| Op::Chmod { node, mode }),
        (any::<u8>(), any::<u8>(), any::<Option<u8>>()).prop_map(|(node, uid, gid)| Op::Chown {
            node,
            uid,
            gid
        }),
        (any::<u8>(), 0..2_000_000_000_u32)
            .prop_map(|(node, seconds)| Op::Utimes { node, seconds }),
    ]
}

fn of_names() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (any::<u8>(), any::<u8>(), any::<u8>())
            .prop_map(|(dir, name, mode)| Op::Mkdir { dir, name, mode }),
        1 => (any::<u8>(), any::<u8>(), any::<u8>())
            .prop_map(|(dir, name, target)| Op::Symlink { dir, name, target }),
        3 => any::<u8>().prop_map(|node| Op::Remove { node }),
        2 => any::<u8>().prop_map(|node| Op::Rmdir { node }),
        8 => (any::<u8>(), any::<u8>(), any::<u8>())
            .prop_map(|(node, dir, name)| Op::Rename { node, dir, name }),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(one, other)| Op::Swap { one, other }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(dir, name)| Op::Lookup { dir, name }),
        1 => any::<u8>().prop_map(|dir| Op::List { dir }),
        1 => any::<u8>().prop_map(|which| Op::UseRemoved { which }),
    ]
}

fn of_the_gateway() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (0..400_u16).prop_map(|seconds| Op::AdvanceClock { seconds }),
        2 => Just(Op::FlushIdle),
        2 => Just(Op::Settle),
        3 => any::<u8>().prop_map(|dir| Op::Refresh { dir }),
        5 => Just(Op::Upload),
        2 => Just(Op::UploadBeside),
        4 => Just(Op::Drain),
        3 => Just(Op::Evict),
        2 => (0..40_u32 << 20).prop_map(|bytes| Op::EvictSome { bytes }),
        1 => Just(Op::Restart),
        2 => Just(Op::Crash),
        2 => (0..6_u8).prop_map(|requests| Op::CrashInUpload { requests }),
        5 => (fault(), any::<u8>(), 1..4_u8)
            .prop_map(|(fault, operation, times)| Op::Break { fault, operation, times }),
        1 => Just(Op::Mend),
    ]
}

/// What the gateway's own clients do, and what happens to the gateway and to S3's answers.
pub(crate) fn local() -> impl Strategy<Value = Op> {
    prop_oneof![8 => of_files(), 2 => of_attributes(), 8 => of_names(), 7 => of_the_gateway()]
}

/// What clients do, crashes, and faults while it is uploaded: nothing that asks S3 before that.
pub(crate) fn of_clients() -> impl Strategy<Value = Op> {
    let gateway = prop_oneof![
        2 => Just(Op::FlushIdle),
        2 => Just(Op::Settle),
        1 => Just(Op::Restart),
        2 => Just(Op::Crash),
        4 => (fault(), any::<u8>(), 1..4_u8)
            .prop_map(|(fault, operation, times)| Op::Break { fault, operation, times }),
    ];
    prop_oneof![8 => of_files(), 2 => of_attributes(), 8 => of_names(), 2 => gateway]
}

/// A case of such operations.
pub(crate) fn case(op: impl Strategy<Value = Op>) -> impl Strategy<Value = Case> {
    let disk = prop_oneof![Just(Disk::Host), Just(Disk::Simulated), Just(Disk::TwoSimulated)];
    (disk, vec(op, STEPS)).prop_map(|(disk, ops)| Case { disk, ops })
}

/// Operations of one case of large files: each takes longer.
const LARGE_STEPS: std::ops::Range<usize> = 4..20;
/// Files of two parts and more, both of those that are uploaded (16 MiB) and of those that leave the cache
/// (8 MiB).
const LARGE_BYTES: std::ops::Range<u32> = 17 << 20..40 << 20;

/// What happens to a few large files: parts that leave the cache, parts that S3 copies.
fn large() -> impl Strategy<Value = Op> {
    let at = || 0..LARGE_BYTES.end;
    let length = prop_oneof![3 => 1..9_000_u32, 1 => 1..(3_u32 << 20)];
    let operation = any::<u8>();
    prop_oneof![
        1 => (any::<u8>(), any::<u8>())
            .prop_map(|(name, mode)| Op::Create { dir: 0, name, mode, how: How::Guarded }),
        8 => (any::<u8>(), at(), length, any::<bool>())
            .prop_map(|(file, at, len, stable)| Op::Write { file, at, len, stable }),
        2 => (any::<u8>(), LARGE_BYTES).prop_map(|(file, size)| Op::Truncate { file, size }),
        4 => (any::<u8>(), at(), 1..(2_u32 << 20))
            .prop_map(|(file, at, len)| Op::Read { file, at, len }),
        1 => any::<u8>().prop_map(|node| Op::Remove { node }),
        1 => (any::<u8>(), any::<u8>())
            .prop_map(|(node, name)| Op::Rename { node, dir: 0, name }),
        6 => (1..20_u32 << 20).prop_map(|bytes| Op::EvictSome { bytes }),
        1 => Just(Op::Evict),
        2 => Just(Op::Settle),
        3 => Just(Op::Upload),
        1 => Just(Op::UploadBeside),
        5 => Just(Op::Drain),
        1 => Just(Op::Restart),
        2 => Just(Op::Crash),
        2 => (0..9_u8).prop_map(|requests| Op::CrashInUpload { requests }),
        2 => (fault(), operation, 1..4_u8)
            .prop_map(|(fault, operation, times)| Op::Break { fault, operation, times }),
    ]
}

/// What clients do to a few large files, crashes, and faults: nothing that asks S3 before they are uploaded.
pub(crate) fn of_large_files() -> impl Strategy<Value = Op> {
    let at = || 0..LARGE_BYTES.end;
    let length = prop_oneof![3 => 1..9_000_u32, 1 => 1..(3_u32 << 20)];
    prop_oneof![
        8 => (any::<u8>(), at(), length, any::<bool>())
            .prop_map(|(file, at, len, stable)| Op::Write { file, at, len, stable }),
        2 => (any::<u8>(), LARGE_BYTES).prop_map(|(file, size)| Op::Truncate { file, size }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(node, mode)| Op::Chmod { node, mode }),
        1 => any::<u8>().prop_map(|node| Op::Remove { node }),
        3 => (any::<u8>(), any::<u8>())
            .prop_map(|(node, name)| Op::Rename { node, dir: 0, name }),
        1 => Just(Op::Crash),
        1 => (fault(), any::<u8>(), 1..4_u8)
            .prop_map(|(fault, operation, times)| Op::Break { fault, operation, times }),
    ]
}

/// A large file, full of bytes.
pub(crate) fn large_file() -> impl Strategy<Value = [Op; 2]> {
    LARGE_BYTES.prop_map(|size| {
        let create = Op::Create { dir: 0, name: 0, mode: 0, how: How::Guarded };
        [create, Op::Write { file: 0, at: 0, len: size, stable: true }]
    })
}

/// A case that begins with a large file that S3 has.
pub(crate) fn large_case() -> impl Strategy<Value = Case> {
    let begin = large_file().prop_map(|ops| ops.into_iter().chain([Op::Drain]).collect::<Vec<_>>());
    let disk = prop_oneof![Just(Disk::Host), Just(Disk::Simulated)];
    (disk, begin, vec(large(), LARGE_STEPS)).prop_map(|(disk, mut ops, more)| {
        ops.extend(more);
        Case { disk, ops }
    })
}
