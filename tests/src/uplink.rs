//! The way out of the virtual LAN: `passt`, which is DHCP server and router for one machine and turns
//! its TCP connections into connections of this host. The router's address is the host's loopback.
//!
//! Its frames may be six times as long as those of QEMU's own user network, and every frame costs an
//! emulated network card the same.
use std::{
    fs::{self, File},
    io::Write,
    net::Ipv4Addr,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    fragments::Reassembly,
    seed::HOST_FROM_GUEST,
    switch::{self, Address, Switch},
};

/// The address that DHCP gives.
const GUEST_ADDRESS: &str = "10.0.2.15";
/// Longest packet on the LAN, also given by DHCP: jumbo frames, as storage networks have them.
pub const MTU_BYTES: &str = "9000";
/// The Ethernet type of ARP (RFC 826).
const ARP: [u8; 2] = [8, 6];
const ROUTER_MAC: &str = "52:55:0a:00:02:02";
/// How long `passt` may take to answer its first question.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A machine on the LAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// The appliance.
    Appliance,
    /// The NFS client.
    Client,
}

impl Guest {
    fn address(self) -> Address {
        match self {
            Self::Appliance => [0x52, 0x54, 0, 0x7a, 0, 1],
            Self::Client => [0x52, 0x54, 0, 0x7a, 0, 2],
        }
    }

    /// The address of its network card.
    pub fn mac(self) -> String {
        self.address().map(|byte| format!("{byte:02x}")).join(":")
    }
}

/// A running `passt`. Dropping it cuts the LAN off.
#[derive(Debug)]
pub struct Uplink {
    process: Child,
}

impl Uplink {
    /// Joins the LAN to the host, for one machine on it. What `passt` prints goes to the file `log`.
    ///
    /// # Errors
    /// When `passt` does not come up, with what it printed: it wants a host with a default route.
    pub fn start(lan: &Switch, guest: Guest, log: &Path) -> Result<Self> {
        let printed = File::create(log)?;
        let (cable, end) = UnixStream::pair()?;
        let process = Command::new("passt")
            .args(["--foreground", "--ipv4-only", "--fd", "0"])
            .args(["--address", GUEST_ADDRESS, "--netmask", "24", "--gateway", HOST_FROM_GUEST])
            .args(["--mac-addr", ROUTER_MAC, "--mtu", MTU_BYTES])
            // Nothing from outside in, and nothing of the host's own DNS settings.
            .args(["--tcp-ports", "none", "--udp-ports", "none", "--dns", "none"])
            .args(["--search", "none"])
            .stdin(OwnedFd::from(end))
            .stdout(Stdio::from(printed.try_clone()?))
            .stderr(Stdio::from(printed))
            .spawn()
            .context("cannot run passt; `cargo verify` installs it")?;
        let uplink = Self { process };
        ask_for_router(&cable, guest).with_context(|| {
            let printed = fs::read_to_string(log).unwrap_or_default();
            format!("passt did not come up (it wants a default route); it printed:\n{printed}")
        })?;
        let mut packets = Reassembly::default();
        let hears =
            move |frame: &Arc<[u8]>| concerns(frame, guest).then(|| packets.take(frame)).flatten();
        lan.plug_filtered(cable, Box::new(hears)).context("the virtual LAN")?;
        Ok(uplink)
    }
}

/// Whether a frame is for `passt`. It serves one guest, takes every machine that it hears for that
/// one, and answers ARP for all addresses but the guest's own.
fn concerns(frame: &[u8], guest: Guest) -> bool {
    let router = HOST_FROM_GUEST.parse().ok().map(|router: Ipv4Addr| router.octets());
    frame.get(6..12) == Some(&guest.address())
        && (frame.get(12..14) != Some(&ARP)
            || frame.get(38..42) == router.as_ref().map(<[u8; 4]>::as_slice))
}

/// The frame by which `guest` asks who has `address`.
fn question(guest: Guest, address: Ipv4Addr) -> Result<Vec<u8>> {
    const BROADCAST: Address = [0xff; 6];
    /// Ethernet, IPv4, the lengths of their addresses, "who has".
    const QUESTION: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
    let own: Ipv4Addr = GUEST_ADDRESS.parse()?;
    let (own, guest, address) = (own.octets(), guest.address(), address.octets());
    let parts: [&[u8]; 8] = [&BROADCAST, &guest, &ARP, &QUESTION, &guest, &own, &[0; 6], &address];
    Ok(parts.concat())
}

/// Asks for the router's address, as `guest`, and waits for the answer.
fn ask_for_router(mut cable: &UnixStream, guest: Guest) -> Result<()> {
    let mut wire = Vec::new();
    switch::append(&mut wire, &question(guest, HOST_FROM_GUEST.parse()?)?);
    cable.set_read_timeout(Some(START_LIMIT))?;
    cable.write_all(&wire)?;
    switch::receive(&mut cable)?;
    Ok(cable.set_read_timeout(None)?)
}

impl Drop for Uplink {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passt_hears_its_guest_and_no_question_but_for_the_router() {
        let ask = |guest, address: &str| {
            question(guest, address.parse().expect("an address")).expect("a question")
        };
        let hears = |frame: &[u8]| concerns(frame, Guest::Appliance);
        assert!(hears(&ask(Guest::Appliance, HOST_FROM_GUEST)));
        assert!(!hears(&ask(Guest::Appliance, "10.0.2.200")));
        assert!(!hears(&ask(Guest::Client, HOST_FROM_GUEST)));
        let mut packet = ask(Guest::Appliance, "10.0.2.200");
        packet[12..14].copy_from_slice(&[8, 0]);
        assert!(hears(&packet), "what is no question passes");
        assert!(!hears(b"short"));
    }
}
