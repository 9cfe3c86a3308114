//! Errors of a bad release by wave: they must stay within the share of traffic that the wave gave it. Pure.

use super::client::account::{Account, Outcome};
use model::{Event, EventLine, GroupName, Plan, Step};
use serde::Serialize;

/// Between two shifts: from when the one was started until the next was.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    wave: Option<u32>,
    weight: u32,
    from_ms: u64,
    until_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WaveErrors {
    pub rotation: String,
    /// None: during the rollback.
    pub wave: Option<u32>,
    /// The most of the traffic, in percent, that the release had in it.
    pub weight: u32,
    pub requests: u64,
    pub release_errors: u64,
    pub within_share: bool,
}

/// A share is kept exactly by the balancer over many requests, but a window's borders fall between requests in flight:
/// this many percent of the window's requests, and this many requests, are allowed for that.
const BORDER_PERCENT: u64 = 2;
const BORDER_REQUESTS: u64 = 20;

/// `version` is the bad release's. Its errors that do not name a version are put down to it if they came while it had traffic;
/// those outside every window are not within any share: they come back as a row of weight 0, and as failures.
pub fn by_wave(lines: &[EventLine], account: &mut Account, version: u64) -> Vec<WaveErrors> {
    let Some(EventLine { rotation, event: Event::Opened(opened), .. }) = lines.first() else { return Vec::new() };
    rows(rotation.as_str(), &windows(lines, &opened.to.group), account, version)
}

fn rows(rotation: &str, windows: &[Window], account: &mut Account, version: u64) -> Vec<WaveErrors> {
    let row =
        |wave, weight| WaveErrors { rotation: rotation.to_string(), wave, weight, requests: 0, release_errors: 0, within_share: true };
    let mut rows: Vec<WaveErrors> = windows.iter().map(|w| row(w.wave, w.weight)).collect();
    let mut outside = row(None, 0);
    for record in &mut account.records {
        // Who answers is chosen somewhere between sending and the end of the answer.
        let done_ms = record.due_ms + record.took_us / 1_000;
        let place = windows.iter().position(|w| w.from_ms <= done_ms && record.sent_ms < w.until_ms);
        let row = place.map_or(&mut outside, |i| &mut rows[i]);
        row.requests += 1;
        if matches!(record.outcome, Outcome::Release(_)) {
            if place.is_some() && record.version.is_none() {
                record.version = Some(version);
            }
            row.release_errors += u64::from(record.version == Some(version));
        }
    }
    rows.push(outside);
    for row in &mut rows {
        let share = row.requests * (u64::from(row.weight) + BORDER_PERCENT) / 100 + BORDER_REQUESTS;
        row.within_share = if row.weight == 0 { row.release_errors == 0 } else { row.release_errors <= share };
    }
    rows.retain(|row| row.weight > 0 || row.release_errors > 0);
    rows
}

/// A shift takes effect somewhere between its start and its end, so a window has the larger of the weights at its borders.
fn windows(lines: &[EventLine], group: &GroupName) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    let mut plan: Option<&Plan> = None;
    for line in lines {
        match &line.event {
            Event::Opened(opened) => plan = Some(&opened.plan),
            Event::PlanReplaced { plan: new, .. } => plan = Some(new),
            Event::StepStarted { step, .. } => {
                let Some((weight, wave)) = shift(plan, *step, group) else { continue };
                // A step that is started again by another driver continues its window.
                if windows.last().is_some_and(|w| w.until_ms == u64::MAX && w.weight == weight && w.wave == wave) {
                    continue;
                }
                close(&mut windows, line.at.0);
                windows.push(Window { wave, weight, from_ms: line.at.0, until_ms: u64::MAX });
            }
            Event::StepSatisfied { step, .. } if shift(plan, *step, group).is_some_and(|(weight, _)| weight == 0) => {
                close(&mut windows, line.at.0)
            }
            Event::Closed { .. } => close(&mut windows, line.at.0),
            Event::StepSatisfied { .. } | Event::CommandTaken(_) | Event::MigrationEnded { .. } => {}
        }
    }
    // Rolling back, the old weight holds until the shift is seen.
    for i in 1..windows.len() {
        windows[i].weight = windows[i].weight.max(windows[i - 1].weight);
    }
    windows
}

