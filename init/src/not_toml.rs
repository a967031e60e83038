//! What is said of a TOML document that cannot be read. It stands on pages that everybody sees, and in
//! logs, so nothing of the document's text is in it: a line that is wrong may well be that of a secret.
//! The `Display` of [`toml::de::Error`] draws that line.
use gateway_api::{Settings, settings::without_value};

/// The gateway's settings of a document.
///
/// # Errors
/// What is wrong with it, in words for the operator.
pub(crate) fn gateway_settings(text: &str) -> Result<Settings, String> {
    toml::from_str::<Settings>(text).map_err(|error| words(&error))?;
    Settings::from_toml(text).map_err(|error| error.to_string())
}

/// What is wrong, and in which line of `text`, from 1.
pub(crate) fn in_line(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    match before {
        Some(before) => format!("line {}: {}", before.matches('\n').count() + 1, words(error)),
        None => words(error),
    }
}

/// What is wrong. Names are told, values are not.
pub(crate) fn words(error: &toml::de::Error) -> String {
    without_value(error.message())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    #[test]
    fn the_line_s_number_is_said_and_nothing_that_stands_in_it() {
        for (text, says) in [
            ("a = 1\n\nsecret = hush\n", "line 3: string values must be quoted"),
            ("secret = \"hush", "line 1: invalid basic string"),
            ("hostname = 1\nversion = \"hush\"", "line 1: invalid type, expected a string"),
            ("version = \"hush, expected\"", "line 1: invalid type, expected u32"),
            ("sercet = \"hush\"", "line 1: unknown field `sercet`"),
        ] {
            let error = match text.parse::<toml::Table>() {
                Ok(_) => toml::from_str::<Machine>(text).unwrap_err(),
                Err(error) => error,
            };
            let said = in_line(&error, text);
            assert!(said.starts_with(says) && !said.contains("hush"), "{text:?}: {said}");
        }
    }
}
