//! File handles: version | share id | generation | fileid | MAC.
//!
//! Owns: the 40 bytes that clients hold as a handle. They survive restarts as long as the caller
//! keeps key and generation. Nobody without the key can make or alter one: a forged handle is
//! [`HandleError::Bad`], a real one of an earlier catalog is [`HandleError::Stale`].
use std::fmt;

use sha2::{Digest, Sha256};
use siphasher::sip128::SipHasher24;

use crate::vfs::{Ino, ShareId};

/// Layout 1: the only one.
const VERSION: u32 = 1;
const MAC_AT: usize = 24;
/// Bytes of a handle; RFC 1813 §2.4 allows 64.
pub const HANDLE_BYTES: usize = 40;

/// Why a handle is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// Not made by this gateway, or altered (NFS3ERR_BADHANDLE).
    #[error("not a handle of this gateway")]
    Bad,
    /// Made by this gateway, for an earlier catalog (NFS3ERR_STALE).
    #[error("a handle of an earlier catalog")]
    Stale,
}

/// Makes and checks handles.
#[derive(Clone)]
pub struct HandleCodec {
    mac: SipHasher24,
    generation: u64,
}

impl fmt::Debug for HandleCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandleCodec").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl HandleCodec {
    /// With a `key` of 32 random bytes that is kept with the gateway's settings, and the
    /// `generation` of the catalog: a number chosen when the catalog is made, so that a handle
    /// outlives a restart but cannot mean another file after the catalog was made anew.
    pub fn new(key: &[u8; 32], generation: u64) -> Self {
        // SipHash takes 128 bits of key. SipHash-2-4 with 128 bits of output is a MAC for short
        // messages, and READDIRPLUS makes one per entry: HMAC-SHA-256 costs ten times more.
        let digest = Sha256::new().chain_update(b"nfs file handle mac 1").chain_update(key);
        let digest = digest.finalize();
        let (mac_key, _) = digest.split_first_chunk().expect("SHA-256 gives 32 bytes");
        Self { mac: SipHasher24::new_with_key(mac_key), generation }
    }

    /// The handle of a file.
    pub fn encode(&self, share: ShareId, ino: Ino) -> [u8; HANDLE_BYTES] {
        let mut handle = [0; HANDLE_BYTES];
        handle[..4].copy_from_slice(&VERSION.to_be_bytes());
        handle[4..8].copy_from_slice(&share.0.to_be_bytes());
        handle[8..16].copy_from_slice(&self.generation.to_be_bytes());
        handle[16..MAC_AT].copy_from_slice(&ino.0.to_be_bytes());
        let mac = self.mac_of(&handle[..MAC_AT]);
        handle[MAC_AT..].copy_from_slice(&mac.to_be_bytes());
        handle
    }

    /// The file that a handle names.
    ///
    /// # Errors
    /// [`HandleError`].
    pub fn decode(&self, handle: &[u8]) -> Result<(ShareId, Ino), HandleError> {
        let handle: &[u8; HANDLE_BYTES] = handle.try_into().map_err(|_| HandleError::Bad)?;
        let (message, mac) = handle.split_at(MAC_AT);
        let mac = u128::from_be_bytes(mac.try_into().expect("the rest of a handle is a MAC"));
        // One subtraction-free comparison of registers: its time tells nothing about where a
        // guess goes wrong.
        if mac ^ self.mac_of(message) != 0 {
            return Err(HandleError::Bad);
        }
        let u32_at = |at: usize| {
            u32::from_be_bytes(message[at..at + 4].try_into().expect("four bytes are taken"))
        };
        let u64_at = |at: usize| {
            u64::from_be_bytes(message[at..at + 8].try_into().expect("eight bytes are taken"))
        };
        if u32_at(0) != VERSION {
            return Err(HandleError::Bad);
        }
        if u64_at(8) != self.generation {
            return Err(HandleError::Stale);
        }
        Ok((ShareId(u32_at(4)), Ino(u64_at(16))))
    }

    fn mac_of(&self, message: &[u8]) -> u128 {
        self.mac.hash(message).as_u128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: (ShareId, Ino) = (ShareId(7), Ino(0x1234_5678_9abc));

    #[test]
    fn handles_survive_a_restart_with_the_same_key() {
        let handle = HandleCodec::new(&[9; 32], 1).encode(FILE.0, FILE.1);
        assert_eq!(HandleCodec::new(&[9; 32], 1).decode(&handle), Ok(FILE));
    }

    #[test]
    fn handles_keep_their_bytes_over_releases() {
        let handle = HandleCodec::new(&[9; 32], 1).encode(FILE.0, FILE.1);
        let hex: String = handle.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(&hex[..48], "000000010000000700000000000000010000123456789abc");
        assert_eq!(&hex[48..], "0d120ad44551989b86f80bc2baadd535");
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_bad() {
        let codec = HandleCodec::new(&[9; 32], 1);
        let handle = codec.encode(FILE.0, FILE.1);
        for bit in 0..HANDLE_BYTES * 8 {
            let mut forged = handle;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(codec.decode(&forged), Err(HandleError::Bad), "bit {bit}");
        }
        for len in (0..HANDLE_BYTES).chain([41, 64]) {
            let mut other = handle.to_vec();
            other.resize(len, 0);
            assert_eq!(codec.decode(&other), Err(HandleError::Bad), "length {len}");
        }
    }

    #[test]
    fn a_foreign_key_is_bad_and_an_earlier_catalog_is_stale() {
        let handle = HandleCodec::new(&[9; 32], 1).encode(FILE.0, FILE.1);
        assert_eq!(HandleCodec::new(&[8; 32], 1).decode(&handle), Err(HandleError::Bad));
        assert_eq!(HandleCodec::new(&[9; 32], 2).decode(&handle), Err(HandleError::Stale));
    }
}
