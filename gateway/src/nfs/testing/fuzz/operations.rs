//! Sequences of operations on an empty share, as real calls; a model says what the replies may be.
//!
//! Statuses are the share's to choose, effects are not: what was acknowledged is there afterwards,
//! what was refused is not, and root is refused nothing that can be done.
use bytes::Bytes;
use nfs3_types::{
    nfs3::{self as v3, Nfs3Result},
    xdr_codec::{Pack, Unpack},
};

use super::{
    model::{Model, Number},
    operation::Operation,
    replies,
    wire::{Outgoing, Procedure, hyper, opaque, sattr, words},
    world::World,
};
use crate::{nfs::rpc::call::Call, vfs::Ino};

/// Most operations of one input: enough for any state that matters, and if each made a file of the
/// largest size, they and the model's would fit the target's memory.
const OPERATIONS_MAX: usize = 96;
/// The root directory.
const ROOT: Ino = Ino(1);

/// Input: operations.
pub(super) fn run(input: &[u8]) {
    let Ok(operations) = Operation::all(input) else { return };
    let mut session = Session::new();
    for operation in operations.iter().take(OPERATIONS_MAX) {
        session.take(operation);
    }
}

/// A call that was answered and must be answered alike when it comes again.
#[derive(Debug)]
struct Answered {
    record: Bytes,
    reply: Vec<u8>,
}

pub(super) struct Session {
    world: World,
    pub(super) model: Model,
    pub(super) xid: u32,
    answered: Vec<Answered>,
}

impl Session {
    fn new() -> Self {
        let (world, _) = World::empty();
        let model = Model::new(world.handle(ROOT).to_vec());
        Self { world, model, xid: 0, answered: Vec::new() }
    }

    pub(super) fn handle(&self, number: Number) -> Vec<u8> {
        opaque(&self.model.objects[number].handle)
    }

    fn answer(&self, record: &Bytes) -> Vec<u8> {
        let call = Call::parse(World::PEER, record.clone()).expect("the header is well-formed");
        self.world.answer(call).expect("the answer is what the procedure returns")
    }

    /// The results of a call; made twice if the operation says so.
    pub(super) fn ask<T: Pack + Unpack>(
        &mut self,
        operation: &Operation,
        procedure: Procedure,
        args: &[Vec<u8>],
    ) -> T {
        self.xid += 1;
        let (xid, caller, args) = (self.xid, operation.caller(), &args.concat());
        let record = Outgoing { xid, procedure, caller, args }.record();
        let reply = self.answer(&record);
        let once = procedure.is_executed_once();
        if operation.is_repeated() {
            let again = self.answer(&record);
            assert!(!once || again == reply, "a repeated call gets the first reply");
        }
        let results = replies::results(xid, &reply).expect("the header was checked");
        let results = replies::whole(results.expect("a call that is well-formed is executed"));
        if once {
            self.answered.push(Answered { record, reply });
        }
        results.expect("the results were checked")
    }

    /// Sends a call again that was answered before, whatever came between.
    fn repeat_earlier(&self, operation: &Operation) {
        let Some(last) = self.answered.len().checked_sub(1) else { return };
        let earlier = &self.answered[last - usize::from(operation.object).min(last)];
        assert_eq!(self.answer(&earlier.record), earlier.reply, "a call repeated late");
    }

    fn take(&mut self, op: &Operation) {
        match op.procedure() {
            1 => self.getattr(op),
            2 => self.setattr(op),
            3 => self.lookup(op),
            4 => self.access(op),
            5 => self.readlink(op),
            6 => self.read(op),
            7 => self.write(op),
            8 => self.create(op),
            9 => self.mkdir(op),
            10 => self.symlink(op),
            12 => self.remove(op, false),
            13 => self.remove(op, true),
            14 => self.rename(op),
            16 | 17 => self.list(op),
            22 => self.mount(op),
            23 => self.repeat_earlier(op),
            procedure => self.without_effect(op, procedure),
        }
    }

    /// MKNOD, LINK: refused. FSSTAT, FSINFO, PATHCONF, COMMIT: answered.
    fn without_effect(&mut self, op: &Operation, procedure: u32) {
        let handle = self.handle(self.model.pick(op.object));
        let to = || self.handle(self.model.pick(op.to_object));
        let args = match procedure {
            11 => [opaque(op.name()), words(&[7]), sattr(None, None)].concat(),
            15 => [to(), opaque(op.other_name())].concat(),
            21 => [hyper(op.offset()), words(&[op.length()])].concat(),
            _ => Vec::new(),
        };
        let args = [handle, args];
        match procedure {
            11 => {
                let made = self.ask::<v3::MKNOD3res>(op, Procedure::nfs(11), &args);
                assert!(matches!(made, Nfs3Result::Err(_)), "a device in a bucket");
            }
            15 => {
                let linked = self.ask::<v3::LINK3res>(op, Procedure::nfs(15), &args);
                assert!(matches!(linked, Nfs3Result::Err(_)), "a second name of an object");
            }
            18 => drop(self.ask::<v3::FSSTAT3res>(op, Procedure::nfs(18), &args)),
            19 => drop(self.ask::<v3::FSINFO3res>(op, Procedure::nfs(19), &args)),
            20 => drop(self.ask::<v3::PATHCONF3res>(op, Procedure::nfs(20), &args)),
            21 => drop(self.ask::<v3::COMMIT3res>(op, Procedure::nfs(21), &args)),
            _ => {}
        }
    }
}
