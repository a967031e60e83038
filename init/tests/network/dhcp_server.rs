//! A DHCP server for one client (RFC 2131), which does as a test says.
use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::fd::AsRawFd,
    sync::{Arc, Mutex},
    thread,
};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const MESSAGE_TYPE: u8 = 53;
const REQUESTED_ADDRESS: u8 = 50;
const SERVER_ID: u8 = 54;
const CLIENT_ID: u8 = 61;
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const DECLINE: u8 = 4;
const ACK: u8 = 5;
const NAK: u8 = 6;
const RELEASE: u8 = 7;

/// What the server does.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    /// The one address that it gives; none: it is silent.
    pub(crate) address: Option<Ipv4Addr>,
    /// Lease, T1 and T2, in seconds.
    pub(crate) seconds: [u32; 3],
    /// Whether it only offers the address, and is silent when somebody takes it.
    pub(crate) only_offers: bool,
}

/// What was asked, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Discover,
    /// For the address that was offered.
    Select,
    /// For more time, to this server alone (T1).
    Renew,
    /// Whether a lease from before still holds.
    Verify,
    /// Nothing: another machine has this address.
    Decline(Ipv4Addr),
    /// Nothing: this address is not needed any more.
    Release(Ipv4Addr),
}

/// A running server. It ends with the process.
pub(crate) struct DhcpServer {
    orders: Arc<Mutex<Orders>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    client_id: Arc<Mutex<Vec<u8>>>,
}

impl DhcpServer {
    /// Serves on `lan0`, which has the address 10.7.0.1.
    pub(crate) fn start(orders: Orders) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67)).unwrap();
        socket.set_broadcast(true).unwrap();
        let device = c"lan0";
        // SAFETY: the option's value is a string that lives as long as the call, and its length.
        let bound = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_BINDTODEVICE,
                device.as_ptr().cast(),
                u32::try_from(device.to_bytes_with_nul().len()).unwrap(),
            )
        };
        assert_eq!(bound, 0);
        let server = Self {
            orders: Arc::new(Mutex::new(orders)),
            asked: Arc::default(),
            client_id: Arc::default(),
        };
        let (orders, asked) = (Arc::clone(&server.orders), Arc::clone(&server.asked));
        let client_id = Arc::clone(&server.client_id);
        thread::spawn(move || {
            let mut buffer = [0; 1500];
            loop {
                let (length, _) = socket.recv_from(&mut buffer).unwrap();
                let message = &buffer[..length];
                let orders = orders.lock().unwrap().clone();
                let Some(what) = what_is_asked(message) else { continue };
                asked.lock().unwrap().push(what.clone());
                *client_id.lock().unwrap() = option(message, CLIENT_ID).unwrap_or_default();
                if let Some(answer) = answer(message, &what, &orders) {
                    let to = match what {
                        Asked::Renew => Ipv4Addr::from([12, 13, 14, 15].map(|i| message[i])),
                        _ => Ipv4Addr::BROADCAST,
                    };
                    socket.send_to(&answer, SocketAddrV4::new(to, 68)).unwrap();
                }
            }
        });
        server
    }

    /// Changes what it does.
    pub(crate) fn order(&self, orders: Orders) {
        *self.orders.lock().unwrap() = orders;
    }

    /// What was asked until now.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How the client calls itself.
    pub(crate) fn client_id(&self) -> Vec<u8> {
        self.client_id.lock().unwrap().clone()
    }
}

fn option(message: &[u8], code: u8) -> Option<Vec<u8>> {
    let mut rest = message.get(240..)?;
    loop {
        match *rest.first()? {
            0 => rest = &rest[1..],
            255 => return None,
            found => {
                let length = usize::from(*rest.get(1)?);
                let value = rest.get(2..2 + length)?;
                if found == code {
                    return Some(value.to_vec());
                }
                rest = &rest[2 + length..];
            }
        }
    }
}

fn what_is_asked(message: &[u8]) -> Option<Asked> {
    let renews = message[12..16] != [0; 4];
    let own = Ipv4Addr::from([12, 13, 14, 15].map(|i| message[i]));
    match option(message, MESSAGE_TYPE)?[0] {
        DISCOVER => Some(Asked::Discover),
        REQUEST if renews => Some(Asked::Renew),
        REQUEST if option(message, SERVER_ID).is_some() => Some(Asked::Select),
        REQUEST => Some(Asked::Verify),
        DECLINE => {
            let octets: [u8; 4] = option(message, REQUESTED_ADDRESS)?.try_into().ok()?;
            Some(Asked::Decline(octets.into()))
        }
        RELEASE => Some(Asked::Release(own)),
        _ => None,
    }
}

fn answer(message: &[u8], what: &Asked, orders: &Orders) -> Option<Vec<u8>> {
    let address = orders.address?;
    if orders.only_offers && *what != Asked::Discover {
        return None;
    }
    let wanted = match what {
        Asked::Renew => message[12..16].to_vec(),
        Asked::Discover => address.octets().to_vec(),
        Asked::Select | Asked::Verify => option(message, REQUESTED_ADDRESS)?,
        Asked::Decline(_) | Asked::Release(_) => return None,
    };
    let kind = match (wanted == address.octets(), what) {
        (false, _) => NAK,
        (true, Asked::Discover) => OFFER,
        (true, _) => ACK,
    };
    let mut reply = vec![0; 240];
    reply[..4].copy_from_slice(&[2, 1, 6, 0]);
    reply[4..8].copy_from_slice(&message[4..8]);
    reply[10] = 0x80;
    reply[28..44].copy_from_slice(&message[28..44]);
    reply[236..240].copy_from_slice(&COOKIE);
    let mut add = |code: u8, value: &[u8]| {
        reply.extend([code, u8::try_from(value.len()).unwrap()]);
        reply.extend(value);
    };
    add(MESSAGE_TYPE, &[kind]);
    add(SERVER_ID, &SERVER.octets());
    if kind != NAK {
        for (code, seconds) in [51, 58, 59].into_iter().zip(orders.seconds) {
            add(code, &seconds.to_be_bytes());
        }
        add(1, &[255, 255, 255, 0]);
        add(3, &SERVER.octets());
        add(6, &[10, 7, 0, 53]);
        add(12, b"given");
        add(15, b"lab.example");
        add(26, &1300_u16.to_be_bytes());
        add(42, &[10, 7, 0, 123]);
    }
    reply.push(255);
    if kind != NAK {
        reply[16..20].copy_from_slice(&address.octets());
    }
    Some(reply)
}
