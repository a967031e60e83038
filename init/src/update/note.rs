//! What is remembered of the last update over reboots, on the config partition, which both versions share.
//! It is for the operator, and for the judgement of a version on trial; what is booted is not decided by it.
use std::{fs, io, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::manifest::Version;
use crate::{reserve, slot::Slot};

/// The file.
pub(crate) const NOTE: &str = "/config/update.json";
/// os-release(5) of the root file system.
const OS_RELEASE: &str = "/usr/lib/os-release";
/// The oldest version that may follow this one, where the image's builder wrote it.
pub(crate) const OLDEST: &str = "/usr/lib/tidegate/oldest-version";

/// A version and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) slot: Slot,
    pub(crate) version: Version,
}

impl Standing {
    /// What runs.
    ///
    /// # Errors
    /// The image does not say, or stage 1 has not.
    pub(crate) fn running() -> Result<Self> {
        let slot = Slot::running().context("stage 1 has not said which slot runs")?;
        let text = fs::read_to_string(OS_RELEASE).context(OS_RELEASE)?;
        let version = version_in(&text).context("os-release has no VERSION_ID")?;
        Ok(Self { slot, version: version.parse().map_err(anyhow::Error::msg)? })
    }
}

fn version_in(os_release: &str) -> Option<&str> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("VERSION_ID="))?;
    Some(value.trim_matches('"'))
}

/// How far an update came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    /// It is being written.
    Writing,
    /// It was not written as a whole.
    Broken,
    /// The next start tries it.
    Ready,
    /// It was started.
    Started,
    /// It was found healthy.
    Kept,
    /// It was not; the other version runs again.
    Failed,
}

/// The last update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// What ran before.
    pub(crate) from: Standing,
    /// What it brings.
    pub(crate) to: Standing,
    pub(crate) stage: Stage,
    /// Why it was not written, or not kept.
    pub(crate) why: Option<String>,
    /// Whether the gateway served when it was begun: if so it has to serve after it, too.
    pub(crate) gateway_ran: bool,
}

impl Note {
    /// Reads it; none if there was no update.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>> {
        match fs::read(path) {
            Ok(text) => {
                Ok(Some(serde_json::from_slice(&text).context("what is noted of the update")?))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("what is noted of the update"),
        }
    }

    /// Keeps it; durable when it returns.
    ///
    /// # Errors
    /// The config partition takes nothing.
    pub(crate) fn store(&self, path: &Path) -> Result<()> {
        reserve::replace_file(path, &serde_json::to_vec(self)?, 0o644)
            .context("the system disk's partition for settings")
    }

    /// What it becomes when this version has booted.
    pub(crate) fn at_boot(self, running: Standing, on_trial: bool) -> Self {
        let failed = |note: Self, why: &str| {
            let why = note.why.clone().or(Some(why.to_owned()));
            Self { stage: Stage::Failed, why, ..note }
        };
        if running == self.to {
            let stage = match (self.stage, on_trial) {
                // The power was cut between the boot loaders' files and this one.
                (Stage::Writing | Stage::Ready | Stage::Started | Stage::Broken, true) => {
                    Stage::Started
                }
                (Stage::Writing | Stage::Ready | Stage::Started | Stage::Broken, false) => {
                    Stage::Kept
                }
                // Somebody has chosen it in the boot loader's menu: it did come up, after all.
                (Stage::Failed, true) => Stage::Started,
                (Stage::Failed | Stage::Kept, false) | (Stage::Kept, true) => Stage::Kept,
            };
            // What an earlier attempt failed for is no reason for what comes later.
            let why = self.why.filter(|_| stage != Stage::Kept);
            return Self { stage, why, ..self };
        }
        match self.stage {
            Stage::Writing => {
                let why = Some("the appliance was restarted meanwhile".to_owned());
                Self { stage: Stage::Broken, why, ..self }
            }
            Stage::Ready => failed(self, "it did not start"),
            Stage::Started => failed(self, "it ended before it was found healthy"),
            Stage::Kept => failed(self, "it could not be started again"),
            Stage::Broken | Stage::Failed => self,
        }
    }

    /// What it becomes when whoever wrote has ended, perhaps without a word: killed by its alarm, for instance.
    pub(crate) fn when_nobody_writes(self) -> Self {
        match self.stage {
            Stage::Writing => {
                let why = Some("writing it broke off".to_owned());
                Self { stage: Stage::Broken, why, ..self }
            }
            Stage::Broken | Stage::Ready | Stage::Started | Stage::Kept | Stage::Failed => self,
        }
    }

