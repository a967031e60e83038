//! A terminal on a virtual machine's serial line.
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use anyhow::{Context, Result};
use nix::sys::termios::{self, SetArg};

/// Ctrl-] leaves, as in telnet.
const LEAVE: u8 = 0x1d;
/// Ctrl-L: the console draws its page again.
const REDRAW: u8 = 0x0c;

/// Connects this terminal to `socket` until Ctrl-] is typed or the line ends.
///
/// # Errors
/// When no machine runs there, or this is no terminal.
pub fn serial(socket: &Path) -> Result<()> {
    let line = UnixStream::connect(socket).with_context(|| {
        format!("no appliance runs ({}): start it with `cargo appliance`", socket.display())
    })?;
    let stdin = std::io::stdin();
    let before = termios::tcgetattr(&stdin).context("this is no terminal")?;
    let mut raw = before.clone();
    termios::cfmakeraw(&mut raw);
    eprintln!("attached; Ctrl-] leaves, Ctrl-L draws the page again");
    termios::tcsetattr(&stdin, SetArg::TCSANOW, &raw)?;
    let outcome = converse(line);
    termios::tcsetattr(&stdin, SetArg::TCSANOW, &before)?;
    eprintln!();
    outcome
}

fn converse(mut line: UnixStream) -> Result<()> {
    // The page was drawn before anybody was on the line.
    line.write_all(&[REDRAW])?;
    let mut output = line.try_clone()?;
    let screen = std::thread::spawn(move || -> std::io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let read = output.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(&buffer[..read])?;
            stdout.flush()?;
        }
    });
    let mut buffer = [0; 256];
    while !screen.is_finished() {
        let read = std::io::stdin().read(&mut buffer)?;
        let typed = &buffer[..read];
        let end = typed.iter().position(|key| *key == LEAVE);
        line.write_all(&typed[..end.unwrap_or(read)])?;
        if end.is_some() || read == 0 {
            break;
        }
    }
    line.shutdown(std::net::Shutdown::Both)?;
    Ok(())
}
