//! What no honest client sends. In each case the peer gets what the RFC says or is disconnected,
//! and everybody else is served as before.
use std::time::Duration;

use gateway::nfs::Limits;
use nix::sys::socket::{setsockopt, sockopt};

use crate::{
    Gateway, open_policy,
    procedures::{create, write},
    raw::{Call, MOUNT, NFS, PORTMAP, Raw, call, mount, opaque, words},
};

const IO_BYTES: u32 = 1 << 20;

/// Resident bytes of this process.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn a_two_gigabyte_record_mark_disconnects_and_holds_no_memory() {
    let gateway = Gateway::start().await;
    let before = resident_bytes();
    for mark in [0x7fff_ffff_u32, 0xffff_ffff, 0x8020_0000] {
        let mut raw = Raw::connect(gateway.address).await;
        raw.send(&mark.to_be_bytes()).await;
        raw.closed().await;
    }
    // Other tests of this process run beside this one; the marks would have been 2 GiB each.
    assert!(resident_bytes() < before + (1 << 30));
    assert!(Raw::connect(gateway.address).await.is_served().await);
}

#[tokio::test]
async fn opaque_lengths_beyond_the_record_are_garbage_arguments_and_hold_no_memory() {
    let gateway = Gateway::start().await;
    let root = mount(gateway.address, "/share").await.unwrap();
    let before = resident_bytes();
    let mut raw = Raw::connect(gateway.address).await;
    let huge = words(&[0xffff_fff0]);
    let name = [opaque(&root), huge.clone()].concat();
    let write = [opaque(&root), words(&[0, 0, 5, 0, 0xffff_ffff])].concat();
    for call in [
        call(NFS, 1, huge.clone()),
        call(NFS, 3, name),
        call(NFS, 7, write),
        call(MOUNT, 1, huge.clone()),
        call(PORTMAP, 3, words(&[1, 2, 3])),
        // Bytes after the last argument, or after none.
        call(NFS, 1, [opaque(&root), words(&[0])].concat()),
        call(MOUNT, 2, words(&[0])),
        call(MOUNT, 4, words(&[0])),
        call(MOUNT, 5, words(&[0])),
        call(PORTMAP, 4, words(&[0])),
        // A handle of 65 bytes; a flag that is no boolean; an unknown stable_how.
        call(NFS, 1, opaque(&[0; 65])),
        call(NFS, 2, [opaque(&root), words(&[7, 0, 0, 0, 0, 0, 0])].concat()),
        call(NFS, 7, [opaque(&root), words(&[0, 0, 0, 3, 0])].concat()),
    ] {
        assert_eq!(raw.ask_words(&call).await, [1, 0, 0, 0, 4], "{call:?}");
    }
    assert!(resident_bytes() < before + (1 << 30));
}

#[tokio::test]
async fn unknown_programs_versions_and_procedures_are_told_so() {
    let gateway = Gateway::start().await;
    let mut raw = Raw::connect(gateway.address).await;
    assert_eq!(raw.ask_words(&call(100_021, 0, Vec::new())).await, [1, 0, 0, 0, 1]);
    for (program, low, high) in [(NFS, 3, 3), (MOUNT, 3, 3), (PORTMAP, 2, 4)] {
        let other = Call { version: 5, ..call(program, 0, Vec::new()) };
        assert_eq!(raw.ask_words(&other).await, [1, 0, 0, 0, 2, low, high]);
        let beyond = call(program, 22, Vec::new());
        assert_eq!(raw.ask_words(&beyond).await, [1, 0, 0, 0, 3]);
        assert_eq!(raw.ask_words(&call(program, 0, Vec::new())).await, [1, 0, 0, 0, 0]);
    }
    let rpc_three = Call { rpc_version: 3, ..call(NFS, 0, Vec::new()) };
    assert_eq!(raw.ask_words(&rpc_three).await, [1, 1, 0, 2, 2]);
}

