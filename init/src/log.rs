//! PID 1 and its network service log to journald through tracing.
//!
//! PID 1 waits for nobody, journald least of all: it writes to the system disk, and when that stalls it
//! takes nothing more, and whoever sends it a line waits. So PID 1 sends its lines itself, without waiting,
//! and says afterwards how many were lost. The network service uses `tracing_journald`, whose lines wait.
use std::{
    fmt::{Debug, Write},
    io,
    os::unix::net::UnixDatagram,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
};

/// Where journald takes lines (systemd's "Native Journal Protocol").
const JOURNALD: &str = "/run/systemd/journal/socket";
/// Longest text of a field: the whole is far below what a datagram takes.
const TEXT_BYTES_MAX: usize = 8 << 10;

/// Logs under `name` from now on. Without journald, log lines go nowhere: what matters is said on the
/// kernel's log as well ([`crate::sys::say`]).
pub(crate) fn install(name: &str) {
    let Ok(layer) = tracing_journald::layer() else { return };
    use_layer(layer.with_syslog_identifier(name.to_owned()));
}

/// Logs as PID 1 from now on: as [`install`], but a line that journald does not take at once is lost.
pub(crate) fn install_in_pid1() {
    match Unwaiting::new(JOURNALD.into()) {
        Ok(layer) => use_layer(layer),
        Err(error) => crate::sys::say(&format!("PID 1 has no log: {error}")),
    }
}

fn use_layer(layer: impl Layer<tracing_subscriber::Registry> + Send + Sync) {
    let subscriber = tracing_subscriber::registry().with(layer);
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        crate::sys::say("the log was installed twice");
    }
}

/// Sends lines that are lost if they cannot be sent at once.
#[derive(Debug)]
struct Unwaiting {
    socket: UnixDatagram,
    journald: PathBuf,
    /// Lines that were lost since the last one that was not.
    lost: AtomicU64,
}

impl Unwaiting {
    fn new(journald: PathBuf) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, journald, lost: AtomicU64::new(0) })
    }

    /// Sends a line, after one that tells of those that were lost before it. Whatever hinders it, full
    /// queue or dead journald, is over when a later line gets through.
    fn send(&self, line: &[u8]) {
        let lost = self.lost.load(Ordering::Relaxed);
        let sent = |line: &[u8]| self.socket.send_to(line, &self.journald).is_ok();
        if lost > 0 && sent(&lost_lines(lost)) {
            self.lost.fetch_sub(lost, Ordering::Relaxed);
        }
        if self.lost.load(Ordering::Relaxed) > 0 || !sent(line) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<S: Subscriber> Layer<S> for Unwaiting {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut line = Line::new(*event.metadata().level());
        line.field("TARGET", event.metadata().target());
        event.record(&mut line);
        self.send(&line.0);
    }
}

fn lost_lines(lost: u64) -> Vec<u8> {
    let mut line = Line::new(Level::WARN);
    line.field(
        "MESSAGE",
        &format!("{lost} lines of PID 1 are missing here: journald did not take them"),
    );
    line.0
}

/// A line as journald takes it.
struct Line(Vec<u8>);

impl Line {
    fn new(level: Level) -> Self {
        let mut line = Self(Vec::with_capacity(256));
        // Those of tracing_journald (syslog(3)).
        let priority = match level {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "5",
            Level::DEBUG => "6",
            Level::TRACE => "7",
        };
        line.field("PRIORITY", priority);
        line.field("SYSLOG_IDENTIFIER", "init");
        line
    }

    /// Adds a field: name, newline, length as 64 bits from the least, text, newline.
    fn field(&mut self, name: &str, text: &str) {
        let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
        self.0.extend(name.as_bytes());
        self.0.push(b'\n');
        self.0.extend((text.len() as u64).to_le_bytes());
        self.0.extend(text.as_bytes());
        self.0.push(b'\n');
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // A String takes everything.
        let _taken = write!(text, "{value:?}");
        self.record_str(field, &text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.field("MESSAGE", value),
            // journald takes letters, digits and underscores, in upper case.
            name => self.field(&format!("F_{}", name.to_ascii_uppercase()), value),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What a journald reads next, if there is something.
    fn next(journald: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 64 << 10];
        let length = journald.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// Goal: PID 1 goes on while journald stands still. Method: a socket that nobody reads, far more lines
    /// than its queue takes, and in the end somebody who reads.
    #[test]
    fn pid_1_does_not_wait_for_a_journald_that_stands_still() {
        const LINES: u64 = 1000;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        journald.set_nonblocking(true).unwrap();
        let log = Unwaiting::new(path).unwrap();
        let pid1 = tracing::Dispatch::new(tracing_subscriber::registry().with(log));
        let (done, is_done) = std::sync::mpsc::sync_channel(1);
        let same = pid1.clone();
        // On a thread of its own, so that a line that waits fails the test and does not hang it.
        std::thread::spawn(move || {
            tracing::dispatcher::with_default(&same, || {
                for at in 0..LINES {
                    tracing::warn!(service = "gateway", "line {at}");
                }
            });
            done.send(())
        });
        is_done.recv_timeout(Duration::from_secs(60)).expect("PID 1 waits for journald");
        let taken: Vec<String> = std::iter::from_fn(|| next(&journald)).collect();
        assert!(taken[0].contains("PRIORITY\n") && taken[0].contains("line 0\n"), "{}", taken[0]);
        assert!(taken[0].contains("F_SERVICE\n") && taken[0].contains("gateway\n"), "{}", taken[0]);
        let lost = LINES - taken.len() as u64;
        assert!(lost > 0, "the queue took all of them");

        tracing::dispatcher::with_default(&pid1, || tracing::info!("after it"));
        let said = next(&journald).unwrap();
        assert!(said.contains(&format!("{lost} lines of PID 1 are missing here")), "{said}");
        assert!(next(&journald).unwrap().contains("after it\n"));
        tracing::dispatcher::with_default(&pid1, || tracing::info!("all is well"));
        assert!(next(&journald).unwrap().contains("all is well\n"), "said once");
    }

    #[test]
    fn a_journald_that_is_not_there_costs_lines_and_not_pid_1() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let log = Unwaiting::new(path.clone()).unwrap();
        log.send(b"MESSAGE=one\n");
        let journald = UnixDatagram::bind(&path).unwrap();
        log.send(b"MESSAGE=two\n");
        assert!(next(&journald).unwrap().contains("1 lines of PID 1"));
        assert_eq!(next(&journald).unwrap(), "MESSAGE=two\n");
    }

    #[test]
    fn long_texts_are_cut_between_letters() {
        let mut line = Line(Vec::new());
        line.field("MESSAGE", &"\u{e9}".repeat(TEXT_BYTES_MAX));
        let text = &line.0[b"MESSAGE\n".len() + 8..line.0.len() - 1];
        assert!(std::str::from_utf8(text).is_ok_and(|text| text.len() == TEXT_BYTES_MAX));
    }
}
