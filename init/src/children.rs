//! Programs that PID 1 waits for, each within a limit.
//!
//! What can hang (making, mending and mounting file systems, reading what a host offers) runs in a
//! child, so that PID 1 can give it up. A child that not even SIGKILL ends, because it waits for a
//! disk, is left to itself and reaped whenever it ends.
use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    os::{
        fd::{AsFd, FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        memfd::{MFdFlags, memfd_create},
        signal::{Signal, killpg},
    },
    unistd::Pid,
};

use crate::service;

/// Most bytes that are kept of what a child says; a seed of 1 MiB as JSON fits.
const BYTES_MAX: usize = 8 << 20;
/// Reads in a row from one pipe, so that a child that never stops talking does not outlive its limit.
const READS_MAX: usize = 64;
/// Time to die of SIGKILL: longer only while the child waits for a disk.
const KILL_TIME: Duration = Duration::from_secs(2);
/// From one look whether it has died to the next, where nothing tells.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    #[error("cannot be started: {0}")]
    Start(io::Error),
    #[error("was given up after {} s", .0.as_secs_f64())]
    TooLong(Duration),
    #[error("{status}: {words}")]
    Failed { status: ExitStatus, words: String },
    #[error("cannot be waited for: {0}")]
    Wait(io::Error),
    /// In its own words.
    #[error("{0}")]
    MayBeDone(String),
}

/// Whether a child that failed may have done what it was to do all the same, or does it yet: it says so, or has
/// not said that it did not.
pub(crate) fn may_be_done(error: &anyhow::Error) -> bool {
    match error.downcast_ref() {
        Some(
            ChildError::TooLong(_)
            | ChildError::Failed { .. }
            | ChildError::Wait(_)
            | ChildError::MayBeDone(_),
        ) => true,
        Some(ChildError::Start(_)) | None => false,
    }
}

/// A child that was begun and is not waited for.
#[derive(Debug)]
pub(crate) struct Begun {
    pid: i32,
    /// What it prints: in memory, which takes everything though nobody reads it meanwhile.
    said: File,
}

