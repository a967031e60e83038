//! Test Network Connectivity: one step for each thing that the appliance needs of the network.
use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use super::{
    dns::{self, Answer, Kind},
    ntp,
};
use crate::console::command::{Outcome, StepReport, Target};

/// Time for one answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// The neighbour table is looked at so often until it knows.
const NEIGHBOUR_INTERVAL: Duration = Duration::from_millis(100);
const NTP_PORT: u16 = 123;
/// What a name server is asked for where the endpoint has no name but an address.
const ANY_NAME: &str = "amazonaws.com";
/// S3 refuses requests whose time is further off (RequestTimeTooSkewed).
const SKEW_SECONDS_MAX: u64 = 15 * 60;
/// Discard (RFC 863): a datagram that makes the kernel look for the router.
const DISCARD_PORT: u16 = 9;

/// Tests every target; answers how many failed.
pub(super) fn run(targets: &[Target], report: &dyn Fn(StepReport)) -> usize {
    let mut failed = 0;
    for target in targets {
        let step = match test(target) {
            Ok(found) => StepReport {
                title: format!("{}: {found}", title(target)),
                outcome: Outcome::Passed,
                advice: String::new(),
            },
            Err((why, advice)) => {
                failed += 1;
                let title = format!("{}: {why}", title(target));
                StepReport { title, outcome: Outcome::Failed, advice: advice.to_owned() }
            }
        };
        report(step);
    }
    failed
}

fn title(target: &Target) -> String {
    match target {
        Target::NameServer { server, name: Some(name) } => format!("DNS server {server}, {name}"),
        Target::NameServer { server, name: None } => format!("DNS server {server}"),
        Target::Router { adapter, address } => format!("Default gateway {address} on {adapter}"),
        Target::TimeServer(server) => format!("NTP server {server}"),
        Target::Port { what, host, port } => format!("{what} {host} port {port}"),
    }
}

/// What was found, or what failed and what to do.
fn test(target: &Target) -> Result<String, (String, &'static str)> {
    match target {
        Target::NameServer { server, name } => name_server(*server, name.as_deref()),
        Target::Router { adapter, address } => router(adapter, *address),
        Target::TimeServer(server) => time_server(server),
        Target::Port { host, port, .. } => connect(host, *port)
            .map(|address| format!("answers at {address}"))
            .map_err(|error| (error.to_string(), port_advice(&error))),
    }
}

/// Without a name that it has to know, any answer will do.
fn name_server(server: IpAddr, name: Option<&str>) -> Result<String, (String, &'static str)> {
    let asked = name.unwrap_or(ANY_NAME);
    let answer = dns::ask(server, asked, Kind::A, ANSWER_TIME).map_err(|error| {
        let advice = "Check the server's address (Edit DNS Configuration) and that UDP port 53 is \
                      open to it.";
        (plain(&error), advice)
    })?;
    match answer {
        Answer::Addresses(addresses) => Ok(format!("{} addresses", addresses.len())),
        Answer::NoAddress => Ok("answers, without an IPv4 address".to_owned()),
        Answer::NoSuchName if name.is_none() => Ok("answers".to_owned()),
        Answer::NoSuchName => Err((
            "it knows no such name".to_owned(),
            "Check the S3 endpoint's name, or ask for a DNS server that knows it.",
        )),
        Answer::Failed(code) => Err((
            format!("it refuses (RCODE {code})"),
            "Ask whoever runs the DNS server whether this appliance may use it.",
        )),
    }
}

fn time_server(server: &str) -> Result<String, (String, &'static str)> {
    let advice =
        "Check the server's name (Edit NTP Configuration) and that UDP port 123 is open to it.";
    let address = resolve(server, NTP_PORT).map_err(|error| (plain(&error), advice))?;
    let ahead = ntp::ask(address, ANSWER_TIME).map_err(|error| (plain(&error), advice))?;
    if ahead.unsigned_abs() > SKEW_SECONDS_MAX {
        let why = format!("the clock here is {} s off", ahead.unsigned_abs());
        return Err((why, "Set it: System Time Management, Synchronize System Time."));
    }
    Ok(format!("answers; the clock here is {} s off", ahead.unsigned_abs()))
}

