//! What an operator typed and saw, in order, as text to be read. Pure, but for writing it down.
use std::{fs, path::Path};

use anyhow::{Context, Result};

/// Keys and screens.
#[derive(Debug, Default)]
pub struct Transcript {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Words(String),
    Keys(String),
    Screen(String),
}

impl Transcript {
    /// What comes next, in words.
    pub fn words(&mut self, words: &str) {
        self.parts.push(Part::Words(words.to_owned()));
    }

    /// These keys were typed, as a serial line has them.
    pub fn keys(&mut self, keys: &str) {
        self.parts.push(Part::Keys(named(keys)));
    }

    /// The screen showed this.
    pub fn screen(&mut self, screen: &str) {
        self.parts.push(Part::Screen(screen.to_owned()));
    }

    /// All of it. Each screen is set apart by a bar on its left.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Words(words) => text.push_str(&format!("\n== {words}\n")),
                Part::Keys(keys) => text.push_str(&format!("\n-> {keys}\n")),
                Part::Screen(screen) => {
                    text.push('\n');
                    for line in screen.lines().filter(|line| !line.is_empty()) {
                        text.push_str(&format!("    |{line}\n"));
                    }
                }
            }
        }
        text.trim_start().to_owned()
    }

    /// The same without what differs from run to run: times, ports and amounts become `#`.
    pub fn normalised(&self) -> String {
        self.text().lines().map(normal).collect::<Vec<_>>().join("\n")
    }

    /// Writes it to `NAME.txt`, and normalised to `NAME.normalised.txt`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn keep(&self, folder: &Path, name: &str) -> Result<()> {
        for (suffix, text) in [("txt", self.text()), ("normalised.txt", self.normalised())] {
            let file = folder.join(format!("{name}.{suffix}"));
            fs::write(&file, text).with_context(|| file.display().to_string())?;
        }
        Ok(())
    }
}

/// Keys as people call them.
fn named(keys: &str) -> String {
    const NAMES: [(&str, &str); 7] = [
        ("\x1b[5~", "PageUp"),
        ("\x1b[6~", "PageDown"),
        ("\x1b", "Esc"),
        ("\r", "Enter"),
        ("\t", "Tab"),
        ("\x15", "Ctrl-U"),
        (" ", "Space"),
    ];
    let mut words: Vec<String> = Vec::new();
    let (mut rest, mut typed) = (keys, String::new());
    while let Some(first) = rest.chars().next() {
        let found = NAMES.iter().find(|(key, _)| rest.starts_with(key));
        match found {
            // A blank in the midst of what is typed is part of it.
            Some((" ", _)) if !typed.is_empty() => typed.push(' '),
            Some((_, name)) => {
                if !typed.is_empty() {
                    words.push(std::mem::take(&mut typed));
                }
                words.push(format!("<{name}>"));
            }
            None => typed.push(first),
        }
        let length = found.map_or(first.len_utf8(), |(key, _)| key.len());
        rest = &rest[length..];
    }
    if !typed.is_empty() {
        words.push(typed);
    }
    words.join(" ")
}

/// Digits that differ from run to run, as `#`: those of a time, a date, a port of ours, a figure with a unit.
fn normal(line: &str) -> String {
    let is_digit = |c: char| c.is_ascii_digit();
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(is_digit) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let end = from.find(|c: char| !is_digit(c)).unwrap_or(from.len());
        let (digits, after) = from.split_at(end);
        let last = out.chars().last();
        // 10.0.2.15 and 150 GiB stay; 18:00:00, 2026-11-23, :43127 and 12 ms go.
        let port = last == Some(':') && digits.len() >= 4;
        let time = digits.len() == 2 && (last == Some(':') || after.starts_with(':'));
        let date =
            digits.len() == 4 && after.starts_with('-') || digits.len() == 2 && last == Some('-');
        let measured = [" ms", " s ", " s)", " seconds", " MiB", "."]
            .iter()
            .any(|unit| after.starts_with(unit))
            && !is_address(&out, digits, after);
        if port || time || date || measured {
            out.push_str(&"#".repeat(digits.len()));
        } else {
            out.push_str(digits);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Whether digits are part of a dotted address, or of a size in GiB.
fn is_address(before: &str, digits: &str, after: &str) -> bool {
    let dotted = after.starts_with('.') && after[1..].starts_with(|c: char| c.is_ascii_digit());
    let size = after.starts_with('.') && after.contains(" GiB");
    digits.len() <= 3 && (before.ends_with('.') || dotted || size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_names() {
        assert_eq!(named("\x15a b\r\x1b[6~ \x1b"), "<Ctrl-U> a b <Enter> <PageDown> <Space> <Esc>");
    }

    #[test]
    fn what_differs_from_run_to_run_is_no_part_of_it() {
        for (line, expected) in [
            (
                "Asia/Seoul, 2026-11-23 18:00:00 KST (+0900)",
                "Asia/Seoul, ####-##-## ##:##:## KST (+0900)",
            ),
            (
                "http://10.0.2.2:43127 on /dev/sdb, 150 GiB",
                "http://10.0.2.2:##### on /dev/sdb, 150 GiB",
            ),
            ("used again in 58 seconds.", "used again in ## seconds."),
            ("MAC address  52:54:00:7a:00:01", "MAC address  ##:##:##:7a:##:##"),
        ] {
            assert_eq!(normal(line), expected);
        }
    }

    #[test]
    fn a_transcript_tells_keys_and_screens_in_their_order() {
        let mut transcript = Transcript::default();
        transcript.words("the first visit");
        transcript.keys("\r");
        transcript.screen("Title\n\n text");
        assert_eq!(
            transcript.text(),
            "== the first visit\n\n-> <Enter>\n\n    |Title\n    | text\n"
        );
    }
}
