//! One TCP connection: reads calls, executes them side by side, writes replies as they come.
//!
//! A call is polled once where it was read; most are done then, and only those that must wait
//! become a task. Where nobody else would wait, the poll may block for a moment; for a caller who asks one
//! thing at a time, also for a sync of the disk. A call's place and bytes are given back when its reply has been written: a peer
//! that does not read its replies is soon not read either.
use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    admission::{Admission, CallSlot, ConnectionSlot},
    call::{BadCall, Call},
    lanes::Place,
    limits::Limits,
    program::Programs,
    record::{RecordError, RecordReader, Source},
    reply::Reply,
};
use crate::{
    blocking::{self, Patience},
    nfs::exports::Exports,
};

/// Most buffers in one system call (Linux UIO_MAXIOV is 1024; more than this gains nothing).
const SLICES_MAX: usize = 64;
/// Replies gathered for one system call: head, data and padding each.
const BATCH_MAX: usize = SLICES_MAX / 3;

/// Calls that a peer has sent one after the other before it is taken for one that does so.
const ONE_BY_ONE_CALLS: u32 = 8;

/// What all connections of a listener share.
#[derive(Debug)]
pub struct Service {
    /// The programs answered.
    pub programs: Programs,
    /// The bounds.
    pub limits: Limits,
    /// The slots and budgets.
    pub admission: Arc<Admission>,
    /// Who may be connected.
    pub exports: Arc<Exports>,
}

/// Why a connection ended before its peer closed it.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The stream failed, or what came was no record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A record was not a call.
    #[error("a record that is no RPC call")]
    NotACall,
    /// The first record did not come in time.
    #[error("no call within {0:?} of connecting")]
    Silent(Duration),
    /// A record did not come to its end in time.
    #[error("a record not complete after {0:?}")]
    Slow(Duration),
    /// Nothing came while somebody else needed the slot.
    #[error("idle, and gave way to another connection")]
    GaveWay,
    /// The address has been taken off every client list.
    #[error("in no share's client list any more")]
    NotListed,
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Record(error.into())
    }
}

type Outgoing = (Reply, CallSlot);

/// Serves a connection, the two halves of its stream, until its peer closes it, it misbehaves, or
/// `stop`; then calls in execution are finished and answered, for [`Limits::drain_timeout`] at
/// most.
///
/// # Errors
/// [`Ended`], for the log.
pub async fn serve<R, W>(
    service: &Arc<Service>,
    (source, sink): (R, W),
    peer: SocketAddr,
    slot: ConnectionSlot,
    place: Option<Place>,
    stop: &CancellationToken,
) -> Result<(), Ended>
where
    R: Source,
    W: AsyncWrite + Unpin + Send + 'static,
{
    // A reply holds its call's slot, so the channel never has to hold more than there are slots.
    let (replies, outgoing) = mpsc::channel(service.limits.calls_per_connection_max);
    let writer = Writer { sink, stall: service.limits.write_stall_timeout };
    let mut writer = tokio::spawn(writer.run(outgoing));
    let calls = Calls { service, peer, slot: &slot, place: place.as_ref(), replies };
    let ended = tokio::select! {
        ended = calls.read(RecordReader::new(source)) => ended,
        () = stop.cancelled() => Ok(()),
        // The peer takes no more replies: nothing it sends matters any more.
        _ = &mut writer => return Ok(()),
    };
    // The readers' sender is gone; the writer ends with the last call in execution.
    if timeout(service.limits.drain_timeout, &mut writer).await.is_err() {
        writer.abort();
    }
    ended
}

struct Calls<'a> {
    service: &'a Arc<Service>,
    peer: SocketAddr,
    slot: &'a ConnectionSlot,
    place: Option<&'a Place>,
    replies: mpsc::Sender<Outgoing>,
}

