//! What the network service knows, and one look at the kernel.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    path::Path,
    time::Duration,
};

use anyhow::Result;
use rtnetlink::Handle;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{
    act::act,
    advice::{Advice, Advised},
    changeover::{self, Change},
    claims::{Claims, Ear, Free, Question},
    dhcp::{Client, News, Word},
    dhcp_words,
    kernel::{self, Link},
    lease::Lease,
    names::Names,
    packet::{Heard, Mac, Wire},
    plan::{self, Leases},
    seen::{Dhcp, Known},
};
use crate::{
    machine::Network,
    observed::{self, NetworkPlan, NetworkState},
    sys,
};

const RESOLV_CONF: &str = "/run/etc/resolv.conf";
/// What must survive when this process ends, so that nobody is cut off by it.
const MEMORY: &str = "/run/tidegate/network-memory.json";
/// What one step makes possible is done in the next round: links, then addresses, then routes.
const ROUNDS_MAX: usize = 6;
/// Pause before trying again what the kernel refused.
const RETRY: Duration = Duration::from_secs(5);
/// Pause before another lease is asked for after one was declined (RFC 2131 §3.1 (5)).
const DECLINE_PAUSE: Duration = Duration::from_secs(10);
/// Longest time without a look.
const REST_MAX: Duration = Duration::from_secs(60);

/// What was heard and holds for a time, by adapter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Memory {
    leases: Leases,
    /// Leases of adapters that do not ask DHCP any more. They are given back when the change is not on trial.
    left: Leases,
    /// The settings in force: those that are wanted, but for IPv4 of adapters that wait for another address.
    in_force: Network,
    advice: BTreeMap<String, Advice>,
    /// Hardware addresses that the leases are for.
    macs: BTreeMap<String, String>,
}

/// The service.
#[derive(Debug)]
pub(super) struct Service {
    handle: Handle,
    words: mpsc::Sender<Word>,
    /// The settings that are wanted.
    network: Network,
    /// Whether they may be taken back.
    on_trial: bool,
    plan_problem: Option<String>,
    links: Vec<Link>,
    own_mtu: HashMap<u32, u32>,
    memory: Memory,
    clients: HashMap<String, Client>,
    dhcp: BTreeMap<String, Dhcp>,
    claims: Claims,
    /// Adapters that ask for no lease until then: that of their last one was another machine's.
    declined: BTreeMap<String, Duration>,
    failures: BTreeMap<String, String>,
    /// Whether the last look ended with nothing more to do.
    settled: bool,
    /// What was written last, of each.
    kept: Memory,
    resolv_conf: Option<String>,
    shown: Option<NetworkState>,
}

impl Service {
    /// Begins with what an earlier run has left.
    pub(super) fn new(handle: Handle, words: mpsc::Sender<Word>) -> Self {
        let memory: Memory = observed::read(MEMORY);
        let mut service = Self {
            handle,
            words,
            network: Network::default(),
            on_trial: false,
            plan_problem: None,
            links: Vec::new(),
            own_mtu: HashMap::new(),
            kept: memory.clone(),
            memory,
            clients: HashMap::new(),
            dhcp: BTreeMap::new(),
            claims: Claims::default(),
            declined: BTreeMap::new(),
            failures: BTreeMap::new(),
            settled: true,
            resolv_conf: None,
            shown: None,
        };
        service.read_plan();
        service
    }

