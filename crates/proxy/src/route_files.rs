//! The control side's route files: read once, then held in memory; a file that is damaged or removed from outside is written again.
//! This file removes no route file, and a missing file never means that its route has ended.

use crate::applied::{self, Applied};
use crate::mutex::lock;
use crate::state_files::{read_json, write_json};
use api::fleet::Alarm;
use api::proxy::DeclareRoute;
use disk::state::{Found, Mark};
use model::{Layout, RouteName};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How long a repair stays an alarm.
const ALARM_FOR: Duration = Duration::from_secs(15 * 60);
const REPAIRS_MAX: usize = 100;

pub struct RouteFiles {
    layout: Layout,
    /// The marks of files that were intact and equal to memory when last read.
    intact: Mutex<BTreeMap<RouteName, Mark>>,
    repairs: Mutex<Vec<(Instant, String)>>,
}

fn path(layout: &Layout, route: &RouteName) -> PathBuf {
    layout.routes().join(format!("{route}.json"))
}

/// The last declaration of each route: from its file, or if that is damaged or missing, as it was applied last.
pub fn read_all(layout: &Layout) -> BTreeMap<RouteName, DeclareRoute> {
    let mut routes = BTreeMap::new();
    let names = disk::state::names(&layout.routes(), ".json").unwrap_or_default();
    for route in names.into_iter().filter_map(|name| RouteName::new(name).ok()) {
        match read_json::<DeclareRoute>(&path(layout, &route)) {
            Found::Good(good) if good.value.spec.route == route => drop(routes.insert(route, good.value)),
            Found::Good(good) => tracing::warn!("{}: it describes {}", path(layout, &route).display(), good.value.spec.route),
            Found::Damaged(why) => tracing::warn!("{why}"),
            Found::Absent => {}
        }
    }
    let applied: Applied = read_json(&applied::path(layout)).good().unwrap_or_default();
    for (route, spec) in applied.routes {
        if let (false, Some(stamp)) = (routes.contains_key(&route), applied.stamps.get(&route)) {
            tracing::warn!("route {route} has no intact file; it continues as it was applied last, with stamp {stamp}");
            routes.insert(route, DeclareRoute { stamp: *stamp, spec });
        }
    }
    routes
}

impl RouteFiles {
    pub fn new(layout: Layout) -> Self {
        Self { layout, intact: Mutex::default(), repairs: Mutex::default() }
    }

    /// Checks and repairs the files until the future is dropped.
    pub async fn keep_intact(self: &Arc<Self>, routes: Arc<tokio::sync::Mutex<BTreeMap<RouteName, DeclareRoute>>>) {
        loop {
            // Held, so that no declaration is written meanwhile.
            let held = routes.clone().lock_owned().await;
            let files = self.clone();
            if let Err(e) = tokio::task::spawn_blocking(move || held.values().for_each(|declared| files.check(declared))).await {
                tracing::error!("checking the route files failed: {e}");
            }
            tokio::time::sleep(CHECK_EVERY).await;
        }
    }

    fn check(&self, declared: &DeclareRoute) {
        let path = path(&self.layout, &declared.spec.route);
        let mark = Mark::of(&path);
        if lock(&self.intact).get(&declared.spec.route) == Some(&mark) {
            return;
        }
        let damage = match read_json::<DeclareRoute>(&path) {
            Found::Good(good) if good.value == *declared && good.twice => {
                lock(&self.intact).insert(declared.spec.route.clone(), mark);
                return;
            }
            // Only one copy, or a file of an older version.
            Found::Good(good) if good.value == *declared => good.damage,
            Found::Good(_) => Some(format!("{}: its content differs from the declaration", path.display())),
            Found::Damaged(why) => Some(why),
            Found::Absent => Some(format!("{}: it is missing", path.display())),
        };
        match (write_json(&path, declared), damage) {
            (Ok(()), Some(damage)) => self.report(format!("{damage}; it was written again, and traffic was not affected")),
            (Ok(()), None) => {}
            (Err(fault), damage) => tracing::warn!("{}: {fault}", damage.unwrap_or_default()),
        }
    }

    fn report(&self, text: String) {
        tracing::warn!("{text}");
        let mut repairs = lock(&self.repairs);
        repairs.push((Instant::now(), text));
        let beyond = repairs.len().saturating_sub(REPAIRS_MAX);
        repairs.drain(..beyond);
    }

    pub fn alarms(&self) -> Vec<Alarm> {
        let mut repairs = lock(&self.repairs);
        repairs.retain(|(at, _)| at.elapsed() < ALARM_FOR);
        repairs.iter().map(|(_, text)| Alarm::new("state-mended", None, text.clone())).collect()
    }
}
