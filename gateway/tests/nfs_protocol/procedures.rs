//! Every procedure of RFC 1813 by crate nfs3_client.
use gateway::nfs::Limits;
use nfs3_client::nfs3_types::{
    nfs3::{
        ACCESS3args, COMMIT3args, CREATE3args, FSINFO3args, FSSTAT3args, GETATTR3args, LINK3args,
        LOOKUP3args, MKDIR3args, MKNOD3args, Nfs3Option, Nfs3Result, PATHCONF3args, READ3args,
        READLINK3args, REMOVE3args, RENAME3args, RMDIR3args, SETATTR3args, SYMLINK3args,
        WRITE3args, createhow3, createverf3, fattr3, ftype3, mknoddata3, nfs_fh3, nfsstat3,
        nfstime3, sattr3, set_mtime, stable_how, symlinkdata3, wcc_data,
    },
    xdr_codec::Opaque,
};

use crate::{Client, Gateway, entry, open_policy};

pub(crate) async fn create(client: &mut Client, dir: &nfs_fh3, name: &str) -> nfs_fh3 {
    let how = createhow3::GUARDED(sattr3 { mode: Nfs3Option::Some(0o644), ..sattr3::default() });
    let args = CREATE3args { where_: entry(dir, name), how };
    client.create(&args).await.unwrap().unwrap().obj.unwrap()
}

pub(crate) async fn write(client: &mut Client, file: &nfs_fh3, offset: u64, data: &[u8]) {
    let args = WRITE3args {
        file: file.clone(),
        offset,
        count: u32::try_from(data.len()).unwrap(),
        stable: stable_how::FILE_SYNC,
        data: Opaque::borrowed(data),
    };
    assert_eq!(client.write(&args).await.unwrap().unwrap().count as usize, data.len());
}

pub(crate) async fn read(
    client: &mut Client,
    file: &nfs_fh3,
    offset: u64,
    count: u32,
) -> (Vec<u8>, bool) {
    let args = READ3args { file: file.clone(), offset, count };
    let read = client.read(&args).await.unwrap().unwrap();
    assert_eq!(read.count as usize, read.data.len());
    (read.data.to_vec(), read.eof)
}

async fn getattr(client: &mut Client, object: &nfs_fh3) -> fattr3 {
    let args = GETATTR3args { object: object.clone() };
    client.getattr(&args).await.unwrap().unwrap().obj_attributes
}

/// Both sides are there, and the change is seen in the times.
fn assert_changed(wcc: wcc_data) {
    assert!(wcc.after.unwrap().ctime != wcc.before.unwrap().ctime);
}

fn failed<T: std::fmt::Debug, E>(result: Nfs3Result<T, E>) -> (nfsstat3, E) {
    match result {
        Nfs3Result::Ok(value) => panic!("{value:?} instead of a failure"),
        Nfs3Result::Err(failure) => failure,
    }
}

