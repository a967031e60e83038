//! The seed: what the appliance is told from outside, on its first boot and whenever it changes.
//!
//! One TOML document with a table `[machine]` (our settings) and a table `[gateway]` (the gateway's,
//! not interpreted here), and the properties that the wizard of an OVA's import asked for, which say
//! what the document does not. `sources` finds them, `properties` makes settings of properties.
mod ovf_environment;
mod properties;
mod sources;
mod volumes;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::chown,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub(crate) use self::sources::{
    document_of_url, document_of_volume, print_guestinfo, print_seed, update_of_volume,
};
use crate::{machine::Machine, not_toml, reserve};

/// The key of the seed document, in VMware's guestinfo and among the properties.
const GUESTINFO: &str = "guestinfo.tidegate.seed";
/// The digest of the seed that was last applied: not the seed, which has secrets in it.
const APPLIED: &str = "seed-applied";
/// The digest of the seed that waits until [`APPLIED`] can be read.
const WAITS: &str = "seed-waits";
/// The gateway's part, where the gateway reads it.
pub(crate) const GATEWAY_SEED: &str = "/config/gateway-seed.toml";
/// Largest seed: settings with every share at its longest are far below.
const BYTES_MAX: usize = 1 << 20;

/// Everything that was told from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    /// The seed document; empty if there is none.
    pub(crate) text: String,
    /// Where it is from, in words.
    pub(crate) from: Vec<String>,
    /// SHA-256 of what was told, as it was told.
    pub(crate) digest: String,
    /// What is not used, and why.
    pub(crate) problems: Vec<String>,
    /// Whether a source could not be read: what was told may be more.
    pub(crate) incomplete: bool,
}

impl Told {
    /// Puts document and properties together: the document has the last word.
    fn new(document: Option<String>, told: &BTreeMap<String, String>, zones: &Path) -> Self {
        let blank = |text: &String| text.trim().is_empty();
        let document = document.filter(|text| !blank(text));
        let document =
            document.or_else(|| told.get(GUESTINFO).filter(|text| !blank(text)).cloned());
        let mut raw = Sha256::new();
        // With their lengths, so that no two seeds are fed in as the same bytes.
        for part in document.iter().chain(told.iter().flat_map(|(key, value)| [key, value])) {
            raw.update((part.len() as u64).to_le_bytes());
            raw.update(part);
        }
        let digest = raw.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let text = plain(document.unwrap_or_default());
        let properties = properties::document(told, zones);
        let text = match text.parse::<toml::Table>() {
            Ok(mut table) => {
                for (name, part) in
                    [("machine", properties.machine), ("gateway", properties.gateway)]
                {
                    if !part.is_empty() {
                        let part = toml::Table::from_iter([(name.to_owned(), part.into())]);
                        complete(&mut table, part);
                    }
                }
                table.to_string()
            }
            // Left as it is, to be reported.
            Err(_) => text,
        };
        Self { text, digest, problems: properties.problems, ..Self::default() }
    }
}

/// Adds to a table what it does not say.
fn complete(table: &mut toml::Table, more: toml::Table) {
    for (key, value) in more {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(value)) => complete(inner, value),
            (Some(_), _) => {}
            (None, value) => {
                table.insert(key, value);
            }
        }
    }
}

/// What fits no wizard's text field comes in base64.
fn plain(text: String) -> String {
    let packed: String = text.split_whitespace().collect();
    match STANDARD.decode(&packed).ok().and_then(|bytes| String::from_utf8(bytes).ok()) {
        Some(decoded) if decoded.contains('[') => decoded,
        _ => text,
    }
}

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
        let mut document: toml::Table = text.parse().map_err(|error| {
            anyhow!("the document is not TOML: {}", not_toml::in_line(&error, text))
        })?;
        let machine = match document.remove("machine") {
            Some(table) => {
                let text = toml::to_string(&table)?;
                Some(Machine::parse(&text, zones).context("its [machine]")?)
            }
            None => None,
        };
        let gateway = match document.remove("gateway") {
            Some(table) => Some(toml::to_string(&table)?),
            None => None,
        };
        if let Some(unknown) = document.keys().next() {
            bail!("the document has a table {unknown:?}; known are [machine] and [gateway]");
        }
        Ok(Self { machine, gateway })
    }
}

/// What the machine's part of a seed replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replaces {
    /// Settings, which may be newer than a seed that was applied.
    Settings,
    /// Nothing: what was set is lost, and what such a seed had set with it, a password above all.
    Nothing,
}

