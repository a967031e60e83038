//! The record reader: whatever the pieces in which a stream comes, its records are those of the
//! stream read at once, and it ends for the same reason.
use super::{
    pieces::Pieces,
    reference::{self, End},
    world,
};
use crate::nfs::rpc::record::{RecordError, RecordReader};

/// Input: sizes of pieces, then the stream.
pub(super) fn run(input: &[u8]) {
    let Ok(pieces) = Pieces::of(input) else { return };
    let (expected, expected_end) = reference::records(&pieces.stream);
    let (records, end) = world::block_on(read(pieces));
    assert_eq!(records, expected, "the records of the stream");
    assert_eq!(end, expected_end, "the end of the stream");
}

async fn read(pieces: Pieces) -> (Vec<Vec<u8>>, End) {
    let mut reader = RecordReader::new(pieces.source());
    let mut records = Vec::new();
    loop {
        match next(&mut reader).await {
            Ok(Some(record)) => records.push(record),
            Ok(None) => return (records, End::Clean),
            Err(RecordError::TooLong(_)) => return (records, End::TooLong),
            Err(RecordError::TooManyFragments) => return (records, End::TooManyFragments),
            Err(RecordError::Io(_)) => return (records, End::Cut),
        }
        reader.release_idle_buffer();
    }
}

async fn next(
    reader: &mut RecordReader<super::pieces::Source>,
) -> Result<Option<Vec<u8>>, RecordError> {
    if !reader.wait().await? {
        return Ok(None);
    }
    let head = reader.head().await?;
    let record = reader.body(head).await?;
    assert!(record.len() <= head.bytes_max(), "a record keeps to what was held for it");
    Ok(Some(record.to_vec()))
}
