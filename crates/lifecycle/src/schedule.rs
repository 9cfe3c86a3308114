//! When an image is due to be looked at again, and when nothing may be changed. Pure: times come in, times go out, all in UTC.

use crate::calendar::{DAY_MIN, MINUTE_MS, WEEK_MIN, at_minute, date, minute_of, minute_of_week};
use jiff::civil::Date;
use model::{Fault, ImageName, ImageSpec, Time};
use sha2::{Digest, Sha256};

/// Five fields of cron: minute, hour, day, month, weekday. Each is a set of numbers, a bit each.
///
/// As in every cron since 1987: where both day and weekday are restricted, one of them is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    hours_free: bool,
    days_free: bool,
    weekdays_free: bool,
}

/// The 29th of February comes at most eight years later (1896, 1904); what has not come by then never comes.
pub(crate) const DAYS_AHEAD: u64 = 366 * 9;

fn wrong(what: &str, text: &str) -> Fault {
    Fault::yours("bad-schedule", format!("`{text}` is no {what}")).hint("`afresh validate` tells how it is written")
}

impl Cron {
    /// `hourly`, `daily`, `weekly` (Sunday, as cron has it), or five fields.
    pub fn parse(text: &str) -> Result<Cron, Fault> {
        let fields = match text {
            "hourly" => "0 * * * *",
            "daily" => "0 0 * * *",
            "weekly" => "0 0 * * 0",
            other => other,
        };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else { return Err(wrong("schedule", text)) };
        let set = |field, low, high| set(field, low, high).ok_or_else(|| wrong("schedule", text));
        let week = set(weekdays, 0, 7)?;
        Ok(Cron {
            minutes: set(minutes, 0, 59)?,
            hours: set(hours, 0, 23)?,
            days: set(days, 1, 31)?,
            months: set(months, 1, 12)?,
            // Sunday is 0 and 7.
            weekdays: (week | week >> 7) & 0x7f,
            hours_free: hours.starts_with('*'),
            days_free: days.starts_with('*'),
            weekdays_free: weekdays.starts_with('*'),
        })
    }

    fn day_fits(&self, day: u64) -> bool {
        date(day).is_some_and(|date| self.has_date(date))
    }

    /// Its hours begin with `*`: it means a stretch of time, not times of day.
    pub(crate) fn is_every_hour(&self) -> bool {
        self.hours_free
    }

    pub(crate) fn has_clock(&self, hour: u64, minute: u64) -> bool {
        self.hours >> hour & 1 == 1 && self.minutes >> minute & 1 == 1
    }

    /// Hours and minutes of a day, in order.
    pub(crate) fn clocks(&self) -> impl Iterator<Item = (i8, i8)> + '_ {
        let all = (0..24i8).flat_map(|hour| (0..60i8).map(move |minute| (hour, minute)));
        all.filter(|(hour, minute)| self.has_clock(u64::from(hour.unsigned_abs()), u64::from(minute.unsigned_abs())))
    }

    pub(crate) fn has_date(&self, date: Date) -> bool {
        let by_day = self.days >> date.day() & 1 == 1;
        let by_week = self.weekdays >> date.weekday().to_sunday_zero_offset() & 1 == 1;
        let fits = if self.days_free || self.weekdays_free { by_day && by_week } else { by_day || by_week };
        fits && self.months >> date.month() & 1 == 1
    }

    /// The first minute that fits and begins after `after`. None: never (the 31st of February).
    pub fn next(&self, after: Time) -> Option<Time> {
        let from = minute_of(after) + 1;
        let first = from / DAY_MIN;
        for day in (first..first + DAYS_AHEAD).filter(|d| self.day_fits(*d)) {
            let begin = if day == first { from % DAY_MIN } else { 0 };
            let fits = |m: &u64| self.hours >> (m / 60) & 1 == 1 && self.minutes >> (m % 60) & 1 == 1;
            if let Some(minute) = (begin..DAY_MIN).find(fits) {
                return Some(at_minute(day * DAY_MIN + minute));
            }
        }
        None
    }
}

/// `*`, `7`, `1-5`, with an optional `/step`, several with commas between.
fn set(field: &str, low: u32, high: u32) -> Option<u64> {
    let mut bits = 0u64;
    for part in field.split(',') {
        let (range, step) = part.split_once('/').map_or((part, "1"), |(range, step)| (range, step));
        let number = |text: &str| text.parse::<u32>().ok().filter(|n| (low..=high).contains(n));
        let stepped = part.contains('/');
        let (from, to) = match range.split_once('-') {
            None if range == "*" => (low, high),
            Some((from, to)) => (number(from)?, number(to)?),
            // `5/15` is from 5 on.
            None if stepped => (number(range)?, high),
            None => (number(range)?, number(range)?),
        };
        let step = step.parse::<usize>().ok().filter(|s| *s >= 1)?;
        if from > to {
            return None;
        }
        for n in (from..=to).step_by(step) {
            bits |= 1 << n;
        }
    }
    Some(bits)
}

