//! The way to the endpoint, step by step: name, TCP, TLS, clock.
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use gateway_api::connection::{ConnectionTest, Step};
use percent_encoding::percent_decode_str;
use rustls::{CertificateError, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Broken, Reports, Steps};
use crate::{
    clock::{Clock, SystemClock, Timestamp},
    store::s3::{Place, basic_authorization, http_date, tls_config},
};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// Longest head of an HTTP answer.
const HEAD_BYTES_MAX: u64 = 16 << 10;
/// S3 refuses requests whose time differs by more.
const SKEW_SECONDS_MAX: u64 = 15 * 60;
/// A clock that is off by more than this is not kept right.
const SKEW_SECONDS_WORTH_A_WORD: u64 = 60;

/// What to do where there is no default route.
const NO_GATEWAY: &str = "set a default gateway (Network Configuration, Configure Static IP): this machine \
                          has no way out of its own networks";

/// Goes to where the bucket's requests go.
pub(super) async fn test<R: Reports>(
    target: &ConnectionTest,
    steps: &mut Steps<'_, R>,
) -> Result<(), Broken> {
    let place = match Place::of(&target.s3, target.bucket()).await {
        Ok(place) => place,
        Err(error) => {
            let advice = "check region and endpoint";
            return Err(steps.failed(Step::Name, error, advice));
        }
    };
    let proxy = match proxy(target, &place) {
        Ok(proxy) => proxy,
        Err(why) => return Err(steps.failed(Step::Name, why, "change this setting")),
    };
    let first = proxy.as_ref().map_or(&place, |proxy| &proxy.place);
    let addresses = names(first, proxy.is_some(), steps).await?;
    let stream = connect(&addresses, first, steps).await?;
    let stream = match &proxy {
        Some(proxy) if place.tls => tunnel(stream, proxy, &place, steps).await?,
        Some(_) | None => stream,
    };
    if place.tls {
        let stream = handshake(target, stream, &place, steps).await?;
        clock(stream, &place, steps).await
    } else {
        steps.warning(
            Step::Tls,
            "plain http: whoever stands between here and S3 can read and change everything",
            "use an https endpoint",
        );
        clock(stream, &place, steps).await
    }
}

struct Proxy {
    place: Place,
    /// `Proxy-Authorization`, if a user is set.
    authorization: Option<String>,
}

/// The proxy on the way, if the requests would take it.
fn proxy(target: &ConnectionTest, to: &Place) -> Result<Option<Proxy>, String> {
    let s3 = &target.s3;
    if s3.http_proxy.is_empty() || goes_direct(&s3.no_proxy, &to.host) {
        return Ok(None);
    }
    let (tls, rest) = match s3.http_proxy.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        Some(_) | None => return Err(format!("{:?} is no HTTP proxy", s3.http_proxy)),
    };
    if tls {
        return Err(
            "a proxy that is itself reached by https cannot be tested step by step".to_owned()
        );
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, at) = match authority.rsplit_once('@') {
        Some((user, at)) => (Some(percent_decode_str(user).decode_utf8_lossy().into_owned()), at),
        None => (None, authority),
    };
    let place = Place::parse(at, 80, false).ok_or_else(|| format!("{at:?} is no host and port"))?;
    let user = if s3.proxy_user.is_empty() {
        user
    } else {
        Some(format!("{}:{}", s3.proxy_user, s3.proxy_password.expose()))
    };
    let authorization = user.as_deref().map(basic_authorization);
    Ok(Some(Proxy { place, authorization }))
}

/// Whether `host` is on the list of those that are reached without the proxy: itself, a domain above
/// it, or everything.
fn goes_direct(list: &[String], host: &str) -> bool {
    list.iter().map(|entry| entry.trim().trim_start_matches('.')).any(|entry| {
        entry == "*" || host == entry || (!entry.is_empty() && host.ends_with(&format!(".{entry}")))
    })
}

async fn names<R: Reports>(
    place: &Place,
    is_proxy: bool,
    steps: &mut Steps<'_, R>,
) -> Result<Vec<SocketAddr>, Broken> {
    let host = &place.host;
    let advice = if is_proxy {
        "check the proxy's name and the DNS servers"
    } else {
        "check the endpoint's name and the DNS servers (Network Configuration)"
    };
    let found = match timeout(PATIENCE, lookup_host((host.as_str(), place.port))).await {
        Ok(Ok(found)) => found.take(ADDRESSES_MAX).collect::<Vec<_>>(),
        Ok(Err(error)) => {
            let advice = if has_way_out() { advice } else { NO_GATEWAY };
            return Err(steps.failed(Step::Name, format!("{host}: {error}"), advice));
        }
        Err(_) => {
            let advice = if has_way_out() { advice } else { NO_GATEWAY };
            let why = format!("{host}: no DNS server answers");
            return Err(steps.failed(Step::Name, why, advice));
        }
    };
    if found.is_empty() {
        return Err(steps.failed(Step::Name, format!("{host} has no address"), advice));
    }
    let mut note = format!("{host} is ");
    let words: Vec<String> = found.iter().map(|address| address.ip().to_string()).collect();
    note.push_str(&words.join(", "));
    let private = found.iter().all(|address| is_private(address.ip()));
    note.push_str(if private { " (private)" } else { " (public)" });
    if is_proxy {
        note.push_str(", the proxy");
    }
    steps.passed(Step::Name, note);
    Ok(found)
}

