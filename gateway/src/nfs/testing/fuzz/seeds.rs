//! The inputs to begin with: calls as clients make them, and the known ways to get them wrong.
use super::{
    seed_sequences,
    wire::{
        Caller, NFS_PROGRAM, Outgoing, PORTMAP_PROGRAM, Procedure, hyper, opaque, sattr, words,
    },
    world::World,
};
use crate::{
    nfs::{mount::MOUNT_PROGRAM, rpc::limits::FRAGMENTS_MAX},
    vfs::Ino,
};

/// An input.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Its target, which is also its folder.
    pub target: &'static str,
    /// Its file.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// Objects of [`World::new`], by the numbers that its operations lead to.
const ROOT: u64 = 1;
const FILE: u64 = 2;
const DIR: u64 = 4;
const LINK: u64 = 8;
const NO_FILE: u64 = 999;

/// All of them, at least ten per target.
pub fn seeds() -> Vec<Seed> {
    let groups = [
        ("record", records()),
        ("call", calls()),
        ("handle", handles()),
        ("nfs", nfs()),
        ("mount", mount()),
        ("portmap", portmap()),
        ("operations", named(&seed_sequences::operations())),
        ("connection", connections()),
    ];
    let seed = |target, (name, bytes): (String, Vec<u8>)| Seed { target, name, bytes };
    groups
        .into_iter()
        .flat_map(|(target, all)| all.into_iter().map(move |s| seed(target, s)))
        .collect()
}

type Named = Vec<(String, Vec<u8>)>;

fn named(seeds: &[(&str, Vec<u8>)]) -> Named {
    seeds.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect()
}

fn handle(ino: u64) -> Vec<u8> {
    opaque(&World::handles(World::GENERATION).encode(World::SHARE, Ino(ino)))
}

fn entry(dir: u64, name: &str) -> Vec<u8> {
    [handle(dir), opaque(name.as_bytes())].concat()
}

/// Arguments of NFS procedures, one or more of each.
fn arguments() -> Vec<(&'static str, u8, Vec<u8>)> {
    let mode = || sattr(Some(0o644), None);
    let (no_guard, guard) = (words(&[0]), words(&[1, 1_700_000_000, 5]));
    let times = words(&[0, 0, 0, 0, 2, 1_700_000_000, 999_999_999, 1]);
    let page = |dir, sizes: &[u32]| [handle(dir), hyper(0), vec![0; 8], words(sizes)].concat();
    let next = [handle(ROOT), hyper(2), b"cookies1".to_vec(), words(&[512])].concat();
    let write = |how, data: &[u8]| {
        let count = u32::try_from(data.len()).unwrap_or(0);
        [handle(FILE), hyper(4), words(&[count, how]), opaque(data)].concat()
    };
    vec![
        ("null", 0, Vec::new()),
        ("getattr", 1, handle(FILE)),
        ("getattr-stale", 1, handle(NO_FILE)),
        ("getattr-no-handle", 1, opaque(&[7; 64])),
        ("setattr", 2, [handle(FILE), sattr(Some(0o600), Some(3)), no_guard.clone()].concat()),
        ("setattr-guarded", 2, [handle(FILE), mode(), guard].concat()),
        ("setattr-times", 2, [handle(FILE), times, no_guard].concat()),
        ("lookup", 3, entry(ROOT, "f")),
        ("lookup-parent", 3, entry(DIR, "..")),
        ("lookup-missing", 3, entry(DIR, "h")),
        ("access", 4, [handle(DIR), words(&[0x3f])].concat()),
        ("readlink", 5, handle(LINK)),
        ("read", 6, [handle(FILE), hyper(0), words(&[4096])].concat()),
        ("read-beyond", 6, [handle(FILE), hyper(u64::MAX), words(&[u32::MAX])].concat()),
        ("write", 7, write(2, b"data")),
        ("write-unstable", 7, write(0, b"odd length!")),
        ("create", 8, [entry(ROOT, "n"), words(&[0]), mode()].concat()),
        ("create-guarded", 8, [entry(DIR, "g"), words(&[1]), mode()].concat()),
        ("create-exclusive", 8, [entry(ROOT, "n"), words(&[2, 1, 2])].concat()),
        ("mkdir", 9, [entry(DIR, "n"), mode()].concat()),
        ("symlink", 10, [entry(ROOT, "n"), mode(), opaque(b"../f")].concat()),
        ("mknod-fifo", 11, [entry(ROOT, "n"), words(&[7]), mode()].concat()),
        ("mknod-device", 11, [entry(ROOT, "n"), words(&[4]), mode(), words(&[8, 1])].concat()),
        ("remove", 12, entry(ROOT, "f")),
        ("rmdir", 13, entry(ROOT, "d")),
        ("rename", 14, [entry(ROOT, "f"), entry(DIR, "g")].concat()),
        ("link", 15, [handle(FILE), entry(DIR, "h")].concat()),
        ("readdir", 16, page(ROOT, &[4096])),
        ("readdir-next", 16, next),
        ("readdirplus", 17, page(ROOT, &[1024, 8192])),
        ("readdirplus-small", 17, page(ROOT, &[1, 300])),
        ("fsstat", 18, handle(ROOT)),
        ("fsinfo", 19, handle(ROOT)),
        ("pathconf", 20, handle(ROOT)),
        ("commit", 21, [handle(FILE), hyper(0), words(&[0])].concat()),
        ("no-procedure", 22, handle(ROOT)),
    ]
}

