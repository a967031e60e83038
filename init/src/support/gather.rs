//! What is collected for a support bundle: what the console's user may see, and nothing that it has to
//! ask rights for. Whatever cannot be had is said and left out; nothing is waited for in vain.
use std::{
    fs::{self, File},
    io::Read,
    path::Path,
    process::Command,
    time::Duration,
};

use gateway_api::{GatewayStatus, Settings};

use super::{PIECE_BYTES_MAX, Piece};
use crate::{children, machine::Machine, observed};

/// Longest time for one program.
const PROGRAM_TIME: Duration = Duration::from_secs(60);
/// Processes that are listed, and disks.
const PROCESSES_MAX: usize = 2000;
const DISKS_MAX: usize = 100;
const JOURNALCTL: &str = "/usr/bin/journalctl";

/// Files that are taken as they are.
const FILES: [&str; 29] = [
    "/etc/os-release",
    "/etc/resolv.conf",
    "/proc/cmdline",
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/interrupts",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/modules",
    "/proc/net/arp",
    "/proc/net/dev",
    "/proc/net/if_inet6",
    "/proc/net/ipv6_route",
    "/proc/net/netstat",
    "/proc/net/route",
    "/proc/net/snmp",
    "/proc/net/sockstat",
    "/proc/net/tcp",
    "/proc/net/tcp6",
    "/proc/partitions",
    "/proc/pressure/cpu",
    "/proc/pressure/io",
    "/proc/pressure/memory",
    "/proc/self/mountinfo",
    "/proc/stat",
    "/proc/uptime",
    "/proc/version",
    "/proc/vmstat",
    "/run/tidegate/confinement",
];

/// What the console knows already.
pub(crate) struct Known<'a> {
    /// The machine's settings.
    pub(crate) machine: &'a Result<Machine, String>,
    /// The gateway's settings.
    pub(crate) gateway_settings: Result<&'a Settings, String>,
    /// The gateway's status, its latest events included.
    pub(crate) status: &'a Result<GatewayStatus, String>,
    /// How the clock is kept.
    pub(crate) clock: Result<String, String>,
}

/// Collects everything.
pub(crate) fn gather(known: &Known<'_>) -> Vec<Piece> {
    let mut pieces = documents(known);
    for path in [observed::MACHINE, observed::NETWORK, observed::NETWORK_PLAN] {
        let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
        pieces.push(Piece::new(format!("state/{name}"), file(Path::new(path))));
    }
    pieces.push(Piece::new("processes.txt", processes(Path::new("/proc"))));
    pieces.push(Piece::new("disks.txt", disks(Path::new("/sys/block"))));
    for path in FILES {
        pieces.push(Piece::new(path.trim_start_matches('/'), file(Path::new(path))));
    }
    // The largest come last: what is left out for its size is the oldest of the journal.
    pieces.push(Piece::new("dmesg.txt", journal(&["--dmesg", "--boot", "--lines=5000"])));
    pieces.push(Piece::new("journal.txt", journal(&["--lines=30000"])));
    pieces
}

/// What is known, as documents; secrets are taken out of each by name before anything else is.
fn documents(known: &Known<'_>) -> Vec<Piece> {
    let machine = known.machine.as_ref().map_err(Clone::clone).and_then(|machine| {
        let machine = Machine { password_hash: None, ..machine.clone() };
        toml::to_string(&machine).map_err(|error| error.to_string())
    });
    let gateway = known.gateway_settings.clone().and_then(|settings| {
        let mut settings = settings.clone();
        settings.s3.forget_secrets();
        settings.to_toml().map_err(|error| error.to_string())
    });
    let status =
        known.status.as_ref().map_err(Clone::clone).and_then(|status| {
            serde_json::to_string_pretty(status).map_err(|error| error.to_string())
        });
    let version = format!(
        "init {}\ngateway {}\n",
        env!("CARGO_PKG_VERSION"),
        known.status.as_ref().map_or("does not answer", |status| status.version.as_str())
    );
    vec![
        Piece::new("versions.txt", Ok(version)),
        Piece::new("settings/machine.toml", machine),
        Piece::new("settings/gateway.toml", gateway),
        Piece::new("gateway-status.json", status),
        Piece::new("clock.txt", known.clock.clone()),
    ]
}

