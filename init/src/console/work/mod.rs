//! The console's threads: what takes time is done here, so that keys never wait.
//!
//! A thread looks at everything again and again; each command has a thread of its own, and a few at
//! once at most; the journal is a child of its own for as long as it is watched. All of them send
//! events and ring a bell, which the key loop waits for beside the keyboard.
mod disks;
mod dns;
mod journal;
mod network_test;
mod ntp;
mod s3_test;
mod support;
mod tools;
mod update;

use std::{
    io::{self, Write},
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use gateway_api::{Settings, admin::ADMIN_SOCKET, client::AdminClient};

pub(super) use self::journal::Journal;
#[cfg(test)]
pub(super) use self::update::ready as update_is_ready;
use super::{
    app::Job,
    command::{Command, Event, Finished, MachineChange, StepReport},
    view,
};
use crate::{
    control::{self, Answer, Request},
    machine::Machine,
    password,
    shutdown::Ending,
    unread,
};

/// How often everything is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Commands under way at once: whoever leaves the page of one can begin another.
const JOBS_MAX: usize = 4;
/// Events that wait for the key loop; who has more to say waits.
const EVENTS_MAX: usize = 256;
/// Settings that may cut the operator off are taken back after this time.
const CONFIRM_SECONDS: u16 = 60;
/// The gateway applies settings before it answers.
const SETTINGS_TIME: Duration = Duration::from_secs(30);

/// The threads' end of the line to the key loop.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    events: SyncSender<Event>,
    bell: Arc<UnixStream>,
}

