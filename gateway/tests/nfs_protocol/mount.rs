//! MOUNT v3 and the portmapper.
use std::{net::SocketAddr, sync::Arc};

use gateway::nfs::testing::MemoryFs;
use nfs3_client::nfs3_types::nfs3::{MKDIR3args, sattr3};
use tokio::net::{TcpListener, UdpSocket};

use crate::{
    Gateway, entry, export, open_policy,
    procedures::create,
    raw::{Call, MOUNT, NFS, PORTMAP, Raw, call, mount, opaque, word, words},
};

const TCP: u32 = 6;
const UDP: u32 = 17;

#[tokio::test]
async fn shares_and_their_directories_are_mounted_and_nothing_else() {
    let gateway = Gateway::start().await;
    let mut client = gateway.mount().await;
    let root = client.root_nfs_fh3();
    create(&mut client, &root, "file").await;
    let args = MKDIR3args { where_: entry(&root, "dir"), attributes: sattr3::default() };
    let dir = client.mkdir(&args).await.unwrap().unwrap().obj.unwrap();

    for path in ["/share", "/share/", "share"] {
        assert_eq!(mount(gateway.address, path).await.unwrap(), root.data.as_ref(), "{path}");
    }
    assert_eq!(mount(gateway.address, "/share/dir").await.unwrap(), dir.data.as_ref());
    for (path, status) in [
        ("/", 2),
        ("", 2),
        ("/sharex", 2),
        ("/shar", 2),
        ("/share/none", 2),
        ("/share/file", 20),
        ("/share/../share", 22),
    ] {
        assert_eq!(mount(gateway.address, path).await, Err(status), "{path}");
    }
    let too_long = format!("/share/{}", "n".repeat(256));
    assert_eq!(mount(gateway.address, &too_long).await, Err(63));
}

#[tokio::test]
async fn mnt_names_auth_sys_as_the_way_to_call() {
    let gateway = Gateway::start().await;
    let mut raw = Raw::connect(gateway.address).await;
    let reply = raw.ask_words(&call(MOUNT, 1, opaque(b"/share"))).await;
    assert_eq!(reply[reply.len() - 2..], [1, 1]);
}

#[tokio::test]
async fn dump_knows_the_mounts_until_they_are_unmounted() {
    let gateway = Gateway::start().await;
    let other = Arc::new(MemoryFs::new());
    gateway.exports.replace(vec![
        export(7, "share", &gateway.fs, open_policy()),
        export(8, "other", &other, open_policy()),
    ]);
    mount(gateway.address, "/share").await.unwrap();
    mount(gateway.address, "/other").await.unwrap();
    let mut raw = Raw::connect(gateway.address).await;
    let header = words(&[1, 1, 0, 0, 0, 0]);
    let mounted = |path: &[u8]| [words(&[1]), opaque(b"127.0.0.1"), opaque(path)].concat();
    let both = [header.clone(), mounted(b"/other"), mounted(b"/share"), words(&[0])].concat();
    assert_eq!(raw.ask(&call(MOUNT, 2, Vec::new())).await.unwrap(), both);
    assert_eq!(raw.ask(&call(MOUNT, 3, opaque(b"/other"))).await.unwrap(), header);
    let one = [header.clone(), mounted(b"/share"), words(&[0])].concat();
    assert_eq!(raw.ask(&call(MOUNT, 2, Vec::new())).await.unwrap(), one);
    assert_eq!(raw.ask(&call(MOUNT, 4, Vec::new())).await.unwrap(), header);
    let none = [header, words(&[0])].concat();
    assert_eq!(raw.ask(&call(MOUNT, 2, Vec::new())).await.unwrap(), none);
}

#[tokio::test]
async fn a_directory_mounted_under_many_spellings_is_one_mount() {
    let gateway = Gateway::start().await;
    for path in ["/share", "share", "/share/", "//share///"] {
        mount(gateway.address, path).await.unwrap();
    }
    let mut raw = Raw::connect(gateway.address).await;
    let header = words(&[1, 1, 0, 0, 0, 0]);
    let mounted = [words(&[1]), opaque(b"127.0.0.1"), opaque(b"/share")].concat();
    let one = [header.clone(), mounted, words(&[0])].concat();
    assert_eq!(raw.ask(&call(MOUNT, 2, Vec::new())).await.unwrap(), one);
    assert_eq!(raw.ask(&call(MOUNT, 3, opaque(b"share//"))).await.unwrap(), header);
    let none = [header, words(&[0])].concat();
    assert_eq!(raw.ask(&call(MOUNT, 2, Vec::new())).await.unwrap(), none);
}

