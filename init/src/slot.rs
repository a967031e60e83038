//! The two places on the system disk that a version can stand in.
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::sys;

/// Stage 1's word to stage 2; /run is carried over.
const RUNNING: &str = "/run/system-slot";

/// A slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Slot {
    A,
    B,
}

impl Slot {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::A, Self::B];

    /// Its letter in names on the ESP.
    pub(crate) fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }

    /// The slot of a letter.
    pub(crate) fn of(letter: &str) -> Option<Self> {
        match letter {
            "a" => Some(Self::A),
            "b" => Some(Self::B),
            _ => None,
        }
    }

    /// Name of its partition.
    pub(crate) fn partition(self) -> &'static str {
        match self {
            Self::A => "root-a",
            Self::B => "root-b",
        }
    }

    /// Notes for stage 2 that this one runs.
    ///
    /// # Errors
    /// /run cannot be written to.
    pub(crate) fn note_running(self) -> io::Result<()> {
        fs::write(RUNNING, self.letter().to_string())
    }

    /// The one that runs, as stage 1 found it.
    pub(crate) fn running() -> Option<Self> {
        Self::of(&sys::read_line(RUNNING))
    }

    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}
