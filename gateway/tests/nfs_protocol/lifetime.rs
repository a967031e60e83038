//! Stopping.
use std::time::Duration;

use gateway::nfs::Limits;
use tokio::net::TcpStream;

use crate::{
    Gateway, open_policy,
    procedures::create,
    raw::{NFS, Raw, call, opaque, word, words},
};

#[tokio::test]
async fn a_stop_finishes_the_calls_in_execution_and_closes_everything() {
    let gateway = Gateway::start().await;
    let mut client = gateway.mount().await;
    let root = client.root_nfs_fh3();
    let file = create(&mut client, &root, "f").await;
    gateway.fs.close_gate();
    let mut raw = Raw::connect(gateway.address).await;
    let args = [opaque(file.data.as_ref()), words(&[0, 0, 1])].concat();
    raw.send(&call(NFS, 6, args).record()).await;
    while gateway.fs.arrived() == 0 {
        tokio::task::yield_now().await;
    }
    let mut idle = Raw::connect(gateway.address).await;
    assert!(idle.is_served().await);
    gateway.stop.cancel();
    idle.closed().await;
    assert!(TcpStream::connect(gateway.address).await.is_err(), "no new connections");
    gateway.fs.open_gate();
    assert_eq!(word(&raw.reply().await.unwrap(), 6), 0);
    raw.closed().await;
    gateway.serving.await.unwrap();
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let limits = Limits { drain_timeout: Duration::from_millis(50), ..Limits::default() };
    let gateway = Gateway::with(open_policy(), limits).await;
    let mut client = gateway.mount().await;
    let root = client.root_nfs_fh3();
    let file = create(&mut client, &root, "f").await;
    gateway.fs.close_gate();
    let mut raw = Raw::connect(gateway.address).await;
    let args = [opaque(file.data.as_ref()), words(&[0, 0, 1])].concat();
    raw.send(&call(NFS, 6, args).record()).await;
    while gateway.fs.arrived() == 0 {
        tokio::task::yield_now().await;
    }
    gateway.stop.cancel();
    gateway.serving.await.unwrap();
}
