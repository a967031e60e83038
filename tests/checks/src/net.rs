//! Ports of the host, and the smallest question that an RPC service answers: the NULL procedure.
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Result, bail};

/// NFS (RFC 1813 §3).
pub const NFS_PROGRAM: u32 = 100_003;
/// Its version.
pub const NFS_VERSION: u32 = 3;

/// A TCP port of 127.0.0.1 that nothing uses: `preferred`, or any other.
///
/// # Errors
/// When the host has no free port.
pub fn free_port(preferred: u16) -> Result<u16> {
    let local = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = local(preferred).or_else(|_| local(0))?;
    Ok(listener.local_addr()?.port())
}

/// Calls procedure 0 of an RPC program over TCP (RFC 5531 §12.1).
///
/// # Errors
/// When there is no answer within `limit`, or one that is not "accepted, success".
pub fn rpc_null(address: SocketAddr, program: u32, version: u32, limit: Duration) -> Result<()> {
    const XID: u32 = 0x7469_6465;
    const CALL: u32 = 0;
    const RPC_VERSION: u32 = 2;
    const AUTH_NONE: [u32; 2] = [0, 0];
    const LAST_FRAGMENT: u32 = 1 << 31;
    let mut call = vec![XID, CALL, RPC_VERSION, program, version, 0];
    call.extend(AUTH_NONE);
    call.extend(AUTH_NONE);
    let mark = LAST_FRAGMENT | u32::try_from(call.len() * 4)?;
    let bytes: Vec<u8> = std::iter::once(mark).chain(call).flat_map(u32::to_be_bytes).collect();

    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(&bytes)?;
    // Record mark, xid, REPLY, MSG_ACCEPTED, verifier (flavor, length 0), SUCCESS.
    let mut reply = [0_u8; 28];
    stream.read_exact(&mut reply)?;
    let words: Vec<u32> = reply
        .chunks_exact(4)
        .map(|word| u32::from_be_bytes(word.try_into().expect("chunks of four bytes")))
        .collect();
    if words[1] != XID || words[2] != 1 || words[3] != 0 || words[6] != 0 {
        bail!("unexpected RPC reply {words:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_not_given_out() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_ne!(free_port(port).unwrap(), port);
    }

    #[test]
    fn a_service_that_hangs_up_is_not_ready() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let service = std::thread::spawn(move || drop(listener.accept().unwrap()));
        assert!(rpc_null(address, NFS_PROGRAM, NFS_VERSION, Duration::from_secs(10)).is_err());
        service.join().unwrap();
    }
}
