//! The header of a call: any record is a call, a rejection, or nothing; a call is answered as RPC
//! demands, whatever its program, version and credential.
use bytes::Bytes;

use super::{replies, world::World};
use crate::nfs::rpc::{
    auth::Caller,
    call::{BadCall, Call},
    limits::GROUPS_MAX,
    reply::Reply,
};

/// Input: a record.
pub(super) fn run(input: &[u8]) {
    let world = World::new();
    let record = Bytes::from(world.sealed(input));
    let xid = record.first_chunk().map(|xid| u32::from_be_bytes(*xid));
    match Call::parse(World::PEER, record.clone()) {
        Ok(call) => {
            assert_eq!(Some(call.xid), xid, "the xid is the record's first word");
            assert!(record.ends_with(call.args.rest()), "the arguments are the record's rest");
            if let Ok(Caller::Sys(who)) = &call.caller {
                assert!(who.groups.len() <= GROUPS_MAX as usize, "AUTH_SYS has sixteen groups");
            }
            world.answer(call).expect("the reply is well-formed");
        }
        Err(BadCall::Rejected { xid: own, why }) => {
            assert_eq!(Some(own), xid, "a rejection goes to the call's xid");
            let reply = Reply::rejected(own, why).into_datagram();
            let results = replies::results(own, &reply).expect("a rejection is well-formed");
            assert_eq!(results, None, "a rejection has no results");
        }
        Err(BadCall::NotACall) => {}
    }
}
