//! A virtual Ethernet switch: machines plug in with QEMU's `stream` network device over one Unix
//! socket, and the LAN outlives each of them.
//!
//! It learns which address is where, as a real one does. QEMU's own hub shows every frame to
//! everybody, and QEMU's user network answers what was meant for another machine with a reset.
use std::{
    collections::HashMap,
    io::{self, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

/// Frames that wait for one machine; more are lost, as on any switch.
const QUEUE_FRAMES: usize = 1024;
/// Bytes that go to a machine in one write, and that are read from it at once.
const BURST_BYTES: usize = 256 << 10;
/// Longest frame: QEMU's largest packet with all offloads.
const FRAME_BYTES_MAX: usize = 68 << 10;
const ADDRESS_BYTES: usize = 6;
/// Destination and source address, and the type.
const HEADER_BYTES: usize = 14;

type Address = [u8; ADDRESS_BYTES];
type PortNumber = u64;

/// A running switch; it ends with the process.
#[derive(Debug)]
pub struct Switch {
    socket: PathBuf,
}

impl Switch {
    /// Starts one that listens on `socket`, which must not exist.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(socket: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let table = Arc::new(Mutex::new(Table::default()));
        thread::Builder::new().name("switch".to_owned()).spawn(move || {
            for (number, cable) in (0..).zip(listener.incoming()) {
                let plugged = cable.and_then(|cable| plug(number, cable, &table));
                if let Err(error) = plugged {
                    eprintln!("switch: {error}");
                }
            }
        })?;
        Ok(Self { socket: socket.to_owned() })
    }

    /// Where machines plug in.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

/// Who is where.
#[derive(Debug, Default)]
struct Table {
    ports: HashMap<PortNumber, SyncSender<Arc<[u8]>>>,
    addresses: HashMap<Address, PortNumber>,
}

impl Table {
    /// Ports that a frame from `from` goes to; learns where its sender is.
    fn route(&mut self, from: PortNumber, frame: &[u8]) -> Vec<PortNumber> {
        let (Some(to), Some(source)) = (address(frame, 0), address(frame, ADDRESS_BYTES)) else {
            return Vec::new();
        };
        self.addresses.insert(source, from);
        match self.addresses.get(&to) {
            Some(port) if *port == from => Vec::new(),
            Some(port) => vec![*port],
            // Broadcast, multicast, or not heard of yet.
            None => self.ports.keys().copied().filter(|port| *port != from).collect(),
        }
    }

    fn unplug(&mut self, port: PortNumber) {
        self.ports.remove(&port);
        self.addresses.retain(|_, at| *at != port);
    }
}

fn address(frame: &[u8], at: usize) -> Option<Address> {
    (frame.len() >= HEADER_BYTES).then(|| frame.get(at..at + ADDRESS_BYTES)?.try_into().ok())?
}

fn plug(number: PortNumber, cable: UnixStream, table: &Arc<Mutex<Table>>) -> io::Result<()> {
    let (sender, frames) = sync_channel(QUEUE_FRAMES);
    let outgoing = cable.try_clone()?;
    table.lock().unwrap_or_else(PoisonError::into_inner).ports.insert(number, sender);
    thread::spawn(move || send(outgoing, &frames));
    let table = Arc::clone(table);
    thread::spawn(move || {
        let mut cable = BufReader::with_capacity(BURST_BYTES, cable);
        while let Ok(frame) = receive(&mut cable) {
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            for to in table.route(number, &frame) {
                // A full queue loses the frame; TCP sends it again.
                table.ports.get(&to).map(|port| port.try_send(Arc::clone(&frame)));
            }
        }
        table.lock().unwrap_or_else(PoisonError::into_inner).unplug(number);
    });
    Ok(())
}

/// Each frame comes after its length, 32 bits big-endian.
fn receive(cable: &mut impl Read) -> io::Result<Arc<[u8]>> {
    let mut length = [0; 4];
    cable.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::other("a frame of impossible length"));
    }
    let mut frame = vec![0; length];
    cable.read_exact(&mut frame)?;
    Ok(frame.into())
}

