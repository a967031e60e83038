//! The journal: `journalctl -f` as a child, for as long as somebody watches.
use std::{
    io::{self, BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    thread,
};

use super::Outbox;
use crate::console::command::{Event, JournalFilter};

const PROGRAM: &str = "/usr/bin/journalctl";
/// Lines of before that are shown.
const LINES_BEFORE: &str = "500";
/// Longest line that is shown.
const LINE_BYTES_MAX: u64 = 4096;

/// What is watched.
#[derive(Debug, Default)]
pub(in crate::console) struct Journal {
    feed: u64,
    watched: Option<(JournalFilter, Option<Child>)>,
}

impl Journal {
    /// Watches what is wanted and nothing else.
    pub(in crate::console) fn follow(&mut self, wanted: Option<&JournalFilter>, outbox: &Outbox) {
        if self.watched.as_ref().map(|(filter, _)| filter) == wanted {
            return;
        }
        self.stop();
        let Some(filter) = wanted else { return };
        self.feed += 1;
        let child = match start(filter, self.feed, outbox) {
            Ok(child) => Some(child),
            Err(error) => {
                let text = format!("{PROGRAM}: {error}");
                // Without a key loop the process is ending.
                let _ending = outbox.send(Event::Line { feed: self.feed, text });
                None
            }
        };
        self.watched = Some((filter.clone(), child));
    }

    /// Whether a line of this feed is still wanted.
    pub(in crate::console) fn is_current(&self, feed: u64) -> bool {
        self.watched.is_some() && self.feed == feed
    }

    fn stop(&mut self) {
        if let Some((_, Some(mut child))) = self.watched.take() {
            // It may have ended by itself; either way it is reaped.
            let _ended = child.kill();
            let _reaped = child.wait();
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.stop();
    }
}

fn arguments(filter: &JournalFilter) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["--boot", "--no-pager", "--follow", "--output=short", "--lines", LINES_BEFORE]
            .map(str::to_owned)
            .to_vec();
    arguments.push(format!("--priority={}", filter.priority));
    arguments.extend(filter.identifiers.iter().map(|name| format!("--identifier={name}")));
    arguments
}

fn start(filter: &JournalFilter, feed: u64, outbox: &Outbox) -> io::Result<Child> {
    let mut child = Command::new(PROGRAM)
        .args(arguments(filter))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let Some(output) = child.stdout.take() else {
        return Err(io::Error::other("no pipe from journalctl"));
    };
    let outbox = outbox.clone();
    let reader = thread::Builder::new().name("journal".to_owned()).spawn(move || {
        let mut output = BufReader::new(output);
        loop {
            let mut line = Vec::new();
            match (&mut output).take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {
                    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                    if outbox.send(Event::Line { feed, text }).is_err() {
                        return;
                    }
                }
            }
        }
    });
    match reader {
        Ok(_) => Ok(child),
        Err(error) => {
            let _ended = child.kill();
            let _reaped = child.wait();
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_becomes_journalctl_s() {
        let gateway = JournalFilter { identifiers: &["gateway"], priority: 4 };
        let words = arguments(&gateway).join(" ");
        assert!(words.ends_with("--priority=4 --identifier=gateway"), "{words}");
        let machine = JournalFilter { identifiers: &["init", "tidegate"], priority: 7 };
        let words = arguments(&machine).join(" ");
        assert!(words.ends_with("--identifier=init --identifier=tidegate"), "{words}");
        let all = JournalFilter { identifiers: &[], priority: 7 };
        assert!(!arguments(&all).join(" ").contains("--identifier"));
    }
}
