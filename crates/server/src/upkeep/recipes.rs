//! The recipes that deployed files bring.

use super::lives::Upkeep;
use crate::access::Caller;
use crate::app::App;
use lifecycle::Wanted;
use model::{Fault, ImageName, ImageSpec, ServiceFile};

/// Records the recipes of a file that was deployed. An error is logged, and holds up no deploy.
pub fn learn(app: &App, file: &ServiceFile, caller: &Caller) {
    if let Some(upkeep) = &app.upkeep
        && let Err(fault) = record(app, upkeep, file, caller)
    {
        tracing::warn!(code = fault.code, "cannot record the recipes: {}", fault.message);
    }
}

/// A recipe that differs is checked now, if it has a schedule. The order in which tiers follow a new image concerns every service: it is
/// taken only from callers for all services.
fn record(app: &App, upkeep: &Upkeep, file: &ServiceFile, caller: &Caller) -> Result<(), Fault> {
    let by = caller.name();
    let now = upkeep.now(app.now());
    let policy = app.access.policy().ok();
    // Others named the recipe that this host had when they were checked. Another may have come since, and must stay.
    let may_give = |spec: &ImageSpec| caller.is_admin() || policy.as_ref().is_some_and(|p| p.permits_recipe(by, spec).is_ok());
    for (name, spec) in file.images.iter().filter(|(_, spec)| may_give(spec)) {
        upkeep.edit(name, |life| {
            let changed = life.recipe.as_ref().is_some_and(|old| old != spec);
            if changed && spec.rebuild.is_some() {
                life.wanted = Some(Wanted { at: now, by: format!("{by}, with another recipe") });
            }
            life.recipe = Some(spec.clone());
            if caller.services().is_none() {
                life.tiers.clone_from(&file.tiers);
            }
        })?;
    }
    Ok(())
}

/// The recipe that this host has of an image.
pub fn recipe(app: &App, name: &ImageName) -> Result<Option<ImageSpec>, Fault> {
    app.upkeep.as_ref().map_or(Ok(None), |upkeep| Ok(upkeep.load(name)?.recipe))
}
