//! Metrics over TCP, for Prometheus: `GET /metrics`, for listed addresses only, and nothing else.
//!
//! Whoever is not in the client list is hung up on before a byte of his is read. Of the others nothing
//! is waited for without an end: so many connections, one request to each, so large and for so long.
//! All connections end with the future that serves them: with the settings that allowed them.
use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use gateway_api::{ClientSpec, settings::MetricsSettings};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::Control;
use crate::prometheus;

/// Pause after a connection could not be accepted, for want of descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What scrapers may take up.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Connections at the same time, of all scrapers. One more is closed at once.
    connections: usize,
    /// Bytes of a request's line and headers.
    request_bytes: usize,
    /// Until a request's headers are there.
    header_time: Duration,
    /// From a connection's begin to its end, the reading of the answer included.
    life: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16,
            request_bytes: 16 << 10,
            header_time: Duration::from_secs(10),
            life: Duration::from_secs(60),
        }
    }
}

/// Serves metrics as `settings` say until `stop`; at once if they say nowhere. Dropping the future
/// ends all connections.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    settings: MetricsSettings,
    control: Arc<dyn Control>,
    stop: CancellationToken,
) -> io::Result<()> {
    let Some(address) = settings.listen else { return Ok(()) };
    let listener = TcpListener::bind(address).await?;
    let clients = settings.client_list;
    tokio::select! {
        never = accept(listener, &clients, control, Limits::default()) => match never {},
        () = stop.cancelled() => Ok(()),
    }
}

/// Takes connections for ever.
async fn accept(
    listener: TcpListener,
    clients: &[ClientSpec],
    control: Arc<dyn Control>,
    limits: Limits,
) -> Infallible {
    let router = Router::new().route("/metrics", get(metrics)).with_state(control);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!("a connection for metrics died: {error}");
                }
                continue;
            }
        };
        match accepted {
            Ok((_, peer)) if !is_listed(clients, peer) => {
                tracing::debug!(%peer, "refused: not in metrics.client_list");
            }
            Ok((_, peer)) if connections.len() >= limits.connections => {
                tracing::debug!(%peer, "refused: too many connections for metrics");
            }
            Ok((stream, peer)) => {
                connections.spawn(answer(stream, peer, router.clone(), limits));
            }
            Err(error) => {
                tracing::warn!("no connection for metrics can be accepted: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_listed(clients: &[ClientSpec], peer: SocketAddr) -> bool {
    let address = peer.ip().to_canonical();
    clients.iter().any(|client| client.contains(address))
}

/// Answers the one request of a connection.
async fn answer(stream: TcpStream, peer: SocketAddr, router: Router, limits: Limits) {
    let answering = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(limits.request_bytes)
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(limits.life, answering).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, %error, "connection for metrics closed"),
        Err(_) => tracing::debug!(%peer, "connection for metrics closed: it took too long"),
    }
}

async fn metrics(State(control): State<Arc<dyn Control>>) -> Response {
    let head = [(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)];
    (head, prometheus::render(&control.status().await)).into_response()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::admin::tests::Fake;

    const PATIENCE: Duration = Duration::from_secs(60);
    const ASK: &[u8] = b"GET /metrics HTTP/1.1\r\nhost: gateway\r\n\r\n";

    async fn begin(limits: Limits) -> (SocketAddr, JoinSet<Infallible>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let clients = ["127.0.0.1".parse().unwrap()];
            accept(listener, &clients, Arc::new(Fake::default()), limits).await
        });
        (address, serving)
    }

    /// Everything that comes until the connection ends, by whatever end.
    async fn rest(stream: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
        // A reset is an end, too.
        drop(ended.expect("the gateway never hangs up"));
        String::from_utf8(bytes).unwrap()
    }

    async fn ask(address: SocketAddr, from: Ipv4Addr, request: &[u8]) -> String {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        // It may have hung up already.
        drop(stream.write_all(request).await);
        rest(&mut stream).await
    }

    #[tokio::test]
    async fn listed_clients_get_one_answer_and_others_not_a_byte() {
        let (address, _serving) = begin(Limits::default()).await;
        let twice = [ASK, ASK].concat();
        let answer = ask(address, Ipv4Addr::LOCALHOST, &twice).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
        assert_eq!(ask(address, Ipv4Addr::new(127, 0, 0, 2), ASK).await, "");
    }

    #[tokio::test]
    async fn a_request_without_an_end_is_not_waited_for() {
        let short = Duration::from_millis(50);
        let limits = Limits { header_time: short, ..Limits::default() };
        let (address, _serving) = begin(limits).await;
        let answer = ask(address, Ipv4Addr::LOCALHOST, b"GET /metrics HTTP/1.1\r\nx: y\r\n").await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
        let limits = Limits { life: short, ..Limits::default() };
        let (address, _serving) = begin(limits).await;
        assert_eq!(ask(address, Ipv4Addr::LOCALHOST, b"GET /metrics").await, "");
        let (address, _serving) = begin(Limits::default()).await;
        let long = format!("GET /metrics HTTP/1.1\r\nx: {}\r\n", "y".repeat(64 << 10));
        let answer = ask(address, Ipv4Addr::LOCALHOST, long.as_bytes()).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[tokio::test]
    async fn connections_are_bounded_and_make_room_when_they_end() {
        let (address, _serving) = begin(Limits { connections: 2, ..Limits::default() }).await;
        let one = TcpStream::connect(address).await.unwrap();
        let mut two = TcpStream::connect(address).await.unwrap();
        assert_eq!(ask(address, Ipv4Addr::LOCALHOST, ASK).await, "", "one too many");
        drop(one);
        two.write_all(ASK).await.unwrap();
        assert!(rest(&mut two).await.starts_with("HTTP/1.1 200"));
        let served = async {
            while !ask(address, Ipv4Addr::LOCALHOST, ASK).await.starts_with("HTTP/1.1 200") {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, served).await.expect("there is room again");
    }

    #[tokio::test]
    async fn connections_end_with_the_settings_that_allowed_them() {
        let (address, mut serving) = begin(Limits::default()).await;
        let mut open = TcpStream::connect(address).await.unwrap();
        open.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
        assert!(ask(address, Ipv4Addr::LOCALHOST, ASK).await.starts_with("HTTP/1.1 200"));
        serving.shutdown().await;
        assert_eq!(rest(&mut open).await, "");
    }
}
