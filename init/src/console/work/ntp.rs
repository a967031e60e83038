//! One question to an NTP server (RFC 4330): does it answer, and how far off is the clock here?
use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const PACKET_BYTES: usize = 48;
/// Version 4, mode client.
const CLIENT: u8 = 4 << 3 | 3;
const MODE_SERVER: u8 = 4;
/// Seconds from NTP's epoch (1900) to Unix's.
const EPOCH_SECONDS: u64 = 2_208_988_800;

/// Seconds by which the server's clock is ahead of this machine's.
///
/// # Errors
/// Nothing comes within `time`, or what comes is no time.
pub(super) fn ask(server: SocketAddr, time: Duration) -> io::Result<i64> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(local)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(time))?;
    let mut packet = [0; PACKET_BYTES];
    packet[0] = CLIENT;
    socket.send(&packet)?;
    let mut answer = [0; PACKET_BYTES * 2];
    let length = socket.recv(&mut answer)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let theirs = read(&answer[..length])
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its answer is no time"))?;
    Ok(i64::try_from(theirs).unwrap_or(0) - i64::try_from(now).unwrap_or(0))
}

/// The transmit time of an answer, in seconds since 1970; `None` if it is none, or its server does not
/// know the time (stratum 0 or 16).
fn read(packet: &[u8]) -> Option<u64> {
    let head = *packet.first()?;
    let stratum = *packet.get(1)?;
    let seconds = packet.get(40..44)?;
    if packet.len() < PACKET_BYTES || head & 7 != MODE_SERVER || !(1..=15).contains(&stratum) {
        return None;
    }
    let seconds = u64::from(u32::from_be_bytes(seconds.try_into().ok()?));
    // The 32 bits start again in 2036; what is before 1970 is after that (RFC 4330 §3).
    let era = if seconds < EPOCH_SECONDS { 1 << 32 } else { 0 };
    Some(era + seconds - EPOCH_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(head: u8, stratum: u8, seconds: u32) -> Vec<u8> {
        let mut packet = vec![0; PACKET_BYTES];
        packet[0] = head;
        packet[1] = stratum;
        packet[40..44].copy_from_slice(&seconds.to_be_bytes());
        packet
    }

    #[test]
    fn the_time_is_read_in_both_eras() {
        assert_eq!(read(&packet(0x24, 2, 3_900_000_000)), Some(3_900_000_000 - EPOCH_SECONDS));
        // 2036-02-07 06:28:16 UTC, where the count starts again.
        assert_eq!(read(&packet(0x24, 2, 0)), Some(2_085_978_496));
    }

    #[test]
    fn who_does_not_know_the_time_is_no_server() {
        for broken in [
            packet(0x23, 2, 3_900_000_000),
            packet(0x24, 0, 3_900_000_000),
            packet(0x24, 16, 3_900_000_000),
            packet(0x24, 2, 3_900_000_000)[..47].to_vec(),
            Vec::new(),
        ] {
            assert_eq!(read(&broken), None, "{broken:?}");
        }
    }
}
