//! PID 1 in the root file system: runs the phases, then waits for what happens and acts on it.
//!
//! One thread, one poll loop: children that end, services that notify, requests of the console,
//! hardware that comes and goes, the power button, and a tick every second.
mod changes;
mod disks;
mod drivers;
mod late_settings;
mod log_ins;
mod settings;
mod update;

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{fs::chown, net::UnixDatagram},
    },
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        reboot::set_cad_enabled,
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use self::{
    disks::Disks, drivers::Drivers, late_settings::Reading, log_ins::LogIns, update::Update,
};
use crate::{
    control::Control,
    log,
    observed::{self, MachineState, NetworkState},
    phases::{self, Boot},
    service::{self, Service},
    shutdown::{self, Ending},
    supervisor::{Action, STOP_TIME, Supervised},
    sys, time,
    trial::Trial,
    uevents::Uevents,
    unkept::Unkept,
};

const TICK_MS: u16 = 1000;
/// Time for journald to become ready before the rest starts without it.
const JOURNALD_TIME: Duration = Duration::from_secs(20);
/// Kernel messages up to this level still reach the consoles once the menu owns them: emergencies.
const QUIET_PRINTK: &str = "1";
/// How a service says, over its notify socket, why it ends.
const ENDS_BECAUSE: &str = "X_TIDEGATE_END=";
/// `struct input_event` on 64-bit Linux.
const INPUT_EVENT_BYTES: usize = 24;
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;

/// A panic in PID 1 must not leave a half-dead machine.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        sys::say(&format!("PID 1 panicked, rebooting: {panic}"));
        shutdown::reboot_now();
    }));
}

/// Runs stage 2; does not return.
pub(crate) fn run() -> Result<()> {
    sys::say("stage 2");
    let mut boot = Boot::default();
    phases::run(phases::PHASES, &mut boot);
    let mut machine = Running::new(boot).context("PID 1 cannot watch its services")?;
    machine.start_services();
    let ending = machine.watch();
    machine.stop_services(ending);
    shutdown::finish(ending)
}

/// A notify socket (sd_notify(3)) and whose it is.
struct Notify {
    service: Service,
    socket: UnixDatagram,
}

struct Running {
    boot: Boot,
    services: HashMap<Service, Supervised>,
    pids: HashMap<i32, Service>,
    signals: SignalFd,
    notify: Vec<Notify>,
    control: Control,
    uevents: Uevents,
    power_buttons: Vec<File>,
    ntp: Option<Vec<String>>,
    disks: Disks,
    drivers: Drivers,
    update: Update,
    shown: Option<MachineState>,
    ending: Option<Ending>,
    /// Settings that nobody has confirmed yet.
    trial: Trial,
    log_ins: LogIns,
    /// Settings in use that are not on the disk.
    unkept: Unkept,
    /// Who reads settings that are on the disk and not in use.
    reading: Reading,
}

