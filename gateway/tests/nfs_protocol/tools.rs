//! Programs that others wrote, as clients: `showmount` and `rpcinfo` here, libnfs's in `libnfs`.
use std::{
    path::Path,
    process::{Command, Output},
    sync::Arc,
};

use gateway::nfs::{Limits, PORTMAP_PORT, testing::MemoryFs};
use tokio::net::{TcpListener, UdpSocket};

use crate::{Gateway, export, open_policy};

/// Whether the program is there.
pub(crate) fn is_installed(file: &str) -> bool {
    Path::new(file).exists()
}

/// What a program says, which must succeed.
pub(crate) fn run(program: &str, args: &[&str]) -> Vec<u8> {
    let Output { status, stdout, stderr } = Command::new(program).args(args).output().unwrap();
    assert!(status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&stderr));
    stdout
}

/// Of its own where it may be, as these programs ask port 111 only.
const ADDRESSES: [&str; 2] = ["127.0.0.111", "::1"];

#[tokio::test(flavor = "multi_thread")]
async fn showmount_and_rpcinfo_show_what_is_served_and_where() {
    if !is_installed("/usr/sbin/showmount") || !is_installed("/usr/sbin/rpcinfo") {
        eprintln!("skipped: showmount (nfs-common) or rpcinfo (rpcbind) is not installed");
        return;
    }
    for address in ADDRESSES {
        show(address).await;
    }
}

async fn show(address: &'static str) {
    let tcp = match TcpListener::bind((address, PORTMAP_PORT)).await {
        Ok(tcp) => tcp,
        // The appliance's story in a virtual machine asks it all the same.
        Err(error) => {
            eprintln!("skipped: port {PORTMAP_PORT} of {address} cannot be had: {error}");
            return;
        }
    };
    let udp = UdpSocket::bind((address, PORTMAP_PORT)).await.unwrap();
    let six = address.contains(':');
    let listen = if six { format!("[{address}]:0") } else { format!("{address}:0") };
    let gateway = Gateway::on(&listen, open_policy(), Limits::default()).await;
    let mut policy = open_policy();
    policy.clients = vec!["127.0.0.0/8".parse().unwrap(), "192.0.2.7".parse().unwrap()];
    let other = Arc::new(MemoryFs::new());
    gateway.exports.replace(vec![
        export(7, "share", &gateway.fs, open_policy()),
        export(8, "other", &other, policy),
    ]);
    let port = gateway.address.port();
    let (server, stop) = (gateway.server.clone(), gateway.stop.clone());
    tokio::spawn(async move { server.serve_portmap_tcp(tcp, port, stop).await });
    let (server, stop) = (gateway.server.clone(), gateway.stop.clone());
    tokio::spawn(async move { server.serve_portmap_udp(udp, port, stop).await });
    tokio::task::spawn_blocking(move || {
        let said = |program: &str, args: &[&str]| {
            let text = String::from_utf8(run(program, args)).unwrap();
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let exports = said("/usr/sbin/showmount", &["--no-headers", "-e", address]);
        assert_eq!(exports, "/share 0.0.0.0/0,::/0 /other 127.0.0.0/8,192.0.2.7/32");
        let programs = said("/usr/sbin/rpcinfo", &["-p", address]);
        for line in [
            "100000 2 tcp 111 portmapper".to_owned(),
            "100000 2 udp 111 portmapper".to_owned(),
            format!("100003 3 tcp {port} nfs"),
            format!("100005 3 tcp {port} mountd"),
        ] {
            assert!(programs.contains(&line), "{line} in {programs}");
        }
        let transport = if six { "tcp6" } else { "tcp" };
        for program in ["nfs", "mountd"] {
            let answer = said("/usr/sbin/rpcinfo", &["-T", transport, address, program, "3"]);
            assert!(answer.ends_with("version 3 ready and waiting"), "{answer}");
        }
    })
    .await
    .unwrap();
}