fn nfs() -> Named {
    let input = |(at, (name, procedure, args)): (usize, (&str, u8, Vec<u8>))| {
        // Root mostly, the others in turn.
        let caller = [0, 1, 0, 3][at % 4];
        (name.to_owned(), [vec![procedure, caller], args].concat())
    };
    arguments().into_iter().enumerate().map(input).collect()
}

fn mount() -> Named {
    let mnt = |path: &str| [vec![1, 0], opaque(path.as_bytes())].concat();
    named(&[
        ("null", vec![0, 0]),
        ("mnt", mnt("/share")),
        ("mnt-below", mnt("/share/d/")),
        ("mnt-file", mnt("/share/f")),
        ("mnt-dots", mnt("/share/../share")),
        ("mnt-missing", mnt("/nothing")),
        ("mnt-not-admitted", mnt("/other")),
        ("mnt-slashes", mnt(&["/".repeat(1018), "share".to_owned()].concat())),
        ("dump", vec![2, 0]),
        ("umnt", [vec![3, 0], opaque(b"/share")].concat()),
        ("umntall", vec![4, 1]),
        ("export", vec![5, 3]),
        ("no-procedure", vec![6, 0]),
    ])
}

fn portmap() -> Named {
    let call = |procedure, mapping: &[u32]| [vec![procedure, 0], words(mapping)].concat();
    let rpcbind = |procedure: u8, args: Vec<u8>| [vec![procedure, 0], args].concat();
    named(&[
        ("null", vec![0, 0]),
        ("set", call(1, &[NFS_PROGRAM, 3, 6, 2049])),
        ("unset", call(2, &[NFS_PROGRAM, 3, 6, 2049])),
        ("getport-nfs", call(3, &[NFS_PROGRAM, 3, 6, 0])),
        ("getport-mount", call(3, &[MOUNT_PROGRAM, 3, 6, 0])),
        ("getport-portmap", call(3, &[PORTMAP_PROGRAM, 2, 17, 0])),
        ("getport-nfs-udp", call(3, &[NFS_PROGRAM, 3, 17, 0])),
        ("getport-locks", call(3, &[100_021, 4, 6, 0])),
        ("dump", vec![4, 0]),
        ("callit", call(5, &[NFS_PROGRAM, 3, 0, 0])),
        ("getaddr-three", rpcbind(0x13, rpcb("tcp", "10.0.0.1.8.1"))),
        ("getaddr-four", rpcbind(0x23, rpcb("tcp6", "::1.8.1"))),
        ("getaddr-unknown-net", rpcbind(0x23, rpcb("sctp", ""))),
        ("getversaddr", rpcbind(0x29, rpcb("udp", "0.0.0.0.0.111"))),
        ("getversaddr-three", rpcbind(0x19, rpcb("tcp", ""))),
    ])
}

