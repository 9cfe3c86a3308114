//! `status` and `why`: how things stand, and what is waited for until when.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::{ImageUpkeep, RotationStatus, ServiceStatus};
use api::fleet::{ALARMS, Alarm, Happened};
use clap::Args;
use model::{Fault, ServiceName};

/// Show every service: what stands, how many are healthy, who gets the traffic; and every image: how old, how patched, what it waits for
#[derive(Args, Debug)]
#[command(
    after_help = "With --check, for cron and monitoring, only alarms are printed, and the exit code is 8 if there are some: images that are too old or \
                  bad, servers that died or are unhealthy, damaged state files, processes that do not answer. What happened to a server is an alarm for \
                  15 minutes.\n\nExample:\n  afresh status\n  afresh status --check || mail -s 'afresh alarms' ops"
)]
pub struct Status {
    /// Only this service
    #[arg(conflicts_with = "check")]
    pub service: Option<ServiceName>,
    /// Print only alarms; exit with 8 if there are some
    #[arg(long)]
    pub check: bool,
}

impl Status {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        if self.check {
            return check(context);
        }
        let services = context.wait(services(context, self.service.as_ref()))?;
        let images: Vec<ImageUpkeep> = if self.service.is_some() { Vec::new() } else { context.wait(images(context))? };
        let troubles = context.wait(troubles(context))?;
        let mut alarms = context.wait(fleet_alarms(context))?;
        alarms.retain(|alarm| self.service.is_none() || alarm.service.is_none() || alarm.service == self.service);
        if context.json {
            show::json(&serde_json::json!({ "services": services, "images": images, "alarms": alarms, "troubles": troubles }));
            return Ok(Exit::Succeeded);
        }
        troubles.iter().for_each(|t| show::line(format!("{} {t}", show::paint(show::RED.bold(), "alarm:"))));
        if services.is_empty() {
            show::line("no service yet; `afresh deploy` makes the first release");
            tell_images(&images);
            tell_alarms(&alarms);
            return Ok(Exit::Succeeded);
        }
        for status in &services {
            // What the alarms above do not say already.
            if let Some(trouble) = status.trouble.as_ref().filter(|t| !troubles.iter().any(|told| told.contains(t.as_str()))) {
                show::line(format!("{}: {trouble}", show::paint(show::BOLD, &status.service)));
            }
        }
        for (service, failure) in services.iter().filter_map(|s| Some((&s.service, s.failure.as_ref()?))) {
            show::line(format!("{}: {failure}; `afresh why {service}` has more", show::paint(show::BOLD, service)));
        }
        let rows = services.iter().map(row).collect();
        show::line(show::table(&["service", "tier", "release", "healthy", "traffic", "rotation"], rows));
        let open: Vec<RotationStatus> = services.into_iter().filter_map(|s| s.rotation).collect();
        if !open.is_empty() {
            show::line("");
            let snapshot = show::tree::Snapshot { rollout: None, rotations: open };
            show::tree::tree(&snapshot, show::now()).iter().for_each(show::line);
        }
        tell_images(&images);
        tell_alarms(&alarms);
        Ok(Exit::Succeeded)
    }
}

fn tell_alarms(alarms: &[Alarm]) {
    for alarm in alarms {
        let of = alarm.service.as_ref().map_or_else(String::new, |s| format!("{s}: "));
        show::line(format!("{} {of}{}", show::paint(show::RED.bold(), "alarm:"), alarm.text));
    }
}

async fn fleet_alarms(context: &Context) -> Result<Vec<Alarm>, Failure> {
    Ok(context.api().get(ALARMS).await?)
}

async fn happened(context: &Context) -> Result<Vec<Happened>, Failure> {
    Ok(context.api().get("/v1/fleet/events").await?)
}

fn tell_images(images: &[ImageUpkeep]) {
    if images.is_empty() {
        return;
    }
    show::line("");
    show::line(show::table(&show::upkeep::HEAD, images.iter().map(show::upkeep::row).collect()));
    for alarm in images.iter().flat_map(|i| &i.alarms) {
        show::line(format!("{} {alarm}", show::paint(show::RED.bold(), "alarm:")));
    }
}

