//! RPC credentials (RFC 5531 §8): who the caller says he is.
//!
//! AUTH_SYS is a claim, not a proof: the client list and the network are what protects a share.
use bytes::Bytes;

use super::{
    decode::{DecodeError, Decoder},
    limits::{GROUPS_MAX, MACHINE_NAME_BYTES_MAX},
};
use crate::vfs::Credentials;

/// RFC 5531 §8.1.
const AUTH_NONE: u32 = 0;
const AUTH_SYS: u32 = 1;

/// Who calls, before any share's squash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// AUTH_NONE: nobody in particular.
    Anonymous,
    /// AUTH_SYS.
    Sys(Credentials),
}

/// Why a credential is not accepted (RFC 5531 §9 auth_stat).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// It cannot be decoded.
    #[error("bad credential")]
    BadCredential = 1,
    /// Its flavour is neither AUTH_NONE nor AUTH_SYS.
    #[error("authentication flavour not served: use sec=sys")]
    TooWeak = 5,
}

impl Caller {
    /// Reads a credential.
    ///
    /// # Errors
    /// [`AuthError`], to be sent back.
    pub fn from_credential(flavour: u32, body: Bytes) -> Result<Self, AuthError> {
        match flavour {
            AUTH_NONE => Ok(Self::Anonymous),
            AUTH_SYS => sys(body).map(Self::Sys).map_err(|_| AuthError::BadCredential),
            _ => Err(AuthError::TooWeak),
        }
    }
}

fn sys(body: Bytes) -> Result<Credentials, DecodeError> {
    let mut body = Decoder::new(body);
    let _stamp = body.u32()?;
    let _machine_name = body.opaque(MACHINE_NAME_BYTES_MAX)?;
    let (uid, gid, count) = (body.u32()?, body.u32()?, body.u32()?);
    if count > GROUPS_MAX {
        return Err(DecodeError::TooLong);
    }
    let groups = (0..count).map(|_| body.u32()).collect::<Result<Vec<_>, _>>()?;
    body.end()?;
    Ok(Credentials { uid, gid, groups })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(words: &[u32]) -> Bytes {
        words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<u8>>().into()
    }

    #[test]
    fn auth_sys_gives_user_and_groups() {
        let caller = Caller::from_credential(1, body(&[9, 0, 1000, 100, 2, 7, 8])).unwrap();
        assert_eq!(caller, Caller::Sys(Credentials { uid: 1000, gid: 100, groups: vec![7, 8] }));
    }

    #[test]
    fn seventeen_groups_or_a_cut_body_are_a_bad_credential() {
        let mut words = vec![9, 0, 1000, 100, 17];
        words.extend(0..17);
        for bad in [body(&words), body(&[9, 0, 1000]), body(&[9, 0, 1, 1, 4_000_000_000])] {
            assert_eq!(Caller::from_credential(1, bad), Err(AuthError::BadCredential));
        }
    }

    #[test]
    fn gss_and_tls_are_too_weak() {
        for flavour in [2, 3, 6, 7, u32::MAX] {
            assert_eq!(Caller::from_credential(flavour, Bytes::new()), Err(AuthError::TooWeak));
        }
    }
}