impl Outbox {
    /// Sends an event; waits while the key loop has too many.
    ///
    /// # Errors
    /// The console has ended.
    pub(super) fn send(&self, event: Event) -> io::Result<()> {
        self.events.send(event).map_err(io::Error::other)?;
        match (&*self.bell).write(&[0]) {
            // A bell that is full of rings is heard.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }
}

/// The key loop's end.
#[derive(Debug)]
pub(super) struct Workshop {
    pub(super) events: Receiver<Event>,
    /// Readable when there may be events.
    pub(super) bell: UnixStream,
    outbox: Outbox,
    look: SyncSender<()>,
    running: Arc<AtomicUsize>,
}

impl Workshop {
    /// Starts to look.
    ///
    /// # Errors
    /// The system gives no thread or socket.
    pub(super) fn open() -> io::Result<Self> {
        let (events_in, events) = sync_channel(EVENTS_MAX);
        let (bell_in, bell) = UnixStream::pair()?;
        bell_in.set_nonblocking(true)?;
        bell.set_nonblocking(true)?;
        let outbox = Outbox { events: events_in, bell: Arc::new(bell_in) };
        let (look, wanted) = sync_channel(1);
        let looker = outbox.clone();
        thread::Builder::new().name("look".to_owned()).spawn(move || {
            while looker.send(Event::Looked(Box::new(view::look()))).is_ok() {
                match wanted.recv_timeout(LOOK_INTERVAL) {
                    Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(Self { events, bell, outbox, look, running: Arc::default() })
    }

    /// For threads.
    pub(super) fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Looks again soon.
    pub(super) fn look(&self) {
        match self.look.try_send(()) {
            // One that waits already is as good; without the looker the console is ending.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }

    /// Runs a command; its events carry its number.
    pub(super) fn start(&self, (job, command): Job) -> Result<(), String> {
        if self.running.fetch_add(1, Ordering::Relaxed) >= JOBS_MAX {
            self.running.fetch_sub(1, Ordering::Relaxed);
            return Err("other commands are still under way: wait for one to end".to_owned());
        }
        let (outbox, running) = (self.outbox.clone(), Arc::clone(&self.running));
        let began = thread::Builder::new().name(format!("job {job}")).spawn(move || {
            let report = |report: StepReport| {
                // Without a key loop the process is ending.
                let _ending = outbox.send(Event::Step { job, report });
            };
            let outcome = run(command, &report);
            running.fetch_sub(1, Ordering::Relaxed);
            let _ending = outbox.send(Event::Done { job, outcome });
        });
        began.map(drop).map_err(|error| {
            self.running.fetch_sub(1, Ordering::Relaxed);
            format!("the system gives no thread: {error}")
        })
    }
}

/// Does what a command says.
fn run(command: Command, report: &dyn Fn(StepReport)) -> Result<Finished, String> {
    match command {
        Command::LogIn(password) => {
            done(&Request::LogIn { password })?;
            Ok(Finished::LoggedIn)
        }
        Command::SetPassword { password, first } => {
            let hash = password::hash(&password).map_err(|error| format!("{error:#}"))?;
            match control::ask(&Request::SetPassword { hash, first })? {
                Answer::Done => Ok(Finished::LoggedIn),
                Answer::Text { text } => Ok(Finished::SetFor(text)),
                other => Err(format!("PID 1 answers {other:?}")),
            }
        }
        Command::GiveUpSettings => {
            done(&Request::GiveUpSettings)?;
            Ok(said(unread::GIVEN_UP))
        }
        Command::Change { settings, revision, on_trial } => change(settings, revision, on_trial),
        Command::Confirm => {
            done(&Request::Confirm)?;
            Ok(said("The settings are kept."))
        }
        Command::Revert => {
            done(&Request::Revert)?;
            Ok(said("The settings before them are used again."))
        }
        Command::End(how) => {
            done(&Request::End { how })?;
            Ok(said(match how {
                Ending::Reboot => "Rebooting ...",
                Ending::PowerOff => "Shutting down ...",
            }))
        }
        Command::Update(wanted) => update::run(wanted, report),
        Command::PutGateway { settings, revision } => put_gateway(&settings, revision),
        Command::DeleteShare { settings, revision } => {
            let client = AdminClient::new(ADMIN_SOCKET, SETTINGS_TIME);
            client.delete_shares(&settings, revision).map_err(|error| error.to_string())?;
            Ok(said("The share is deleted."))
        }
        Command::TestS3 { test, then } => s3_test::run(&test, then, report),
        Command::TestNetwork(targets) => {
            let failed = network_test::run(&targets, report);
            Ok(match failed {
                0 => said("Everything answers."),
                failed => said(&format!("{failed} of {} tests failed.", targets.len())),
            })
        }
        Command::ClockState => text(&Request::Clock { step: false }),
        Command::StepClock => text(&Request::Clock { step: true }),
        Command::SendBundle { share, key } => support::send(&share, &key, report),
        Command::OfferBundle => support::offer(report),
        Command::OfferText { name, text } => {
            support::hand_over(&view::look(), &name, text.as_bytes(), report)
        }
        Command::ReadVolume => document(&Request::ReadVolume),
        Command::ReadUrl(url) => document(&Request::ReadUrl { url }),
        Command::Import { machine, gateway } => import(machine, gateway),
        Command::Disks(order) => disks::order(order),
        Command::GatewayDisk { verb, uuid } => disks::ask_gateway(verb, &uuid),
        Command::Tool(tool) => tools::run(&tool).map(Finished::Said),
    }
}

fn said(words: &str) -> Finished {
    Finished::Said(vec![words.to_owned()])
}

fn done(request: &Request) -> Result<(), String> {
    match control::ask(request)? {
        Answer::Done => Ok(()),
        other => Err(format!("PID 1 answers {other:?}")),
    }
}

fn text(request: &Request) -> Result<Finished, String> {
    match control::ask(request)? {
        Answer::Text { text } => Ok(Finished::Said(text.lines().map(str::to_owned).collect())),
        other => Err(format!("PID 1 answers {other:?}")),
    }
}

fn document(request: &Request) -> Result<Finished, String> {
    match control::ask(request)? {
        Answer::Text { text } => Ok(Finished::Document(text)),
        other => Err(format!("PID 1 answers {other:?}")),
    }
}

fn change(settings: Box<Machine>, revision: u64, on_trial: bool) -> Result<Finished, String> {
    let confirm_seconds = if on_trial { CONFIRM_SECONDS } else { 0 };
    done(&Request::Change { settings, revision, confirm_seconds })?;
    Ok(if on_trial { Finished::OnTrial } else { said("The settings are in use.") })
}

fn put_gateway(settings: &Settings, revision: u64) -> Result<Finished, String> {
    let client = AdminClient::new(ADMIN_SOCKET, SETTINGS_TIME);
    client.replace_settings(settings, revision).map_err(|error| error.to_string())?;
    Ok(said("The settings are saved and in force."))
}

/// The gateway's settings go first: they are refused as a whole, and then nothing has changed.
fn import(
    machine: Option<MachineChange>,
    gateway: Option<(Box<Settings>, u64)>,
) -> Result<Finished, String> {
    let before = if gateway.is_some() { "The gateway's settings are in force. " } else { "" };
    if let Some((settings, revision)) = gateway {
        put_gateway(&settings, revision)?;
    }
    match machine {
        Some(MachineChange { settings, revision, on_trial }) => {
            change(settings, revision, on_trial)
                .map_err(|why| format!("{before}The machine's are not used: {why}"))
        }
        None => Ok(said("The settings are saved and in force.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::command::Tool;

    fn connect_to_nobody() -> Command {
        Command::Tool(Tool::Connect { host: "127.0.0.1".to_owned(), port: 1 })
    }

    #[test]
    fn a_look_and_a_command_come_as_events() {
        let workshop = Workshop::open().unwrap();
        workshop.start((7, connect_to_nobody())).unwrap();
        let (mut looked, mut outcome) = (false, None);
        while !looked || outcome.is_none() {
            match workshop.events.recv().unwrap() {
                Event::Looked(_) => looked = true,
                Event::Done { job, outcome: done } => outcome = Some((job, done)),
                Event::Step { .. } | Event::Line { .. } => {}
            }
        }
        let (job, outcome) = outcome.unwrap();
        assert_eq!(job, 7);
        assert!(outcome.unwrap_err().starts_with("127.0.0.1 port 1: "));
    }

    #[test]
    fn commands_under_way_are_bounded() {
        let workshop = Workshop::open().unwrap();
        workshop.running.store(JOBS_MAX, Ordering::Relaxed);
        let refused = workshop.start((1, connect_to_nobody())).unwrap_err();
        assert!(refused.contains("under way"), "{refused}");
        workshop.running.store(JOBS_MAX - 1, Ordering::Relaxed);
        workshop.start((2, connect_to_nobody())).unwrap();
    }
}
