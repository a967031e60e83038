//! RPC over UDP, for the portmapper alone: one datagram, one short answer, one at a time.
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::{
    call::{BadCall, Call},
    program::Programs,
    reply::Reply,
};
use crate::nfs::exports::Exports;

/// Longest datagram that is looked at: a header with full credentials and a GETPORT.
const DATAGRAM_BYTES_MAX: usize = 1024;

/// Answers datagrams until `stop`. Peers in no share's client list get no answer.
pub async fn serve(
    programs: Programs,
    exports: Arc<Exports>,
    socket: UdpSocket,
    stop: CancellationToken,
) {
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            () = stop.cancelled() => return,
        };
        // An error here reports an earlier answer that did not arrive; its sender asks again.
        let Ok((len, peer)) = received else { continue };
        if !exports.list_anywhere(peer.ip()) {
            continue;
        }
        let reply = match Call::parse(peer, Bytes::copy_from_slice(&buffer[..len])) {
            Ok(call) => programs.answer(call).await,
            Err(BadCall::Rejected { xid, why }) => Reply::rejected(xid, why),
            Err(BadCall::NotACall) => continue,
        };
        if let Err(error) = socket.send_to(&reply.into_datagram(), peer).await {
            tracing::debug!(%peer, %error, "answer not sent");
        }
    }
}
