//! Lines of a journal as sentences.

use super::{clock, command, step, verdict};
use api::control::is_removal;
use model::{Direction, Event, EventLine, Plan};

/// What was read of a journal so far: the text of its next line depends on it. Empty where reading began in the middle.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    plan: Option<Plan>,
    removes: bool,
}

impl Journal {
    /// The next line.
    pub fn next(&mut self, line: &EventLine) -> String {
        let text = sentence(line, self);
        match &line.event {
            Event::Opened(opened) => {
                self.plan = Some(opened.plan.clone());
                self.removes = is_removal(opened);
            }
            Event::PlanReplaced { plan, .. } => self.plan = Some(plan.clone()),
            _ => {}
        }
        text
    }
}

fn sentence(line: &EventLine, journal: &Journal) -> String {
    let of = |n: u32| match journal.plan.as_ref().and_then(|p| p.steps.get(n as usize)) {
        Some(planned) => format!("step {n} {} {}", planned.step.kind(), step(&planned.step)),
        None => format!("step {n}"),
    };
    let what = match &line.event {
        Event::Opened(opened) if is_removal(opened) => {
            format!("opened: removal of {}, {} steps: {}", opened.to.release.label(), opened.plan.steps.len(), opened.why)
        }
        Event::Opened(opened) => {
            let from = opened.from.as_ref().map_or_else(|| "nothing".to_string(), |s| s.release.label());
            let steps = opened.plan.steps.len();
            format!(
                "opened: {from} -> {}, {steps} steps, at most {} servers at once: {}",
                opened.to.release.label(),
                opened.plan.peak,
                opened.why
            )
        }
        Event::StepStarted { step, stamp, .. } => format!("{}: started under stamp {stamp}", of(*step)),
        Event::StepSatisfied { step, seen } => format!("{}: {seen}", of(*step)),
        Event::MigrationEnded { group, exit, .. } => format!("migration {group}: {exit}"),
        Event::PlanReplaced { why, plan, .. } => {
            format!("plan replaced by one of {} steps {}: {why}", plan.steps.len(), direction(plan.direction))
        }
        Event::CommandTaken(issued) => format!("command {} by {}", command(issued.command), issued.by),
        Event::Closed { verdict: v, why, .. } => format!("{}: {why}", verdict(*v, journal.removes)),
    };
    format!("{}  {:<10}  {what}", clock(line.at), line.rotation.to_string())
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "forward",
        Direction::Back => "to roll back",
        Direction::Single => "by hand",
    }
}
