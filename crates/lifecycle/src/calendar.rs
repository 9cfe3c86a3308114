//! Minutes, days and weeks of UTC, counted from 1970. Pure; no clock and no time zones.

use jiff::Span;
use jiff::civil::Date;
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

/// The date of a day counted from 1970-01-01. None: after the year 9999.
pub fn date(day: u64) -> Option<Date> {
    let days = Span::new().try_days(i64::try_from(day).ok()?).ok()?;
    Date::constant(1970, 1, 1).checked_add(days).ok()
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
