//! The services of the appliance, as data, and becoming one of them with no more rights than it needs.
use std::{
    ffi::CString,
    fs::OpenOptions,
    io,
    net::{TcpListener, UdpSocket},
    os::{
        fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd},
        unix::{fs::OpenOptionsExt, process::CommandExt},
    },
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::signal::{SigSet, Signal},
    unistd::{Group, User, setsid, write},
};

use crate::{
    cgroup, confine,
    disks::{Mounted, Report},
    journald, seed,
    shutdown::Ending,
    time,
};

/// This program, in the root file system.
pub(crate) const INIT: &str = "/usr/sbin/init";
/// The gateway.
pub(crate) const GATEWAY: &str = "/usr/bin/gateway";
/// Where the gateway keeps its settings and keys.
pub(crate) const GATEWAY_STATE: &str = "/config/gateway";
/// Longest silence of the gateway.
const GATEWAY_WATCHDOG: Duration = Duration::from_secs(60);
/// VMware's tools.
const VM_TOOLS: &str = "/usr/bin/vmtoolsd";
/// First descriptor that is handed over (sd_listen_fds(3)).
const FIRST_FD: RawFd = 3;
/// The gateway's part of the seed. In tests it is one that is there: whoever looks for it finds it.
const GATEWAY_SEED: &str = if cfg!(test) { "/dev/null" } else { seed::GATEWAY_SEED };
/// Ports of NFS and the portmapper.
const NFS_PORT: u16 = 2049;
const PORTMAP_PORT: u16 = 111;

/// A service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    Journald,
    Network,
    Chrony,
    Gateway,
    Screen,
    Serial,
    /// VMware's tools, where the hypervisor is VMware's.
    VmTools,
}

impl Service {
    /// All, in the order in which they are started; they are stopped in the opposite order.
    pub(crate) const ALL: [Self; 7] = [
        Self::Journald,
        Self::Network,
        Self::Chrony,
        Self::Gateway,
        Self::VmTools,
        Self::Screen,
        Self::Serial,
    ];

    /// What it is called in logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Journald => "journald",
            Self::Network => "network",
            Self::Chrony => "chrony",
            Self::Gateway => "gateway",
            Self::Screen => "console on tty1",
            Self::Serial => "console on ttyS0",
            Self::VmTools => "VMware tools",
        }
    }

    /// The terminal of a console.
    pub(crate) fn tty(self) -> Option<&'static str> {
        match self {
            Self::Screen => Some("tty1"),
            Self::Serial => Some("ttyS0"),
            Self::Journald | Self::Network | Self::Chrony | Self::Gateway | Self::VmTools => None,
        }
    }

    /// Whether it says READY=1.
    pub(crate) fn notifies(self) -> bool {
        matches!(self, Self::Journald | Self::Gateway)
    }

    /// By what it is told to end with the machine. A machine that is switched off needs its leases no more;
    /// after a reboot it is to have the same addresses, by which clients have mounted its shares.
    pub(crate) fn stop_signal(self, ending: Ending) -> Signal {
        match (self, ending) {
            (Self::Network, Ending::PowerOff) => Signal::SIGUSR1,
            _ => Signal::SIGTERM,
        }
    }

    /// Longest silence, for services with a watchdog.
    pub(crate) fn watchdog(self) -> Option<Duration> {
        (self == Self::Gateway).then_some(GATEWAY_WATCHDOG)
    }

    /// What the kernel's memory killer thinks of it (`oom_score_adj`): larger goes first. Services that
    /// are confined say it themselves, too.
    pub(crate) fn oom_score_adj(self) -> i16 {
        match self {
            // Without it nobody reaches the machine, and its address is given to another one.
            Self::Network => -900,
            Self::Journald => -500,
            Self::Chrony => -100,
            Self::Screen | Self::Serial => confine::CONSOLE.oom_score_adj,
            Self::VmTools => confine::VM_TOOLS.oom_score_adj,
            Self::Gateway => confine::GATEWAY.oom_score_adj,
        }
    }

    /// Where it says what it has to say, if it does.
    pub(crate) fn notify_socket(self) -> Option<&'static str> {
        match self {
            Self::Journald => Some("/run/tidegate/notify-journald"),
            Self::Gateway => Some("/run/tidegate/notify-gateway"),
            Self::Network | Self::Chrony | Self::Screen | Self::Serial | Self::VmTools => None,
        }
    }

    /// How it is started; the gateway with these cache disks besides the primary one.
    pub(crate) fn command(self, further: &[Mounted]) -> Command {
        let mut command = match self {
            Self::Journald => Command::new(journald::PROGRAM),
            Self::Network => with_arguments(INIT, &["network"]),
            Self::Chrony => with_arguments("/usr/sbin/chronyd", &["-n", "-f", time::CHRONY_CONF]),
            Self::Gateway => {
                let mut command =
                    with_arguments(INIT, &["exec-gateway", "serve", "--state", GATEWAY_STATE]);
                command.args(Report::gateway_arguments(further));
                command.args(["--admin", gateway_api::admin::ADMIN_SOCKET]);
                command
            }
            Self::Screen => with_arguments(INIT, &["exec-console", "tty1"]),
            Self::Serial => with_arguments(INIT, &["exec-console", "ttyS0"]),
            Self::VmTools => with_arguments(INIT, &["exec-vmtools"]),
        };
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin").stdin(std::process::Stdio::null());
        unblock_signals(&mut command);
        if let Some(socket) = self.notify_socket() {
            command.env("NOTIFY_SOCKET", socket);
        }
        if let Some(limit) = self.watchdog() {
            command.env("WATCHDOG_USEC", limit.as_micros().to_string());
        }
        if self.tty().is_none() {
            // What they have to say beside their log would go over the menu.
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        }
        command
    }
}

