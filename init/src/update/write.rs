//! The process that writes an update, `init write-update`: what it reads are strangers' bytes until their
//! signature was checked, so it gives up everything but the other slot's partition and the ESP before it
//! reads the first of them.
use std::{
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Context, Result};

use super::{
    install,
    manifest::Running,
    note::{OLDEST, Standing},
    port::Disk,
    signature::Keys,
    stream::Stream,
};
use crate::{confine, mounts, sys::CommandLine};

/// Public keys of whoever may sign updates.
const KEYS: &str = "/usr/lib/tidegate/update-keys";
/// The argument by which an older version is allowed.
pub(super) const OLDER_TOO: &str = "older-too";

/// A line of what the process says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The update is signed and may follow; its version. The other slot is touched after it.
    Version(String),
    /// A step is over.
    Step(String),
    /// It failed; words.
    Failed(String),
    /// All of it is done.
    Done,
}

impl Said {
    /// A line without its end.
    pub(super) fn of(line: &str) -> Option<Self> {
        let (kind, words) = line.split_once(' ').unwrap_or((line, ""));
        let words = words.to_owned();
        match kind {
            "version" => Some(Self::Version(words)),
            "step" => Some(Self::Step(words)),
            "failed" => Some(Self::Failed(words)),
            "done" => Some(Self::Done),
            _ => None,
        }
    }

    /// With its end.
    fn line(&self) -> String {
        match self {
            Self::Version(version) => format!("version {version}\n"),
            Self::Step(words) => format!("step {words}\n"),
            // An error's words may have several lines.
            Self::Failed(words) => format!("failed {}\n", words.replace('\n', " ")),
            Self::Done => "done\n".to_owned(),
        }
    }
}

/// What runs, as the image says.
///
/// # Errors
/// It does not.
pub(super) fn running() -> Result<(Standing, Running)> {
    let standing = Standing::running()?;
    let oldest = fs::read_to_string(OLDEST).context(OLDEST)?;
    let oldest = oldest.trim().parse().map_err(anyhow::Error::msg)?;
    Ok((standing, Running { version: standing.version, oldest }))
}

/// Writes the update on standard input into a partition and onto the ESP, which is mounted.
///
/// # Errors
/// Nobody hears what it says.
pub(crate) fn run(device: &str, rest: &[&str]) -> Result<()> {
    let say = |said: &Said| {
        let mut out = io::stdout().lock();
        out.write_all(said.line().as_bytes()).and_then(|()| out.flush())
    };
    let outcome = (|| -> Result<(), String> {
        let words = |error: anyhow::Error| format!("{error:#}");
        let (standing, running) = running().map_err(words)?;
        let keys = fs::read_to_string(KEYS).map_err(|error| format!("{KEYS}: {error}"))?;
        let keys = Keys::parse(&keys)?;
        let line = CommandLine::read();
        let root = File::options().read(true).write(true).open(device);
        let root = Some(root.map_err(|error| format!("{device}: {error}"))?);
        let mut disk = Disk { esp: PathBuf::from(mounts::ESP), root };
        confine::keep_files_only(confine::UPDATE_FILES).map_err(words)?;

        let (manifest, stream) =
            Stream::open(io::stdin().lock(), &keys).map_err(|wrong| wrong.to_string())?;
        manifest.may_follow(running, rest.contains(&OLDER_TOO))?;
        manifest.is_another_build(line.get("tidegate.verity"))?;
        let heard = |error: io::Error| format!("nobody hears: {error}");
        say(&Said::Version(manifest.version.to_string())).map_err(heard)?;
        let mut told = Ok(());
        install::install(&mut disk, standing.slot, &manifest, stream, &mut |words| {
            if let Err(error) = say(&Said::Step(words.to_owned())) {
                told = Err(error);
            }
        })?;
        told.map_err(heard)
    })();
    let said = match outcome {
        Ok(()) => Said::Done,
        Err(why) => Said::Failed(why),
    };
    say(&said).context("telling how it went")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_what_they_said() {
        for said in [
            Said::Version("1.2.3".to_owned()),
            Said::Step("Kernel written".to_owned()),
            Said::Failed("The update is damaged: a. Get it again.".to_owned()),
            Said::Done,
        ] {
            assert_eq!(Said::of(said.line().trim_end()), Some(said));
        }
        assert_eq!(Said::Failed("two\nlines".to_owned()).line(), "failed two lines\n");
        assert_eq!(Said::of("tidegate[1]: init: stopped"), None);
    }
}