impl Begun {
    /// Its number; PID 1 hears of its end as of every child's.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// What it has printed until its end.
    ///
    /// # Errors
    /// It cannot be read again.
    pub(crate) fn said(mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.said.rewind()?;
        self.said.take(BYTES_MAX as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// The port by which the phases have work done in children; tests record it.
pub(crate) trait Entries: std::fmt::Debug {
    /// Runs an entry of this program with `input` as its standard input and returns what it prints.
    ///
    /// # Errors
    /// It fails, or takes longer than `limit` and is given up.
    fn run(&mut self, entry: &[&str], input: &[u8], limit: Duration)
    -> Result<Vec<u8>, ChildError>;

    /// Begins an entry of this program with `input` as its standard input, in a process group of its own.
    ///
    /// # Errors
    /// It cannot be started.
    fn begin(&mut self, entry: &[&str], input: &[u8]) -> Result<Begun, ChildError>;

    /// Whether a child with this entry was given up, and it or anything that it has started has not ended: what it is
    /// at, it may do yet.
    fn lingers(&mut self, entry: &[&str]) -> bool;

    /// Forgets those that have ended. To be called every second: another group may have such a number later.
    fn forget_ended(&mut self);
}

/// The real one.
#[derive(Debug, Default)]
pub(crate) struct OwnEntries {
    /// Children that were given up: their entries, and their process groups. No other group has such a number while any
    /// process is in it.
    given_up: Vec<(Vec<String>, Pid)>,
}

/// Whether any process is in this group, at work or not reaped yet.
pub(crate) fn is_there(group: Pid) -> bool {
    killpg(group, None) != Err(Errno::ESRCH)
}

impl Entries for OwnEntries {
    fn run(
        &mut self,
        entry: &[&str],
        input: &[u8],
        limit: Duration,
    ) -> Result<Vec<u8>, ChildError> {
        run_with(&mut own(entry), input, limit).map_err(|failed| {
            let entry = || entry.iter().map(|word| (*word).to_owned()).collect();
            self.given_up.extend(failed.left.map(|group| (entry(), group)));
            failed.error
        })
    }

    fn begin(&mut self, entry: &[&str], input: &[u8]) -> Result<Begun, ChildError> {
        begin_with(&mut own(entry), input)
    }

    fn lingers(&mut self, entry: &[&str]) -> bool {
        self.forget_ended();
        self.given_up.iter().any(|(given_up, _)| given_up == entry)
    }

    fn forget_ended(&mut self) {
        self.given_up.retain(|(_, group)| is_there(*group));
    }
}

/// An entry of this program, as a command.
fn own(entry: &[&str]) -> Command {
    let mut command = Command::new(service::INIT);
    command.args(entry).env_clear().env("PATH", "/usr/sbin:/usr/bin");
    service::unblock_signals(&mut command);
    command
}

fn begin_with(command: &mut Command, input: &[u8]) -> Result<Begun, ChildError> {
    let said = in_memory(&[])?;
    let out = said.try_clone().map_err(ChildError::Start)?;
    command.stdin(in_memory(input)?).stdout(out).stderr(Stdio::null()).process_group(0);
    let child = command.spawn().map_err(ChildError::Start)?;
    Ok(Begun { pid: child.id().cast_signed(), said })
}

/// Runs a program to its end and returns what it prints. It and all that it started are killed after
/// `limit`.
///
/// # Errors
/// It cannot be started, takes too long, or fails; then with what it printed on standard error.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<Vec<u8>, ChildError> {
    run_with(command, &[], limit).map_err(|failed| failed.error)
}

/// Why there is no outcome, and the process group that is left.
#[derive(Debug)]
struct Failed {
    error: ChildError,
    left: Option<Pid>,
}

impl From<ChildError> for Failed {
    fn from(error: ChildError) -> Self {
        Self { error, left: None }
    }
}

/// As [`run`], with something to read on standard input.
///
/// # Errors
/// As there.
fn run_with(command: &mut Command, input: &[u8], limit: Duration) -> Result<Vec<u8>, Failed> {
    let input = if input.is_empty() { Stdio::null() } else { in_memory(input)?.into() };
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(ChildError::Start)?;
    let end = pidfd(child.id());
    attend(&mut child, end, limit)
}

/// Hears a child out. One whose end is not to be known, because there is no descriptor left, is ended at once.
fn attend(child: &mut Child, end: io::Result<OwnedFd>, limit: Duration) -> Result<Vec<u8>, Failed> {
    let (end, outcome) = match end {
        Ok(end) => {
            let outcome = follow(child, &end, limit);
            (Some(end), outcome)
        }
        Err(error) => (None, Err(error)),
    };
    let error = match outcome {
        Ok(Some((status, said, _))) if status.success() => return Ok(said),
        Ok(Some((status, _, words))) => {
            let words = String::from_utf8_lossy(&words).trim().to_owned();
            let group = Pid::from_raw(child.id().cast_signed());
            // What it has started is not ended in the midst of its work: it is waited for.
            let left = Some(group).filter(|group| is_there(*group));
            return Err(Failed { error: ChildError::Failed { status, words }, left });
        }
        Ok(None) => ChildError::TooLong(limit),
        Err(error) => ChildError::Wait(error),
    };
    Err(Failed { error, left: kill(child, end) })
}

/// A file that is nowhere but in memory: unlike a pipe, it takes everything at once.
fn in_memory(bytes: &[u8]) -> Result<File, ChildError> {
    let file = memfd_create(c"input", MFdFlags::MFD_CLOEXEC).map_err(io::Error::from);
    let written = file.map(File::from).and_then(|mut file| {
        file.write_all(bytes)?;
        file.rewind()?;
        Ok(file)
    });
    written.map_err(ChildError::Start)
}

type Ended = (ExitStatus, Vec<u8>, Vec<u8>);

/// Takes in what the child says until it ends; `None` after `limit`.
fn follow(child: &mut Child, end: &OwnedFd, limit: Duration) -> io::Result<Option<Ended>> {
    let deadline = Instant::now() + limit;
    let mut said = Pipe::new(child.stdout.take().map(OwnedFd::from))?;
    let mut words = Pipe::new(child.stderr.take().map(OwnedFd::from))?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let mut polled = vec![PollFd::new(end.as_fd(), PollFlags::POLLIN)];
        for pipe in [&said, &words] {
            polled.extend(pipe.file.iter().map(|f| PollFd::new(f.as_fd(), PollFlags::POLLIN)));
        }
        // An interrupted poll is a short wait.
        let _interrupted = poll(&mut polled, timeout(left));
        let ended = polled[0].revents().is_some_and(|what| !what.is_empty());
        drop(polled);
        said.take_in()?;
        words.take_in()?;
        if ended {
            // What it started may hold the pipes open: they are not waited for.
            return Ok(Some((child.wait()?, said.bytes, words.bytes)));
        }
    }
}

/// A descriptor that becomes readable when the process ends (pidfd_open(2)).
fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two numbers and returns a descriptor that nobody else owns.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match i32::try_from(fd) {
        // SAFETY: it was just returned to us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    }
}

fn timeout(left: Duration) -> PollTimeout {
    // Rounded up, so that it does not spin through the last millisecond.
    PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX)
}

