//! Portmapper version 2 and rpcbind versions 3 and 4 (RFC 1833 §2, §3): tell clients where NFS and
//! MOUNT are, and nothing else; of rpcbind GETADDR, without which nobody mounts over IPv6. Nothing can
//! be registered, and no call is passed on (CALLIT): that would lend our address out.
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

use async_trait::async_trait;

use super::{
    mount::{MOUNT_PROGRAM, MOUNT_VERSION},
    rpc::{
        auth::Caller,
        call::Call,
        decode::{DecodeError, Decoder},
        limits::NAME_BYTES_MAX,
        program::{Program, Repetition},
        reply::{Rejection, Reply},
    },
};

const PORTMAP_PROGRAM: u32 = 100_000;
const PORTMAP_VERSION: u32 = 2;
/// The last version of rpcbind.
const RPCBIND_VERSION: u32 = 4;
/// The port that clients ask.
pub const PORTMAP_PORT: u16 = 111;

const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping {
    program: u32,
    version: u32,
    protocol: u32,
    port: u32,
}

/// The portmapper as one listener shows it.
#[derive(Debug)]
pub struct Portmap {
    mappings: [Mapping; 4],
}

impl Portmap {
    /// Announces NFS and MOUNT on a TCP port.
    pub fn new(nfs_port: u16) -> Self {
        let at = |program, version, protocol, port| Mapping {
            program,
            version,
            protocol,
            port: u32::from(port),
        };
        let (nfs, nfs_version) = (nfsserve::nfs::PROGRAM, nfsserve::nfs::VERSION);
        Self {
            mappings: [
                at(PORTMAP_PROGRAM, PORTMAP_VERSION, IPPROTO_TCP, PORTMAP_PORT),
                at(PORTMAP_PROGRAM, PORTMAP_VERSION, IPPROTO_UDP, PORTMAP_PORT),
                at(nfs, nfs_version, IPPROTO_TCP, nfs_port),
                at(MOUNT_PROGRAM, MOUNT_VERSION, IPPROTO_TCP, nfs_port),
            ],
        }
    }

    /// The port, or 0.
    fn port(&self, asked: Mapping) -> u32 {
        let found =
            self.mappings.iter().find(|known| Mapping { port: asked.port, ..**known } == asked);
        found.map_or(0, |known| known.port)
    }

    /// The universal address, or nothing.
    fn address(&self, args: &mut Decoder) -> Result<String, DecodeError> {
        let (asked, host) = rpcb(args)?;
        let asked = asked.map(|asked| match asked {
            // rpcbind is where the portmapper is.
            Mapping { program: PORTMAP_PROGRAM, version: 3..=RPCBIND_VERSION, .. } => {
                Mapping { version: PORTMAP_VERSION, ..asked }
            }
            asked => asked,
        });
        Ok(match asked.map_or(0, |asked| self.port(asked)) {
            0 => String::new(),
            port => format!("{host}.{}.{}", port >> 8, port & 0xff),
        })
    }
}

/// RFC 1833 §2.1 rpcb, as far as it asks for something: a mapping whose port is not known yet, and the
/// host to say in the answer.
fn rpcb(args: &mut Decoder) -> Result<(Option<Mapping>, IpAddr), DecodeError> {
    let (program, version) = (args.u32()?, args.u32()?);
    let netid = args.opaque(NAME_BYTES_MAX)?;
    let hint = args.opaque(NAME_BYTES_MAX)?;
    let _owner = args.opaque(NAME_BYTES_MAX)?;
    args.end()?;
    let (protocol, any) = match &netid[..] {
        b"tcp" => (IPPROTO_TCP, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        b"udp" => (IPPROTO_UDP, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        b"tcp6" => (IPPROTO_TCP, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        b"udp6" => (IPPROTO_UDP, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        _ => return Ok((None, IpAddr::V4(Ipv4Addr::UNSPECIFIED))),
    };
    let host = host(&hint).filter(|host| host.is_ipv4() == any.is_ipv4()).unwrap_or(any);
    Ok((Some(Mapping { program, version, protocol, port: 0 }), host))
}

/// The host of a universal address (RFC 5665 §5.2.3.3): what is before the two numbers of the port.
/// Clients send the address at which they ask, and expect to be told of the same.
fn host(address: &[u8]) -> Option<IpAddr> {
    let address = std::str::from_utf8(address).ok()?;
    let (rest, _low) = address.rsplit_once('.')?;
    let (host, _high) = rest.rsplit_once('.')?;
    host.parse().ok()
}

fn mapping(args: &mut Decoder) -> Result<Mapping, DecodeError> {
    let mapping = Mapping {
        program: args.u32()?,
        version: args.u32()?,
        protocol: args.u32()?,
        port: args.u32()?,
    };
    args.end()?;
    Ok(mapping)
}

#[async_trait]
impl Program for Portmap {
    fn number(&self) -> u32 {
        PORTMAP_PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        PORTMAP_VERSION..=RPCBIND_VERSION
    }

    fn repetition(&self, _procedure: u32) -> Repetition {
        Repetition::Harmless
    }

    fn reply_bytes(&self, _call: &Call) -> usize {
        0
    }

    async fn execute(&self, _caller: Caller, mut call: Call) -> Result<Reply, Rejection> {
        let garbage = |_: DecodeError| Rejection::GarbageArguments;
        let mut reply = Reply::success(call.xid);
        if call.version > PORTMAP_VERSION {
            match (call.version, call.procedure) {
                // GETADDR; GETVERSADDR, which version 3 has not.
                (_, 3) | (RPCBIND_VERSION, 9) => {
                    reply.opaque(self.address(&mut call.args).map_err(garbage)?.as_bytes());
                    return Ok(reply);
                }
                _ => return Err(Rejection::ProcedureUnavailable),
            }
        }
        match call.procedure {
            // SET, UNSET: refused.
            1 | 2 => {
                mapping(&mut call.args).map_err(garbage)?;
                reply.bool(false);
            }
            // GETPORT
            3 => reply.u32(self.port(mapping(&mut call.args).map_err(garbage)?)),
            // DUMP
            4 => {
                call.args.end().map_err(garbage)?;
                for Mapping { program, version, protocol, port } in self.mappings {
                    reply.bool(true);
                    [program, version, protocol, port].into_iter().for_each(|word| reply.u32(word));
                }
                reply.bool(false);
            }
            _ => return Err(Rejection::ProcedureUnavailable),
        }
        Ok(reply)
    }
}
