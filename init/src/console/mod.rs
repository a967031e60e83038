//! The console: status and menus on the screen and on serial, a process of its own per terminal.
//!
//! It works when the gateway, the network or the cache disk does not: that is when it is needed. It
//! sees what PID 1 and the network service note, asks the gateway's admin socket, and asks PID 1 for
//! what needs rights.
//!
//! `app.rs` is a pure state machine over a stack of pages; pages/ fills few kinds of page (menu, list,
//! form, question, text, progress, prompt) with words; work/ does what takes time, in threads; `grid.rs`
//! sends the terminal what differs.
mod app;
mod basis;
mod command;
mod differences;
mod form;
mod gateway_console;
mod grid;
mod keys;
mod list;
mod menu;
#[cfg(test)]
mod operator;
mod page;
mod pages;
mod paste;
mod progress;
mod prompt;
mod question;
mod routes;
mod term;
mod text;
mod view;
mod work;

use std::{
    io::{self, Read},
    os::fd::AsFd,
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::{Context, Result};

use self::{
    app::App,
    command::Event,
    keys::Key,
    term::{Terminal, Woken},
    view::View,
    work::{Journal, Workshop},
};
use crate::sys;

/// What counts seconds is drawn so often.
const TICK: Duration = Duration::from_secs(1);
/// After so long without a key, the next one draws everything again: the terminal may be another one.
const UNWATCHED: Duration = Duration::from_secs(60);

/// Runs the console on `tty`, until the end of the machine.
///
/// # Errors
/// The terminal fails, or the system gives no thread. PID 1 starts the console again.
pub(crate) fn run(tty: &str) -> Result<()> {
    let mut terminal = Terminal::open()?;
    let workshop = Workshop::open().context("the console's threads")?;
    let mut journal = Journal::default();
    let mut app = App::new(terminal.size());
    let mut view = View::unseen();
    let mut last_key = Duration::ZERO;
    tracing::trace!(tty, "the console runs");
    loop {
        view.now = sys::since_boot();
        app.resize(terminal.size());
        app.follow(&view);
        journal.follow(app.wanted_journal(), &workshop.outbox());
        terminal.draw(app.draw(&view))?;
        match terminal.wait(workshop.bell.as_fd(), TICK)? {
            // A hung-up line: PID 1 starts the console again.
            Woken::Key(Key::EndOfInput) => return Ok(()),
            Woken::Key(key) => {
                view.now = sys::since_boot();
                if key == Key::Redraw || view.now.saturating_sub(last_key) >= UNWATCHED {
                    terminal.forget();
                }
                last_key = view.now;
                if let Some((job, command)) = app.press(key, &view)
                    && let Err(why) = workshop.start((job, command))
                {
                    app.done(job, Err(why), &view);
                }
            }
            Woken::Other => {}
        }
        hear_bell(&workshop.bell)?;
        while let Ok(event) = workshop.events.try_recv() {
            match event {
                Event::Looked(looked) => view = *looked,
                Event::Step { job, report } => app.step(job, report),
                Event::Done { job, outcome } => {
                    app.done(job, outcome, &view);
                    workshop.look();
                }
                Event::Line { feed, text } => {
                    if journal.is_current(feed) {
                        app.line(text);
                    }
                }
            }
        }
    }
}

/// Takes the rings off the bell. What rings after this wakes the loop again.
fn hear_bell(mut bell: &UnixStream) -> io::Result<()> {
    let mut rings = [0; 64];
    loop {
        match bell.read(&mut rings) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
