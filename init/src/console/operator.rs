//! For tests: an operator at a console of a known machine, and golden pages.
use std::{path::Path, sync::Arc, time::Duration};

use gateway_api::{
    ByteSize, GatewayStatus, Secret, Settings, ShareSettings,
    settings::S3Settings,
    size::GIB,
    status::{CacheStatus, Capabilities, ShareState, ShareStatus, Shutdown, UploadStatus},
};

use super::{
    app::{App, Job},
    command::{Command, Finished},
    grid::Size,
    keys::Key,
    view::{Resources, View},
};
use crate::{
    disks::{Disk, Role},
    gateway_disks::{DiskState, GatewayDisk},
    machine::Machine,
    observed::{AdapterState, MachineState, NetworkState},
};

pub(super) const SCREEN: Size = Size { columns: 80, rows: 25 };

/// Somebody who presses keys.
pub(super) struct Operator {
    pub(super) app: App,
    pub(super) view: View,
    /// The last command that was asked for.
    pub(super) asked: Option<Job>,
}

impl Operator {
    /// Before the front page of the machine of [`story`].
    pub(super) fn new() -> Self {
        Self { app: App::new(SCREEN), view: story(), asked: None }
    }

    /// After logging in.
    pub(super) fn logged_in() -> Self {
        let mut operator = Self::new();
        operator.types("\ncorrect horse\n\n");
        operator.finished(Ok(Finished::LoggedIn));
        operator
    }

    /// Types text; `\n` is Enter, `\x1b` Escape, `\t` Tab.
    pub(super) fn types(&mut self, text: &str) {
        for c in text.chars() {
            self.press(match c {
                '\n' => Key::Enter,
                '\x1b' => Key::Escape,
                '\t' => Key::Tab,
                c => Key::Char(c),
            });
        }
    }

    /// Chooses the entry of a menu whose label begins so, by its number.
    #[track_caller]
    pub(super) fn choose(&mut self, label: &str) {
        let page = self.sees();
        let number = page.lines().find_map(|line| {
            let (number, rest) = line.trim_start_matches('|').split_once(": ")?;
            let number: usize = number.trim().parse().ok()?;
            rest.starts_with(label).then_some(number)
        });
        let Some(number) = number else { panic!("no entry {label} in\n{page}") };
        self.types(&format!("{number}\n"));
    }

    pub(super) fn press(&mut self, key: Key) {
        if let Some(job) = self.app.press(key, &self.view) {
            self.asked = Some(job);
        }
        self.app.follow(&self.view);
    }

    /// The command that was asked for, and nothing since.
    pub(super) fn command(&self) -> Command {
        self.asked.as_ref().expect("a command was asked for").1.clone()
    }

    /// The command is over.
    pub(super) fn finished(&mut self, outcome: Result<Finished, String>) {
        let (job, _) = self.asked.take().expect("a command was asked for");
        self.app.done(job, outcome, &self.view);
    }

    /// Time passes without a key.
    pub(super) fn waits(&mut self, time: Duration) {
        self.view.now += time;
        self.app.follow(&self.view);
    }

    /// The screen.
    pub(super) fn sees(&self) -> String {
        self.app.draw(&self.view).golden()
    }