/// Kills the child and all that it started, and waits a moment for its end. Their process group, if anything is left of
/// it.
fn kill(child: &mut Child, end: Option<OwnedFd>) -> Option<Pid> {
    let group = Pid::from_raw(child.id().cast_signed());
    // It may have ended in this moment.
    let _gone = killpg(group, Signal::SIGKILL);
    if let Some(end) = &end {
        let mut polled = [PollFd::new(end.as_fd(), PollFlags::POLLIN)];
        let _interrupted = poll(&mut polled, timeout(KILL_TIME));
    } else {
        let until = Instant::now() + KILL_TIME;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
            thread::sleep(LOOK_PAUSE);
        }
    }
    // One that has ended is reaped here, one that waits for a disk by PID 1 later, as all that it started.
    let _reaped = child.try_wait();
    Some(group).filter(|group| is_there(*group))
}

/// One end of a pipe, and what came out of it.
struct Pipe {
    file: Option<File>,
    bytes: Vec<u8>,
}

impl Pipe {
    fn new(fd: Option<OwnedFd>) -> io::Result<Self> {
        if let Some(fd) = &fd {
            fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(Self { file: fd.map(File::from), bytes: Vec::new() })
    }

    fn take_in(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        for _ in 0..READS_MAX {
            let Some(file) = &mut self.file else { return Ok(()) };
            match file.read(&mut buffer) {
                Ok(0) => self.file = None,
                Ok(length) => {
                    let room = BYTES_MAX.saturating_sub(self.bytes.len());
                    self.bytes.extend(&buffer[..length.min(room)]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod record {
    //! A fake that records what it was asked and answers what it was told to.
    use std::{
        cell::{Cell, RefCell},
        rc::Rc,
    };

    use super::{Begun, ChildError, Duration, Entries, in_memory};

    /// What was asked, with which input, shared with the test.
    pub(crate) type Asked = Rc<RefCell<Vec<(Vec<String>, String, Duration)>>>;

    /// The fake.
    #[derive(Debug)]
    pub(crate) struct Recorder {
        asked: Asked,
        answers: Vec<Result<Vec<u8>, ChildError>>,
        /// Entries that took too long, and whether they have ended.
        given_up: Vec<Vec<String>>,
        ended: Rc<Cell<bool>>,
    }

    /// A child that was begun: one with this number, which says nothing.
    pub(crate) fn begun(pid: i32) -> Begun {
        Begun { pid, said: in_memory(&[]).unwrap() }
    }

    impl Recorder {
        /// Answers these, one after the other.
        pub(crate) fn new(answers: Vec<Result<Vec<u8>, ChildError>>) -> (Box<Self>, Asked) {
            let (recorder, asked, ended) = Self::with_lingering(answers);
            ended.set(true);
            (recorder, asked)
        }

        /// As [`Self::new`]; what takes too long has not ended until the test says so.
        pub(crate) fn with_lingering(
            answers: Vec<Result<Vec<u8>, ChildError>>,
        ) -> (Box<Self>, Asked, Rc<Cell<bool>>) {
            let (asked, ended) = (Asked::default(), Rc::<Cell<bool>>::default());
            let (given_up, recorded) = (Vec::new(), (asked.clone(), ended.clone()));
            (Box::new(Self { asked, answers, given_up, ended }), recorded.0, recorded.1)
        }
    }

    impl Entries for Recorder {
        fn run(
            &mut self,
            entry: &[&str],
            input: &[u8],
            limit: Duration,
        ) -> Result<Vec<u8>, ChildError> {
            let entry: Vec<String> = entry.iter().map(|word| (*word).to_owned()).collect();
            let input = String::from_utf8_lossy(input).into_owned();
            self.asked.borrow_mut().push((entry.clone(), input, limit));
            let answer = self.answers.remove(0);
            if matches!(answer, Err(ChildError::TooLong(_))) {
                self.given_up.push(entry);
            }
            answer
        }

        fn lingers(&mut self, entry: &[&str]) -> bool {
            !self.ended.get() && self.given_up.iter().any(|given_up| given_up == entry)
        }

        /// The test says when they have ended.
        fn forget_ended(&mut self) {}

        /// It has said what the answer is, and has a number above the kernel's limit of pids.
        fn begin(&mut self, entry: &[&str], input: &[u8]) -> Result<Begun, ChildError> {
            let said = self.run(entry, input, Duration::ZERO)?;
            Ok(Begun { pid: 5_000_000, said: in_memory(&said)? })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_a_program_prints_comes_back_whole() {
        let said = run(&mut sh("head -c 300000 /dev/zero; echo ignored >&2"), LONG).unwrap();
        assert_eq!(said.len(), 300_000);
    }

    #[test]
    fn a_program_reads_what_it_is_given() {
        let long = "x".repeat(300_000);
        assert_eq!(run_with(&mut sh("cat"), long.as_bytes(), LONG).unwrap(), long.as_bytes());
        assert_eq!(run_with(&mut sh("cat"), b"", LONG).unwrap(), b"");
    }

    #[test]
    fn a_program_that_is_not_waited_for_is_heard_in_the_end() {
        let long = "x".repeat(300_000);
        let begun = begin_with(&mut sh("cat; exit 3"), long.as_bytes()).unwrap();
        // It has filled no pipe, and waits for nobody.
        let mut end = 0;
        // SAFETY: it waits for a child of this test, and writes to a local variable.
        assert_eq!(unsafe { libc::waitpid(begun.pid(), &raw mut end, 0) }, begun.pid());
        assert_eq!(libc::WEXITSTATUS(end), 3);
        assert_eq!(begun.said().unwrap(), long.as_bytes());
    }

    #[test]
    fn a_failure_comes_with_the_programs_words() {
        let error = run(&mut sh("echo no room >&2; exit 4"), LONG).unwrap_err().to_string();
        assert!(error.contains("no room") && error.contains('4'), "{error}");
        let error = run(&mut Command::new("/nowhere"), LONG).unwrap_err();
        assert!(matches!(error, ChildError::Start(_)), "{error}");
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        // The limit is long enough for the shell to write, and nothing waits for the sleepers.
        let script =
            format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", pids.display());
        let error = run(&mut sh(&script), Duration::from_secs(4)).unwrap_err();
        assert!(matches!(error, ChildError::TooLong(_)), "{error}");
        let pid = std::fs::read_to_string(&pids).unwrap().trim().parse().unwrap();
        // Gone already, or dies of the signal that it was sent: it would sleep for much longer.
        if let Ok(end) = pidfd(pid) {
            let mut polled = [PollFd::new(end.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut polled, timeout(LONG)), Ok(1), "process {pid} lives on");
        }
    }

    /// Goal: what not even a signal ends is known until it ends. Method: a process that nobody has killed yet.
    #[test]
    fn a_child_that_was_given_up_lingers_until_it_ends() {
        for has_descriptor in [true, false] {
            let mut left = sh("exec sleep 1000").process_group(0).spawn().unwrap();
            let entry = vec!["phase".to_owned(), "keep-settings".to_owned()];
            let group = Pid::from_raw(left.id().cast_signed());
            let mut entries = OwnEntries { given_up: vec![(entry, group)] };
            assert!(entries.lingers(&["phase", "keep-settings"]));
            assert!(!entries.lingers(&["phase", "seed"]), "another one");
            let end = has_descriptor.then(|| pidfd(left.id()).unwrap());
            assert!(kill(&mut left, end).is_none(), "it has ended");
            entries.forget_ended();
            assert!(entries.given_up.is_empty());
            assert!(!entries.lingers(&["phase", "keep-settings"]));
        }
    }

    /// Goal: what a child has started, such as e2fsck, is waited for, too. Method: two in one group, of which the second
    /// one has ended and nobody has reaped it, in place of what not even a signal ends.
    #[test]
    fn a_child_that_was_given_up_lingers_while_anything_that_it_started_does() {
        let mut leader = sh("exec sleep 1000").process_group(0).spawn().unwrap();
        let group = leader.id().cast_signed();
        let mut started = sh("exec sleep 1000").process_group(group).spawn().unwrap();
        let end = pidfd(leader.id()).ok();
        let left = kill(&mut leader, end);
        let entry = vec!["phase".to_owned(), "config-partition".to_owned()];
        let mut entries = OwnEntries::default();
        entries.given_up.extend(left.map(|left| (entry, left)));
        let lingers = entries.lingers(&["phase", "config-partition"]);
        // Before anything is judged: a test that fails leaves no sleeper behind.
        started.wait().unwrap();
        assert!(lingers, "though the child itself was reaped");
        assert!(!entries.lingers(&["phase", "config-partition"]));
    }

    #[test]
    fn what_a_child_that_broke_off_has_started_is_waited_for() {
        let failed = run_with(&mut sh("sleep 1000 & kill -9 $$"), b"", LONG).unwrap_err();
        assert!(matches!(failed.error, ChildError::Failed { .. }), "{}", failed.error);
        killpg(failed.left.unwrap(), Signal::SIGKILL).unwrap();
    }

    /// Goal: without a descriptor, no child is left that nobody knows of. Method: one that would sleep for long, and
    /// what the kernel says to a process with too many files.
    #[test]
    fn a_child_whose_end_would_not_be_heard_is_ended_and_has_failed() {
        let mut command = sh("exec sleep 1000");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let none = Err(io::Error::from(Errno::EMFILE));
        let failed = attend(&mut child, none, LONG).unwrap_err();
        let reaped = child.try_wait().unwrap();
        // Before anything is judged: a test that fails leaves no sleeper behind.
        child.kill().unwrap();
        assert!(reaped.is_some(), "it is reaped");
        assert!(matches!(failed.error, ChildError::Wait(_)), "{}", failed.error);
        assert!(failed.left.is_none(), "it has ended");
    }

    #[test]
    fn a_program_whose_child_lives_on_is_not_waited_for() {
        let said = run(&mut sh("sleep 30 & echo done"), LONG).unwrap();
        assert_eq!(said, b"done\n");
    }

    #[test]
    fn a_program_that_never_stops_talking_is_killed() {
        let error = run(&mut sh("yes"), Duration::from_millis(300)).unwrap_err();
        assert!(matches!(error, ChildError::TooLong(_)), "{error}");
    }
}