    /// Reads the settings. While they cannot be read, those before them count.
    pub(super) fn read_plan(&mut self) {
        let read = match fs::read(observed::NETWORK_PLAN) {
            Ok(json) => serde_json::from_slice(&json).map_err(|error| error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(NetworkPlan::default()),
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(NetworkPlan { network, on_trial }) => {
                self.network = network;
                self.on_trial = on_trial;
                self.plan_problem = None;
            }
            Err(error) => {
                let problem = format!("the network settings cannot be read: {error}");
                tracing::error!("{problem}");
                self.plan_problem = Some(problem);
            }
        }
    }

    /// Takes in what a DHCP client says.
    pub(super) fn hear(&mut self, word: Word) {
        let adapter = word.adapter;
        // One that has just been ended may still have said something.
        let Some(client) = self.clients.get(&adapter) else { return };
        let state = match word.news {
            News::Asking => Some(Dhcp::Asking),
            News::Silence => Some(Dhcp::Silent),
            News::Unacknowledged => Some(Dhcp::Unacknowledged),
            News::Failed(why) => {
                tracing::warn!("DHCP on {adapter}: {why}");
                Some(Dhcp::Failed(why))
            }
            News::Refused => {
                tracing::warn!("the DHCP server refuses the lease of {adapter}");
                self.memory.leases.remove(&adapter);
                Some(Dhcp::Refused)
            }
            News::Granted(lease) => {
                let until = lease.until.as_secs();
                tracing::info!(
                    "{adapter} has {} from {} until {until} s after boot",
                    lease.address,
                    lease.server
                );
                let mac = kernel::mac_in_words(&client.mac);
                self.memory.macs.insert(adapter.clone(), mac);
                self.memory.leases.insert(adapter.clone(), *lease);
                None
            }
        };
        match state {
            Some(state) => self.dhcp.insert(adapter, state),
            None => self.dhcp.remove(&adapter),
        };
    }

    /// Takes in what a router advises.
    pub(super) fn advise(&mut self, advised: &Advised) {
        if let Some(link) = self.links.iter().find(|link| link.index == advised.index) {
            let advice = self.memory.advice.entry(link.name.clone()).or_default();
            advice.take(advised, sys::since_boot());
        }
    }

    /// How long nothing has to be looked at, if nothing happens.
    pub(super) fn rest(&self) -> Duration {
        let now = sys::since_boot();
        let leases = self.memory.leases.values().chain(self.memory.left.values());
        let leases = leases.map(|lease| lease.until);
        let advice = self.memory.advice.values().flat_map(Advice::ends);
        let own = self.claims.due().into_iter().chain(self.declined.values().copied());
        let ends = leases.chain(advice).chain(own).map(|until| until.saturating_sub(now)).min();
        let retry = (!self.failures.is_empty()).then_some(RETRY);
        ends.into_iter().chain(retry).fold(REST_MAX, Duration::min)
    }

    /// Whether the kernel stays what it was made. If not, the next look must wait a little: what a
    /// look changes is a reason to look again.
    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Looks at the kernel, and makes it what it should be.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub(super) async fn look(&mut self, wire: &Wire) -> Result<()> {
        let mut failures = BTreeMap::new();
        self.settled = false;
        for _ in 0..ROUNDS_MAX {
            self.links = kernel::links(&self.handle, &mut self.own_mtu).await?;
            self.forget();
            self.follow_claims(wire);
            let free = self.claims.free();
            self.change_over(&free);
            self.follow_clients();
            self.leave_leases(wire);
            let leases = &self.memory.leases;
            let steps = plan::steps(&self.memory.in_force, &self.links, leases, &free);
            failures.clear();
            let mut any_done = false;
            for step in &steps {
                match act(&self.handle, step).await {
                    Ok(()) => {
                        any_done = true;
                        tracing::info!("{}: {}", step.adapter, step.action);
                    }
                    Err(error) => {
                        failures.entry(step.adapter.clone()).or_insert(format!("{error:#}"));
                    }
                }
            }
            if !any_done {
                self.settled = true;
                break;
            }
        }
        if !self.settled {
            tracing::warn!("the network does not stay as it is set");
        }
        for (adapter, why) in &failures {
            if self.failures.get(adapter) != Some(why) {
                tracing::warn!("{adapter}: {why}");
            }
        }
        self.failures = failures;
        self.tell();
        Ok(())
    }

    /// What of the LAN's ARP has to be heard.
    pub(super) fn ear(&self) -> Ear {
        self.claims.ear()
    }

    /// Takes in an ARP packet.
    pub(super) fn hear_arp(&mut self, heard: &Heard, wire: &Wire) {
        if let Some(question) = self.claims.hear(heard, sys::since_boot()) {
            ask(wire, &question);
        }
    }

    /// Claims the addresses that are wanted. One that DHCP gave and another machine has is declined.
    fn follow_claims(&mut self, wire: &Wire) {
        let now = sys::since_boot();
        let own: BTreeSet<Mac> =
            self.links.iter().filter_map(|link| link.mac.as_slice().try_into().ok()).collect();
        for (name, why) in self.taken_leases() {
            let Some(lease) = self.memory.leases.remove(&name) else { continue };
            tracing::warn!("{why}: the lease of {name} is declined");
            if let Some(link) = self.links.iter().find(|link| link.name == name)
                && let Ok(mac) = link.mac.as_slice().try_into()
                && let Err(error) =
                    wire.tell_dhcp_servers(link.index, &dhcp_words::decline(&lease, mac))
            {
                tracing::warn!("the DHCP server of {name} is not told so: {error}");
            }
            self.declined.insert(name.clone(), now + DECLINE_PAUSE);
            self.clients.remove(&name);
            self.dhcp.insert(name, Dhcp::Declined(why));
        }
        self.declined.retain(|_, until| *until > now);
        let mut claimed = plan::claimed(&self.network, &self.links, &self.memory.leases);
        for kept in plan::claimed(&self.memory.in_force, &self.links, &self.memory.leases) {
            if !claimed.contains(&kept) {
                claimed.push(kept);
            }
        }
        self.claims.follow(&claimed, own, now);
        for question in self.claims.tick(now) {
            ask(wire, &question);
        }
    }

    /// Adapters whose leased address another machine has, and the words for it.
    fn taken_leases(&self) -> Vec<(String, String)> {
        let taken = |(name, lease): (&String, &Lease)| {
            let ip = lease.address.addr();
            let mac = kernel::mac_in_words(&self.claims.taken_by(name, ip)?);
            Some((name.clone(), format!("another machine ({mac}) has the address {ip}")))
        };
        self.memory.leases.iter().filter_map(taken).collect()
    }

    /// Puts other settings in force, as far as their addresses are known to be free.
    fn change_over(&mut self, free: &Free) {
        let Memory { leases, in_force, .. } = &self.memory;
        let change = Change {
            wanted: &self.network,
            before: in_force,
            on_trial: self.on_trial,
            links: &self.links,
            leases,
            free,
            dhcp: &self.dhcp,
        };
        self.memory.in_force = change.in_force();
    }

    /// Whether an adapter is to ask DHCP.
    fn asks_dhcp(&self, adapter: &str) -> bool {
        changeover::asks_dhcp(&self.network, &self.memory.in_force, adapter)
    }

    /// Takes leases from adapters that ask DHCP no more, and gives them back once that is not on trial: until
    /// then the address may be wanted again. One that stays in use is left to its end.
    fn leave_leases(&mut self, wire: &Wire) {
        let leases = std::mem::take(&mut self.memory.leases);
        let (kept, left): (Leases, Leases) =
            leases.into_iter().partition(|(name, _)| self.asks_dhcp(name));
        self.memory.leases = kept;
        self.memory.left.extend(left);
        if self.on_trial {
            return;
        }
        for (name, lease) in std::mem::take(&mut self.memory.left) {
            if !changeover::stays_in_use(&self.network, lease.address.addr()) {
                give_back(&self.links, wire, &name, &lease);
            }
        }
    }

    /// Gives every lease back: the machine is switched off.
    pub(super) fn give_leases_back(&mut self, wire: &Wire) {
        self.clients.clear();
        let Memory { leases, left, .. } = &mut self.memory;
        for (name, lease) in std::mem::take(leases).into_iter().chain(std::mem::take(left)) {
            give_back(&self.links, wire, &name, &lease);
        }
    }

    /// Forgets what has ended, and what adapters that are gone had. What an adapter had left and asks for
    /// again, it has again.
    fn forget(&mut self) {
        let now = sys::since_boot();
        let left = std::mem::take(&mut self.memory.left);
        let (again, left): (Leases, Leases) =
            left.into_iter().partition(|(name, _)| self.asks_dhcp(name));
        self.memory.left = left;
        for (name, lease) in again {
            self.memory.leases.entry(name).or_insert(lease);
        }
        let Self { links, memory, .. } = self;
        let Memory { leases, left, advice, macs, .. } = memory;
        let link = |name: &String| links.iter().find(|link| link.name == *name);
        let holds = |name: &String, lease: &mut Lease| {
            let same = link(name).is_some_and(|link| macs.get(name) == Some(&link.mac_in_words()));
            same && lease.until > now
        };
        leases.retain(holds);
        left.retain(holds);
        macs.retain(|name, _| leases.contains_key(name) || left.contains_key(name));
        advice.retain(|name, _| link(name).is_some());
        advice.values_mut().for_each(|advice| advice.forget(now));
        self.dhcp.retain(|name, _| link(name).is_some());
    }

    /// Asks DHCP on every adapter that is to be asked on and works, and on no other.
    fn follow_clients(&mut self) {
        let cared_for = plan::cared_for(&self.network, &self.links);
        let asks = |link: &&Link| link.works() && self.asks_dhcp(&link.name);
        let asked: Vec<&Link> = cared_for.into_iter().filter(asks).collect();
        self.clients.retain(|name, client| {
            asked.iter().any(|link| {
                (&link.name, link.index, &link.mac) == (name, client.index, &client.mac)
            })
        });
        for link in asked {
            if !self.clients.contains_key(&link.name) && !self.declined.contains_key(&link.name) {
                let lease = self.memory.leases.get(&link.name).cloned();
                let client = Client::start(link, lease, self.words.clone());
                self.clients.insert(link.name.clone(), client);
            }
        }
        let (clients, declined) = (&self.clients, &self.declined);
        self.dhcp.retain(|name, _| clients.contains_key(name) || declined.contains_key(name));
    }

    /// Tells everybody what is.
    fn tell(&mut self) {
        let order = plan::cared_for(&self.network, &self.links);
        let Memory { leases, advice, .. } = &self.memory;
        let names = Names::of(&self.network, &order, leases, advice);
        let word = |link: &&Link| Some((link.name.clone(), self.claims.word(&link.name)?));
        let claims = order.iter().filter_map(word).collect();
        let known = Known {
            network: &self.network,
            links: &self.links,
            leases,
            names: &names,
            dhcp: &self.dhcp,
            claims: &claims,
            failures: &self.failures,
            plan_problem: self.plan_problem.as_deref(),
        };
        let state = known.state(speed_of);
        let resolv_conf = names.resolv_conf();
        if self.resolv_conf.as_ref() != Some(&resolv_conf) {
            match sys::replace_file(Path::new(RESOLV_CONF), resolv_conf.as_bytes(), 0o644) {
                Ok(()) => self.resolv_conf = Some(resolv_conf),
                Err(error) => tracing::error!("{RESOLV_CONF}: {error}"),
            }
        }
        if self.kept != self.memory {
            match observed::write(MEMORY, &self.memory) {
                Ok(()) => self.kept = self.memory.clone(),
                Err(error) => tracing::error!("{MEMORY}: {error}"),
            }
        }
        if self.shown.as_ref() == Some(&state) {
            return;
        }
        let host_before = self.shown.as_ref().and_then(NetworkState::host);
        if let (Some(main), Some(host)) = (state.main(), state.host())
            && host_before != Some(host)
        {
            sys::say(&format!("address {} on {}", main.addresses[0], main.name));
        }
        match observed::write(observed::NETWORK, &state) {
            Ok(()) => self.shown = Some(state),
            Err(error) => tracing::error!("the network's state cannot be shown: {error}"),
        }
    }
}

fn ask(wire: &Wire, question: &Question) {
    let Question { index, mac, sender, target } = *question;
    if let Err(error) = wire.ask(index, mac, [sender, target]) {
        // A link that has just gone: its address is claimed anew when it is back.
        tracing::warn!("the LAN is not asked who has {target}: {error}");
    }
}

fn give_back(links: &[Link], wire: &Wire, name: &str, lease: &Lease) {
    let Some(link) = links.iter().find(|link| link.name == name) else { return };
    let Ok(mac) = link.mac.as_slice().try_into() else { return };
    let given_back = dhcp_words::give_back(lease, mac).or_else(|_has_it_no_more| {
        wire.tell_dhcp_servers(link.index, &dhcp_words::release(lease, mac))
    });
    match given_back {
        Ok(()) => tracing::info!("{name} gives {} back to {}", lease.address, lease.server),
        // Then the server keeps it until the lease ends.
        Err(error) => tracing::warn!("{name} does not give {} back: {error}", lease.address),
    }
}

/// In Mbit/s; drivers that do not know it say -1, or refuse.
fn speed_of(adapter: &str) -> Option<u32> {
    sys::read_line(Path::new("/sys/class/net").join(adapter).join("speed")).parse().ok()
}
