//! Link-layer packets of the service's own: ARP (RFC 826), and DHCP messages from a machine that has no
//! address yet (packet(7)). What is in them is others' work.
use std::{
    io, mem,
    net::Ipv4Addr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use tokio::io::{Interest, unix::AsyncFd};

/// `ETH_P_ARP`, `ETH_P_IP` (RFC 9542 §B.1).
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
/// An ARP packet for Ethernet and IPv4.
const ARP_BYTES: usize = 28;
/// Hardware type Ethernet, protocol IPv4, the lengths of their addresses.
const ARP_BEGINS: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: u8 = 1;
const BROADCAST: Mac = [0xff; 6];

/// A hardware address.
pub(super) type Mac = [u8; 6];

/// What an ARP packet tells of its sender, be it a question or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// Link it came by.
    pub(super) index: u32,
    pub(super) mac: Mac,
    /// The address that the sender has; unspecified in a probe (RFC 5227 §1.1).
    pub(super) sender: Ipv4Addr,
}

impl Heard {
    fn parse(packet: &[u8], index: u32) -> Option<Self> {
        let packet: &[u8; ARP_BYTES] = packet.get(..ARP_BYTES)?.try_into().ok()?;
        if packet[..6] != ARP_BEGINS || packet[6] != 0 {
            return None;
        }
        let mac = [0, 1, 2, 3, 4, 5].map(|i| packet[8 + i]);
        let sender = Ipv4Addr::from([0, 1, 2, 3].map(|i| packet[14 + i]));
        Some(Self { index, mac, sender })
    }
}

/// A question who has `target`, of a machine that has `sender`: a probe where that is unspecified, an
/// announcement where both are the same (RFC 5227 §1.1).
fn question(mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let (sender, target) = (sender.octets(), target.octets());
    let parts: [&[u8]; 6] = [&ARP_BEGINS, &[0, REQUEST], &mac, &sender, &[0; 6], &target];
    parts.concat()
}

/// An IPv4 broadcast of a machine without an address: UDP from port 68 to port 67 (RFC 2131 §4.1).
fn to_dhcp_servers(message: &[u8]) -> io::Result<Vec<u8>> {
    const UDP: u8 = 17;
    const HEADERS_BYTES: usize = 28;
    let length = |bytes: usize| {
        u16::try_from(bytes).map(u16::to_be_bytes).map_err(|_| io::ErrorKind::InvalidInput)
    };
    let mut header = [0; 20];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&length(HEADERS_BYTES + message.len())?);
    header[8..10].copy_from_slice(&[64, UDP]);
    header[16..20].copy_from_slice(&[255; 4]);
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    // No checksum of the message (RFC 768).
    let udp = [[0, 68], [0, 67], length(8 + message.len())?, [0, 0]].concat();
    Ok([&header, udp.as_slice(), message].concat())
}

/// Of a header with an even number of bytes (RFC 1071).
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("it was folded to 16 bits")
}

/// Hears the ARP packets of all links, and sends on any.
#[derive(Debug)]
pub(super) struct Wire(AsyncFd<OwnedFd>);

