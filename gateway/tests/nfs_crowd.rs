//! Goal: ten thousand connections that say nothing cost little and keep nobody out. Method: a process
//! of its own (one test in this file), as memory and descriptors are the process's; the crowd comes
//! from eighty addresses of the host.
#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails the test")]
#[path = "nfs_protocol/raw.rs"]
#[expect(dead_code, reason = "shared with the protocol's own tests")]
mod raw;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use gateway::{
    nfs::{Export, Exports, HandleCodec, Limits, Server, testing::MemoryFs},
    share::access::AccessPolicy,
    vfs::ShareId,
};
use gateway_api::{ShareName, ShareSettings};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use raw::Raw;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const CROWD: usize = 10_000;
const ADDRESSES: usize = 80;
/// What the server may grow by, with the test's own ends of the connections.
const GROWTH_BYTES_MAX: u64 = 48 << 20;

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Whether the server has not closed it.
fn is_open(raw: &Raw) -> bool {
    let end = raw.0.try_read(&mut [0; 1]);
    matches!(end, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

async fn serve(limits: Limits) -> SocketAddr {
    let name: ShareName = "share".parse().unwrap();
    let settings = ShareSettings::new(name.clone(), "bucket".parse().unwrap(), Default::default());
    let policy = AccessPolicy::from(&settings);
    let (exports, fs) = (Arc::new(Exports::new()), Arc::new(MemoryFs::new()));
    exports.replace(vec![Export { id: ShareId(1), name, policy, fs }]);
    let server = Server::new(exports, HandleCodec::new(&[1; 32], 1), limits);
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { server.serve(listener, CancellationToken::new()).await });
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_cost_little_and_keep_nobody_out() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(hard > 12_000, "the test takes 12,000 descriptors; allowed are {hard} (ulimit -Hn)");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    // They are kept as long as they may be: none goes for its silence.
    let limits = Limits { first_record_timeout: Duration::from_secs(3600), ..Limits::default() };
    let address = serve(limits).await;
    let mut good = Raw::connect(address).await;
    assert!(good.is_served().await);

    let before = resident_bytes();
    let mut crowd = Vec::with_capacity(CROWD);
    for n in 0..CROWD {
        let source = [127, 0, 1, u8::try_from(1 + n % ADDRESSES).unwrap()].into();
        crowd.push(Raw::connect_from(source, address).await);
    }
    // The last of the crowd has been accepted once one who came after it is served.
    let mut newcomer = Raw::connect_from([127, 0, 0, 2].into(), address).await;
    assert!(newcomer.is_served().await, "a new client gets in");
    assert!(good.is_served().await, "and the old one was not put out");
    while crowd.iter().filter(|raw| is_open(raw)).count() > limits.connections_max {
        tokio::task::yield_now().await;
    }
    let growth = resident_bytes().saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes for the crowd");
}
