//! Numbers, times and names as they are written on the command line.

use model::Time;

/// `r42` or `42`
pub fn release_number(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix('r').unwrap_or(text);
    digits.parse().ok().filter(|n| *n > 0).ok_or_else(|| "a release is written r42".to_string())
}

/// `500ms`, `10s`, `2m`, `1h`
pub fn millis(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let scale = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("written 500ms, 10s, 2m, 1h or 1d".into()),
    };
    let n: u64 = digits.parse().map_err(|_| "written 500ms, 10s, 2m, 1h or 1d".to_string())?;
    n.checked_mul(scale).ok_or_else(|| "too long".into())
}

/// `1GiB`, `500MiB`, `1048576`
pub fn size(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let shift = match unit {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err("written 500MiB, 1GiB or in bytes".into()),
    };
    let n: u64 = digits.parse().map_err(|_| "written 500MiB, 1GiB or in bytes".to_string())?;
    n.checked_mul(1 << shift).ok_or_else(|| "too large".into())
}

/// How long ago, or when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    Ago(u64),
    At(Time),
}

impl Since {
    pub fn time(self, now: Time) -> Time {
        match self {
            Since::Ago(ms) => Time(now.0.saturating_sub(ms)),
            Since::At(at) => at,
        }
    }
}

/// `10m`, `2026-11-29T12:00:00Z`, `2026-11-29T12:00` in the local time zone
pub fn since(text: &str) -> Result<Since, String> {
    if let Ok(ms) = millis(text) {
        return Ok(Since::Ago(ms));
    }
    let zoned = text.parse::<jiff::Timestamp>().or_else(|_| {
        let local: jiff::civil::DateTime = text.parse()?;
        local.to_zoned(jiff::tz::TimeZone::system()).map(|zoned| zoned.timestamp())
    });
    let at = zoned.map_err(|_| "written 10m, 2h or 2026-11-29T12:00:00Z".to_string())?;
    u64::try_from(at.as_millisecond()).map(|ms| Since::At(Time(ms))).map_err(|_| "before 1970".to_string())
}

/// `1%`, `0.5%`
pub fn ppm(text: &str) -> Result<u32, String> {
    let share: f64 = text.strip_suffix('%').and_then(|t| t.parse().ok()).ok_or("written 1% or 0.5%")?;
    if !(0.0..=100.0).contains(&share) {
        return Err("a share is 0% to 100%".into());
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000,000, checked above")]
    Ok((share * 10_000.0).round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_written_with_or_without_r() {
        assert_eq!(release_number("r42"), Ok(42));
        assert_eq!(release_number("7"), Ok(7));
        for bad in ["", "r", "r0", "web@r1", "-1", "r99999999999999999999"] {
            assert!(release_number(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!((size("1GiB"), size("64MiB"), size("7")), (Ok(1 << 30), Ok(64 << 20), Ok(7)));
        for bad in ["", "GiB", "1GB", "-1", "1.5GiB", "99999999TiB"] {
            assert!(size(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn since_is_a_time_or_a_time_ago() {
        assert_eq!(since("10m").unwrap().time(Time(1_000_000)), Time(400_000));
        assert_eq!(since("2h").unwrap().time(Time(5)), Time(0));
        assert_eq!(since("1970-01-01T00:00:07Z"), Ok(Since::At(Time(7_000))));
        assert!(since("2026-11-29T12:00").is_ok() && since("2026-11-29").is_ok());
        for bad in ["", "ten", "10", "5 minutes", "12:00"] {
            assert!(since(bad).is_err(), "{bad:?} was taken");
        }
    }
}