/// RFC 1833 §2.1 rpcb: where is NFS, asked over `netid` at `address`?
fn rpcb(netid: &str, address: &str) -> Vec<u8> {
    let names = [netid, address, "rpcb"].map(|name| opaque(name.as_bytes()));
    [words(&[NFS_PROGRAM, 3]), names.concat()].concat()
}

fn outgoing(procedure: Procedure, caller: Caller, args: &[u8]) -> Outgoing<'_> {
    Outgoing { xid: 0x1234_5678, procedure, caller, args }
}

fn calls() -> Named {
    let getattr = handle(FILE);
    let header = |rest: &[u32]| [words(&[9, 0, 2, NFS_PROGRAM, 3, 1]), words(rest)].concat();
    let nfs = |number, caller| outgoing(Procedure::nfs(number), caller, &getattr).record();
    let portmap = |version, number| {
        let args = if version > 2 { rpcb("tcp6", "::1.8.1") } else { Vec::new() };
        outgoing(Procedure::portmap(version, number), Caller::Anonymous, &args).record()
    };
    let locks = Procedure { program: 100_021, version: 3, number: 1 };
    let groups: Vec<u32> = [vec![1, 88, 0, 0, 0, 0, 17], vec![1; 17]].concat();
    named(&[
        ("null", nfs(0, Caller::Anonymous).to_vec()),
        ("getattr-root", nfs(1, Caller::Root).to_vec()),
        ("getattr-user", nfs(1, Caller::User).to_vec()),
        ("export", outgoing(Procedure::mount(5), Caller::Root, &[]).record().to_vec()),
        ("portmap-dump", portmap(2, 4).to_vec()),
        ("rpcbind-address", portmap(3, 3).to_vec()),
        ("rpcbind-version-address", portmap(4, 9).to_vec()),
        ("rpcbind-version-address-three", portmap(3, 9).to_vec()),
        ("program-unavailable", outgoing(locks, Caller::Root, &[]).record().to_vec()),
        ("version-four", [words(&[9, 0, 2, NFS_PROGRAM, 4, 1]), words(&[0; 4])].concat()),
        ("rpc-three", words(&[9, 0, 3, NFS_PROGRAM, 3, 1])),
        ("a-reply", words(&[9, 1, 0, 0, 0, 0])),
        ("gss", header(&[6, 0, 0, 0])),
        ("long-credential", header(&[1, 401])),
        ("seventeen-groups", [header(&groups), words(&[0, 0])].concat()),
        ("cut", words(&[9, 0, 2])),
    ])
}

fn handles() -> Named {
    let of = |share: u32, ino: u64, rest: &[u8]| {
        [share.to_le_bytes().to_vec(), ino.to_le_bytes().to_vec(), rest.to_vec()].concat()
    };
    let codec = World::handles(World::GENERATION);
    let real = |ino| codec.encode(World::SHARE, Ino(ino)).to_vec();
    let stale = World::handles(2).encode(World::SHARE, Ino(FILE)).to_vec();
    named(&[
        ("empty", Vec::new()),
        ("root", real(ROOT)),
        ("file", real(FILE)),
        ("far", real(u64::MAX)),
        ("stale", stale),
        ("short", real(FILE)[..39].to_vec()),
        ("long", [real(FILE), vec![0; 24]].concat()),
        ("first-bit", of(7, 2, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80])),
        ("last-bit", of(7, 2, &[1, 0, 0, 0, 0, 0, 0, 0, 39, 1])),
        ("version-bit", of(7, 2, &[9, 0, 0, 0, 0, 0, 0, 0, 3, 2])),
        ("mac-bit", of(u32::MAX, u64::MAX, &[0xff, 0, 0, 0, 0, 0, 0, 0, 24, 1])),
    ])
}

