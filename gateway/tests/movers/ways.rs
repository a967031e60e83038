//! Ways on which S3 is not reached: from a name that nobody knows to a connection that breaks in the
//! middle of a body. Each has a server of its own, where it takes one.
use std::{
    any::Any,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use gateway::store::{S3Bucket, SendLimits, StoreErrorKind as Kind, WaitLimits};
use gateway_api::settings::S3Settings;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use s3_store::S3Store;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::world::{BUCKET, s3_settings};

/// How long is waited for what never comes.
const SHORT: Duration = Duration::from_millis(50);

/// A way that does not lead to S3.
pub(crate) struct Way {
    pub(crate) bucket: S3Bucket,
    /// What every request on it comes to.
    pub(crate) kind: Kind,
    /// Words that tell the operator which way it is.
    pub(crate) says: &'static str,
    /// What must stay as it is meanwhile.
    _held: Box<dyn Any + Send>,
}

impl Way {
    fn new(s3: &S3Store, endpoint: String, kind: Kind, says: &'static str) -> Self {
        let settings = S3Settings { endpoint, ..s3_settings(s3) };
        let bucket = S3Bucket::new(&settings, &BUCKET.parse().unwrap());
        Self { bucket, kind, says, _held: Box::new(()) }
    }

    fn holding(self, held: impl Any + Send) -> Self {
        Self { _held: Box::new(held), ..self }
    }

    /// Waits no longer than a test may. Only where nothing ever comes: a busy machine is late.
    fn impatient(self, wait: WaitLimits) -> Self {
        let send = SendLimits { stall: SHORT, answer: SHORT };
        Self { bucket: self.bucket.with_wait_limits(wait).with_send_limits(send), ..self }
    }
}

/// DNS does not know the name. One with a part of 64 bytes is no name at all (RFC 1035 §2.3.4): no
/// server is asked, whatever the machine's resolver is.
pub(crate) async fn name_unknown(s3: &S3Store) -> Way {
    let endpoint = format!("http://{}.test", "n".repeat(64));
    Way::new(s3, endpoint, Kind::Unavailable, "dns error")
}

/// Nobody listens: the connection is refused. The socket keeps the port from others.
pub(crate) async fn refused(s3: &S3Store) -> Way {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = format!("http://{}", socket.local_addr().unwrap());
    Way::new(s3, endpoint, Kind::Unavailable, "refused").holding(socket)
}

/// Packets to the address go nowhere. So they do where a queue of connections is full.
pub(crate) async fn connect_unanswered(s3: &S3Store) -> Way {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let only = TcpStream::connect(address).await.unwrap();
    let wait = WaitLimits { connect: SHORT, ..WaitLimits::default() };
    Way::new(s3, format!("http://{address}"), Kind::Timeout, "connect timeout")
        .impatient(wait)
        .holding((listener, only))
}

/// The system takes the connection, and nobody reads from it.
async fn silence() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The connection is there, and no answer comes.
pub(crate) async fn request_unanswered(s3: &S3Store) -> Way {
    let (listener, address) = silence().await;
    let wait = WaitLimits { answer: SHORT, ..WaitLimits::default() };
    Way::new(s3, format!("http://{address}"), Kind::Timeout, "no answer")
        .impatient(wait)
        .holding(listener)
}

/// The connection is there, and the server never says who it is.
pub(crate) async fn tls_unanswered(s3: &S3Store) -> Way {
    let (listener, address) = silence().await;
    let wait = WaitLimits { connect: SHORT, ..WaitLimits::default() };
    Way::new(s3, format!("https://{address}"), Kind::Timeout, "connect timeout")
        .impatient(wait)
        .holding(listener)
}

/// Runs `answer` with each connection until it is dropped.
async fn server<F, Fut>(answer: F) -> (SocketAddr, AbortOnDropHandle<()>)
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (listener, address) = silence().await;
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    (address, AbortOnDropHandle::new(serving))
}

/// The server's certificate is by an authority that nobody trusts.
pub(crate) async fn certificate_untrusted(s3: &S3Store) -> Way {
    let certificate = include_str!("../tls/server.pem").as_bytes();
    let key = include_str!("../tls/server-key.pem").as_bytes();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate).unwrap()],
            PrivateKeyDer::from_pem_slice(key).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (address, serving) = server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let trusted = acceptor.accept(stream).await;
            assert!(trusted.is_err(), "the gateway trusts whom it does not know");
        }
    })
    .await;
    let endpoint = format!("https://localhost:{}", address.port());
    Way::new(s3, endpoint, Kind::Unavailable, "certificate").holding(serving)
}

/// The server does not speak TLS.
pub(crate) async fn no_tls(s3: &S3Store) -> Way {
    let (address, serving) = server(async |mut stream: TcpStream| {
        let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let endpoint = format!("https://{address}");
    Way::new(s3, endpoint, Kind::Unavailable, "cannot be reached").holding(serving)
}

/// The connection is reset in the middle of every body, of requests and of answers. Without a body, in the
/// middle of the answer's head: S3 has done what it was asked.
pub(crate) async fn reset_in_the_body(s3: &S3Store) -> Way {
    let to = s3.address();
    let (address, serving) = server(move |client| cut(client, to)).await;
    Way::new(s3, format!("http://{address}"), Kind::Unavailable, "").holding(serving)
}

/// Leads to S3 and turns one bit around in each of the next `bodies` that are sent.
pub(crate) async fn damaging(s3: &S3Store, bodies: &Arc<AtomicU32>) -> Way {
    let (to, bodies) = (s3.address(), Arc::clone(bodies));
    let (address, serving) = server(move |client| damage(client, to, Arc::clone(&bodies))).await;
    Way::new(s3, format!("http://{address}"), Kind::Integrity, "").holding(serving)
}

/// Passes one request on, and its answer back.
async fn damage(mut client: TcpStream, to: SocketAddr, bodies: Arc<AtomicU32>) {
    let asked = head(&mut client).await;
    let mut body = vec![0; content_length(&asked)];
    client.read_exact(&mut body).await.unwrap();
    let at = body.len() / 2;
    let left = |left: u32| left.checked_sub(1);
    if let Some(byte) = body.get_mut(at)
        && asked.starts_with("PUT ")
        && bodies.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok()
    {
        *byte ^= 0x10;
    }
    let mut server = TcpStream::connect(to).await.unwrap();
    let closing = asked.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    server.write_all(closing.as_bytes()).await.unwrap();
    server.write_all(&body).await.unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await.unwrap();
    client.write_all(&answer).await.unwrap();
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn content_length(head: &str) -> usize {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse().unwrap())
}

async fn cut(mut client: TcpStream, to: SocketAddr) {
    let asked = head(&mut client).await;
    let body = content_length(&asked);
    if body > 0 {
        let mut half = vec![0; body.div_ceil(2)];
        client.read_exact(&mut half).await.unwrap();
    } else {
        let mut server = TcpStream::connect(to).await.unwrap();
        let closing = asked.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        server.write_all(closing.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).await.unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let sent = if answer.len() > end { end + (answer.len() - end) / 2 } else { end / 2 };
        client.write_all(&answer[..sent]).await.unwrap();
        // What was written must not be lost with what was not: the gateway is to have read it.
        client.flush().await.unwrap();
    }
    client.set_zero_linger().unwrap();
}
