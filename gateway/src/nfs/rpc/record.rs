//! Record marking (RFC 5531 §11): calls out of a byte stream, with nothing allocated on a peer's
//! word beyond what the caller has budgeted for.
use std::io;

use bytes::{Buf, Bytes, BytesMut};
use rustix::io::ioctl_fionread;
use tokio::{
    io::{AsyncRead, AsyncReadExt, ReadHalf},
    net::tcp::OwnedReadHalf,
};

use super::limits::{FRAGMENTS_MAX, RECORD_BYTES_MAX};

const MARK_BYTES: usize = 4;
const LAST_FRAGMENT: u32 = 1 << 31;
/// Buffer of a connection that has not sent yet, or not for long: many of these may be held.
const IDLE_BUFFER_BYTES: usize = 4 * 1024;
/// Buffer of a busy one: hundreds of small calls per system call.
const BUSY_BUFFER_BYTES: usize = 64 * 1024;
/// Records up to this size leave the buffer as copies; a longer one keeps at most twice its size.
const COPIED_BYTES_MAX: usize = BUSY_BUFFER_BYTES / 2;

/// Why no more records come from a connection.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The peer announced a record longer than any call.
    #[error("a record of {0} bytes is longer than any call")]
    TooLong(usize),
    /// The peer cut a record in too many pieces.
    #[error("a record of more than {FRAGMENTS_MAX} fragments")]
    TooManyFragments,
    /// The stream ended within a record, or failed.
    #[error("connection lost within a record: {0}")]
    Io(#[from] io::Error),
}

/// The first mark of a record.
#[derive(Clone, Copy, Debug)]
pub struct RecordHead {
    len: usize,
    last: bool,
}

impl RecordHead {
    /// Most bytes that reading the record will hold.
    pub fn bytes_max(self) -> usize {
        if self.last { self.len } else { RECORD_BYTES_MAX }
    }
}

/// Reads records from `source`.
#[derive(Debug)]
pub struct RecordReader<R> {
    source: R,
    buffer: BytesMut,
}

/// Where records come from.
pub trait Source: AsyncRead + Unpin {
    /// Whether bytes wait to be read, as far as that can be known without reading.
    fn has_arrived(&self) -> bool {
        false
    }
}

impl Source for OwnedReadHalf {
    fn has_arrived(&self) -> bool {
        // Where the kernel does not say, nothing is known.
        ioctl_fionread(self.as_ref()).is_ok_and(|bytes| bytes > 0)
    }
}

impl<T: AsyncRead + Unpin> Source for ReadHalf<T> {}

impl<R: Source> RecordReader<R> {
    /// Whether bytes of a next record have come, read or not.
    pub fn has_arrived(&self) -> bool {
        self.has_more() || self.source.has_arrived()
    }
}

impl<R: AsyncRead + Unpin> RecordReader<R> {
    /// Starts at a record's boundary.
    pub fn new(source: R) -> Self {
        Self { source, buffer: BytesMut::new() }
    }

    /// Waits for the first byte of the next record; `false` if the stream has ended instead.
    /// Cancel safe.
    ///
    /// # Errors
    /// The stream's.
    pub async fn wait(&mut self) -> io::Result<bool> {
        if !self.buffer.is_empty() {
            return Ok(true);
        }
        if self.buffer.capacity() < IDLE_BUFFER_BYTES {
            self.buffer.reserve(IDLE_BUFFER_BYTES);
        }
        Ok(self.source.read_buf(&mut self.buffer).await? > 0)
    }

    /// Whether bytes of a next record are here already.
    pub fn has_more(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Gives back the buffer's memory while nothing comes.
    pub fn release_idle_buffer(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Reads the first mark. Cancel safe.
    ///
    /// # Errors
    /// [`RecordError`]; the connection is of no further use.
    pub async fn head(&mut self) -> Result<RecordHead, RecordError> {
        self.fill(MARK_BYTES).await?;
        let (mark, _) = self.buffer.split_first_chunk().expect("filled to the size of a mark");
        let head = parse_mark(*mark);
        if head.len > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong(head.len));
        }
        Ok(head)
    }

    /// Reads the record that begins with `head`, as returned by [`RecordReader::head`] last.
    ///
    /// # Errors
    /// [`RecordError`]; the connection is of no further use.
    pub async fn body(&mut self, head: RecordHead) -> Result<Bytes, RecordError> {
        if !head.last {
            return self.fragments().await;
        }
        self.fill(MARK_BYTES + head.len).await?;
        self.buffer.advance(MARK_BYTES);
        let record = if head.len <= COPIED_BYTES_MAX {
            // A call that waits must not keep the buffer, which nobody has counted.
            let record = Bytes::copy_from_slice(&self.buffer[..head.len]);
            self.buffer.advance(head.len);
            record
        } else {
            self.buffer.split_to(head.len).freeze()
        };
        if self.buffer.capacity() < IDLE_BUFFER_BYTES {
            // Reuses the memory of earlier records once nobody holds them.
            self.buffer.reserve(BUSY_BUFFER_BYTES);
        }
        Ok(record)
    }