#[tokio::test]
async fn files_are_created_written_read_renamed_and_removed_with_consistency_data() {
    let gateway = Gateway::start().await;
    let mut client = gateway.mount().await;
    client.null().await.unwrap();
    let root = client.root_nfs_fh3();

    let how = createhow3::GUARDED(sattr3 { mode: Nfs3Option::Some(0o640), ..sattr3::default() });
    let args = CREATE3args { where_: entry(&root, "a b.txt"), how };
    let made = client.create(&args).await.unwrap().unwrap();
    let (file, attr) = (made.obj.unwrap(), made.obj_attributes.unwrap());
    assert_eq!((attr.type_, attr.mode, attr.uid, attr.gid), (ftype3::NF3REG, 0o640, 1000, 100));
    assert_eq!(attr.fsid, 7);
    assert_changed(made.dir_wcc);

    for (stable, offset) in
        [(stable_how::UNSTABLE, 0), (stable_how::DATA_SYNC, 5), (stable_how::FILE_SYNC, 10)]
    {
        let data = Opaque::borrowed(b"hello");
        let args = WRITE3args { file: file.clone(), offset, count: 5, stable, data };
        let written = client.write(&args).await.unwrap().unwrap();
        assert_eq!((written.count, written.committed), (5, stable));
        assert_eq!(written.verf.0, *b"verifier");
        assert_eq!(written.file_wcc.before.unwrap().size, offset);
        assert_eq!(written.file_wcc.after.unwrap().size, offset + 5);
    }
    let args = COMMIT3args { file: file.clone(), offset: 0, count: 0 };
    assert_eq!(client.commit(&args).await.unwrap().unwrap().verf.0, *b"verifier");
    assert_eq!(read(&mut client, &file, 0, 100).await, (b"hellohellohello".to_vec(), true));
    assert_eq!(read(&mut client, &file, 3, 4).await, (b"lohe".to_vec(), false));
    assert_eq!(read(&mut client, &file, 99, 4).await, (Vec::new(), true));

    let args = RENAME3args { from: entry(&root, "a b.txt"), to: entry(&root, "c") };
    let renamed = client.rename(&args).await.unwrap().unwrap();
    assert_changed(renamed.fromdir_wcc);
    assert_changed(renamed.todir_wcc);
    let args = LOOKUP3args { what: entry(&root, "c") };
    let found = client.lookup(&args).await.unwrap().unwrap();
    assert_eq!(found.object.data.as_ref(), file.data.as_ref());
    assert_eq!(found.obj_attributes.unwrap().size, 15);
    assert_eq!(found.dir_attributes.unwrap().type_, ftype3::NF3DIR);

    let args = REMOVE3args { object: entry(&root, "c") };
    assert_changed(client.remove(&args).await.unwrap().unwrap().dir_wcc);
    let (status, failure) =
        failed(client.lookup(&LOOKUP3args { what: entry(&root, "c") }).await.unwrap());
    assert_eq!(status, nfsstat3::NFS3ERR_NOENT);
    assert!(failure.dir_attributes.is_some());
    let (status, _) = failed(client.getattr(&GETATTR3args { object: file }).await.unwrap());
    assert_eq!(status, nfsstat3::NFS3ERR_STALE);
}

#[tokio::test]
async fn directories_are_made_with_their_mode_and_removed_only_empty_and_as_directories() {
    let gateway = Gateway::start().await;
    let mut client = gateway.mount().await;
    let root = client.root_nfs_fh3();
    let attributes = sattr3 { mode: Nfs3Option::Some(0o700), ..sattr3::default() };
    let args = MKDIR3args { where_: entry(&root, "d"), attributes };
    let made = client.mkdir(&args).await.unwrap().unwrap();
    assert_eq!(made.obj_attributes.unwrap().mode, 0o700);
    assert_changed(made.dir_wcc);
    let dir = made.obj.unwrap();
    create(&mut client, &dir, "f").await;

    let rmdir = |dir: &nfs_fh3, name| RMDIR3args { object: entry(dir, name) };
    let remove = |dir: &nfs_fh3, name| REMOVE3args { object: entry(dir, name) };
    let (status, failure) = failed(client.rmdir(&rmdir(&root, "d")).await.unwrap());
    assert_eq!(status, nfsstat3::NFS3ERR_NOTEMPTY);
    assert!(failure.dir_wcc.after.is_some());
    let (status, _) = failed(client.rmdir(&rmdir(&dir, "f")).await.unwrap());
    assert_eq!(status, nfsstat3::NFS3ERR_NOTDIR);
    let (status, _) = failed(client.remove(&remove(&root, "d")).await.unwrap());
    assert_eq!(status, nfsstat3::NFS3ERR_ISDIR);
    let (status, _) = failed(client.rmdir(&rmdir(&root, ".")).await.unwrap());
    assert_eq!(status, nfsstat3::NFS3ERR_INVAL);
    client.remove(&remove(&dir, "f")).await.unwrap().unwrap();
    assert_changed(client.rmdir(&rmdir(&root, "d")).await.unwrap().unwrap().dir_wcc);
}

