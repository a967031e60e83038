//! Gives a body out: as a stream of bounded chunks, or whole for a direct look.

use std::io::{Read, Seek, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use s3s::StdError;
use s3s::stream::{ByteStream, RemainingLength};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;

use super::{Blob, Body, Segment};

/// Size of one chunk: large enough that a GET is not a stream of tiny writes, small enough for many at once.
const CHUNK_BYTES: u64 = 256 << 10;
/// Chunks read ahead of a slow client.
const CHUNKS_AHEAD: usize = 4;

/// A body on its way to a client.
#[derive(Debug)]
pub(crate) struct BodyStream {
    source: Source,
    remaining: u64,
}

#[derive(Debug)]
enum Source {
    /// Slices still to be given, last first.
    Memory(Vec<Bytes>),
    File(mpsc::Receiver<std::io::Result<Bytes>>),
}

impl Body {
    /// Streams the whole body. Files are read by a task that ends with the stream.
    pub(crate) fn stream(&self) -> BodyStream {
        let remaining = self.segments.iter().map(|segment| segment.length).sum();
        let slices: Option<Vec<Bytes>> = self.segments.iter().map(Segment::in_memory).collect();
        let source = match slices {
            Some(slices) => Source::Memory(slices.iter().flat_map(chunks).rev().collect()),
            None => {
                let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
                // Ends by itself when the body is read or the receiver is gone.
                tokio::spawn(read_segments(self.segments.clone(), sender));
                Source::File(receiver)
            }
        };
        BodyStream { source, remaining }
    }

    /// The whole body at once; blocks on the disk in directory mode.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn to_vec(&self) -> std::io::Result<Vec<u8>> {
        let mut all = Vec::new();
        for segment in &self.segments {
            match (&*segment.blob, segment.in_memory()) {
                (Blob::File { directory, number }, _) => {
                    let mut file = std::fs::File::open(directory.file(*number))?;
                    file.seek(SeekFrom::Start(segment.offset))?;
                    file.take(segment.length).read_to_end(&mut all)?;
                }
                (Blob::Memory(_), slice) => all.extend_from_slice(&slice.unwrap_or_default()),
            }
        }
        Ok(all)
    }
}

impl Segment {
    fn in_memory(&self) -> Option<Bytes> {
        match &*self.blob {
            Blob::Memory(bytes) => {
                let start = usize::try_from(self.offset).ok()?;
                let end = usize::try_from(self.offset + self.length).ok()?;
                Some(bytes.slice(start..end))
            }
            Blob::File { .. } => None,
        }
    }
}

fn chunks(bytes: &Bytes) -> Vec<Bytes> {
    let step = usize::try_from(CHUNK_BYTES).unwrap_or(usize::MAX);
    (0..bytes.len())
        .step_by(step)
        .map(|start| bytes.slice(start..bytes.len().min(start + step)))
        .collect()
}

async fn read_segments(segments: Vec<Segment>, sender: mpsc::Sender<std::io::Result<Bytes>>) {
    for segment in segments {
        if let Err(error) = read_segment(&segment, &sender).await {
            // The receiver may have gone: then nobody waits for the error.
            drop(sender.send(Err(error)).await);
            return;
        }
    }
}

async fn read_segment(
    segment: &Segment,
    sender: &mpsc::Sender<std::io::Result<Bytes>>,
) -> std::io::Result<()> {
    let path = match &*segment.blob {
        Blob::Memory(bytes) => {
            let slice = segment.in_memory().unwrap_or_else(|| bytes.clone());
            for chunk in chunks(&slice) {
                if sender.send(Ok(chunk)).await.is_err() {
                    return Ok(());
                }
            }
            return Ok(());
        }
        Blob::File { directory, number } => directory.file(*number),
    };
    let mut file = tokio::fs::File::open(path).await?;
    file.seek(SeekFrom::Start(segment.offset)).await?;
    let mut left = segment.length;
    while left > 0 {
        let length = usize::try_from(left.min(CHUNK_BYTES)).unwrap_or(usize::MAX);
        let mut chunk = vec![0; length];
        file.read_exact(&mut chunk).await?;
        left -= length as u64;
        if sender.send(Ok(Bytes::from(chunk))).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

impl Stream for BodyStream {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = match &mut self.source {
            Source::Memory(slices) => Poll::Ready(slices.pop().map(Ok)),
            Source::File(receiver) => receiver.poll_recv(context).map_err(StdError::from),
        };
        if let Poll::Ready(Some(Ok(chunk))) = &next {
            self.remaining = self.remaining.saturating_sub(chunk.len() as u64);
        }
        next
    }
}

impl ByteStream for BodyStream {
    fn remaining_length(&self) -> RemainingLength {
        RemainingLength::new_exact(usize::try_from(self.remaining).unwrap_or(usize::MAX))
    }
}
