//! Goal: a server that runs out of file descriptors serves again once it has some. Method: a
//! process of its own (one test in this file), whose limit of descriptors is lowered.
#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails the test")]
use std::{fs::File, net::SocketAddr, sync::Arc};

use gateway::{
    nfs::{Export, Exports, HandleCodec, Limits, Server, testing::MemoryFs},
    share::access::AccessPolicy,
    vfs::ShareId,
};
use gateway_api::{ShareName, ShareSettings};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_util::sync::CancellationToken;

/// Enough for the runtime, the listener and a few files.
const DESCRIPTORS: u64 = 64;

async fn null_call(stream: &mut TcpStream) -> usize {
    let words: [u32; 11] = [0x8000_0028, 1, 0, 2, 100_003, 3, 0, 0, 0, 0, 0];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    stream.write_all(&bytes).await.unwrap();
    let mut reply = [0; 28];
    stream.read_exact(&mut reply).await.unwrap()
}

#[tokio::test]
async fn a_server_out_of_descriptors_accepts_again_when_some_are_free() {
    let name: ShareName = "share".parse().unwrap();
    let settings = ShareSettings::new(name.clone(), "bucket".parse().unwrap(), Default::default());
    let policy = AccessPolicy::from(&settings);
    let exports = Arc::new(Exports::new());
    let fs = Arc::new(MemoryFs::new());
    exports.replace(vec![Export { id: ShareId(1), name, policy, fs }]);
    let server = Server::new(exports, HandleCodec::new(&[1; 32], 1), Limits::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    tokio::spawn(async move { server.serve(listener, CancellationToken::new()).await });
    let mut early = TcpStream::connect(address).await.unwrap();
    assert_eq!(null_call(&mut early).await, 28);

    let socket = TcpSocket::new_v4().unwrap();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, hard).unwrap();
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    // The kernel completes the connection; the server has no descriptor to accept it with.
    let mut late = socket.connect(address).await.unwrap();
    assert_eq!(null_call(&mut early).await, 28, "connections that are open are served");
    drop(taken);
    assert_eq!(null_call(&mut late).await, 28);
}
