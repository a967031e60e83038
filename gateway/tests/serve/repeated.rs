//! Changes whose reply a crash has cut off: the client sends them again after the restart, is told that they were
//! done, and they were done once.
//!
//! Method: the process ends after its nth commit and before anybody is answered, for one n after the other, until
//! that has been the commit of each kind of change.
use std::net::SocketAddr;

use gateway::failpoint::Point;
use tokio::{io::AsyncWriteExt, net::TcpStream, runtime::Runtime};

use crate::{
    crash::aborted,
    mount::Mount,
    process::{Gateway, Home, settings, store},
    raw::{Call, MOUNT, NFS, Raw, call, opaque, word, words},
};

/// More commits than there are before the last of the changes has its own.
const COMMITS_MAX: u64 = 40;
/// What else the gateway commits comes when it comes: another round may find what one has missed.
const ROUNDS_MAX: usize = 3;

const OK: u32 = 0;
const NO_ENTRY: u32 = 2;
const EXISTS: u32 = 17;

/// A change in the share's root.
struct Change {
    what: &'static str,
    procedure: u32,
    args: Vec<u8>,
    /// The names in the root afterwards.
    names: &'static [&'static str],
    /// What is said to the same change when it is not a repetition.
    anew: u32,
}

fn changes(root: &[u8]) -> Vec<Change> {
    let at = |name: &str| [root, &opaque(name.as_bytes())].concat();
    let no_attributes = words(&[0; 6]);
    let change = |what, procedure, args: &[&[u8]], names, anew| Change {
        what,
        procedure,
        args: args.concat(),
        names,
        anew,
    };
    vec![
        change("MKDIR", 9, &[&at("d"), &no_attributes], &["d"], EXISTS),
        change("CREATE", 8, &[&at("f"), &words(&[1]), &no_attributes], &["d", "f"], EXISTS),
        change(
            "SYMLINK",
            10,
            &[&at("l"), &no_attributes, &opaque(b"target")],
            &["d", "f", "l"],
            EXISTS,
        ),
        change("RENAME", 14, &[&at("f"), &at("g")], &["d", "g", "l"], NO_ENTRY),
        change("REMOVE", 12, &[&at("l")], &["d", "g"], NO_ENTRY),
        change("RMDIR", 13, &[&at("d")], &["g"], NO_ENTRY),
    ]
}

/// A connection, if there is still somebody to take it.
async fn connect(gateway: &Gateway) -> Option<Raw> {
    TcpStream::connect(address(gateway)).await.ok().map(Raw)
}

/// The reply; `None` when the connection ends before one comes.
async fn reply(raw: &mut Raw, call: &Call) -> Option<Vec<u8>> {
    raw.0.write_all(&call.record()).await.ok()?;
    raw.reply().await
}

/// The handle of the share's root.
async fn mount(gateway: &Gateway) -> Option<Vec<u8>> {
    let mounted = reply(&mut connect(gateway).await?, &call(MOUNT, 1, opaque(b"/sales"))).await?;
    assert_eq!(word(&mounted, 6), OK);
    Some(mounted[32..32 + word(&mounted, 7) as usize].to_vec())
}

/// The status of the reply to a change.
async fn ask(raw: &mut Raw, xid: u32, change: &Change) -> Option<u32> {
    let call = Call { xid, ..call(NFS, change.procedure, change.args.clone()) };
    reply(raw, &call).await.map(|reply| word(&reply, 6))
}

fn address(gateway: &Gateway) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], gateway.port))
}

/// What one crash has come to.
enum Cut {
    /// Between the commit of this change and its reply.
    Replied(usize),
    /// Elsewhere.
    Elsewhere,
    /// All changes were answered before it.
    Later,
}

/// Makes the changes until the process ends after its nth commit; then sends the one without a reply again.
fn cut_at(nth: u64, runtime: &Runtime) -> Cut {
    let at = format!("{}:{nth}", Point::CatalogAfterCommit.name());
    let (store, home) = (store(), Home::new());
    // No upload commits anything meanwhile.
    let settings = settings(&store).replace("= 50", "= 3600000");
    let gateway = match Gateway::start_armed(&home, &settings, Some(&at)) {
        Ok(gateway) => gateway,
        Err(status) => {
            aborted(status, &at);
            return Cut::Elsewhere;
        }
    };
    let Some(root) = runtime.block_on(mount(&gateway)) else {
        aborted(gateway.ended("it ends at the mount"), &at);
        return Cut::Elsewhere;
    };
    let changes = changes(&opaque(&root));
    let unanswered = runtime.block_on(async {
        let Some(mut raw) = connect(&gateway).await else { return Some(0) };
        for (number, (xid, change)) in (700..).zip(&changes).enumerate() {
            match ask(&mut raw, xid, change).await {
                Some(status) => assert_eq!(status, OK, "{at}: {}", change.what),
                None => return Some(number),
            }
        }
        None
    });
    let Some(number) = unanswered else { return Cut::Later };
    aborted(gateway.ended("it ends under the changes"), &at);

    let gateway = Gateway::start(&home, &settings);
    let (change, xid) = (&changes[number], 700 + u32::try_from(number).expect("there are few"));
    let mut share = Mount::new(gateway.port, "sales");
    let is_made = share.list("") == change.names;
    let again = |xid| {
        runtime
            .block_on(async { ask(&mut Raw::connect(address(&gateway)).await, xid, change).await })
    };
    for time in ["again", "once more"] {
        assert_eq!(again(xid), Some(OK), "{at}: {} {time}, made: {is_made}", change.what);
        assert_eq!(share.list(""), change.names, "{at}: {} {time}", change.what);
    }
    assert_eq!(again(900), Some(change.anew), "{at}: {} by another request", change.what);
    assert_eq!(share.list(""), change.names, "{at}: {} by another request", change.what);
    if is_made { Cut::Replied(number) } else { Cut::Elsewhere }
}

#[test]
fn crash_between_a_commit_and_its_reply_leaves_a_change_that_is_answered_as_made() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut missing: Vec<&str> = changes(&[]).iter().map(|change| change.what).collect();
    let names = missing.clone();
    for _ in 0..ROUNDS_MAX {
        for nth in 1..COMMITS_MAX {
            match cut_at(nth, &runtime) {
                Cut::Replied(number) => missing.retain(|what| *what != names[number]),
                Cut::Elsewhere => {}
                Cut::Later => break,
            }
            if missing.is_empty() {
                return;
            }
        }
    }
    panic!("no crash came between commit and reply of {missing:?}");
}
