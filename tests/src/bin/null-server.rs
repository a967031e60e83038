//! `null-server`: the least that a server can do for NULL (RFC 1813 §3.3.0), for `cargo bench-nfs`. It reads what has
//! come and writes a constant reply to each call, on a thread for each connection; prints its port first.
use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
};

/// Mark and transaction id of a call.
const BEGINNING_BYTES: usize = 8;
const LAST_FRAGMENT: u32 = 1 << 31;
const BUFFER_BYTES: usize = 64 << 10;

fn main() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?.port());
    for stream in listener.incoming() {
        let stream = stream?;
        // A connection that fails has ended.
        thread::spawn(move || serve(stream).ok());
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut filled, mut replies) = (0, Vec::new());
    loop {
        let read = stream.read(&mut buffer[filled..])?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let mut at = 0;
        while let Some(length) = call(&buffer[at..filled]) {
            replies.extend(reply(&buffer[at + 4..at + BEGINNING_BYTES]));
            at += length;
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
        stream.write_all(&replies)?;
        replies.clear();
    }
}

/// Length of the call that `bytes` begin with, its mark included, when it is there as a whole.
fn call(bytes: &[u8]) -> Option<usize> {
    let mark = u32::from_be_bytes(*bytes.first_chunk()?);
    let length = 4 + usize::try_from(mark & !LAST_FRAGMENT).ok()?;
    (length >= BEGINNING_BYTES && bytes.len() >= length).then_some(length)
}

/// The reply to the call `xid`: accepted, no verifier, success, no results.
fn reply(xid: &[u8]) -> [u8; 28] {
    let mut reply = [0; 28];
    reply[..4].copy_from_slice(&(LAST_FRAGMENT | 24).to_be_bytes());
    reply[4..8].copy_from_slice(xid);
    reply[11] = 1;
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_that_is_there_as_a_whole_gets_its_reply() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let mut client =
            TcpStream::connect(listener.local_addr().expect("an address")).expect("it listens");
        let (served, _) = listener.accept().expect("a connection");
        let serving = thread::spawn(move || serve(served));
        let call = |xid: u8| {
            let mut call = vec![0x80, 0, 0, 40, 0, 0, 0, xid];
            call.resize(44, 0);
            call
        };
        let wire = [call(1), call(2), call(3)].concat();
        client.write_all(&wire[..100]).expect("taken");
        let mut replies = [0; 84];
        client.read_exact(&mut replies[..56]).expect("two replies");
        client.write_all(&wire[100..]).expect("taken");
        client.read_exact(&mut replies[56..]).expect("the third");
        for (xid, reply) in (1..).zip(replies.chunks(28)) {
            assert_eq!(reply[..12], [0x80, 0, 0, 24, 0, 0, 0, xid, 0, 0, 0, 1]);
        }
        drop(client);
        serving.join().expect("no panic").expect("it ends with its client");
    }
}
