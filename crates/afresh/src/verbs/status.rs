//! `status`: services, jobs, images and alarms as they are now.

use super::job;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::{ImageUpkeep, RotationStatus, ServiceStatus};
use api::fleet::{ALARMS, Alarm, Happened};
use api::jobs::JobSeen;
use clap::Args;
use model::ServiceName;

/// Show services, jobs, images and alarms
#[derive(Args, Debug)]
#[command(
    after_help = "Of each service: the active release, how many servers are healthy, which groups get the traffic. Of each job: when it is due, how its last \
                  run ended. Of each image: its age, whether it \
                  is patched, what it waits for.\n\nWith --check, for cron and monitoring, only alarms are printed, and the exit code is 8 if there are some: images that are too old or \
                  bad, a newer image that was rolled back, servers that died or are unhealthy, corrupt state files, processes that do not answer. The death of a server is an alarm for \
                  15 minutes, or until its group is retired.\n\nExample:\n  afresh status\n  afresh status --check || mail -s 'afresh alarms' ops"
)]
pub struct Status {
    /// Only this service
    #[arg(conflicts_with = "check")]
    pub service: Option<ServiceName>,
    /// Print only alarms; exit with 8 if there are any
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
        let jobs: Vec<JobSeen> = context.wait(jobs(context, self.service.as_ref()))?;
        let health = context.wait(health(context))?;
        let troubles = health.troubles;
        let mut alarms = context.wait(fleet_alarms(context))?;
        // What was written may be the id; answers have the name.
        let only = self.service.as_ref().and_then(|_| services.first()).map(|status| &status.service);
        alarms.retain(|alarm| only.is_none() || alarm.service.is_none() || alarm.service.as_ref() == only);
        if context.json {
            show::json(
                &serde_json::json!({ "services": services, "jobs": jobs, "images": images, "alarms": alarms, "troubles": troubles, "backup": health.backup }),
            );
            return Ok(Exit::Succeeded);
        }
        troubles.iter().for_each(|t| show::line(format!("{} {t}", show::paint(show::RED.bold(), "alarm:"))));
        if services.is_empty() {
            show::line("no services yet; `afresh deploy` makes the first release");
            tell_images(&images);
            tell_backup(health.backup.as_ref());
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
        for (service, id) in services.iter().filter_map(|s| Some((&s.service, s.id.as_ref()?))) {
            show::line(format!("{} (its servers are named {id}, its id)", show::paint(show::BOLD, service)));
        }
        services.iter().filter_map(between_releases).for_each(show::line);
        let rows = services.iter().map(row).collect();
        show::line(show::table(&["service", "tier", "release", "healthy", "traffic", "rotation"], rows));
        let open: Vec<RotationStatus> = services.into_iter().filter_map(|s| s.rotation).collect();
        if !open.is_empty() {
            show::line("");
            let snapshot = show::tree::Snapshot { rollout: None, rotations: open };
            show::tree::tree(&snapshot, show::now()).iter().for_each(show::line);
        }
        if !jobs.is_empty() {
            show::line("");
            show::line(job::table(&jobs));
        }
        tell_images(&images);
        tell_backup(health.backup.as_ref());
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

pub async fn fleet_alarms(context: &Context) -> Result<Vec<Alarm>, Failure> {
    Ok(context.api().get(ALARMS).await?)
}

pub async fn happened(context: &Context) -> Result<Vec<Happened>, Failure> {
    Ok(context.api().get("/v1/fleet/events").await?)
}

async fn jobs(context: &Context, only: Option<&ServiceName>) -> Result<Vec<JobSeen>, Failure> {
    let path = only.map_or_else(|| api::jobs::JOBS.to_string(), api::jobs::of);
    Ok(context.api().get(&path).await?)
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
    let health = context.wait(health(context))?;
    let troubles = health.troubles;
    let fleet = context.wait(fleet_alarms(context))?;
    let of_images = images.iter().flat_map(|i| &i.alarms);
    let alarms: Vec<&String> = troubles.iter().chain(of_images).chain(fleet.iter().map(|alarm| &alarm.text)).collect();
    if context.json {
        show::json(&serde_json::json!({ "alarms": alarms, "images": images, "fleet": fleet, "backup": health.backup }));
    } else {
        alarms.iter().for_each(|a| show::line(format!("alarm: {a}")));
    }
    Ok(if alarms.is_empty() { Exit::Succeeded } else { Exit::Alarm })
}

/// What the control plane itself reports: groups that its journal does not know, parts that panicked or always fail.
pub async fn troubles(context: &Context) -> Result<Vec<String>, Failure> {
    Ok(health(context).await?.troubles)
}

async fn health(context: &Context) -> Result<api::paths::Health, Failure> {
    Ok(context.api().get(api::paths::HEALTH).await?)
}

fn tell_backup(last: Option<&api::paths::LastBackup>) {
    if let Some(last) = last {
        let (ago, bytes) = (show::ago(last.at, show::now()), show::bytes(last.bytes));
        show::line(format!("\nlast backup: {ago}, {bytes}, {}", last.path.display()));
    }
}

pub async fn images(context: &Context) -> Result<Vec<ImageUpkeep>, Failure> {
    Ok(context.api().get("/v1/images/upkeep").await?)
}

/// Traffic goes to a group that was never promoted, and no rotation will change that: it was stopped.
fn between_releases(status: &ServiceStatus) -> Option<String> {
    let (service, active) = (&status.service, status.active.as_ref()?);
    let other = status.weights.iter().find(|(group, weight)| **group != active.group && **weight > 0);
    let (group, weight) = other.filter(|_| status.rotation.is_none())?;
    Some(format!(
        "{}: {weight}% of its traffic goes to {group}, which was not promoted: its rotation was stopped; `afresh rollback {service}` returns to r{}, \
         a deploy goes on from here",
        show::paint(show::BOLD, service),
        active.release.number
    ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_a_stop_left_between_releases_is_said() {
        let status = |weights: serde_json::Value| -> ServiceStatus {
            let release = serde_json::json!({
                "service": "web", "number": 1, "image_name": "base", "image": model::Digest::of(b""), "run": ["one"], "user": "app",
                "health": model::Health::default(), "drain": model::Drain::default(), "limits": model::Limits::default(),
            });
            serde_json::from_value(serde_json::json!({
                "service": "web", "tier": "front", "count": 2, "healthy": 2, "weights": weights, "rotation": null,
                "active": { "group": "web-r1-1", "release": release },
            }))
            .unwrap()
        };
        assert_eq!(between_releases(&status(serde_json::json!({ "web-r1-1": 100, "web-r2-2": 0 }))), None);
        let said = between_releases(&status(serde_json::json!({ "web-r1-1": 67, "web-r2-2": 33 }))).unwrap();
        assert!(said.contains("33% of its traffic goes to web-r2-2") && said.contains("returns to r1"), "{said}");
    }
}
