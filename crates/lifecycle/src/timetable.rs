//! When a job is due, by the clock of a place. Pure: the rules of time zones are part of the program, so that the same file gives the same
//! times on every machine.
//!
//! Where clocks are put forward, a time that does not exist is due when the gap ends; where they are put back, a time that comes twice is due
//! the first time. A schedule whose hours begin with `*` means a stretch of time and not a time of day: it goes on through both.

use crate::calendar::{DAY_MIN, at_minute, minute_of};
use crate::schedule::{Cron, DAYS_AHEAD};
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan};
use model::{Fault, Job, Time};

#[derive(Clone, Debug)]
pub struct Timetable {
    cron: Cron,
    zone: TimeZone,
}

impl Timetable {
    pub fn of(job: &Job) -> Result<Timetable, Fault> {
        Ok(Timetable { cron: Cron::parse(&job.schedule)?, zone: zone(job.timezone.as_deref())? })
    }

    /// The first time that is due after `after`. None: never (the 31st of February).
    pub fn next(&self, after: Time) -> Option<Time> {
        if self.cron.is_every_hour() { self.next_minute(after) } else { self.next_day(after) }
    }

    fn local(&self, minute: u64) -> Option<DateTime> {
        Some(self.zone.to_datetime(stamp(at_minute(minute))?))
    }

    /// Real minutes, one after the other.
    fn next_minute(&self, after: Time) -> Option<Time> {
        let mut minute = minute_of(after) + 1;
        let end = minute + DAYS_AHEAD * DAY_MIN;
        while minute < end {
            let local = self.local(minute)?;
            if self.cron.has_date(local.date()) {
                if self.cron.has_clock(hour(local), minute_of_hour(local)) {
                    return Some(at_minute(minute));
                }
                minute += 1;
                continue;
            }
            // To the next day, unless the clocks are put forward or back before.
            let left = DAY_MIN - (hour(local) * 60 + minute_of_hour(local));
            let begins = self.local(minute + left)?;
            let is_midnight = begins.date() > local.date() && hour(begins) * 60 + minute_of_hour(begins) == 0;
            minute += if is_midnight { left } else { 1 };
        }
        None
    }

    /// Times of day, of one day after the other. A day's last may come after the next one's first, where clocks are put back at midnight.
    fn next_day(&self, after: Time) -> Option<Time> {
        let mut date = self.local(minute_of(after))?.date().yesterday().ok()?;
        let mut best: Option<Time> = None;
        for _ in 0..DAYS_AHEAD {
            let was_found = best.is_some();
            if self.cron.has_date(date) {
                let of_day = self.cron.clocks().filter_map(|(hour, minute)| self.instant(date, hour, minute)).filter(|at| *at > after);
                best = best.into_iter().chain(of_day).min();
            }
            if was_found {
                break;
            }
            date = date.tomorrow().ok()?;
        }
        best
    }

    fn instant(&self, date: Date, hour: i8, minute: i8) -> Option<Time> {
        let ambiguous = self.zone.to_ambiguous_timestamp(date.at(hour, minute, 0, 0));
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => time(ambiguous.earlier().ok()?),
            AmbiguousOffset::Gap { .. } => {
                let later = ambiguous.later().ok()?.checked_add(1.second()).ok()?;
                time(self.zone.preceding(later).next()?.timestamp())
            }
        }
    }
}

fn zone(name: Option<&str>) -> Result<TimeZone, Fault> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    TimeZoneDatabase::bundled().get(name).map_err(|_| {
        Fault::yours("bad-timezone", format!("`{name}` is no time zone"))
            .hint("write one such as \"Europe/Berlin\", or leave it out for UTC")
    })
}

fn stamp(at: Time) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok()
}

fn time(at: Timestamp) -> Option<Time> {
    u64::try_from(at.as_millisecond()).ok().map(Time)
}

fn hour(at: DateTime) -> u64 {
    u64::from(at.hour().unsigned_abs())
}

