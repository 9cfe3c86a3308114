//! How long a rotation of the shop's three web servers takes with nothing to wait for, and where the time goes.

use super::act;
use super::client::Client;
use super::report::Report;
use super::script::tell;
use super::shop::Flaw;
use super::stage::Stage;
use crate::failure::Failure;
use crate::show;
use api::control::DeployRequest;
use model::{Event, EventLine, Plan, Step, Verdict, Wave};
use serde::Serialize;
use serde_json::json;

#[derive(Serialize)]
struct Part {
    kind: &'static str,
    what: String,
    wave: Option<u32>,
    ms: u64,
}

#[derive(Serialize)]
struct Measured {
    rotation: String,
    waves: usize,
    /// From the deploy's arrival at the control plane to all traffic on the new.
    to_all_traffic_ms: u64,
    /// Until the old are gone too.
    whole_ms: u64,
    parts: Vec<Part>,
}

pub async fn play(stage: &Stage, client: &Client, report: &mut Report, times: u32) -> Result<(), Failure> {
    let mut all = Vec::new();
    let mut version = 1;
    for waves in [vec![Wave::Percent(100)], vec![Wave::Count(1), Wave::Percent(50), Wave::Percent(100)]] {
        for _ in 0..times {
            version += 1;
            let opened = act::open_with(stage, version, Flaw::None, Some("web"), |request| at_once(request, &waves)).await?;
            let rows = act::finish(stage, &opened, version, Verdict::Promoted).await?;
            for row in &rows {
                let lines = act::events(stage, &row.id).await?;
                let measured = measure(&lines, waves.len());
                show::note(format!("{} waves: all traffic on the new after {}", waves.len(), show::span(measured.to_all_traffic_ms)));
                for part in &measured.parts {
                    show::note(format!("  {:>6} ms  {:<6} {}", part.ms, part.kind, part.what));
                }
                all.push(measured);
            }
            rows.iter().for_each(|row| tell(row, Some(client)));
            report.add(rows);
        }
    }
    for (name, waves) in [("median_to_all_traffic_ms_1_wave", 1), ("median_to_all_traffic_ms_3_waves", 3)] {
        let mut times: Vec<u64> = all.iter().filter(|m| m.waves == waves).map(|m| m.to_all_traffic_ms).collect();
        times.sort_unstable();
        report.extra.insert(name, json!(times.get(times.len() / 2)));
    }
    report.extra.insert("measured", json!(all));
    Ok(())
}

/// No soak, no time to be healthy for. Everything else is as the example says.
fn at_once(request: &mut DeployRequest, waves: &[Wave]) {
    for service in request.file.services.values_mut() {
        service.rollout.soak_ms = 0;
        service.rollout.waves = waves.to_vec();
        service.health.healthy_for_ms = 0;
    }
}

/// Each step from its first start to its end; what lies between is the driver's own time and counts to the step after.
fn measure(lines: &[EventLine], waves: usize) -> Measured {
    let began = lines.first().map_or(model::Time(0), |l| l.at);
    let mut plan: Option<&Plan> = None;
    let mut last = began;
    let mut measured = Measured {
        rotation: lines.first().map_or_else(String::new, |l| l.rotation.to_string()),
        waves,
        to_all_traffic_ms: 0,
        whole_ms: 0,
        parts: Vec::new(),
    };
    for line in lines {
        match &line.event {
            Event::Opened(opened) => plan = Some(&opened.plan),
            Event::PlanReplaced { plan: new, .. } => plan = Some(new),
            Event::StepSatisfied { step, .. } => {
                let Some(planned) = plan.and_then(|p| p.steps.get(*step as usize)) else { continue };
                measured.parts.push(Part {
                    kind: planned.step.kind(),
                    what: show::step(&planned.step),
                    wave: planned.wave,
                    ms: line.at.since(last),
                });
                last = line.at;
                if matches!(planned.step, Step::Shift { .. }) {
                    measured.to_all_traffic_ms = line.at.since(began);
                }
            }
            Event::Closed { .. } => measured.whole_ms = line.at.since(began),
            Event::StepStarted { .. } | Event::CommandTaken(_) | Event::MigrationEnded { .. } => {}
        }
    }
    measured
}
