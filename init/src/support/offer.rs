//! Hands a support bundle over by HTTP: once, to whoever knows a random word, for ten minutes at most.
//!
//! A process of its own, because strangers' bytes arrive here: it gets the bundle on its standard input,
//! listens, and gives up everything but these descriptors. What it prints are words for the console:
//! the port, and whom the bundle went to. Its end is the offer's end.
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::unistd::alarm;

use super::BYTES_MAX;
use crate::{confine, service};

/// The offer ends after so long.
pub(crate) const OFFER_SECONDS: u32 = 600;
/// The first of these ports that is free.
const PORTS: std::ops::Range<u16> = 8010..8020;
/// 128 bits that nobody guesses, in hex.
const WORD_BYTES: usize = 16;
/// Connections at once; further ones are hung up on.
const CONNECTIONS_MAX: usize = 8;
/// Longest head of a request, and time for it.
const HEAD_BYTES_MAX: usize = 4 << 10;
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Longest time in which a download does not move.
const STALL_TIME: Duration = Duration::from_secs(60);
/// Longest line that the process prints.
const LINE_BYTES_MAX: u64 = 256;

/// Serves the bundle on standard input as `name`, until somebody has it.
///
/// # Errors
/// No port is free, or it cannot give up its rights.
pub(crate) fn serve(name: &str) -> Result<()> {
    alarm::set(OFFER_SECONDS);
    let mut input = BufReader::new(io::stdin().lock());
    let mut word = String::new();
    (&mut input).take(LINE_BYTES_MAX).read_line(&mut word)?;
    let mut bundle = Vec::new();
    // Compressing what cannot be compressed makes it a little larger.
    input.take(BYTES_MAX as u64 + (1 << 20)).read_to_end(&mut bundle)?;
    let listener = listen()?;
    println!("port {}", listener.local_addr()?.port());
    confine::keep_descriptors_only()?;
    let to = hand_over(listener, Arc::new(Offered::new(name, word.trim(), bundle)))?;
    println!("sent to {to}");
    Ok(())
}

fn listen() -> Result<TcpListener> {
    for port in PORTS {
        let listening = TcpListener::bind(("::", port))
            .or_else(|_no_ipv6| TcpListener::bind(("0.0.0.0", port)));
        if let Ok(listener) = listening {
            return Ok(listener);
        }
    }
    bail!("none of the ports {} to {} is free", PORTS.start, PORTS.end - 1)
}

/// What is offered.
#[derive(Debug)]
struct Offered {
    name: String,
    word: String,
    bundle: Vec<u8>,
    /// Whether somebody is being sent it.
    taken: AtomicBool,
}

impl Offered {
    fn new(name: &str, word: &str, bundle: Vec<u8>) -> Self {
        let (name, word) = (name.to_owned(), word.to_owned());
        Self { name, word, bundle, taken: AtomicBool::new(false) }
    }

    /// The head of the answer to a request's, and whether the bundle follows.
    fn answer(&self, head: &str) -> (String, bool) {
        let mut words = head.lines().next().unwrap_or_default().split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let is_http = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
        let refuse = |status: &str| {
            (format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), false)
        };
        if !is_http {
            return refuse("400 Bad Request");
        }
        if !is_same(path.strip_prefix('/').unwrap_or_default(), &self.word) {
            return refuse("404 Not Found");
        }
        if !matches!(method, "GET" | "HEAD") {
            return refuse("405 Method Not Allowed");
        }
        let found = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\
             Content-Disposition: attachment; filename=\"{}\"\r\nCache-Control: no-store\r\n\
             Connection: close\r\n\r\n",
            self.bundle.len(),
            self.name
        );
        if method == "HEAD" {
            return (found, false);
        }
        // One at a time: whoever breaks off leaves it to the next.
        if self.taken.swap(true, Ordering::AcqRel) {
            return refuse("409 Conflict");
        }
        (found, true)
    }
}

