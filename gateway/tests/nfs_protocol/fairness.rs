//! A greedy client and the others: told by counting calls and by the order of replies.
use gateway::nfs::Limits;

use crate::{
    Gateway, open_policy,
    procedures::create,
    raw::{Call, NFS, Raw, call, opaque, word, words},
};

/// READ of one byte.
fn read(file: &[u8], xid: u32) -> Call {
    Call { xid, ..call(NFS, 6, [opaque(file), words(&[0, 0, 1])].concat()) }
}

async fn gateway_with_file(limits: Limits) -> (Gateway, Vec<u8>) {
    let gateway = Gateway::with(open_policy(), limits).await;
    let mut client = gateway.mount().await;
    let root = client.root_nfs_fh3();
    let file = create(&mut client, &root, "f").await.data.to_vec();
    (gateway, file)
}

/// Goal: a client whose calls all wait, over many connections, leaves the others' calls their places.
/// Method: nothing gets through the file system; the calls that have come as far are counted.
#[tokio::test]
async fn a_client_whose_calls_all_wait_keeps_nobody_else_waiting() {
    let limits = Limits {
        connections_per_peer_max: 4,
        calls_per_connection_max: 8,
        calls_per_peer_max: 8,
        ..Limits::default()
    };
    let (gateway, file) = gateway_with_file(limits).await;
    gateway.fs.close_gate();
    let mut greedy = Vec::new();
    for _ in 0..3 {
        let mut raw = Raw::connect(gateway.address).await;
        raw.send(&read(&file, 1).record().repeat(50)).await;
        greedy.push(raw);
    }
    while gateway.fs.arrived() < 8 {
        tokio::task::yield_now().await;
    }
    let mut other = Raw::connect_from([127, 0, 0, 2].into(), gateway.address).await;
    for _ in 0..100 {
        let getattr = Call { xid: 7, ..call(NFS, 1, opaque(&file)) };
        assert_eq!(word(&other.ask(&getattr).await.unwrap(), 6), 0);
    }
    assert_eq!(gateway.fs.arrived(), 8, "as many as one client may have waiting");
    other.send(&read(&file, 9).record()).await;
    while gateway.fs.arrived() < 9 {
        tokio::task::yield_now().await;
    }
    gateway.fs.open_gate();
    assert_eq!(word(&other.reply().await.unwrap(), 0), 9);
    for raw in &mut greedy {
        for _ in 0..50 {
            raw.reply().await.unwrap();
        }
    }
}

/// Goal: calls that never wait do not keep the processor from the others'. Method: one client keeps
/// tens of thousands of calls in its pipeline; while another waits for one reply, only so many of
/// them are executed.
#[tokio::test]
async fn a_client_with_a_full_pipeline_gives_others_their_turn() {
    /// A connection's turn is at most the calls in its read buffer (64 KiB) and, there being two
    /// threads' worth of tasks on this one, a few turns go by until the other's is reached.
    const CALLS_PER_ANSWER_MAX: u64 = 8 * 64 * 1024 / 100;
    const GREEDY_CALLS: usize = 50_000;
    let (gateway, file) = gateway_with_file(Limits::default()).await;
    let greedy = Raw::connect(gateway.address).await.0;
    let (mut replies, mut calls) = greedy.into_split();
    let record = read(&file, 1).record();
    let sending = tokio::spawn(async move {
        let records = record.repeat(GREEDY_CALLS);
        tokio::io::AsyncWriteExt::write_all(&mut calls, &records).await.unwrap();
        calls
    });
    let reading = tokio::spawn(async move {
        tokio::io::copy(&mut replies, &mut tokio::io::sink()).await.unwrap();
    });
    while gateway.fs.arrived() < 1000 {
        tokio::task::yield_now().await;
    }
    let mut other = Raw::connect_from([127, 0, 0, 2].into(), gateway.address).await;
    let mut answers = 0;
    while gateway.fs.arrived() < GREEDY_CALLS as u64 / 2 {
        let before = gateway.fs.arrived();
        other.ask(&Call { xid: 7, ..call(NFS, 1, opaque(&file)) }).await.unwrap();
        let meanwhile = gateway.fs.arrived() - before;
        assert!(meanwhile <= CALLS_PER_ANSWER_MAX, "{meanwhile} calls during one of the other's");
        answers += 1;
    }
    assert!(answers > 10, "{answers} answers");
    drop(sending.await.unwrap());
    reading.await.unwrap();
}
