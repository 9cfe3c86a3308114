//! Looking at a service before something is decided: what its journals say may exist, and what is seen of it.

use crate::app::App;
use journal::Known;
use model::{Fault, GroupRelease, ServiceName, View};
use rotation::{Provider, Router};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A restarted keeper or balancer answers within a second; a request waits so long for it before it is refused.
const PATIENCE: Duration = Duration::from_secs(4);

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
pub fn retry_while_unreachable<T>(app: &App, look: impl Fn() -> Result<T, Fault>) -> Result<T, Fault> {
    let begun = Instant::now();
    loop {
        match look() {
            Err(fault) if fault.again && begun.elapsed() < PATIENCE && !app.is_stopping() => {
                app.notifier.wait(app.notifier.count(), Duration::from_millis(100));
            }
            seen => return seen,
        }
    }
}

/// Groups that are there though the journals say that only the standing one should be.
pub fn is_alone(view: &View, active: &GroupRelease) -> bool {
    let there = |g: &model::GroupSeen| matches!(g.desired, model::DesiredSeen::Run { .. }) || !g.instances.is_empty();
    view.groups.values().all(|g| g.group == active.group || !there(g))
}