#[tokio::test]
async fn export_lists_the_shares_with_their_clients() {
    let gateway = Gateway::start().await;
    let mut policy = open_policy();
    policy.clients = vec!["127.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    gateway.exports.replace(vec![export(7, "share", &gateway.fs, policy)]);
    let mut raw = Raw::connect(gateway.address).await;
    let expected = [
        words(&[1, 1, 0, 0, 0, 0, 1]),
        opaque(b"/share"),
        words(&[1]),
        opaque(b"127.0.0.0/8"),
        words(&[1]),
        opaque(b"2001:db8::/32"),
        words(&[0, 0]),
    ];
    assert_eq!(raw.ask(&call(MOUNT, 5, Vec::new())).await.unwrap(), expected.concat());
}

#[tokio::test]
async fn the_portmapper_tells_where_nfs_and_mount_are_and_registers_nothing() {
    let gateway = Gateway::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (server, stop) = (gateway.server.clone(), gateway.stop.clone());
    tokio::spawn(async move { server.serve_portmap_tcp(listener, 2049, stop).await });

    let own = u32::from(gateway.address.port());
    for (address, nfs_port) in [(address, 2049), (gateway.address, own)] {
        let mut raw = Raw::connect(address).await;
        for (asked, port) in [
            ([NFS, 3, TCP, 0], nfs_port),
            ([MOUNT, 3, TCP, 0], nfs_port),
            ([NFS, 4, TCP, 0], 0),
            ([MOUNT, 1, TCP, 0], 0),
            ([NFS, 3, UDP, 0], 0),
            ([PORTMAP, 2, UDP, 0], 111),
            ([100_021, 4, TCP, 0], 0),
        ] {
            let reply = raw.ask_words(&call(PORTMAP, 3, words(&asked))).await;
            assert_eq!(reply, [1, 0, 0, 0, 0, port], "{asked:?}");
        }
        let set = raw.ask_words(&call(PORTMAP, 1, words(&[NFS, 3, TCP, 9999]))).await;
        assert_eq!(set, [1, 0, 0, 0, 0, 0]);
        let dump = raw.ask_words(&call(PORTMAP, 4, Vec::new())).await;
        assert_eq!(dump.len(), 5 + 4 * 5 + 1);
        let callit = raw.ask_words(&call(PORTMAP, 5, words(&[NFS, 3, 0, 0]))).await;
        assert_eq!(callit, [1, 0, 0, 0, 3], "PROC_UNAVAIL");
    }
}

/// Clients find a server by IPv6 with rpcbind's GETADDR only.
#[tokio::test]
async fn rpcbind_tells_addresses_as_the_client_knows_the_host() {
    let gateway = Gateway::start().await;
    let port = gateway.address.port();
    let (high, low) = (port >> 8, port & 0xff);
    let mut raw = Raw::connect(gateway.address).await;
    for (program, version, netid, hint, host) in [
        (NFS, 3, "tcp", "192.0.2.1.0.111", "192.0.2.1"),
        (MOUNT, 3, "tcp6", "2001:db8::7.0.111", "2001:db8::7"),
        (NFS, 3, "tcp6", "", "::"),
        (NFS, 3, "tcp", "no address at all", "0.0.0.0"),
        (NFS, 3, "tcp", "2001:db8::7.0.111", "0.0.0.0"),
        (NFS, 3, "udp", "192.0.2.1.0.111", ""),
        (NFS, 4, "tcp", "192.0.2.1.0.111", ""),
        (100_021, 4, "tcp", "192.0.2.1.0.111", ""),
        (NFS, 3, "local", "/run/rpcbind.sock", ""),
    ] {
        let strings = [opaque(netid.as_bytes()), opaque(hint.as_bytes()), opaque(b"")].concat();
        let asked = [words(&[program, version]), strings].concat();
        let expected = if host.is_empty() { String::new() } else { format!("{host}.{high}.{low}") };
        for rpcbind in [3, 4] {
            let call = Call { version: rpcbind, ..call(PORTMAP, 3, asked.clone()) };
            let reply = raw.ask(&call).await.unwrap();
            assert_eq!(reply[24..], opaque(expected.as_bytes()), "{program} {netid} {hint}");
        }
    }
    // GETVERSADDR is version 4's alone.
    let absent = [(4, 1), (4, 2), (4, 4), (4, 5), (4, 10), (3, 9)];
    for (version, procedure) in absent {
        let call = Call { version, ..call(PORTMAP, procedure, Vec::new()) };
        assert_eq!(raw.ask_words(&call).await, [1, 0, 0, 0, 3], "PROC_UNAVAIL");
    }
}

#[tokio::test]
async fn the_portmapper_answers_over_udp_and_nothing_else_does() {
    let gateway = Gateway::start().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = socket.local_addr().unwrap();
    let (server, stop) = (gateway.server.clone(), gateway.stop.clone());
    tokio::spawn(async move { server.serve_portmap_udp(socket, 2049, stop).await });

    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(address).await.unwrap();
    // Not a call: no answer, and the next is answered all the same.
    client.send(b"noise").await.unwrap();
    let mut answers = Vec::new();
    for call in [
        call(PORTMAP, 0, Vec::new()),
        call(PORTMAP, 3, words(&[NFS, 3, TCP, 0])),
        call(NFS, 0, Vec::new()),
    ] {
        client.send(&call.record()[4..]).await.unwrap();
        let mut answer = [0; 512];
        let len = client.recv(&mut answer).await.unwrap();
        answers.push((0..len / 4).map(|at| word(&answer, at)).collect::<Vec<_>>());
    }
    assert_eq!(answers[0], [1, 1, 0, 0, 0, 0]);
    assert_eq!(answers[1], [1, 1, 0, 0, 0, 0, 2049]);
    assert_eq!(answers[2], [1, 1, 0, 0, 0, 1], "PROG_UNAVAIL");
}
