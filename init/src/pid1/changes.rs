//! Settings that change while the machine runs, and what else the console asks for.
use std::{io, os::unix::net::UnixStream, path::Path, time::Duration};

use anyhow::{Context, Result};
use gateway_api::Secret;
use nix::sys::signal::Signal;

use super::{Running, settings::Wanted};
use crate::{
    control::{Answer, Request},
    errand::{self, Errand},
    machine::Machine,
    observed::{self, NetworkState},
    phases,
    service::Service,
    sys, time,
    trial::Outcome,
};

impl Running {
    /// Answers whoever asks.
    pub(super) fn take_requests(&mut self) {
        loop {
            match self.control.take() {
                Ok(Some((request, stream))) => {
                    if let Err(error) = self.answer(request, stream) {
                        tracing::warn!("a request broke off: {error:#}");
                    }
                    self.show();
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!("a request broke off: {error}");
                    return;
                }
            }
        }
    }

    fn answer(&mut self, request: Request, stream: UnixStream) -> Result<()> {
        let answer = match request {
            Request::Settings => {
                self.update.console_asked = true;
                let mut settings = Box::new(self.boot.machine.clone());
                let password_set = settings.password_hash.take().is_some();
                Answer::Settings { settings, revision: self.trial.revision(), password_set }
            }
            Request::Change { settings, revision, confirm_seconds } => {
                let trial = Duration::from_secs(u64::from(confirm_seconds));
                let trial = Some(trial).filter(|time| !time.is_zero());
                Answer::of(self.change(Wanted { settings: *settings, revision, trial }))
            }
            Request::Confirm => {
                let outcome = self.trial.confirm();
                Answer::of(outcome.and_then(|outcome| self.end_trial(outcome)))
            }
            Request::Revert => {
                let outcome = self.trial.revert();
                Answer::of(outcome.and_then(|outcome| self.end_trial(outcome)))
            }
            Request::LogIn { password } => return self.log_in(password, stream),
            Request::SetPassword { hash, first } => match self.settings().set_password(hash, first)
            {
                Ok(None) => Answer::Done,
                Ok(Some(text)) => Answer::Text { text },
                Err(why) => Answer::Refused { why },
            },
            Request::GiveUpSettings => Answer::of(self.boot.give_up_settings(sys::since_boot())),
            Request::Clock { step } => {
                return errand::send(&Errand::Clock { step }, stream).map(drop);
            }
            Request::ReadVolume => return errand::send(&Errand::ReadVolume, stream).map(drop),
            Request::ReadUrl { url } => {
                return errand::send(&Errand::ReadUrl { url }, stream).map(drop);
            }
            Request::GatewayTool { tool } => {
                return errand::send(&Errand::GatewayTool { tool }, stream).map(drop);
            }
            Request::Update { wanted } => return self.order_update(wanted, stream),
            Request::Disks { order } => return self.order_disks(order, stream),
            Request::End { how } => {
                self.ending = Some(how);
                Answer::Done
            }
        };
        answer.write(&stream).context("answering the console")
    }

    /// Uses other settings.
    fn change(&mut self, wanted: Wanted) -> Result<(), String> {
        let settings = self.settings().take(wanted, Path::new(time::ZONES))?;
        self.apply(settings)
    }

    pub(super) fn follow_trial(&mut self, now: Duration) {
        let Some(outcome) = self.trial.tick(now) else { return };
        tracing::warn!("nobody confirmed the change of the settings: those before are used again");
        if let Err(error) = self.end_trial(outcome) {
            tracing::error!("going back to the settings before: {error}");
        }
    }

    fn end_trial(&mut self, outcome: Outcome) -> Result<(), String> {
        match outcome {
            Outcome::Keep => {
                let kept = self.settings().keep_those_in_use().map_err(|why| {
                    format!("the settings are in use until the next restart only: {why}")
                });
                // What the network had before is not needed any more.
                kept.and(self.tell_network().map_err(|error| format!("network: {error:#}")))
            }
            Outcome::Restore(before) => self.apply(*before),
        }
    }

    /// Makes the running machine what the settings say. All of it is tried, whatever fails.
    pub(super) fn apply(&mut self, settings: Machine) -> Result<(), String> {
        let before = std::mem::replace(&mut self.boot.machine, settings);
        self.trial.changed();
        let mut failed = Vec::new();
        let mut note = |what: &str, outcome: Result<()>| {
            if let Err(error) = outcome {
                failed.push(format!("{what}: {error:#}"));
            }
        };
        note("host name", self.follow_hostname());
        if before.timezone != self.boot.machine.timezone {
            note("time zone", phases::set_zone(&mut self.boot));
        }
        if before.network != self.boot.machine.network {
            note("network", self.tell_network());
        }
        if before.cache_disks != self.boot.machine.cache_disks {
            self.disks.look_at(sys::since_boot());
        }
        // chrony is followed with every tick.
        tracing::info!("other machine settings are in use");
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }

    /// Tells the network service what is in use, and whether it is on trial.
    fn tell_network(&self) -> Result<()> {
        phases::tell_network(&self.boot.machine, self.trial.until().is_some())?;
        self.signal(Service::Network, Signal::SIGHUP);
        Ok(())
    }

    /// Gives the machine the name that settings and DHCP say, if it has another one.
    pub(super) fn follow_hostname(&mut self) -> Result<()> {
        let network: NetworkState = observed::read(observed::NETWORK);
        let wanted = self.boot.machine.hostname_with(network.hostname.as_deref()).to_owned();
        if wanted == self.boot.state.hostname {
            return Ok(());
        }
        tracing::info!("the host name is {wanted}");
        phases::set_hostname(&mut self.boot, &wanted)
    }

    fn log_in(&mut self, password: Secret, stream: UnixStream) -> Result<()> {
        let Some(hash) = self.boot.machine.password_hash.clone() else {
            let why = "no password is set yet: set one first".to_owned();
            return Ok(Answer::Refused { why }.write(&stream)?);
        };
        let delay_seconds = self.log_ins.delay_seconds();
        let child = errand::send(&Errand::LogIn { password, hash, delay_seconds }, stream)?;
        self.log_ins.began(&child)
    }
}
