//! How every recipe's images stand, and what happened to them: for `status`, `why`, `events` and monitoring. Asks neither keeper nor
//! mirrors, so that it answers also when they do not.

use super::{Upkeep, observe};
use crate::app::App;
use api::control::{ImageEvent, ImageUpkeep};
use lifecycle::{State, alarms, next_look};
use model::{Fault, Time};
use std::collections::BTreeSet;

/// By name; nothing where this control plane keeps no images.
pub fn all(app: &App) -> Result<Vec<ImageUpkeep>, Fault> {
    let Some(upkeep) = &app.upkeep else { return Ok(Vec::new()) };
    upkeep.names()?.into_iter().map(|name| one(app, upkeep, &name)).collect()
}

fn one(app: &App, upkeep: &Upkeep, name: &model::ImageName) -> Result<ImageUpkeep, Fault> {
    let life = upkeep.load(name)?;
    let now = upkeep.now(app);
    let users = observe::users_of(app, &life)?;
    let active: BTreeSet<_> = users.iter().map(|(_, on)| on.clone()).collect();
    let current = life.current();
    // What is newer than the current one and did not become it.
    let newest = life.images.last().filter(|i| current.is_none_or(|c| i.digest != c.digest && i.baked >= c.baked));
    let held_up = newest.filter(|i| !matches!(i.state, State::Retired | State::Current));
    Ok(ImageUpkeep {
        now,
        current: current.map(|c| c.digest.clone()),
        state: current.map(|c| c.state.word().to_string()),
        age_ms: current.map(|c| now.since(c.patched)),
        max_age_ms: life.recipe.as_ref().and_then(|r| r.max_age_ms),
        rebuild: life.recipe.as_ref().and_then(|r| r.rebuild.clone()),
        newest: life.checked.as_ref().map(|c| current.is_some_and(|i| i.inputs == c.inputs)),
        checked: life.checked.as_ref().map(|c| c.at),
        behind: life.checked.iter().flat_map(|c| &c.behind).map(ToString::to_string).collect(),
        next_look: next_look(&life),
        waits: upkeep.waiting(name),
        held_up: held_up
            .map(|i| (i.digest.clone(), i.state.word().to_string(), i.story.last().map_or_else(String::new, |t| t.text.clone()))),
        trouble: life.trouble.as_ref().map(|t| format!("the {} fails: {}", t.during, t.why)),
        services: users,
        notes: life.recipe.iter().filter_map(bake::unsigned_note).collect(),
        alarms: alarms(&life, &active, now),
        name: name.clone(),
    })
}

/// From a moment of the schedules' clock on, oldest first. That moment is in it: several events may share one millisecond.
pub fn events(app: &App, since: Time) -> Result<Vec<ImageEvent>, Fault> {
    let Some(upkeep) = &app.upkeep else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for name in upkeep.names()? {
        let life = upkeep.load(&name)?;
        let event = |told: &lifecycle::Told, digest: Option<&model::Digest>| ImageEvent {
            at: told.at,
            image: name.clone(),
            digest: digest.cloned(),
            alarm: digest.is_none(),
            text: told.text.clone(),
        };
        all.extend(life.images.iter().flat_map(|one| one.story.iter().map(|t| event(t, Some(&one.digest)))));
        all.extend(life.rang.iter().map(|t| event(t, None)));
    }
    all.retain(|e| e.at >= since);
    all.sort_by(|a, b| (a.at, &a.image).cmp(&(b.at, &b.image)));
    Ok(all)
}
