//! Client list, read-only, squash and handles: who may do what, with which handle.
use std::{net::SocketAddr, sync::Arc};

use gateway::{
    nfs::{HandleCodec, Limits, testing::MemoryFs},
    vfs::{ShareFs, ShareId},
};
use gateway_api::settings::Squash;
use nfs3_client::nfs3_types::nfs3::{
    ACCESS3args, CREATE3args, GETATTR3args, Nfs3Option, Nfs3Result, RENAME3args, SETATTR3args,
    createhow3, nfsstat3, sattr3,
};
use tokio::net::TcpSocket;

use crate::{
    Gateway, entry, export, open_policy,
    procedures::{create, read, write},
    raw::{Call, MOUNT, NFS, Raw, call, mount, opaque, word, words},
};

/// The status of a GETATTR.
async fn getattr(raw: &mut Raw, handle: &[u8]) -> u32 {
    word(&raw.ask(&call(NFS, 1, opaque(handle))).await.unwrap(), 6)
}

#[tokio::test]
async fn squashed_callers_act_as_the_anonymous_user() {
    let mut policy = open_policy();
    (policy.squash, policy.anonymous_uid) = (Squash::RootSquash, 4444);
    let gateway = Gateway::with(policy.clone(), Limits::default()).await;
    let mut root = gateway.mount_as(0, 0).await;
    let dir = root.root_nfs_fh3();
    let file = create(&mut root, &dir, "by-root").await;
    let attr = root.getattr(&GETATTR3args { object: file }).await.unwrap().unwrap();
    assert_eq!(attr.obj_attributes.uid, 4444);
    let mut user = gateway.mount_as(1000, 100).await;
    let file = create(&mut user, &dir, "by-user").await;
    let attr = user.getattr(&GETATTR3args { object: file.clone() }).await.unwrap().unwrap();
    assert_eq!((attr.obj_attributes.uid, attr.obj_attributes.gid), (1000, 100));

    policy.squash = Squash::AllSquash;
    gateway.exports.replace(vec![export(7, "share", &gateway.fs, policy)]);
    let file = create(&mut user, &dir, "by-nobody").await;
    let attr = user.getattr(&GETATTR3args { object: file }).await.unwrap().unwrap();
    assert_eq!(attr.obj_attributes.uid, 4444);
}

#[tokio::test]
async fn a_share_made_read_only_refuses_changes_at_once_and_still_serves_reads() {
    let gateway = Gateway::start().await;
    let mut client = gateway.mount().await;
    let root = client.root_nfs_fh3();
    let file = create(&mut client, &root, "f").await;
    write(&mut client, &file, 0, b"kept").await;
    let mut policy = open_policy();
    policy.read_only = true;
    gateway.exports.replace(vec![export(7, "share", &gateway.fs, policy)]);

    let how = createhow3::GUARDED(sattr3::default());
    let refused = client.create(&CREATE3args { where_: entry(&root, "g"), how }).await.unwrap();
    assert!(matches!(refused, Nfs3Result::Err((nfsstat3::NFS3ERR_ROFS, _))));
    let args = RENAME3args { from: entry(&root, "f"), to: entry(&root, "g") };
    let refused = client.rename(&args).await.unwrap();
    assert!(matches!(refused, Nfs3Result::Err((nfsstat3::NFS3ERR_ROFS, _))));
    assert_eq!(read(&mut client, &file, 0, 9).await, (b"kept".to_vec(), true));
    let granted = client.access(&ACCESS3args { object: file, access: 0x3f }).await.unwrap();
    assert_eq!(granted.unwrap().access, 1, "only READ");
}

#[tokio::test]
async fn peers_outside_of_every_client_list_are_disconnected() {
    let mut policy = open_policy();
    policy.clients = vec!["192.0.2.0/24".parse().unwrap()];
    let gateway = Gateway::with(policy, Limits::default()).await;
    let mut raw = Raw::connect(gateway.address).await;
    assert!(!raw.is_served().await);
}

#[tokio::test]
async fn a_client_taken_off_the_list_cannot_use_the_handles_it_holds() {
    let gateway = Gateway::start().await;
    let other = Arc::new(MemoryFs::new());
    let handle = mount(gateway.address, "/share").await.unwrap();
    let mut raw = Raw::connect(gateway.address).await;
    assert_eq!(getattr(&mut raw, &handle).await, 0);

    let mut policy = open_policy();
    policy.clients = vec!["192.0.2.0/24".parse().unwrap()];
    gateway.exports.replace(vec![
        export(7, "share", &gateway.fs, policy),
        export(8, "other", &other, open_policy()),
    ]);
    assert_eq!(getattr(&mut raw, &handle).await, nfsstat3::NFS3ERR_ACCES as u32);
    assert_eq!(mount(gateway.address, "/share").await, Err(13));
    mount(gateway.address, "/other").await.unwrap();

    gateway.exports.replace(vec![export(8, "other", &other, open_policy())]);
    assert_eq!(getattr(&mut raw, &handle).await, nfsstat3::NFS3ERR_STALE as u32);
}

#[tokio::test]
async fn a_privileged_port_is_asked_for_at_mount_and_at_every_call() {
    let gateway = Gateway::start().await;
    let handle = mount(gateway.address, "/share").await.unwrap();
    let mut policy = open_policy();
    policy.require_privileged_port = true;
    gateway.exports.replace(vec![export(7, "share", &gateway.fs, policy)]);
    assert_eq!(mount(gateway.address, "/share").await, Err(13));
    let mut raw = Raw::connect(gateway.address).await;
    assert_eq!(getattr(&mut raw, &handle).await, nfsstat3::NFS3ERR_ACCES as u32);

    // Binding such a port takes a privilege that the test may not have.
    let free = (800..1024u16).find_map(|port| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], port))).ok().map(|()| socket)
    });
    if let Some(socket) = free {
        let mut raw = Raw(socket.connect(gateway.address).await.unwrap());
        assert_eq!(getattr(&mut raw, &handle).await, 0);
    }
}

