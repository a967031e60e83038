//! The console's pages as an operator sees them, on the serial line or on the VGA screen.
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{console::Console, qemu::Machine, wait::poll_until};

/// First line of every page.
pub const TITLE: &str = "Tidegate - S3 File Gateway";
/// Last line of the status page.
const STATUS_END: &str = "5: Shut down";

/// Waits for a whole status page on the serial line that contains `words`.
///
/// # Errors
/// When none comes within `limit`.
pub fn status_on_serial(serial: &Console, words: &str, limit: Duration) -> Result<String> {
    let mut last = String::new();
    let page = poll_until("the status page on the serial console", limit, || {
        serial.expect(TITLE, limit)?;
        last = serial.expect(STATUS_END, limit)?;
        Ok(last.contains(words).then(|| last.clone()))
    });
    page.with_context(|| format!("it lacks {words:?}; the page was:\n{last}"))
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