/// Compares in a time that does not depend on where they differ.
fn is_same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// Answers until the bundle has been sent as a whole; to whom.
fn hand_over(listener: TcpListener, offered: Arc<Offered>) -> io::Result<SocketAddr> {
    let (done, sent) = sync_channel(1);
    thread::Builder::new().name("accept".to_owned()).spawn(move || {
        let connections = Arc::new(AtomicUsize::new(0));
        for stream in listener.incoming().flatten() {
            if connections.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS_MAX {
                connections.fetch_sub(1, Ordering::AcqRel);
                continue;
            }
            let (offered, done) = (Arc::clone(&offered), done.clone());
            let leaves = Arc::clone(&connections);
            let began = thread::Builder::new().name("send".to_owned()).spawn(move || {
                attend(&stream, &offered, &done);
                leaves.fetch_sub(1, Ordering::AcqRel);
            });
            if began.is_err() {
                connections.fetch_sub(1, Ordering::AcqRel);
            }
        }
    })?;
    sent.recv().map_err(io::Error::other)
}

/// One connection. What breaks off is the peer's affair.
fn attend(stream: &TcpStream, offered: &Offered, done: &SyncSender<SocketAddr>) {
    let Ok(head) = request_head(stream) else { return };
    let (answer, follows) = offered.answer(&head);
    match send(stream, answer.as_bytes(), follows.then_some(offered.bundle.as_slice())) {
        Ok(peer) if follows => {
            // A second one that was sent as a whole meanwhile is none: one is taken at a time.
            let _first = done.try_send(peer);
        }
        Ok(_) => {}
        Err(_) if follows => offered.taken.store(false, Ordering::Release),
        Err(_) => {}
    }
}

