//! What pages ask to be done, and what comes back. Data only; work/ does it.
use std::net::IpAddr;

use gateway_api::{Secret, Settings, ShareName, connection::ConnectionTest};

use super::view::View;
use crate::{
    disks::Order, gateway_disks::Verb, machine::Machine, shutdown::Ending, update::Wanted,
};

/// Something that takes time or rights.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    /// Is this the console's password?
    LogIn(Secret),
    /// Make this the console's password.
    SetPassword {
        password: Secret,
        /// Whether it is to be the first one: nobody has logged in.
        first: bool,
    },
    /// Give up the settings that the system disk does not give.
    GiveUpSettings,
    /// Use these machine settings.
    Change {
        settings: Box<Machine>,
        /// Of those that they were made of.
        revision: u64,
        /// Whether they are taken back unless somebody confirms them: they may cut the operator off.
        on_trial: bool,
    },
    /// Keep the settings that are on trial.
    Confirm,
    /// Take them back.
    Revert,
    /// End the machine.
    End(Ending),
    /// Have another version written or tried.
    Update(Wanted),
    /// Give the gateway these settings, if its own still have this revision.
    PutGateway { settings: Box<Settings>, revision: u64 },
    /// The same, without a share of which S3 may not have everything.
    DeleteShare { settings: Box<Settings>, revision: u64 },
    /// Try everything that the gateway asks of S3.
    TestS3 {
        test: Box<ConnectionTest>,
        /// What follows.
        then: AfterTest,
    },
    /// Look whether what the appliance needs of the network answers.
    TestNetwork(Vec<Target>),
    /// Ask chrony how the clock is kept.
    ClockState,
    /// Set the clock right at once.
    StepClock,
    /// Have something done about the disks.
    Disks(Order),
    /// Ask the gateway something about the further cache disk with this UUID.
    GatewayDisk { verb: Verb, uuid: String },
    /// A command of the gateway console.
    Tool(Tool),
    /// Collect a support bundle and store it in the bucket of a share.
    SendBundle { share: ShareName, key: String },
    /// Collect a support bundle and offer it by HTTP.
    OfferBundle,
    /// Offer a text as a file by HTTP.
    OfferText { name: String, text: String },
    /// Read a settings document from a volume.
    ReadVolume,
    /// Read a settings document from a URL.
    ReadUrl(String),
    /// Use settings that were imported: the gateway's, at this revision, and then the machine's.
    Import { machine: Option<MachineChange>, gateway: Option<(Box<Settings>, u64)> },
}

/// Other machine settings.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MachineChange {
    pub(super) settings: Box<Machine>,
    /// Of those that they were made of.
    pub(super) revision: u64,
    /// Whether they are taken back unless somebody confirms them.
    pub(super) on_trial: bool,
}

/// What follows a test of S3.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum AfterTest {
    /// Nothing: what is in force was tested.
    Nothing,
    /// These settings are offered to be put into force, if the gateway's own still have this revision.
    Save { settings: Box<Settings>, revision: u64 },
    /// What was tested cannot be saved: the gateway keeps the settings, and does not run.
    CannotSave,
}

/// Something on the network that the appliance needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A name server, and the name that it has to know, if there is one.
    NameServer { server: IpAddr, name: Option<String> },
    /// A router, by the adapter's neighbour table.
    Router { adapter: String, address: IpAddr },
    /// An NTP server.
    TimeServer(String),
    /// A TCP port.
    Port { what: &'static str, host: String, port: u16 },
}

/// A command of the gateway console that has to ask somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// Ask a name server, or those in use.
    LookUp { name: String, server: Option<IpAddr> },
    /// Connect to a TCP port.
    Connect { host: String, port: u16 },
    /// Look at the certificate of a TLS server.
    Certificate { server: String },
    /// Adapters, addresses, routes, neighbours.
    Network,
}

/// What of the journal is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JournalFilter {
    /// `SYSLOG_IDENTIFIER`, any of these; everything if there is none.
    pub(super) identifiers: &'static [&'static str],
    /// Largest syslog priority (0 to 7).
    pub(super) priority: u8,
}