/// Whether an address is of a network of one's own: who wants private links only sees it here.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local(),
    }
}

async fn connect<R: Reports>(
    addresses: &[SocketAddr],
    place: &Place,
    steps: &mut Steps<'_, R>,
) -> Result<TcpStream, Broken> {
    let mut why = String::new();
    let (mut refused, mut no_way) = (false, false);
    for address in addresses {
        match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                steps.passed(Step::Connect, address.to_string());
                return Ok(stream);
            }
            Ok(Err(error)) => {
                refused |= error.kind() == io::ErrorKind::ConnectionRefused;
                no_way |= error.kind() == io::ErrorKind::NetworkUnreachable;
                why = format!("{address}: {error}");
            }
            Err(_) => why = format!("{address}: no answer within {} s", PATIENCE.as_secs()),
        }
    }
    let advice = if no_way && !has_way_out() {
        NO_GATEWAY.to_owned()
    } else if refused {
        format!("check port {}: nothing listens there", place.port)
    } else {
        format!(
            "let this machine out to port {} (firewall, security group of the VPC endpoint, route)",
            place.port
        )
    };
    Err(steps.failed(Step::Connect, why, advice))
}

/// Whether this machine has a default route: the kernel says at once where a packet would go, and sends none.
fn has_way_out() -> bool {
    // Addresses of documentation (RFC 5737, RFC 3849): nobody has a route to just these.
    let routes = |from: &str, to: &str| {
        std::net::UdpSocket::bind(from).and_then(|socket| socket.connect(to)).is_ok()
    };
    routes("0.0.0.0:0", "192.0.2.1:9") || routes("[::]:0", "[2001:db8::1]:9")
}

/// Asks the proxy for the way through (CONNECT, RFC 9110 §9.3.6).
async fn tunnel<R: Reports>(
    mut stream: TcpStream,
    proxy: &Proxy,
    place: &Place,
    steps: &mut Steps<'_, R>,
) -> Result<TcpStream, Broken> {
    let to = format!("{}:{}", place.host, place.port);
    let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n");
    if let Some(authorization) = &proxy.authorization {
        request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
    }
    request.push_str("\r\n");
    match ask(&mut stream, &request).await {
        Ok(head) if head.status() == Some(200) => Ok(stream),
        Ok(head) => {
            let advice = match head.status() {
                Some(407) => "enter the proxy's user and password",
                Some(_) | None => "let the proxy pass connections to the S3 endpoint",
            };
            let why = format!("the proxy answers {:?} to CONNECT {to}", head.first());
            Err(steps.failed(Step::Tls, why, advice))
        }
        Err(error) => {
            let why = format!("the proxy does not answer: {error}");
            Err(steps.failed(Step::Tls, why, "check the proxy's address and port"))
        }
    }
}

async fn handshake<R: Reports>(
    target: &ConnectionTest,
    stream: TcpStream,
    place: &Place,
    steps: &mut Steps<'_, R>,
) -> Result<TlsStream<TcpStream>, Broken> {
    let Ok(name) = ServerName::try_from(place.host.clone()) else {
        let why = format!("{} is no name that a certificate can have", place.host);
        return Err(steps.failed(Step::Tls, why, "check the endpoint"));
    };
    let config = match tls_config(&target.s3.ca_bundle) {
        Ok(config) => config,
        Err(error) => {
            let advice = "look into the CA bundle";
            return Err(steps.failed(Step::Tls, error.to_string(), advice));
        }
    };
    let connector = TlsConnector::from(Arc::new(config));
    match timeout(PATIENCE, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => {
            let version = stream.get_ref().1.protocol_version();
            let version = version.and_then(|version| version.as_str()).unwrap_or("TLS");
            steps.passed(Step::Tls, version.replace('_', "."));
            Ok(stream)
        }
        Ok(Err(error)) => Err(steps.failed(Step::Tls, error.to_string(), advice_on_tls(&error))),
        Err(_) => {
            let why = format!("no handshake within {} s", PATIENCE.as_secs());
            let advice = "look for a firewall that inspects TLS, or an MTU that is too large";
            Err(steps.failed(Step::Tls, why, advice))
        }
    }
}

