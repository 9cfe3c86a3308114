//! The state of every recipe's images, and what happened to them: for `status`, `images`, `why`, `events`, gc and monitoring. It calls
//! neither keeper nor mirrors, so that it answers also when they do not.

use super::lives::Upkeep;
use super::observe;
use crate::app::App;
use ::api::control::{ImageEvent, ImageLife, ImageUpkeep};
use lifecycle::{State, alarms, next_look};
use model::{Digest, Fault, ImageName, Time};
use std::collections::{BTreeMap, BTreeSet};

/// By name; empty where this control plane has no upkeep.
pub fn all(app: &App) -> Result<Vec<ImageUpkeep>, Fault> {
    let Some(upkeep) = &app.upkeep else { return Ok(Vec::new()) };
    upkeep.names()?.into_iter().map(|name| one(app, upkeep, &name)).collect()
}

fn one(app: &App, upkeep: &Upkeep, name: &ImageName) -> Result<ImageUpkeep, Fault> {
    let life = upkeep.load(name)?;
    let now = upkeep.now(app.now());
    let users = observe::users_of(app, &life)?;
    let current = life.current();
    // An image that is newer than the current one and did not become current.
    let newest = life.images.last().filter(|i| current.is_none_or(|c| i.digest != c.digest && i.baked >= c.baked));
    let held_up = newest.filter(|i| !matches!(i.state, State::Retired | State::Current));
    Ok(ImageUpkeep {
        now,
        current: current.map(|c| c.digest.clone()),
        state: current.map(|c| c.state.word().to_string()),
        age_ms: current.map(|c| now.since(c.patched)),
        max_age_ms: life.recipe.as_ref().and_then(|r| r.max_age_ms),
        rebuild: life.recipe.as_ref().and_then(|r| r.rebuild.clone()),
        newest: life.checked.as_ref().map(|c| c.unknown.is_none() && current.is_some_and(|i| i.inputs == c.inputs)),
        checked: life.checked.as_ref().map(|c| c.at),
        behind: life.checked.iter().flat_map(|c| &c.behind).map(ToString::to_string).collect(),
        reference: life.recipe.as_ref().and_then(|r| r.oci.as_ref()).map(|source| source.reference.clone()),
        tag_moved: life.tag_moved(),
        next_look: next_look(&life),
        waits: upkeep.waiting(name),
        held_up: held_up
            .map(|i| (i.digest.clone(), i.state.word().to_string(), i.story.last().map_or_else(String::new, |t| t.text.clone()))),
        trouble: life.trouble.as_ref().map(|t| format!("the {} fails: {}", t.during, t.why)),
        notes: life.recipe.iter().filter_map(bake::unsigned_note).chain(life.checked.iter().filter_map(|c| c.unknown.clone())).collect(),
        alarms: alarms(&life, &users, now),
        services: users,
        name: name.clone(),
    })
}

/// From a moment of the schedules' clock on, oldest first. The moment is included: several events may share one millisecond.
pub fn events(app: &App, since: Time) -> Result<Vec<ImageEvent>, Fault> {
    let Some(upkeep) = &app.upkeep else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for name in upkeep.names()? {
        let life = upkeep.load(&name)?;
        let event = |entry: &lifecycle::Told, digest: Option<&Digest>| ImageEvent {
            at: entry.at,
            image: name.clone(),
            digest: digest.cloned(),
            alarm: digest.is_none(),
            text: entry.text.clone(),
        };
        all.extend(life.images.iter().flat_map(|one| one.story.iter().map(|t| event(t, Some(&one.digest)))));
        all.extend(life.rang.iter().map(|t| event(t, None)));
    }
    all.retain(|e| e.at >= since);
    all.sort_by(|a, b| (a.at, &a.image).cmp(&(b.at, &b.image)));
    Ok(all)
}

/// By digest and name: recipes of several names may give the same bytes, and what becomes of them differs.
pub fn lives(app: &App) -> Result<BTreeMap<Digest, BTreeMap<ImageName, ImageLife>>, Fault> {
    let Some(upkeep) = &app.upkeep else { return Ok(BTreeMap::new()) };
    let now = upkeep.now(app.now());
    let mut all: BTreeMap<Digest, BTreeMap<ImageName, ImageLife>> = BTreeMap::new();
    for name in upkeep.names()? {
        let life = upkeep.load(&name)?;
        let alarms = alarms(&life, &observe::users_of(app, &life)?, now);
        for one in &life.images {
            let newest = life.checked.as_ref().map(|c| c.inputs == one.inputs);
            let mine = |text: &&String| text.contains(one.digest.short());
            let row = ImageLife {
                state: one.state.word().to_string(),
                since: one.since,
                baked: one.baked,
                patched: one.patched,
                age_ms: now.since(one.patched),
                checked: life.checked.as_ref().map(|c| c.at),
                newest,
                unknown: life.checked.as_ref().filter(|_| one.state == State::Current).and_then(|c| c.unknown.clone()),
                behind: life.checked.as_ref().filter(|_| one.state == State::Current).map_or(0, |c| c.behind.len()),
                tag_moved: one.state == State::Current && life.tag_moved(),
                why: one.story.last().map(|t| t.text.clone()).unwrap_or_default(),
                alarms: alarms.iter().filter(mine).cloned().collect(),
            };
            all.entry(one.digest.clone()).or_default().insert(name.clone(), row);
        }
    }
    Ok(all)
}

/// With the time by the schedules' clock.
pub fn alarms_of(app: &App, upkeep: &Upkeep, name: &ImageName) -> Result<(Vec<String>, Time), Fault> {
    let life = upkeep.load(name)?;
    let now = upkeep.now(app.now());
    Ok((alarms(&life, &observe::users_of(app, &life)?, now), now))
}

/// Images that gc must keep: candidates, the current ones, and those that a rollback would use.
pub fn needed(app: &App) -> Result<BTreeSet<Digest>, Fault> {
    let mut keep = BTreeSet::new();
    let Some(upkeep) = &app.upkeep else { return Ok(keep) };
    for name in upkeep.names()? {
        let life = upkeep.load(&name)?;
        let in_use = life.images.iter().filter(|i| matches!(i.state, State::Candidate | State::Tested | State::Current));
        keep.extend(in_use.chain(life.fallback()).map(|i| i.digest.clone()));
    }
    Ok(keep)
}