/// Applies a seed that is another one than last time: writes the gateway's part for the gateway, hands
/// the machine's part to `keep`, and notes the seed as applied after that. `config` is where settings
/// are kept. Where the machine's part [replaces nothing](Replaces::Nothing), that has it whatever was applied before.
///
/// # Errors
/// What is wrong with it, what could not be kept, or that it cannot be read whether it was applied: what an operator has
/// set since then must not be lost.
pub(crate) fn apply(
    told: &Told,
    config: &Path,
    zones: &Path,
    gateway: (u32, u32),
    replaces: Replaces,
    keep: impl FnOnce(Machine) -> Result<()>,
) -> Result<()> {
    if told.text.is_empty() {
        return Ok(());
    }
    let standing = standing(told, config);
    let mut seed = Seed { machine: None, gateway: None };
    if standing == Standing::Another || replaces == Replaces::Nothing {
        seed = Seed::parse(&told.text, zones)?;
    }
    let for_gateway = seed.gateway.filter(|_| standing == Standing::Another);
    let written =
        for_gateway.map_or(Ok(()), |document| write_for_gateway(&document, config, gateway));
    // Whatever became of that: without network and password nobody mends it.
    let kept = seed.machine.map(keep).transpose()?.is_some();
    written?;
    match standing {
        Standing::Doubtful(why) => {
            let why = wait(told, config, &why);
            return Err(if kept {
                why.context("[machine] is applied, the rest of it waits")
            } else {
                why
            });
        }
        Standing::Part if !kept => return Ok(()),
        Standing::Applied => {}
        Standing::Part | Standing::Another => {
            let applied = config.join(APPLIED);
            reserve::replace_file(&applied, told.digest.as_bytes(), 0o600)
                .with_context(|| applied.display().to_string())?;
        }
    }
    // Only now: until the note can be read, by this one a change is known.
    let waits = config.join(WAITS);
    match fs::remove_file(&waits) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| waits.display().to_string())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write_for_gateway(document: &str, config: &Path, gateway: (u32, u32)) -> Result<()> {
    let path = gateway_part(config);
    reserve::replace_file(&path, document.as_bytes(), 0o600)
        .with_context(|| path.display().to_string())?;
    chown(&path, Some(gateway.0), Some(gateway.1)).with_context(|| path.display().to_string())
}

/// [`GATEWAY_SEED`] in the folder `config`.
pub(crate) fn gateway_part(config: &Path) -> PathBuf {
    config.join(Path::new(GATEWAY_SEED).file_name().expect("it names a file"))
}

/// What is known of a seed by the note of the one that was last applied.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// It was applied.
    Applied,
    /// It was not: another one was, or none.
    Another,
    /// It is part of a seed that cannot be read as a whole, and one was applied.
    Part,
    /// The note cannot be read; why.
    Doubtful(String),
}

fn standing(told: &Told, config: &Path) -> Standing {
    let is_this = |last: &[u8]| last == told.digest.as_bytes();
    let note = config.join(APPLIED);
    let why = match fs::read(&note) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Standing::Another,
        Ok(last) if is_this(&last) => return Standing::Applied,
        // Part of a seed is better than none, but must not replace what the whole one has set.
        _ if told.incomplete => return Standing::Part,
        Ok(_) => return Standing::Another,
        Err(error) => format!("{}: {error}", note.display()),
    };
    match fs::read(config.join(WAITS)) {
        // It was changed since that one waits.
        Ok(waits) if !is_this(&waits) => Standing::Another,
        Ok(_) | Err(_) => Standing::Doubtful(why),
    }
}

