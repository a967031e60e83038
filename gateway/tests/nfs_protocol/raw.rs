//! A client that sends whatever it is told to.
use std::net::{IpAddr, SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

pub(crate) const NFS: u32 = 100_003;
pub(crate) const MOUNT: u32 = 100_005;
pub(crate) const PORTMAP: u32 = 100_000;

/// A connection.
pub(crate) struct Raw(pub(crate) TcpStream);

/// What a call is made of; [`call`] fills in the usual.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) xid: u32,
    pub(crate) rpc_version: u32,
    pub(crate) program: u32,
    pub(crate) version: u32,
    pub(crate) procedure: u32,
    pub(crate) flavour: u32,
    pub(crate) credential: Vec<u8>,
    pub(crate) args: Vec<u8>,
}

pub(crate) fn call(program: u32, procedure: u32, args: Vec<u8>) -> Call {
    let version = if program == PORTMAP { 2 } else { 3 };
    let (xid, rpc_version, flavour, credential) = (1, 2, 0, Vec::new());
    Call { xid, rpc_version, program, version, procedure, flavour, credential, args }
}

pub(crate) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

pub(crate) fn opaque(bytes: &[u8]) -> Vec<u8> {
    let mut out = words(&[u32::try_from(bytes.len()).unwrap()]);
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

impl Call {
    pub(crate) fn record(&self) -> Vec<u8> {
        let header = [self.xid, 0, self.rpc_version, self.program, self.version, self.procedure];
        let body = [
            words(&header),
            words(&[self.flavour]),
            opaque(&self.credential),
            words(&[0, 0]),
            self.args.clone(),
        ]
        .concat();
        let mark = u32::try_from(body.len()).unwrap() | 1 << 31;
        [words(&[mark]), body].concat()
    }
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// From another of the host's addresses: to the server, another peer.
    pub(crate) async fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = if source.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = socket.unwrap();
        socket.bind((source, 0).into()).unwrap();
        Self(socket.connect(address).await.unwrap())
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The next reply without its mark; `None` when the server has closed the connection.
    pub(crate) async fn reply(&mut self) -> Option<Vec<u8>> {
        let mut mark = [0; 4];
        self.0.read_exact(&mut mark).await.ok()?;
        let mut reply = vec![0; (u32::from_be_bytes(mark) & !(1 << 31)) as usize];
        self.0.read_exact(&mut reply).await.ok()?;
        Some(reply)
    }

    pub(crate) async fn ask(&mut self, call: &Call) -> Option<Vec<u8>> {
        self.send(&call.record()).await;
        self.reply().await
    }

    /// The words of the reply after its xid.
    pub(crate) async fn ask_words(&mut self, call: &Call) -> Vec<u32> {
        let reply = self.ask(call).await.expect("an answer");
        assert_eq!(word(&reply, 0), call.xid);
        (1..reply.len() / 4).map(|at| word(&reply, at)).collect()
    }

    /// Whether the server answers a NULL call on this connection.
    pub(crate) async fn is_served(&mut self) -> bool {
        if self.0.write_all(&call(NFS, 0, Vec::new()).record()).await.is_err() {
            return false;
        }
        self.reply().await.is_some()
    }

    /// Waits until the server closes the connection.
    pub(crate) async fn closed(&mut self) {
        let mut rest = Vec::new();
        // A reset is as good as an end.
        drop(self.0.read_to_end(&mut rest).await);
        assert!(rest.is_empty(), "closed without an answer");
    }
}

pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at * 4..at * 4 + 4].try_into().unwrap())
}

/// The root handle of a share, by a raw MNT.
pub(crate) async fn mount(address: SocketAddr, path: &str) -> Result<Vec<u8>, u32> {
    let mut raw = Raw::connect(address).await;
    let Some(reply) = raw.ask(&call(MOUNT, 1, opaque(path.as_bytes()))).await else {
        return Err(0);
    };
    match word(&reply, 6) {
        0 => Ok(reply[32..32 + word(&reply, 7) as usize].to_vec()),
        status => Err(status),
    }
}
