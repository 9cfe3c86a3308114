//! What is observed for one recipe before something is decided: its image in the store, its services, its test, its rollout.

use super::image_check;
use super::lives::Upkeep;
use crate::app::App;
use journal::Lists;
use lifecycle::{Life, Moved, RolloutNow, Seen, Standing, Work};
use model::{Digest, Event, Fault, GroupRelease, RolloutEnd, RolloutId, RotationId, ServiceName, Verdict};

pub struct Observation {
    pub seen: Seen,
}

impl Observation {
    pub fn users(&self) -> Vec<(ServiceName, Digest)> {
        self.seen.services.iter().map(|s| (s.service.clone(), s.on.clone())).collect()
    }

    pub fn services_on(&self, image: &Digest) -> Vec<ServiceName> {
        self.seen.services.iter().filter(|s| s.on == *image).map(|s| s.service.clone()).collect()
    }
}

pub fn observe(app: &App, upkeep: &Upkeep, life: &Life) -> Result<Observation, Fault> {
    // The clock is read first: everything observed is at least this new.
    let wall = app.now();
    let now = upkeep.now(wall);
    let current = upkeep.config.factory.current(&life.name)?;
    let services = app.database.browse(|r| services(r, life))?;
    let (mut test, mut rollout) = Default::default();
    match &life.work {
        Some(Work::Test(under_way)) => test = image_check::observe(app, upkeep, life, under_way)?,
        Some(Work::Rollout { id, digest, .. }) => rollout = rollout_now(app, id, digest)?,
        None => {}
    }
    let handed = upkeep.handed(&life.name)?;
    Ok(Observation { seen: Seen { now, wall, current, services, handed, test, rollout } })
}

/// Services whose active release has an image of this recipe, and which; from the database alone.
pub fn users_of(app: &App, life: &Life) -> Result<Vec<(ServiceName, Digest)>, Fault> {
    app.database.browse(|r| {
        let mut users = Vec::new();
        for row in r.services()? {
            let active = r.active(&row.spec.name)?.filter(|active| active.release.image_name == life.name);
            users.extend(active.map(|active| (row.spec.name, active.release.image)));
        }
        Ok(users)
    })
}

fn services(records: &Lists<'_>, life: &Life) -> Result<Vec<Standing>, Fault> {
    let mut all = Vec::new();
    let rollouts = records.open_rollouts()?;
    for row in records.services()? {
        let service = row.spec.name.clone();
        let Some(active) = records.active(&service)?.filter(|active| active.release.image_name == life.name) else { continue };
        let in_rollout = rollouts.iter().find(|r| r.plan.tiers.iter().any(|(_, services)| services.iter().any(|(s, _)| s.name == service)));
        let busy = match records.open_rotation_of(&service)? {
            Some(rotation) => Some(rotation.id.to_string()),
            None => in_rollout.map(|r| r.id.to_string()),
        };
        // A deploy that failed left a newer one.
        let in_force = records.in_force(&service)?.unwrap_or(row);
        all.push(Standing {
            tier: in_force.spec.tier,
            on: active.release.image.clone(),
            moved: moved(records, &service, &active)?,
            recipe: in_force.spec.recipe,
            since: in_force.at,
            busy,
            freeze: in_force.spec.rollout.freeze,
            service,
        });
    }
    Ok(all)
}

/// By the rotation that made it active. Of one that a lost journal had nobody knows who opened it: it counts as somebody's.
fn moved(records: &Lists<'_>, service: &ServiceName, active: &GroupRelease) -> Result<Moved, Fault> {
    let id = RotationId::of(service, active.group.parts().map_or(0, |(_, _, number)| number));
    let Some(rotation) = records.rotation(&id)? else { return Ok(Moved::BySomebody { from: None }) };
    let rollout = rotation.rollout.map(|id| records.rollout(&id)).transpose()?.flatten();
    if rollout.is_some_and(|rollout| rollout.plan.by_upkeep) {
        return Ok(Moved::ByItself);
    }
    let from = match records.first_line(&id)?.map(|line| line.event) {
        Some(Event::Opened(opened)) => opened.from.map(|from| from.release.image),
        _ => None,
    };
    Ok(Moved::BySomebody { from })
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

/// An image that every service of its recipe runs on, but for those that cannot, is proven, or one that somebody's deploy runs on: a later failure is not attributed to it.
pub fn prove(upkeep: &Upkeep, life: &Life, observation: &Observation) -> Result<(), Fault> {
    let Some(current) = life.current().filter(|c| !c.proven && observation.seen.current.as_ref() == Some(&c.digest)) else { return Ok(()) };
    let is_used = observation.seen.services.iter().any(|s| s.on == current.digest);
    let is_everywhere = is_used && observation.seen.behind().all(|s| current.leaves_out(&s.service, &s.on));
    if life.work.is_some() || !(is_everywhere || observation.seen.is_deployed(&current.digest)) {
        return Ok(());
    }
    let digest = current.digest.clone();
    upkeep.edit(&life.name, |life| {
        if let Some(one) = life.image_mut(&digest) {
            one.proven = true;
        }
    })
}
