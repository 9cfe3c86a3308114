//! kill -9 of serve and of host at random moments of rotations: the same end, nothing lost, nothing launched twice, and back at work soon.

use super::act;
use super::client::Client;
use super::report::Report;
use super::script::tell;
use super::shop::Flaw;
use super::stage::Stage;
use crate::failure::Failure;
use crate::processes::Role;
use crate::show;
use api::control::Opened;
use api::fleet::{HAPPENED, Happened, HappenedKind};
use api::host::HostCounters;
use api::paths::COUNTERS;
use model::{Fault, Fence, GroupSeen, InstanceState, Verdict};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// From the killed process's successor answering to its doing its work again.
const RESUMED_WITHIN: Duration = Duration::from_secs(2);
/// Rotations of the shop's web last longer than this; kills fall evenly into it.
const WINDOW_MS: u64 = 9_000;

pub async fn play(stage: &Stage, client: &Client, report: &mut Report, kills: u32, seed: u64) -> Result<(), Failure> {
    let mut dice = Dice(seed);
    let mut version = 1;
    let mut slowest = Duration::ZERO;
    for role in [Role::Serve, Role::Host] {
        for n in 1..=kills {
            version += 1;
            let before = counters(stage).await?;
            let ended_before = ended(stage).await?;
            let opened = act::open(stage, version, Flaw::None, Some("web")).await?;
            let moment = Duration::from_millis(dice.below(WINDOW_MS));
            tokio::time::sleep(moment).await;
            let fence = newest_fence(stage, &opened).await?;
            stage.kill(role).await?;
            report.kills += 1;
            let resumed = resumed(stage, role, &opened, fence).await?;
            slowest = slowest.max(resumed);
            let rows = act::finish(stage, &opened, version, Verdict::Promoted).await?;
            let launched = counters(stage).await?.launched - before.launched;
            // On a loaded machine a server may fail its health checks; the keeper reports each that it replaced.
            let replaced = ended(stage).await?.saturating_sub(ended_before);
            let wanted = u64::from(count(stage, &rows[0].to).await?) + replaced;
            show::note(format!(
                "kill {n} of {}: after {moment:?}, at work again {resumed:?} after it answered, {launched} launched, {replaced} of them for others that died",
                role.name()
            ));
            if launched != wanted {
                report.wrong.push(format!(
                    "{}: {launched} servers were launched, {wanted} were needed (kill of {} after {moment:?})",
                    rows[0].id,
                    role.name()
                ));
            }
            if resumed > RESUMED_WITHIN {
                report.wrong.push(format!("{}: {} was at work again only {resumed:?} after it answered", rows[0].id, role.name()));
            }
            rows.iter().for_each(|row| tell(row, Some(client)));
            report.add(rows);
        }
    }
    report.extra.insert("slowest_resume_ms", json!(u64::try_from(slowest.as_millis()).unwrap_or(u64::MAX)));
    Ok(())
}

async fn counters(stage: &Stage) -> Result<HostCounters, Fault> {
    api::Client::unix(stage.context.layout.host_socket()).get(COUNTERS).await
}

/// Servers that exited without having been told to, as the keeper reports.
async fn ended(stage: &Stage) -> Result<u64, Fault> {
    let all: Vec<Happened> = api::Client::unix(stage.context.layout.host_socket()).get(HAPPENED).await?;
    let ends = |kind| matches!(kind, HappenedKind::Died | HappenedKind::OomKilled | HappenedKind::Replaced);
    let ids: BTreeSet<_> = all.iter().filter(|one| ends(one.kind)).filter_map(|one| one.instance.as_ref()).collect();
    Ok(ids.len() as u64)
}

/// Servers of the release's group that are not ending: this many had to be launched, and no more.
async fn count(stage: &Stage, release: &str) -> Result<u32, Fault> {
    let groups: Vec<GroupSeen> = api::Client::unix(stage.context.layout.host_socket()).get(api::paths::GROUPS).await?;
    let ours = groups.iter().filter(|g| g.group.as_str().starts_with(&format!("web-{release}-")));
    let alive = ours.flat_map(|g| &g.instances).filter(|i| matches!(i.state, InstanceState::Starting | InstanceState::Running)).count();
    Ok(u32::try_from(alive).unwrap_or(u32::MAX))
}

async fn newest_fence(stage: &Stage, opened: &Opened) -> Result<Fence, Fault> {
    let mut newest = Fence(0);
    for row in act::rotations(stage, opened).await?.0 {
        newest = act::events(stage, &row.id).await?.iter().map(|line| line.fence).max().unwrap_or_default().max(newest);
    }
    Ok(newest)
}

/// How long after answering does it do its work again: serve drives the rotation (or it is closed), host sees its servers.
async fn resumed(stage: &Stage, role: Role, opened: &Opened, before: Fence) -> Result<Duration, Fault> {
    let began = Instant::now();
    loop {
        let at_work = match role {
            // The next driver takes the lease again, so its first line has a higher fence.
            Role::Serve => act::rotations(stage, opened).await?.1 || newest_fence(stage, opened).await? > before,
            Role::Host => {
                let groups: Vec<GroupSeen> = api::Client::unix(stage.context.layout.host_socket()).get(api::paths::GROUPS).await?;
                groups.iter().any(|g| g.instances.iter().any(|i| i.healthy_ms.is_some()))
            }
            Role::Proxy => true,
        };
        if at_work || began.elapsed() > 5 * RESUMED_WITHIN {
            return Ok(began.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Repeatable numbers: splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }
}
