//! Why a settings document is refused, in words for the operator. They stand on pages that everybody sees, and in
//! logs, so no value of the document is in them: it may be a secret.
use super::SETTINGS_VERSION;

/// Why a settings document was refused; every message names the field and what to write.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not TOML, an unknown or missing field, or a value of the wrong kind. The line itself is not told: it may have a
    /// secret.
    #[error("the settings cannot be read: {}{what}", in_line(*line))]
    Syntax {
        /// Which line it is in, from 1 on, where one is to blame.
        line: Option<usize>,
        /// What is wrong.
        what: String,
    },
    /// The document could not be written as TOML.
    #[error("the settings cannot be written: {0}")]
    Write(#[from] Box<toml::ser::Error>),
    /// Written by a newer version.
    #[error("the settings have version {found}; this version reads {SETTINGS_VERSION}")]
    Version {
        /// What the document says.
        found: u32,
    },
    /// A field's value is not usable.
    #[error("{field}: {problem}")]
    Field {
        /// Dotted path of the field, as written in the document.
        field: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

fn in_line(line: Option<usize>) -> String {
    line.map(|line| format!("line {line}: ")).unwrap_or_default()
}

impl SettingsError {
    /// What `error` says of the document `text`.
    pub fn syntax(text: &str, error: &toml::de::Error) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map(|before| before.matches('\n').count() + 1);
        Self::Syntax { line, what: without_value(error.message()) }
    }

    /// A field whose value is not usable.
    pub fn field(field: &str, problem: impl Into<String>) -> Self {
        Self::Field { field: field.to_owned(), problem: problem.into() }
    }
}

/// serde's words for a value of the wrong kind or size, without that value, which may be a secret: ``invalid type:
/// string "hush", expected u32`` becomes `invalid type, expected u32`. Other words are as they were: names are told.
pub fn without_value(words: &str) -> String {
    match (words.split_once(": "), words.rsplit_once(", expected ")) {
        // What is expected may have a colon, too; the kind has no comma.
        (Some((kind, _)), Some((_, expected)))
            if kind.starts_with("invalid ") && !kind.contains(',') =>
        {
            format!("{kind}, expected {expected}")
        }
        _ => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_is_not_told_and_names_are() {
        for (words, told) in [
            ("invalid type: string \"hush\", expected u32", "invalid type, expected u32"),
            ("invalid value: integer `-5`, expected u32", "invalid value, expected u32"),
            (
                "invalid type: string \"hush: a, expected b\", expected a map",
                "invalid type, expected a map",
            ),
            ("invalid length 3, expected one: two", "invalid length 3, expected one: two"),
            ("unknown field `typo`, expected `a`", "unknown field `typo`, expected `a`"),
            ("missing field `version`", "missing field `version`"),
            ("invalid basic string, expected `\"`", "invalid basic string, expected `\"`"),
        ] {
            assert_eq!(without_value(words), told);
        }
    }
}