fn minute_of_hour(at: DateTime) -> u64 {
    u64::from(at.minute().unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(schedule: &str, timezone: &str) -> Timetable {
        Timetable { cron: Cron::parse(schedule).unwrap(), zone: zone(Some(timezone)).unwrap() }
    }

    fn at(text: &str) -> Time {
        time(text.parse().unwrap()).unwrap()
    }

    /// From a moment on, as many times as are written, in UTC.
    fn follow(schedule: &str, timezone: &str, from: &str, times: &[&str]) {
        let table = table(schedule, timezone);
        let mut now = at(from);
        for expected in times {
            let next = table.next(now).unwrap();
            assert_eq!(stamp(next).unwrap().to_string(), *expected, "{schedule} in {timezone} after {}", stamp(now).unwrap());
            now = next;
        }
    }

    #[test]
    fn times_follow_the_clock_of_the_place() {
        follow("0 3 * * *", "UTC", "2026-03-28T03:00:00Z", &["2026-03-29T03:00:00Z", "2026-03-30T03:00:00Z"]);
        follow("0 3 * * *", "Europe/Berlin", "2026-01-10T12:00:00Z", &["2026-01-11T02:00:00Z", "2026-01-12T02:00:00Z"]);
        follow("0 3 * * *", "Europe/Berlin", "2026-07-10T12:00:00Z", &["2026-07-11T01:00:00Z"]);
        // India is half an hour off, Kiribati a day ahead.
        follow("15 0 1 * *", "Asia/Kolkata", "2026-01-15T00:00:00Z", &["2026-01-31T18:45:00Z"]);
        follow("0 0 * * 1", "Pacific/Kiritimati", "2026-01-01T00:00:00Z", &["2026-01-04T10:00:00Z"]);
        follow("0 12 29 2 *", "UTC", "2026-01-01T00:00:00Z", &["2028-02-29T12:00:00Z", "2032-02-29T12:00:00Z"]);
        follow("0 12 13 * 5", "UTC", "2026-01-01T00:00:00Z", &["2026-01-02T12:00:00Z", "2026-01-09T12:00:00Z", "2026-01-13T12:00:00Z"]);
        assert_eq!(table("0 0 31 2 *", "Europe/Berlin").next(at("2026-01-01T00:00:00Z")), None);
        assert_eq!(table("* * 31 2 *", "Europe/Berlin").next(at("2026-01-01T00:00:00Z")), None);
    }

    #[test]
    fn a_time_in_a_gap_is_due_when_the_gap_ends() {
        // Berlin, 29 March 2026: 02:00 becomes 03:00 at 01:00 UTC.
        follow("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        follow("0 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]);
        // Several in one gap, and one at its end, are one.
        follow(
            "0,30 2,3 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            &["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:00:00Z"],
        );
        // A gap at midnight (Cairo, 24 April 2026), and a gap of a whole day (Apia, 30 December 2011).
        follow("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", &["2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"]);
        follow(
            "0 12 * * *",
            "Pacific/Apia",
            "2011-12-29T12:00:00Z",
            &["2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"],
        );
    }

    #[test]
    fn a_time_that_comes_twice_is_due_the_first_time() {
        // Berlin, 25 October 2026: 03:00 becomes 02:00 at 01:00 UTC.
        follow("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        follow("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", &["2026-10-26T01:30:00Z"]);
        // New York: 1 November 2026.
        follow("59 1 * * *", "America/New_York", "2026-11-01T04:00:00Z", &["2026-11-01T05:59:00Z", "2026-11-02T06:59:00Z"]);
        // Half an hour (Lord Howe, 5 April 2026: 02:00 becomes 01:30 at 15:00 UTC of the day before).
        follow("45 1 * * *", "Australia/Lord_Howe", "2026-04-03T15:00:00Z", &["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"]);
    }

    #[test]
    fn a_stretch_of_time_goes_on_through_both() {
        let half_hours = ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-03-29T02:00:00Z"];
        follow("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", &half_hours);
        let half_hours = ["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"];
        follow("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", &half_hours);
        follow("hourly", "Europe/Berlin", "2026-10-25T00:00:00Z", &["2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"]);
        follow("* * 29 3 *", "Europe/Berlin", "2026-01-01T00:00:00Z", &["2026-03-28T23:00:00Z", "2026-03-28T23:01:00Z"]);
        // After a day of 23 hours, and after one of 25.
        follow("* * 30 3 *", "Europe/Berlin", "2026-01-01T00:00:00Z", &["2026-03-29T22:00:00Z", "2026-03-29T22:01:00Z"]);
        follow("* * 26 10 *", "Europe/Berlin", "2026-01-01T00:00:00Z", &["2026-10-25T23:00:00Z", "2026-10-25T23:01:00Z"]);
    }

    /// In UTC it is the schedule of images, which has an implementation of its own.
    #[test]
    fn in_utc_both_calendars_agree() {
        for schedule in ["0 3 * * *", "*/7 * * * *", "5 4 * * 1-5", "0 0 1,15 * 3", "30 */5 * 2 *", "weekly", "59 23 31 12 *"] {
            let (table, cron) = (table(schedule, "UTC"), Cron::parse(schedule).unwrap());
            let mut now = at("2026-02-27T22:13:45Z");
            for _ in 0..60 {
                let next = table.next(now);
                assert_eq!(next, cron.next(now), "{schedule}");
                now = next.unwrap();
            }
        }
    }

    #[test]
    fn a_zone_is_one_that_there_is() {
        for bad in ["Berlin", "../../etc/passwd", "", "Europe/Berlin\0", "Mars/Olympus"] {
            assert_eq!(zone(Some(bad)).unwrap_err().code, "bad-timezone", "{bad:?}");
        }
    }
}
