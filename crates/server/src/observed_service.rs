//! What is observed for one service before something is decided: what its journals come to, and what keeper and balancer show of it.

use crate::app::App;
use crate::inventory;
use control::{Inventory, ObservedService, Summary};
use model::{Fault, ServiceName, View};
use rotation::{Provider, Router};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A restarted keeper or balancer answers within a second; a request waits this long for it.
const RETRY_WITHIN: Duration = Duration::from_secs(4);
const RETRY_EVERY: Duration = Duration::from_millis(100);

/// For a request: retries while a keeper or balancer is being restarted. `routed`: there will be a route, even if the service has none yet.
pub fn observe(app: &App, service: &ServiceName, routed: bool) -> Result<ObservedService, Fault> {
    observe_with(app, service, routed, &compare(app)?)
}

/// The inventory, compared with the journal; retries as [`observe`] does.
pub fn compare(app: &App) -> Result<Inventory, Fault> {
    retry_while_unreachable(app, || inventory::compare(app))
}

pub fn observe_with(app: &App, service: &ServiceName, routed: bool, inventory: &Inventory) -> Result<ObservedService, Fault> {
    let observed = not_yet_observed(app, service, inventory)?;
    let view = retry_while_unreachable(app, || view(app, service, &observed.summary, routed))?;
    Ok(observed.with_view(view))
}

/// For loops, which come again: does not retry, and so holds nobody up.
pub fn observe_once(app: &App, service: &ServiceName, routed: bool) -> Result<ObservedService, Fault> {
    let observed = not_yet_observed(app, service, &inventory::compare(app)?)?;
    let view = view(app, service, &observed.summary, routed)?;
    Ok(observed.with_view(view))
}

fn not_yet_observed(app: &App, service: &ServiceName, inventory: &Inventory) -> Result<ObservedService, Fault> {
    app.comparison.must_cover(service)?;
    Ok(ObservedService::new(service, inventory, app.database.read(|r| r.summary(service))?))
}

/// What keeper and balancer show of every group that may exist, and of the route.
pub fn view(app: &App, service: &ServiceName, summary: &Summary, routed: bool) -> Result<View, Fault> {
    // The clock is read first: everything in the view is at least this new.
    let at = app.now();
    let mut groups = BTreeMap::new();
    for group in &summary.groups {
        groups.insert(group.clone(), Provider::observe(&app.provider, group)?);
    }
    let route = if routed || summary.routed { Some(Router::observe(&app.router, &rotation::route_name(service))?) } else { None };
    Ok(View { at, groups, route, objects: BTreeMap::new() })
}

fn retry_while_unreachable<T>(app: &App, f: impl Fn() -> Result<T, Fault>) -> Result<T, Fault> {
    let begun = Instant::now();
    loop {
        match f() {
            Err(fault) if fault.again && begun.elapsed() < RETRY_WITHIN && !app.is_stopping() => {
                app.notifier.wait(app.notifier.count(), RETRY_EVERY);
            }
            done => return done,
        }
    }
}
