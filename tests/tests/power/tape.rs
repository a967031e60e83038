//! A recording: the gateway at work on the logged disk, with what its clients were told and what S3 had at each
//! length of the log.
use std::{
    path::PathBuf,
    sync::{Mutex, mpsc},
    thread,
};

use anyhow::{Context, Result, ensure};
use e2e::{
    lab::start_store,
    power::machine::{HOST, PowerVm, Span},
    seed,
};
use gateway_api::settings::Squash;
use s3_store::{FaultAction, FaultRule, History, S3Store};

use crate::{
    client::{Client, Manifest, Work},
    dice::Dice,
};

pub(crate) const CLIENTS: usize = 3;
/// What clients do.
const WORK: Work = Work { shares: &["sales"], swaps: true };
const UPLOAD_DELAY_MS: u64 = 50;

/// How to make one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) seed: u64,
    /// Answered calls after which it ends.
    pub(crate) calls: usize,
    /// Bytes of the largest file.
    pub(crate) largest: usize,
    /// A step that the gateway leaves out.
    pub(crate) dropped: Option<&'static str>,
}

/// What a client was told, with the length of the log before a call was made and after it was answered.
type Notes = Vec<(u64, Manifest)>;

/// What was recorded.
#[derive(Debug)]
pub(crate) struct Tape {
    /// From the first call of a client to the last.
    pub(crate) span: Span,
    /// The gateway's state directory.
    pub(crate) state: PathBuf,
    /// Everything that became of the bucket.
    pub(crate) bucket: History,
    notes: Vec<Notes>,
}

impl Tape {
    /// What a client knew when the log was `offset` bytes long.
    pub(crate) fn manifest(&self, client: usize, offset: u64) -> Manifest {
        let notes = &self.notes[client];
        let known = notes.partition_point(|(at, _)| *at <= offset);
        known.checked_sub(1).map_or_else(Manifest::default, |last| notes[last].1.clone())
    }

    /// Notes until then.
    pub(crate) fn notes_until(&self, offset: u64) -> usize {
        self.notes.iter().map(|notes| notes.partition_point(|(at, _)| *at <= offset)).sum()
    }
}

/// The settings of a gateway whose store is at `endpoint`.
pub(crate) fn settings(endpoint: &str) -> Result<String> {
    let mut settings = seed::settings(endpoint)?;
    settings.shares[0].squash = Squash::NoSquash;
    settings.cache.upload_delay_ms = UPLOAD_DELAY_MS;
    Ok(settings.to_toml()?)
}

/// A store that takes nothing.
pub(crate) fn refuse(store: &S3Store) {
    let refused = FaultAction::FailBefore { status: 403, code: "AccessDenied".to_owned() };
    store.faults().add(FaultRule::new(refused).times(u64::MAX));
}

/// What S3 does in each third of a recording: it takes everything, nothing, or fails now and then.
fn set_weather(store: &S3Store, third: usize, dice: &mut Dice) {
    store.faults().clear();
    let mut often = |action, per_mille| {
        store.faults().add(FaultRule::new(action).times(u64::MAX).chance(per_mille, dice.seed()));
    };
    match third {
        0 => {}
        1 => refuse(store),
        _ => {
            let fails = |status, code: &str| (status, code.to_owned());
            let (status, code) = fails(503, "SlowDown");
            often(FaultAction::FailBefore { status, code }, 100);
            let (status, code) = fails(500, "InternalError");
            often(FaultAction::FailAfter { status, code }, 50);
            often(FaultAction::DropAfter, 50);
        }
    }
}

/// Records a round on a new file system.
pub(crate) fn record(vm: &mut PowerVm, round: &Round) -> Result<Tape> {
    let store = start_store(0, None)?;
    let mut dice = Dice::new(round.seed);
    let log = vm.work_log()?;
    let stamp = log.from(0)?;
    let bucket = store.record(move || stamp.len().expect("the log is open"));
    let environment =
        round.dropped.map_or_else(String::new, |step| format!("TIDEGATE_DROP={step}"));
    let endpoint = format!("http://{HOST}:{}", store.address().port());
    vm.serve(&settings(&endpoint)?, &environment)?;
    let state = vm.folder().join(format!("state-{:x}", round.seed));
    vm.state(&state)?;
    (0..CLIENTS).for_each(|number| Client::prepare(number, WORK, vm.port));
    let begin = log.len()?;
    let mut notes = vec![Notes::new(); CLIENTS];
    let (answered, answers) = mpsc::sync_channel::<()>(0);
    let port = vm.port;
    thread::scope(|scope| {
        for (number, notes) in notes.iter_mut().enumerate() {
            let (answered, log) = (answered.clone(), log.from(0).expect("a descriptor"));
            let (dice, largest) = (Dice::new(dice.seed()), round.largest);
            scope.spawn(move || {
                let notes = Mutex::new(notes);
                let note = |manifest: &Manifest| {
                    let at = log.len().expect("the log is open");
                    notes.lock().expect("no one else has it").push((at, manifest.clone()));
                };
                let mut manifest = Manifest::default();
                let mut client =
                    Client::noting((number, WORK), port, &mut manifest, dice, (largest, &note));
                // Nobody listens when there were enough.
                while answered.send(()).is_ok() {
                    client.step();
                }
            });
        }
        drop(answered);
        for call in 0..round.calls {
            if call * 3 % round.calls < 3 {
                set_weather(&store, call * 3 / round.calls, &mut dice);
            }
            if answers.recv().is_err() {
                break;
            }
        }
        drop(answers);
    });
    let end = log.len()?;
    vm.end().context("the end of a recording")?;
    ensure!(end > begin, "nothing was written");
    Ok(Tape { span: Span { begin, end }, state, bucket, notes })
}