/// A part of each day or each week, in minutes; may go over its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    from: u64,
    to: u64,
    weekly: bool,
}

impl Span {
    /// `02:00-05:00`, `Fri 18:00-Mon 06:00`.
    pub fn parse(text: &str) -> Result<Span, Fault> {
        let (from, to) = text.split_once('-').ok_or_else(|| wrong("time of day or week", text))?;
        let read = |side: &str| minute_of_span(side).ok_or_else(|| wrong("time of day or week", text));
        let ((from, from_day), (to, to_day)) = (read(from)?, read(to)?);
        if from_day != to_day || from == to {
            return Err(wrong("time of day or week", text));
        }
        Ok(Span { from, to, weekly: from_day })
    }

    fn period(&self) -> u64 {
        if self.weekly { WEEK_MIN } else { DAY_MIN }
    }

    fn place(&self, t: Time) -> u64 {
        let minute = minute_of(t);
        if self.weekly { minute_of_week(minute) } else { minute % DAY_MIN }
    }

    pub fn length_ms(&self) -> u64 {
        ((self.to + self.period() - self.from - 1) % self.period() + 1) * MINUTE_MS
    }

    pub fn has(&self, t: Time) -> bool {
        let since = (self.place(t) + self.period() - self.from) % self.period();
        since * MINUTE_MS < self.length_ms()
    }

    /// When it is open next: `t` itself if it is open then.
    pub fn opens(&self, t: Time) -> Time {
        if self.has(t) {
            return t;
        }
        at_minute(minute_of(t) + (self.from + self.period() - self.place(t)) % self.period())
    }

    /// When it ends that `t` lies in.
    fn closes(&self, t: Time) -> Time {
        let since = (self.place(t) + self.period() - self.from) % self.period();
        at_minute(minute_of(t) - since.min(minute_of(t)) + self.length_ms() / MINUTE_MS)
    }
}

/// The minute and whether a day of the week stands before it.
fn minute_of_span(text: &str) -> Option<(u64, bool)> {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let (day, clock) = match text.trim().split_once(' ') {
        Some((day, clock)) => (Some(DAYS.iter().position(|d| *d == day)? as u64), clock),
        None => (None, text.trim()),
    };
    let (hour, minute) = clock.split_once(':')?;
    let (hour, minute): (u64, u64) = (hour.parse().ok()?, minute.parse().ok()?);
    if minute > 59 || hour * 60 + minute > DAY_MIN {
        return None;
    }
    Some((day.unwrap_or(0) * DAY_MIN + hour * 60 + minute, day.is_some()))
}

/// Until when nothing may be rolled out; None: it may now. Spans that follow each other are one.
pub fn frozen(spans: &[Span], now: Time) -> Option<Time> {
    let mut until = now;
    // Each turn leaves one span; a week of turns never ends.
    for _ in 0..=spans.len() * 16 {
        match spans.iter().filter(|s| s.has(until)).map(|s| s.closes(until)).max() {
            Some(end) => until = end,
            None => break,
        }
    }
    (until > now).then_some(until)
}

/// When an image is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    cron: Cron,
    window: Option<Span>,
    /// How much later than cron says, always the same for one image.
    offset_ms: u64,
}

impl Schedule {
    /// None: it is rebuilt by hand only.
    pub fn of(spec: &ImageSpec) -> Result<Option<Schedule>, Fault> {
        let window = spec.window.as_deref().map(Span::parse).transpose()?;
        let Some(rebuild) = &spec.rebuild else { return Ok(None) };
        Ok(Some(Schedule { cron: Cron::parse(rebuild)?, window, offset_ms: offset(&spec.name, spec.jitter_ms) }))
    }

    /// When the first look after one at `last` is due. None: never. An image that was never looked at is due at once.
    pub fn due(&self, last: Option<Time>) -> Option<Time> {
        let Some(last) = last else { return Some(Time(0)) };
        // A slot may come later by the offset, and by up to a day until the window opens.
        let mut slot = Time(last.0.saturating_sub(self.offset_ms + (DAY_MIN + 1) * MINUTE_MS));
        loop {
            slot = self.cron.next(slot)?;
            let due = self.enter(slot.plus(self.offset_ms));
            if due > last {
                return Some(due);
            }
        }
    }

    fn enter(&self, t: Time) -> Time {
        match &self.window {
            Some(window) if !window.has(t) => window.opens(t).plus(self.offset_ms % window.length_ms()),
            _ => t,
        }
    }

    /// When the window is open: `now` if it is, or there is none.
    pub fn opens(&self, now: Time) -> Time {
        self.window.map_or(now, |w| w.opens(now))
    }
}

/// Below `jitter_ms`, by the name alone.
pub fn offset(name: &ImageName, jitter_ms: u64) -> u64 {
    let hash = Sha256::digest(name.as_str().as_bytes());
    let number = u64::from_be_bytes(hash[..8].try_into().expect("a hash has more than eight bytes"));
    if jitter_ms == 0 { 0 } else { number % jitter_ms }
}
