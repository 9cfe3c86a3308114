//! The control side's care for its own files: routes are read once, then held in memory, and a file that is damaged or removed by
//! somebody else is written again. It removes none, and it reads nothing into a file that is not there.

use crate::files::{read_json, write_json};
use crate::group::lock;
use crate::plane::{Applied, applied_file};
use api::fleet::Alarm;
use api::proxy::DeclareRoute;
use disk::state::{Found, Mark};
use model::{Layout, RouteName};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_secs(1);
/// What was mended is told for so long.
const TELL: Duration = Duration::from_secs(15 * 60);
const TOLD_MAX: usize = 100;

pub struct Upkeep {
    layout: Layout,
    /// Files that were whole and said what is in memory, as they stood then.
    whole: Mutex<BTreeMap<RouteName, Mark>>,
    mended: Mutex<Vec<(Instant, String)>>,
}

fn file(layout: &Layout, route: &RouteName) -> PathBuf {
    layout.routes().join(format!("{route}.json"))
}

/// The last declaration of each route: as its file says, or where that is damaged or missing, as it was applied last.
pub fn read_routes(layout: &Layout) -> BTreeMap<RouteName, DeclareRoute> {
    let mut routes = BTreeMap::new();
    let names = disk::state::names(&layout.routes(), ".json").unwrap_or_default();
    for route in names.into_iter().filter_map(|name| RouteName::new(name).ok()) {
        match read_json::<DeclareRoute>(&file(layout, &route)) {
            Found::Good(good) if good.value.spec.route == route => drop(routes.insert(route, good.value)),
            Found::Good(good) => tracing::warn!("{}: it is about {}", file(layout, &route).display(), good.value.spec.route),
            Found::Damaged(why) => tracing::warn!("{why}"),
            Found::Absent => {}
        }
    }
    let applied: Applied = read_json(&applied_file(layout)).good().unwrap_or_default();
    for (route, spec) in applied.routes {
        if let (false, Some(stamp)) = (routes.contains_key(&route), applied.stamps.get(&route)) {
            tracing::warn!("route {route} has no file that can be read; it goes on as it was applied last, {stamp}");
            routes.insert(route, DeclareRoute { stamp: *stamp, spec });
        }
    }
    routes
}

impl Upkeep {
    pub fn new(layout: Layout) -> Self {
        Self { layout, whole: Mutex::default(), mended: Mutex::default() }
    }

    /// Until it is dropped.
    pub async fn keep(self: &Arc<Self>, routes: Arc<tokio::sync::Mutex<BTreeMap<RouteName, DeclareRoute>>>) {
        loop {
            // No declaration is written meanwhile.
            let held = routes.clone().lock_owned().await;
            let upkeep = self.clone();
            if let Err(e) = tokio::task::spawn_blocking(move || held.values().for_each(|said| upkeep.look(said))).await {
                tracing::error!("a look at the routes' files failed: {e}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn look(&self, said: &DeclareRoute) {
        let path = file(&self.layout, &said.spec.route);
        let mark = Mark::of(&path);
        if lock(&self.whole).get(&said.spec.route) == Some(&mark) {
            return;
        }
        let damage = match read_json::<DeclareRoute>(&path) {
            Found::Good(good) if good.value == *said && good.twice => {
                lock(&self.whole).insert(said.spec.route.clone(), mark);
                return;
            }
            // The spare alone, or a file of an older version.
            Found::Good(good) if good.value == *said => good.damage,
            Found::Good(_) => Some(format!("{}: it says something else than was declared", path.display())),
            Found::Damaged(why) => Some(why),
            Found::Absent => Some(format!("{}: it is missing", path.display())),
        };
        match (write_json(&path, said), damage) {
            (Ok(()), Some(damage)) => self.tell(format!("{damage}; it was written again, and the traffic was not touched")),
            (Ok(()), None) => {}
            (Err(fault), damage) => tracing::warn!("{}: {fault}", damage.unwrap_or_default()),
        }
    }

    fn tell(&self, text: String) {
        tracing::warn!("{text}");
        let mut mended = lock(&self.mended);
        mended.push((Instant::now(), text));
        let beyond = mended.len().saturating_sub(TOLD_MAX);
        mended.drain(..beyond);
    }

    pub fn alarms(&self) -> Vec<Alarm> {
        let mut mended = lock(&self.mended);
        mended.retain(|(at, _)| at.elapsed() < TELL);
        mended.iter().map(|(_, text)| Alarm::new("state-mended", None, text.clone())).collect()
    }
}