#[tokio::test]
async fn symbolic_links_keep_their_target_and_other_files_are_not_links() {
    let gateway = Gateway::start().await;
    let mut client = gateway.mount().await;
    let root = client.root_nfs_fh3();
    let target = b"../some where";
    let symlink = symlinkdata3 {
        symlink_attributes: sattr3::default(),
        symlink_data: target.as_slice().into(),
    };
    let args = SYMLINK3args { where_: entry(&root, "l"), symlink };
    let made = client.symlink(&args).await.unwrap().unwrap();
    assert_eq!(made.obj_attributes.unwrap().type_, ftype3::NF3LNK);
    assert_changed(made.dir_wcc);
    let read = client.readlink(&READLINK3args { symlink: made.obj.unwrap() }).await.unwrap();
    let read = read.unwrap();
    assert_eq!(read.data.as_ref(), target);
    assert!(read.symlink_attributes.is_some());
    let (status, failure) =
        failed(client.readlink(&READLINK3args { symlink: root }).await.unwrap());
    assert_eq!(status, nfsstat3::NFS3ERR_INVAL);
    assert!(failure.symlink_attributes.is_some());
}

#[tokio::test]
async fn an_exclusive_create_may_be_repeated_with_its_verifier_only() {
    let gateway = Gateway::start().await;
    let mut client = gateway.mount().await;
    let root = client.root_nfs_fh3();
    let exclusive = |verifier| CREATE3args {
        where_: entry(&root, "x"),
        how: createhow3::EXCLUSIVE(createverf3(verifier)),
    };
    let first = client.create(&exclusive(*b"verf-one")).await.unwrap().unwrap().obj.unwrap();
    let again = client.create(&exclusive(*b"verf-one")).await.unwrap().unwrap().obj.unwrap();
    assert_eq!(first.data.as_ref(), again.data.as_ref());
    let (status, failure) = failed(client.create(&exclusive(*b"verf-two")).await.unwrap());
    assert_eq!(status, nfsstat3::NFS3ERR_EXIST);
    assert!(failure.dir_wcc.after.is_some());
}

#[tokio::test]
async fn a_wrong_guard_leaves_attributes_alone_and_a_right_one_lets_them_change() {
    let gateway = Gateway::start().await;
    let mut client = gateway.mount().await;
    let root = client.root_nfs_fh3();
    let file = create(&mut client, &root, "f").await;
    let before = getattr(&mut client, &file).await;
    let mut args = SETATTR3args {
        object: file.clone(),
        new_attributes: sattr3 {
            mode: Nfs3Option::Some(0o600),
            mtime: set_mtime::SET_TO_CLIENT_TIME(nfstime3 { seconds: 77, nseconds: 5 }),
            ..sattr3::default()
        },
        guard: Nfs3Option::Some(nfstime3 { seconds: 1, nseconds: 1 }),
    };
    let (status, failure) = failed(client.setattr(&args).await.unwrap());
    assert_eq!(status, nfsstat3::NFS3ERR_NOT_SYNC);
    assert_eq!(failure.obj_wcc.after.unwrap().mode, 0o644);
    args.guard = Nfs3Option::Some(before.ctime);
    let change = client.setattr(&args).await.unwrap().unwrap().obj_wcc;
    assert_eq!(change.before.unwrap().ctime, before.ctime);
    let after = change.after.unwrap();
    assert_eq!((after.mode, after.mtime), (0o600, nfstime3 { seconds: 77, nseconds: 5 }));

    args.guard = Nfs3Option::None;
    args.new_attributes.mtime =
        set_mtime::SET_TO_CLIENT_TIME(nfstime3 { seconds: 1, nseconds: 1_000_000_000 });
    let (status, _) = failed(client.setattr(&args).await.unwrap());
    assert_eq!(status, nfsstat3::NFS3ERR_INVAL);
}

#[tokio::test]
async fn links_and_special_files_are_not_supported_and_say_so_with_attributes() {
    let gateway = Gateway::start().await;
    let mut client = gateway.mount().await;
    let root = client.root_nfs_fh3();
    let file = create(&mut client, &root, "f").await;
    let (status, failure) =
        failed(client.link(&LINK3args { file, link: entry(&root, "g") }).await.unwrap());
    assert_eq!(status, nfsstat3::NFS3ERR_NOTSUPP);
    assert!(failure.file_attributes.is_some() && failure.linkdir_wcc.after.is_some());
    let args =
        MKNOD3args { where_: entry(&root, "pipe"), what: mknoddata3::NF3FIFO(sattr3::default()) };
    let (status, failure) = failed(client.mknod(&args).await.unwrap());
    assert_eq!(status, nfsstat3::NFS3ERR_NOTSUPP);
    assert!(failure.dir_wcc.after.is_some());
}