    /// The version that can be gone back to, when this one runs.
    pub(crate) fn other(&self, running: Standing) -> Option<Standing> {
        let other = match self.stage {
            Stage::Kept => self.from,
            Stage::Failed => self.to,
            Stage::Writing | Stage::Broken | Stage::Ready | Stage::Started => return None,
        };
        (other.slot == running.slot.other()).then_some(other)
    }

    /// What there is to say of it.
    pub(crate) fn in_words(&self) -> String {
        let (to, from) = (self.to.version, self.from.version);
        let why = self.why.as_deref().unwrap_or("no reason is known");
        match self.stage {
            Stage::Writing => format!("Version {to} is being written."),
            Stage::Broken => format!("Version {to} was not written as a whole: {why}"),
            Stage::Ready => format!("Version {to} is ready: the next start tries it."),
            Stage::Started => format!(
                "Version {to} is on trial: if it does not serve in time, version {from} starts again."
            ),
            Stage::Kept => {
                format!("Version {to} serves since the last update; before it was version {from}.")
            }
            Stage::Failed => {
                format!("Version {to} did not come up healthy ({why}); version {from} runs.")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(slot: Slot, version: &str) -> Standing {
        Standing { slot, version: version.parse().unwrap() }
    }

    fn note(stage: Stage) -> Note {
        Note {
            from: standing(Slot::A, "1.3.0"),
            to: standing(Slot::B, "1.4.0"),
            stage,
            why: None,
            gateway_ran: true,
        }
    }

    #[test]
    fn a_boot_tells_what_became_of_an_update() {
        use Stage::{Broken, Failed, Kept, Ready, Started, Writing};
        let (old, new) = (note(Ready).from, note(Ready).to);
        for (stage, running, on_trial, becomes, why) in [
            (Writing, old, false, Broken, "was restarted meanwhile"),
            (Writing, new, true, Started, ""),
            (Ready, new, true, Started, ""),
            (Ready, new, false, Kept, ""),
            (Ready, old, false, Failed, "did not start"),
            (Started, new, true, Started, ""),
            (Started, new, false, Kept, ""),
            (Started, old, false, Failed, "before it was found healthy"),
            (Kept, new, false, Kept, ""),
            (Kept, old, false, Failed, "could not be started again"),
            (Failed, old, false, Failed, ""),
            (Broken, old, false, Broken, ""),
            // Chosen by hand.
            (Failed, new, false, Kept, ""),
            (Failed, new, true, Started, ""),
        ] {
            let after = note(stage).at_boot(running, on_trial);
            assert_eq!(after.stage, becomes, "{stage:?} {running:?} {on_trial}");
            assert!(after.why.unwrap_or_default().contains(why), "{stage:?}");
        }
        let known = Note { why: Some("the gateway is not ready".to_owned()), ..note(Started) };
        let failed = known.clone().at_boot(old, false);
        assert!(failed.in_words().contains("(the gateway is not ready)"));
        let later = known.at_boot(new, false).at_boot(old, false);
        assert!(later.in_words().contains("(it could not be started again)"), "{later:?}");
    }

    #[test]
    fn an_update_that_nobody_writes_any_more_is_broken() {
        use Stage::{Broken, Failed, Kept, Ready, Started, Writing};
        for stage in [Broken, Ready, Started, Kept, Failed] {
            assert_eq!(note(stage).when_nobody_writes(), note(stage));
        }
        let broken = note(Writing).when_nobody_writes();
        assert_eq!(broken.stage, Broken);
        assert!(broken.in_words().ends_with("was not written as a whole: writing it broke off"));
    }

    #[test]
    fn the_other_slot_is_offered_only_with_a_whole_version() {
        let (old, new) = (note(Stage::Ready).from, note(Stage::Ready).to);
        for (stage, running, is) in [
            (Stage::Kept, new, Some(old)),
            (Stage::Failed, old, Some(new)),
            (Stage::Broken, old, None),
            (Stage::Ready, old, None),
            (Stage::Writing, old, None),
            (Stage::Kept, old, None),
        ] {
            assert_eq!(note(stage).other(running), is, "{stage:?}");
        }
    }

    #[test]
    fn a_note_is_kept_and_nonsense_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("update.json");
        assert_eq!(Note::load(&path).unwrap(), None);
        note(Stage::Ready).store(&path).unwrap();
        assert_eq!(Note::load(&path).unwrap(), Some(note(Stage::Ready)));
        fs::write(&path, "{").unwrap();
        assert!(Note::load(&path).is_err());
    }

    #[test]
    fn the_version_is_in_os_release() {
        assert_eq!(version_in("NAME=\"x\"\nVERSION_ID=1.2.3\n"), Some("1.2.3"));
        assert_eq!(version_in("VERSION_ID=\"1.2.3\"\n"), Some("1.2.3"));
        assert_eq!(version_in("NAME=x\n"), None);
    }
}
