//! Ctrl-C and SIGTERM as messages on a channel.
use std::sync::mpsc;

use anyhow::Result;
use nix::sys::signal::{SigSet, Signal};

/// Blocks SIGINT and SIGTERM in this thread and in those it starts from now on, and delivers each
/// as a message. Call it before other threads are started.
///
/// # Errors
/// When the mask cannot be set.
pub fn channel() -> Result<mpsc::Receiver<()>> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    // One message waits to be taken, the next signal waits in the thread: more say nothing new.
    let (send, receive) = mpsc::sync_channel(1);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        while signals.wait().is_ok() {
            if send.send(()).is_err() {
                return;
            }
        }
    })?;
    Ok(receive)
}
