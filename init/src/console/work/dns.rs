//! One question to one name server (RFC 1035), and its answer. As much of DNS as a look-up by hand needs.
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

const PORT: u16 = 53;
/// Longest answer that fits a datagram without EDNS (RFC 1035 §4.2.1), and some more.
const ANSWER_BYTES_MAX: usize = 4096;
const HEADER_BYTES: usize = 12;
/// Most records that are read of an answer.
const RECORDS_MAX: u16 = 50;
const CLASS_IN: u16 = 1;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

impl Kind {
    fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }
}

/// What a name server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// These addresses.
    Addresses(Vec<IpAddr>),
    /// The name exists without such addresses.
    NoAddress,
    /// There is no such name.
    NoSuchName,
    /// It refuses or fails (RCODE).
    Failed(u8),
}

/// Asks once.
///
/// # Errors
/// Nothing comes within `time`, or what comes is no answer.
pub(super) fn ask(server: IpAddr, name: &str, kind: Kind, time: Duration) -> io::Result<Answer> {
    let local: IpAddr = match server {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((local, 0))?;
    socket.connect(SocketAddr::from((server, PORT)))?;
    socket.set_read_timeout(Some(time))?;
    // The socket takes datagrams of this server alone, on a port that nobody knows: any number will do.
    let id = socket.local_addr()?.port();
    let question = question(id, name, kind).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no name of a host"))
    })?;
    socket.send(&question)?;
    let mut buffer = [0; ANSWER_BYTES_MAX];
    let length = socket.recv(&mut buffer)?;
    read(&buffer[..length], id, kind)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its answer cannot be read"))
}

/// The message that asks; `None` for what is no name.
fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    message.extend(id.to_be_bytes());
    // RD, one question.
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > 253 || !name.is_ascii() {
        return None;
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend(label.bytes());
    }
    message.push(0);
    message.extend(kind.number().to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    Some(message)
}

/// Reads an answer; `None` if it is none to the question.
fn read(message: &[u8], id: u16, kind: Kind) -> Option<Answer> {
    let word = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    let flags = word(2)?;
    if word(0)? != id || flags & 0x8000 == 0 {
        return None;
    }
    match u8::try_from(flags & 0xf).ok()? {
        0 => {}
        3 => return Some(Answer::NoSuchName),
        rcode => return Some(Answer::Failed(rcode)),
    }
    let mut at = HEADER_BYTES;
    for _ in 0..word(4)?.min(1) {
        at = skip_name(message, at)? + 4;
    }
    let mut addresses = Vec::new();
    for _ in 0..word(6)?.min(RECORDS_MAX) {
        at = skip_name(message, at)?;
        let (found, length) = (word(at)?, usize::from(word(at + 8)?));
        let data = message.get(at + 10..at + 10 + length)?;
        if found == kind.number() {
            addresses.push(match kind {
                Kind::A => IpAddr::from(<[u8; 4]>::try_from(data).ok()?),
                Kind::Aaaa => IpAddr::from(<[u8; 16]>::try_from(data).ok()?),
            });
        }
        at += 10 + length;
    }
    Some(if addresses.is_empty() { Answer::NoAddress } else { Answer::Addresses(addresses) })
}

/// Where what follows a name begins (RFC 1035 §4.1.4: a pointer ends it).
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to `question` with these records, each type and data; names point at the question's.
    fn answer(question: &[u8], rcode: u8, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = question.to_vec();
        message[2] = 0x81;
        message[3] = 0x80 | rcode;
        message[7] = u8::try_from(records.len()).unwrap();
        for (kind, data) in records {
            message.extend([0xc0, 12]);
            message.extend(kind.to_be_bytes());
            message.extend([0, 1, 0, 0, 0, 60]);
            message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            message.extend(*data);
        }
        message
    }

    #[test]
    fn addresses_are_found_behind_aliases() {
        let asked = question(7, "s3.example.com", Kind::A).unwrap();
        assert_eq!(&asked[12..], b"\x02s3\x07example\x03com\0\0\x01\0\x01");
        let message =
            answer(&asked, 0, &[(5, b"\x01a\0"), (1, &[192, 0, 2, 1]), (1, &[192, 0, 2, 2])]);
        let expected =
            Answer::Addresses(vec![IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])]);
        assert_eq!(read(&message, 7, Kind::A), Some(expected));
        assert_eq!(read(&message, 7, Kind::Aaaa), Some(Answer::NoAddress));
        assert_eq!(read(&message, 8, Kind::A), None, "somebody else's");
        assert_eq!(read(&asked, 7, Kind::A), None, "a question is no answer");
    }

    #[test]
    fn what_a_server_refuses_is_told_apart() {
        let asked = question(7, "x.example", Kind::Aaaa).unwrap();
        assert_eq!(read(&answer(&asked, 3, &[]), 7, Kind::Aaaa), Some(Answer::NoSuchName));
        assert_eq!(read(&answer(&asked, 5, &[]), 7, Kind::Aaaa), Some(Answer::Failed(5)));
        let six = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        let found = Answer::Addresses(vec!["2001:db8::9".parse().unwrap()]);
        assert_eq!(read(&answer(&asked, 0, &[(28, &six)]), 7, Kind::Aaaa), Some(found));
    }

    #[test]
    fn broken_messages_and_names_are_refused() {
        let asked = question(7, "x.example", Kind::A).unwrap();
        let whole = answer(&asked, 0, &[(1, &[192, 0, 2, 1])]);
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length], 7, Kind::A), None, "{length} bytes");
        }
        assert_eq!(read(&answer(&asked, 0, &[(1, &[1, 2])]), 7, Kind::A), None);
        for name in ["", "a..b", &"x".repeat(64), &"a.".repeat(130), "\u{e9}.example"] {
            assert_eq!(question(1, name, Kind::A), None, "{name}");
        }
    }
}