/// PID 1 takes its signals through a descriptor and blocks them otherwise, and is spared by the kernel's
/// memory killer. Its children must inherit neither: none would hear SIGTERM, nor end when it eats all
/// memory.
pub(crate) fn unblock_signals(command: &mut Command) {
    // SAFETY: between fork and exec the closure makes async-signal-safe calls (pthread_sigmask, open,
    // write, close) and allocates nothing.
    unsafe {
        command.pre_exec(|| {
            SigSet::empty().thread_set_mask().map_err(io::Error::from)?;
            let fd =
                libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            // Where /proc is not mounted, nothing was set either.
            if fd >= 0 {
                write(OwnedFd::from_raw_fd(fd), b"0")?;
            }
            Ok(())
        });
    }
}

fn with_arguments(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// uid and gid of a user of the image.
pub(crate) fn user(name: &str) -> Result<(u32, u32)> {
    let user = User::from_name(name)?.with_context(|| format!("the image has no user {name}"))?;
    Ok((user.uid.as_raw(), user.gid.as_raw()))
}

/// gid of a group of the image.
pub(crate) fn group(name: &str) -> Result<u32> {
    let group =
        Group::from_name(name)?.with_context(|| format!("the image has no group {name}"))?;
    Ok(group.gid.as_raw())
}

/// Becomes the gateway: binds its ports while that is allowed, hands them over, and runs it as its
/// own user. Returns only on failure.
pub(crate) fn exec_gateway(arguments: &[&str]) -> Result<()> {
    let arguments = with_seed(arguments, GATEWAY_SEED);
    let nfs = listen(NFS_PORT)?;
    let portmap = listen(PORTMAP_PORT)?;
    let udp = UdpSocket::bind(("::", PORTMAP_PORT))
        .or_else(|_no_ipv6| UdpSocket::bind(("0.0.0.0", PORTMAP_PORT)))
        .context("UDP port 111")?;
    hand_over([nfs.into(), portmap.into(), udp.into()])?;
    cgroup::join_gateway().context("the gateway's memory group")?;
    confine::GATEWAY.enter().context("confining the gateway")?;
    let error = Command::new(GATEWAY)
        .args(arguments)
        .env("LISTEN_PID", std::process::id().to_string())
        .env("LISTEN_FDS", "3")
        .env("LISTEN_FDNAMES", "nfs:portmap:portmap-udp")
        .env("WATCHDOG_PID", std::process::id().to_string())
        .exec();
    Err(error).context(GATEWAY)
}

/// The gateway's arguments with those that name its part of the seed, if there is one. It is looked for by the process
/// that becomes the gateway: on a disk that stands still PID 1 would wait for ever.
fn with_seed<'a>(arguments: &[&'a str], seed: &'a str) -> Vec<&'a str> {
    let mut arguments = arguments.to_vec();
    if Path::new(seed).exists() {
        arguments.extend(["--settings", seed]);
    }
    arguments
}

fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind(("::", port))
        .or_else(|_no_ipv6| TcpListener::bind(("0.0.0.0", port)))
        .with_context(|| format!("TCP port {port}"))
}

