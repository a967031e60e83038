//! A lab in namespaces: this process is the LAN, the service has a network namespace of its own, and
//! adapters are put into it while it runs.
use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::Path,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// Set in the process that runs inside.
const INSIDE: &str = "TIDEGATE_NETWORK_TEST";
const STATE: &str = "/run/tidegate/network.json";
const PLAN: &str = "/run/tidegate/network-plan.json";
/// A machine that builds something else at the same time is slow.
const LIMIT: Duration = Duration::from_secs(90);
/// capabilities(7), `linux/capability.h`.
const CAP_NET_RAW: libc::c_ulong = 13;
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Runs `test`, whose full name is `name`, in namespaces of its own.
pub(crate) fn in_namespaces(name: &str, test: impl FnOnce(Lab)) {
    if std::env::var_os(INSIDE).is_some() {
        return test(Lab::begin());
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "--mount"]);
        command
    };
    let allowed = unshare().arg("true").output().unwrap();
    if !allowed.status.success() {
        let why = String::from_utf8_lossy(&allowed.stderr).into_owned();
        eprintln!("skipped: user and network namespaces are not allowed here: {why}");
        return;
    }
    let this = std::env::current_exe().unwrap();
    let mut again = unshare();
    again.arg(this).args(["--exact", name, "--nocapture", "--test-threads", "1"]);
    let output = again.env(INSIDE, "1").output().unwrap();
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{}", text.concat());
    assert!(text[0].contains("1 passed"), "the test is not called {name}: {}", text.concat());
}

/// The LAN and the service.
pub(crate) struct Lab {
    service: Child,
    namespace: File,
}

impl Drop for Lab {
    fn drop(&mut self) {
        // It is gone already where a test has ended it.
        let _gone = self.service.kill();
        self.service.wait().unwrap();
    }
}

