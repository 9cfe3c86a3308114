//! Observes the world through the ports. It changes nothing.

use crate::ports::{Clock, ImageStore, Journal, Provider, Router};
use crate::state::Rotation;
use model::{Fault, View};
use std::collections::BTreeMap;

/// All ports.
#[derive(Clone, Copy)]
pub struct World<'a> {
    pub provider: &'a dyn Provider,
    pub router: &'a dyn Router,
    pub images: &'a dyn ImageStore,
    pub journal: &'a dyn Journal,
    pub clock: &'a dyn Clock,
}

/// Reads the clock first, so that everything in the view is at least that new.
pub fn observe(r: &Rotation, world: &World) -> Result<View, Fault> {
    let at = world.clock.now();
    let mut groups = BTreeMap::new();
    for group in r.groups() {
        let seen = world.provider.observe(&group)?;
        groups.insert(group, seen);
    }
    let route = r.route().map(|route| world.router.observe(&route)).transpose()?;
    let mut objects = BTreeMap::new();
    for object in r.objects() {
        let has = world.images.has(&object)?;
        objects.insert(object, has);
    }
    Ok(View { at, groups, route, objects })
}
