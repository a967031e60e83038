//! Arguments of every procedure: a well-formed call around bytes that are any. The answer is what
//! the procedure returns or a rejection, and the same once more where the call must not be
//! executed twice.
use super::{
    wire::{Caller, Outgoing, Procedure},
    world::World,
};
use crate::nfs::rpc::call::Call;

/// Input: procedure, caller, arguments; handles in them get their MAC (see [`World::sealed`]).
pub(super) fn nfs(input: &[u8]) {
    call(Procedure::nfs, input);
}

/// The same for MOUNT.
pub(super) fn mount(input: &[u8]) {
    call(Procedure::mount, input);
}

/// The same for the portmapper; the upper half of the procedure's byte chooses the version.
pub(super) fn portmap(input: &[u8]) {
    call(|byte| Procedure::portmap(2 + (byte >> 4) % 3, byte & 0xf), input);
}

fn call(procedure: impl Fn(u32) -> Procedure, input: &[u8]) {
    let [number, caller, args @ ..] = input else { return };
    let world = World::new();
    let (procedure, caller) = (procedure(u32::from(*number)), Caller::of(*caller));
    let args = world.sealed(args);
    let record = Outgoing { xid: 1, procedure, caller, args: &args }.record();
    let answer = || {
        let call = Call::parse(World::PEER, record.clone()).expect("the header is well-formed");
        world.answer(call).expect("the answer is what the procedure returns")
    };
    let first = answer();
    if procedure.is_executed_once() {
        assert_eq!(answer(), first, "a repeated call gets the first reply");
    }
}
