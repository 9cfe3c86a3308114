//! Looking at a service before something is decided: what its journals say may exist, and what is seen of it.

use crate::app::App;
use model::{Event, Fault, GroupName, Release, ServiceName, Standing, Verdict, View};
use rotation::{Provider, Rotation, Router};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use store::Records;

/// A restarted keeper or balancer answers within a second; a request waits so long for it before it is refused.
const PATIENCE: Duration = Duration::from_secs(4);
/// Journals looked back through for what a stopped rotation may have left.
const LOOK_BACK: u64 = 100;

/// What the journals know of a service.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Groups that may exist, and the releases they run as far as a journal says.
    pub groups: BTreeSet<GroupName>,
    pub releases: BTreeMap<GroupName, Release>,
    pub standing: Option<Standing>,
    pub routed: bool,
}

/// Back to the last rotation that was promoted whole: it threw away what it found.
pub fn known(records: &Records<'_>, service: &ServiceName) -> Result<Known, Fault> {
    let mut known = Known { standing: records.standing(service)?, ..Known::default() };
    if let Some(standing) = &known.standing {
        known.groups.insert(standing.group.clone());
        known.releases.insert(standing.group.clone(), standing.release.clone());
    }
    for row in records.rotations(Some(service), LOOK_BACK)? {
        let lines = records.lines(&row.id, 0)?;
        let r = Rotation::fold(&lines)?;
        known.groups.extend(r.groups());
        for standing in r.opened.from.iter().chain([&r.opened.to]) {
            known.releases.insert(standing.group.clone(), standing.release.clone());
        }
        let whole = matches!(lines.last().map(|l| &l.event), Some(Event::Closed { verdict: Verdict::Promoted, .. }));
        if whole && r.plan.direction == model::Direction::Forward {
            break;
        }
    }
    known.routed = known.releases.values().any(|r| r.route.is_some());
    Ok(known)
}

/// What is seen of everything that is known. `routed`: there will be a route, even if none was known.
pub fn view(app: &App, service: &ServiceName, known: &Known, routed: bool) -> Result<View, Fault> {
    // The clock is read first: everything seen is at least this new.
    let at = app.now();
    let mut groups = BTreeMap::new();
    for group in &known.groups {
        groups.insert(group.clone(), Provider::observe(&app.provider, group)?);
    }
    let route = if routed || known.routed { Some(Router::observe(&app.router, &rotation::route_name(service))?) } else { None };
    Ok(View { at, groups, route, objects: BTreeMap::new() })
}

/// Looks again for a little while, where a keeper or balancer may be being restarted.
pub fn patiently<T>(app: &App, look: impl Fn() -> Result<T, Fault>) -> Result<T, Fault> {
    let begun = Instant::now();
    loop {
        match look() {
            Err(fault) if fault.again && begun.elapsed() < PATIENCE && !app.is_stopping() => {
                app.bell.wait(app.bell.heard(), Duration::from_millis(100));
            }
            seen => return seen,
        }
    }
}

/// Groups that are there though the journals say that only the standing one should be.
pub fn is_alone(view: &View, standing: &Standing) -> bool {
    let there = |g: &model::GroupSeen| matches!(g.wish, model::WishSeen::Run { .. }) || !g.instances.is_empty();
    view.groups.values().all(|g| g.group == standing.group || !there(g))
}