    /// The screen is the golden one. `TIDEGATE_UPDATE_GOLDEN=1` rewrites it.
    #[track_caller]
    pub(super) fn sees_golden(&self, name: &str) {
        let found = self.sees();
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden/console")
            .join(format!("{name}.txt"));
        if std::env::var_os("TIDEGATE_UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &found).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == golden, "{} differs; the page is:\n{found}", path.display());
    }
}

/// A disk of VMware's.
pub(super) fn disk(name: &str, gib: u64, role: Role, holds: &str) -> Disk {
    Disk {
        name: name.to_owned(),
        size: ByteSize(gib * GIB),
        model: "Virtual disk".to_owned(),
        role,
        uuid: None,
        holds: holds.to_owned(),
    }
}

/// A machine as it should be.
pub(super) fn story() -> View {
    let share = ShareStatus {
        name: "sales".parse().unwrap(),
        bucket: "sales-backup".parse().unwrap(),
        prefix: "onprem/".parse().unwrap(),
        state: ShareState::Available,
        read_only: false,
        unrepresentable_keys: 0,
        upload: UploadStatus::default(),
        figures: gateway_api::figures::Figures::default(),
        capabilities: Capabilities::default(),
        pinned: None,
        refreshes: Vec::new(),
    };
    let status = GatewayStatus {
        version: "0.1.0".to_owned(),
        uptime_seconds: 3 * 3600,
        serving: true,
        cache: CacheStatus {
            total: ByteSize(149 * GIB),
            used: ByteSize(9 * GIB),
            free: ByteSize(140 * GIB),
        },
        shutdown: Shutdown::Safe,
        shares: vec![share],
        ..GatewayStatus::default()
    };
    let settings = Settings {
        s3: S3Settings {
            region: "ap-northeast-2".to_owned(),
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: Secret::default(),
            ..S3Settings::default()
        },
        shares: vec![ShareSettings::new(
            "sales".parse().unwrap(),
            "sales-backup".parse().unwrap(),
            "onprem/".parse().unwrap(),
        )],
        ..Settings::default()
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    View {
        machine: MachineState {
            hostname: "tidegate".to_owned(),
            timezone: "Asia/Seoul".to_owned(),
            clock: "follows NTP: 10.0.2.2".to_owned(),
            cache: "150 GiB on /dev/sdb".to_owned(),
            cache_mounted: true,
            disks: vec![
                disk("sda", 2, Role::System, "the appliance itself"),
                Disk {
                    uuid: Some("1f".repeat(16)),
                    ..disk("sdb", 150, Role::Primary, "a cache disk of this appliance")
                },
            ],
            ..MachineState::default()
        },
        network: NetworkState {
            adapters: vec![AdapterState {
                name: "eth0".to_owned(),
                mac: "00:50:56:01:02:03".to_owned(),
                link: true,
                speed_mbit: Some(10_000),
                is_default: true,
                ipv4_method: "DHCP".to_owned(),
                ipv6_method: "automatic".to_owned(),
                addresses: vec!["10.0.2.15/24".to_owned(), "2001:db8::15/64".to_owned()],
                gateway: Some("10.0.2.2".to_owned()),
                ipv6_gateway: Some("fe80::2".to_owned()),
                mtu: 1500,
                dhcp_server: Some("10.0.2.2".to_owned()),
                lease_until: Some(100 + 86_400),
                ..AdapterState::default()
            }],
            dns: vec!["10.0.2.3".to_owned()],
            search: vec!["example.com".to_owned()],
            ntp: vec!["10.0.2.2".to_owned()],
            ..NetworkState::default()
        },
        settings: Ok(Machine { timezone: "Asia/Seoul".to_owned(), ..Machine::default() }),
        settings_revision: 5,
        password_set: Ok(true),
        gateway: Ok(status),
        gateway_settings: Ok((7, settings)),
        stored_settings: Err("the gateway answers for them".to_owned()),
        clock: "2026-11-23 18:00:00 KST (+0900)".to_owned(),
        resources: Resources {
            cpus: 4,
            memory: ByteSize(GIB * 39 / 10),
            memory_in_use: "1.1 GiB in use of 3.9 GiB; gateway 412 MiB".to_owned(),
            config: Some((ByteSize(GIB / 4), ByteSize(GIB / 5))),
            confinement: "user 800, no capabilities, no new privileges, system calls filtered, \
                          files restricted, memory at most 2.0 GiB"
                .to_owned(),
        },
        gateway_disks: Ok(vec![GatewayDisk {
            name: "primary".parse().unwrap(),
            path: "/cache".to_owned(),
            primary: true,
            state: DiskState::InUse,
            total: ByteSize(149 * GIB),
            free: ByteSize(140 * GIB),
            cached_bytes: ByteSize(8 * GIB),
            dirty_bytes: ByteSize(0),
            dirty_files: 0,
            files: 1204,
            problem: None,
        }]),
        routes: vec![
            "default via 10.0.2.2 on eth0, metric 100".to_owned(),
            "10.0.2.0/24 on eth0, metric 0".to_owned(),
        ],
        zones: Arc::new(vec![
            ("Africa".to_owned(), names(&["Cairo", "Lagos"])),
            ("America".to_owned(), names(&["Argentina/Salta", "Lima"])),
            ("Asia".to_owned(), names(&["Samarkand", "Seoul", "Tokyo"])),
        ]),
        now: Duration::from_secs(100),
    }
}
