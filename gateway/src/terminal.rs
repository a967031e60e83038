//! Text from outside on its way to somebody's terminal: keys, file names, what servers say.
//!
//! Whoever may write an object may choose its key, and a control character of it would be a command to the terminal
//! of whoever looks.

/// The text as one line. Control characters (ECMA-48) and those that turn the direction of writing (UAX #9) are
/// shown as JSON writes them: `\u001b`.
pub fn one_line(text: &str) -> String {
    escaped(text, |_| false)
}

/// The same of text that has lines and tabs of its own. JSON stays what it was.
pub fn lines(text: &str) -> String {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, keeps: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let commands = c.is_control() || turns(c);
        if commands && !keeps(c) {
            shown.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Whether it changes the order or the lines in which what follows is shown.
fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(
            one_line("a\u{1b}[2J\u{9b}b\n\tc\u{202e}\u{7f}"),
            "a\\u001b[2J\\u009bb\\u000a\\u0009c\\u202e\\u007f"
        );
        assert_eq!(lines("a\r\n\tb\u{1b}"), "a\\u000d\n\tb\\u001b");
        assert_eq!(one_line("Größe 漢字 \u{1f600} \\"), "Größe 漢字 \u{1f600} \\");
        let json = serde_json::to_string("k\u{9b}\u{1b}\u{202e}").unwrap();
        assert_eq!(serde_json::from_str::<String>(&lines(&json)).unwrap(), "k\u{9b}\u{1b}\u{202e}");
    }
}
