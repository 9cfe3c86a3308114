//! One line of a journal as a sentence.

use super::{clock, step, verdict};
use model::{Ask, Direction, Event, EventLine, Plan};

/// `plan` is the one that was in force when the line was written, if the caller followed it so far.
pub fn sentence(line: &EventLine, plan: Option<&Plan>) -> String {
    let of = |n: u32| match plan.and_then(|p| p.steps.get(n as usize)) {
        Some(planned) => format!("step {n} {} {}", planned.step.kind(), step(&planned.step)),
        None => format!("step {n}"),
    };
    let what = match &line.event {
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
        Event::PlanReplaced { why, plan } => format!("plan replaced by one of {} steps {}: {why}", plan.steps.len(), way(plan.direction)),
        Event::AskTaken(asked) => {
            let word = match asked.ask {
                Ask::Pause => "pause",
                Ask::Resume => "resume",
                Ask::Return => "return",
                Ask::Stop => "stop",
            };
            format!("{} asked to {word}", asked.by)
        }
        Event::Closed { verdict: v, why, .. } => format!("{}: {why}", verdict(*v)),
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
