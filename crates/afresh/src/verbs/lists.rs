//! `image list`, `release list`, `instance list`: lists as the API gives them.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::{ImageRow, InstanceRow, ReleaseRow};
use api::host::InstanceUsage;
use clap::{Args, Subcommand};
use lifecycle::State;
use model::{Fault, ServiceName};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub fn list<T: DeserializeOwned + Serialize>(
    context: &Context,
    path: &str,
    head: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> Result<Exit, Failure> {
    print(context, &rows(context, path)?, head, row);
    Ok(Exit::Succeeded)
}

fn rows<T: DeserializeOwned>(context: &Context, path: &str) -> Result<Vec<T>, Failure> {
    context.wait(async { Ok(context.api().get(path).await?) })
}

fn print<T: Serialize>(context: &Context, rows: &Vec<T>, head: &[&str], row: impl Fn(&T) -> Vec<String>) {
    if context.json {
        show::json(rows);
    } else if rows.is_empty() {
        show::note("none yet");
    } else {
        show::line(show::table(head, rows.iter().map(row).collect()));
    }
}

fn of_service(path: &str, service: Option<&ServiceName>) -> String {
    service.map_or_else(|| path.to_string(), |s| format!("{path}?service={s}"))
}

/// List images: state, age, whether every package is the newest
#[derive(Args, Debug)]
#[command(
    after_help = "An image is as old as the last time it was known to hold the newest of every package: baked again before then, it would have \
                  been the same. A container image counts from when it was pulled, until a look shows that every package of it is the newest.\n\nExample:\n  afresh image list"
)]
pub struct Images {}

impl Images {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let now = show::now();
        let head = ["image", "digest", "state", "age", "patched", "size", "packages", "instances", "releases", "pulled from"];
        let images = rows(context, "/v1/images")?;
        print(context, &images, &head, |row: &ImageRow| {
            let life = row.life.as_ref();
            vec![
                row.name.to_string(),
                row.digest.short().to_string(),
                life.map_or(String::new(), |l| l.state.clone()),
                life.map_or_else(|| show::span(now.since(row.baked)), |l| show::span(l.age_ms)),
                patched(row),
                show::bytes(row.bytes),
                row.packages.to_string(),
                row.instances.to_string(),
                row.releases.join(" "),
                row.reference.iter().zip(&row.manifest).map(|(name, pinned)| format!("{name}@{}", pinned.short())).collect(),
            ]
        });
        // The whole sentence, which no column has room for.
        for row in images.iter().filter(|_| !context.json) {
            if let Some(life) = row.life.as_ref().filter(|life| [State::Bad, State::Revoked].iter().any(|s| s.word() == life.state)) {
                show::line(format!("{} {} is {}", row.name, row.digest.short(), life.why));
            }
        }
        // Beside the list, so that nobody takes a corrupt image for one that never existed.
        for fault in context.wait(async { Ok(context.api().get::<Vec<Fault>>("/v1/images/corrupt").await?) })? {
            show::note(format!("{}: {}", fault.code, fault.message));
            fault.hint.iter().for_each(|hint| show::note(format!("hint: {hint}")));
        }
        Ok(Exit::Succeeded)
    }
}

/// As of the last check of the mirrors.
fn patched(row: &ImageRow) -> String {
    match row.life.as_ref().map(|l| (l.newest, l.behind, l.alarms.is_empty())) {
        Some((_, _, false)) => "alarm".to_string(),
        Some(_) if row.life.as_ref().is_some_and(|l| l.unknown.is_some()) => "unknown".to_string(),
        Some(_) if row.life.as_ref().is_some_and(|l| l.tag_moved) => "tag moved".to_string(),
        Some((Some(true), 0, _)) => "fully".to_string(),
        Some((Some(false), 0, _)) => "no".to_string(),
        Some((Some(_), n, _)) => format!("{} behind", show::times(n as u64, "package")),
        Some((None, ..)) | None => String::new(),
    }
}

/// List releases
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh release list web")]
pub struct ReleaseVerb {
    #[command(subcommand)]
    what: OfReleases,
}

#[derive(Debug, Subcommand)]
enum OfReleases {
    List(Releases),
}

impl ReleaseVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            OfReleases::List(verb) => verb.run(context),
        }
    }
}

/// List releases: the image and code of each, and which is active
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh release list web")]
pub struct Releases {
    /// Only of this service
    pub service: Option<ServiceName>,
}

impl Releases {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let now = show::now();
        let path = of_service("/v1/releases", self.service.as_ref());
        list(context, &path, &["release", "role", "made", "image", "artifact", "run"], |row: &ReleaseRow| {
            vec![
                row.release.label(),
                row.role.clone(),
                show::ago(row.at, now),
                format!("{} {}", row.release.image_name, row.release.image.short()),
                row.release.artifact.as_ref().map_or_else(String::new, |a| a.short().to_string()),
                row.release.run.join(" "),
            ]
        })
    }
}

