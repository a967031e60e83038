//! What stands before the S3 server in these tests: TLS, and an HTTP proxy.
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use s3_store::{S3Store, StoreConfig};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};
use tokio_rustls::TlsAcceptor;

/// Made by openssl for these tests: an authority, and a server's certificate by it for `localhost`,
/// `store.test` and names below that. Good until 2126.
pub(crate) const AUTHORITY: &str = include_str!("../tls/authority.pem");
const CERTIFICATE: &str = include_str!("../tls/server.pem");
const KEY: &str = include_str!("../tls/server-key.pem");

/// A server that stops when dropped.
pub(crate) struct Front {
    pub address: SocketAddr,
    serving: AbortHandle,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub(crate) async fn s3() -> S3Store {
    let config = StoreConfig { buckets: vec!["bucket".to_owned()], ..StoreConfig::default() };
    S3Store::start(config).await.unwrap()
}

/// Passes bytes on to `to`. Who goes away in the middle is not this test's matter.
async fn pass_on<S: AsyncRead + AsyncWrite + Unpin>(mut client: S, to: SocketAddr, first: &[u8]) {
    let mut server = TcpStream::connect(to).await.unwrap();
    server.write_all(first).await.unwrap();
    copy_bidirectional(&mut client, &mut server).await.ok();
}

/// TLS before `to`, under every address of this machine.
pub(crate) async fn tls_front(to: SocketAddr) -> Front {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust us hangs up here.
                if let Ok(stream) = acceptor.accept(stream).await {
                    pass_on(stream, to, b"").await;
                }
            });
        }
    });
    Front { address, serving: serving.abort_handle() }
}

/// The heads of the requests that a proxy was sent.
pub(crate) type Heads = Arc<Mutex<Vec<String>>>;

/// A proxy that knows one place, whatever name it is asked for, and lets in who has `credentials`.
pub(crate) async fn proxy(to: SocketAddr, credentials: Option<&str>) -> (Front, Heads) {
    let expected = credentials.map(|plain| {
        format!("proxy-authorization: basic {}", aws_smithy_types::base64::encode(plain))
            .to_ascii_lowercase()
    });
    let heads = Heads::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::clone(&heads);
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (expected, seen) = (expected.clone(), Arc::clone(&seen));
            tokio::spawn(relay(stream, to, expected, seen));
        }
    });
    (Front { address, serving: serving.abort_handle() }, heads)
}

async fn relay(mut client: TcpStream, to: SocketAddr, expected: Option<String>, seen: Heads) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let text = String::from_utf8(head.clone()).unwrap();
    seen.lock().unwrap().push(text.clone());
    let let_in = expected.is_none_or(|line| text.to_ascii_lowercase().contains(&line));
    if !let_in {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
        client.write_all(refusal).await.ok();
        return;
    }
    if text.starts_with("CONNECT ") {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        head.clear();
    }
    pass_on(client, to, &head).await;
}
