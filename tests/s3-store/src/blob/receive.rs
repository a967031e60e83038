//! Takes a body from a client: hashes it as it passes, into memory or into a new blob file.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use tokio::io::AsyncWriteExt;

use super::{Blob, BlobFiles, BlobHome, Body, Segment};
use crate::model::{Algorithm, Checksum, Digests};

/// What a received body is.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) body: Body,
    pub(crate) size: u64,
    pub(crate) md5: [u8; 16],
    pub(crate) checksum: Checksum,
}

/// Why a body was not received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    #[error("the body ended after {received} bytes: {source}")]
    Source { received: u64, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the body cannot be kept: {0}")]
    Disk(#[from] std::io::Error),
}

/// The most memory set aside for a body before its bytes are there.
const CAPACITY_BYTES_MAX: u64 = 64 << 20;

/// Takes `source` to its end. `size_hint` is what the client announced.
///
/// Cancel safe: a body cut short leaves nothing but a file that the next start removes.
///
/// # Errors
/// `Source` where the client stopped early or its body does not match its signature, `Disk`.
pub(crate) async fn receive<S, E>(
    home: &BlobHome,
    algorithm: Algorithm,
    size_hint: u64,
    mut source: S,
) -> Result<Received, ReceiveError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut digests = Digests::new(algorithm);
    let mut size = 0_u64;
    let mut sink = Sink::new(home, size_hint).await?;
    while let Some(chunk) =
        std::future::poll_fn(|context| Pin::new(&mut source).poll_next(context)).await
    {
        let chunk = chunk
            .map_err(|source| ReceiveError::Source { received: size, source: source.into() })?;
        digests.update(&chunk);
        size += chunk.len() as u64;
        sink.write(chunk).await?;
    }
    let body = sink.finish(size).await?;
    let (md5, checksum) = digests.finish();
    Ok(Received { body, size, md5, checksum })
}

enum Sink {
    Memory(BytesMut),
    File { file: tokio::io::BufWriter<tokio::fs::File>, files: BlobFiles, number: u64 },
}

impl Sink {
    async fn new(home: &BlobHome, size_hint: u64) -> std::io::Result<Self> {
        match home {
            BlobHome::Memory => {
                let capacity = usize::try_from(size_hint.min(CAPACITY_BYTES_MAX)).unwrap_or(0);
                Ok(Self::Memory(BytesMut::with_capacity(capacity)))
            }
            BlobHome::Directory(files) => {
                let number = files.directory.next.fetch_add(1, Ordering::Relaxed);
                let path = files.directory.file(number).with_extension("tmp");
                let file = tokio::fs::File::create(path).await?;
                let file = tokio::io::BufWriter::with_capacity(256 << 10, file);
                Ok(Self::File { file, files: files.clone(), number })
            }
        }
    }

    async fn write(&mut self, chunk: Bytes) -> std::io::Result<()> {
        match self {
            Self::Memory(buffer) => {
                buffer.extend_from_slice(&chunk);
                Ok(())
            }
            Self::File { file, .. } => file.write_all(&chunk).await,
        }
    }

    async fn finish(self, size: u64) -> std::io::Result<Body> {
        match self {
            Self::Memory(buffer) => Ok(Body::from_bytes(buffer.freeze())),
            Self::File { mut file, files, number } => {
                file.flush().await?;
                let path = files.directory.file(number);
                tokio::fs::rename(path.with_extension("tmp"), &path).await?;
                let blob = Arc::new(Blob::File { directory: Arc::clone(&files.directory), number });
                Ok(Body { segments: vec![Segment { blob, offset: 0, length: size }] })
            }
        }
    }
}

impl BlobHome {
    /// Keeps bytes at hand; blocks on the disk in directory mode.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn keep(&self, bytes: &[u8]) -> std::io::Result<Body> {
        match self {
            Self::Memory => Ok(Body::from_bytes(Bytes::copy_from_slice(bytes))),
            Self::Directory(files) => {
                let number = files.directory.next.fetch_add(1, Ordering::Relaxed);
                let path = files.directory.file(number);
                std::fs::write(path.with_extension("tmp"), bytes)?;
                std::fs::rename(path.with_extension("tmp"), &path)?;
                let blob = Arc::new(Blob::File { directory: Arc::clone(&files.directory), number });
                Ok(Body { segments: vec![Segment { blob, offset: 0, length: bytes.len() as u64 }] })
            }
        }
    }
}
