//! The console's pages as an operator sees them, on the serial line or on the VGA screen.
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{console::Console, qemu::Machine, wait::poll_until};

/// First line of every page.
pub const TITLE: &str = "Tidegate - S3 File Gateway";
/// What the front page says in its last line, whether a password is set or not.
const STATUS_END: &str = "Enter: ";

/// Waits for a whole front page on the serial line that contains `words`.
///
/// # Errors
/// When none comes within `limit`.
pub fn status_on_serial(serial: &Console, words: &str, limit: Duration) -> Result<String> {
    let mut last = String::new();
    let page = poll_until("the status page on the serial console", limit, || {
        last = serial.screen();
        let is_status = |page: &str| {
            let end = page.lines().last().unwrap_or_default().trim_start();
            page.contains(TITLE) && end.starts_with(STATUS_END)
        };
        Ok((is_status(&last) && last.contains(words)).then(|| last.clone()))
    });
    page.with_context(|| format!("it lacks {words:?}; the screen shows:\n{last}"))
}

/// Waits until the terminal on the serial line shows a page that contains `words`.
///
/// # Errors
/// When none comes within `limit`.
pub fn page_on_serial(serial: &Console, words: &str, limit: Duration) -> Result<String> {
    let mut last = String::new();
    let page = poll_until("the page on the serial console", limit, || {
        last = serial.screen();
        Ok((last.contains(TITLE) && last.contains(words)).then(|| last.clone()))
    });
    page.with_context(|| format!("it lacks {words:?}; the screen shows:\n{last}"))
}

/// The password that tests give consoles.
pub const PASSWORD: &str = "correct horse";
/// What the main menu says, and no page before it.
const MAIN_MENU: &str = "x: exit session";

/// Comes from the front page to the main menu: sets [`PASSWORD`] at the first visit, logs in with it later.
///
/// # Errors
/// When the menu does not come within `limit`.
pub fn log_in_on_serial(serial: &mut Console, limit: Duration) -> Result<()> {
    let front = status_on_serial(serial, "", limit)?;
    serial.send("\r")?;
    if front.contains("Enter: set the password") {
        page_on_serial(serial, "Set the console's password", limit)?;
        serial.send(&format!("{PASSWORD}\r{PASSWORD}\r\r"))?;
    } else {
        page_on_serial(serial, "[ Log in ]", limit)?;
        serial.send(&format!("{PASSWORD}\r\r"))?;
    }
    page_on_serial(serial, MAIN_MENU, limit).map(drop)
}

/// Chooses the entry of a menu on the serial line whose label begins so, by its number.
///
/// # Errors
/// When no menu with such an entry comes within `limit`.
pub fn choose_on_serial(serial: &mut Console, label: &str, limit: Duration) -> Result<()> {
    let page = page_on_serial(serial, &format!(": {label}"), limit)?;
    serial.send(&format!("{}\r", number_of(&page, label)?))
}

/// The number of an entry of a menu.
///
/// # Errors
/// When there is no entry whose label begins so.
pub fn number_of(page: &str, label: &str) -> Result<usize> {
    let mut found = entries(page).into_iter().filter(|(_, entry)| entry.starts_with(label));
    let (number, _) = found.next().with_context(|| format!("no entry {label} in:\n{page}"))?;
    Ok(number)
}

/// A menu's entries, with their numbers.
pub fn entries(page: &str) -> Vec<(usize, String)> {
    let numbered = page.lines().filter_map(|line| {
        let (number, entry) = line.trim_start().split_once(": ")?;
        Some((number.parse().ok()?, entry.trim_end().to_owned()))
    });
    numbered.collect()
}

/// Waits until the VGA screen (BIOS only) shows a page that contains `words`.
///
/// # Errors
/// When none comes within `limit`.
pub fn page_on_screen(machine: &mut Machine, words: &str, limit: Duration) -> Result<String> {
    let mut last = String::new();
    let page = poll_until("the page on the screen", limit, || {
        last = machine.screen_text(TITLE)?.unwrap_or_default();
        Ok(last.contains(words).then(|| last.clone()))
    });
    page.with_context(|| format!("it lacks {words:?}; the screen shows:\n{last}"))
}

/// The value of a field of the status page, its continuation lines joined.
///
/// # Errors
/// When the page has no such field.
pub fn field(page: &str, name: &str) -> Result<String> {
    let mut lines = page.lines().skip_while(|line| !line.trim_start().starts_with(name));
    let first = lines.next().with_context(|| format!("no field {name} in:\n{page}"))?;
    let mut value = first.trim_start().trim_start_matches(name).trim().to_owned();
    // Continuation lines are indented to the values' column.
    for line in lines.take_while(|line| line.starts_with("              ")) {
        value.push(' ');
        value.push_str(line.trim());
    }
    Ok(value)
}

/// `2026-11-23 18:00:00` as seconds since 1970, as if it were UTC.
///
/// # Errors
/// When it is not written so.
pub fn seconds_of(text: &str) -> Result<i64> {
    let numbers: Vec<i64> = text
        .split(['-', ' ', ':'])
        .map(|word| word.parse().with_context(|| format!("not a date and time: {text:?}")))
        .collect::<Result<_>>()?;
    let [year, month, day, hour, minute, second] = numbers.as_slice() else {
        anyhow::bail!("not a date and time: {text:?}");
    };
    // Days from civil: years begin in March, so that a leap day is a year's last.
    let shifted_year = if *month <= 2 { year - 1 } else { *year };
    let shifted_month = (month + 9) % 12;
    let leap_days = shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
    let days = shifted_year * 365 + leap_days + (shifted_month * 306 + 5) / 10 + day - 1 - 719_468;
    Ok(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_counted_as_the_calendar_has_them() {
        assert_eq!(seconds_of("1970-01-01 00:00:00").unwrap(), 0);
        assert_eq!(seconds_of("2000-02-29 12:34:56").unwrap(), 951_827_696);
        assert_eq!(seconds_of("2026-11-23 18:00:00").unwrap(), 1_795_456_800);
        assert!(seconds_of("yesterday").is_err());
    }

    #[test]
    fn entries_are_known_by_their_label() {
        let page = " Title\n  1: Logs of one\n 12: Logs\n Time: 18: 2\n Enter command:";
        assert_eq!(number_of(page, "Logs").unwrap(), 1);
        assert_eq!(number_of(page, "Logs of").unwrap(), 1);
        assert!(number_of(page, "Status").is_err());
    }

    #[test]
    fn fields_are_read_with_their_continuation() {
        let page = "\n Name         tidegate\n Cache disk   no blank disk is attached: add\n              one of 150 GiB\n To upload    nothing\n";
        assert_eq!(field(page, "Name").unwrap(), "tidegate");
        assert_eq!(
            field(page, "Cache disk").unwrap(),
            "no blank disk is attached: add one of 150 GiB"
        );
        assert!(field(page, "Address").is_err());
    }
}
