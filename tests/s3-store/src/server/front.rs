//! The HTTP front: latency before a request, request ids, and the faults that change or replace a reply.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use s3s::service::S3Service;
use s3s::{Body, StdError};

use super::gate::FaultSlot;
use crate::faults::{FaultAction, Faults};
use crate::service::s3_error;

/// One per server; clones go to its connections.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    pub(super) service: S3Service,
    pub(super) faults: Faults,
    pub(super) requests: Arc<AtomicU64>,
}

/// The connection is to be closed without a reply.
#[derive(Debug, thiserror::Error)]
#[error("connection closed: {0}")]
pub(super) struct Hangup(String);

impl Front {
    /// Answers one request.
    ///
    /// # Errors
    /// `Hangup` closes the connection.
    pub(super) async fn handle(
        self,
        request: Request<hyper::body::Incoming>,
    ) -> Result<Response<ReplyBody>, Hangup> {
        let latency = self.faults.latency();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let slot = FaultSlot::default();
        let mut request = request.map(Body::from);
        request.extensions_mut().insert(Arc::clone(&slot));
        let reply = self.service.call(request).await;
        let reply = reply.map_err(|error| Hangup(StdError::from(error).to_string()))?;
        let mut reply = faulty(reply, slot.get())?;
        let id = HeaderValue::from_str(&format!("{number:016X}"))
            .unwrap_or(HeaderValue::from_static("0"));
        reply.headers_mut().insert("x-amz-request-id", id);
        Ok(reply)
    }
}

fn faulty(
    reply: Response<Body>,
    fault: Option<&FaultAction>,
) -> Result<Response<ReplyBody>, Hangup> {
    let whole = |body| ReplyBody { inner: body, sent: 0, cut_at: None, flip_at: None };
    match fault {
        None | Some(FaultAction::Delay(_) | FaultAction::Hold(_)) => Ok(reply.map(whole)),
        Some(FaultAction::DropBefore | FaultAction::DropAfter) => {
            Err(Hangup("injected fault".to_owned()))
        }
        Some(FaultAction::ShortBody { bytes }) => {
            Ok(reply.map(|inner| ReplyBody { inner, sent: 0, cut_at: Some(*bytes), flip_at: None }))
        }
        Some(FaultAction::FlipByte { offset }) => Ok(reply.map(|inner| ReplyBody {
            inner,
            sent: 0,
            cut_at: None,
            flip_at: Some(*offset),
        })),
        Some(
            FaultAction::FailBefore { status, code } | FaultAction::FailAfter { status, code },
        ) => {
            let status =
                StatusCode::from_u16(*status).map_err(|error| Hangup(error.to_string()))?;
            let error = s3_error(status, code, "injected fault".to_owned());
            let reply = error.to_http_response().map_err(|error| Hangup(error.to_string()))?;
            Ok(reply.map(whole))
        }
    }
}

/// A reply's body, possibly cut short or with one byte changed.
#[derive(Debug)]
pub(super) struct ReplyBody {
    inner: Body,
    sent: u64,
    cut_at: Option<u64>,
    flip_at: Option<u64>,
}

impl ReplyBody {
    fn change(&mut self, mut chunk: Bytes) -> Result<Bytes, StdError> {
        let length = chunk.len() as u64;
        if let Some(cut) = self.cut_at.filter(|cut| self.sent + length > *cut) {
            let left = usize::try_from(cut.saturating_sub(self.sent)).unwrap_or(0);
            if left == 0 {
                return Err(Box::new(Hangup("injected short body".to_owned())));
            }
            chunk.truncate(left);
        }
        if let Some(at) =
            self.flip_at.and_then(|offset| offset.checked_sub(self.sent)).filter(|at| *at < length)
        {
            let mut changed = BytesMut::from(&chunk[..]);
            if let Some(byte) = usize::try_from(at).ok().and_then(|at| changed.get_mut(at)) {
                *byte ^= 1;
            }
            chunk = changed.freeze();
        }
        self.sent += chunk.len() as u64;
        Ok(chunk)
    }
}

impl http_body::Body for ReplyBody {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        Poll::Ready(match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(chunk) => Some(self.change(chunk).map(Frame::data)),
                Err(frame) => Some(Ok(frame)),
            },
            Some(Err(error)) => Some(Err(error)),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
