//! What somebody has put on a web server for the appliance: an update, a settings document. It comes on the
//! way that requests to S3 take: the same proxy, the same authorities.
use std::{
    error::Error,
    future::poll_fn,
    io::{self, Write},
    pin::Pin,
    time::Duration,
};

use aws_smithy_http_client::{
    Connector,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorSettings},
    orchestrator::{HttpRequest, HttpResponse},
};
use gateway_api::{settings::S3Settings, shown_url};
use http_body::Body;
use thiserror::Error as ThisError;
use tokio::time::timeout;

use super::transport::{proxy, tls};

/// Longest wait for a connection; for the head of an answer, or the next part of its body.
const CONNECT_TIME: Duration = Duration::from_secs(15);
const READ_TIME: Duration = Duration::from_secs(60);
/// Redirections that are followed.
const REDIRECTIONS_MAX: usize = 5;

/// Why nothing, or not all of it, was downloaded. URLs are in it as they may be shown ([`shown_url`]): these
/// words go to the console and to logs.
#[derive(Debug, ThisError)]
pub enum DownloadError {
    /// The URL cannot be used.
    #[error("{0:?} is no URL that begins with http:// or https://")]
    Url(String),
    /// CA bundle or proxy cannot be used.
    #[error(transparent)]
    Settings(#[from] gateway_api::SettingsError),
    /// No answer.
    #[error("{url}: {why}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// The causes, the nearest last.
        why: String,
    },
    /// An answer without what was asked for.
    #[error("{url}: the server answers {status}{}", meaning(*.status))]
    Refused {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// It leads from one place to the next.
    #[error("{url}: the server sends from one address to the next: name the last one")]
    Redirections {
        /// What was asked for first.
        url: String,
    },
    /// What was asked for over https is to be had by http only.
    #[error("{url}: the server sends on to {to}, which is not https")]
    Unprotected {
        /// What was asked for.
        url: String,
        /// Where it leads.
        to: String,
    },
    /// Too long.
    #[error("{url} has more than {max} bytes")]
    TooLong {
        /// What was asked for.
        url: String,
        /// Most that is taken.
        max: u64,
    },
    /// It cannot be handed on.
    #[error("what was downloaded cannot be handed on: {0}")]
    Output(#[from] io::Error),
}

fn meaning(status: u16) -> &'static str {
    match status {
        401 | 403 => ": it wants to know who asks; a presigned URL may have expired",
        404 | 410 => ": there is no such file",
        407 => ": enter the proxy's user and password",
        _ => "",
    }
}

/// Writes what is at `url` (GET, RFC 9110 §9.3.1) to `output`, `max` bytes at most; how many it were. What was
/// written before an error is worth nothing.
///
/// # Errors
/// See [`DownloadError`]; none is worth a retry by itself.
pub async fn download(
    settings: &S3Settings,
    url: &str,
    max: u64,
    output: &mut (impl Write + Send),
) -> Result<u64, DownloadError> {
    let timeouts = HttpConnectorSettings::builder();
    let timeouts = timeouts.connect_timeout(CONNECT_TIME).read_timeout(READ_TIME).build();
    let mut connector = Connector::builder().connector_settings(timeouts);
    connector.set_proxy_config(proxy(settings)?);
    let provider = Provider::rustls(CryptoMode::AwsLc);
    let connector = connector.tls_provider(provider).tls_context(tls(&settings.ca_bundle)?).build();
    let mut place = url.to_owned();
    for _ in 0..=REDIRECTIONS_MAX {
        let answer = get(&connector, &place).await?;
        let status = answer.status().as_u16();
        let to = answer.headers().get("location").filter(|_| (300..400).contains(&status));
        match to {
            Some(to) => {
                let to = resolved(&place, to).ok_or_else(|| DownloadError::Url(shown_url(to)))?;
                if place.starts_with("https://") && !to.starts_with("https://") {
                    let (url, to) = (shown_url(&place), shown_url(&to));
                    return Err(DownloadError::Unprotected { url, to });
                }
                place = to;
            }
            None if status == 200 => return hand_on(answer, &place, max, output).await,
            None => return Err(DownloadError::Refused { url: shown_url(&place), status }),
        }
    }
    Err(DownloadError::Redirections { url: shown_url(url) })
}

async fn get(connector: &Connector, url: &str) -> Result<HttpResponse, DownloadError> {
    if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(DownloadError::Url(shown_url(url)));
    }
    let request = HttpRequest::get(url).map_err(|_| DownloadError::Url(shown_url(url)))?;
    connector.call(request).await.map_err(|error| unreachable(url, &error))
}

fn unreachable(url: &str, error: &(dyn Error + 'static)) -> DownloadError {
    let mut why = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let words = error.to_string().replace(url, &shown_url(url));
        if !why.contains(&words) {
            why.push(words);
        }
        next = error.source();
    }
    DownloadError::Unreachable { url: shown_url(url), why: why.join(": ") }
}

/// Where a `Location` header leads (RFC 9110 §10.2.2): an absolute URL, one without a scheme, or a path from
/// the root.
fn resolved(from: &str, to: &str) -> Option<String> {
    let (scheme, rest) = from.split_once("://")?;
    let is_absolute =
        |scheme: &str| to.get(..scheme.len()).is_some_and(|at| at.eq_ignore_ascii_case(scheme));
    if is_absolute("http://") || is_absolute("https://") {
        Some(to.to_owned())
    } else if to.starts_with("//") {
        Some(format!("{scheme}:{to}"))
    } else if to.starts_with('/') {
        let authority = rest.split(['/', '?', '#']).next()?;
        Some(format!("{scheme}://{authority}{to}"))
    } else {
        None
    }
}