fn advice_on_tls(error: &io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(wrong)) => match wrong {
            CertificateError::UnknownIssuer => {
                "add the authority to the CA bundle, or end the TLS inspection of this connection"
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => {
                "set the clock right; if it is, the server needs a new certificate"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "check the endpoint's name and addressing style: the certificate is for another name"
            }
            _ => "the server needs another certificate",
        },
        Some(_) | None => "check that the endpoint speaks https on this port",
    }
}

/// Asks anything: every answer of HTTP tells the server's time (RFC 9110 §6.6.1).
async fn clock<R: Reports>(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    place: &Place,
    steps: &mut Steps<'_, R>,
) -> Result<(), Broken> {
    let host = &place.host;
    let request = format!("HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let head = match ask(&mut stream, &request).await {
        Ok(head) => head,
        Err(error) => {
            let why = format!("no answer to HEAD /: {error}");
            return Err(steps.failed(Step::Clock, why, "check that this is an S3 endpoint"));
        }
    };
    let Some(theirs) = head.header("date").and_then(http_date) else {
        steps.skipped(Step::Clock, "the server does not tell its time");
        return Ok(());
    };
    judge_clock(SystemClock.now(), theirs, steps)
}

fn judge_clock<R: Reports>(
    ours: Timestamp,
    theirs: Timestamp,
    steps: &mut Steps<'_, R>,
) -> Result<(), Broken> {
    let off = ours.seconds().abs_diff(theirs.seconds());
    let side = if ours.seconds() < theirs.seconds() { "behind" } else { "ahead of" };
    let why = format!("{off} s {side} the server's");
    if off > SKEW_SECONDS_MAX {
        let advice =
            "set the clock right (System Time Management): S3 refuses what is 15 minutes off";
        return Err(steps.failed(Step::Clock, why, advice));
    }
    if off > SKEW_SECONDS_WORTH_A_WORD {
        steps.warning(
            Step::Clock,
            why,
            "name NTP servers that can be reached (System Time Management)",
        );
    } else {
        steps.passed(Step::Clock, why);
    }
    Ok(())
}

/// The head of an HTTP answer.
struct Head(String);

impl Head {
    fn first(&self) -> &str {
        self.0.lines().next().unwrap_or_default()
    }

    fn status(&self) -> Option<u16> {
        self.first().split(' ').nth(1)?.parse().ok()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.0.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Sends a request without a body and reads the head of its answer, and not a byte more.
async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &str,
) -> io::Result<Head> {
    let answered = timeout(PATIENCE, async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut head = Vec::new();
        let mut limited = stream.take(HEAD_BYTES_MAX);
        while !head.ends_with(b"\r\n\r\n") {
            head.push(limited.read_u8().await?);
        }
        Ok(Head(String::from_utf8_lossy(&head).into_owned()))
    });
    answered.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use gateway_api::connection::{Outcome, StepReport};

    use super::*;

    #[test]
    fn hosts_on_the_list_are_reached_without_the_proxy() {
        let list = ["example.com".to_owned(), ".internal".to_owned()];
        for (host, direct) in [
            ("example.com", true),
            ("s3.example.com", true),
            ("a.internal", true),
            ("notexample.com", false),
            ("example.org", false),
        ] {
            assert_eq!(goes_direct(&list, host), direct, "{host}");
        }
        assert!(goes_direct(&["*".to_owned()], "any.host"));
        assert!(!goes_direct(&[String::new()], "any.host"));
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(seconds, 0)
    }

    #[test]
    fn a_clock_that_s3_would_refuse_fails_and_a_bad_one_is_said() {
        let server = at(1_800_000_000);
        for (ours, expected) in [
            (1_800_000_030, "passed"),
            (1_799_999_800, "warning"),
            (1_800_001_000, "failed"),
            (1_799_000_000, "failed"),
        ] {
            let mut seen = Vec::new();
            let mut note = |report: StepReport| seen.push(report.outcome);
            let mut steps = Steps { reports: &mut note, since: std::time::Instant::now(), done: 3 };
            let judged = judge_clock(at(ours), server, &mut steps);
            assert_eq!(judged.is_err(), expected == "failed", "{ours}");
            let word = match &seen[0] {
                Outcome::Passed { .. } => "passed",
                Outcome::Warning { .. } => "warning",
                Outcome::Failed { .. } => "failed",
                Outcome::Skipped { .. } => "skipped",
            };
            assert_eq!(word, expected, "{ours}: {:?}", seen[0]);
        }
    }
}
