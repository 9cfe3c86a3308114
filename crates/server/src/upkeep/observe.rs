//! What is observed for one recipe before something is decided: its image in the store, its services, its test, its rollout.

use super::image_check;
use super::lives::Upkeep;
use crate::app::App;
use journal::Lists;
use lifecycle::{Behind, Life, RolloutNow, Seen, Work};
use model::{Digest, Fault, RolloutEnd, RolloutId, ServiceName, Verdict};
use std::collections::BTreeSet;

pub struct Observation {
    pub seen: Seen,
    /// Services whose active release has an image of this recipe, and which.
    pub users: Vec<(ServiceName, Digest)>,
}

impl Observation {
    pub fn active(&self) -> BTreeSet<Digest> {
        self.users.iter().map(|(_, on)| on.clone()).collect()
    }
}

pub fn observe(app: &App, upkeep: &Upkeep, life: &Life) -> Result<Observation, Fault> {
    // The clock is read first: everything observed is at least this new.
    let wall = app.now();
    let now = upkeep.now(wall);
    let current = upkeep.config.factory.current(&life.name)?;
    let (users, behind) = app.database.browse(|r| users(r, life, current.as_ref()))?;
    let (mut test, mut rollout) = Default::default();
    match &life.work {
        Some(Work::Test(under_way)) => test = image_check::observe(app, upkeep, life, under_way)?,
        Some(Work::Rollout { id, digest, .. }) => rollout = rollout_now(app, id, digest)?,
        None => {}
    }
    let handed = upkeep.handed(&life.name)?;
    Ok(Observation { seen: Seen { now, wall, current, behind, handed, test, rollout }, users })
}

/// Services whose active release has an image of this recipe, and which; from the database alone.
pub fn users_of(app: &App, life: &Life) -> Result<Vec<(ServiceName, Digest)>, Fault> {
    Ok(app.database.browse(|r| users(r, life, None))?.0)
}

type Users = (Vec<(ServiceName, Digest)>, Vec<Behind>);

fn users(records: &Lists<'_>, life: &Life, current: Option<&Digest>) -> Result<Users, Fault> {
    let (mut users, mut behind) = (Vec::new(), Vec::new());
    let rollouts = records.open_rollouts()?;
    for row in records.services()? {
        let service = &row.spec.name;
        let Some(active) = records.active(service)?.filter(|s| s.release.image_name == life.name) else { continue };
        let on = active.release.image;
        users.push((service.clone(), on.clone()));
        if current.is_some_and(|c| *c != on) {
            let in_rollout =
                rollouts.iter().find(|r| r.plan.tiers.iter().any(|(_, services)| services.iter().any(|(s, _)| s.name == *service)));
            let busy = match records.open_rotation_of(service)? {
                Some(rotation) => Some(rotation.id.to_string()),
                None => in_rollout.map(|r| r.id.to_string()),
            };
            behind.push(Behind {
                service: service.clone(),
                tier: row.spec.tier.clone(),
                on,
                busy,
                freeze: row.spec.rollout.freeze.clone(),
            });
        }
    }
    Ok((users, behind))
}

fn rollout_now(app: &App, id: &RolloutId, digest: &Digest) -> Result<RolloutNow, Fault> {
    let Some(seen) = app.database.read(|r| r.rollout_seen(id))? else { return Ok(RolloutNow::NotThere) };
    // The number may belong to a user's rollout, if the upkeep's was never opened.
    let mut releases = seen.plan.tiers.iter().flat_map(|(_, services)| services);
    if !releases.all(|(_, release)| release.image == *digest) {
        return Ok(RolloutNow::NotThere);
    }
    Ok(match seen.end {
        None => RolloutNow::Open,
        Some(RolloutEnd::Promoted) => RolloutNow::Promoted,
        Some(RolloutEnd::Halted) => {
            let mut why = seen.why.unwrap_or_else(|| "it did not finish".to_string());
            for (rotation, _) in seen.rotations.iter().filter(|(_, verdict)| *verdict != Some(Verdict::Promoted)) {
                why = format!("{why} ({rotation}: {})", crate::status::rotation(app, rotation)?.why);
            }
            RolloutNow::Halted(format!("{id}: {why}"))
        }
    })
}

/// An image that every service of its recipe runs on is proven: a later failure is not attributed to it.
pub fn prove(upkeep: &Upkeep, life: &Life, observation: &Observation) -> Result<(), Fault> {
    let Some(current) = life.current().filter(|c| !c.proven && observation.seen.current.as_ref() == Some(&c.digest)) else { return Ok(()) };
    if life.work.is_some() || observation.users.is_empty() || !observation.seen.behind.is_empty() {
        return Ok(());
    }
    let digest = current.digest.clone();
    upkeep.edit(&life.name, |life| {
        if let Some(one) = life.image_mut(&digest) {
            one.proven = true;
        }
    })
}
