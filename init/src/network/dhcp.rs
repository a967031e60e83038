//! The DHCPv4 client of one adapter: a task that asks, renews and begins anew, and says what it hears.
//!
//! mozim speaks the protocol. What it leaves open is closed here: it waits for ever where a server
//! refuses a request, and passes over a refusal while it renews (RFC 2131 §4.4.5). So its waits for an
//! answer are bounded, and a lease that nobody renews is verified, which hears refusals.
use std::{pin::pin, time::Duration};

use mozim::{DhcpV4Client, DhcpV4Config, DhcpV4State};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{kernel::Link, lease::Lease};
use crate::sys;

/// Longest wait for the answer to one request, before all is begun anew.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// Pause after a failure of our own, such as a link that goes down.
const PAUSE: Duration = Duration::from_secs(5);
/// mozim tells a refused lease and one that nobody answered for by the same state. It asks four times
/// and waits 3, 7, 15 and 31 seconds at least: what ends before was refused.
const SILENCE_MIN: Duration = Duration::from_secs(56);

/// What the client of the adapter with this name has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) adapter: String,
    pub(super) news: News,
}

/// News of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It asks.
    Asking,
    /// Nobody answers; it goes on asking.
    Silence,
    /// A server offers an address, and does not answer whoever takes it; it goes on asking.
    Unacknowledged,
    /// It has a lease, for the first time or again.
    Granted(Box<Lease>),
    /// The lease it had is refused: somebody else may have the address.
    Refused,
    /// It cannot ask; it tries again.
    Failed(String),
}

/// A running client; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Client {
    task: JoinHandle<()>,
    /// Hardware address that it asks for.
    pub(super) mac: Vec<u8>,
    pub(super) index: u32,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Client {
    /// Starts asking on a link that works. A lease from before is verified first.
    pub(super) fn start(link: &Link, lease: Option<Lease>, words: mpsc::Sender<Word>) -> Self {
        let asked = Asked { name: link.name.clone(), index: link.index, mac: link.mac.clone() };
        let task = tokio::spawn(asked.follow(lease, words));
        Self { task, mac: link.mac.clone(), index: link.index }
    }
}

/// The adapter that a client asks for.
struct Asked {
    name: String,
    index: u32,
    mac: Vec<u8>,
}

impl Asked {
    async fn follow(self, mut lease: Option<Lease>, words: mpsc::Sender<Word>) {
        self.say(&words, News::Asking).await;
        loop {
            lease = lease.filter(|lease| lease.until > sys::since_boot());
            if let Err(why) = self.session(&mut lease, &words).await {
                self.say(&words, News::Failed(why)).await;
                sleep(PAUSE).await;
            }
        }
    }

    async fn say(&self, words: &mpsc::Sender<Word>, news: News) {
        let word = Word { adapter: self.name.clone(), news };
        // Nobody listens when the service ends, and this task ends with it.
        let _ended = words.send(word).await;
    }

    /// Asks until all has to be begun anew.
    async fn session(
        &self,
        lease: &mut Option<Lease>,
        words: &mpsc::Sender<Word>,
    ) -> Result<(), String> {
        let failed = |error: mozim::DhcpError| error.msg().to_owned();
        let before = lease.as_ref().map(Lease::to_verify);
        let mut client = DhcpV4Client::init(self.config()?, before).await.map_err(failed)?;
        let begun = Instant::now();
        let mut verifying = lease.is_some();
        let mut state = DhcpV4State::InitReboot;
        loop {
            state = match state {
                DhcpV4State::Selecting | DhcpV4State::Renewing | DhcpV4State::Rebinding => {
                    match timeout(ANSWER_TIME, client.run()).await {
                        Ok(next) => next.map_err(failed)?,
                        Err(_elapsed) => {
                            if state == DhcpV4State::Selecting {
                                self.say(words, News::Unacknowledged).await;
                            }
                            return Ok(());
                        }
                    }
                }
                DhcpV4State::InitReboot => {
                    self.patiently(&mut client, words).await.map_err(failed)?
                }
                DhcpV4State::Done(_) => client.run().await.map_err(failed)?,
            };
            match &state {
                DhcpV4State::Done(granted) => {
                    verifying = false;
                    let granted = Lease::of(granted, sys::since_boot())?;
                    *lease = Some(granted.clone());
                    self.say(words, News::Granted(Box::new(granted))).await;
                }
                DhcpV4State::InitReboot if verifying => {
                    verifying = false;
                    if begun.elapsed() < SILENCE_MIN {
                        *lease = None;
                        self.say(words, News::Refused).await;
                    }
                }
                DhcpV4State::InitReboot
                | DhcpV4State::Selecting
                | DhcpV4State::Renewing
                | DhcpV4State::Rebinding => {}
            }
        }
    }

    /// Asks for however long it takes, and says when it takes long.
    async fn patiently(
        &self,
        client: &mut DhcpV4Client,
        words: &mpsc::Sender<Word>,
    ) -> Result<DhcpV4State, mozim::DhcpError> {
        let mut run = pin!(client.run());
        match timeout(ANSWER_TIME, &mut run).await {
            Ok(next) => next,
            Err(_elapsed) => {
                self.say(words, News::Silence).await;
                run.await
            }
        }
    }

    fn config(&self) -> Result<DhcpV4Config, String> {
        let mut config = DhcpV4Config::new(&self.name);
        config.set_iface_index(self.index);
        config.set_iface_mac_raw(&self.mac).map_err(|error| error.msg().to_owned())?;
        // After the address is known: it is what tells this machine from others.
        config.use_mac_as_client_id();
        let hostname = nix::unistd::gethostname().map_err(|error| error.to_string())?;
        config.set_host_name(&hostname.to_string_lossy());
        config.set_timeout_sec(0);
        Ok(config)
    }
}
