//! Packets put together from their fragments (RFC 791 §3.2).
//!
//! QEMU's emulated `vmxnet3` card, asked by its guest to cut a long TCP segment, cuts the IP packet
//! instead. A host puts such fragments together; `passt` takes each for a packet of its own and drops all
//! but the first, which the guest sends again and again after time-outs.
use std::sync::Arc;

/// Destination and source address, and the type.
const ETHERNET_BYTES: usize = 14;
const IPV4: [u8; 2] = [8, 0];
/// An IPv4 header without options, as all of these packets have.
const HEADER_BYTES: usize = 20;
const PAYLOAD_AT: usize = ETHERNET_BYTES + HEADER_BYTES;
/// The flag of a fragment that others follow.
const MORE: u16 = 0x2000;
/// Where a fragment belongs, in units of eight bytes.
const OFFSET: u16 = 0x1fff;

/// The packet that is being put together: one, as a card sends its fragments in a row and in order.
#[derive(Debug, Default)]
pub struct Reassembly {
    packet: Vec<u8>,
}

impl Reassembly {
    /// What `frame` comes to: itself if it is whole, the whole packet if it is the last fragment,
    /// nothing if others follow or one before it was lost.
    pub fn take(&mut self, frame: &Arc<[u8]>) -> Option<Arc<[u8]>> {
        if frame.get(12..14) != Some(&IPV4) || frame.get(ETHERNET_BYTES) != Some(&0x45) {
            return Some(Arc::clone(frame));
        }
        let fragment = u16_at(frame, ETHERNET_BYTES + 6)?;
        let (offset, more) = (usize::from(fragment & OFFSET) * 8, fragment & MORE != 0);
        if offset == 0 && !more {
            return Some(Arc::clone(frame));
        }
        let end = ETHERNET_BYTES + usize::from(u16_at(frame, ETHERNET_BYTES + 2)?);
        let payload = frame.get(PAYLOAD_AT..end)?;
        if offset == 0 {
            self.packet.clear();
            self.packet.extend_from_slice(frame.get(..end)?);
        } else if self.continues(frame, offset) {
            self.packet.extend_from_slice(payload);
        } else {
            self.packet.clear();
        }
        if more || self.packet.is_empty() {
            return None;
        }
        let mut packet = std::mem::take(&mut self.packet);
        let length = u16::try_from(packet.len() - ETHERNET_BYTES).ok()?;
        packet[ETHERNET_BYTES + 2..][..2].copy_from_slice(&length.to_be_bytes());
        packet[ETHERNET_BYTES + 6..][..2].fill(0);
        packet[ETHERNET_BYTES + 10..][..2].fill(0);
        let sum = checksum(&packet[ETHERNET_BYTES..PAYLOAD_AT]);
        packet[ETHERNET_BYTES + 10..][..2].copy_from_slice(&sum.to_be_bytes());
        Some(packet.into())
    }

    /// Whether the fragment at `offset` comes next: of the same packet (identification, protocol,
    /// addresses), right after what there is.
    fn continues(&self, frame: &[u8], offset: usize) -> bool {
        let identity = |frame: &[u8]| {
            let header = frame.get(ETHERNET_BYTES..PAYLOAD_AT)?;
            Some((header[4..6].to_vec(), header[9], header[12..].to_vec()))
        };
        self.packet.len() == PAYLOAD_AT + offset && identity(&self.packet) == identity(frame)
    }
}

fn u16_at(frame: &[u8], at: usize) -> Option<u16> {
    frame.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

/// The sum of RFC 1071 over a header whose own sum is zero.
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of packet `id` that carries `payload` at `offset`, padded as short frames are.
    fn fragment(id: u8, offset: u16, more: bool, payload: &[u8]) -> Arc<[u8]> {
        let mut frame = vec![0; ETHERNET_BYTES];
        frame[12..].copy_from_slice(&IPV4);
        let length = u16::try_from(HEADER_BYTES + payload.len()).expect("short").to_be_bytes();
        let place = ((offset / 8) | if more { MORE } else { 0 }).to_be_bytes();
        frame.extend([0x45, 0, length[0], length[1], 0, id, place[0], place[1], 64, 6, 0, 0]);
        frame.extend([10, 0, 2, 15, 10, 0, 2, 2]);
        let sum = checksum(&frame[ETHERNET_BYTES..]).to_be_bytes();
        frame[ETHERNET_BYTES + 10..][..2].copy_from_slice(&sum);
        frame.extend(payload);
        frame.resize(frame.len().max(60), 0);
        frame.into()
    }

    #[test]
    fn fragments_in_a_row_become_the_packet_they_were() {
        let mut reassembly = Reassembly::default();
        let whole = fragment(1, 0, false, &[1; 40]);
        assert_eq!(reassembly.take(&whole), Some(whole));
        assert_eq!(reassembly.take(&fragment(2, 0, true, &[2; 16])), None);
        assert_eq!(reassembly.take(&fragment(2, 16, true, &[3; 16])), None);
        let packet = reassembly.take(&fragment(2, 32, false, &[4; 8]));
        let payload = [[2; 16].as_slice(), &[3; 16], &[4; 8]].concat();
        assert_eq!(packet, Some(fragment(2, 0, false, &payload)));
    }

    #[test]
    fn a_packet_of_which_a_fragment_is_lost_never_comes() {
        let mut reassembly = Reassembly::default();
        let (first, second) = (fragment(1, 0, true, &[1; 16]), fragment(1, 16, true, &[2; 16]));
        let last = fragment(1, 32, false, &[3; 16]);
        let foreign = fragment(2, 16, true, &[2; 16]);
        for lossy in [[&first, &last], [&second, &last], [&foreign, &last]] {
            for frame in lossy {
                assert_eq!(reassembly.take(frame), None);
            }
        }
        for frame in [&first, &foreign, &second, &last] {
            assert_eq!(reassembly.take(frame), None);
        }
        let arp: Arc<[u8]> = [[0; 12].as_slice(), &[8, 6, 0, 1]].concat().into();
        assert_eq!(reassembly.take(&arp), Some(arp));
    }
}
