//! A stream of bytes that comes in pieces of given sizes, as TCP may cut it.
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use arbitrary::{Result, Unstructured};
use tokio::io::{AsyncRead, ReadBuf};

/// Most sizes that an input gives; what is left comes as one piece.
const PIECES_MAX: u8 = 32;

/// Bytes and how they are cut.
#[derive(Clone, Debug)]
pub(super) struct Pieces {
    sizes: Vec<u16>,
    /// All bytes, in order.
    pub(super) stream: Vec<u8>,
}

impl Pieces {
    /// Of an input: how many sizes, the sizes, the bytes.
    pub(super) fn of(input: &[u8]) -> Result<Self> {
        let mut input = Unstructured::new(input);
        let count = input.arbitrary::<u8>()? % (PIECES_MAX + 1);
        let sizes = (0..count).map(|_| input.arbitrary()).collect::<Result<_>>()?;
        Ok(Self { sizes, stream: input.take_rest().to_vec() })
    }

    /// The source of these bytes.
    pub(super) fn source(self) -> Source {
        Source { pieces: self, next: 0, sent: 0 }
    }
}

/// Gives one piece at a time; a piece without bytes is a moment in which nothing comes.
#[derive(Debug)]
pub(super) struct Source {
    pieces: Pieces,
    next: usize,
    sent: usize,
}

impl Source {
    /// The next piece; `None` at the end.
    pub(super) fn piece(&mut self) -> Option<&[u8]> {
        let rest = &self.pieces.stream[self.sent..];
        if rest.is_empty() {
            return None;
        }
        let size = self.pieces.sizes.get(self.next).map_or(rest.len(), |size| usize::from(*size));
        self.next += 1;
        let piece = &rest[..size.min(rest.len())];
        self.sent += piece.len();
        Some(piece)
    }
}

impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        let sent = self.sent;
        let Some(piece) = self.piece() else { return Poll::Ready(Ok(())) };
        let taken = piece.len().min(room);
        if taken == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        buffer.put_slice(&piece[..taken]);
        self.sent = sent + taken;
        Poll::Ready(Ok(()))
    }
}
