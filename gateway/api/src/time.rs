//! Moments as the settings write them: RFC 3339, such as `2026-11-26T18:00:00Z`.
use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a time was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time: write it as RFC 3339, such as 2026-11-26T18:00:00Z")]
pub struct TimeError(String);

/// A moment in whole seconds, as it was written. Two that name the same second are equal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment {
    text: String,
    unix_seconds: i64,
}

impl Moment {
    /// Seconds since 1970.
    pub fn unix_seconds(&self) -> i64 {
        self.unix_seconds
    }
}

impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        self.unix_seconds == other.unix_seconds
    }
}

impl Eq for Moment {}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Moment {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let unix_seconds = unix_seconds(text).ok_or_else(|| TimeError(text.to_owned()))?;
        Ok(Self { text: text.to_owned(), unix_seconds })
    }
}

impl TryFrom<String> for Moment {
    type Error = TimeError;
    fn try_from(text: String) -> Result<Self, TimeError> {
        text.parse()
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> String {
        moment.text
    }
}

/// Reads `YYYY-MM-DDTHH:MM:SS[.digits](Z|±HH:MM)` (RFC 3339 §5.6); a fraction is dropped.
fn unix_seconds(text: &str) -> Option<i64> {
    if !text.is_ascii() || text.len() < 20 {
        return None;
    }
    let bytes = text.as_bytes();
    let separators = [(4, b"-"), (7, b"-"), (13, b":"), (16, b":")];
    if separators.iter().any(|(at, mark)| bytes[*at] != mark[0])
        || !matches!(bytes[10], b'T' | b't' | b' ')
    {
        return None;
    }
    let year = number(&text[0..4], 1970, 9999)?;
    let month = number(&text[5..7], 1, 12)?;
    let day = number(&text[8..10], 1, days_in_month(year, month))?;
    let hour = number(&text[11..13], 0, 23)?;
    let minute = number(&text[14..16], 0, 59)?;
    // A leap second counts as the one before it.
    let second = number(&text[17..19], 0, 60)?.min(59);
    let mut zone = &text[19..];
    if let Some(fraction) = zone.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        zone = &fraction[digits..];
    }
    let local = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(local - offset_seconds(zone)?)
}

fn number(digits: &str, least: i64, most: i64) -> Option<i64> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|n| plain && (least..=most).contains(n))
}

fn offset_seconds(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let sign = match zone.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone[1..].split_once(':')?;
    if (hours.len(), minutes.len()) != (2, 2) {
        return None;
    }
    Some(sign * (number(hours, 0, 23)? * 3600 + number(minutes, 0, 59)? * 60))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, 1970 to 9999.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let leap_days_before = |year: i64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    let years = (year - 1970) * 365 + leap_days_before(year) - leap_days_before(1970);
    years + (1..month).map(|month| days_in_month(year, month)).sum::<i64>() + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_count_from_1970_in_any_zone() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-11-26T18:34:13Z", 1_795_718_053),
            ("2026-11-27T03:34:13.999+09:00", 1_795_718_053),
            ("2026-11-26T13:34:13-05:00", 1_795_718_053),
            ("2100-03-01T00:00:00z", 4_107_542_400),
            ("2016-12-31T23:59:60Z", 1_483_228_799),
        ] {
            assert_eq!(text.parse::<Moment>().unwrap().unix_seconds(), seconds, "{text}");
        }
    }

    #[test]
    fn what_is_not_rfc_3339_is_refused() {
        for text in [
            "",
            "tomorrow",
            "2026-11-26",
            "2026-11-26T18:34:13",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-26T24:00:00Z",
            "2026-11-26T18:34:13.Z",
            "2026-11-26T18:34:13+9:00",
            "2026-11-26T18:34:13é",
            "+026-11-26T18:34:13Z",
        ] {
            let refused = text.parse::<Moment>().unwrap_err().to_string();
            assert!(refused.contains("RFC 3339"), "{text}: {refused}");
        }
    }
}
