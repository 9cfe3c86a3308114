//! Taking over what runs and no journal knows: one rotation that is opened and closed at once, with what is observed as the active release.
//! Nothing that runs is changed by it.

use crate::desired::with_settings;
use crate::inventory::ServiceInventory;
use model::{
    DesiredGroup, Direction, Event, FinalInventory, GroupName, GroupRelease, Opened, Plan, Release, Rollout, ServiceSpec, TierName, Verdict,
};
use std::collections::BTreeMap;

/// What would be taken over of one service.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// None: no declaration is left to take over.
    pub active: Option<GroupRelease>,
    pub count: u32,
    /// Groups that the next deploy retires.
    pub others: Vec<GroupName>,
}

/// The group with most of the traffic becomes active, among equals the newest.
pub fn propose(inventory: &ServiceInventory) -> Proposal {
    let weights = inventory.route.as_ref().map(|r| r.spec.weights.clone()).unwrap_or_default();
    let mut running: Vec<(u32, u64, GroupRelease, u32)> = Vec::new();
    let mut others = Vec::new();
    for held in &inventory.groups {
        let group = &held.seen.group;
        match held.spec.as_ref().map(|s| &s.desired) {
            Some(DesiredGroup::Run { release, count, once: None }) => {
                let rotation = group.parts().map_or(0, |(_, _, n)| n);
                let active = GroupRelease { group: group.clone(), release: release.clone() };
                running.push((weights.get(group).copied().unwrap_or(0), rotation, active, *count));
            }
            Some(DesiredGroup::Run { once: Some(_), .. }) => others.push(group.clone()),
            Some(DesiredGroup::Gone) => {}
            None if held.seen.instances.is_empty() => {}
            None => others.push(group.clone()),
        }
    }
    running.sort_by_key(|(weight, rotation, ..)| (*weight, *rotation));
    let active = running.pop();
    others.extend(running.into_iter().map(|(_, _, s, _)| s.group));
    let (count, active) = active.map_or((0, None), |(_, _, s, count)| (count, Some(s)));
    Proposal { active, count, others }
}

/// The records of an adoption.
#[derive(Clone, Debug, PartialEq)]
pub struct Adopted {
    pub spec: ServiceSpec,
    pub opened: Opened,
    pub closed: Event,
}

/// `old`: the desired state that an older copy of the journal has in force.
pub fn adopt(active: &GroupRelease, count: u32, others: &[GroupName], old: Option<ServiceSpec>, tier: &TierName, why: &str) -> Adopted {
    let spec = ServiceSpec { count, ..spec_of(old, &active.release, tier) };
    let plan = Plan { direction: Direction::Forward, peak: count, ..Plan::default() };
    let opened = Opened { spec: spec.clone(), from: None, to: active.clone(), plan, why: why.to_string() };
    let healthy: BTreeMap<GroupName, u32> = others.iter().map(|g| (g.clone(), 0)).chain([(active.group.clone(), count)]).collect();
    // Stopped, where more than the active group runs: the next plan then takes in what is left over.
    let verdict = if others.is_empty() { Verdict::Promoted } else { Verdict::Stopped };
    let final_inventory = FinalInventory { healthy, active: Some(active.clone()), ..FinalInventory::default() };
    Adopted { spec, opened, closed: Event::Closed { verdict, why: why.to_string(), final_inventory } }
}

fn spec_of(old: Option<ServiceSpec>, release: &Release, tier: &TierName) -> ServiceSpec {
    let base = old.unwrap_or_else(|| ServiceSpec {
        name: release.service.clone(),
        tier: tier.clone(),
        image: release.image_name.clone(),
        recipe: None,
        artifact: None,
        run: release.run.clone(),
        env: release.env.clone(),
        secrets: release.secrets.used.clone(),
        user: release.user.clone(),
        port: release.port,
        count: 1,
        health: release.health.clone(),
        drain: release.drain.clone(),
        limits: release.limits.clone(),
        volumes: release.volumes.clone(),
        exclusive: release.exclusive,
        network: release.network.clone(),
        route: release.route.clone(),
        checks: release.checks.clone(),
        migrate: release.migrate.clone(),
        jobs: Vec::new(),
        rollout: Rollout::default(),
        from_image: Default::default(),
    });
    with_settings(&base, release)
}
