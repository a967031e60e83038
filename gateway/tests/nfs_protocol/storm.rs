//! A storm of repetitions: every call that must not be made twice, sent three times, over two
//! connections, all at once.
use std::collections::BTreeMap;

use crate::{
    Gateway,
    raw::{Call, NFS, Raw, call, mount, opaque, word, words},
};

/// sattr3 that sets nothing.
const NOTHING: [u32; 6] = [0; 6];
/// sattr3 that sets the mode to 0600.
const MODE: [u32; 7] = [1, 0o600, 0, 0, 0, 0, 0];
const ROUNDS: u32 = 500;
/// One call of each procedure in each round.
const CALLS: u32 = 7;

fn named(dir: &[u8], name: &str) -> Vec<u8> {
    [opaque(dir), opaque(name.as_bytes())].concat()
}

async fn asked(raw: &mut Raw, procedure: u32, args: Vec<u8>) -> Vec<u8> {
    let reply = raw.ask(&call(NFS, procedure, args)).await.unwrap();
    assert_eq!(word(&reply, 6), 0, "procedure {procedure}");
    reply
}

/// The handle in a reply to LOOKUP.
async fn lookup(raw: &mut Raw, root: &[u8], name: &str) -> Vec<u8> {
    asked(raw, 3, named(root, name)).await[32..72].to_vec()
}

/// What the calls of a round need: something to remove, to rename, and to guard by its ctime.
async fn prepare(raw: &mut Raw, root: &[u8], round: u32) -> (Vec<u8>, [u32; 2]) {
    let guarded = [words(&[1]), words(&NOTHING)].concat();
    for name in ["gone", "from", "guarded"] {
        let args = [named(root, &format!("{name}{round}")), guarded.clone()].concat();
        asked(raw, 8, args).await;
    }
    asked(raw, 9, [named(root, &format!("empty{round}")), words(&NOTHING)].concat()).await;
    let handle = lookup(raw, root, &format!("guarded{round}")).await;
    let attr = asked(raw, 1, opaque(&handle)).await;
    // ctime is the last of fattr3's words.
    (handle, [word(&attr, 7 + 19), word(&attr, 7 + 20)])
}

fn calls(root: &[u8], round: u32, (handle, ctime): (Vec<u8>, [u32; 2])) -> Vec<Call> {
    let name = |name: &str| named(root, &format!("{name}{round}"));
    let guard = [words(&[1]), words(&ctime)].concat();
    let link = [name("link"), words(&NOTHING), opaque(b"target")].concat();
    [
        (2, [opaque(&handle), words(&MODE), guard].concat()),
        (8, [name("made"), words(&[1]), words(&NOTHING)].concat()),
        (9, [name("dir"), words(&NOTHING)].concat()),
        (10, link),
        (12, name("gone")),
        (13, name("empty")),
        (14, [name("from"), name("to")].concat()),
    ]
    .into_iter()
    .zip(0..)
    .map(|((procedure, args), n)| Call {
        xid: 1000 + round * CALLS + n,
        ..call(NFS, procedure, args)
    })
    .collect()
}

/// Goal: exactly one effect, and one reply. Method: each call twice on one connection and once on
/// another; a second execution would fail (EXIST, NOENT, NOT_SYNC) or show later times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_repeated_changes_makes_each_once_and_answers_each_alike() {
    let gateway = Gateway::start().await;
    let root = mount(gateway.address, "/share").await.unwrap();
    let mut raw = Raw::connect(gateway.address).await;
    let before = gateway.fs.arrived();
    for round in 0..ROUNDS {
        let ready = prepare(&mut raw, &root, round).await;
        let calls = calls(&root, round, ready);
        let mut lost = Raw::connect(gateway.address).await;
        let mut again = Raw::connect(gateway.address).await;
        let once = calls.iter().map(Call::record).collect::<Vec<_>>().concat();
        let twice = calls.iter().flat_map(|call| call.record().repeat(2)).collect::<Vec<_>>();
        let (first, second) = if round % 2 == 0 { (once, twice) } else { (twice, once) };
        tokio::join!(lost.send(&first), again.send(&second));
        let mut replies: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
        let (of_first, of_second) =
            if round % 2 == 0 { (CALLS, 2 * CALLS) } else { (2 * CALLS, CALLS) };
        for (raw, count) in [(&mut lost, of_first), (&mut again, of_second)] {
            for _ in 0..count {
                let reply = raw.reply().await.unwrap();
                replies.entry(word(&reply, 0)).or_default().push(reply);
            }
        }
        assert_eq!(replies.len(), calls.len());
        for (xid, replies) in replies {
            assert_eq!(word(&replies[0], 6), 0, "round {round}, xid {xid}");
            assert_eq!(replies.len(), 3);
            assert!(replies.iter().all(|reply| *reply == replies[0]), "round {round}, xid {xid}");
        }
    }
    // MKDIR is counted where it is executed: the one that prepares and the one of the storm.
    assert_eq!(gateway.fs.arrived() - before, u64::from(2 * ROUNDS));
    for name in ["made", "dir", "link", "to", "guarded"] {
        lookup(&mut raw, &root, &format!("{name}{}", ROUNDS - 1)).await;
    }
    for name in ["gone", "empty", "from"] {
        let reply = raw.ask(&call(NFS, 3, named(&root, &format!("{name}0")))).await.unwrap();
        assert_eq!(word(&reply, 6), 2, "{name} is gone");
    }
}
