//! Events, steps and declarations as lines of a trace.

use model::{DesiredGroup, Event, GroupSpec, Step};

pub(crate) fn describe_desired(spec: &GroupSpec) -> String {
    match &spec.desired {
        DesiredGroup::Run { count, once: None, .. } => format!("run {count}"),
        DesiredGroup::Run { .. } => "run a check".to_string(),
        DesiredGroup::Gone => "be gone".to_string(),
    }
}

pub(crate) fn describe_event(event: &Event) -> String {
    match event {
        Event::Opened(o) => {
            let steps: Vec<String> = o.plan.steps.iter().map(|s| describe_step(&s.step)).collect();
            format!("plan of {} steps for {}: {}", steps.len(), o.to.group, steps.join(", "))
        }
        Event::StepStarted { step, stamp, .. } => format!("step {step} starts with {stamp}"),
        Event::StepSatisfied { step, seen } => format!("step {step} is satisfied: {seen}"),
        Event::MigrationEnded { group, exit, .. } => format!("the migration {group} ended: {exit}"),
        Event::PlanReplaced { why, plan, .. } => {
            let steps: Vec<String> = plan.steps.iter().map(|s| describe_step(&s.step)).collect();
            format!("rolls back: {why}: {}", steps.join(", "))
        }
        Event::CommandTaken(issued) => format!("takes the command {} to {:?}", issued.n, issued.command),
        Event::Closed { verdict, why, .. } => format!("closed as {verdict:?}: {why}"),
    }
}

pub(crate) fn describe_step(step: &Step) -> String {
    match step {
        Step::Scale { group, count } => format!("scale {group} {count}"),
        Step::Shift { weights, .. } => format!("shift {:?}", weights.values().collect::<Vec<_>>()),
        Step::Soak { for_ms, .. } => format!("soak {for_ms}"),
        other => format!("{} {}", other.kind(), other.group().map_or("", |g| g.as_str())),
    }
}
