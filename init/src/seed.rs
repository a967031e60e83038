//! The seed: what the appliance is told from outside, on its first boot and whenever it changes.
//!
//! One TOML document with a table `[machine]` (our settings) and a table `[gateway]` (the gateway's,
//! not interpreted here). Sources, the first that has one: QEMU's fw_cfg, the kernel command line,
//! VMware's guestinfo.
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    machine::Machine,
    modules::Modules,
    ovf_environment, service,
    sys::{self, CommandLine},
};

const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/tidegate/seed/raw";
const GUESTINFO: &str = "guestinfo.tidegate.seed";
/// What the import's wizard was told, as XML.
const OVF_ENVIRONMENT: &str = "guestinfo.ovfEnv";
/// A copy of the seed that was last applied.
const APPLIED: &str = "seed.toml";
/// The gateway's part, where the gateway reads it.
pub(crate) const GATEWAY_SEED: &str = "/config/gateway-seed.toml";
/// Largest seed: settings with every share at its longest are far below.
const BYTES_MAX: usize = 1 << 20;

/// A seed, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seed {
    /// The machine's settings, if the seed has any.
    pub(crate) machine: Option<Machine>,
    /// The gateway's settings as a document of their own, if the seed has any.
    pub(crate) gateway: Option<String>,
}

impl Seed {
    /// Takes a document apart.
    pub(crate) fn parse(text: &str, zones: &Path) -> Result<Self> {
        let mut document: toml::Table = text.parse().context("the seed is not TOML")?;
        let machine = match document.remove("machine") {
            Some(table) => {
                let text = toml::to_string(&table)?;
                Some(Machine::parse(&text, zones).context("the seed's [machine]")?)
            }
            None => None,
        };
        let gateway = match document.remove("gateway") {
            Some(table) => Some(toml::to_string(&table)?),
            None => None,
        };
        if let Some(unknown) = document.keys().next() {
            bail!("the seed has a table {unknown:?}; known are [machine] and [gateway]");
        }
        Ok(Self { machine, gateway })
    }
}

/// Text of the seed from the first source that has one.
pub(crate) fn find(line: &CommandLine, modules: &mut Modules) -> Result<Option<String>> {
    modules.load("qemu_fw_cfg");
    let bytes = if let Ok(bytes) = fs::read(FW_CFG) {
        Some(bytes)
    } else if let Some(encoded) = line.get("tidegate.seed") {
        Some(STANDARD.decode(encoded).context("tidegate.seed is not base64")?)
    } else {
        guestinfo()?
    };
    let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else { return Ok(None) };
    if bytes.len() > BYTES_MAX {
        bail!("the seed is larger than 1 MiB");
    }
    let text = String::from_utf8(bytes).context("the seed is not UTF-8 text")?;
    Ok(Some(plain(text)))
}

/// What fits no wizard's text field comes in base64.
fn plain(text: String) -> String {
    let packed: String = text.split_whitespace().collect();
    match STANDARD.decode(&packed).ok().and_then(|bytes| String::from_utf8(bytes).ok()) {
        Some(decoded) if decoded.contains('[') => decoded,
        _ => text,
    }
}

/// VMware's guestinfo, asked only where the processor says that it is VMware's, and by a process of its
/// own: elsewhere the request is a fault, and a fault of PID 1 is the end of the machine.
fn guestinfo() -> Result<Option<Vec<u8>>> {
    if !vmw_backdoor::is_vmware_cpu() {
        return Ok(None);
    }
    let asked = Command::new(service::INIT).arg("guestinfo").output().context("init guestinfo")?;
    if !asked.status.success() {
        let words = String::from_utf8_lossy(&asked.stderr);
        bail!("VMware does not answer for {GUESTINFO} ({}): {}", asked.status, words.trim());
    }
    Ok(Some(asked.stdout))
}

/// Asks VMware for the seed and prints it; nothing if there is none.
///
/// # Errors
/// The host gives no guestinfo.
pub(crate) fn print_guestinfo() -> Result<()> {
    let mut backdoor = vmw_backdoor::access_backdoor().context("VMware's backdoor")?;
    let mut channel = backdoor.open_enhanced_chan().context("VMware's guest channel")?;
    let seed = channel.get_guestinfo(GUESTINFO.as_bytes()).context(GUESTINFO)?;
    let environment = channel.get_guestinfo(OVF_ENVIRONMENT.as_bytes()).context(OVF_ENVIRONMENT)?;
    let properties = match environment {
        Some(xml) => ovf_environment::properties(&String::from_utf8_lossy(&xml))?,
        None => BTreeMap::new(),
    };
    let seed = seed.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(io::stdout().write_all(combined(seed, &properties).as_bytes())?)
}

/// The seed document with what else the import's wizard was told: host name and time zone, where the
/// document says nothing of them. A document that is not TOML is left as it is, to be reported.
fn combined(seed: Option<String>, properties: &BTreeMap<String, String>) -> String {
    let told = |key: &str| properties.get(key).filter(|value| !value.trim().is_empty());
    let text = plain(seed.or_else(|| told(GUESTINFO).cloned()).unwrap_or_default());
    let Ok(mut document) = text.parse::<toml::Table>() else { return text };
    let empty = || toml::Value::Table(toml::Table::new());
    for key in ["hostname", "timezone"] {
        if let Some(value) = told(key)
            && let toml::Value::Table(machine) = document.entry("machine").or_insert_with(empty)
        {
            machine.entry(key).or_insert_with(|| value.trim().to_owned().into());
        }
    }
    document.to_string()
}

