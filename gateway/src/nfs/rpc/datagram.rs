//! RPC over UDP, for the portmapper alone: one datagram, one short answer, one at a time.
use std::{sync::Arc, time::Duration};

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
/// Wait after an error, so that a lasting one does not take a whole core.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

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
        let (len, peer) = match received {
            Ok(received) => received,
            // Mostly that an earlier answer did not arrive: its sender asks again.
            Err(error) => {
                tracing::debug!(%error, "no datagram received");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
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
