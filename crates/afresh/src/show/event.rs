//! Lines of a journal as sentences.

use super::{clock, step, verdict};
use api::control::is_removal;
use model::{Direction, Event, EventLine, Plan, RotationCommand};

/// What was read of a journal so far: what its next line says depends on it. Empty where reading began in the middle.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    plan: Option<Plan>,
    removes: bool,
}

impl Journal {
    /// The next line.
    pub fn next(&mut self, line: &EventLine) -> String {
        let told = sentence(line, self);
        match &line.event {
            Event::Opened(opened) => {
                self.plan = Some(opened.plan.clone());
                self.removes = is_removal(opened);
            }
            Event::PlanReplaced { plan, .. } => self.plan = Some(plan.clone()),
            _ => {}
        }
        told
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
        Event::PlanReplaced { why, plan, .. } => {
            format!("plan replaced by one of {} steps {}: {why}", plan.steps.len(), way(plan.direction))
        }
        Event::CommandTaken(asked) => {
            let word = match asked.command {
                RotationCommand::Pause => "pause",
                RotationCommand::Resume => "resume",
                RotationCommand::Rollback => "return",
                RotationCommand::Stop => "stop",
            };
            format!("{} asked to {word}", asked.by)
        }
        Event::Closed { verdict: v, why, .. } => format!("{}: {why}", verdict(*v, journal.removes)),
    };
    format!("{}  {:<10}  {what}", clock(line.at), line.rotation.to_string())
}

fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "forward",
        Direction::Back => "back",
        Direction::Single => "by hand",
    }
}