#[tokio::test]
async fn credentials_that_are_not_served_are_told_so_except_for_null() {
    let gateway = Gateway::start().await;
    let root = mount(gateway.address, "/share").await.unwrap();
    let mut raw = Raw::connect(gateway.address).await;
    for flavour in [2, 3, 6, 7, 390_003] {
        let with = |call: Call| Call { flavour, ..call };
        let reply = raw.ask_words(&with(call(NFS, 1, opaque(&root)))).await;
        assert_eq!(reply, [1, 1, 1, 5], "flavour {flavour}: AUTH_TOOWEAK");
        let reply = raw.ask_words(&with(call(NFS, 0, Vec::new()))).await;
        assert_eq!(reply, [1, 0, 0, 0, 0], "flavour {flavour}: NULL");
    }
    let mut groups = vec![0, 0, 0, 0, 17];
    groups.extend([1; 17]);
    for credential in [words(&groups), words(&[1, 2]), vec![0; 404]] {
        let bad = Call { flavour: 1, credential, ..call(NFS, 1, opaque(&root)) };
        assert_eq!(raw.ask_words(&bad).await, [1, 1, 1, 1], "AUTH_BADCRED");
    }
}

#[tokio::test]
async fn records_that_are_no_calls_disconnect() {
    let gateway = Gateway::start().await;
    for record in [words(&[0x8000_0008, 1, 1]), words(&[0x8000_0000]), words(&[0x8000_0004, 1])] {
        let mut raw = Raw::connect(gateway.address).await;
        raw.send(&record).await;
        raw.closed().await;
    }
}

#[tokio::test]
async fn a_call_in_fragments_is_one_call_and_in_too_many_is_none() {
    let gateway = Gateway::start().await;
    let record = call(NFS, 0, Vec::new()).record();
    let mut raw = Raw::connect(gateway.address).await;
    let fragments = |size: usize| {
        let parts: Vec<_> = record[4..].chunks(size).collect();
        let mut out = Vec::new();
        for (i, part) in parts.iter().enumerate() {
            let last = u32::from(i + 1 == parts.len()) << 31;
            out.extend(words(&[u32::try_from(part.len()).unwrap() | last]));
            out.extend(*part);
        }
        out
    };
    raw.send(&fragments(4)).await;
    assert!(raw.reply().await.is_some());
    raw.send(&fragments(1)).await;
    raw.closed().await;
}

/// Goal: replies nobody reads are bounded in memory and do not hold up others. Method: 3,000
/// pipelined READs of 1 MiB, none of whose replies is taken; how many READs came as far as the
/// file system tells how many the server has let itself in for.
#[tokio::test]
async fn pipelined_reads_whose_replies_are_not_taken_stop_being_read() {
    let limits = Limits::default();
    let gateway = Gateway::with(open_policy(), limits).await;
    let mut client = gateway.mount().await;
    let root = client.root_nfs_fh3();
    let file = create(&mut client, &root, "big").await;
    write(&mut client, &file, 0, &vec![1; IO_BYTES as usize]).await;

    let mut raw = Raw::connect(gateway.address).await;
    let args = [opaque(file.data.as_ref()), words(&[0, 0, IO_BYTES])].concat();
    let reads = call(NFS, 6, args).record().repeat(3000);
    raw.send(&reads).await;
    // As many READs are begun as the connection may hold, and as many again as the kernel's
    // buffers of a connection take: those have been written and no longer count.
    let most = limits.bytes_per_connection_max as u64 / u64::from(IO_BYTES);
    let in_sockets = 16;
    while gateway.fs.arrived() < most {
        tokio::task::yield_now().await;
    }
    // Time enough for the others of the 3,000 to be begun, if they were.
    for _ in 0..100 {
        assert!(Raw::connect(gateway.address).await.is_served().await);
    }
    assert!(gateway.fs.arrived() <= most + in_sockets, "{} READs begun", gateway.fs.arrived());
    let (back, _) = crate::procedures::read(&mut client, &file, 0, IO_BYTES).await;
    assert_eq!(back.len(), IO_BYTES as usize);
}

