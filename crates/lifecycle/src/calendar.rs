//! Minutes, days and weeks of UTC, counted from 1970. Pure arithmetic; no clock.

use model::Time;

pub const MINUTE_MS: u64 = 60_000;
pub const DAY_MIN: u64 = 24 * 60;
pub const WEEK_MIN: u64 = 7 * DAY_MIN;

pub fn minute_of(t: Time) -> u64 {
    t.0 / MINUTE_MS
}

pub fn at_minute(minute: u64) -> Time {
    Time(minute.saturating_mul(MINUTE_MS))
}

/// Month 1 to 12 and day 1 to 31 of a day counted from 1970-01-01.
pub fn date(day: u64) -> (u32, u32) {
    // The year is taken to begin in March, so that the leap day is its last; 719468 days lie between 0000-03-01 and 1970-01-01.
    let of_era = (day + 719_468) % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (u32::try_from(month).expect("1 to 12"), u32::try_from(day).expect("1 to 31"))
}

/// 0 is Sunday, as cron counts. 1970-01-01 was a Thursday.
pub fn weekday(day: u64) -> u32 {
    u32::try_from((day + 4) % 7).expect("0 to 6")
}

/// Minutes since Monday 00:00.
pub fn minute_of_week(minute: u64) -> u64 {
    (minute + 3 * DAY_MIN) % WEEK_MIN
}

/// `7 days`, `3 hours`, `a minute`: how long, to the unit that matters.
pub fn told(ms: u64) -> String {
    let (n, unit) = match ms / MINUTE_MS {
        min if min >= 2 * DAY_MIN => (min / DAY_MIN, "days"),
        min if min >= 120 => (min / 60, "hours"),
        min if min >= 2 => (min, "minutes"),
        _ => (ms / 1_000, "seconds"),
    };
    format!("{n} {unit}")
}
