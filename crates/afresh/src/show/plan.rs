//! A plan before it is carried out: steps, capacity at each, the peak.

use super::{BOLD, DIM, difference, paint, span, step, times};
use api::control::{PlannedRotation, Removal, Renamed};
use model::{Gap, Plan, Step};

pub fn renamed(renamed: &Renamed) -> String {
    format!("~ service {} is renamed to {}: no server is replaced", renamed.from, paint(BOLD, &renamed.to))
}

pub fn plan(rotation: &PlannedRotation) -> String {
    let from = rotation.from.as_ref().map_or_else(|| "nothing".to_string(), |s| s.release.label());
    let to = rotation.to.release.label();
    let title = paint(BOLD, format!("{} {from} -> {to}", rotation.service));
    let plan = &rotation.plan;
    let parks = plan.steps.iter().any(|s| matches!(&s.step, Step::Scale { group, count: 0 } if *group == rotation.to.group));
    let least = if plan.gap.is_some() {
        "exclusive: the old server stops before the new one starts".to_string()
    } else if parks {
        "no server serves at the end".to_string()
    } else {
        format!("never below {}", plan.floor)
    };
    let tail = format!("tier {}, {least}, at most {} at once", rotation.tier, times(plan.peak.into(), "server"));
    let mut lines = vec![format!("{title}  {}", paint(DIM, tail))];
    let changes = rotation.from.as_ref().map_or_else(Vec::new, |from| difference(&from.release, &rotation.to.release));
    lines.extend(changes.into_iter().map(|change| format!("  ~ {change}")));
    lines.extend(steps(plan));
    lines.extend(plan.gap.map(nobody_serves));
    lines.join("\n")
}

/// An exclusive service: the old server is gone before the new one starts.
fn nobody_serves(gap: Gap) -> String {
    let (least, most) = (span(gap.at_least_ms), span(gap.at_most_ms));
    let (from, to) = (gap.from_step, gap.to_step);
    paint(
        BOLD,
        format!(
            "  nobody serves from step {from} to {to}: for {least} and what the server needs to start, at most {most}; then it rolls back"
        ),
    )
}

/// A service that is removed.
pub fn removal(removal: &Removal, plan: &Plan) -> String {
    let title = paint(BOLD, format!("{} {} -> nothing", removal.service, removal.active.release.label()));
    let tail = paint(DIM, format!("{} is drained and retired, the service is removed", removal.active.group));
    let mut lines = vec![format!("{title}  {tail}")];
    lines.extend(steps(plan));
    lines.join("\n")
}

fn steps(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    let kind_width = 6;
    let what_width = plan.steps.iter().map(|s| step(&s.step).len()).max().unwrap_or(0);
    for (n, planned) in plan.steps.iter().enumerate() {
        let wave = planned.wave.map_or_else(|| "      ".to_string(), |w| format!("wave {w}"));
        let kind = planned.step.kind();
        let what = step(&planned.step);
        lines.push(format!("  {n:>2}  {wave:<7}  {kind:<kind_width$}  {what:<what_width$}  capacity {}", planned.capacity));
    }
    lines
}
