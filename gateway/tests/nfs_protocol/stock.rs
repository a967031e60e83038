//! nfsserve's stock listener over the same share: both servers must show the same files.
use std::sync::Arc;

use gateway::{nfs::stock::StockAdapter, vfs::Credentials};
use nfs3_client::{
    Nfs3ConnectionBuilder,
    nfs3_types::nfs3::{
        GETATTR3args, LOOKUP3args, MKDIR3args, Nfs3Result, REMOVE3args, nfsstat3, sattr3,
    },
    tokio::TokioConnector,
};
use nfsserve::tcp::{NFSTcp, NFSTcpListener};

use crate::{
    Client, Gateway, auth_sys, entry,
    procedures::{create, read, write},
};

async fn stock(gateway: &Gateway) -> Client {
    let credentials = Credentials { uid: 1000, gid: 100, groups: Vec::new() };
    let adapter = StockAdapter::new(Arc::clone(&gateway.fs) as _, credentials);
    let listener = NFSTcpListener::bind("127.0.0.1:0", adapter).await.unwrap();
    let port = listener.get_listen_port();
    tokio::spawn(async move { listener.handle_forever().await });
    mount_stock(port).await
}

/// Mounts what a stock listener serves.
pub(crate) async fn mount_stock(port: u16) -> Client {
    Nfs3ConnectionBuilder::new(TokioConnector, "127.0.0.1", "/")
        .connect_from_privileged_port(false)
        .mount_port(port)
        .nfs3_port(port)
        .credential(auth_sys(1000, 100))
        .mount()
        .await
        .unwrap()
}

/// What a server says of a path: attributes and content, or the status of its absence.
async fn seen(client: &mut Client, name: &str) -> Result<(String, Vec<u8>), nfsstat3> {
    let what = entry(&client.root_nfs_fh3(), name);
    match client.lookup(&LOOKUP3args { what }).await.unwrap() {
        Nfs3Result::Err((status, _)) => Err(status),
        Nfs3Result::Ok(found) => {
            let args = GETATTR3args { object: found.object.clone() };
            let mut attr = client.getattr(&args).await.unwrap().unwrap().obj_attributes;
            // Each server has its own.
            attr.fsid = 0;
            let content = if attr.size == 4096 {
                Vec::new()
            } else {
                read(client, &found.object, 0, 1 << 16).await.0
            };
            Ok((format!("{attr:?}"), content))
        }
    }
}

#[tokio::test]
async fn what_one_server_changes_the_other_shows() {
    let gateway = Gateway::start().await;
    let (mut ours, mut theirs) = (gateway.mount().await, stock(&gateway).await);
    let names = ["by-ours", "by-theirs", "dir", "none"];
    let (our_root, their_root) = (ours.root_nfs_fh3(), theirs.root_nfs_fh3());

    let file = create(&mut ours, &our_root, names[0]).await;
    write(&mut ours, &file, 10, b"ours").await;
    let file = create(&mut theirs, &their_root, names[1]).await;
    write(&mut theirs, &file, 0, b"theirs").await;
    let args = MKDIR3args { where_: entry(&their_root, "dir"), attributes: sattr3::default() };
    theirs.mkdir(&args).await.unwrap().unwrap();
    for name in names {
        assert_eq!(seen(&mut ours, name).await, seen(&mut theirs, name).await, "{name}");
    }
    assert!(seen(&mut ours, names[1]).await.is_ok());

    let args = REMOVE3args { object: entry(&our_root, names[1]) };
    ours.remove(&args).await.unwrap().unwrap();
    let args = REMOVE3args { object: entry(&their_root, names[0]) };
    theirs.remove(&args).await.unwrap().unwrap();
    for name in names {
        let seen_here = seen(&mut ours, name).await;
        assert_eq!(seen_here, seen(&mut theirs, name).await, "{name}");
        assert_eq!(seen_here.is_ok(), name == "dir");
    }
}