impl Lab {
    fn begin() -> Self {
        run("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
        for folder in ["/run/tidegate", "/run/etc"] {
            fs::create_dir(folder).unwrap();
        }
        run("ip", &["link", "set", "lo", "up"]);
        // Nothing to do before a test says what: no adapter is there.
        let service = start(None, None);
        let namespace = File::open(format!("/proc/{}/ns/net", service.id())).unwrap();
        Self { service, namespace }
    }

    /// Ends the service as if it had crashed, and starts it anew on the same links. What it had shown
    /// is gone.
    pub(crate) fn restart_service(&mut self) {
        self.service.kill().unwrap();
        self.service.wait().unwrap();
        fs::remove_file(STATE).unwrap();
        self.service = start(Some(&self.namespace), None);
    }

    /// Ends the service, and starts one that may not open raw sockets: it begins again and again.
    pub(crate) fn restart_in_vain(&mut self) {
        self.service.kill().unwrap();
        self.service.wait().unwrap();
        self.service = start(Some(&self.namespace), Some(CAP_NET_RAW));
    }

    /// Tells the service that the machine is switched off, and waits for its end.
    pub(crate) fn switch_off(&mut self) {
        run("kill", &["-USR1", &self.service.id().to_string()]);
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.service.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < LIMIT, "the service does not end");
            thread::sleep(LOOK_PAUSE);
        };
        assert!(status.success(), "{status}");
    }

    /// Adds `ethN`, whose other end is `lanN` with the address `lan` here.
    pub(crate) fn add_adapter(&self, n: u8, lan: &str) {
        let (eth, other) = (format!("eth{n}"), format!("lan{n}"));
        let mac = format!("02:00:00:00:00:0{n}");
        run("ip", &["link", "add", &other, "type", "veth", "peer", "name", &eth, "address", &mac]);
        run("ip", &["addr", "add", lan, "dev", &other]);
        run("ip", &["link", "set", &other, "up"]);
        run("ip", &["link", "set", &eth, "netns", &self.service.id().to_string()]);
    }

    /// Connects or disconnects `ethN`.
    pub(crate) fn connect(&self, n: u8, connected: bool) {
        let state = if connected { "up" } else { "down" };
        run("ip", &["link", "set", &format!("lan{n}"), state]);
    }

    /// Sets the network up, as PID 1 does.
    pub(crate) fn set(&self, network: &Value) {
        self.plan(network, false);
    }

    /// The same, on trial: nobody has confirmed it yet.
    pub(crate) fn try_out(&self, network: &Value) {
        self.plan(network, true);
    }

    fn plan(&self, network: &Value, on_trial: bool) {
        self.state_with("a first look", |_| true);
        let fresh = format!("{PLAN}.new");
        let plan = json!({ "network": network, "on_trial": on_trial });
        fs::write(&fresh, plan.to_string()).unwrap();
        fs::rename(fresh, PLAN).unwrap();
        run("kill", &["-HUP", &self.service.id().to_string()]);
    }

    /// What the service shows, once it is as it is waited for.
    pub(crate) fn state_with(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        self.wait_for(what, || {
            let state = fs::read(STATE).ok().and_then(|json| serde_json::from_slice(&json).ok());
            state.filter(&is)
        })
    }

    /// The adapter as the service shows it, once it is as it is waited for.
    pub(crate) fn adapter_with(
        &self,
        name: &str,
        what: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Value {
        let state = self.state_with(what, |state| adapter(state, name).is_some_and(&is));
        adapter(&state, name).unwrap().clone()
    }

    /// Waits until a question has an answer.
    pub(crate) fn wait_for<T>(&self, what: &str, ask: impl Fn() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            if begun.elapsed() > LIMIT {
                let state = fs::read_to_string(STATE).unwrap_or_default();
                let links = self.inside("ip", &["addr"]) + &self.inside("ip", &["route"]);
                panic!("waited too long for: {what}\n{state}\n{links}");
            }
            thread::sleep(LOOK_PAUSE);
        }
    }

    /// What a program prints in the service's network.
    pub(crate) fn inside(&self, program: &str, arguments: &[&str]) -> String {
        let namespace =
            format!("--net=/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd());
        let output =
            Command::new("nsenter").arg(namespace).arg(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// One of an adapter's IPv6 switches.
    pub(crate) fn ipv6_switch(&self, adapter: &str, switch: &str) -> String {
        let file = format!("/proc/sys/net/ipv6/conf/{adapter}/{switch}");
        self.inside("cat", &[&file]).trim().to_owned()
    }

    /// Waits until somebody answers at an address: a link that has just come up loses the first packets.
    pub(crate) fn wait_for_answer(&self, ip: &str) {
        self.wait_for(&format!("an answer at {ip}"), || self.answers(ip).then_some(()));
    }

    /// Whether somebody answers at an address: nobody listens there, and that is said at once.
    pub(crate) fn answers(&self, ip: &str) -> bool {
        let ip: Ipv4Addr = ip.parse().unwrap();
        let to = SocketAddrV4::new(ip, 9).into();
        match TcpStream::connect_timeout(&to, Duration::from_secs(1)) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        }
    }

    /// Whether the kernel has VLANs.
    pub(crate) fn has_vlans(&self) -> bool {
        let link = ["link", "add", "link", "lan0", "name", "probe", "type", "vlan", "id", "9"];
        let made = Command::new("ip").args(link).output().unwrap().status.success();
        if made {
            run("ip", &["link", "del", "probe"]);
        }
        made
    }
}

/// Starts the service in a network namespace, a new one or one that is there; perhaps without a capability.
fn start(namespace: Option<&File>, without: Option<libc::c_ulong>) -> Child {
    let namespace = namespace.map(AsRawFd::as_raw_fd);
    let mut command = Command::new(env!("CARGO_BIN_EXE_init"));
    command.arg("network");
    // SAFETY: between fork and exec the closure makes system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            let done = match namespace {
                None => libc::unshare(libc::CLONE_NEWNET),
                Some(fd) => libc::setns(fd, libc::CLONE_NEWNET),
            };
            let dropped = without.map_or(0, |capability| {
                // Root has what is in its bounding set (capabilities(7)).
                libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0)
            });
            if done == 0 && dropped == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        });
    }
    command.spawn().unwrap()
}

/// An adapter of the state.
pub(crate) fn adapter<'a>(state: &'a Value, name: &str) -> Option<&'a Value> {
    state["adapters"].as_array()?.iter().find(|adapter| adapter["name"] == name)
}

/// Whether an adapter's problem has these words; no words for none.
pub(crate) fn says(adapter: &Value, words: &str) -> bool {
    match adapter["problem"].as_str() {
        Some(problem) => !words.is_empty() && problem.contains(words),
        None => words.is_empty(),
    }
}

/// The name servers' file.
pub(crate) fn resolv_conf() -> String {
    fs::read_to_string(Path::new("/run/etc/resolv.conf")).unwrap()
}

/// Runs a program on the LAN's side.
pub(crate) fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}
