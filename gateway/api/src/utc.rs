//! Moments as people read them, without a time zone database.

/// Seconds since 1970 as `2026-11-27 14:00:03 UTC` (proleptic Gregorian calendar, no leap seconds: POSIX's time).
pub fn utc(unix_seconds: i64) -> String {
    const DAY: i64 = 86_400;
    let (day, second) = (unix_seconds.div_euclid(DAY), unix_seconds.rem_euclid(DAY));
    let (year, month, day) = date(day);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// The date of a day, counted from 1970-01-01. Years are taken to begin in March, so that the leap day is their last
/// and the months before it have lengths that repeat every five: 31, 30, 31, 30, 31.
fn date(since_1970: i64) -> (i64, i64, i64) {
    /// From 0000-03-01.
    const BEFORE_1970: i64 = 719_468;
    const YEARS_400: i64 = 146_097;
    let days = since_1970 + BEFORE_1970;
    let (cycle, of_cycle) = (days.div_euclid(YEARS_400), days.rem_euclid(YEARS_400));
    let leap_days = of_cycle / 1460 - of_cycle / 36_524 + of_cycle / 146_096;
    let year_of_cycle = (of_cycle - leap_days) / 365;
    let begins = year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100;
    let of_year = of_cycle - begins;
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (cycle * 400 + year_of_cycle + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        for (seconds, words) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (-1, "1969-12-31 23:59:59 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (1_795_788_003, "2026-11-27 14:00:03 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(seconds), words);
        }
        // Day after day: each follows the one before.
        let mut last = date(-1);
        for day in 0..200_000 {
            let now = date(day);
            let next_day = (now.0, now.1, now.2 - 1) == last;
            let next_month = now.2 == 1 && (28..=31).contains(&last.2);
            let next_year = now.1 == 1 && last.1 == 12 && now.0 == last.0 + 1;
            assert!(
                next_day || next_month && (now.1 == last.1 + 1 || next_year),
                "{last:?} {now:?}"
            );
            last = now;
        }
    }
}
