//! Request bodies that leave no faster than the bound: an interceptor of the SDK that wraps the body
//! after it has been signed.
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use aws_sdk_s3::{
    config::{
        ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextMut,
    },
    error::BoxError,
    primitives::SdkBody,
};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::pace::Pace;

/// Sends bodies at the pace.
#[derive(Debug)]
pub(super) struct PacedBodies(pub(super) Arc<Pace>);

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for PacedBodies {
    fn name(&self) -> &'static str {
        "PacedBodies"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.request_mut().body_mut();
        let has_bytes = body.content_length().is_none_or(|bytes| bytes > 0);
        if has_bytes && self.0.step().is_some() {
            let inner = std::mem::replace(body, SdkBody::taken());
            *body = SdkBody::from_body_1_x(PacedBody::new(inner, Arc::clone(&self.0)));
        }
        Ok(())
    }
}

type Passing = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// A body whose bytes wait for their turn.
struct PacedBody {
    inner: SdkBody,
    pace: Arc<Pace>,
    /// Taken from `inner` and not given yet.
    held: Bytes,
    /// How many of `held` are waiting for their turn.
    passing: Option<(usize, Passing)>,
    given: u64,
    length: Option<u64>,
}

impl PacedBody {
    fn new(inner: SdkBody, pace: Arc<Pace>) -> Self {
        let length = inner.content_length();
        Self { inner, pace, held: Bytes::new(), passing: None, given: 0, length }
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            if let Some((bytes, passing)) = &mut this.passing {
                ready!(passing.as_mut().poll(cx));
                let step = this.held.split_to(*bytes);
                this.passing = None;
                this.given += step.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(step))));
            }
            if !this.held.is_empty() {
                let bytes = this.pace.step().unwrap_or(usize::MAX).min(this.held.len());
                let pace = Arc::clone(&this.pace);
                this.passing = Some((bytes, Box::pin(async move { pace.pass(bytes).await })));
                continue;
            }
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.held = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.passing.is_none() && self.held.is_empty() && Body::is_end_stream(&self.inner)
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(length) => SizeHint::with_exact(length.saturating_sub(self.given)),
            None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_keeps_its_bytes_and_leaves_in_steps() {
        let pace = Arc::new(Pace::default());
        pace.set(Some(100 << 20));
        let step = pace.step().unwrap();
        let bytes: Vec<u8> = (0..500_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let mut body = PacedBody::new(SdkBody::from(bytes.clone()), pace);
        assert_eq!(body.size_hint().exact(), Some(500_000));
        let mut got = Vec::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
        {
            let data = frame.unwrap().into_data().unwrap();
            assert!(data.len() <= step);
            got.extend_from_slice(&data);
            assert_eq!(body.size_hint().exact(), Some(500_000 - got.len() as u64));
        }
        assert_eq!(got, bytes);
        assert!(body.is_end_stream());
    }
}
