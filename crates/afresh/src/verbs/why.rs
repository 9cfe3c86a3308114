//! `why`: what a service or an image waits for, and until when.

use super::status::{fleet_alarms, happened, images, services, troubles};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::{ImageUpkeep, RotationStatus, ServiceStatus};
use api::fleet::Alarm;
use clap::Args;
use model::{Fault, ServiceName};

/// Explain what a service or an image waits for, and until when
#[derive(Args, Debug)]
#[command(
    after_help = "Of a service: its rotation, what happened to its servers, its alarms. Of an image: what its upkeep does.\n\nExample:\n  afresh why web\n  afresh why base"
)]
pub struct Why {
    /// Only this service, or this image
    #[arg(value_name = "SERVICE|IMAGE")]
    pub name: Option<String>,
}

/// Lines on what happened to a service's servers; `afresh events` has all of it.
const LAST_HAPPENED: usize = 5;

impl Why {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let named = |name: &str| self.name.as_deref().is_none_or(|only| only == name);
        let mut services = context.wait(services(context, None))?;
        let mut images = context.wait(images(context))?;
        services.retain(|s| named(s.service.as_str()));
        // A service's image is shown too where it has alarms or another one is current.
        let uses = |i: &ImageUpkeep| {
            i.services.iter().any(|(s, on)| named(s.as_str()) && (!i.alarms.is_empty() || i.current.as_ref() != Some(on)))
        };
        images.retain(|i| named(i.name.as_str()) || uses(i));
        let mut troubles = context.wait(troubles(context))?;
        troubles.retain(|t| self.name.as_ref().is_none_or(|name| names(t, name)));
        if let Some(name) = self.name.as_ref().filter(|_| services.is_empty() && images.is_empty() && troubles.is_empty()) {
            services.push(context.wait(not_listed(context, name))?);
        }
        let mut answers = Vec::new();
        for status in &services {
            let last = match &status.rotation {
                Some(_) => None,
                None => context.wait(last(context, &status.service))?,
            };
            answers.push(answer(status, last.as_ref()));
        }
        let alarms = context.wait(fleet_alarms(context))?;
        // A keeper that does not answer is among the alarms.
        let happened = context.wait(happened(context)).unwrap_or_default();
        if context.json {
            show::json(
                &serde_json::json!({ "services": answers, "images": images, "alarms": alarms, "happened": happened, "troubles": troubles }),
            );
        } else {
            troubles.iter().for_each(|t| show::line(format!("{} {t}", show::paint(show::RED.bold(), "alarm:"))));
            for answer in &answers {
                show::line(format!("{}: {}", show::paint(show::BOLD, &answer.service), answer.text()));
                answer.failure.iter().flat_map(show::failure).for_each(|line| show::line(format!("  {line}")));
                let mine: Vec<&Alarm> = alarms.iter().filter(|a| a.service.as_ref().is_none_or(|s| *s == answer.service)).collect();
                mine.iter().for_each(|alarm| show::line(format!("  {} {}", show::paint(show::RED.bold(), "alarm:"), alarm.text)));
                let mine = happened.iter().filter(|h| h.service.as_ref() == Some(&answer.service));
                show::happened(mine, LAST_HAPPENED).iter().for_each(|line| show::line(format!("  {line}")));
            }
            for one in &images {
                let said = show::upkeep::sentences(one);
                show::line(format!("{}: {}", show::paint(show::BOLD, format!("image {}", one.name)), said.join("\n  ")));
            }
        }
        Ok(Exit::Succeeded)
    }
}

/// A service that was removed is not listed but still known; one of somebody else's is refused in the control plane's words.
async fn not_listed(context: &Context, name: &str) -> Result<ServiceStatus, Failure> {
    let none = || Fault::yours("not-found", format!("there is no service and no image {name}")).hint("`afresh status` lists both");
    let Ok(service) = ServiceName::new(name) else { return Err(none().into()) };
    match context.api().get(&format!("/v1/services/{service}")).await {
        Err(fault) if fault.code == "not-found" => Err(none().into()),
        answer => Ok(answer?),
    }
}

/// Whether a sentence speaks of this service, and not of one whose name begins or ends the same.
fn names(text: &str, name: &str) -> bool {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).any(|word| word == name)
}

#[derive(serde::Serialize)]
struct Answer {
    service: ServiceName,
    rotation: Option<model::RotationId>,
    why: String,
    until: Option<model::Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<model::Failure>,
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
                (None, false) => "the next step is being started".into(),
            };
            (Some(open.id.clone()), why, open.waits.as_ref().and_then(|w| w.until))
        }
        (None, Some(last)) => {
            let end = last.verdict.map_or("open", |v| show::verdict(v, last.removes));
            (Some(last.id.clone()), format!("no rotation is open; the last one was {end}: {}", last.why), None)
        }
        (None, None) => (None, "there was no rotation yet".into(), None),
    };
    let rotated = status.rotation.as_ref().or(last).filter(|r| r.verdict != Some(model::Verdict::Promoted));
    let failure = rotated.and_then(|r| r.failure.clone()).or_else(|| status.failure.clone());
    Answer { service: status.service.clone(), rotation, why, until, failure }
}
