//! The console: status and a menu on the screen and on serial, a process of its own per terminal.
//!
//! It works when the gateway, the network or the cache disk does not: that is when it is needed. It
//! sees what PID 1 and the network service note, asks the gateway's admin socket, and asks PID 1 for
//! what needs rights.
mod menu;
mod pages;
mod term;

use std::{
    io,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Result;
use gateway_api::{
    GatewayStatus,
    admin::ADMIN_SOCKET,
    client::{AdminClient, ClientError},
};

use crate::{
    confine,
    control::{self, Request},
    machine::Machine,
    memory,
    observed::{self, MachineState, NetworkState},
    shutdown::Ending,
    time,
};
use menu::{Key, Menu, Wish};
use term::Terminal;

/// How often the status is drawn anew.
const REDRAW: Duration = Duration::from_secs(2);
/// How long the gateway may take to answer.
const GATEWAY_TIME: Duration = Duration::from_secs(2);
/// Lines of the journal on the support page.
const JOURNAL_LINES: &str = "200";

/// Everything that the pages show.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) machine: MachineState,
    pub(crate) network: NetworkState,
    /// The gateway's status, or why there is none.
    pub(crate) gateway: Result<GatewayStatus, String>,
    /// What `date` says.
    pub(crate) clock: String,
}

/// Runs the console on `tty`, until the end of the machine.
pub(crate) fn run(tty: &str) -> Result<()> {
    let mut terminal = Terminal::open()?;
    let mut menu = Menu::default();
    let mut view = look();
    let mut looked = Instant::now();
    loop {
        terminal.draw(&pages::render(&menu, &view))?;
        let key = terminal.key(REDRAW.saturating_sub(looked.elapsed()))?;
        if let Some(key) = key {
            if key == Key::EndOfInput {
                // A hung-up line: PID 1 starts the console again.
                return Ok(());
            }
            if let Some(wish) = menu.press(key) {
                grant(wish, &mut menu);
            }
        }
        if looked.elapsed() >= REDRAW {
            view = look();
            looked = Instant::now();
            tracing::trace!(tty, "looked");
        }
    }
}

fn look() -> View {
    let client = AdminClient::new(ADMIN_SOCKET, GATEWAY_TIME);
    View {
        machine: observed::read(observed::MACHINE),
        network: observed::read(observed::NETWORK),
        gateway: client.status().map_err(|error| why(&error)),
        clock: output("/usr/bin/date", &["+%Y-%m-%d %H:%M:%S %Z (%z)"]),
    }
}

/// Why the gateway does not tell its status. PID 1 starts it whenever it does not run, and lists what
/// goes wrong with that among the problems.
fn why(error: &ClientError) -> String {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    match error {
        ClientError::Unreachable { source, .. }
            if matches!(source.kind(), NotFound | ConnectionRefused) =>
        {
            "is being started".to_owned()
        }
        other => other.to_string(),
    }
}

/// Does what the menu wishes and shows it the outcome.
fn grant(wish: Wish, menu: &mut Menu) {
    let zones = Path::new(time::ZONES);
    match wish {
        Wish::Regions => menu.show_regions(time::regions(zones)),
        Wish::Cities(region) => {
            let cities = time::cities(zones, &region);
            menu.show_cities(region, cities);
        }
        Wish::SetZone(zone) => {
            let said = match set_zone(&zone) {
                Ok(()) => format!("The time zone is {zone}."),
                Err(why) => format!("The time zone was not changed: {why}"),
            };
            menu.say(said);
        }
        Wish::Support => menu.show_support(&support()),
        Wish::End(ending) => {
            if let Err(why) = control::ask(&Request::End { how: ending }) {
                menu.say(why);
            } else {
                menu.say(match ending {
                    Ending::Reboot => "Rebooting ...".to_owned(),
                    Ending::PowerOff => "Shutting down ...".to_owned(),
                });
            }
        }
    }
}

fn set_zone(zone: &str) -> Result<(), String> {
    let (settings, _) = control::settings()?;
    let settings = Box::new(Machine { timezone: zone.to_owned(), ..settings });
    control::ask(&Request::Change { settings, confirm_seconds: 0 }).map(drop)
}

/// The clock, the network, the memory in use, and the last lines of the journal of this boot.
fn support() -> Vec<String> {
    let network: NetworkState = observed::read(observed::NETWORK);
    let mut lines = vec![format!("date: {}", output("/usr/bin/date", &[]))];
    lines.extend(network.in_words().lines().map(|line| format!("network: {line}")));
    lines.push(format!("memory: {}", memory::in_words()));
    lines.push(format!("gateway: {}", confine::in_words()));
    let journal = ["-b", "--no-pager", "-n", JOURNAL_LINES, "-o", "short"];
    lines.extend(output("/usr/bin/journalctl", &journal).lines().map(str::to_owned));
    lines
}

/// What a program prints, or why it does not.
fn output(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).env_clear().output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
        }
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr);
            format!("{program}: {} {}", output.status, words.trim())
        }
        Err(error) => format!("{program}: {error}"),
    }
}
