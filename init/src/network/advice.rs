//! What routers advise beside addresses: name servers and search domains (RFC 8106). The kernel takes
//! the advertisements in, and hands these options on (`RTM_NEWNDUSEROPT`, rtnetlink group 20).
use std::{
    io,
    net::Ipv6Addr,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use serde::{Deserialize, Serialize};
use tokio::io::{Interest, unix::AsyncFd};

use crate::machine::is_domain;

/// `RTNLGRP_ND_USEROPT` is 20: bit 19.
const GROUP: u32 = 1 << 19;
/// `RTM_NEWNDUSEROPT`.
const MESSAGE_TYPE: u16 = 68;
/// `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;
/// `struct nduseroptmsg`: family, padding, length of the options, index of the link, type and code of
/// the ICMPv6 message, padding.
const OPTION_HEADER_BYTES: usize = 16;
/// An option is at most 255 times 8 bytes long.
const MESSAGE_BYTES_MAX: usize = 4096;
/// Recursive DNS Server (RFC 8106 §5.1).
const RDNSS: u8 = 25;
/// DNS Search List (RFC 8106 §5.2).
const DNSSL: u8 = 31;
/// Of each, what is remembered of one link.
const SERVERS_MAX: usize = 3;
const DOMAINS_MAX: usize = 6;

/// What routers on one link advise, each until when, in time since boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Advice {
    pub(super) servers: Vec<(Ipv6Addr, Duration)>,
    pub(super) domains: Vec<(String, Duration)>,
}

/// One option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Advised {
    /// The link it came by.
    pub(super) index: u32,
    /// For how long it holds from its arrival on; zero takes it back.
    lifetime: Duration,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Servers(Vec<Ipv6Addr>),
    Domains(Vec<String>),
}

impl Advice {
    /// Takes an option in that came at `now`.
    pub(super) fn take(&mut self, advised: &Advised, now: Duration) {
        let until = now + advised.lifetime;
        match &advised.what {
            What::Servers(servers) => merge(&mut self.servers, servers, until, SERVERS_MAX),
            What::Domains(domains) => merge(&mut self.domains, domains, until, DOMAINS_MAX),
        }
        self.forget(now);
    }

    /// Forgets what holds no longer.
    pub(super) fn forget(&mut self, now: Duration) {
        self.servers.retain(|(_, until)| *until > now);
        self.domains.retain(|(_, until)| *until > now);
    }

    /// When something stops to hold.
    pub(super) fn ends(&self) -> impl Iterator<Item = Duration> {
        let domains = self.domains.iter().map(|(_, until)| *until);
        self.servers.iter().map(|(_, until)| *until).chain(domains)
    }
}

fn merge<T: Clone + PartialEq>(
    known: &mut Vec<(T, Duration)>,
    fresh: &[T],
    until: Duration,
    max: usize,
) {
    for one in fresh {
        if let Some((_, end)) = known.iter_mut().find(|(other, _)| other == one) {
            *end = until;
        } else if known.len() < max {
            known.push((one.clone(), until));
        }
    }
}

/// Hears what routers advise.
#[derive(Debug)]
pub(super) struct Listener(AsyncFd<OwnedFd>);