fn close(windows: &mut [Window], at_ms: u64) {
    if let Some(last) = windows.last_mut() {
        last.until_ms = last.until_ms.min(at_ms);
    }
}

/// The group's weight and the wave, if this step is a shift.
fn shift(plan: Option<&Plan>, step: u32, group: &GroupName) -> Option<(u32, Option<u32>)> {
    let planned = plan?.steps.get(step as usize)?;
    match &planned.step {
        Step::Shift { weights, .. } => Some((weights.get(group).copied().unwrap_or(0), planned.wave)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::client::account::{Kind, Record};
    use model::{Direction, Fence, PlannedStep, RotationId, RouteName, Stamp, Time};
    use std::collections::BTreeMap;

    fn shift_to(new: u32, wave: Option<u32>) -> PlannedStep {
        let group = |name: &str| GroupName::new(name).unwrap();
        let weights: BTreeMap<GroupName, u32> = [(group("web-r3-3"), 100 - new), (group("web-r4-4"), new)].into();
        PlannedStep { step: Step::Shift { route: RouteName::new("web").unwrap(), weights }, wave, capacity: 3 }
    }

    /// One wave of a third from 1,000, rolling back from 3,000, back at 3,200.
    fn windows_of_a_return() -> Vec<Window> {
        let forward = Plan { steps: vec![shift_to(33, Some(1)), shift_to(66, Some(2))], ..Plan::default() };
        let back = Plan { direction: Direction::Back, steps: vec![shift_to(0, None)], ..Plan::default() };
        let started = || Event::StepStarted { step: 0, stamp: Stamp::default(), mark: None, clock: None };
        let satisfied = || Event::StepSatisfied { step: 0, seen: String::new() };
        let replaced = |plan: Plan| Event::PlanReplaced { why: String::new(), plan, failure: None };
        let events = [
            (0, replaced(forward)),
            (1_000, started()),
            (1_050, started()),
            (1_100, satisfied()),
            (3_000, replaced(back)),
            (3_000, started()),
            (3_200, satisfied()),
        ];
        let line = |(seq, (at, event)): (u64, (u64, Event))| EventLine {
            rotation: RotationId::new("web.4").unwrap(),
            seq,
            at: Time(at),
            fence: Fence(1),
            event,
        };
        let lines: Vec<EventLine> = (0..).zip(events).map(line).collect();
        windows(&lines, &GroupName::new("web-r4-4").unwrap())
    }

    fn account(errors_in_wave: usize, errors_after: usize) -> Account {
        let record = |at: u64, bad: bool| Record {
            kind: Kind::KeepAlive,
            due_ms: at,
            sent_ms: at,
            took_us: 1_000,
            version: Some(if bad { 4 } else { 3 }),
            outcome: if bad { Outcome::Release(500) } else { Outcome::Whole },
        };
        let mut records: Vec<Record> = (0..2_000).map(|i| record(1_000 + i, (i as usize) < errors_in_wave)).collect();
        records.extend((0..100).map(|i| record(4_000 + i, (i as usize) < errors_after)));
        Account { records }
    }

    #[test]
    fn a_return_has_two_windows_and_a_step_started_twice_only_one() {
        let window = |wave, from_ms, until_ms| Window { wave, weight: 33, from_ms, until_ms };
        assert_eq!(windows_of_a_return(), [window(Some(1), 1_000, 3_000), window(None, 3_000, 3_200)]);
    }

    #[test]
    fn errors_beyond_the_share_or_outside_a_wave_are_seen() {
        let verdicts = |mut account: Account| {
            rows("web.4", &windows_of_a_return(), &mut account, 4).iter().map(|r| (r.release_errors, r.within_share)).collect::<Vec<_>>()
        };
        assert_eq!(verdicts(account(660, 0)), [(660, true), (0, true)]);
        assert_eq!(verdicts(account(900, 0)), [(900, false), (0, true)]);
        assert_eq!(verdicts(account(10, 1)), [(10, true), (0, true), (1, false)]);
    }
}
