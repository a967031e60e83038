//! The network service: keeps the kernel's network as the settings, DHCP and routers say.
//!
//! A process of its own, so that PID 1 needs no async runtime. It owns every Ethernet adapter and VLAN,
//! `/run/etc/resolv.conf` and the network's observed state, and must not know how settings come about:
//! PID 1 writes them to [`observed::NETWORK_PLAN`] and says SIGHUP.
//!
//! One loop looks at the kernel, asks [`plan`] what is to be done, does it, and looks again whenever
//! something happens. Nothing that fails ends it: it is shown, and tried again.
mod act;
mod advice;
mod changeover;
mod claims;
mod dhcp;
mod dhcp_words;
mod kernel;
mod lease;
mod names;
mod packet;
mod plan;
mod seen;
mod service;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use rtnetlink::{Handle, LinkUnspec, MulticastGroup, new_multicast_connection};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    time::sleep,
};

use self::{advice::Listener, packet::Wire, service::Service};
use crate::{
    log,
    observed::{self, NetworkState},
    sys,
};

/// Pause before all is begun again after an error that has no adapter to be shown with.
const PAUSE: Duration = Duration::from_secs(2);
/// Words of DHCP clients that wait to be heard; a client whose word does not fit waits.
const WORDS_MAX: usize = 16;
/// What of the kernel's network is watched.
const WATCHED: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// Runs until the end of the machine: SIGUSR1 says that it is switched off, and leases are given back. At a
/// reboot they are kept, so that the machine has its addresses again.
///
/// # Errors
/// There is no memory or descriptor to begin with.
pub(crate) fn run() -> Result<()> {
    log::install("network");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut told = Told::from_now_on()?;
        loop {
            let Err(error) = serve(&mut told).await else { return Ok(()) };
            let problem = format!("the network service begins again: {error:#}");
            tracing::error!("{problem}");
            let state = NetworkState { problem: Some(problem), ..NetworkState::default() };
            if let Err(error) = observed::write(observed::NETWORK, &state) {
                tracing::error!("the network's state cannot be shown: {error}");
            }
            if *told.switched_off.borrow() {
                // Once more was tried. The leases end by themselves; the machine is not to wait.
                return Ok(());
            }
            told.pause().await;
        }
    })
}

/// What PID 1 tells by signals. It is heard from the beginning, whatever the service does at that moment:
/// one that begins again must not miss that the machine is switched off, or PID 1 waits for it in vain.
struct Told {
    /// SIGHUP: there are other settings.
    hang_up: Signal,
    /// SIGUSR1: the machine is switched off. It stays true.
    switched_off: watch::Receiver<bool>,
}

impl Told {
    fn from_now_on() -> Result<Self> {
        let hang_up = signal(SignalKind::hangup())?;
        let mut said = signal(SignalKind::user_defined1())?;
        let (tell, switched_off) = watch::channel(false);
        tokio::spawn(async move {
            if said.recv().await.is_some() {
                tell.send_replace(true);
            }
        });
        Ok(Self { hang_up, switched_off })
    }

    /// A pause, which ends early when the machine is switched off.
    async fn pause(&mut self) {
        tokio::select! {
            _ = self.switched_off.wait_for(|off| *off) => {}
            () = sleep(PAUSE) => {}
        }
    }
}

/// Serves until the machine is switched off, or something fails that concerns every adapter.
async fn serve(told: &mut Told) -> Result<()> {
    let (connection, handle, mut changes) =
        new_multicast_connection(&WATCHED).context("talking to the kernel")?;
    // It ends with `handle` and `changes`.
    tokio::spawn(connection);
    bring_loopback_up(&handle).await.context("the loopback adapter")?;
    let (advised, wire) = (Listener::open()?, Wire::open()?);
    let (words, mut heard) = mpsc::channel(WORDS_MAX);
    let mut service = Service::new(handle, words);
    loop {
        service.look(&wire).await?;
        if !service.is_settled() {
            told.pause().await;
        }
        let ear = service.ear();
        tokio::select! {
            _ = told.switched_off.wait_for(|off| *off) => {
                service.give_leases_back(&wire);
                return Ok(());
            }
            _ = told.hang_up.recv() => service.read_plan(),
            change = changes.next() => {
                if change.is_none() {
                    bail!("the kernel's messages ended");
                }
                // Many come together; one look is for all of them.
                while changes.next().now_or_never().flatten().is_some() {}
            }
            Some(word) = heard.recv() => service.hear(word),
            advised = advised.next() => {
                service.advise(&advised.context("hearing what routers advise")?);
            }
            heard = wire.next(|heard| ear.concerns(heard, sys::since_boot())) => {
                service.hear_arp(&heard.context("hearing ARP")?, &wire);
            }
            () = sleep(service.rest()) => {}
        }
    }
}

async fn bring_loopback_up(handle: &Handle) -> Result<()> {
    let mut links = handle.link().get().match_name("lo".to_owned()).execute();
    let link = links.try_next().await?.context("there is none")?;
    let up = LinkUnspec::new_with_index(link.header.index).up().build();
    Ok(handle.link().set(up).execute().await?)
}
