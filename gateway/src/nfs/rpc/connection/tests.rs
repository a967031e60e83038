//! When a call may make its connection's thread wait for a disk.
use std::{
    ops::RangeInclusive,
    sync::{Mutex, mpsc as std_mpsc},
};

use async_trait::async_trait;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    ids::ShareId,
    nfs::{
        drc::ReplyCache,
        exports::Export,
        rpc::{
            auth::Caller,
            lanes::Lanes,
            listener,
            program::{Program, Repetition},
            reply::Rejection,
        },
        testing::{MemoryFs, open_policy},
    },
};

const PROGRAM: u32 = 0x2000_0001;
/// The procedure that answers at once.
const QUICK: u32 = 1;
/// The procedure that keeps its thread until it is told to go on.
const SLOW: u32 = 2;

/// Answers whether a call may wait for a disk where it is.
#[derive(Debug)]
struct Asks {
    begun: std_mpsc::Sender<()>,
    go_on: Mutex<std_mpsc::Receiver<()>>,
}

#[async_trait]
impl Program for Asks {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        1..=1
    }

    fn repetition(&self, _procedure: u32) -> Repetition {
        Repetition::Harmless
    }

    fn reply_bytes(&self, _call: &Call) -> usize {
        0
    }

    async fn execute(&self, _caller: Caller, call: Call) -> Result<Reply, Rejection> {
        if call.procedure == SLOW {
            self.begun.send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
        }
        let mut reply = Reply::success(call.xid);
        reply.bool(blocking::may_sync());
        Ok(reply)
    }
}

struct Server {
    address: SocketAddr,
    begun: std_mpsc::Receiver<()>,
    go_on: std_mpsc::Sender<()>,
    _stop: tokio_util::sync::DropGuard,
}

impl Server {
    /// A server with one lane for each processor.
    async fn start() -> Self {
        let ((begun, has_begun), (go_on, may_go_on)) = (std_mpsc::channel(), std_mpsc::channel());
        let program = Asks { begun, go_on: Mutex::new(may_go_on) };
        let exports = Arc::new(Exports::new());
        let name = "share".parse().unwrap();
        exports.replace(vec![Export {
            id: ShareId(1),
            name,
            policy: open_policy(),
            fs: Arc::new(MemoryFs::new()),
        }]);
        let limits = Limits::default();
        let service = Service {
            programs: Programs::new(vec![Arc::new(program)], Arc::new(ReplyCache::new(&limits))),
            limits,
            admission: Arc::new(Admission::new(limits)),
            exports,
        };
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let stop = CancellationToken::new();
        let lanes = Arc::new(Lanes::new().unwrap());
        tokio::spawn(listener::serve(Arc::new(service), Some(lanes), socket, stop.clone()));
        Self { address, begun: has_begun, go_on, _stop: stop.drop_guard() }
    }

    async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        // What is sent is there when the sender is told so.
        stream.set_nodelay(true).unwrap();
        Client(stream)
    }
}

struct Client(TcpStream);

impl Client {
    async fn send(&mut self, procedures: &[u32]) {
        let mut wire = Vec::new();
        for procedure in procedures {
            let words = [0x8000_0000 | 40, 7, 0, 2, PROGRAM, 1, *procedure, 0, 0, 0, 0];
            wire.extend(words.iter().flat_map(|word: &u32| word.to_be_bytes()));
        }
        self.0.write_all(&wire).await.unwrap();
    }

    /// What the next reply says.
    async fn answer(&mut self) -> bool {
        let mut reply = [0; 32];
        self.0.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply[..8], [0x80, 0, 0, 28, 0, 0, 0, 7], "a record and its xid");
        reply[31] == 1
    }

    async fn call(&mut self) -> bool {
        self.send(&[QUICK]).await;
        self.answer().await
    }

    /// Calls one by one until they may wait for a disk; how many may not.
    async fn become_patient(&mut self) -> u32 {
        let mut calls = 0;
        while !self.call().await {
            calls += 1;
            assert!(calls <= ONE_BY_ONE_CALLS, "never patient");
        }
        calls
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_calls_one_by_one_waits_for_the_disk_on_its_connection_s_thread() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    assert_eq!(client.become_patient().await, ONE_BY_ONE_CALLS - 1);
    // Two at once are not one by one.
    client.send(&[QUICK, QUICK]).await;
    assert!(!client.answer().await);
    client.answer().await;
    client.become_patient().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_comes_while_another_waits_ends_that() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.become_patient().await;
    client.send(&[SLOW]).await;
    let begun = tokio::task::spawn_blocking(move || {
        server.begun.recv().unwrap();
        server
    });
    let server = begun.await.unwrap();
    client.send(&[QUICK]).await;
    server.go_on.send(()).unwrap();
    assert!(client.answer().await, "nobody knew of the second call");
    assert!(!client.answer().await, "it came before the first was answered");
    assert!(!client.call().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_with_several_connections_waits_for_no_disk() {
    let server = Server::start().await;
    let lanes = std::thread::available_parallelism().map_or(1, usize::from);
    let mut clients = Vec::new();
    for _ in 0..lanes * 2 {
        let mut client = server.connect().await;
        client.call().await;
        clients.push(client);
    }
    for client in &mut clients {
        for _ in 0..ONE_BY_ONE_CALLS * 2 {
            assert!(!client.call().await);
        }
    }
    clients.truncate(1);
    // When the server has noticed that the others are gone.
    while !clients[0].call().await {}
}