fn check(context: &Context) -> Result<Exit, Failure> {
    let images = context.wait(images(context))?;
    let troubles = context.wait(troubles(context))?;
    let fleet = context.wait(fleet_alarms(context))?;
    let of_images = images.iter().flat_map(|i| &i.alarms);
    let alarms: Vec<&String> = troubles.iter().chain(of_images).chain(fleet.iter().map(|alarm| &alarm.text)).collect();
    if context.json {
        show::json(&serde_json::json!({ "alarms": alarms, "images": images, "fleet": fleet }));
    } else {
        alarms.iter().for_each(|a| show::line(format!("alarm: {a}")));
    }
    Ok(if alarms.is_empty() { Exit::Succeeded } else { Exit::Alarm })
}

/// What the control plane itself reports: groups that its journal does not know, parts that panicked or always fail.
async fn troubles(context: &Context) -> Result<Vec<String>, Failure> {
    Ok(context.api().get::<api::paths::Health>(api::paths::HEALTH).await?.troubles)
}

async fn images(context: &Context) -> Result<Vec<ImageUpkeep>, Failure> {
    Ok(context.api().get("/v1/images/upkeep").await?)
}

fn row(status: &ServiceStatus) -> Vec<String> {
    let weights: Vec<String> = status.weights.iter().map(|(group, weight)| format!("{group} {weight}%")).collect();
    vec![
        status.service.to_string(),
        status.tier.to_string(),
        status.active.as_ref().map_or_else(String::new, |s| format!("r{}", s.release.number)),
        if status.count == 0 && status.healthy == 0 && status.active.is_some() {
            "0/0 parked".to_string()
        } else {
            format!("{}/{}", status.healthy, status.count)
        },
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

/// Say what a service's rotation waits for, what happened to its servers, and what an image's upkeep does, and until when
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh why web\n  afresh why base")]
pub struct Why {
    /// Only this service, or this image
    #[arg(value_name = "SERVICE|IMAGE")]
    pub name: Option<String>,
}

/// Of what happened to a service's servers, so much is printed; `afresh events` has all.
const LAST_HAPPENED: usize = 5;

impl Why {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let named = |name: &str| self.name.as_deref().is_none_or(|only| only == name);
        let mut services = context.wait(services(context, None))?;
        let mut images = context.wait(images(context))?;
        services.retain(|s| named(s.service.as_str()));
        // Of a service its image is told too, where that has something to say.
        let uses = |i: &ImageUpkeep| {
            i.services.iter().any(|(s, on)| named(s.as_str()) && (!i.alarms.is_empty() || i.current.as_ref() != Some(on)))
        };
        images.retain(|i| named(i.name.as_str()) || uses(i));
        let mut troubles = context.wait(troubles(context))?;
        troubles.retain(|t| self.name.as_ref().is_none_or(|name| names(t, name)));
        if let Some(name) = self.name.as_ref().filter(|_| services.is_empty() && images.is_empty() && troubles.is_empty()) {
            let fault = Fault::yours("not-found", format!("there is no service and no image {name}"));
            return Err(fault.hint("`afresh status` lists both").into());
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
                let last = happened.iter().filter(|h| h.service.as_ref() == Some(&answer.service)).rev().take(LAST_HAPPENED);
                for one in last.collect::<Vec<_>>().into_iter().rev() {
                    show::line(format!("  {}  {}", show::upkeep::day(one.at), one.text));
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
                (None, false) => "it waits for nothing: the next step is being started".into(),
            };
            (Some(open.id.clone()), why, open.waits.as_ref().and_then(|w| w.until))
        }
        (None, Some(last)) => {
            let end = last.verdict.map_or("open", |v| show::verdict(v, last.removes));
            (Some(last.id.clone()), format!("nothing is under way; the last rotation was {end}: {}", last.why), None)
        }
        (None, None) => (None, "nothing is under way and nothing was".into(), None),
    };
    let rotated = status.rotation.as_ref().or(last).filter(|r| r.verdict != Some(model::Verdict::Promoted));
    let failure = rotated.and_then(|r| r.failure.clone()).or_else(|| status.failure.clone());
    Answer { service: status.service.clone(), rotation, why, until, failure }
}
