//! `why`: what a service or an image waits for, and until when.

use super::status::{fleet_alarms, happened, images, services, troubles};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::{ImageUpkeep, RotationStatus, ServiceStatus};
use api::fleet::{Alarm, Happened};
use clap::Args;
use model::{Fault, GroupName, ServiceName};
use std::collections::BTreeSet;

/// Explain what a service or an image waits for, and until when
#[derive(Args, Debug)]
#[command(
    after_help = "Of a service: its rotation, what happened to the servers of its present release and the one before, its alarms. Of an image: what its upkeep \
                  does.\n\nExample:\n  afresh why web\n  afresh why image.base"
)]
pub struct Why {
    /// Only this service, or this image
    #[arg(value_name = "SERVICE|IMAGE")]
    pub name: Option<String>,
    /// Also list what happened to servers of older releases
    #[arg(long)]
    pub all: bool,
}

/// Lines on what happened to a service's servers; `afresh events` has all of it.
const LAST_HAPPENED: usize = 5;

impl Why {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        // As the service file refers to them.
        let (kind, name) = match self.name.as_deref() {
            Some(text) => text.split_once('.').map_or((None, Some(text)), |(kind, name)| (Some(kind), Some(name))),
            None => (None, None),
        };
        let of_kind = |one: &str, own: &str| kind.is_none_or(|kind| kind == one) && name.is_none_or(|only| only == own);
        let mut services = context.wait(services(context, None))?;
        let mut images = context.wait(images(context))?;
        services.retain(|s| of_kind("service", s.service.as_str()));
        // A service's image is shown too where it has alarms or another one is current.
        let uses = |i: &ImageUpkeep| {
            i.services.iter().any(|(s, on)| of_kind("service", s.as_str()) && (!i.alarms.is_empty() || i.current.as_ref() != Some(on)))
        };
        images.retain(|i| of_kind("image", i.name.as_str()) || uses(i));
        let mut troubles = context.wait(troubles(context))?;
        troubles.retain(|t| name.is_none_or(|name| names(t, name)));
        if let Some(text) = self.name.as_deref().filter(|_| services.is_empty() && images.is_empty() && troubles.is_empty()) {
            services.push(context.wait(not_listed(context, text.strip_prefix("service.").unwrap_or(text)))?);
        }
        let mut answers = Vec::new();
        for status in &services {
            let last = match &status.rotation {
                Some(_) => None,
                None => context.wait(last(context, &status.service))?,
            };
            let recent = recent_groups(status, last.as_ref());
            answers.push((answer(status, last.as_ref()), recent));
        }
        let alarms = context.wait(fleet_alarms(context))?;
        // A keeper that does not answer is among the alarms.
        let happened = context.wait(happened(context)).unwrap_or_default();
        if context.json {
            let answers: Vec<&Answer> = answers.iter().map(|(answer, _)| answer).collect();
            show::json(
                &serde_json::json!({ "services": answers, "images": images, "alarms": alarms, "happened": happened, "troubles": troubles }),
            );
        } else {
            troubles.iter().for_each(|t| show::line(format!("{} {t}", show::paint(show::RED.bold(), "alarm:"))));
            for (answer, recent) in &answers {
                show::line(format!("{}: {}", show::paint(show::BOLD, &answer.service), answer.text()));
                answer.failure.iter().flat_map(show::failure).for_each(|line| show::line(format!("  {line}")));
                let mine: Vec<&Alarm> = alarms.iter().filter(|a| a.service.as_ref().is_none_or(|s| *s == answer.service)).collect();
                mine.iter().for_each(|alarm| show::line(format!("  {} {}", show::paint(show::RED.bold(), "alarm:"), alarm.text)));
                let mine = happened.iter().filter(|h| h.service.as_ref() == Some(&answer.service));
                let (shown, older): (Vec<&Happened>, Vec<&Happened>) =
                    mine.partition(|h| self.all || h.group.as_ref().is_none_or(|group| recent.contains(group)));
                show::happened(shown, LAST_HAPPENED).iter().for_each(|line| show::line(format!("  {line}")));
                if !older.is_empty() {
                    let events = show::times(older.len() as u64, "event");
                    show::note(format!("{events} of older releases: `afresh why {} --all`", answer.service));
                }
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

/// Of the release that is active, of the one before it, and of one that is or was to replace it.
fn recent_groups(status: &ServiceStatus, last: Option<&RotationStatus>) -> BTreeSet<GroupName> {
    let rotation = status.rotation.as_ref().or(last);
    let of_rotation = rotation.into_iter().flat_map(|r| r.from.iter().chain([&r.to]));
    status.active.iter().chain(of_rotation).map(|one| one.group.clone()).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn group(number: u64) -> Value {
        let release = json!({
            "service": "web", "number": number, "image_name": "base", "image": model::Digest::of(b""), "run": ["one"], "user": "app",
            "health": model::Health::default(), "drain": model::Drain::default(), "limits": model::Limits::default(),
        });
        json!({ "group": format!("web-r{number}-{number}"), "release": release })
    }

    /// Found by a reader: deaths of releases that were long gone hid what happened to the present one.
    #[test]
    fn what_happened_is_of_the_present_release_and_the_one_before() {
        let status =
            json!({ "service": "web", "tier": "front", "count": 2, "healthy": 2, "weights": {}, "rotation": null, "active": group(3) });
        let status: ServiceStatus = serde_json::from_value(status).unwrap();
        let rotation = json!({
            "id": "web.3", "service": "web", "from": group(2), "to": group(3), "opened": 1, "closed": 2, "direction": "forward", "paused": false,
            "plan": { "direction": "forward", "steps": [], "peak": 0, "floor": 0 }, "cursor": 0, "step_started": null, "turns": [], "waits": null,
            "verdict": "promoted", "why": "", "final_inventory": null, "events": 1,
        });
        let last: RotationStatus = serde_json::from_value(rotation).unwrap();
        let recent: Vec<String> = recent_groups(&status, Some(&last)).iter().map(ToString::to_string).collect();
        assert_eq!(recent, ["web-r2-2", "web-r3-3"]);
        assert_eq!(recent_groups(&status, None).len(), 1);
    }
}
