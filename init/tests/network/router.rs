//! A router that advertises a prefix, a name server and a search domain (RFC 4861, RFC 8106).
use std::{
    io, mem,
    net::Ipv6Addr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    thread,
    time::Duration,
};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Between two advertisements.
const PAUSE: Duration = Duration::from_millis(200);
/// Only routers on the link can have sent what arrives with this (RFC 4861 §6.1.2).
const HOPS: libc::c_int = 255;

/// Advertises on `lan0` as long as the process lives.
pub(crate) fn advertise() {
    // SAFETY: socket takes three numbers.
    let fd = unsafe { libc::socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6) };
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: it was just opened, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let hops = HOPS;
    // SAFETY: the option's value is an int that lives as long as the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_MULTICAST_HOPS,
            (&raw const hops).cast(),
            u32::try_from(mem::size_of::<libc::c_int>()).unwrap(),
        )
    };
    assert_eq!(done, 0);
    // SAFETY: the name is a string that lives as long as the call.
    let index = unsafe { libc::if_nametoindex(c"lan0".as_ptr()) };
    assert_ne!(index, 0);
    // SAFETY: all zeros is an address.
    let mut to: libc::sockaddr_in6 = unsafe { mem::zeroed() };
    to.sin6_family = u16::try_from(libc::AF_INET6).unwrap();
    to.sin6_addr.s6_addr = ALL_NODES.octets();
    to.sin6_scope_id = index;
    let message = advertisement();
    thread::spawn(move || {
        loop {
            // Refused until the link has found that its own address is nobody else's.
            // SAFETY: message and address live as long as the call, with their lengths.
            let _sent = unsafe {
                libc::sendto(
                    socket.as_raw_fd(),
                    message.as_ptr().cast(),
                    message.len(),
                    0,
                    (&raw const to).cast(),
                    u32::try_from(mem::size_of::<libc::sockaddr_in6>()).unwrap(),
                )
            };
            thread::sleep(PAUSE);
        }
    });
}

fn advertisement() -> Vec<u8> {
    let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    // Type, code, checksum (the kernel's), hop limit, flags, lifetime as a default router, times.
    let mut message = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    // A prefix of 64 bits, on the link and for addresses, for an hour.
    message.extend([3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0]);
    message.extend(address("fd00:7::"));
    message.extend([25, 3, 0, 0, 0, 0, 0x0e, 0x10]);
    message.extend(address("fd00:7::53"));
    message.extend([31, 3, 0, 0, 0, 0, 0x0e, 0x10]);
    message.extend(b"\x02v6\x07example\0\0\0\0\0");
    message
}