/// Notes that a seed waits, so that a change of it is known while the note of the last one is not: else no other one
/// would ever be applied. That note is left as it is, to be read at a later boot. Answers what is to be said.
fn wait(told: &Told, config: &Path, why: &str) -> anyhow::Error {
    const WORDS: &str = "not applied, because it cannot be read whether it was before; that is looked at again at the \
                         next boot. Where it is new and still waits then,";
    match reserve::replace_file(&config.join(WAITS), told.digest.as_bytes(), 0o600) {
        Ok(()) => {
            anyhow!("{WORDS} change it once more, or set on the console what it says. {why}")
        }
        Err(error) => anyhow!("{WORDS} set on the console what it says. {why}; noting it: {error}"),
    }
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

    fn seed(text: &str) -> Told {
        Told::new(Some(text.to_owned()), &BTreeMap::new(), zones().path())
    }

    /// Applies a seed; how that ended, and the machine's settings that were kept.
    fn applied(told: &Told, config: &Path) -> (Result<()>, Option<Machine>) {
        let me = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        let mut kept = None;
        let keep = |machine| {
            kept = Some(machine);
            Ok(())
        };
        let done = apply(told, config, zones().path(), me, Replaces::Settings, keep);
        (done, kept)
    }

    #[test]
    fn a_seed_is_applied_once_until_it_changes() {
        let config = tempfile::tempdir().unwrap();
        let apply = |text: &str| {
            let (done, kept) = applied(&seed(text), config.path());
            done.unwrap();
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
        let replaces = Replaces::Settings;
        assert!(apply(&seed(TEXT), config.path(), zones.path(), me, replaces, refuse).is_err());
        let (done, kept) = applied(&seed(TEXT), config.path());
        done.unwrap();
        assert!(kept.is_some());
    }

    #[test]
    fn a_seed_wrong_for_the_gateway_alone_sets_up_the_machine() {
        for (from, to, kept) in [("region", "regoin", true), ("hostname", "hostnaem", false)] {
            let config = tempfile::tempdir().unwrap();
            let (done, machine) = applied(&seed(&TEXT.replace(from, to)), config.path());
            assert_eq!((done.is_ok(), machine.is_some()), (kept, kept), "{from}");
            // Where the gateway finds it, and says what is wrong.
            assert_eq!(config.path().join("gateway-seed.toml").exists(), kept, "{from}");
        }
    }

    /// Goal: a partition that takes nothing keeps no password from the console.
    #[test]
    fn a_seed_whose_part_for_the_gateway_cannot_be_written_sets_up_the_machine() {
        let config = tempfile::tempdir().unwrap();
        fs::create_dir(gateway_part(config.path())).unwrap();
        let (done, kept) = applied(&seed(TEXT), config.path());
        assert!(format!("{:#}", done.unwrap_err()).contains("gateway-seed.toml"));
        assert_eq!(kept.unwrap().hostname, "tidegate");
        assert!(!config.path().join(APPLIED).exists(), "it is applied again");
    }

    #[test]
    fn half_a_seed_replaces_no_other_one() {
        let config = tempfile::tempdir().unwrap();
        let apply = |told: &Told| {
            let (done, kept) = applied(told, config.path());
            done.unwrap();
            kept.map(|machine| machine.hostname)
        };
        let half = Told { incomplete: true, ..seed("[machine]\nhostname = \"half\"") };
        assert_eq!(apply(&half).as_deref(), Some("half"), "at the first boot");
        assert_eq!(apply(&seed(TEXT)).as_deref(), Some("tidegate"));
        assert_eq!(apply(&half), None);
        assert_eq!(apply(&Told::default()), None, "a seed that was taken away");
        assert_eq!(apply(&seed(TEXT)), None, "and the same one again");
    }

    /// Goal: a disk that does not give the note of the last seed costs neither what was set since nor a new seed. Method:
    /// one that gives it at a later boot or never, and one that takes nothing either.
    #[test]
    fn a_seed_of_which_it_cannot_be_read_whether_it_was_applied_waits_for_the_note() {
        let config = tempfile::tempdir().unwrap();
        let apply = |told: &Told| {
            let (done, kept) = applied(told, config.path());
            let kept = kept.map(|machine| machine.hostname);
            done.map(|()| kept).map_err(|error| format!("{error:#}"))
        };
        let note = config.path().join("seed-applied");
        // Reading it fails, and not because it is not there.
        let lose = || {
            let _absent = fs::remove_file(&note);
            std::os::unix::fs::symlink(&note, &note).unwrap();
        };
        let gives = |told: &Told| {
            fs::remove_file(&note).unwrap();
            fs::write(&note, &told.digest).unwrap();
        };
        let fails = |told: &Told, says: &str| {
            let why = apply(told).unwrap_err();
            assert!(why.contains("not applied") && why.contains(says), "{why}");
        };
        let changed = seed(&TEXT.replace("\"tidegate\"", "\"other\""));
        let half = Told { incomplete: true, ..seed("[machine]\nhostname = \"half\"") };
        for _ in 0..2 {
            lose();
            assert_eq!(apply(&half), Ok(None));
            for _ in 0..2 {
                fails(&seed(TEXT), "at the next boot");
                assert!(note.is_symlink(), "what is noted is left to be read");
                assert!(!config.path().join("gateway-seed.toml").exists());
            }
            gives(&seed(TEXT));
            assert_eq!(apply(&seed(TEXT)), Ok(None), "it was");
        }
        lose();
        fails(&changed, "at the next boot");
        gives(&seed(TEXT));
        assert_eq!(apply(&changed), Ok(Some("other".to_owned())), "it was not");
        lose();
        fails(&changed, "change it once more");
        assert_eq!(apply(&seed(TEXT)), Ok(Some("tidegate".to_owned())), "there is a way on");
        assert_eq!(apply(&seed(TEXT)), Ok(None));
        lose();
        fails(&changed, "at the next boot");
        lose();
        fs::create_dir(config.path().join("seed-waits.new")).unwrap();
        fs::remove_file(config.path().join("seed-waits")).unwrap();
        for _ in 0..2 {
            fails(&changed, "noting it");
        }
    }

    #[test]
    fn what_is_noted_tells_every_change_and_no_secret() {
        let zones = zones();
        let told = |password: &str| {
            let properties = BTreeMap::from([("password".to_owned(), password.to_owned())]);
            Told::new(None, &properties, zones.path())
        };
        let (first, again) = (told("correct horse"), told("correct horse"));
        assert_ne!(first.text, again.text, "each has a salt of its own");
        assert_eq!(first.digest, again.digest);
        assert_ne!(first.digest, told("another horse").digest);
        assert!(first.digest.len() == 64 && !first.text.contains("horse"));
        let one = BTreeMap::from([("a".to_owned(), "bc".to_owned())]);
        let other = BTreeMap::from([("ab".to_owned(), "c".to_owned())]);
        let digest = |told| Told::new(None, told, zones.path()).digest;
        assert_ne!(digest(&one), digest(&other));
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

    /// What is wrong with a seed stands on the front page, before anybody has logged in.
    #[test]
    fn what_is_wrong_with_a_seed_tells_no_secret_of_it() {
        let zones = zones();
        for (text, says) in [
            ("[gateway.s3]\nsecret_access_key = SEEDED\n", "line 2: "),
            ("[gateway.s3]\nsecret_access_key = \"SEEDED\n", "line 2: "),
            ("[machine]\n password_hash = $6$SEEDED\n", "line 2: "),
            ("[machine]\nversion = \"SEEDED\"\n", "its [machine]: "),
            ("[machine]\npasword_hash = \"SEEDED\"\n", "unknown field `pasword_hash`"),
            ("[machine]\npassword_hash = \"SEEDED\"\n", "openssl passwd -6"),
        ] {
            let error = format!("{:#}", Seed::parse(text, zones.path()).unwrap_err());
            assert!(error.contains(says) && !error.contains("SEEDED"), "{text}: {error}");
        }
    }

    #[test]
    fn what_the_wizard_was_told_completes_the_seed() {
        let zones = zones();
        let told = |document: Option<&str>, hostname: &str, seed: &str| {
            let properties = BTreeMap::from([
                ("hostname".to_owned(), hostname.to_owned()),
                ("s3_region".to_owned(), "eu-west-1".to_owned()),
                ("s3_access_key_id".to_owned(), "AKIDEXAMPLE".to_owned()),
                ("share_bucket".to_owned(), "other".to_owned()),
                (GUESTINFO.to_owned(), seed.to_owned()),
            ]);
            Told::new(document.map(str::to_owned), &properties, zones.path()).text
        };
        let parse = |text: &str| Seed::parse(text, zones.path()).unwrap();
        assert_eq!(parse(&told(None, "gate7", "")).machine.unwrap().hostname, "gate7");
        let both = parse(&told(None, "gate7", &STANDARD.encode(TEXT)));
        assert_eq!(both.machine.unwrap().hostname, "tidegate", "the document has the last word");
        let gateway = gateway_api::Settings::from_toml(&both.gateway.unwrap()).unwrap();
        assert_eq!(gateway.s3.region, "ap-northeast-2", "in every table");
        assert_eq!(gateway.s3.access_key_id, "AKIDEXAMPLE", "and what it does not say counts");
        assert_eq!(gateway.shares.len(), 1);
        let direct = told(Some("[machine]\ntimezone = \"UTC\""), "gate7", "[machine");
        assert_eq!(parse(&direct).machine.unwrap().hostname, "gate7");
        assert_eq!(told(Some("[machine"), "gate7", ""), "[machine", "left to be reported");
        assert_eq!(Told::new(None, &BTreeMap::new(), zones.path()).text, "");
    }

    #[test]
    fn base64_is_unpacked_and_plain_text_left() {
        assert_eq!(plain(STANDARD.encode("[machine]")), "[machine]");
        assert_eq!(plain("[machine]\n".to_owned()), "[machine]\n");
    }
}