/// A file's text. Those of the kernel tell no length before they are read.
fn file(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(PIECE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Of the journal, the newest that fits, in order.
fn journal(what: &[&str]) -> Result<String, String> {
    let mut command = Command::new(JOURNALCTL);
    command.args(["--no-pager", "--quiet", "--reverse", "--output=short-iso-precise"]).args(what);
    let said = children::run(command.env_clear(), PROGRAM_TIME).map_err(|e| e.to_string())?;
    Ok(in_order(&String::from_utf8_lossy(&said)))
}

/// Lines that come newest first, the other way round.
fn in_order(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.reverse();
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// Each process: number, parent, state, memory, threads, what it was started as.
fn processes(proc: &Path) -> Result<String, String> {
    let entries = fs::read_dir(proc).map_err(|error| error.to_string())?;
    let mut numbers: Vec<u32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    let mut text = String::from("pid ppid state VmRSS threads command\n");
    for number in numbers.into_iter().take(PROCESSES_MAX) {
        let folder = proc.join(number.to_string());
        // It may have ended meanwhile.
        let Ok(status) = fs::read_to_string(folder.join("status")) else { continue };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or("-").trim().replace('\t', " ")
        };
        let words = fs::read(folder.join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ");
        let command = if words.is_empty() { format!("[{}]", field("Name")) } else { words };
        let (parent, state) = (field("PPid"), field("State"));
        let (memory, threads) = (field("VmRSS"), field("Threads"));
        text.push_str(&format!("{number} {parent} {state} {memory} {threads} {command}\n"));
    }
    Ok(text)
}

/// Each disk with its parts, by what the kernel tells of it.
fn disks(block: &Path) -> Result<String, String> {
    let entries = fs::read_dir(block).map_err(|error| error.to_string())?;
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    let mut text = String::new();
    for name in names.into_iter().take(DISKS_MAX) {
        let folder = block.join(&name);
        text.push_str(&name.to_string_lossy());
        for tells in ["size", "ro", "removable", "device/vendor", "device/model", "device/state"] {
            let value = fs::read_to_string(folder.join(tells)).unwrap_or_default();
            if !value.trim().is_empty() {
                text.push_str(&format!(" {tells}={}", value.trim()));
            }
        }
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read as _};

    use flate2::read::GzDecoder;
    use gateway_api::{Secret, settings::S3Settings};

    use super::*;
    use crate::support::pack;

    /// Goal: no secret leaves the machine. Method: every place that can hold one holds one that would
    /// be recognised, and the unpacked bundle is searched for them.
    #[test]
    fn no_secret_is_in_a_bundle() {
        const SECRETS: [&str; 12] = [
            "SEEDED-secret-key",
            "SEEDED-session-token",
            "SEEDED-proxy-password",
            "SEEDED-url-password",
            "SEEDED-console-hash",
            "SEEDED-handle-key",
            "U0VFREVELXNlZWQ=",
            "SEEDED-typed-password",
            "SEEDED-misspelt-secret",
            "SEEDED-misspelt-token",
            "SEEDED-quoted-line",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        ];
        let machine = Ok(Machine {
            hostname: "gate7".to_owned(),
            password_hash: Some(Secret::new("$6$salt$SEEDED-console-hash")),
            ..Machine::default()
        });
        let settings = Settings {
            s3: S3Settings {
                region: "eu-west-1".to_owned(),
                access_key_id: "AKIDEXAMPLE".to_owned(),
                secret_access_key: Secret::new("SEEDED-secret-key"),
                session_token: Secret::new("SEEDED-session-token"),
                proxy_password: Secret::new("SEEDED-proxy-password"),
                http_proxy: "http://me:SEEDED-url-password@proxy:3128".to_owned(),
                ..S3Settings::default()
            },
            ..Settings::default()
        };
        let status = Ok(GatewayStatus {
            version: "0.1.0".to_owned(),
            settings_problem: Some("secret_access_key = SEEDED-secret-key is wrong".to_owned()),
            ..GatewayStatus::default()
        });
        let known = Known {
            machine: &machine,
            gateway_settings: Ok(&settings),
            status: &status,
            clock: Ok("Reference ID : 10.0.2.2".to_owned()),
        };
        let log = "\
Nov 23 init[1]: Command line: root=/dev/vda tidegate.seed=U0VFREVELXNlZWQ= quiet\n\
Nov 23 gateway[9]: x-amz-security-token: SEEDED-session-token\n\
Nov 23 gateway[9]: Proxy-Authorization: Basic SEEDED-proxy-password\n\
Nov 23 gateway[9]: signed with wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY, refused\n\
Nov 23 gateway[9]: handle_key = [SEEDED-handle-key]\n\
Nov 23 init[1]: {\"password\":\"SEEDED-typed-password\",\"hash\":\"$6$salt$SEEDED-console-hash\"}\n\
Nov 23 gateway[9]: in line 9: secret_acces_key = \"SEEDED-misspelt-secret\"\n\
Nov 23 gateway[9]: sesion_tokne = 'SEEDED-misspelt-token'\n\
Nov 23 gateway[9]: TOML parse error at line 9, column 8\n  |\n\
9 | what it is = SEEDED-quoted-line\n  |        ^\n\
Nov 23 init[1]: the host name is gate7\n";
        let mut pieces = documents(&known);
        pieces.push(Piece::new("journal.txt", Ok(log.to_owned())));
        pieces.push(Piece::new("a", Err("http://me:SEEDED-url-password@proxy: no".to_owned())));
        let bundle = pack("b", 0, pieces).unwrap();
        let mut files = BTreeMap::new();
        let mut archive = tar::Archive::new(GzDecoder::new(bundle.archive.as_slice()));
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            for secret in SECRETS {
                let name = entry.path().unwrap().into_owned();
                assert!(!text.contains(secret), "{secret} is in {name:?}:\n{text}");
            }
            files.insert(entry.path().unwrap().to_str().unwrap().to_owned(), text);
        }
        // What is no secret is there.
        assert!(files["b/settings/machine.toml"].contains("hostname = \"gate7\""));
        assert!(files["b/settings/gateway.toml"].contains("AKIDEXAMPLE"));
        assert!(files["b/gateway-status.json"].contains("\"version\": \"0.1.0\""));
        assert!(files["b/journal.txt"].contains("the host name is gate7"));
    }

    #[test]
    fn this_machine_is_gathered_without_asking_for_rights() {
        let unknown = || "not asked".to_owned();
        let known = Known {
            machine: &Err(unknown()),
            gateway_settings: Err(unknown()),
            status: &Err(unknown()),
            clock: Err(unknown()),
        };
        let pieces = gather(&known);
        let text = |name: &str| {
            let piece = pieces.iter().find(|piece| piece.name == name).unwrap();
            piece.text.clone().unwrap_or_else(|why| panic!("{name}: {why}"))
        };
        assert!(text("proc/meminfo").contains("MemTotal"));
        let own = format!("\n{} ", std::process::id());
        assert!(text("processes.txt").contains(&own), "{}", text("processes.txt"));
        text("disks.txt");
        let names: Vec<&String> = pieces.iter().map(|piece| &piece.name).collect();
        let mut once = names.clone();
        once.sort();
        once.dedup();
        assert_eq!(names.len(), once.len());
    }

    #[test]
    fn the_journal_is_put_in_order() {
        assert_eq!(in_order("three\ntwo\none\n"), "one\ntwo\nthree\n");
    }
}