#[tokio::test]
async fn the_file_system_says_its_sizes_and_limits() {
    let gateway = Gateway::start().await;
    let mut client = gateway.mount().await;
    let root = client.root_nfs_fh3();
    let info = client.fsinfo(&FSINFO3args { fsroot: root.clone() }).await.unwrap().unwrap();
    assert_eq!([info.rtmax, info.rtpref, info.wtmax, info.wtpref], [1 << 20; 4]);
    // Symbolic links, homogeneous, times can be set; no hard links.
    assert_eq!(info.properties, 0x1a);
    let stat = client.fsstat(&FSSTAT3args { fsroot: root.clone() }).await.unwrap().unwrap();
    assert_eq!((stat.tbytes, stat.fbytes, stat.abytes), (1 << 40, 1 << 39, 1 << 38));
    assert_eq!((stat.tfiles, stat.ffiles), (1 << 20, 1 << 19));
    let conf = client.pathconf(&PATHCONF3args { object: root }).await.unwrap().unwrap();
    assert_eq!((conf.linkmax, conf.name_max), (1, 255));
    assert!(conf.no_trunc && conf.chown_restricted && conf.case_preserving);
    assert!(!conf.case_insensitive);
}

#[tokio::test]
async fn access_is_what_mode_bits_and_caller_give() {
    let gateway = Gateway::start().await;
    let mut owner = gateway.mount().await;
    let root = owner.root_nfs_fh3();
    let file = create(&mut owner, &root, "f").await;
    let mut stranger = gateway.mount_as(2000, 200).await;
    let ask = ACCESS3args { object: file, access: 0x3f };
    let granted = owner.access(&ask).await.unwrap().unwrap();
    assert_eq!(granted.access, 0x01 | 0x04 | 0x08);
    assert!(granted.obj_attributes.is_some());
    assert_eq!(stranger.access(&ask).await.unwrap().unwrap().access, 0x01);
}

#[tokio::test]
async fn names_and_targets_that_are_too_long_are_answered_and_the_connection_lives() {
    let gateway = Gateway::start().await;
    let mut client = gateway.mount().await;
    let root = client.root_nfs_fh3();
    let long = "n".repeat(256);
    let longest = "n".repeat(60_000);
    for name in [&long, &longest] {
        let (status, failure) =
            failed(client.lookup(&LOOKUP3args { what: entry(&root, name) }).await.unwrap());
        assert_eq!(status, nfsstat3::NFS3ERR_NAMETOOLONG);
        assert!(failure.dir_attributes.is_some());
    }
    let symlink = symlinkdata3 {
        symlink_attributes: sattr3::default(),
        symlink_data: longest.as_bytes().into(),
    };
    let args = SYMLINK3args { where_: entry(&root, "l"), symlink };
    assert_eq!(failed(client.symlink(&args).await.unwrap()).0, nfsstat3::NFS3ERR_NAMETOOLONG);
    create(&mut client, &root, &long[..255]).await;
}

#[tokio::test]
async fn a_write_that_cannot_be_is_refused_and_the_largest_is_not() {
    let gateway = Gateway::with(open_policy(), Limits::default()).await;
    let mut client = gateway.mount().await;
    let root = client.root_nfs_fh3();
    let file = create(&mut client, &root, "f").await;
    let data: Vec<u8> = (0..1u32 << 20).map(|i| (i % 251) as u8).collect();
    write(&mut client, &file, 3, &data).await;
    let (back, eof) = read(&mut client, &file, 3, 1 << 20).await;
    assert!(back == data && eof);
    // A READ of more than rtmax gives rtmax.
    let (part, eof) = read(&mut client, &file, 0, 1 << 24).await;
    assert_eq!((part.len(), eof), (1 << 20, false));

    let attempt = |offset, count| WRITE3args {
        file: file.clone(),
        offset,
        count,
        stable: stable_how::UNSTABLE,
        data: Opaque::borrowed(b"abcd"),
    };
    let (status, _) = failed(client.write(&attempt(u64::MAX - 1, 4)).await.unwrap());
    assert_eq!(status, nfsstat3::NFS3ERR_FBIG);
    let (status, _) = failed(client.write(&attempt(0, 5)).await.unwrap());
    assert_eq!(status, nfsstat3::NFS3ERR_INVAL);
}
