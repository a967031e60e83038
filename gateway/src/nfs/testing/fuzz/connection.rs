//! A whole connection: bytes of a TCP stream, cut in any pieces. Every record that is a call gets
//! one well-formed answer, whatever ends the stream.
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio_util::sync::CancellationToken;

use super::{
    pieces::{Pieces, Source},
    reference::{self, End},
    replies,
    wire::Procedure,
    world::{self, World},
};
use crate::nfs::rpc::{
    call::{BadCall, Call},
    connection::{self, Ended},
    record::RecordError,
};

/// What is on its way in one direction: less than many an answer has.
const PIPE_BYTES: usize = 64 * 1024;

/// A call that waits for its answer.
#[derive(Debug)]
struct Asked {
    xid: u32,
    /// What it asks for, if the record had that.
    procedure: Option<Procedure>,
}

/// Input: sizes of pieces, then the stream; handles in it get their MAC (see [`World::sealed`]).
pub(super) fn run(input: &[u8]) {
    let Ok(mut pieces) = Pieces::of(input) else { return };
    let world = World::new();
    pieces.stream = world.sealed(&pieces.stream);
    let (records, end) = reference::records(&pieces.stream);
    let (asked, expected) = asked(records, end);
    let (ended, answers) = world::block_on(serve(&world, pieces.source()));
    assert_eq!(how(&ended), expected, "{ended:?}");
    check(asked, &answers);
}

/// The calls of a stream up to its first record that is none, and how the connection ends then.
fn asked(records: Vec<Vec<u8>>, end: End) -> (Vec<Asked>, Option<End>) {
    let mut asked = Vec::new();
    for record in records {
        match Call::parse(World::PEER, record.into()) {
            Ok(call) => {
                asked.push(Asked { xid: call.xid, procedure: Some(Procedure::of(&call)) });
            }
            Err(BadCall::Rejected { xid, .. }) => asked.push(Asked { xid, procedure: None }),
            Err(BadCall::NotACall) => return (asked, None),
        }
    }
    (asked, Some(end))
}

/// The end of a served connection in the reference's words; `None` for a record that is no call.
fn how(ended: &Result<(), Ended>) -> Option<End> {
    match ended {
        Ok(()) => Some(End::Clean),
        Err(Ended::NotACall) => None,
        Err(Ended::Record(RecordError::Io(_))) => Some(End::Cut),
        Err(Ended::Record(RecordError::TooLong(_))) => Some(End::TooLong),
        Err(Ended::Record(RecordError::TooManyFragments)) => Some(End::TooManyFragments),
        Err(Ended::Silent(_) | Ended::Slow(_) | Ended::GaveWay | Ended::NotListed) => {
            panic!("the client is quick, listed and alone")
        }
    }
}

async fn serve(world: &World, source: Source) -> (Result<(), Ended>, Vec<u8>) {
    let (client, server) = duplex(PIPE_BYTES);
    let slot = world.service.admission.connect(World::PEER.ip()).expect("the first connection");
    let stop = CancellationToken::new();
    let served = connection::serve(&world.service, split(server), World::PEER, slot, None, &stop);
    let (from, to) = split(client);
    let (ended, (), answers) = tokio::join!(served, send(source, to), receive(from));
    (ended, answers)
}

async fn send(mut source: Source, mut to: WriteHalf<DuplexStream>) {
    while let Some(piece) = source.piece() {
        // A server that has closed the connection takes no more.
        if to.write_all(piece).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
    drop(to.shutdown().await);
}

async fn receive(mut from: ReadHalf<DuplexStream>) -> Vec<u8> {
    let mut answers = Vec::new();
    from.read_to_end(&mut answers).await.expect("a pipe in memory does not fail");
    answers
}

fn check(mut asked: Vec<Asked>, answers: &[u8]) {
    let (messages, end) = reference::records(answers);
    assert_eq!(end, End::Clean, "answers are whole records");
    for message in messages {
        // Calls may be answered in any order, and clients may use an xid twice.
        let fits = |asked: &Asked| match asked.procedure {
            Some(procedure) => replies::check(asked.xid, procedure, &message).is_ok(),
            None => matches!(replies::results(asked.xid, &message), Ok(None)),
        };
        let Some(at) = asked.iter().position(fits) else {
            panic!("an answer to none of {asked:?}: {message:02x?}");
        };
        asked.remove(at);
    }
    assert!(asked.is_empty(), "calls without an answer: {asked:?}");
}