/// READ by a user with a group and supplementary groups.
fn read_as(file: &[u8], (uid, gid, groups): (u32, u32, &[u32])) -> Call {
    let count = u32::try_from(groups.len()).unwrap();
    let credential = [words(&[0, 0, uid, gid, count]), words(groups)].concat();
    let args = [opaque(file), words(&[0, 0, 8])].concat();
    Call { flavour: 1, credential, ..call(NFS, 6, args) }
}

#[tokio::test]
async fn supplementary_groups_open_what_is_open_to_the_group() {
    let gateway = Gateway::start().await;
    let mut owner = gateway.mount_as(1000, 50).await;
    let root = owner.root_nfs_fh3();
    let file = create(&mut owner, &root, "f").await;
    let new_attributes = sattr3 { mode: Nfs3Option::Some(0o640), ..sattr3::default() };
    let args = SETATTR3args { object: file.clone(), new_attributes, guard: Nfs3Option::None };
    owner.setattr(&args).await.unwrap().unwrap();
    let mut raw = Raw::connect(gateway.address).await;
    let sixteen: Vec<u32> = (35..=50).collect();
    let denied = nfsstat3::NFS3ERR_ACCES as u32;
    for (who, status) in [
        ((2000, 50, &[][..]), 0),
        ((2000, 200, &[7, 50]), 0),
        ((2000, 200, &sixteen), 0),
        ((2000, 200, &[7, 51]), denied),
        ((2000, 200, &[]), denied),
    ] {
        let reply = raw.ask(&read_as(file.data.as_ref(), who)).await.unwrap();
        assert_eq!(word(&reply, 6), status, "{who:?}");
    }
    // Under AllSquash nobody brings groups along.
    let mut policy = open_policy();
    policy.squash = Squash::AllSquash;
    gateway.exports.replace(vec![export(7, "share", &gateway.fs, policy)]);
    let reply = raw.ask(&read_as(file.data.as_ref(), (2000, 200, &[50]))).await.unwrap();
    assert_eq!(word(&reply, 6), denied);
}

#[tokio::test]
async fn a_handle_of_an_earlier_catalog_is_stale_and_one_of_another_gateway_is_bad() {
    let gateway = Gateway::start().await;
    let handle = mount(gateway.address, "/share").await.unwrap();
    let of = |key: u8, generation| {
        HandleCodec::new(&[key; 32], generation).encode(ShareId(7), gateway.fs.root())
    };
    let mut raw = Raw::connect(gateway.address).await;
    assert_eq!(handle, of(5, 1));
    assert_eq!(getattr(&mut raw, &of(5, 2)).await, nfsstat3::NFS3ERR_STALE as u32);
    assert_eq!(getattr(&mut raw, &of(6, 1)).await, nfsstat3::NFS3ERR_BADHANDLE as u32);
}

#[tokio::test]
async fn a_client_taken_off_every_list_is_disconnected_at_its_next_call() {
    let gateway = Gateway::start().await;
    let mut raw = Raw::connect(gateway.address).await;
    assert!(raw.is_served().await);
    let mut policy = open_policy();
    policy.clients = vec!["192.0.2.0/24".parse().unwrap()];
    gateway.exports.replace(vec![export(7, "share", &gateway.fs, policy)]);
    // Neither the shares' names nor that anything is here is told any more.
    raw.send(&call(MOUNT, 5, Vec::new()).record()).await;
    raw.closed().await;
}

#[tokio::test]
async fn altered_foreign_and_transplanted_handles_are_bad() {
    let gateway = Gateway::start().await;
    let other = Arc::new(MemoryFs::new());
    gateway.exports.replace(vec![
        export(7, "share", &gateway.fs, open_policy()),
        export(8, "other", &other, open_policy()),
    ]);
    let handle = mount(gateway.address, "/share").await.unwrap();
    let mut raw = Raw::connect(gateway.address).await;
    let bad = nfsstat3::NFS3ERR_BADHANDLE as u32;
    let mut transplanted = handle.clone();
    transplanted[7] = 8;
    let mut another_file = handle.clone();
    another_file[23] ^= 1;
    for forged in [transplanted, another_file, vec![0; 40], handle[..39].to_vec(), Vec::new()] {
        assert_eq!(getattr(&mut raw, &forged).await, bad, "{forged:?}");
    }
    assert_eq!(getattr(&mut raw, &handle).await, 0);
}

#[tokio::test]
async fn files_are_not_renamed_from_one_share_to_another() {
    let gateway = Gateway::start().await;
    let other = Arc::new(MemoryFs::new());
    gateway.exports.replace(vec![
        export(7, "share", &gateway.fs, open_policy()),
        export(8, "other", &other, open_policy()),
    ]);
    let mut client = gateway.mount().await;
    let root = client.root_nfs_fh3();
    create(&mut client, &root, "f").await;
    let mut there = root.clone();
    there.data = mount(gateway.address, "/other").await.unwrap().into();
    let args = RENAME3args { from: entry(&root, "f"), to: entry(&there, "f") };
    let Nfs3Result::Err((status, failure)) = client.rename(&args).await.unwrap() else {
        panic!("renamed across shares")
    };
    assert_eq!(status, nfsstat3::NFS3ERR_XDEV);
    assert!(failure.fromdir_wcc.after.is_some() && failure.todir_wcc.after.is_some());
}
