//! Arguments of every procedure: a well-formed call around bytes that are any. The answer is what
//! the procedure returns or a rejection, and the same once more where the call must not be
//! executed twice.
use super::{
    wire::{Caller, NFS_PROGRAM, Outgoing, PORTMAP_PROGRAM, is_executed_once},
    world::World,
};
use crate::nfs::{mount::MOUNT_PROGRAM, rpc::call::Call};

/// Input: procedure, caller, arguments; handles in them get their MAC (see [`World::sealed`]).
pub(super) fn nfs(input: &[u8]) {
    call(NFS_PROGRAM, input);
}

/// The same for MOUNT.
pub(super) fn mount(input: &[u8]) {
    call(MOUNT_PROGRAM, input);
}

/// The same for the portmapper.
pub(super) fn portmap(input: &[u8]) {
    call(PORTMAP_PROGRAM, input);
}

fn call(program: u32, input: &[u8]) {
    let [procedure, caller, args @ ..] = input else { return };
    let world = World::new();
    let (procedure, caller) = (u32::from(*procedure), Caller::of(*caller));
    let args = world.sealed(args);
    let record = Outgoing { xid: 1, program, procedure, caller, args: &args }.record();
    let answer = || {
        let call = Call::parse(World::PEER, record.clone()).expect("the header is well-formed");
        world.answer(call).expect("the answer is what the procedure returns")
    };
    let first = answer();
    if is_executed_once(program, procedure) {
        assert_eq!(answer(), first, "a repeated call gets the first reply");
    }
}