/// Puts the sockets at descriptors 3, 4, 5 …, open in the program that comes next.
fn hand_over<const N: usize>(sockets: [OwnedFd; N]) -> Result<()> {
    // Out of the way first, so that none is overwritten before it was moved.
    let mut aside = Vec::new();
    for socket in sockets {
        aside.push(fcntl(&socket, FcntlArg::F_DUPFD_CLOEXEC(FIRST_FD + 16))?);
    }
    for (target, from) in (FIRST_FD..).zip(aside) {
        // SAFETY: dup2 closes `target`, which nothing in this process owns any more: the sockets that
        // may have had these numbers were dropped above, and this process has opened nothing else.
        let done = unsafe { libc::dup2(from, target) };
        if done < 0 {
            return Err(io::Error::last_os_error()).context("handing over sockets");
        }
    }
    Ok(())
}

/// Becomes the console on a terminal, as the user `console`. Returns only on failure.
pub(crate) fn exec_console(tty: &str) -> Result<()> {
    setsid().context("a session of its own")?;
    let path = format!("/dev/{tty}");
    let terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(&path)
        .with_context(|| path.clone())?;
    let terminal = terminal.into_raw_fd();
    // SAFETY: TIOCSCTTY takes a number; `terminal` is an open terminal.
    if unsafe { libc::ioctl(terminal, libc::TIOCSCTTY as libc::Ioctl, 1) } < 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("taking {path}"));
    }
    for standard in [io::stdin().as_raw_fd(), io::stdout().as_raw_fd(), io::stderr().as_raw_fd()] {
        // SAFETY: `terminal` is open, and the standard descriptors are meant to be replaced.
        if unsafe { libc::dup2(terminal, standard) } < 0 {
            return Err(io::Error::last_os_error()).with_context(|| format!("taking {path}"));
        }
    }
    confine::CONSOLE.enter().context("confining the console")?;
    let error = Command::new(INIT).args(["console", tty]).exec();
    Err(error).context(INIT)
}

/// Becomes VMware's tools. Returns only on failure.
pub(crate) fn exec_vm_tools() -> Result<()> {
    confine::VM_TOOLS.enter().context("confining VMware's tools")?;
    // Their part for the machine as a whole, not that for a desktop.
    let error = Command::new(VM_TOOLS).args(["--name", "vmsvc"]).exec();
    Err(error).context(VM_TOOLS)
}

/// Whether a terminal is there and can be opened: a VM may have no serial port.
pub(crate) fn has_terminal(tty: &str) -> bool {
    let Ok(path) = CString::new(format!("/dev/{tty}")) else { return false };
    let opened = nix::fcntl::open(
        path.as_c_str(),
        nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_NOCTTY | nix::fcntl::OFlag::O_NONBLOCK,
        nix::sys::stat::Mode::empty(),
    );
    opened.is_ok_and(|terminal| nix::sys::termios::tcgetattr(&terminal).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_given_back_when_the_machine_is_switched_off_and_kept_over_a_reboot() {
        assert_eq!(Service::Network.stop_signal(Ending::PowerOff), Signal::SIGUSR1);
        assert_eq!(Service::Network.stop_signal(Ending::Reboot), Signal::SIGTERM);
        for service in Service::ALL.into_iter().filter(|service| *service != Service::Network) {
            assert_eq!(service.stop_signal(Ending::PowerOff), Signal::SIGTERM, "{service:?}");
        }
    }

    /// Goal: PID 1 does not look at the system disk to start the gateway. Method: a seed that is there is not in what it
    /// says, and is found by the process that becomes the gateway.
    #[test]
    fn the_gateway_s_part_of_the_seed_is_found_by_the_process_that_becomes_it() {
        let folder = tempfile::tempdir().unwrap();
        let seed = folder.path().join("gateway-seed.toml");
        let arguments = || with_seed(&["serve", "--state", "/s"], seed.to_str().unwrap());
        assert_eq!(arguments(), ["serve", "--state", "/s"]);
        std::fs::write(&seed, "version = 1").unwrap();
        assert_eq!(arguments()[3..], ["--settings", seed.to_str().unwrap()]);
        let said = Service::Gateway.command(&[]);
        let said: Vec<_> = said.get_args().map(|word| word.to_string_lossy()).collect();
        assert!(said.starts_with(&["exec-gateway".into(), "serve".into()]), "{said:?}");
        assert!(Path::new(GATEWAY_SEED).exists(), "who looks for it finds it");
        assert!(!said.contains(&"--settings".into()), "{said:?}");
    }

    #[test]
    fn children_hear_the_signals_that_pid_1_blocks() {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGTERM);
        mask.thread_block().unwrap();
        let mut command = Command::new("cat");
        unblock_signals(command.arg("/proc/self/status"));
        let status = String::from_utf8(command.output().unwrap().stdout).unwrap();
        mask.thread_unblock().unwrap();
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        assert_eq!(u64::from_str_radix(blocked.trim(), 16).unwrap(), 0, "{blocked}");
    }
}
