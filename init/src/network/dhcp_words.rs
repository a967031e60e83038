//! The two DHCP messages that end a lease (RFC 2131 §4.4.4, §4.4.6): that an address is in use already,
//! and that it is not needed any more. mozim has none for the first, and must run for the second.
use std::{
    io,
    net::{Ipv4Addr, UdpSocket},
};

use super::{lease::Lease, packet::Mac};

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
/// Shortest message: what relays were made for (RFC 1542 §2.1).
const BYTES_MIN: usize = 300;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const REQUESTED_ADDRESS: u8 = 50;
const MESSAGE_TYPE: u8 = 53;
const SERVER_ID: u8 = 54;
const CLIENT_ID: u8 = 61;
const END: u8 = 255;
const DECLINE: u8 = 4;
const RELEASE: u8 = 7;

/// That another machine has the address of this lease.
pub(super) fn decline(lease: &Lease, mac: Mac) -> Vec<u8> {
    let address = lease.address.addr();
    let asked = (REQUESTED_ADDRESS, address.octets().to_vec());
    message(DECLINE, Ipv4Addr::UNSPECIFIED, lease, mac, &[asked])
}

/// That this lease is not needed any more.
pub(super) fn release(lease: &Lease, mac: Mac) -> Vec<u8> {
    message(RELEASE, lease.address.addr(), lease, mac, &[])
}

/// Tells the server that a lease is not needed any more, while the machine still has its address. Nobody
/// answers, and a server that does not hear it keeps the address until the lease ends.
///
/// # Errors
/// What the kernel says; also that the machine has the address no more. Then [`release`] is for every server.
pub(super) fn give_back(lease: &Lease, mac: Mac) -> io::Result<()> {
    let address = lease.address.addr();
    // The client's port may still be taken by the client that asked; any other one does.
    let socket =
        UdpSocket::bind((address, CLIENT_PORT)).or_else(|_| UdpSocket::bind((address, 0)))?;
    socket.send_to(&release(lease, mac), (lease.server, SERVER_PORT))?;
    Ok(())
}

fn message(kind: u8, client: Ipv4Addr, lease: &Lease, mac: Mac, more: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut message = vec![0; 236];
    // A request by Ethernet, whose addresses have 6 bytes.
    message[..3].copy_from_slice(&[1, 1, 6]);
    let mut transaction = [0; 4];
    getrandom::fill(&mut transaction).expect("the kernel has random numbers");
    message[4..8].copy_from_slice(&transaction);
    message[12..16].copy_from_slice(&client.octets());
    message[28..34].copy_from_slice(&mac);
    message.extend(COOKIE);
    let own = [
        (MESSAGE_TYPE, vec![kind]),
        (SERVER_ID, lease.server.octets().to_vec()),
        // As the lease was asked for: type Ethernet, and the address.
        (CLIENT_ID, [&[1], mac.as_slice()].concat()),
    ];
    for (code, value) in own.iter().chain(more) {
        message.extend([*code, u8::try_from(value.len()).expect("each has 7 bytes at most")]);
        message.extend(value);
    }
    message.push(END);
    message.resize(message.len().max(BYTES_MIN), 0);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> Lease {
        Lease::plain("10.0.2.15/24")
    }

    const MAC: Mac = [2, 0, 0, 0, 0, 7];

    #[test]
    fn a_declined_address_is_asked_for_by_nobody_and_a_released_one_has_its_owner() {
        let declined = decline(&lease(), MAC);
        assert_eq!(declined.len(), BYTES_MIN);
        assert_eq!(declined[12..16], [0; 4], "the client has no address (RFC 2131 table 5)");
        assert_eq!(declined[28..34], MAC);
        let options =
            [53, 1, 4, 54, 4, 10, 0, 2, 2, 61, 7, 1, 2, 0, 0, 0, 0, 7, 50, 4, 10, 0, 2, 15, 255];
        assert_eq!(declined[240..240 + options.len()], options);
        let released = release(&lease(), MAC);
        assert_eq!(released[12..16], [10, 0, 2, 15]);
        let options = [53, 1, 7, 54, 4, 10, 0, 2, 2, 61, 7, 1, 2, 0, 0, 0, 0, 7, 255];
        assert_eq!(released[240..240 + options.len()], options, "no requested address");
    }
}
