//! Portmapper version 2 (RFC 1833 §3): tells clients where NFS and MOUNT are, and nothing else.
//! Nothing can be registered, and no call is passed on (CALLIT): that would lend our address out.
use std::ops::RangeInclusive;

use async_trait::async_trait;

use super::{
    mount::{MOUNT_PROGRAM, MOUNT_VERSION},
    rpc::{
        auth::Caller,
        call::Call,
        decode::{DecodeError, Decoder},
        program::{Program, Repetition},
        reply::{Rejection, Reply},
    },
};

const PORTMAP_PROGRAM: u32 = 100_000;
const PORTMAP_VERSION: u32 = 2;
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

    fn port(&self, args: &mut Decoder) -> Result<u32, DecodeError> {
        let asked = mapping(args)?;
        let found =
            self.mappings.iter().find(|known| Mapping { port: asked.port, ..**known } == asked);
        Ok(found.map_or(0, |known| known.port))
    }
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
        PORTMAP_VERSION..=PORTMAP_VERSION
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
        match call.procedure {
            // SET, UNSET: refused.
            1 | 2 => {
                mapping(&mut call.args).map_err(garbage)?;
                reply.bool(false);
            }
            // GETPORT
            3 => reply.u32(self.port(&mut call.args).map_err(garbage)?),
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
