//! IPv6, alone and with IPv4 on one socket.
use std::net::SocketAddr;

use gateway::nfs::Limits;
use nfs3_client::{Nfs3ConnectionBuilder, tokio::TokioConnector};

use crate::{
    Gateway, auth_sys, export, open_policy,
    procedures::{create, read, write},
    raw::{MOUNT, Raw, call, mount, opaque, words},
};

#[tokio::test]
async fn a_share_is_mounted_and_used_over_ipv6() {
    let mut policy = open_policy();
    policy.clients = vec!["::1".parse().unwrap()];
    let gateway = Gateway::on("[::1]:0", policy, Limits::default()).await;
    let mut client = Nfs3ConnectionBuilder::new(TokioConnector, "::1", "/share")
        .connect_from_privileged_port(false)
        .mount_port(gateway.address.port())
        .nfs3_port(gateway.address.port())
        .credential(auth_sys(1000, 100))
        .mount()
        .await
        .unwrap();
    let root = client.root_nfs_fh3();
    let file = create(&mut client, &root, "f").await;
    write(&mut client, &file, 0, b"six").await;
    assert_eq!(read(&mut client, &file, 0, 9).await, (b"six".to_vec(), true));
    let mut raw = Raw::connect(gateway.address).await;
    let mounted = [words(&[1, 1, 0, 0, 0, 0, 1]), opaque(b"::1"), opaque(b"/share"), words(&[0])];
    assert_eq!(raw.ask(&call(MOUNT, 2, Vec::new())).await.unwrap(), mounted.concat());
}

#[tokio::test]
async fn ipv6_networks_are_listed_like_others() {
    let gateway = Gateway::on("[::1]:0", open_policy(), Limits::default()).await;
    for (listed, served) in [("::/127", true), ("::/128", false), ("127.0.0.0/8", false)] {
        let mut policy = open_policy();
        policy.clients = vec![listed.parse().unwrap()];
        gateway.exports.replace(vec![export(7, "share", &gateway.fs, policy)]);
        assert_eq!(mount(gateway.address, "/share").await.is_ok(), served, "{listed}");
    }
}

/// The appliance's socket takes both; an IPv4 client must be known by its IPv4 address.
#[tokio::test]
async fn an_ipv4_client_of_an_ipv6_socket_is_an_ipv4_client() {
    let mut policy = open_policy();
    policy.clients = vec!["127.0.0.0/8".parse().unwrap()];
    let gateway = Gateway::on("[::]:0", policy, Limits::default()).await;
    let address = SocketAddr::from(([127, 0, 0, 1], gateway.address.port()));
    mount(address, "/share").await.unwrap();
    let mut raw = Raw::connect(address).await;
    let host = opaque(b"127.0.0.1");
    let mounted = [words(&[1, 1, 0, 0, 0, 0, 1]), host, opaque(b"/share"), words(&[0])];
    assert_eq!(raw.ask(&call(MOUNT, 2, Vec::new())).await.unwrap(), mounted.concat());
    let six = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], gateway.address.port()));
    assert!(!Raw::connect(six).await.is_served().await, "not listed");
}
