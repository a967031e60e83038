//! Goal: the console's process draws, hears keys and ends with its line, also where nothing of the
//! appliance is there. Method: the real program on a pseudo-terminal.
use std::{
    fs::File,
    io::{Read, Write},
    os::fd::AsFd,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    pty::{Winsize, openpty},
};

/// Far more than any page takes on a machine that compiles meanwhile.
const LIMIT: Duration = Duration::from_secs(120);

struct Line {
    master: File,
    seen: String,
    console: Child,
}

impl Line {
    fn plug_in() -> Self {
        let size = Winsize { ws_row: 25, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        // Or the console would hold its own line open.
        fcntl(&pty.master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let console = Command::new(env!("CARGO_BIN_EXE_init"))
            .args(["console", "pty"])
            .stdin(end())
            .stdout(end())
            .spawn()
            .unwrap();
        Self { master: File::from(pty.master), seen: String::new(), console }
    }

    fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until `words` have been sent after what was seen before.
    fn sees(&mut self, words: &str) {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(at) = self.seen.find(words) {
                self.seen.drain(..at + words.len());
                return;
            }
            assert!(Instant::now() < end, "{words:?} was not drawn; drawn was:\n{}", self.seen);
            let mut polled = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            if poll(&mut polled, PollTimeout::from(1000_u16)).unwrap() > 0 {
                let mut buffer = [0; 4096];
                let read = self.master.read(&mut buffer).unwrap();
                self.seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        }
    }
}

#[test]
fn the_console_works_where_nothing_else_does() {
    let mut line = Line::plug_in();
    line.sees("Tidegate - S3 File Gateway");
    line.sees("Gateway      waits for the cache disk");
    line.sees("Enter: log in");
    line.types("\r");
    // The first key after a while draws everything again.
    line.sees("Nobody can log in at the moment");
    line.types("\r");
    line.sees("Enter: log in");
    line.types("\x0c");
    line.sees("\x1b[2J");
    line.sees("Enter: log in");
    let Line { master, mut console, .. } = line;
    // The line is hung up.
    drop(master);
    assert!(console.wait().unwrap().code().is_some(), "it ends by itself");
}
