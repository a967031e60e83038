//! A string that never shows itself in `Debug` output, and so never in a log or a panic message.
use std::fmt;

use serde::{Deserialize, Serialize};

/// A secret access key or session token. [`Secret::expose`] is the only way to its text.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for the request signer and the settings file (mode 0600), nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"***\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_the_text() {
        let shown = format!("{:?}", Secret::new("wJalrXUtnFEMI"));
        assert_eq!(shown, "\"***\"");
    }
}