/// List servers
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh instance list web")]
pub struct InstanceVerb {
    #[command(subcommand)]
    what: OfInstances,
}

#[derive(Debug, Subcommand)]
enum OfInstances {
    List(Instances),
}

impl InstanceVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            OfInstances::List(verb) => verb.run(context),
        }
    }
}

/// Refusals that are named in a row; `--json` has the others.
const REFUSED_SHOWN: usize = 2;

/// How it ended or why it is not healthy, and what the firewall refused of it.
fn why(row: &InstanceRow) -> String {
    let state = match (&row.seen.exit, &row.seen.failed_probe) {
        (Some(exit), _) => Some(exit.to_string()),
        (None, Some(probe)) => Some(probe.to_string()),
        (None, None) => None,
    };
    let refused = row.seen.refused.iter().take(REFUSED_SHOWN).map(ToString::to_string);
    let more = row.seen.refused.len().saturating_sub(REFUSED_SHOWN);
    let more = (more > 0).then(|| format!("and {more} more"));
    state.into_iter().chain(refused).chain(more).collect::<Vec<_>>().join("; ")
}

/// List servers: state, health, and what each uses of its limits
#[derive(Args, Debug)]
#[command(
    after_help = "Health is as keeper and balancer observe it; cpu is in cores, over the last seconds; restarts are servers of the same group that ended \
                  and were replaced. With --json also processes, and those killed for memory.\n\nExample:\n  afresh instance list web"
)]
pub struct Instances {
    /// Only of this service
    pub service: Option<ServiceName>,
}

impl Instances {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let now = show::now();
        let path = of_service("/v1/instances", self.service.as_ref());
        let healthy = |ms: Option<u64>| ms.map_or_else(|| "no".to_string(), |ms| format!("for {}", show::span(ms)));
        list(
            context,
            &path,
            &[
                "instance",
                "release",
                "state",
                "address",
                "age",
                "healthy",
                "balancer",
                "in flight",
                "memory",
                "cpu",
                "scratch",
                "restarts",
                "why",
            ],
            |row: &InstanceRow| {
                vec![
                    row.seen.id.to_string(),
                    format!("{}@r{}", row.service, row.release),
                    format!("{:?}", row.seen.state).to_lowercase(),
                    row.seen.addr.map_or_else(String::new, |a| a.to_string()),
                    show::span(now.since(row.seen.started)),
                    healthy(row.seen.healthy_ms),
                    row.balancer.as_ref().map_or_else(String::new, |b| if b.draining { "draining".into() } else { healthy(b.healthy_ms) }),
                    row.balancer.as_ref().map_or_else(String::new, |b| b.in_flight.to_string()),
                    row.usage.as_ref().map_or_else(String::new, memory),
                    row.usage.as_ref().map_or_else(String::new, cpu),
                    row.seen
                        .scratch
                        .map_or_else(String::new, |s| format!("{} of {}", show::bytes(s.used_bytes), show::bytes(s.limit_bytes))),
                    row.restarts.to_string(),
                    why(row),
                ]
            },
        )
    }
}

/// `12.5 MB of 64 MiB`
fn memory(usage: &InstanceUsage) -> String {
    let used = usage.memory_bytes.map_or_else(|| "?".to_string(), show::bytes);
    format!("{used} of {}", model::text::bytes(usage.memory_limit_bytes))
}

/// `0.35 of 1`
fn cpu(usage: &InstanceUsage) -> String {
    let cores = |milli: u64| {
        let text = format!("{}.{:02}", milli / 1_000, milli % 1_000 / 10);
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    };
    format!("{} of {}", usage.cpu_milli.map_or_else(|| "?".to_string(), cores), cores(usage.cpu_limit_milli))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_is_shown_against_limits() {
        let usage = InstanceUsage {
            instance: "web-r1-1-1".parse().unwrap(),
            memory_bytes: Some(12_500_000),
            memory_limit_bytes: 64 << 20,
            cpu_milli: Some(350),
            cpu_limit_milli: 1_000,
            pids: Some(3),
            pids_limit: 64,
            oom_kills: 0,
        };
        assert_eq!((memory(&usage).as_str(), cpu(&usage).as_str()), ("12.5 MB of 64 MiB", "0.35 of 1"));
        let unknown = InstanceUsage { memory_bytes: None, cpu_milli: None, cpu_limit_milli: 500, ..usage };
        assert_eq!((memory(&unknown).as_str(), cpu(&unknown).as_str()), ("? of 64 MiB", "? of 0.5"));
    }
}
