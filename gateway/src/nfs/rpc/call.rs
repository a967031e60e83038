//! The header of a call (RFC 5531 §9).
use std::net::SocketAddr;

use bytes::Bytes;

use super::{
    auth::{AuthError, Caller},
    decode::{DecodeError, Decoder},
    limits::AUTH_BYTES_MAX,
    reply::Rejection,
};
use crate::vfs::RequestId;

const CALL: u32 = 0;
const RPC_VERSION: u32 = 2;

/// A call whose header has been read.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who sent it, as the transport says.
    pub peer: SocketAddr,
    /// Transaction id: the client's, echoed in the reply.
    pub xid: u32,
    /// Program number.
    pub program: u32,
    /// Program version.
    pub version: u32,
    /// Procedure number.
    pub procedure: u32,
    /// Who sent it, as the call says; an error is answered except for procedure 0 (NULL).
    pub caller: Result<Caller, AuthError>,
    /// What tells it from other calls, where it must not be executed twice.
    pub request: Option<RequestId>,
    /// The arguments.
    pub args: Decoder,
}

/// Why a record is no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadCall {
    /// It cannot be answered: close the connection.
    NotACall,
    /// It is to be answered with a rejection.
    Rejected {
        /// Its transaction id.
        xid: u32,
        /// What to answer.
        why: Rejection,
    },
}

impl Call {
    /// Reads a record's header.
    ///
    /// # Errors
    /// [`BadCall`].
    pub fn parse(peer: SocketAddr, record: Bytes) -> Result<Self, BadCall> {
        let mut header = Decoder::new(record);
        let not_a_call = |_: DecodeError| BadCall::NotACall;
        let xid = header.u32().map_err(not_a_call)?;
        if header.u32().map_err(not_a_call)? != CALL {
            return Err(BadCall::NotACall);
        }
        if header.u32().map_err(not_a_call)? != RPC_VERSION {
            return Err(BadCall::Rejected { xid, why: Rejection::RpcMismatch });
        }
        let program = header.u32().map_err(not_a_call)?;
        let version = header.u32().map_err(not_a_call)?;
        let procedure = header.u32().map_err(not_a_call)?;
        let bad_auth = |_: DecodeError| BadCall::Rejected {
            xid,
            why: Rejection::Auth(AuthError::BadCredential),
        };
        let flavour = header.u32().map_err(bad_auth)?;
        let credential = header.opaque(AUTH_BYTES_MAX).map_err(bad_auth)?;
        let _verifier_flavour = header.u32().map_err(bad_auth)?;
        let _verifier = header.opaque(AUTH_BYTES_MAX).map_err(bad_auth)?;
        let caller = Caller::from_credential(flavour, credential);
        Ok(Self { peer, xid, program, version, procedure, caller, request: None, args: header })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, test_runner::RngSeed};

    use super::*;

    fn parse(words: &[u32]) -> Result<Call, BadCall> {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
        Call::parse("192.0.2.1:700".parse().unwrap(), bytes.into())
    }

    #[test]
    fn a_call_is_read_with_its_arguments() {
        let call = parse(&[7, 0, 2, 100_003, 3, 1, 0, 0, 0, 0, 42]).unwrap();
        assert_eq!((call.xid, call.program, call.version, call.procedure), (7, 100_003, 3, 1));
        assert_eq!(call.args.rest()[..], 42u32.to_be_bytes());
    }

    #[test]
    fn replies_and_fragments_of_headers_close_the_connection() {
        for words in [&[7, 1, 2, 3][..], &[7], &[7, 0, 2, 100_003], &[]] {
            assert_eq!(parse(words).unwrap_err(), BadCall::NotACall);
        }
    }

    #[test]
    fn other_rpc_versions_and_long_credentials_are_answered() {
        let why = Rejection::RpcMismatch;
        assert_eq!(parse(&[7, 0, 3, 0, 0, 0]).unwrap_err(), BadCall::Rejected { xid: 7, why });
        let why = Rejection::Auth(AuthError::BadCredential);
        let long = parse(&[7, 0, 2, 100_003, 3, 1, 1, 401]).unwrap_err();
        assert_eq!(long, BadCall::Rejected { xid: 7, why });
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1813), ..Default::default() })]

        #[test]
        fn parsing_random_records_never_panics(
            words in proptest::collection::vec(prop_oneof![0u32..9, any::<u32>()], 0..40),
        ) {
            if let Ok(call) = parse(&words) {
                prop_assert!(call.args.rest().len() < words.len() * 4);
            }
        }
    }
}
