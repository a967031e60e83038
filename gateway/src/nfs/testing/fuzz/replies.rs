//! Replies, read by a codec that others wrote (nfs3_types): each must be what its procedure
//! returns, to the last byte, padding included.
use nfs3_types::{
    mount::{exports, mountlist, mountres3},
    nfs3 as v3,
    portmap::pmaplist,
    rpc::{accept_stat_data, accepted_reply, msg_body, reply_body, rpc_msg},
    xdr_codec::{Opaque, Pack, Unpack},
};

use super::wire::{NFS_PROGRAM, PORTMAP_PROGRAM, Procedure};
use crate::nfs::{mount::MOUNT_PROGRAM, rpc::reply::Reply};

const LAST_FRAGMENT: u32 = 1 << 31;

/// A reply without its record mark.
///
/// # Errors
/// When the mark is not that of one fragment of this length.
pub(super) fn message(reply: Reply) -> Result<Vec<u8>, String> {
    let record = reply.into_parts().concat();
    let (mark, message) = record.split_first_chunk().ok_or("a reply without a mark")?;
    let mark = u32::from_be_bytes(*mark);
    if u32::try_from(message.len()).ok() != mark.checked_sub(LAST_FRAGMENT) {
        return Err(format!("mark {mark:#x} before {} bytes", message.len()));
    }
    Ok(message.to_vec())
}

/// What follows the header of a reply to `xid`; `None` if the call was not executed.
///
/// # Errors
/// When it is no RPC reply to that call.
pub(super) fn results(xid: u32, message: &[u8]) -> Result<Option<&[u8]>, String> {
    let mut rest = message;
    let (reply, _) = rpc_msg::unpack(&mut rest).map_err(|error| format!("header: {error:?}"))?;
    if reply.xid != xid {
        return Err(format!("a reply to {}, not to {xid}", reply.xid));
    }
    let executed = match reply.body {
        msg_body::REPLY(reply_body::MSG_ACCEPTED(accepted_reply { reply_data, .. })) => {
            matches!(reply_data, accept_stat_data::SUCCESS)
        }
        msg_body::REPLY(reply_body::MSG_DENIED(_)) => false,
        msg_body::CALL(_) => return Err("a call instead of a reply".to_owned()),
    };
    match (executed, rest) {
        (true, results) => Ok(Some(results)),
        (false, []) => Ok(None),
        (false, rest) => Err(format!("{} bytes after a rejection", rest.len())),
    }
}

/// Whether `message` answers the call of `xid`, which asked for `procedure`.
///
/// # Errors
/// What is wrong.
pub(super) fn check(xid: u32, procedure: Procedure, message: &[u8]) -> Result<(), String> {
    let Some(results) = results(xid, message)? else { return Ok(()) };
    let Procedure { program, version, number } = procedure;
    let checked = match (program, version, number) {
        (_, _, 0) | (MOUNT_PROGRAM, 3, 3 | 4) => nothing(results),
        (NFS_PROGRAM, 3, _) => of_nfs(number, results),
        (MOUNT_PROGRAM, 3, 1) => whole::<mountres3>(results).map(drop),
        (MOUNT_PROGRAM, 3, 2) => whole::<mountlist>(results).map(drop),
        (MOUNT_PROGRAM, 3, 5) => whole::<exports>(results).map(drop),
        (PORTMAP_PROGRAM, 2, 1 | 2) => whole::<bool>(results).map(drop),
        (PORTMAP_PROGRAM, 2, 3) => whole::<u32>(results).map(drop),
        (PORTMAP_PROGRAM, 2, 4) => whole::<pmaplist>(results).map(drop),
        // GETADDR, and GETVERSADDR of version 4: a universal address (RFC 1833 §2.2.1).
        (PORTMAP_PROGRAM, 3 | 4, 3) | (PORTMAP_PROGRAM, 4, 9) => {
            whole::<Opaque<'static>>(results).map(drop)
        }
        _ => Err("executed although there is no such procedure".to_owned()),
    };
    checked.map_err(|error| format!("{procedure:?}: {error}"))
}

fn of_nfs(procedure: u32, results: &[u8]) -> Result<(), String> {
    match procedure {
        1 => whole::<v3::GETATTR3res>(results).map(drop),
        2 => whole::<v3::SETATTR3res>(results).map(drop),
        3 => whole::<v3::LOOKUP3res>(results).map(drop),
        4 => whole::<v3::ACCESS3res>(results).map(drop),
        5 => whole::<v3::READLINK3res>(results).map(drop),
        6 => match whole::<v3::READ3res>(results)? {
            v3::Nfs3Result::Ok(read) if read.count as usize != read.data.len() => {
                Err(format!("count {} with {} bytes", read.count, read.data.len()))
            }
            v3::Nfs3Result::Ok(_) | v3::Nfs3Result::Err(_) => Ok(()),
        },
        7 => whole::<v3::WRITE3res>(results).map(drop),
        8 => whole::<v3::CREATE3res>(results).map(drop),
        9 => whole::<v3::MKDIR3res>(results).map(drop),
        10 => whole::<v3::SYMLINK3res>(results).map(drop),
        11 => whole::<v3::MKNOD3res>(results).map(drop),
        12 => whole::<v3::REMOVE3res>(results).map(drop),
        13 => whole::<v3::RMDIR3res>(results).map(drop),
        14 => whole::<v3::RENAME3res>(results).map(drop),
        15 => whole::<v3::LINK3res>(results).map(drop),
        16 => whole::<v3::READDIR3res>(results).map(drop),
        17 => whole::<v3::READDIRPLUS3res>(results).map(drop),
        18 => whole::<v3::FSSTAT3res>(results).map(drop),
        19 => whole::<v3::FSINFO3res>(results).map(drop),
        20 => whole::<v3::PATHCONF3res>(results).map(drop),
        21 => whole::<v3::COMMIT3res>(results).map(drop),
        _ => Err("executed although there is no such procedure".to_owned()),
    }
}

fn nothing(results: &[u8]) -> Result<(), String> {
    if results.is_empty() { Ok(()) } else { Err("results of a procedure without any".to_owned()) }
}

/// A value that is all of `results`, written as it would be written again.
///
/// # Errors
/// When it is not.
pub(super) fn whole<T: Pack + Unpack>(results: &[u8]) -> Result<T, String> {
    let mut rest = results;
    let (value, _) = T::unpack(&mut rest).map_err(|error| format!("not decoded: {error:?}"))?;
    if !rest.is_empty() {
        return Err(format!("{} bytes after the results", rest.len()));
    }
    let mut again = Vec::with_capacity(results.len());
    value.pack(&mut again).map_err(|error| format!("not encoded: {error:?}"))?;
    if again != results {
        return Err("other bytes when encoded again".to_owned());
    }
    Ok(value)
}