impl Wire {
    /// Listens from now on.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn open() -> Result<Self> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: socket(2) takes numbers and returns a descriptor that nobody else owns.
        let socket = unsafe {
            let fd = libc::socket(libc::AF_PACKET, kind, i32::from(ARP.to_be()));
            if fd < 0 {
                return Err(io::Error::last_os_error()).context("listening to ARP");
            }
            OwnedFd::from_raw_fd(fd)
        };
        // SAFETY: the descriptor is owned by what is registered, and closed with it.
        let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Self(registered.map_err(io::Error::from)?))
    }

    /// The next packet that `concerns` somebody. Cancel safe.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) async fn next(&self, concerns: impl Fn(&Heard) -> bool) -> io::Result<Heard> {
        loop {
            match self.0.async_io(Interest::READABLE, receive).await {
                Ok(Some(heard)) if concerns(&heard) => return Ok(heard),
                Ok(_) => {}
                // A link went down; others are heard on.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks who has `target`, as [`question`] says.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn ask(
        &self,
        index: u32,
        mac: Mac,
        [sender, target]: [Ipv4Addr; 2],
    ) -> io::Result<()> {
        self.broadcast(index, ARP, &question(mac, sender, target))
    }

    /// Sends a DHCP message to every server on a link, as a machine that has no address.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn tell_dhcp_servers(&self, index: u32, message: &[u8]) -> io::Result<()> {
        self.broadcast(index, IPV4, &to_dhcp_servers(message)?)
    }

    fn broadcast(&self, index: u32, protocol: u16, packet: &[u8]) -> io::Result<()> {
        let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
        // SAFETY: all of `sockaddr_ll` is numbers: zeros are one.
        let mut to: libc::sockaddr_ll = unsafe { mem::zeroed() };
        to.sll_family = u16::try_from(libc::AF_PACKET).map_err(invalid)?;
        to.sll_protocol = protocol.to_be();
        to.sll_ifindex = i32::try_from(index).map_err(invalid)?;
        to.sll_halen = 6;
        to.sll_addr[..6].copy_from_slice(&BROADCAST);
        let length = libc::socklen_t::try_from(size_of_val(&to)).map_err(invalid)?;
        let fd = self.0.get_ref().as_raw_fd();
        // SAFETY: packet and address live as long as the call, and have the lengths that are said.
        let sent = unsafe {
            let data = packet.as_ptr().cast();
            libc::sendto(fd, data, packet.len(), 0, (&raw const to).cast(), length)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// One packet; none if it is no ARP of Ethernet and IPv4.
fn receive(fd: &OwnedFd) -> io::Result<Option<Heard>> {
    let mut buffer = [0_u8; 64];
    // SAFETY: all of `sockaddr_ll` is numbers: zeros are one.
    let mut from: libc::sockaddr_ll = unsafe { mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of_val(&from)).unwrap_or_default();
    // SAFETY: buffer and address are writable for the lengths that are said.
    let read = unsafe {
        let data = buffer.as_mut_ptr().cast();
        let from = (&raw mut from).cast();
        libc::recvfrom(fd.as_raw_fd(), data, buffer.len(), 0, from, &raw mut length)
    };
    let Ok(read) = usize::try_from(read) else { return Err(io::Error::last_os_error()) };
    let index = u32::try_from(from.sll_ifindex).unwrap_or_default();
    Ok(buffer.get(..read).and_then(|packet| Heard::parse(packet, index)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 7];

    #[test]
    fn a_probe_and_an_announcement_are_what_rfc_5227_says() {
        let ip = Ipv4Addr::new(10, 7, 0, 5);
        let probe = question(MAC, Ipv4Addr::UNSPECIFIED, ip);
        let expected =
            [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 7, 0, 5];
        assert_eq!(probe, expected);
        let heard = Heard::parse(&question(MAC, ip, ip), 3).unwrap();
        assert_eq!(heard, Heard { index: 3, mac: MAC, sender: ip });
        let mut other = probe.clone();
        other[4] = 8;
        assert_eq!(Heard::parse(&other, 3), None, "another kind of address");
        for length in 0..probe.len() {
            assert_eq!(Heard::parse(&probe[..length], 3), None, "cut at {length}");
        }
    }

    #[test]
    fn a_broadcast_has_a_header_that_its_receiver_accepts() {
        let packet = to_dhcp_servers(&[9; 300]).unwrap();
        assert_eq!(packet.len(), 328);
        assert_eq!(packet[..4], [0x45, 0, 1, 72]);
        assert_eq!(checksum(&packet[..20]), 0, "the sum over a header with its sum is 0");
        assert_eq!(packet[12..28], [0, 0, 0, 0, 255, 255, 255, 255, 0, 68, 0, 67, 1, 52, 0, 0]);
        assert!(to_dhcp_servers(&vec![0; 70_000]).is_err());
    }
}