#[tokio::test]
async fn calls_in_execution_are_bounded_per_connection() {
    let limits = Limits { calls_per_connection_max: 4, ..Limits::default() };
    let gateway = Gateway::with(open_policy(), limits).await;
    let mut client = gateway.mount().await;
    let root = client.root_nfs_fh3();
    let file = create(&mut client, &root, "f").await;
    gateway.fs.close_gate();
    let mut raw = Raw::connect(gateway.address).await;
    let args = [opaque(file.data.as_ref()), words(&[0, 0, 1])].concat();
    raw.send(&call(NFS, 6, args).record().repeat(20)).await;
    while gateway.fs.arrived() < 4 {
        tokio::task::yield_now().await;
    }
    // Another connection's calls go on meanwhile, and take long enough for a fifth to show.
    for _ in 0..100 {
        assert!(Raw::connect(gateway.address).await.is_served().await);
    }
    assert_eq!(gateway.fs.arrived(), 4);
    gateway.fs.open_gate();
    for _ in 0..20 {
        raw.reply().await.unwrap();
    }
}

#[tokio::test]
async fn connections_reset_in_the_accept_queue_do_no_harm() {
    let gateway = Gateway::start().await;
    for _ in 0..200 {
        let raw = Raw::connect(gateway.address).await;
        // Closing with linger 0 sends RST.
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&raw.0, sockopt::Linger, &linger).unwrap();
    }
    assert!(Raw::connect(gateway.address).await.is_served().await);
}

#[tokio::test]
async fn silent_and_slow_peers_are_disconnected_and_idle_ones_are_not() {
    let limits = Limits {
        first_record_timeout: Duration::from_millis(200),
        partial_record_timeout: Duration::from_millis(200),
        idle_after: Duration::ZERO,
        ..Limits::default()
    };
    let gateway = Gateway::with(open_policy(), limits).await;
    let mut idle = Raw::connect(gateway.address).await;
    assert!(idle.is_served().await);

    let mut silent = Raw::connect(gateway.address).await;
    silent.closed().await;
    let mut slow_first = Raw::connect(gateway.address).await;
    slow_first.send(&[0x80]).await;
    slow_first.closed().await;
    let mut slow_later = Raw::connect(gateway.address).await;
    assert!(slow_later.is_served().await);
    slow_later.send(&words(&[0x8000_0100, 1, 0, 2])).await;
    slow_later.closed().await;
    assert!(idle.is_served().await);
}

#[tokio::test]
async fn idle_connections_give_way_when_slots_are_scarce() {
    let limits = Limits { connections_max: 2, idle_after: Duration::ZERO, ..Limits::default() };
    let gateway = Gateway::with(open_policy(), limits).await;
    let mut first = Raw::connect(gateway.address).await;
    assert!(first.is_served().await);
    let mut second = Raw::connect(gateway.address).await;
    assert!(second.is_served().await);
    // The server finds a connection idle a moment after it has answered on it.
    let other = [127, 0, 0, 2].into();
    while !Raw::connect_from(other, gateway.address).await.is_served().await {
        tokio::task::yield_now().await;
    }
    first.closed().await;
    assert!(second.is_served().await);
}

#[tokio::test]
async fn connections_of_one_address_are_capped_and_come_back() {
    let limits = Limits { connections_per_peer_max: 3, ..Limits::default() };
    let gateway = Gateway::with(open_policy(), limits).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut raw = Raw::connect(gateway.address).await;
        assert!(raw.is_served().await);
        held.push(raw);
    }
    assert!(!Raw::connect(gateway.address).await.is_served().await);
    held.pop();
    // The server notices the end of the connection in its own time.
    while !Raw::connect(gateway.address).await.is_served().await {
        tokio::task::yield_now().await;
    }
}
