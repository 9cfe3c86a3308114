//! Dates of policies and waivers as seconds since 1970, in UTC. Nothing here knows what time it is.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// `2026-12-24`, `2026-12-24T18:00:00Z`, or seconds since 1970. `None` if it is none of these.
pub fn parse_s(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<i64>() {
        return Some(seconds);
    }
    let (date, time) = match text.split_once(['T', 't']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.splitn(3, '-').map(digits);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let midnight = midnight_s(year, month, day)?;
    let seconds = match time {
        None => 0,
        Some(time) => {
            let time = time.strip_suffix(['Z', 'z'])?;
            let time = time.split_once('.').map_or(time, |(whole, _)| whole);
            let mut parts = time.splitn(3, ':').map(digits);
            let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?);
            if hour > 23 || minute > 59 || second > 60 {
                return None;
            }
            hour * 3600 + minute * 60 + second
        }
    };
    Some(midnight + seconds)
}

/// `2026-12-24`.
pub fn show_day(seconds: i64) -> String {
    let at = Timestamp::from_second(seconds).unwrap_or(if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX });
    at.to_zoned(TimeZone::UTC).date().to_string()
}

/// `2026-12-24T18:00:00Z`.
pub fn show_s(seconds: i64) -> String {
    let of_day = seconds.rem_euclid(86_400);
    format!("{}T{:02}:{:02}:{:02}Z", show_day(seconds), of_day / 3600, of_day / 60 % 60, of_day % 60)
}

fn digits(text: &str) -> Option<i64> {
    (!text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// Midnight of a day of the civil calendar. None: there is no such day.
fn midnight_s(year: i64, month: i64, day: i64) -> Option<i64> {
    let date = Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        assert_eq!(parse_s("1970-01-01"), Some(0));
        assert_eq!(parse_s("2000-02-29T12:00:00Z"), Some(951_825_600));
        assert_eq!(parse_s("2026-11-28T22:54:00Z"), Some(1_795_906_440));
        assert_eq!(parse_s("1795906440"), Some(1_795_906_440));
        for wrong in ["2026-02-29", "2026-13-01", "soon", "2026-1", "2026-01-01T25:00:00Z", "2026-01-01T10:00:00+02:00"] {
            assert_eq!(parse_s(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_is_shown_as_it_is_read() {
        for day in 0..146_097 {
            assert_eq!(parse_s(&show_day(day * 86_400 + 5)), Some(day * 86_400));
            let second = day * 86_400 + day % 86_400;
            assert_eq!(parse_s(&show_s(second)), Some(second));
        }
    }
}
