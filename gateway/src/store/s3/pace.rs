//! Bodies on their way to S3. They are given to the connection in small pieces, so that they leave no
//! faster than the bound, and so that it can be seen whether they move: a slow link may take its time,
//! one that moves nothing is given up.
use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeTransmitInterceptorContextMut},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{body::SdkBody, config_bag::ConfigBag};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::store::pace::Pace;

/// Bytes that are given to the connection at once. Small against what it buffers (some 400 KiB, and the
/// system as much again or more), large enough to cost nothing.
const PIECE_BYTES: usize = 32 << 10;

/// How long a body may stand still. Each limit is between once and twice this long: it is looked at
/// once in a period whether something has moved since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendLimits {
    /// While pieces are left: no piece was taken for this long.
    pub stall: Duration,
    /// After the last piece, until the answer: what the system had buffered must still go out.
    pub answer: Duration,
}

impl Default for SendLimits {
    /// Two minutes: a system that buffers 2 MiB takes the next piece when a third of it is free, which
    /// a link of 6 KiB/s does in time. Five minutes for the rest and the answer.
    fn default() -> Self {
        Self { stall: Duration::from_secs(120), answer: Duration::from_secs(300) }
    }
}

/// One body that is being sent.
#[derive(Clone, Debug)]
pub(super) struct Sending {
    body: Bytes,
    taken: Arc<AtomicU64>,
    pace: Arc<Pace>,
}

impl Sending {
    /// `body`, of which nothing is sent yet, to go at `pace`.
    pub(super) fn new(body: Bytes, pace: &Arc<Pace>) -> Self {
        Self { body, taken: Arc::default(), pace: Arc::clone(pace) }
    }

    /// Waits for `sent`, whose request has this as its interceptor, as long as the body moves; `None`
    /// when it has stood still.
    pub(super) async fn watch<T>(
        &self,
        limits: SendLimits,
        sent: impl Future<Output = T>,
    ) -> Option<T> {
        let mut sent = std::pin::pin!(sent);
        let whole = self.body.len() as u64;
        let mut seen = 0;
        loop {
            let limit = if seen == whole { limits.answer } else { limits.stall };
            match tokio::time::timeout(limit, sent.as_mut()).await {
                Ok(answer) => return Some(answer),
                Err(_) => {
                    let taken = self.taken.load(Ordering::Relaxed);
                    // An empty body has nothing to move: only the answer counts.
                    if taken == seen {
                        return None;
                    }
                    seen = taken;
                }
            }
        }
    }
}

impl Intercept for Sending {
    fn name(&self) -> &'static str {
        "Sending"
    }

    /// Replaces the signed body by the same bytes in pieces.
    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.request_mut().body_mut();
        if body.bytes() != Some(&self.body[..]) {
            return Err("the body to be sent is not the one that was given".into());
        }
        let taken = Arc::clone(&self.taken);
        let (rest, pace) = (self.body.clone(), Arc::clone(&self.pace));
        *body = SdkBody::from_body_1_x(Pieces { rest, taken, pace, passing: None });
        Ok(())
    }
}

/// A body in pieces that counts what was taken of it.
struct Pieces {
    rest: Bytes,
    taken: Arc<AtomicU64>,
    pace: Arc<Pace>,
    /// How many bytes wait for their turn.
    passing: Option<(usize, Passing)>,
}

type Passing = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let (most, mut passing) = self.passing.take().unwrap_or_else(|| {
            let step = self.pace.step().unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let (most, pace) = (self.rest.len().min(step), Arc::clone(&self.pace));
            (most, Box::pin(async move { pace.pass(most).await }))
        });
        if passing.as_mut().poll(context).is_pending() {
            self.passing = Some((most, passing));
            return Poll::Pending;
        }
        let piece = self.rest.split_to(most);
        self.taken.fetch_add(most as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};

    use super::*;

    const SHORT: SendLimits =
        SendLimits { stall: Duration::from_millis(5), answer: Duration::from_millis(5) };

    #[tokio::test]
    async fn a_body_comes_whole_in_pieces_that_are_counted() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
        let taken = Arc::<AtomicU64>::default();
        let pace = Arc::<Pace>::default();
        pace.set(Some(400 << 10));
        let most = pace.step().unwrap();
        assert!(most < PIECE_BYTES, "the bound makes the pieces smaller");
        let mut body = Pieces {
            rest: Bytes::from(bytes.clone()),
            taken: Arc::clone(&taken),
            pace,
            passing: None,
        };
        let mut came = Vec::new();
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let left = body.size_hint().exact().unwrap();
            let piece = frame.unwrap().into_data().unwrap();
            assert!(piece.len() <= most);
            came.extend_from_slice(&piece);
            assert_eq!(came.len() as u64 + left, 100_000);
            assert_eq!(taken.load(Ordering::Relaxed), came.len() as u64);
        }
        assert!(came == bytes && body.is_end_stream());
    }

    #[tokio::test]
    async fn what_stands_still_is_given_up_whether_or_not_the_body_has_gone() {
        for moved in [0, 1, 3] {
            let sending = Sending::new(Bytes::from_static(b"abc"), &Arc::default());
            sending.taken.store(moved, Ordering::Relaxed);
            assert_eq!(sending.watch(SHORT, pending::<()>()).await, None, "{moved}");
        }
    }

    /// Every period ends at its limit, and every one finds that the body has moved meanwhile.
    #[tokio::test]
    async fn what_moves_is_waited_for_beyond_the_limit() {
        let sending = Sending::new(Bytes::from(vec![0; 1000]), &Arc::default());
        let mut polls = 0;
        let slow = poll_fn(|_| {
            sending.taken.fetch_add(1, Ordering::Relaxed);
            polls += 1;
            if polls < 10 { Poll::Pending } else { Poll::Ready(()) }
        });
        assert_eq!(sending.watch(SHORT, slow).await, Some(()));
    }
}