    async fn fragments(&mut self) -> Result<Bytes, RecordError> {
        let mut record = BytesMut::new();
        for _ in 0..FRAGMENTS_MAX {
            let RecordHead { len, last } = self.head().await?;
            drop(self.buffer.split_to(MARK_BYTES));
            if record.len() + len > RECORD_BYTES_MAX {
                return Err(RecordError::TooLong(record.len() + len));
            }
            let end = record.len() + len;
            while record.len() < end {
                self.fill(1).await?;
                let part = self.buffer.len().min(end - record.len());
                record.extend_from_slice(&self.buffer.split_to(part));
            }
            if last {
                return Ok(record.freeze());
            }
        }
        Err(RecordError::TooManyFragments)
    }

    /// Reads until the buffer holds `len` bytes, at most [`RECORD_BYTES_MAX`] and a mark.
    async fn fill(&mut self, len: usize) -> io::Result<()> {
        if self.buffer.len() < len {
            self.buffer.reserve(len - self.buffer.len());
        }
        while self.buffer.len() < len {
            if self.source.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

fn parse_mark(mark: [u8; MARK_BYTES]) -> RecordHead {
    let mark = u32::from_be_bytes(mark);
    let len = usize::try_from(mark & !LAST_FRAGMENT).unwrap_or(usize::MAX);
    RecordHead { len, last: mark & LAST_FRAGMENT != 0 }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, test_runner::RngSeed};

    use super::*;

    fn mark(len: usize, last: bool) -> [u8; 4] {
        let len = u32::try_from(len).unwrap();
        (if last { len | LAST_FRAGMENT } else { len }).to_be_bytes()
    }

    async fn read_one(bytes: &[u8]) -> Result<Bytes, RecordError> {
        let mut reader = RecordReader::new(bytes);
        let head = reader.head().await?;
        reader.body(head).await
    }

    #[tokio::test]
    async fn a_two_gigabyte_mark_is_refused_before_anything_is_allocated() {
        let mut reader = RecordReader::new(&[0xff_u8; 4][..]);
        assert!(matches!(reader.head().await, Err(RecordError::TooLong(0x7fff_ffff))));
        assert!(reader.buffer.capacity() <= IDLE_BUFFER_BYTES);
    }

    #[tokio::test]
    async fn fragments_are_joined_up_to_sixteen_and_up_to_the_cap() {
        let split = |n: usize| {
            let parts = (1..=n).flat_map(|i| [&mark(1, i == n)[..], b"x"].concat());
            parts.collect::<Vec<u8>>()
        };
        assert_eq!(read_one(&split(16)).await.unwrap(), vec![b'x'; 16]);
        assert!(matches!(read_one(&split(17)).await, Err(RecordError::TooManyFragments)));

        let mut large = mark(RECORD_BYTES_MAX, false).to_vec();
        large.resize(4 + RECORD_BYTES_MAX, 0);
        large.extend(mark(1, true));
        assert!(matches!(read_one(&large).await, Err(RecordError::TooLong(_))));
    }

    #[tokio::test]
    async fn a_small_record_that_is_kept_keeps_no_more_than_itself() {
        let stream = [&mark(8, true)[..], &[7; 8], &mark(8192, true), &[8; 8192]].concat();
        let mut reader = RecordReader::new(&stream[..]);
        let head = reader.head().await.unwrap();
        let small = reader.body(head).await.unwrap();
        let head = reader.head().await.unwrap();
        assert_eq!(reader.body(head).await.unwrap(), vec![8; 8192]);
        let small = small.try_into_mut().expect("it shares memory with nothing");
        assert_eq!((&small[..], small.capacity()), (&[7; 8][..], 8));
    }

    #[tokio::test]
    async fn an_end_within_a_record_is_an_error_and_between_records_is_not() {
        assert!(matches!(read_one(&mark(8, true)).await, Err(RecordError::Io(_))));
        let empty = mark(0, true);
        let mut reader = RecordReader::new(&empty[..]);
        assert!(reader.wait().await.unwrap());
        let head = reader.head().await.unwrap();
        assert!(reader.body(head).await.unwrap().is_empty());
        assert!(!reader.wait().await.unwrap());
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1813), ..Default::default() })]

        /// Goal: any cutting of records into fragments gives the records back. Method: random
        /// records and cuts, read from memory one after the other.
        #[test]
        fn records_survive_any_fragmentation(
            records in proptest::collection::vec(
                proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 1..=16),
                1..8,
            ),
        ) {
            let mut stream = Vec::new();
            for record in &records {
                for (i, fragment) in record.iter().enumerate() {
                    stream.extend(mark(fragment.len(), i + 1 == record.len()));
                    stream.extend(fragment);
                }
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let mut reader = RecordReader::new(&stream[..]);
                for record in &records {
                    let head = reader.head().await.unwrap();
                    assert_eq!(reader.body(head).await.unwrap(), record.concat());
                }
            });
        }
    }
}
