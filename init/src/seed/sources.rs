//! Where the seed comes from. Runs in a process of its own, which PID 1 gives up when it takes too long.
//!
//! The seed document is the first of: QEMU's fw_cfg, the kernel command line, a volume, VMware's
//! guestinfo. The properties come from VMware's guestinfo, or from the CD of the OVF transport "iso".
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use gateway_api::shown_url;
use serde::{Deserialize, Serialize};

use super::{BYTES_MAX, GUESTINFO, Told, ovf_environment, volumes};
use crate::{
    children,
    gateway_tool::Download,
    modules::Modules,
    service,
    sys::{self, CommandLine},
    time,
};

const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/tidegate/seed/raw";
const WORD: &str = "tidegate.seed";
/// What the import's wizard was told, as XML.
const OVF_ENVIRONMENT: &str = "guestinfo.ovfEnv";
/// VMware answers at once or never.
const GUESTINFO_TIME: Duration = Duration::from_secs(10);

/// What was found in all sources.
#[derive(Debug, Default)]
struct Gathered {
    /// Source in words, and its bytes.
    document: Option<(String, Vec<u8>)>,
    environment: Option<(String, Vec<u8>)>,
    problems: Vec<String>,
}

/// VMware's guestinfo.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Guestinfo {
    seed: Option<Vec<u8>>,
    environment: Option<Vec<u8>>,
}

/// Finds the seed and prints it as JSON, [`Told`].
///
/// # Errors
/// It cannot be printed. A source that fails is a problem in what is printed.
pub(crate) fn print_seed() -> Result<()> {
    let told = told(gather(&CommandLine::read(), &mut Modules::open()), Path::new(time::ZONES));
    Ok(io::stdout().write_all(&serde_json::to_vec(&told)?)?)
}

/// The settings document of the first volume that has one, to be imported.
///
/// # Errors
/// There is none, or it cannot be read.
pub(crate) fn document_of_volume() -> Result<String> {
    let found = volumes::look(&mut Modules::open());
    match (found.document, found.problems.is_empty()) {
        (Some((from, bytes)), _) => as_text(bytes).with_context(|| format!("the {from}")),
        (None, false) => bail!("{}", found.problems.join("; ")),
        (None, true) => bail!(
            "no volume labelled TIDEGATE or CIDATA with a file tidegate.toml is attached (ISO 9660 or FAT)"
        ),
    }
}

/// The settings document at a URL.
///
/// # Errors
/// Words for the console: it cannot be had, or is no text.
pub(crate) fn document_of_url(url: &str) -> Result<String> {
    as_text(Download::begin(url, BYTES_MAX as u64)?.bytes()?).with_context(|| shown_url(url))
}

/// The update on a volume, to be read.
///
/// # Errors
/// There is none, or it cannot be opened.
pub(crate) fn update_of_volume(modules: &mut Modules) -> Result<(String, fs::File)> {
    volumes::update(modules)
}

fn gather(line: &CommandLine, modules: &mut Modules) -> Gathered {
    let mut gathered = Gathered::default();
    modules.load("qemu_fw_cfg");
    // Without QEMU, or without a seed from it, there is no such file.
    gathered.take("fw_cfg", fs::read(FW_CFG).ok(), None);
    if let Some(encoded) = line.get(WORD) {
        match STANDARD.decode(encoded) {
            Ok(bytes) => gathered.take("kernel command line", Some(bytes), None),
            Err(error) => gathered.problems.push(format!("{WORD} is not base64: {error}")),
        }
    }
    let volumes = volumes::look(modules);
    gathered.document = gathered.document.or(volumes.document);
    gathered.problems.extend(volumes.problems);
    match guestinfo() {
        Ok(info) => gathered.take("guestinfo", info.seed, info.environment),
        Err(error) => gathered.problems.push(format!("{error:#}")),
    }
    gathered.environment = gathered.environment.or(volumes.environment);
    gathered
}

impl Gathered {
    fn take(&mut self, source: &str, document: Option<Vec<u8>>, environment: Option<Vec<u8>>) {
        let named = |bytes: Vec<u8>| (source.to_owned(), bytes);
        let some = |bytes: &Vec<u8>| !bytes.is_empty();
        self.document = self.document.take().or(document.filter(some).map(named));
        self.environment = self.environment.take().or(environment.filter(some).map(named));
    }
}

/// What was gathered, as one seed.
fn told(gathered: Gathered, zones: &Path) -> Told {
    let mut problems = gathered.problems;
    let mut from = Vec::new();
    let mut text = |found: Option<(String, Vec<u8>)>, what: &str| {
        let (source, bytes) = found?;
        match as_text(bytes) {
            Ok(text) => {
                from.push(format!("{what} from {source}"));
                Some(text)
            }
            Err(why) => {
                problems.push(format!("the {what} from {source} {why:#}"));
                None
            }
        }
    };
    let document = text(gathered.document, "document");
    let xml = text(gathered.environment, "OVF environment");
    let properties = match xml.as_deref().map(ovf_environment::properties) {
        Some(Ok(properties)) => properties,
        Some(Err(error)) => {
            problems.push(format!("{error:#}"));
            BTreeMap::new()
        }
        None => BTreeMap::new(),
    };
    let told = Told::new(document, &properties, zones);
    let incomplete = !problems.is_empty();
    problems.extend(told.problems);
    Told { from, problems, incomplete, ..told }
}

