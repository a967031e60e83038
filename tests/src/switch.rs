//! A virtual Ethernet switch: machines plug in with QEMU's `stream` network device over one Unix
//! socket, and the LAN outlives each of them.
//!
//! It learns which address is where, as a real one does. QEMU's own hub shows every frame to
//! everybody, and QEMU's user network answers what was meant for another machine with a reset.
use std::{
    collections::HashMap,
    fmt,
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

/// An Ethernet address.
pub type Address = [u8; ADDRESS_BYTES];
/// What goes into a cable in a frame's place, if anything.
pub type Filter = Box<dyn FnMut(&Arc<[u8]>) -> Option<Arc<[u8]>> + Send>;
type PortNumber = u64;

/// A running switch; it ends with the process.
#[derive(Debug)]
pub struct Switch {
    socket: PathBuf,
    table: Arc<Mutex<Table>>,
}

impl Switch {
    /// Starts one that listens on `socket`, which must not exist.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(socket: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let table = Arc::new(Mutex::new(Table::default()));
        let switch = Self { socket: socket.to_owned(), table: Arc::clone(&table) };
        thread::Builder::new().name("switch".to_owned()).spawn(move || {
            for cable in listener.incoming() {
                let plugged = cable.and_then(|cable| plug(cable, &table, None));
                if let Err(error) = plugged {
                    eprintln!("switch: {error}");
                }
            }
        })?;
        Ok(switch)
    }

    /// Plugs in something that is to hear only what `hears` makes of the frames.
    ///
    /// # Errors
    /// When the cable cannot be read and written by two threads.
    pub fn plug_filtered(&self, cable: UnixStream, hears: Filter) -> io::Result<()> {
        plug(cable, &self.table, Some(hears))
    }

    /// Where machines plug in.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

/// Who is where.
#[derive(Default)]
struct Table {
    ports: HashMap<PortNumber, SyncSender<Arc<[u8]>>>,
    addresses: HashMap<Address, PortNumber>,
    filters: HashMap<PortNumber, Filter>,
    next: PortNumber,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Table {
    /// Ports that a frame from `from` goes to, and what each is to hear; learns where its sender is.
    fn route(&mut self, from: PortNumber, frame: &Arc<[u8]>) -> Vec<(PortNumber, Arc<[u8]>)> {
        let (Some(to), Some(source)) = (address(frame, 0), address(frame, ADDRESS_BYTES)) else {
            return Vec::new();
        };
        self.addresses.insert(source, from);
        let mut ports: Vec<_> = match self.addresses.get(&to) {
            Some(port) => vec![*port],
            // Broadcast, multicast, or not heard of yet.
            None => self.ports.keys().copied().collect(),
        };
        ports.retain(|port| *port != from);
        let heard = |port: PortNumber| {
            let frame = match self.filters.get_mut(&port) {
                Some(hears) => hears(frame)?,
                None => Arc::clone(frame),
            };
            Some((port, frame))
        };
        ports.into_iter().filter_map(heard).collect()
    }

    fn plug(&mut self, port: SyncSender<Arc<[u8]>>, hears: Option<Filter>) -> PortNumber {
        let number = self.next;
        self.next += 1;
        self.ports.insert(number, port);
        self.filters.extend(hears.map(|hears| (number, hears)));
        number
    }

    fn unplug(&mut self, port: PortNumber) {
        self.ports.remove(&port);
        self.filters.remove(&port);
        self.addresses.retain(|_, at| *at != port);
    }
}

fn address(frame: &[u8], at: usize) -> Option<Address> {
    (frame.len() >= HEADER_BYTES).then(|| frame.get(at..at + ADDRESS_BYTES)?.try_into().ok())?
}

fn plug(cable: UnixStream, table: &Arc<Mutex<Table>>, hears: Option<Filter>) -> io::Result<()> {
    let (sender, frames) = sync_channel(QUEUE_FRAMES);
    let outgoing = cable.try_clone()?;
    let number = table.lock().unwrap_or_else(PoisonError::into_inner).plug(sender, hears);
    thread::spawn(move || send(outgoing, &frames));
    let table = Arc::clone(table);
    thread::spawn(move || {
        let mut cable = BufReader::with_capacity(BURST_BYTES, cable);
        while let Ok(frame) = receive(&mut cable) {
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            for (to, heard) in table.route(number, &frame) {
                // A full queue loses the frame; TCP sends it again.
                table.ports.get(&to).map(|port| port.try_send(heard));
            }
        }
        table.lock().unwrap_or_else(PoisonError::into_inner).unplug(number);
    });
    Ok(())
}

/// The next frame. Each comes after its length, 32 bits big-endian.
pub(crate) fn receive(cable: &mut impl Read) -> io::Result<Arc<[u8]>> {
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

/// Puts a frame with its length at the end of `burst`.
pub(crate) fn append(burst: &mut Vec<u8>, frame: &[u8]) {
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

    /// Where a frame goes.
    fn ports(table: &mut Table, from: PortNumber, frame: &[u8]) -> Vec<PortNumber> {
        table.route(from, &frame.into()).into_iter().map(|(port, _)| port).collect()
    }

    #[test]
    fn addresses_are_learned_and_forgotten_with_their_cable() {
        let mut table = Table::default();
        let mut ends = Vec::new();
        for _ in 0..3 {
            let (sender, end) = sync_channel(1);
            table.plug(sender, None);
            ends.push(end);
        }
        let mut to_all = ports(&mut table, 0, &frame(7, 1, b'x'));
        to_all.sort_unstable();
        assert_eq!(to_all, [1, 2]);
        assert_eq!(ports(&mut table, 2, &frame(1, 7, b'x')), [0]);
        assert_eq!(ports(&mut table, 0, &frame(7, 1, b'x')), [2]);
        assert!(
            ports(&mut table, 0, &frame(1, 1, b'x')).is_empty(),
            "not back to where it came from"
        );
        table.unplug(2);
        assert_eq!(ports(&mut table, 0, &frame(7, 1, b'x')), [1]);
        assert!(ports(&mut table, 0, b"short").is_empty());
    }

    #[test]
    fn a_port_with_a_filter_hears_what_the_filter_makes_of_a_frame() {
        let mut table = Table::default();
        let plug = |table: &mut Table, hears| table.plug(sync_channel(1).0, hears);
        let (one, two) = (plug(&mut table, None), plug(&mut table, None));
        let hears: Filter = Box::new(|frame| frame.strip_suffix(b"x").map(Arc::from));
        let filtered = plug(&mut table, Some(hears));
        assert_eq!(ports(&mut table, two, &frame(ALL, 2, b'y')), [one]);
        let mut to_all = ports(&mut table, one, &frame(ALL, 1, b'x'));
        to_all.sort_unstable();
        assert_eq!(to_all, [two, filtered]);
        assert_eq!(ports(&mut table, filtered, &frame(2, 9, b'y')), [two]);
        assert!(ports(&mut table, two, &frame(9, 2, b'y')).is_empty(), "nobody else is to hear it");
        assert_eq!(ports(&mut table, one, &frame(9, 1, b'x')), [filtered]);
    }
}
