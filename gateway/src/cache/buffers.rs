//! Buffers for bytes on their way from the cache disk to a client, used again: a fresh megabyte costs
//! more in page faults than in copying.
//!
//! Bounded: idle ones hold [`IDLE_BYTES_MAX`] at most. Those in use are bounded by whoever asked for
//! their bytes; one holds less than twice what was asked for, and the smallest [`SMALLEST_BYTES`].
use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

/// The smallest buffer; the others are this times a power of two.
const SMALLEST_BYTES: usize = 4 * 1024;
/// Sizes that are kept: 4 KiB to 1 MiB, the most that one READ gives.
const SIZES: usize = 9;
const LARGEST_BYTES: usize = SMALLEST_BYTES << (SIZES - 1);
/// Memory of idle buffers, all in all.
const IDLE_BYTES_MAX: usize = 16 << 20;

/// The idle buffers. Cloning gives another handle to the same ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers {
    idle: Arc<Mutex<Idle>>,
}

#[derive(Debug, Default)]
struct Idle {
    by_size: [Vec<Vec<u8>>; SIZES],
    bytes: usize,
}

/// A buffer of a length of its own, holding anything.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    len: usize,
    home: Buffers,
}

/// Which of the sizes holds `len` bytes.
fn size_for(len: usize) -> Option<usize> {
    let size = len.max(SMALLEST_BYTES).next_power_of_two();
    (len <= LARGEST_BYTES).then(|| (size / SMALLEST_BYTES).ilog2() as usize)
}

impl Buffers {
    /// A buffer of `len` bytes, whose content is whatever it was used for last.
    pub(super) fn take(&self, len: usize) -> Buffer {
        let bytes = match size_for(len) {
            Some(size) => {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                let used = idle.by_size[size].pop();
                idle.bytes -= used.as_ref().map_or(0, Vec::len);
                drop(idle);
                used.unwrap_or_else(|| vec![0; SMALLEST_BYTES << size])
            }
            None => vec![0; len],
        };
        Buffer { bytes, len, home: self.clone() }
    }
}

impl Buffer {
    /// The bytes, to be given away; the buffer comes home when the last of them is dropped.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(size) = size_for(self.bytes.len()) else { return };
        let mut idle = self.home.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.bytes + self.bytes.len() <= IDLE_BYTES_MAX {
            idle.bytes += self.bytes.len();
            idle.by_size[size].push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_have_the_length_asked_for_and_come_back() {
        let buffers = Buffers::default();
        for len in [0, 1, 4096, 4097, 1 << 20, (1 << 20) + 1] {
            assert_eq!(buffers.take(len).len(), len);
        }
        let mut buffer = buffers.take(5000);
        buffer.copy_from_slice(&[7; 5000]);
        let at = buffer.as_ptr();
        let bytes = buffer.freeze();
        let part = bytes.slice(100..200);
        drop(bytes);
        assert_ne!(buffers.take(5000).as_ptr(), at, "a part of it is still used");
        drop(part);
        let again = [buffers.take(8000), buffers.take(5000)].map(|buffer| buffer.as_ptr());
        assert!(again.contains(&at));
    }

    #[test]
    fn idle_buffers_are_bounded_and_very_large_ones_are_not_kept() {
        let buffers = Buffers::default();
        let many: Vec<Buffer> = (0..64).map(|_| buffers.take(1 << 20)).collect();
        drop(many);
        drop(buffers.take(64 << 20));
        let idle = buffers.idle.lock().unwrap();
        assert_eq!(idle.bytes, IDLE_BYTES_MAX);
        assert_eq!(idle.by_size.iter().flatten().map(Vec::len).sum::<usize>(), IDLE_BYTES_MAX);
    }
}