fn as_text(bytes: Vec<u8>) -> Result<String> {
    if bytes.len() > BYTES_MAX {
        bail!("is larger than 1 MiB");
    }
    String::from_utf8(bytes).ok().context("is not UTF-8 text")
}

/// VMware's guestinfo, asked only where the processor says that it is VMware's, and by a process of its
/// own: elsewhere the request is a fault.
fn guestinfo() -> Result<Guestinfo> {
    if !sys::is_vmware() {
        return Ok(Guestinfo::default());
    }
    let mut command = Command::new(service::INIT);
    let said = children::run(command.arg("guestinfo"), GUESTINFO_TIME)
        .context("VMware does not answer for guestinfo")?;
    serde_json::from_slice(&said).context("VMware's guestinfo")
}

/// Asks VMware and prints what it says as JSON, [`Guestinfo`].
///
/// # Errors
/// The host gives no guestinfo.
pub(crate) fn print_guestinfo() -> Result<()> {
    let mut backdoor = vmw_backdoor::access_backdoor().context("VMware's backdoor")?;
    let mut channel = backdoor.open_enhanced_chan().context("VMware's guest channel")?;
    let seed = channel.get_guestinfo(GUESTINFO.as_bytes()).context(GUESTINFO)?;
    let environment = channel.get_guestinfo(OVF_ENVIRONMENT.as_bytes()).context(OVF_ENVIRONMENT)?;
    let info = Guestinfo { seed, environment };
    Ok(io::stdout().write_all(&serde_json::to_vec(&info)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = r#"<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1"
        xmlns:oe="http://schemas.dmtf.org/ovf/environment/1"><PropertySection>
        <Property oe:key="hostname" oe:value="gate7"/>
        <Property oe:key="vlan" oe:value="many"/>
        </PropertySection></Environment>"#;

    fn zones() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("UTC"), b"TZif2").unwrap();
        dir
    }

    fn from(source: &str, bytes: &[u8]) -> Option<(String, Vec<u8>)> {
        Some((source.to_owned(), bytes.to_vec()))
    }

    #[test]
    fn the_first_source_that_has_something_counts() {
        let mut gathered = Gathered::default();
        gathered.take("a", Some(Vec::new()), None);
        gathered.take("b", Some(b"[machine]".to_vec()), None);
        gathered.take("c", Some(b"[gateway]".to_vec()), Some(XML.into()));
        assert_eq!(gathered.document, from("b", b"[machine]"));
        assert_eq!(gathered.environment.unwrap().0, "c");
    }

    #[test]
    fn what_is_wrong_with_one_source_does_not_spoil_the_other() {
        let zones = zones();
        let document = from("fw_cfg", b"[machine]\nntp_servers = [\"10.0.0.2\"]\n");
        let environment = from("guestinfo", XML.as_bytes());
        let both = Gathered { document: document.clone(), environment, problems: Vec::new() };
        let both = told(both, zones.path());
        assert!(both.text.contains("gate7") && both.text.contains("10.0.0.2"), "{}", both.text);
        assert_eq!(both.from, ["document from fw_cfg", "OVF environment from guestinfo"]);
        assert!(both.problems[0].starts_with("VLAN: "), "{:?}", both.problems);
        assert!(!both.incomplete, "a wrong value is wrong again at the next boot");

        let environment = from("guestinfo", b"<Environment");
        let broken = told(Gathered { document, environment, problems: vec![] }, zones.path());
        assert!(broken.incomplete && broken.text.contains("10.0.0.2"));
        assert!(broken.problems[0].contains("OVF environment"), "{:?}", broken.problems);

        for (bytes, says) in [(vec![0xff], "not UTF-8"), (vec![b' '; BYTES_MAX + 1], "1 MiB")] {
            let document = from("volume \"CIDATA\" on /dev/sr0", &bytes);
            let environment = from("guestinfo", XML.as_bytes());
            let told = told(Gathered { document, environment, problems: vec![] }, zones.path());
            assert!(told.problems[0].contains(says), "{:?}", told.problems);
            assert!(told.problems[0].contains("CIDATA") && told.text.contains("gate7"));
        }
    }

    #[test]
    fn nothing_found_is_an_empty_seed() {
        let zones = zones();
        let told = told(Gathered::default(), zones.path());
        assert!(told.text.is_empty() && told.problems.is_empty());
    }
}