async fn hand_on(
    answer: HttpResponse,
    url: &str,
    max: u64,
    output: &mut (impl Write + Send),
) -> Result<u64, DownloadError> {
    let too_long = || DownloadError::TooLong { url: shown_url(url), max };
    let length = answer.headers().get("content-length").and_then(|length| length.parse().ok());
    if length.is_some_and(|length: u64| length > max) {
        return Err(too_long());
    }
    let mut body = answer.into_body();
    let mut taken = 0_u64;
    loop {
        let frame = timeout(READ_TIME, poll_fn(|context| Pin::new(&mut body).poll_frame(context)));
        let silent = || DownloadError::Unreachable {
            url: shown_url(url),
            why: format!("nothing came for {} s", READ_TIME.as_secs()),
        };
        let Some(frame) = frame.await.map_err(|_| silent())? else { break };
        let frame = frame.map_err(|error| unreachable(url, error.as_ref()))?;
        let Ok(data) = frame.into_data() else { continue };
        taken += data.len() as u64;
        if taken > max {
            return Err(too_long());
        }
        output.write_all(&data)?;
    }
    output.flush()?;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// A server that gives these answers, one for each connection, and its URL.
    async fn server(answers: Vec<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        url
    }

    fn ok(body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
    }

    fn moved(to: &str) -> String {
        format!(
            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    }

    async fn got(url: &str, max: u64) -> Result<String, String> {
        let mut output = Vec::new();
        let done = download(&S3Settings::default(), url, max, &mut output).await;
        let taken = done.map_err(|error| error.to_string())?;
        assert_eq!(taken, output.len() as u64);
        Ok(String::from_utf8(output).unwrap())
    }

    #[tokio::test]
    async fn what_is_there_is_handed_on_and_no_more_than_may_be() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                       5\r\nhello\r\n0\r\n\r\n";
        let answers = vec![ok("hello"), chunked.to_owned(), ok("hello"), chunked.to_owned()];
        let url = server(answers).await;
        assert_eq!(got(&url, 5).await.unwrap(), "hello");
        assert_eq!(got(&url, 5).await.unwrap(), "hello");
        assert!(got(&url, 4).await.unwrap_err().contains("has more than 4 bytes"));
        assert!(got(&url, 4).await.unwrap_err().contains("has more than 4 bytes"));
    }

    #[tokio::test]
    async fn redirections_are_followed_to_an_end() {
        let end = server(vec![ok("there")]).await;
        let url = server(vec![moved("/next"), moved(&format!("{end}/file"))]).await;
        assert_eq!(got(&url, 100).await.unwrap(), "there");
        let url = server((0..=REDIRECTIONS_MAX).map(|_| moved("/on")).collect()).await;
        assert!(got(&url, 100).await.unwrap_err().contains("from one address to the next"));
        assert_eq!(resolved("https://a/b", "//c/d").as_deref(), Some("https://c/d"));
        assert_eq!(resolved("https://a:1/b?c", "/d").as_deref(), Some("https://a:1/d"));
        let with_url = resolved("https://a/b", "/login?next=https://x/");
        assert_eq!(with_url.as_deref(), Some("https://a/login?next=https://x/"));
        assert_eq!(resolved("https://a/b", "HTTP://c").as_deref(), Some("HTTP://c"));
        assert_eq!(resolved("https://a/b", "d"), None);
    }

    /// Whatever goes wrong, what is secret in a URL is in no word of it.
    #[tokio::test]
    async fn no_error_tells_the_secrets_of_a_url() {
        let none = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let on = |to: &str| moved(&format!("{to}?X-Amz-Signature=hush"));
        let cut = ok("hello").replace("Length: 5", "Length: 9");
        let bad = "no HTTP at all\r\n\r\n".to_owned();
        let answers = vec![none.to_owned(), on("ftp://me:hush@b/c"), ok("hello"), cut, bad];
        let count = answers.len();
        let url = server(answers).await;
        let secret = |url: &str| url.replace("://", "://me:hush@") + "/f?X-Amz-Signature=hush";
        let mut said = Vec::new();
        for _ in 0..count {
            said.push(got(&secret(&url), 4).await.unwrap_err());
        }
        let url = server((0..=REDIRECTIONS_MAX).map(|_| on("/on")).collect()).await;
        said.push(got(&secret(&url), 100).await.unwrap_err());
        for wrong in ["http://127.0.0.1:1", "ftp://host", "http://host:port"] {
            said.push(got(&secret(wrong), 100).await.unwrap_err());
        }
        let shown = ["://[removed]@", "/f?[removed]"];
        for words in said {
            assert!(!words.contains("hush") && !words.contains("me:"), "{words}");
            assert!(shown.iter().any(|shown| words.contains(shown)), "{words}");
        }
        let unprotected = DownloadError::Unprotected {
            url: shown_url(&secret("https://host")),
            to: shown_url(&secret("http://host")),
        };
        assert!(!unprotected.to_string().contains("hush"), "{unprotected}");
    }

    #[tokio::test]
    async fn what_is_cut_off_is_an_error_and_refusals_are_said() {
        let cut = ok("hello").replace("Length: 5", "Length: 9");
        let none = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let url = server(vec![cut, none.to_owned()]).await;
        let why = got(&url, 100).await.unwrap_err();
        assert!(why.starts_with(&url), "{why}");
        assert!(got(&url, 100).await.unwrap_err().ends_with("answers 404: there is no such file"));
        let nobody = got("http://127.0.0.1:1/", 100).await.unwrap_err();
        assert!(nobody.contains("refused"), "{nobody}");
        for wrong in ["ftp://a/b", "a/b", "https://", ""] {
            assert!(got(wrong, 100).await.unwrap_err().contains("is no URL"), "{wrong}");
        }
    }
}