/// How a step of a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    /// It works, with less than it should have.
    Warning,
    Failed,
    /// It was not tried, because it could not work.
    Skipped,
    /// Nothing was tried: it is to be read.
    Note,
}

/// A step of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StepReport {
    pub(super) title: String,
    pub(super) outcome: Outcome,
    /// The one thing to do; empty if there is nothing.
    pub(super) advice: String,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Finished {
    /// The password was right, or has been set.
    LoggedIn,
    /// The password has been set, with a drawback that is to be said.
    SetFor(String),
    /// The settings are on trial: the page that asks to confirm them comes by itself.
    OnTrial,
    /// It is done, and this is to be said.
    Said(Vec<String>),
    /// A settings document was read, and is to be looked at.
    Document(String),
    /// It is done, and something can be done next.
    Offer { said: String, ask: &'static str, command: Box<Command> },
}

/// What the console hears from its threads.
#[derive(Debug)]
pub(super) enum Event {
    /// Somebody looked.
    Looked(Box<View>),
    /// A step of a command is over.
    Step { job: u64, report: StepReport },
    /// A command is over.
    Done { job: u64, outcome: Result<Finished, String> },
    /// A line of the journal.
    Line { feed: u64, text: String },
}

impl Command {
    /// Title of the page that shows how it goes, and what it is doing, in words.
    pub(super) fn words(&self) -> (&'static str, &'static str) {
        match self {
            Self::LogIn(_) => ("Log in", "Checking the password"),
            Self::SetPassword { .. } => ("Set the password", "Setting the password"),
            Self::GiveUpSettings => ("Settings that cannot be read", "Giving them up"),
            Self::Change { .. } => ("Machine settings", "Applying the settings"),
            Self::Confirm => ("Keep the settings", "Keeping the settings"),
            Self::Revert => ("Take the settings back", "Going back to the settings before"),
            Self::End(Ending::Reboot) => ("Reboot", "Rebooting"),
            Self::End(Ending::PowerOff) => ("Shut down", "Shutting down"),
            Self::Update(Wanted::Volume { .. }) => ("Update from a Volume", "Checking and writing"),
            Self::Update(Wanted::Url { .. }) => {
                ("Update from a URL", "Fetching, checking and writing")
            }
            Self::Update(Wanted::Other) => ("Update", "Telling the boot loaders"),
            Self::PutGateway { .. } | Self::DeleteShare { .. } => {
                ("Gateway settings", "Saving the settings")
            }
            Self::SendBundle { .. } => ("Support Bundle", "Collecting and sending"),
            Self::OfferText { .. } => ("Settings Export", "Waiting for the download"),
            Self::ReadVolume => ("Settings Import", "Looking for a volume"),
            Self::ReadUrl(_) => ("Settings Import", "Fetching"),
            Self::Import { .. } => ("Settings Import", "Applying the settings"),
            Self::OfferBundle => ("Support Bundle", "Collecting, then waiting for the download"),
            Self::TestS3 { .. } => ("Test S3 Connectivity", "Testing"),
            Self::TestNetwork(_) => ("Test Network Connectivity", "Testing"),
            Self::ClockState => ("System Time", "Asking chrony"),
            Self::StepClock => ("Synchronize System Time", "Setting the clock"),
            Self::Disks(Order::Look) => ("Look for changes", "Looking through the disks"),
            Self::Disks(Order::Allocate { .. }) => ("Allocate a disk", "Making the file system"),
            Self::Disks(Order::Adopt { .. }) => ("Adopt a cache disk", "Taking it over"),
            Self::Disks(Order::Wipe { .. }) => ("Wipe a cache disk", "Wiping it"),
            Self::Disks(Order::Forget { .. }) => ("Forget a cache disk", "Forgetting it"),
            Self::GatewayDisk { .. } => ("Cache disk", "Telling the gateway"),
            Self::Tool(_) => ("Gateway Console", "Asking"),
        }
    }
}
