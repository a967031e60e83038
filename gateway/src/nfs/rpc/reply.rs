//! RPC replies (RFC 5531 §9): one growing head, and for READ the data behind it, uncopied.
use bytes::Bytes;
use nfsserve::xdr::XDR;

use super::auth::AuthError;

/// Bytes of a record mark (RFC 5531 §11).
const MARK_BYTES: usize = 4;
/// Room for most replies without growing: mark, header, status, handle, two sets of attributes.
const HEAD_BYTES: usize = 320;
/// RFC 5531 §11: the bit that says "last fragment".
const LAST_FRAGMENT: u32 = 1 << 31;

/// Why a call was not executed (RFC 5531 §9 accept_stat, reject_stat).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// No such program here.
    ProgramUnavailable,
    /// The program, but not in this version.
    ProgramMismatch {
        /// Lowest version served.
        low: u32,
        /// Highest version served.
        high: u32,
    },
    /// No such procedure.
    ProcedureUnavailable,
    /// The arguments cannot be decoded.
    GarbageArguments,
    /// The server failed.
    SystemError,
    /// Not version 2 of RPC.
    RpcMismatch,
    /// The credential is not accepted.
    Auth(AuthError),
}

/// A reply being written, or written.
#[derive(Clone, Debug)]
pub struct Reply {
    head: Vec<u8>,
    data: Bytes,
}

impl Reply {
    /// A reply to a call that was executed; its results follow.
    pub fn success(xid: u32) -> Self {
        Self::with_words(&[xid, 1, 0, 0, 0, 0])
    }

    /// A reply to a call that was not executed.
    pub fn rejected(xid: u32, why: Rejection) -> Self {
        let accepted = |stat: u32| Self::with_words(&[xid, 1, 0, 0, 0, stat]);
        match why {
            Rejection::ProgramUnavailable => accepted(1),
            Rejection::ProgramMismatch { low, high } => {
                Self::with_words(&[xid, 1, 0, 0, 0, 2, low, high])
            }
            Rejection::ProcedureUnavailable => accepted(3),
            Rejection::GarbageArguments => accepted(4),
            Rejection::SystemError => accepted(5),
            Rejection::RpcMismatch => Self::with_words(&[xid, 1, 1, 0, 2, 2]),
            Rejection::Auth(error) => Self::with_words(&[xid, 1, 1, 1, error as u32]),
        }
    }

    /// A reply that was sent before (see [`Reply::sealed_head`]).
    pub fn replay(sealed_head: &[u8]) -> Self {
        Self { head: sealed_head.to_vec(), data: Bytes::new() }
    }

    fn with_words(words: &[u32]) -> Self {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend_from_slice(&[0; MARK_BYTES]);
        let mut reply = Self { head, data: Bytes::new() };
        words.iter().for_each(|word| reply.u32(*word));
        reply
    }

    /// Appends an unsigned integer.
    pub fn u32(&mut self, value: u32) {
        self.head.extend_from_slice(&value.to_be_bytes());
    }

    /// Appends an unsigned hyper integer.
    pub fn u64(&mut self, value: u64) {
        self.head.extend_from_slice(&value.to_be_bytes());
    }

    /// Appends a boolean.
    pub fn bool(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    /// Appends fixed-length opaque data.
    pub fn fixed<const N: usize>(&mut self, bytes: &[u8; N]) {
        const { assert!(N.is_multiple_of(4)) };
        self.head.extend_from_slice(bytes);
    }

    /// Appends variable-length opaque data or a string.
    pub fn opaque(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.head.extend_from_slice(bytes);
        self.head.resize(self.head.len().next_multiple_of(4), 0);
    }

    /// Appends one of nfsserve's types.
    pub fn wire<T: XDR>(&mut self, value: &T) {
        value.serialize(&mut self.head).expect("writing to a Vec does not fail");
    }

    /// Ends the reply with opaque data that is not copied.
    pub fn opaque_tail(mut self, data: Bytes) -> Self {
        self.length(data.len());
        self.data = data;
        self
    }

    fn length(&mut self, len: usize) {
        self.u32(u32::try_from(len).expect("replies are bounded by the largest record"));
    }

    /// Bytes after the record mark so far.
    pub fn len(&self) -> usize {
        self.head.len() - MARK_BYTES + self.data.len().next_multiple_of(4)
    }

    /// Whether nothing but the record mark is there; never, as replies begin with a header.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The reply as it goes over the wire, if it has no uncopied tail.
    pub fn sealed_head(mut self) -> Vec<u8> {
        self.seal();
        self.head
    }

    /// Head, data and padding as they go over TCP.
    pub fn into_parts(mut self) -> [Bytes; 3] {
        self.seal();
        let pad = self.data.len().next_multiple_of(4) - self.data.len();
        [self.head.into(), self.data, Bytes::from_static(&[0; 3]).slice(..pad)]
    }

    /// The reply as a datagram: without the record mark.
    pub fn into_datagram(self) -> Vec<u8> {
        let mut head = self.head;
        head.drain(..MARK_BYTES);
        head.extend_from_slice(&self.data);
        head
    }

    fn seal(&mut self) {
        let len = u32::try_from(self.len()).expect("replies are bounded by the largest record");
        self.head[..MARK_BYTES].copy_from_slice(&(len | LAST_FRAGMENT).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_passed_through_uncopied_and_padded() {
        let data = Bytes::from(vec![7; 5]);
        let [head, tail, pad] = Reply::success(9).opaque_tail(data.clone()).into_parts();
        assert_eq!(tail.as_ptr(), data.as_ptr());
        assert_eq!(pad.len(), 3);
        let mark = u32::from_be_bytes(head[..4].try_into().unwrap());
        assert_eq!(mark & !LAST_FRAGMENT, 24 + 4 + 8);
        assert_eq!(head.len(), 4 + 24 + 4);
    }

    #[test]
    fn a_replayed_reply_is_the_same_bytes() {
        let mut reply = Reply::success(3);
        reply.opaque(b"abcde");
        let sent = reply.sealed_head();
        assert_eq!(Reply::replay(&sent).into_parts()[0], sent);
    }
}