impl Running {
    fn new(mut boot: Boot) -> Result<Self> {
        disks::LOOKED_FOR.clone_into(&mut boot.state.cache);
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
            mask.add(signal);
        }
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        // ctrl-alt-del comes as SIGINT then. In a container the call is not allowed, nor needed.
        let _container = set_cad_enabled(false);
        let mut notify = Vec::new();
        for service in Service::ALL {
            if let Some(path) = service.notify_socket() {
                notify.push(Notify { service, socket: notify_socket(service, path)? });
            }
        }
        let update = Update::at_boot(&mut boot);
        let supervised = Service::ALL.map(|s| (s, Supervised::new(s.notifies(), s.watchdog())));
        Ok(Self {
            boot,
            services: HashMap::from(supervised),
            pids: HashMap::new(),
            signals,
            notify,
            control: Control::open(service::group("console")?)?,
            uevents: Uevents::open()?,
            power_buttons: power_buttons(),
            ntp: None,
            disks: Disks::due(sys::since_boot()),
            drivers: Drivers::default(),
            update,
            shown: None,
            ending: None,
            trial: Trial::none(),
            log_ins: LogIns::default(),
            unkept: Unkept::default(),
            reading: Reading::default(),
        })
    }

    /// A machine whose services are not started, with its socket in `folder`.
    #[cfg(test)]
    fn with(mut boot: Boot, folder: &Path) -> Self {
        let supervised = Service::ALL.map(|s| (s, Supervised::new(s.notifies(), s.watchdog())));
        Self {
            update: Update::at_boot(&mut boot),
            boot,
            services: HashMap::from(supervised),
            pids: HashMap::new(),
            signals: SignalFd::new(&SigSet::empty()).unwrap(),
            notify: Vec::new(),
            control: Control(std::os::unix::net::UnixListener::bind(folder.join("c")).unwrap()),
            uevents: Uevents::open().unwrap(),
            power_buttons: Vec::new(),
            ntp: None,
            disks: Disks::default(),
            drivers: Drivers::default(),
            shown: None,
            ending: None,
            trial: Trial::none(),
            log_ins: LogIns::default(),
            unkept: Unkept::default(),
            reading: Reading::default(),
        }
    }

    fn supervised(&mut self, service: Service) -> &mut Supervised {
        self.services.get_mut(&service).expect("every service is in the table")
    }

    fn start_services(&mut self) {
        // The cache disks are looked for while the rest starts.
        self.look_at_disks(sys::since_boot());
        self.act(Service::Journald, Action::Start);
        let limit = sys::since_boot() + JOURNALD_TIME;
        while !self.supervised(Service::Journald).is_ready() && sys::since_boot() < limit {
            self.wait(100);
        }
        log::install_in_pid1();
        let took: Vec<String> =
            self.boot.took.iter().map(|(phase, s)| format!("{phase} {s:.1} s")).collect();
        tracing::info!("stage 2 is over: {}", took.join(", "));
        for problem in &self.boot.state.problems {
            tracing::warn!("{problem}");
        }
        for note in &self.boot.notes {
            tracing::info!("{note}");
        }
        self.want(Service::Network);
        if sys::is_vmware() {
            self.want(Service::VmTools);
        }
        self.follow_ntp();
        // Before the consoles look.
        self.show();
        for console in [Service::Screen, Service::Serial] {
            if console.tty().is_some_and(service::has_terminal) {
                self.want(console);
            }
        }
        if let Err(error) = fs::write("/proc/sys/kernel/printk", QUIET_PRINTK) {
            tracing::warn!("kernel messages will go over the menu: {error}");
        }
    }

    fn want(&mut self, service: Service) {
        let action = self.supervised(service).want();
        self.act(service, action);
    }

    /// Waits for what happens until somebody wants the end.
    fn watch(&mut self) -> Ending {
        loop {
            self.tick();
            self.wait(TICK_MS);
            if let Some(ending) = self.ending {
                return ending;
            }
        }
    }

    fn tick(&mut self) {
        let now = sys::since_boot();
        for service in Service::ALL {
            let action = self.supervised(service).tick(now);
            self.act(service, action);
        }
        self.follow_trial(now);
        self.boot.forget_ended();
        self.follow_unread(now);
        self.settings().keep_again(now);
        self.follow_drivers(now);
        self.follow_disks(now);
        self.follow_update(now);
        self.follow_ntp();
        if let Err(error) = self.follow_hostname() {
            tracing::error!("host name: {error:#}");
        }
        self.show();
    }

    fn act(&mut self, service: Service, action: Action) {
        let now = sys::since_boot();
        match action {
            Action::Nothing => {}
            Action::Start => match service.command(&self.disks.further).spawn() {
                Ok(child) => {
                    let pid = i32::try_from(child.id()).expect("pids are positive i32");
                    self.pids.insert(pid, service);
                    let score = format!("/proc/{pid}/oom_score_adj");
                    if let Err(error) = fs::write(score, service.oom_score_adj().to_string()) {
                        // It may have ended in this moment.
                        tracing::warn!(
                            "{} is not spared when memory is short: {error}",
                            service.name()
                        );
                    }
                    self.supervised(service).started(now);
                    let name = service.name();
                    tracing::info!(service = name, "{name} started as process {pid}");
                }
                Err(error) => {
                    sys::say(&format!("{} cannot be started: {error}", service.name()));
                    self.supervised(service).not_started(now);
                }
            },
            Action::Abort => {
                let name = service.name();
                tracing::error!(service = name, "{name} is silent for too long; aborting it");
                self.signal(service, Signal::SIGABRT);
            }
            Action::Kill => self.signal(service, Signal::SIGKILL),
            Action::Terminate => self.signal(service, Signal::SIGTERM),
        }
    }

    fn signal(&self, service: Service, signal: Signal) {
        for (pid, _) in self.pids.iter().filter(|(_, s)| **s == service) {
            if let Err(error) = kill(Pid::from_raw(*pid), signal) {
                let name = service.name();
                tracing::warn!(service = name, "{signal} does not reach {name}: {error}");
            }
        }
    }

    /// One turn of the loop: waits for at most `ms` and takes in whatever is there.
    fn wait(&mut self, ms: u16) {
        let mut fds: Vec<BorrowedFd<'_>> =
            vec![self.signals.as_fd(), self.control.0.as_fd(), self.uevents.as_fd()];
        fds.extend(self.notify.iter().map(|notify| notify.socket.as_fd()));
        fds.extend(self.power_buttons.iter().map(File::as_fd));
        let mut polled: Vec<PollFd<'_>> =
            fds.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // An interrupted or failed poll is a short wait: everything below looks for itself.
        let _interrupted = poll(&mut polled, PollTimeout::from(ms));
        drop(polled);
        self.take_signals();
        self.reap();
        self.take_notifications();
        self.take_requests();
        self.take_uevents();
        self.take_power_button();
    }

    fn take_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            match i32::try_from(info.ssi_signo).map(Signal::try_from) {
                Ok(Ok(Signal::SIGTERM)) => self.ending = Some(Ending::PowerOff),
                Ok(Ok(Signal::SIGINT)) => self.ending = Some(Ending::Reboot),
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn reap(&mut self) {
        loop {
            let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Some(code)),
                Ok(WaitStatus::Signaled(pid, _, _)) => (pid, None),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            if let Some(service) = self.pids.remove(&pid.as_raw()) {
                let name = service.name();
                tracing::warn!(service = name, "{name} ended ({code:?})");
                self.supervised(service).ended(sys::since_boot(), code);
                if service == Service::Gateway {
                    // It may have ended for want of a disk, or so that one can be taken away.
                    self.disks.look_at(sys::since_boot());
                }
            } else if !self.drivers.ended(pid.as_raw())
                && !self.disks.ended(pid.as_raw(), code)
                && !self.update_ended(pid.as_raw(), code)
                && !self.reading_ended(pid.as_raw(), code)
            {
                // What is left are errands that answer by themselves.
                let _other = self.log_ins.ended(pid.as_raw(), code);
            }
        }
    }

    fn take_notifications(&mut self) {
        let mut said = Vec::new();
        let mut buffer = [0; 4096];
        for notify in &self.notify {
            while let Ok(length) = notify.socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                said.push((notify.service, text));
            }
        }
        let now = sys::since_boot();
        for (service, text) in said {
            for line in text.lines() {
                match line {
                    "READY=1" => {
                        self.supervised(service).notified_ready(now);
                        if service == Service::Gateway {
                            // It knows now which disks are being given back.
                            self.disks.look_at(now);
                        }
                        sys::say(&format!("{} is ready", service.name()));
                    }
                    "WATCHDOG=1" => self.supervised(service).notified_alive(now),
                    _ => {
                        if let Some(words) = line.strip_prefix(ENDS_BECAUSE) {
                            self.supervised(service).notified_end(words);
                        }
                    }
                }
            }
        }
    }

    fn take_uevents(&mut self) {
        for event in self.uevents.take() {
            if event.action == "add"
                && let Some(alias) = &event.modalias
            {
                self.drivers.want(alias);
            }
            match (event.concerns_disks(), event.action.as_str()) {
                // Clients wait while the gateway does not run; without a disk they would get errors.
                (true, "remove") => self.disks.look_at(sys::since_boot()),
                (true, _) => self.disks.changed(sys::since_boot()),
                (false, _) => {}
            }
        }
        self.follow_drivers(sys::since_boot());
    }

    fn take_power_button(&mut self) {
        let mut event = [0; INPUT_EVENT_BYTES];
        for button in &mut self.power_buttons {
            while button.read_exact(&mut event).is_ok() {
                let field = |at: usize| u16::from_ne_bytes([event[at], event[at + 1]]);
                if (field(16), field(18)) == (EV_KEY, KEY_POWER) {
                    self.ending = Some(Ending::PowerOff);
                }
            }
        }
    }

    /// Gives chrony the servers that are known now.
    fn follow_ntp(&mut self) {
        let mut servers = self.boot.machine.ntp_servers.clone();
        if servers.is_empty() {
            servers = observed::read::<NetworkState>(observed::NETWORK).ntp;
        }
        if self.ntp.as_ref() == Some(&servers) {
            return;
        }
        let host_clock = time::has_host_clock();
        let conf = time::chrony_conf(&servers, host_clock);
        if let Err(error) = fs::write(time::CHRONY_CONF, conf) {
            tracing::error!("chrony's configuration: {error}");
            return;
        }
        let any = !servers.is_empty() || host_clock;
        self.boot.state.clock = time::keeper(&servers, host_clock);
        self.ntp = Some(servers);
        if any {
            // One that runs ends, and starts again with the new servers.
            self.signal(Service::Chrony, Signal::SIGTERM);
            self.want(Service::Chrony);
        }
    }

    /// Shows the console what is seen.
    fn show(&mut self) {
        let mut state = self.boot.state.clone();
        state.update = self.update.state();
        state.trial_until = self.trial.until().map(|until| until.as_secs());
        let has_password = self.boot.machine.password_hash.is_some();
        state.problems.extend(self.boot.unread.problem(has_password));
        state.settings_unreadable = self.boot.lost_settings().map(str::to_owned);
        state.problems.extend(self.unkept.problem());
        let now = sys::since_boot();
        let troubles = Service::ALL.iter().filter_map(|s| self.services[s].trouble(s.name(), now));
        state.services.extend(troubles);
        if self.shown.as_ref() == Some(&state) {
            return;
        }
        match observed::write(observed::MACHINE, &state) {
            Ok(()) => self.shown = Some(state),
            Err(error) => tracing::error!("the machine's state cannot be shown: {error}"),
        }
    }

    /// Stops the services in the opposite order, each within its time.
    fn stop_services(&mut self, ending: Ending) {
        sys::say("stopping services");
        for service in Service::ALL.into_iter().rev() {
            if service == Service::Journald {
                continue;
            }
            self.signal(service, service.stop_signal(ending));
            let limit = sys::since_boot() + STOP_TIME;
            while self.pids.values().any(|s| *s == service) && sys::since_boot() < limit {
                self.wait(50);
            }
            self.signal(service, Signal::SIGKILL);
        }
    }
}

/// Binds a notify socket that the service's user may write to.
fn notify_socket(service: Service, path: &str) -> Result<UnixDatagram> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).context(path.to_owned()),
    }
    let socket = UnixDatagram::bind(path).context(path.to_owned())?;
    socket.set_nonblocking(true)?;
    if service == Service::Gateway {
        let (uid, gid) = service::user("gateway")?;
        chown(path, Some(uid), Some(gid)).context(path.to_owned())?;
    }
    Ok(socket)
}

/// The machine's power buttons.
fn power_buttons() -> Vec<File> {
    let Ok(entries) = fs::read_dir("/sys/class/input") else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let title = sys::read_line(entry.path().join("device/name"));
        if !name.starts_with("event") || !title.contains("Power Button") {
            continue;
        }
        let opened = nix::fcntl::open(
            Path::new("/dev/input").join(&name).as_path(),
            nix::fcntl::OFlag::O_RDONLY
                | nix::fcntl::OFlag::O_NONBLOCK
                | nix::fcntl::OFlag::O_CLOEXEC,
            nix::sys::stat::Mode::empty(),
        );
        match opened {
            Ok(button) => found.push(File::from(button)),
            Err(error) => sys::say(&format!("power button {name}: {error}")),
        }
    }
    found
}