impl Listener {
    /// Listens from now on.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn open() -> Result<Self> {
        let open = || -> nix::Result<OwnedFd> {
            let socket = socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
                SockProtocol::NetlinkRoute,
            )?;
            bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUP))?;
            Ok(socket)
        };
        let socket = open().context("listening to what routers advise")?;
        // SAFETY: the descriptor is owned by what is registered, and closed with it.
        let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Self(registered.map_err(io::Error::from)?))
    }

    /// The next option that is one of ours. Cancel safe.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) async fn next(&self) -> io::Result<Advised> {
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        loop {
            let read = |fd: &OwnedFd| -> io::Result<usize> {
                Ok(recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?)
            };
            match self.0.async_io(Interest::READABLE, read).await {
                Ok(length) => {
                    if let Some(advised) = parse(&buffer[..length]) {
                        return Ok(advised);
                    }
                }
                // Some were lost: routers repeat what they advise.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Reads one netlink message with one option in it.
fn parse(message: &[u8]) -> Option<Advised> {
    let u16_at = |at: usize| Some(u16::from_ne_bytes(message.get(at..at + 2)?.try_into().ok()?));
    if u16_at(4)? != MESSAGE_TYPE {
        return None;
    }
    let index = u32::from_ne_bytes(message.get(20..24)?.try_into().ok()?);
    let from = HEADER_BYTES + OPTION_HEADER_BYTES;
    let option = message.get(from..from + usize::from(u16_at(HEADER_BYTES + 2)?))?;
    let body = option.get(8..8 * usize::from(*option.get(1)?))?;
    let seconds = u32::from_be_bytes(option.get(4..8)?.try_into().ok()?);
    let what = match option[0] {
        RDNSS => What::Servers(servers(body)),
        DNSSL => What::Domains(domains(body)),
        _ => return None,
    };
    Some(Advised { index, lifetime: Duration::from_secs(u64::from(seconds)), what })
}

fn servers(body: &[u8]) -> Vec<Ipv6Addr> {
    let usable = |ip: &Ipv6Addr| !ip.is_unspecified() && !ip.is_multicast();
    let address = |bytes: &[u8]| <[u8; 16]>::try_from(bytes).ok().map(Ipv6Addr::from);
    body.chunks_exact(16).filter_map(address).filter(usable).take(SERVERS_MAX).collect()
}

/// Names as RFC 1035 §3.1 writes them, without compression, and zeros behind the last one.
fn domains(mut body: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut labels: Vec<String> = Vec::new();
    while let Some((&length, rest)) = body.split_first() {
        body = rest;
        if length == 0 {
            let domain = labels.join(".");
            labels.clear();
            if is_domain(&domain) && found.len() < DOMAINS_MAX {
                found.push(domain);
            }
            continue;
        }
        let Some((label, rest)) = body.split_at_checked(usize::from(length)) else { break };
        labels.push(String::from_utf8_lossy(label).into_owned());
        body = rest;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(option: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES + OPTION_HEADER_BYTES];
        bytes[4..6].copy_from_slice(&MESSAGE_TYPE.to_ne_bytes());
        bytes[18..20].copy_from_slice(&u16::try_from(option.len()).unwrap().to_ne_bytes());
        bytes[20..24].copy_from_slice(&7_u32.to_ne_bytes());
        bytes.extend(option);
        bytes
    }

    fn rdnss(seconds: u32, servers: &[&str]) -> Vec<u8> {
        let mut option = vec![RDNSS, 1 + 2 * u8::try_from(servers.len()).unwrap(), 0, 0];
        option.extend(seconds.to_be_bytes());
        option.extend(servers.iter().flat_map(|ip| ip.parse::<Ipv6Addr>().unwrap().octets()));
        message(&option)
    }

    const NOW: Duration = Duration::from_secs(1000);

    #[test]
    fn name_servers_are_kept_for_their_lifetime_and_taken_back() {
        let mut advice = Advice::default();
        let two = parse(&rdnss(600, &["fd00::53", "fe80::1"])).unwrap();
        assert_eq!(two.index, 7);
        advice.take(&two, NOW);
        let servers = |advice: &Advice| -> Vec<String> {
            advice.servers.iter().map(|(ip, _)| ip.to_string()).collect()
        };
        assert_eq!(servers(&advice), ["fd00::53", "fe80::1"]);
        assert_eq!(advice.ends().min(), Some(NOW + Duration::from_secs(600)));
        advice.take(&parse(&rdnss(0, &["fe80::1"])).unwrap(), NOW);
        assert_eq!(servers(&advice), ["fd00::53"]);
        advice.take(&parse(&rdnss(9, &["fd00::a", "fd00::b", "fd00::c"])).unwrap(), NOW);
        assert_eq!(advice.servers.len(), SERVERS_MAX, "a router cannot fill the memory");
        advice.forget(NOW + Duration::from_secs(9));
        assert_eq!(servers(&advice), ["fd00::53"]);
    }

    #[test]
    fn search_domains_are_read_and_nonsense_is_not() {
        let mut option = vec![DNSSL, 5, 0, 0, 0, 0, 2, 88];
        option
            .extend(b"\x07example\x03com\x00\x03lab\x00\x05a b\n:\x00\x00\x00\x00\x00\x00\x00\x00");
        let advised = parse(&message(&option)).unwrap();
        assert_eq!(advised.what, What::Domains(vec!["example.com".to_owned(), "lab".to_owned()]));
        assert_eq!(advised.lifetime, Duration::from_secs(600));
        let whole = message(&option);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), None, "cut at {length}");
        }
        assert_eq!(parse(&message(&[RDNSS, 0, 0, 0, 0, 0, 0, 1])), None, "no length");
        assert_eq!(parse(&message(&[3, 1, 0, 0, 0, 0, 0, 1])), None, "another option");
        assert!(domains(&[9, b'a']).is_empty(), "longer than the option");
    }
}