/// Applies a seed that is another one than last time: writes the gateway's part for the gateway, hands
/// the machine's part to `keep`, and notes the seed as applied after that. `config` is where settings
/// are kept.
pub(crate) fn apply(
    text: &str,
    config: &Path,
    zones: &Path,
    gateway: (u32, u32),
    keep: impl FnOnce(Machine) -> Result<()>,
) -> Result<()> {
    let applied = config.join(APPLIED);
    if fs::read_to_string(&applied).is_ok_and(|last| last == text) {
        return Ok(());
    }
    let seed = Seed::parse(text, zones)?;
    if let Some(document) = &seed.gateway {
        let name = Path::new(GATEWAY_SEED).file_name().expect("it names a file");
        let path: PathBuf = config.join(name);
        sys::replace_file(&path, document.as_bytes(), 0o600)
            .with_context(|| path.display().to_string())?;
        chown(&path, Some(gateway.0), Some(gateway.1))
            .with_context(|| path.display().to_string())?;
    }
    if let Some(machine) = seed.machine {
        keep(machine)?;
    }
    sys::replace_file(&applied, text.as_bytes(), 0o600)
        .with_context(|| applied.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [machine]
        hostname = "tidegate"
        timezone = "UTC"
        [gateway]
        version = 1
        [gateway.s3]
        region = "ap-northeast-2"
        [[gateway.share]]
        name = "sales"
        bucket = "sales-backup"
    "#;

    fn zones() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("UTC"), b"TZif2").unwrap();
        dir
    }

    #[test]
    fn the_gateway_s_part_is_a_settings_document_of_its_own() {
        let zones = zones();
        let seed = Seed::parse(TEXT, zones.path()).unwrap();
        assert_eq!(seed.machine.unwrap().hostname, "tidegate");
        let settings = gateway_api::Settings::from_toml(&seed.gateway.unwrap()).unwrap();
        assert_eq!(settings.shares[0].name.as_str(), "sales");
        assert_eq!(settings.s3.region, "ap-northeast-2");
    }

    #[test]
    fn a_seed_is_applied_once_until_it_changes() {
        let zones = zones();
        let config = tempfile::tempdir().unwrap();
        let me = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        let apply = |text: &str| {
            let mut kept = None;
            let keep = |machine| {
                kept = Some(machine);
                Ok(())
            };
            apply(text, config.path(), zones.path(), me, keep).unwrap();
            kept
        };
        assert!(apply(TEXT).is_some());
        assert!(config.path().join("gateway-seed.toml").exists());
        assert!(apply(TEXT).is_none(), "the same seed again");
        assert!(apply(&TEXT.replace("\"tidegate\"", "\"other\"")).is_some());
    }

    #[test]
    fn a_seed_that_could_not_be_kept_is_applied_again() {
        let zones = zones();
        let config = tempfile::tempdir().unwrap();
        let me = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        let refuse = |_| Err(anyhow::anyhow!("no space"));
        assert!(apply(TEXT, config.path(), zones.path(), me, refuse).is_err());
        let mut kept = false;
        let keep = |_| {
            kept = true;
            Ok(())
        };
        apply(TEXT, config.path(), zones.path(), me, keep).unwrap();
        assert!(kept);
    }

    #[test]
    fn broken_seeds_say_what_is_wrong() {
        let zones = zones();
        for (text, says) in [
            ("[machine", "not TOML"),
            ("[machine]\ntimezone = \"Nowhere\"", "tz database"),
            ("[machin]", "machin"),
        ] {
            let error = format!("{:#}", Seed::parse(text, zones.path()).unwrap_err());
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn what_the_wizard_was_told_completes_the_seed() {
        let told = |hostname: &str, seed: &str| {
            BTreeMap::from([
                ("hostname".to_owned(), hostname.to_owned()),
                ("timezone".to_owned(), "UTC".to_owned()),
                (GUESTINFO.to_owned(), seed.to_owned()),
            ])
        };
        let zones = zones();
        let machine = |text: &str| Seed::parse(text, zones.path()).unwrap().machine.unwrap();
        assert_eq!(machine(&combined(None, &told("gate7", ""))).hostname, "gate7");
        let packed = STANDARD.encode(TEXT);
        let both = combined(None, &told("gate7", &packed));
        assert_eq!(machine(&both).hostname, "tidegate", "the document has the last word");
        assert!(Seed::parse(&both, zones.path()).unwrap().gateway.is_some());
        let direct = combined(Some("[machine]\ntimezone = \"UTC\"".to_owned()), &told("gate7", ""));
        assert_eq!(machine(&direct).hostname, "gate7");
        assert_eq!(combined(Some("[machine".to_owned()), &told("gate7", "")), "[machine");
        assert_eq!(combined(None, &BTreeMap::new()), "");
    }

    #[test]
    fn base64_is_unpacked_and_plain_text_left() {
        assert_eq!(plain(STANDARD.encode("[machine]")), "[machine]");
        assert_eq!(plain("[machine]\n".to_owned()), "[machine]\n");
    }
}