/// Sizes of pieces, then a stream.
fn pieces(sizes: &[u16], stream: &[u8]) -> Vec<u8> {
    let count = u8::try_from(sizes.len()).unwrap_or(0);
    let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
    [&[count], &sizes[..], stream].concat()
}

fn fragments(record: &[u8], size: usize) -> Vec<u8> {
    let count = record.chunks(size).len();
    let fragment = |(at, part): (usize, &[u8])| {
        let last = u32::from(at + 1 == count) << 31;
        [words(&[u32::try_from(part.len()).unwrap_or(0) | last]), part.to_vec()].concat()
    };
    record.chunks(size).enumerate().flat_map(fragment).collect()
}

fn records() -> Named {
    let record = fragments(&[7; 100], 100);
    let three = [record.clone(), fragments(b"abcdefgh", 3), words(&[1 << 31])].concat();
    let many = |count| fragments(&vec![1; count], 1);
    named(&[
        ("one", pieces(&[], &record)),
        ("three", pieces(&[], &three)),
        ("three-in-pieces", pieces(&[1, 2, 0, 1, 50, 0, 51, 9, 4, 4], &three)),
        ("mark-in-pieces", pieces(&[1, 1, 1, 1, 1], &record)),
        ("empty", pieces(&[], &words(&[1 << 31]))),
        ("empty-fragments", pieces(&[4, 4], &words(&[0, 0, 1 << 31]))),
        ("cut-mark", pieces(&[], &record[..3])),
        ("cut-body", pieces(&[5], &record[..50])),
        ("two-gigabytes", pieces(&[], &words(&[u32::MAX]))),
        ("longest-and-cut", pieces(&[4], &words(&[0x8011_0000, 1]))),
        ("most-fragments", pieces(&[3, 5, 7], &many(FRAGMENTS_MAX))),
        ("too-many-fragments", pieces(&[], &many(FRAGMENTS_MAX + 1))),
    ])
}

fn connections() -> Named {
    let nfs = |number, args: &[u8]| outgoing(Procedure::nfs(number), Caller::Root, args).marked();
    let all = arguments().into_iter().map(|(_, procedure, args)| nfs(u32::from(procedure), &args));
    let all: Vec<Vec<u8>> = all.collect();
    let mnt = outgoing(Procedure::mount(1), Caller::Root, &opaque(b"/share")).marked();
    let port = words(&[NFS_PROGRAM, 3, 6, 0]);
    let port = outgoing(Procedure::portmap(2, 3), Caller::Anonymous, &port).marked();
    let read = nfs(6, &[handle(FILE), hyper(0), words(&[1 << 20])].concat());
    let grow = nfs(2, &[handle(FILE), sattr(None, Some(1 << 20)), words(&[0])].concat());
    let create = nfs(8, &[entry(ROOT, "n"), words(&[1]), sattr(None, None)].concat());
    let null = nfs(0, &[]);
    named(&[
        ("null", pieces(&[], &null)),
        ("mount", pieces(&[], &[port, mnt].concat())),
        ("each-procedure", pieces(&[], &all.concat())),
        ("half-of-them", pieces(&[1, 3, 40, 0, 200, 1000], &all[..all.len() / 2].concat())),
        ("large-reads", pieces(&[], &[grow, read.repeat(4)].concat())),
        ("repeated-create", pieces(&[100, 100], &create.repeat(3))),
        ("call-in-fragments", pieces(&[6, 6, 6], &fragments(&null[4..], 4))),
        ("call-and-cut-call", pieces(&[], &[&null[..], &create[..60]].concat())),
        ("call-and-no-call", pieces(&[], &[null.clone(), words(&[1 << 31])].concat())),
        ("call-and-long-record", pieces(&[], &[null.clone(), words(&[u32::MAX])].concat())),
        ("bad-credential", pieces(&[], &words(&[0x8000_0020, 5, 0, 2, NFS_PROGRAM, 3, 1, 1, 401]))),
    ])
}
