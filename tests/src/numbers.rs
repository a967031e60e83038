//! A byte sequence that is never the same at two places and can be made anywhere: the decimal
//! numbers from 1, one per line, as `seq` prints them.
use sha2::{Digest, Sha256};

/// The first `length` bytes. In the client: `seq 1 20000000 | head -c LENGTH`.
pub fn numbers(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 16);
    let mut number = 1_u64;
    while bytes.len() < length {
        bytes.extend_from_slice(number.to_string().as_bytes());
        bytes.push(b'\n');
        number += 1;
    }
    bytes.truncate(length);
    bytes
}

/// SHA-256 in lower-case hex, as `sha256sum` prints it.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_what_seq_prints() {
        assert_eq!(numbers(23), b"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11");
        assert_eq!(
            sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
