//! The registry of RPC programs on one listener, and what happens to a call between its header
//! and its program: version, credential, replay.
use std::{fmt, ops::RangeInclusive, sync::Arc};

use async_trait::async_trait;

use super::{
    auth::Caller,
    call::Call,
    reply::{Rejection, Reply},
};
use crate::nfs::drc::{ReplyCache, ReplyKey};

const NULL_PROCEDURE: u32 = 0;

/// What a second execution of a repeated call would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repetition {
    /// Nothing that the first has not.
    Harmless,
    /// Fail where the first did not, or undo what came between: its reply is remembered.
    Change,
    /// Bring bytes back that a later call has replaced: its reply is remembered, but for less long, as
    /// there are so many.
    Write,
}

/// One RPC program. Procedure 0 (NULL) is answered for it.
#[async_trait]
pub trait Program: fmt::Debug + Send + Sync + 'static {
    /// Its number.
    fn number(&self) -> u32;

    /// Its versions.
    fn versions(&self) -> RangeInclusive<u32>;

    /// What a second execution of a repeated call would do.
    fn repetition(&self, procedure: u32) -> Repetition;

    /// About how many bytes the reply to a call takes beyond a few hundred.
    fn reply_bytes(&self, call: &Call) -> usize;

    /// Executes a call of a procedure other than NULL.
    ///
    /// # Errors
    /// [`Rejection`], to be sent instead of results.
    async fn execute(&self, caller: Caller, call: Call) -> Result<Reply, Rejection>;
}

/// The programs answered on one listener.
#[derive(Clone, Debug)]
pub struct Programs {
    programs: Vec<Arc<dyn Program>>,
    replies: Arc<ReplyCache>,
}

impl Programs {
    /// A registry of `programs`.
    pub fn new(programs: Vec<Arc<dyn Program>>, replies: Arc<ReplyCache>) -> Self {
        Self { programs, replies }
    }

    fn find(&self, number: u32) -> Option<&Arc<dyn Program>> {
        self.programs.iter().find(|program| program.number() == number)
    }

    /// About how many bytes the reply to a call takes beyond a few hundred.
    pub fn reply_bytes(&self, call: &Call) -> usize {
        self.find(call.program).map_or(0, |program| program.reply_bytes(call))
    }

    /// Executes a call, or repeats its reply.
    ///
    /// Not to be dropped before it is done: a change may then have been made without a reply
    /// being remembered.
    pub async fn answer(&self, mut call: Call) -> Reply {
        let xid = call.xid;
        let Some(program) = self.find(call.program) else {
            return Reply::rejected(xid, Rejection::ProgramUnavailable);
        };
        let versions = program.versions();
        if !versions.contains(&call.version) {
            let (low, high) = versions.into_inner();
            return Reply::rejected(xid, Rejection::ProgramMismatch { low, high });
        }
        if call.procedure == NULL_PROCEDURE {
            return Reply::success(xid);
        }
        let caller = match std::mem::replace(&mut call.caller, Ok(Caller::Anonymous)) {
            Ok(caller) => caller,
            Err(error) => return Reply::rejected(xid, Rejection::Auth(error)),
        };
        match program.repetition(call.procedure) {
            Repetition::Harmless => execute(program, caller, call).await,
            Repetition::Change => {
                let key = ReplyKey::of(&call, &caller);
                call.request = Some(key.request());
                self.replies.once(key, execute(program, caller, call)).await
            }
            Repetition::Write => {
                let key = ReplyKey::of(&call, &caller);
                self.replies.write_once(key, execute(program, caller, call)).await
            }
        }
    }
}

async fn execute(program: &Arc<dyn Program>, caller: Caller, call: Call) -> Reply {
    let xid = call.xid;
    match program.execute(caller, call).await {
        Ok(reply) => reply,
        Err(why) => Reply::rejected(xid, why),
    }
}
