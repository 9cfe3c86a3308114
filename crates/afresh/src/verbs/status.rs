//! `status` and `why`: how things stand, and what is waited for until when.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::{RotationStatus, ServiceStatus};
use clap::Args;
use model::ServiceName;

/// Show every service: what stands, how many are healthy, who gets the traffic
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh status")]
pub struct Status {
    /// Only this service
    pub service: Option<ServiceName>,
}

impl Status {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let services = context.wait(services(context, self.service.as_ref()))?;
        if context.json {
            show::json(&services);
            return Ok(Exit::Succeeded);
        }
        if services.is_empty() {
            show::line("no service yet; `afresh deploy` makes the first release");
            return Ok(Exit::Succeeded);
        }
        let rows = services.iter().map(row).collect();
        show::line(show::table(&["service", "tier", "release", "healthy", "traffic", "rotation"], rows));
        let open: Vec<RotationStatus> = services.into_iter().filter_map(|s| s.rotation).collect();
        if !open.is_empty() {
            show::line("");
            let snapshot = show::tree::Snapshot { rollout: None, rotations: open };
            show::tree::tree(&snapshot, show::now()).iter().for_each(show::line);
        }
        Ok(Exit::Succeeded)
    }
}

fn row(status: &ServiceStatus) -> Vec<String> {
    let weights: Vec<String> = status.weights.iter().map(|(group, weight)| format!("{group} {weight}%")).collect();
    vec![
        status.service.to_string(),
        status.tier.to_string(),
        status.standing.as_ref().map_or_else(String::new, |s| format!("r{}", s.release.number)),
        format!("{}/{}", status.healthy, status.count),
        weights.join(" "),
        status.rotation.as_ref().map_or_else(String::new, |r| r.id.to_string()),
    ]
}

pub async fn services(context: &Context, only: Option<&ServiceName>) -> Result<Vec<ServiceStatus>, Failure> {
    Ok(match only {
        Some(service) => vec![context.api().get(&format!("/v1/services/{service}")).await?],
        None => context.api().get("/v1/services").await?,
    })
}

/// Say in one sentence what a service's rotation waits for, and until when
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh why web")]
pub struct Why {
    /// Only this service
    pub service: Option<ServiceName>,
}

impl Why {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let services = context.wait(services(context, self.service.as_ref()))?;
        let mut answers = Vec::new();
        for status in &services {
            let last = match &status.rotation {
                Some(_) => None,
                None => context.wait(last(context, &status.service))?,
            };
            answers.push(answer(status, last.as_ref()));
        }
        if context.json {
            show::json(&answers);
        } else {
            for answer in &answers {
                show::line(format!("{}: {}", show::paint(show::BOLD, &answer.service), answer.text()));
            }
        }
        Ok(Exit::Succeeded)
    }
}

#[derive(serde::Serialize)]
struct Answer {
    service: ServiceName,
    rotation: Option<model::RotationId>,
    why: String,
    until: Option<model::Time>,
}

impl Answer {
    fn text(&self) -> String {
        let until =
            self.until.map_or_else(String::new, |u| format!(", until {} (in {})", show::clock(u), show::span(u.since(show::now()))));
        let rotation = self.rotation.as_ref().map_or_else(String::new, |r| format!("{r}: "));
        format!("{rotation}{}{until}", self.why)
    }
}

async fn last(context: &Context, service: &ServiceName) -> Result<Option<RotationStatus>, Failure> {
    let rows: Vec<RotationStatus> = context.api().get(&format!("/v1/rotations?service={service}&limit=1")).await?;
    Ok(rows.into_iter().next())
}

fn answer(status: &ServiceStatus, last: Option<&RotationStatus>) -> Answer {
    let (rotation, why, until) = match (&status.rotation, last) {
        (Some(open), _) => {
            let why = match (&open.waits, open.paused) {
                (Some(waits), _) => waits.why.clone(),
                (None, true) => "paused by hand".into(),
                (None, false) => "it waits for nothing: the next step is being started".into(),
            };
            (Some(open.id.clone()), why, open.waits.as_ref().and_then(|w| w.until))
        }
        (None, Some(last)) => {
            let end = last.verdict.map_or("open", show::verdict);
            (Some(last.id.clone()), format!("nothing is under way; the last rotation was {end}: {}", last.why), None)
        }
        (None, None) => (None, "nothing is under way and nothing was".into(), None),
    };
    Answer { service: status.service.clone(), rotation, why, until }
}
