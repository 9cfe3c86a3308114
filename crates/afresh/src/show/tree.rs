//! The tree of a rollout: tiers, services, waves, steps, each with a mark, and what is waited for until when.
//!
//! Pure: a snapshot in, lines out. What has ended is one line, so that the tree fits a screen.

use super::{BOLD, CYAN, DIM, GREEN, RED, YELLOW, clock, paint, span, step, verdict};
use api::control::RotationStatus;
use model::{Direction, PlannedStep, RolloutSeen, ServiceName, Time, Verdict};

#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub rollout: Option<RolloutSeen>,
    pub rotations: Vec<RotationStatus>,
}

pub fn tree(snapshot: &Snapshot, now: Time) -> Vec<String> {
    let mut out = Vec::new();
    let Some(rollout) = &snapshot.rollout else {
        for rotation in &snapshot.rotations {
            draw(rotation, now, "", &mut out);
        }
        return out;
    };
    let is_in = |r: &RotationStatus| rollout.plan.tiers.iter().any(|(_, services)| services.iter().any(|(s, _)| s.name == r.service));
    let paused = rollout.paused.as_ref().map_or_else(String::new, |by| format!("{} by {by}  ", paint(YELLOW.bold(), "paused")));
    out.push(format!("{}  {paused}{}", paint(BOLD, &rollout.id), rollout.plan.why));
    for (tier, services) in &rollout.plan.tiers {
        out.push(format!("  tier {}", paint(BOLD, tier)));
        for (service, release) in services {
            match rotation_of(snapshot, &service.name) {
                Some(rotation) => draw(rotation, now, "    ", &mut out),
                None => {
                    let why = if rollout.end.is_some() { "not begun" } else { "waits for the previous tier" };
                    out.push(format!("    {} {}", paint(DIM, "·"), paint(DIM, format!("{} -> {}: {why}", service.name, release.label()))));
                }
            }
        }
    }
    // What is removed belongs to no tier of the file.
    for rotation in snapshot.rotations.iter().filter(|r| !is_in(r)) {
        draw(rotation, now, "  ", &mut out);
    }
    out
}

fn rotation_of<'a>(snapshot: &'a Snapshot, service: &ServiceName) -> Option<&'a RotationStatus> {
    snapshot.rotations.iter().find(|r| r.service == *service)
}

fn draw(rotation: &RotationStatus, now: Time, indent: &str, out: &mut Vec<String>) {
    let from = rotation.from.as_ref().map_or_else(|| "nothing".to_string(), |s| format!("r{}", s.release.number));
    let to = format!("r{}", rotation.to.release.number);
    let what = if rotation.removes { format!("removal of {to}") } else { format!("{from} -> {to}") };
    let title = format!("{} {what}  {}", paint(BOLD, &rotation.service), paint(DIM, &rotation.id));
    match rotation.verdict {
        Some(end) => {
            let took = span(rotation.closed.unwrap_or(now).since(rotation.opened));
            let (mark, style) = match end {
                Verdict::Promoted => ("✔", GREEN),
                Verdict::RolledBack if rotation.removes => ("✔", GREEN),
                Verdict::RolledBack => ("↩", YELLOW),
                Verdict::Stopped => ("■", RED),
            };
            let word = paint(style.bold(), format!("{mark} {}", verdict(end, rotation.removes)));
            out.push(format!("{indent}{word}  {title}  in {took}: {}", rotation.why));
        }
        None => {
            let mut state = format!("for {}", span(now.since(rotation.opened)));
            if rotation.direction == Direction::Back && !rotation.removes {
                state = format!("{} {state}", paint(YELLOW.bold(), "rolling back"));
            }
            if rotation.paused {
                state = format!("{} {state}", paint(YELLOW.bold(), "paused"));
            }
            out.push(format!("{indent}{} {title}  {state}", paint(CYAN, "▸")));
        }
    }
    for remark in &rotation.remarks {
        out.push(format!("{indent}  {} {remark}", paint(YELLOW, "↩")));
    }
    // A release that was given up says why at once; while it is still tried, what is waited for does.
    if let Some(failure) = rotation.failure.as_ref().filter(|_| rotation.verdict.is_some_and(|end| end != Verdict::Promoted)) {
        out.extend(super::failure(failure).into_iter().map(|line| format!("{indent}    {line}")));
    }
    if rotation.verdict.is_none() {
        steps(rotation, now, indent, out);
    }
}

fn steps(rotation: &RotationStatus, now: Time, indent: &str, out: &mut Vec<String>) {
    let waves = rotation.plan.steps.iter().filter_map(|s| s.wave).max().unwrap_or(0);
    let cursor = rotation.cursor as usize;
    let current = rotation.plan.steps.get(cursor).and_then(|s| s.wave);
    let mut shown = None;
    for (n, planned) in rotation.plan.steps.iter().enumerate() {
        let open = planned.wave.is_none() || planned.wave == current || waves < 2;
        if planned.wave.is_some() && planned.wave != shown && waves > 1 {
            shown = planned.wave;
            let of: Vec<usize> = (0..rotation.plan.steps.len()).filter(|i| rotation.plan.steps[*i].wave == shown).collect();
            let mark = mark(of.last().is_some_and(|last| *last < cursor), open);
            out.push(format!("{indent}  {mark} wave {} of {waves}", shown.unwrap_or(0)));
        }
        if !open {
            continue;
        }
        let deeper = if planned.wave.is_some() && waves > 1 { "    " } else { "  " };
        out.push(format!("{indent}{deeper}{}", one(n, planned, cursor)));
        if n == cursor
            && let Some(waits) = &rotation.waits
        {
            let until = waits.until.map_or_else(String::new, |u| format!(", until {} (in {})", clock(u), span(u.since(now))));
            out.push(format!("{indent}{deeper}      {}", paint(CYAN, format!("{}{until}", waits.why))));
        }
    }
}

fn mark(done: bool, current: bool) -> String {
    match (done, current) {
        (true, _) => paint(GREEN, "✔"),
        (false, true) => paint(CYAN, "●"),
        (false, false) => paint(DIM, "·"),
    }
}

fn one(n: usize, planned: &PlannedStep, cursor: usize) -> String {
    let text = format!("{n:>2} {:<6} {}", planned.step.kind(), step(&planned.step));
    let text = if n > cursor { paint(DIM, text) } else { text };
    format!("{} {text}", mark(n < cursor, n == cursor))
}