/// Without raw sockets there is no ping: the neighbour table tells whether the router answers.
fn router(adapter: &str, address: IpAddr) -> Result<String, (String, &'static str)> {
    let advice =
        "Check cable or port group and VLAN, and the gateway's address (Describe Adapter).";
    let IpAddr::V4(v4) = address else {
        return router_v6(address).map_err(|error| (plain(&error), advice));
    };
    // A router that refuses the datagram is one that answers.
    let poke = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.send_to(&[0], (address, DISCARD_PORT)));
    poke.map_err(|error| (plain(&error), advice))?;
    let end = Instant::now() + ANSWER_TIME;
    loop {
        let table = fs::read_to_string("/proc/net/arp").unwrap_or_default();
        if let Some(hardware) = neighbour(&table, adapter, v4) {
            return Ok(format!("answers as {hardware}"));
        }
        if Instant::now() >= end {
            return Err(("it does not answer".to_owned(), advice));
        }
        thread::sleep(NEIGHBOUR_INTERVAL);
    }
}

/// A TCP connection that is refused was answered all the same.
fn router_v6(address: IpAddr) -> io::Result<String> {
    let target = SocketAddr::from((address, DISCARD_PORT));
    match TcpStream::connect_timeout(&target, ANSWER_TIME) {
        Ok(_) => Ok("answers".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok("answers".to_owned()),
        Err(error) => Err(error),
    }
}

/// The hardware address of a neighbour in `/proc/net/arp`, once it is known (ATF_COM).
fn neighbour(table: &str, adapter: &str, address: Ipv4Addr) -> Option<String> {
    const COMPLETE: u32 = 2;
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [ip, _, flags, hardware, _, device] = fields.as_slice() else { return None };
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
        (ip.parse() == Ok(address) && *device == adapter && flags & COMPLETE != 0)
            .then(|| (*hardware).to_owned())
    })
}

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let mut addresses = (host, port).to_socket_addrs()?;
    addresses
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}

/// Connects to the first of a host's addresses that takes it.
pub(super) fn connect(host: &str, port: u16) -> io::Result<IpAddr> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()?.take(4) {
        match TcpStream::connect_timeout(&address, ANSWER_TIME) {
            Ok(_) => return Ok(address.ip()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn port_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "Nothing listens there: check host and port.",
        io::ErrorKind::TimedOut => "Something on the way drops it: open this port in the firewall.",
        io::ErrorKind::NetworkUnreachable => {
            "There is no way there: set a default gateway (Configure Static IP), or a route."
        }
        _ => "Check the name, the DNS servers and the default gateway.",
    }
}

/// A read that timed out says `EAGAIN` in its own words.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_neighbour_counts_once_its_hardware_address_is_known() {
        let table = "\
IP address       HW type     Flags       HW address            Mask     Device
10.0.2.2         0x1         0x2         52:55:0a:00:02:02     *        eth0
10.0.2.3         0x1         0x0         00:00:00:00:00:00     *        eth0
";
        let hardware = Some("52:55:0a:00:02:02".to_owned());
        assert_eq!(neighbour(table, "eth0", Ipv4Addr::new(10, 0, 2, 2)), hardware);
        assert_eq!(neighbour(table, "eth1", Ipv4Addr::new(10, 0, 2, 2)), None);
        assert_eq!(neighbour(table, "eth0", Ipv4Addr::new(10, 0, 2, 3)), None);
        assert_eq!(neighbour("", "eth0", Ipv4Addr::LOCALHOST), None);
    }

    #[test]
    fn each_target_is_one_step_and_failures_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap().port();
        let closed = {
            let gone = TcpListener::bind("127.0.0.1:0").unwrap();
            gone.local_addr().unwrap().port()
        };
        let target =
            |port| Target::Port { what: "S3 endpoint", host: "127.0.0.1".to_owned(), port };
        let steps = std::cell::RefCell::new(Vec::new());
        let failed = run(&[target(open), target(closed)], &|step| steps.borrow_mut().push(step));
        let steps = steps.into_inner();
        assert_eq!((failed, steps.len()), (1, 2));
        assert_eq!(steps[0].outcome, Outcome::Passed);
        assert!(steps[0].title.contains("answers at 127.0.0.1"), "{steps:?}");
        assert_eq!(steps[1].outcome, Outcome::Failed);
        assert!(steps[1].advice.contains("Nothing listens"), "{steps:?}");
    }
}
