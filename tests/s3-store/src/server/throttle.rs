//! A connection that carries at most so many bytes a second in each direction.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::faults::Faults;

/// Writes are cut so that a limited connection moves at least so often.
const STEPS_PER_SECOND: u64 = 50;
const STEP_BYTES_MIN: u64 = 1 << 10;

/// Wraps a connection; the limit is read from [`Faults`] at every step.
#[derive(Debug)]
pub(super) struct Throttled<S> {
    inner: S,
    faults: Faults,
    reading: Pace,
    writing: Pace,
}

/// When the next byte of one direction may move.
#[derive(Debug)]
struct Pace {
    next: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Pace {
    fn new() -> Self {
        let next = Instant::now();
        Self { next, sleep: Box::pin(tokio::time::sleep_until(next)) }
    }

    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.next <= Instant::now() {
            return Poll::Ready(());
        }
        self.sleep.as_mut().reset(self.next);
        self.sleep.as_mut().poll(context)
    }

    fn spend(&mut self, bytes: usize, rate: u64) {
        let ns = (bytes as u128 * 1_000_000_000) / u128::from(rate);
        let cost = Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX));
        self.next = self.next.max(Instant::now()) + cost;
    }
}

impl<S> Throttled<S> {
    pub(super) fn new(inner: S, faults: Faults) -> Self {
        Self { inner, faults, reading: Pace::new(), writing: Pace::new() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Throttled<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(rate) = this.faults.rate_per_connection() else {
            return Pin::new(&mut this.inner).poll_read(context, buffer);
        };
        ready!(this.reading.poll_turn(context));
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
        this.reading.spend(buffer.filled().len() - before, rate);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Throttled<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Some(rate) = this.faults.rate_per_connection() else {
            return Pin::new(&mut this.inner).poll_write(context, bytes);
        };
        ready!(this.writing.poll_turn(context));
        let step =
            usize::try_from((rate / STEPS_PER_SECOND).max(STEP_BYTES_MIN)).unwrap_or(usize::MAX);
        let written =
            ready!(Pin::new(&mut this.inner).poll_write(context, &bytes[..bytes.len().min(step)]))?;
        this.writing.spend(written, rate);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
