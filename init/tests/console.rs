//! Goal: the console's process draws, hears keys and ends with its line, also where nothing of the
//! appliance is there. Method: the real program on a pseudo-terminal.
use std::{
    fs::File,
    io::{Read, Write},
    os::fd::AsFd,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
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
    fn plug_in() -> Result<Self> {
        let size = Winsize { ws_row: 25, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None)?;
        // Or the console would hold its own line open.
        fcntl(&pty.master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        let console = Command::new(env!("CARGO_BIN_EXE_init"))
            .args(["console", "pty"])
            .stdin(Stdio::from(pty.slave.try_clone()?))
            .stdout(Stdio::from(pty.slave))
            .spawn()?;
        Ok(Self { master: File::from(pty.master), seen: String::new(), console })
    }

    fn types(&mut self, keys: &str) -> Result<()> {
        Ok(self.master.write_all(keys.as_bytes())?)
    }

    /// Reads until `words` have been sent after what was seen before.
    fn sees(&mut self, words: &str) -> Result<()> {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(at) = self.seen.find(words) {
                self.seen.drain(..at + words.len());
                return Ok(());
            }
            ensure!(Instant::now() < end, "{words:?} was not sent; sent was:\n{}", self.seen);
            let mut polled = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            if poll(&mut polled, PollTimeout::from(1000_u16))? > 0 {
                let mut buffer = [0; 4096];
                let read = self.master.read(&mut buffer)?;
                self.seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        }
    }
}

#[test]
fn the_console_works_where_nothing_else_does() -> Result<()> {
    let mut line = Line::plug_in()?;
    line.sees("Tidegate - S3 File Gateway")?;
    line.sees("Gateway      waits for the cache disk")?;
    line.sees("Enter: log in")?;
    line.types("\r")?;
    // The first key after a while draws everything again.
    line.sees("Nobody can log in at the moment")?;
    line.types("\r")?;
    line.sees("Enter: log in")?;
    line.types("\x0c")?;
    line.sees("\x1b[2J")?;
    line.sees("Enter: log in")?;
    let Line { master, mut console, .. } = line;
    // The line is hung up.
    drop(master);
    ensure!(console.wait()?.success(), "it ends by itself");
    Ok(())
}