/// Sends what waits in bursts: most frames are short, and a write costs as much as one of them.
fn send(mut cable: UnixStream, frames: &Receiver<Arc<[u8]>>) {
    let mut burst = Vec::with_capacity(BURST_BYTES + FRAME_BYTES_MAX);
    while let Ok(first) = frames.recv() {
        burst.clear();
        append(&mut burst, &first);
        while burst.len() < BURST_BYTES
            && let Ok(frame) = frames.try_recv()
        {
            append(&mut burst, &frame);
        }
        if cable.write_all(&burst).is_err() {
            // The machine is gone; whoever reads from it notices as well.
            return;
        }
    }
}

fn append(burst: &mut Vec<u8>, frame: &[u8]) {
    if let Ok(length) = u32::try_from(frame.len()) {
        burst.extend_from_slice(&length.to_be_bytes());
        burst.extend_from_slice(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u8 = 0xff;

    fn frame(to: u8, from: u8, word: u8) -> Vec<u8> {
        let mut frame = vec![0; HEADER_BYTES];
        frame[ADDRESS_BYTES - 1] = to;
        frame[2 * ADDRESS_BYTES - 1] = from;
        if to == ALL {
            frame[..ADDRESS_BYTES].fill(ALL);
        }
        frame.push(word);
        frame
    }

    fn write(cable: &mut UnixStream, frame: &[u8]) {
        let length = u32::try_from(frame.len()).expect("short");
        cable.write_all(&length.to_be_bytes()).expect("the switch listens");
        cable.write_all(frame).expect("the switch listens");
    }

    /// What comes up to the frame with this word.
    fn read_up_to(cable: &mut UnixStream, word: u8) -> Vec<Arc<[u8]>> {
        let mut frames = Vec::new();
        while frames.last().and_then(|frame: &Arc<[u8]>| frame.last()) != Some(&word) {
            frames.push(receive(cable).expect("a frame"));
        }
        frames
    }

    #[test]
    fn a_frame_goes_to_its_address_alone_and_a_broadcast_to_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let switch = Switch::start(&folder.path().join("lan")).expect("a switch");
        let plug = || UnixStream::connect(switch.socket()).expect("plugged in");
        let (mut a, mut b, mut c) = (plug(), plug(), plug());
        // Cables are plugged in by turns, so whoever is heard by the first is known to the switch.
        write(&mut b, &frame(ALL, 2, b'b'));
        read_up_to(&mut a, b'b');
        write(&mut c, &frame(ALL, 3, b'c'));
        read_up_to(&mut a, b'c');
        write(&mut a, &frame(3, 1, b'x'));
        assert_eq!(read_up_to(&mut c, b'x').last().map(|f| f.to_vec()), Some(frame(3, 1, b'x')));
        write(&mut c, &frame(ALL, 3, b'z'));
        let heard = read_up_to(&mut b, b'z');
        assert!(heard.iter().all(|frame| frame.last() != Some(&b'x')), "{heard:?}");
    }

    #[test]
    fn addresses_are_learned_and_forgotten_with_their_cable() {
        let mut table = Table::default();
        let mut ends = Vec::new();
        for number in 0..3 {
            let (sender, end) = sync_channel(1);
            table.ports.insert(number, sender);
            ends.push(end);
        }
        let mut to_all = table.route(0, &frame(7, 1, b'x'));
        to_all.sort_unstable();
        assert_eq!(to_all, [1, 2]);
        assert_eq!(table.route(2, &frame(1, 7, b'x')), [0]);
        assert_eq!(table.route(0, &frame(7, 1, b'x')), [2]);
        assert!(table.route(0, &frame(1, 1, b'x')).is_empty(), "not back to where it came from");
        table.unplug(2);
        assert_eq!(table.route(0, &frame(7, 1, b'x')), [1]);
        assert!(table.route(0, b"short").is_empty());
    }
}
