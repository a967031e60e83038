//! A request body with its integrity headers and trailers: received, and refused where they do not match.

use http::HeaderMap;
use s3s::dto::StreamingBlob;
use s3s::{S3Request, TrailingHeaders};

use crate::blob::{BlobHome, Body, Received, receive};
use crate::model::{Algorithm, Refused, decode_base64};

/// What a request says about its body.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) algorithm: Algorithm,
    expected: Option<String>,
    content_md5: Option<Vec<u8>>,
    size: u64,
    trailers: Option<TrailingHeaders>,
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

impl Incoming {
    /// Reads the integrity headers; `fallback` is the algorithm where the request names none.
    ///
    /// # Errors
    /// `InvalidRequest` for two checksums or an unknown one, `InvalidDigest`.
    pub(super) fn new<T>(request: &S3Request<T>, fallback: Algorithm) -> Result<Self, Refused> {
        let headers = &request.headers;
        let sent: Vec<Algorithm> = Algorithm::NAMED
            .into_iter()
            .map(|(algorithm, _)| algorithm)
            .filter(|algorithm| headers.contains_key(algorithm.header()))
            .collect();
        if sent.len() > 1 {
            return Err(Refused::InvalidRequest(
                "expecting a single x-amz-checksum- header".to_owned(),
            ));
        }
        let in_trailer = header(headers, "x-amz-trailer").and_then(|names| {
            let known = Algorithm::NAMED.into_iter().map(|(algorithm, _)| algorithm);
            known
                .into_iter()
                .find(|algorithm| names.to_ascii_lowercase().contains(algorithm.header()))
        });
        let asked = header(headers, "x-amz-sdk-checksum-algorithm")
            .or_else(|| header(headers, "x-amz-checksum-algorithm"))
            .map(|name| {
                Algorithm::parse(name).ok_or(Refused::InvalidDigest("x-amz-checksum-algorithm"))
            })
            .transpose()?;
        let algorithm = sent.first().copied().or(in_trailer).or(asked).unwrap_or(fallback);
        let expected = header(headers, algorithm.header()).map(str::to_owned);
        if expected.as_deref().is_some_and(|value| decode_base64(value).is_none()) {
            return Err(Refused::InvalidDigest(algorithm.header()));
        }
        let content_md5 = header(headers, "content-md5")
            .map(|value| {
                let md5 = decode_base64(value).filter(|md5| md5.len() == 16);
                md5.ok_or(Refused::InvalidDigest("Content-MD5"))
            })
            .transpose()?;
        let size = header(headers, "x-amz-decoded-content-length")
            .or_else(|| header(headers, "content-length"));
        Ok(Self {
            algorithm,
            expected,
            content_md5,
            size: size.and_then(|size| size.parse().ok()).unwrap_or(0),
            trailers: request.trailing_headers.clone(),
        })
    }

    /// Receives the body and compares every digest sent with it.
    ///
    /// # Errors
    /// `IncompleteBody`, `BadDigest`, signature errors, `Internal`.
    pub(super) async fn receive(
        self,
        home: &BlobHome,
        body: Option<StreamingBlob>,
    ) -> Result<Received, Refused> {
        let body = body.unwrap_or_else(|| StreamingBlob::from(s3s::Body::empty()));
        let received = receive(home, self.algorithm, self.size, body).await?;
        if received.size != self.size {
            let reason = format!("{} bytes were announced", self.size);
            return Err(Refused::IncompleteBody { received: received.size, reason });
        }
        if self.content_md5.is_some_and(|md5| md5 != received.md5) {
            return Err(Refused::BadDigest("Content-MD5"));
        }
        let name = self.algorithm.header();
        let trailer = self.trailers.and_then(|trailers| trailers.take());
        let trailer = trailer.as_ref().and_then(|trailer| header(trailer, name));
        for expected in [self.expected.as_deref(), trailer].into_iter().flatten() {
            if expected != received.checksum.value {
                return Err(Refused::BadDigest(name));
            }
        }
        Ok(received)
    }
}

/// Reads a body of the store again, for its MD5 and checksum.
///
/// # Errors
/// `Internal` where the disk fails.
pub(super) async fn rehash(
    body: &Body,
    algorithm: Algorithm,
) -> Result<([u8; 16], crate::model::Checksum), Refused> {
    let mut digests = crate::model::Digests::new(algorithm);
    let mut stream = body.stream();
    let mut next = async || {
        std::future::poll_fn(|context| {
            futures_core::Stream::poll_next(std::pin::Pin::new(&mut stream), context)
        })
        .await
    };
    while let Some(chunk) = next().await {
        digests.update(&chunk.map_err(|error| Refused::Internal(error.to_string()))?);
    }
    Ok(digests.finish())
}
