//! Small values as text: times, durations, sizes, shares, steps.

use jiff::{Timestamp, tz::TimeZone};
use model::{RotationCommand, Step, Time, Verdict};

/// By this machine's clock. The only place in the binary that reads it as a `Time`.
pub fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Time(since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
}

/// `12:01:07`, in the local time zone.
pub fn clock(at: Time) -> String {
    match i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()) {
        Some(at) => at.to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string(),
        None => format!("{} ms", at.0),
    }
}

/// `850 ms`, `3.2 s`, `2 min 5 s`, `3 h 20 min`, `4 d 2 h`
pub fn span(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0 => format!("{ms} ms"),
        1..60 => format!("{}.{} s", s, ms % 1_000 / 100),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}

pub fn ago(at: Time, now: Time) -> String {
    format!("{} ago", span(now.since(at)))
}

/// `12.3 MB`: decimal units.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut unit = 0;
    let mut scaled = n;
    let mut tenths = 0;
    while scaled >= 1_000 && unit + 1 < UNITS.len() {
        tenths = scaled % 1_000 / 100;
        scaled /= 1_000;
        unit += 1;
    }
    if unit == 0 { format!("{scaled} B") } else { format!("{scaled}.{tenths} {}", UNITS[unit]) }
}

/// Parts in a million as a percentage.
pub fn percent(ppm: u32) -> String {
    let whole = ppm / 10_000;
    match ppm % 10_000 {
        0 => format!("{whole}%"),
        rest => format!("{whole}.{}%", format!("{rest:04}").trim_end_matches('0')),
    }
}

/// `1 server`, `3 servers`
pub fn times(n: u64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

/// `removes`: the rotation was opened to remove its service.
pub fn verdict(verdict: Verdict, removes: bool) -> &'static str {
    match verdict {
        Verdict::Promoted => "promoted",
        Verdict::RolledBack if removes => "removed",
        Verdict::RolledBack => "rolled back",
        Verdict::Stopped => "stopped",
    }
}

/// A command as a user gave it.
pub fn command(command: RotationCommand) -> &'static str {
    match command {
        RotationCommand::Pause => "pause",
        RotationCommand::Resume => "resume",
        RotationCommand::Rollback => "abort",
        RotationCommand::Stop => "stop",
    }
}

/// What a step declares, without its kind.
pub fn step(step: &Step) -> String {
    match step {
        Step::Bake { image, objects } => format!("{image}: {} in the store", times(objects.len() as u64, "object")),
        Step::Check { of, command, .. } | Step::Migrate { of, command, .. } => format!("{of}: {}", command.join(" ")),
        Step::Scale { group, count } => format!("{group} to {count}"),
        Step::Shift { route, weights } => {
            let shares: Vec<String> = weights.iter().map(|(group, weight)| format!("{group} {weight}%")).collect();
            format!("{route}: {}", if shares.is_empty() { "no group".to_string() } else { shares.join(", ") })
        }
        Step::Soak { group, for_ms, errors_ppm, .. } => format!("{group} for {}, errors at most {}", span(*for_ms), percent(*errors_ppm)),
        Step::Drain { group, within_ms } => format!("{group} within {}", span(*within_ms)),
        Step::Retire { group } => group.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_read_well() {
        let spans = [(0, "0 ms"), (850, "850 ms"), (3_200, "3.2 s"), (59_999, "59.9 s"), (125_000, "2 min 5 s"), (7_260_000, "2 h 1 min")];
        for (ms, text) in spans {
            assert_eq!(span(ms), text);
        }
        for (n, text) in [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (12_345_678, "12.3 MB"), (u64::MAX, "18446744.0 TB")] {
            assert_eq!(bytes(n), text);
        }
        for (ppm, text) in [(0, "0%"), (10_000, "1%"), (5_000, "0.5%"), (125, "0.0125%"), (1_000_000, "100%")] {
            assert_eq!(percent(ppm), text);
        }
    }
}