impl Calls<'_> {
    async fn read<R: Source>(self, mut records: RecordReader<R>) -> Result<(), Ended> {
        let limits = &self.service.limits;
        let first_by = Instant::now() + limits.first_record_timeout;
        let silent = |_| Ended::Silent(limits.first_record_timeout);
        let first = timeout_at(first_by, self.wait_idly(&mut records));
        if !first.await.map_err(silent)?? {
            return Ok(());
        }
        let mut complete_within = limits.first_record_timeout;
        // Calls since one came while another was in execution.
        let mut one_by_one = 0;
        loop {
            let mut slot = self.slot.call().await;
            let slow = |_| Ended::Slow(complete_within);
            let head = timeout(complete_within, records.head()).await.map_err(slow)??;
            self.slot.hold(&mut slot, head.bytes_max()).await;
            let record = timeout(complete_within, records.body(head)).await.map_err(slow)??;
            let alone = !records.has_more() && self.slot.calls() == 1;
            one_by_one = if alone { u32::saturating_add(one_by_one, 1) } else { 0 };
            let patience = self.patience(one_by_one);
            self.take(record, slot, patience).await?;
            if patience == Patience::Sync && records.has_arrived() {
                // Before this call's reply is written: its client has more than one in flight.
                one_by_one = 0;
            }
            if !self.wait_for_next(&mut records).await? {
                return Ok(());
            }
            complete_within = limits.partial_record_timeout;
        }
    }

    /// Waits for the next record's first byte; `false` at the stream's end.
    async fn wait_for_next<R: AsyncRead + Unpin>(
        &self,
        records: &mut RecordReader<R>,
    ) -> Result<bool, Ended> {
        if let Ok(more) = timeout(self.service.limits.idle_after, records.wait()).await {
            return Ok(more?);
        }
        records.release_idle_buffer();
        self.wait_idly(records).await
    }

    /// The same, while the slot may be given to somebody else.
    async fn wait_idly<R: AsyncRead + Unpin>(
        &self,
        records: &mut RecordReader<R>,
    ) -> Result<bool, Ended> {
        let idle = self.slot.idle();
        let more = tokio::select! {
            more = records.wait() => more?,
            () = self.slot.given_away() => false,
        };
        drop(idle);
        if self.slot.is_given_away() { Err(Ended::GaveWay) } else { Ok(more) }
    }

    /// What a call may make this thread wait for.
    fn patience(&self, one_by_one: u32) -> Patience {
        if !self.place.is_some_and(Place::is_alone) {
            Patience::Nothing
        } else if one_by_one < ONE_BY_ONE_CALLS {
            Patience::Moment
        } else {
            Patience::Sync
        }
    }

    async fn take(
        &self,
        record: Bytes,
        mut slot: CallSlot,
        patience: Patience,
    ) -> Result<(), Ended> {
        if !self.service.exports.list_anywhere(self.peer.ip()) {
            return Err(Ended::NotListed);
        }
        let call = match Call::parse(self.peer, record) {
            Ok(call) => call,
            Err(BadCall::NotACall) => return Err(Ended::NotACall),
            Err(BadCall::Rejected { xid, why }) => {
                send(&self.replies, Reply::rejected(xid, why), slot);
                return Ok(());
            }
        };
        self.slot.hold(&mut slot, self.service.programs.reply_bytes(&call)).await;
        let service = Arc::clone(self.service);
        let mut answer = Box::pin(async move { service.programs.answer(call).await });
        match poll_once(&mut answer, patience).await {
            Poll::Ready(reply) => send(&self.replies, reply, slot),
            Poll::Pending => {
                let replies = self.replies.clone();
                // Runs to its end even if the connection is lost: a change that has begun is
                // finished, and its reply remembered for the repetition of the call.
                tokio::spawn(async move { send(&replies, answer.await, slot) });
            }
        }
        Ok(())
    }
}

/// Hands a reply to the writer; without waiting, as the channel has room for every slot.
fn send(replies: &mpsc::Sender<Outgoing>, reply: Reply, slot: CallSlot) {
    if replies.try_send((reply, slot)).is_err() {
        tracing::trace!("reply dropped: its connection is closed");
    }
}

async fn poll_once<F: Future>(future: &mut Pin<Box<F>>, patience: Patience) -> Poll<F::Output> {
    let mut poll = |cx: &mut Context<'_>| blocking::here(patience, || future.as_mut().poll(cx));
    poll_fn(|cx| Poll::Ready(poll(cx))).await
}

struct Writer<W> {
    sink: W,
    stall: Duration,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    async fn run(mut self, mut outgoing: mpsc::Receiver<Outgoing>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while outgoing.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let mut slots = Vec::with_capacity(batch.len());
            let mut parts = Vec::with_capacity(batch.len() * 3);
            for (reply, slot) in batch.drain(..) {
                parts.extend(reply.into_parts().into_iter().filter(|part| !part.is_empty()));
                slots.push(slot);
            }
            if let Err(error) = self.write(&mut parts).await {
                tracing::debug!(%error, "connection closed: replies cannot be written");
                return;
            }
        }
    }

    async fn write(&mut self, parts: &mut [Bytes]) -> io::Result<()> {
        let mut parts = parts;
        while !parts.is_empty() {
            let mut slices = [io::IoSlice::new(&[]); SLICES_MAX];
            let used = parts.len().min(SLICES_MAX);
            for (slice, part) in slices.iter_mut().zip(parts.iter()) {
                *slice = io::IoSlice::new(part);
            }
            let written = timeout(self.stall, self.sink.write_vectored(&slices[..used]));
            let mut written =
                written.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            while written > 0 {
                let part = parts.first_mut().expect("no more is written than was there");
                if written < part.len() {
                    part.advance(written);
                    break;
                }
                written -= part.len();
                parts = &mut parts[1..];
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