/// Reads up to the empty line that ends a request's head.
fn request_head(mut stream: &TcpStream) -> io::Result<String> {
    let end = Instant::now() + HEAD_TIME;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || head.len() >= HEAD_BYTES_MAX {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&buffer[..read]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Sends an answer, and waits until the other side has read it: whoever ends at once takes the rest with
/// it.
fn send(mut stream: &TcpStream, head: &[u8], body: Option<&[u8]>) -> io::Result<SocketAddr> {
    stream.set_write_timeout(Some(STALL_TIME))?;
    stream.set_read_timeout(Some(STALL_TIME))?;
    let peer = stream.peer_addr()?;
    stream.write_all(head)?;
    if let Some(body) = body {
        stream.write_all(body)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut rest = [0; 512];
    while stream.read(&mut rest)? > 0 {}
    Ok(peer)
}

/// The console's side of an offer.
#[derive(Debug)]
pub(crate) struct Offer {
    process: Child,
    said: BufReader<io::Take<ChildStdout>>,
    word: String,
    port: u16,
}

impl Offer {
    /// Begins to offer a bundle under this file name.
    ///
    /// # Errors
    /// Words for the console.
    pub(crate) fn begin(name: &str, bundle: &[u8]) -> Result<Self> {
        Self::begin_with(Command::new(service::INIT).args(["serve-bundle", name]), bundle)
    }

    fn begin_with(command: &mut Command, bundle: &[u8]) -> Result<Self> {
        let mut number = [0; WORD_BYTES];
        getrandom::fill(&mut number).map_err(|error| anyhow::anyhow!("no random word: {error}"))?;
        let word: String = number.iter().map(|byte| format!("{byte:02x}")).collect();
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().context("the process that serves it")?;
        let pipes = (process.stdin.take(), process.stdout.take());
        let (Some(input), Some(output)) = pipes else { bail!("no pipe to the process") };
        // The pipe is read to its end before anything is said.
        let said = BufReader::new(output.take(LINE_BYTES_MAX * 2));
        let mut offer = Self { process, said, word, port: 0 };
        offer.feed(input, bundle).context("handing it the bundle")?;
        let line = offer.line()?;
        let port = line.strip_prefix("port ").and_then(|port| port.parse().ok());
        offer.port = port.context("it serves nothing: no port is free, or its rights stay")?;
        Ok(offer)
    }

    fn feed(&self, mut input: ChildStdin, bundle: &[u8]) -> io::Result<()> {
        writeln!(input, "{}", self.word)?;
        input.write_all(bundle)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Where it is to be had, at this machine's address.
    pub(crate) fn url(&self, host: IpAddr) -> String {
        format!("http://{}/{}", SocketAddr::new(host, self.port), self.word)
    }

    /// Waits until somebody has it; to whom it went. `None` if nobody fetched it in time.
    ///
    /// # Errors
    /// The process is lost.
    pub(crate) fn wait(mut self) -> io::Result<Option<String>> {
        let line = self.line()?;
        self.process.wait()?;
        Ok(line.strip_prefix("sent to ").map(str::to_owned))
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is reaped.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn ask(port: u16, request: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    }

    fn serving(bundle: &[u8]) -> (u16, thread::JoinHandle<SocketAddr>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let offered = Arc::new(Offered::new("a.tar.gz", "word", bundle.to_vec()));
        (port, thread::spawn(move || hand_over(listener, offered).unwrap()))
    }

    #[test]
    fn whoever_knows_the_word_gets_it_once() {
        let (port, ends) = serving(b"the bundle");
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("GET /wore HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("GET /word/ HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("POST /word HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
            ("word\r\n\r\n", "400 Bad Request"),
        ] {
            let answer = ask(port, request);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}: {answer}");
            assert!(!answer.contains("the bundle"), "{request}: {answer}");
        }
        let head = ask(port, "HEAD /word HTTP/1.1\r\n\r\n");
        assert!(head.contains("Content-Length: 10\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(!ends.is_finished());
        let answer = ask(port, "GET /word HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(answer.contains("filename=\"a.tar.gz\"") && answer.ends_with("\r\n\r\nthe bundle"));
        let to = ends.join().unwrap();
        assert!(to.ip().is_loopback());
    }

    #[test]
    fn a_download_that_breaks_off_leaves_it_to_the_next() {
        // Far more than sockets buffer.
        let bundle = vec![b'x'; 16 << 20];
        let (port, ends) = serving(&bundle);
        let mut first = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        first.write_all(b"GET /word HTTP/1.1\r\n\r\n").unwrap();
        first.read_exact(&mut [0; 1000]).unwrap();
        assert!(ask(port, "GET /word HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 409 Conflict"));
        drop(first);
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = ask(port, "GET /word HTTP/1.1\r\n\r\n");
            if answer.starts_with("HTTP/1.1 200") {
                assert!(answer.len() > bundle.len());
                break;
            }
            assert!(Instant::now() < end, "it stays taken");
        }
        ends.join().unwrap();
    }

    #[test]
    fn words_are_compared_as_a_whole() {
        for (a, b, same) in
            [("", "", true), ("a", "a", true), ("a", "b", false), ("a", "ab", false)]
        {
            assert_eq!(is_same(a, b), same, "{a} {b}");
        }
    }

    #[test]
    fn a_process_that_says_nothing_is_no_offer() {
        let mut command = Command::new("/bin/sh");
        let refused = Offer::begin_with(command.args(["-c", "cat > /dev/null"]), b"x").unwrap_err();
        assert!(format!("{refused:#}").contains("serves nothing"), "{refused:#}");
        let mut command = Command::new("/bin/sh");
        let script = "cat > /dev/null; echo port 8010; echo sent to 192.0.2.7:4711";
        let offer = Offer::begin_with(command.args(["-c", script]), b"x").unwrap();
        let url = offer.url("2001:db8::5".parse().unwrap());
        assert!(url.starts_with("http://[2001:db8::5]:8010/"), "{url}");
        assert_eq!(url.len(), "http://[2001:db8::5]:8010/".len() + 32);
        assert_eq!(offer.wait().unwrap(), Some("192.0.2.7:4711".to_owned()));
    }
}
