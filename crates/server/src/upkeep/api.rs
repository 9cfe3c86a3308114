//! What users may do with images: show the history, rebuild, revoke.

use super::lives::Upkeep;
use super::{execute, observe};
use crate::app::App;
use ::api::control::{ImageHistory, ImageStory, RebuildRequest, RevokeAnswer, RevokeRequest};
use lifecycle::{Life, One, Replace, State, Told, Wanted, Work, alarms};
use model::{Digest, Direction, Fault, ImageName, RotationCommand, RotationId, ServiceName};
use std::collections::BTreeMap;

fn of(app: &App) -> Result<&Upkeep, Fault> {
    app.upkeep.as_ref().ok_or_else(|| {
        Fault::yours("no-upkeep", "this control plane does not keep images").hint("start it with `afresh up` or `afresh serve`")
    })
}

fn life_of(upkeep: &Upkeep, name: &ImageName) -> Result<Life, Fault> {
    let names = upkeep.names()?;
    if names.contains(name) {
        return upkeep.load(name);
    }
    let known: Vec<&str> = names.iter().map(ImageName::as_str).collect();
    let hint = if known.is_empty() { "deploy a file with images first".to_string() } else { format!("known images: {}", known.join(", ")) };
    Err(Fault::yours("not-found", format!("there is no image {name}")).hint(hint))
}

pub fn history(app: &App, name: &ImageName) -> Result<ImageHistory, Fault> {
    let upkeep = of(app)?;
    let life = life_of(upkeep, name)?;
    let observation = observe::observe(app, upkeep, &life)?;
    let now = observation.seen.now;
    let story = |one: &One| ImageStory {
        digest: one.digest.clone(),
        state: one.state.word().to_string(),
        since: one.since,
        baked: one.baked,
        patched: one.patched,
        services: observation.users.iter().filter(|(_, on)| *on == one.digest).map(|(s, _)| s.clone()).collect(),
        changes: one.changes.iter().map(ToString::to_string).collect(),
        cves: one.cves.clone(),
        story: one.story.iter().map(|t| (t.at, t.text.clone())).collect(),
    };
    Ok(ImageHistory {
        name: name.clone(),
        now,
        waits: upkeep.waiting(name),
        checked: life.checked.as_ref().map(|c| c.at),
        newest: life.checked.as_ref().map(|c| c.unknown.is_none() && life.current().is_some_and(|i| i.inputs == c.inputs)),
        behind: life.checked.iter().flat_map(|c| &c.behind).map(ToString::to_string).collect(),
        max_age_ms: life.recipe.as_ref().and_then(|r| r.max_age_ms),
        alarms: alarms(&life, &observation.active(), now),
        images: life.images.iter().map(story).collect(),
    })
}

/// Checks the mirrors now, and bakes if something is new, whatever the schedule says.
pub fn rebuild(app: &App, by: &str, name: &ImageName, request: &RebuildRequest) -> Result<(), Fault> {
    let upkeep = of(app)?;
    let life = life_of(upkeep, name)?;
    if life.recipe.is_none() {
        return Err(Fault::yours("no-recipe", format!("no deployed file has a recipe for {name}"))
            .hint(format!("`afresh bake {name}` bakes it by hand")));
    }
    let at = upkeep.now(app.now());
    upkeep.edit(name, |life| {
        life.trouble = None;
        if request.again {
            life.try_again(at, by);
        }
        life.wanted = Some(Wanted { at, by: by.to_string() });
    })?;
    app.notifier.notify();
    Ok(())
}

/// The one image whose digest has this prefix.
fn find(app: &App, prefix: &str) -> Result<(ImageName, Digest), Fault> {
    let hex = prefix.strip_prefix("sha256:").unwrap_or(prefix);
    let good = hex.len() >= 6 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    if !good {
        return Err(Fault::yours("bad-digest", format!("{prefix:?} is not a digest"))
            .hint("give at least six hex digits; `afresh image list` shows twelve"));
    }
    let found: Vec<_> =
        app.images.kept()?.into_iter().filter(|k| k.digest.hex().starts_with(hex)).filter_map(|k| Some((k.image?, k.digest))).collect();
    match &found[..] {
        [one] => Ok(one.clone()),
        [] => {
            Err(Fault::yours("not-found", format!("no image has a digest that begins with {hex}")).hint("`afresh image list` lists them"))
        }
        _ => {
            Err(Fault::yours("bad-digest", format!("{} images have a digest that begins with {hex}", found.len())).hint("give more digits"))
        }
    }
}

pub fn revoke(app: &App, by: &str, request: &RevokeRequest) -> Result<RevokeAnswer, Fault> {
    let upkeep = of(app)?;
    let (name, digest) = find(app, &request.digest)?;
    let life = upkeep.load(&name)?;
    let observation = observe::observe(app, upkeep, &life)?;
    let now = observation.seen.now;
    if life.image(&digest).is_none() {
        let made = upkeep.config.factory.known(&digest)?;
        let at = upkeep.config.pace.at(made.made).min(now);
        let state = if observation.seen.current.as_ref() == Some(&digest) { State::Current } else { State::Retired };
        let story = vec![Told { at, text: "baked by hand".to_string() }];
        upkeep.edit(&name, |life| {
            life.images.push(One { state, by_hand: true, story, ..One::new(digest.clone(), made.inputs, at) });
        })?;
    }
    let life = upkeep.load(&name)?;
    // A rollout to it that is in progress ends by itself; a test of it is dropped.
    let rolling = matches!(&life.work, Some(Work::Rollout { digest: d, .. }) if *d == digest);
    if rolling {
        let text = format!("a rollout of {} is in progress", digest.short());
        return Err(Fault::yours("busy", text).hint("roll back or stop its rotations first (`afresh status` shows them), then revoke it"));
    }
    let why = format!("{} says: {}", by, request.why);
    upkeep.try_edit(&name, |life| {
        let work = life.work.clone();
        execute::bad(upkeep, life, &digest, State::Revoked, &why, now)?;
        life.work = work.filter(|w| !matches!(w, Work::Test(t) if t.digest == digest));
        if request.replace {
            life.replace = Some(Replace { digest: digest.clone(), by: by.to_string() });
        }
        Ok(())
    })?;
    let under_way = under_way(app, &digest)?;
    if request.replace {
        for id in &under_way {
            app.database.write(|tx| tx.command(id, RotationCommand::Rollback, by, app.now()))?;
        }
    }
    app.notifier.notify();
    let current = upkeep.config.factory.current(&name)?.filter(|c| *c != digest);
    let services: Vec<ServiceName> = observation.users.into_iter().filter(|(_, on)| *on == digest).map(|(s, _)| s).collect();
    let instances = running(app, &digest);
    Ok(RevokeAnswer { replaced: request.replace && current.is_some(), image: name, digest, current, services, instances, under_way })
}

/// Open rotations to a release with it.
fn under_way(app: &App, digest: &Digest) -> Result<Vec<RotationId>, Fault> {
    app.database.browse(|r| {
        let mut all = Vec::new();
        for row in r.services()? {
            let Some(open) = r.open_rotation_of(&row.spec.name)? else { continue };
            let rotation = crate::status::fold(r, &open.id)?;
            if rotation.opened.to.release.image == *digest && rotation.plan.direction == Direction::Forward {
                all.push(open.id);
            }
        }
        Ok(all)
    })
}

/// An image is revoked even if the keeper does not answer: then the answer lists no servers.
fn running(app: &App, digest: &Digest) -> BTreeMap<ServiceName, u32> {
    let mut all = BTreeMap::new();
    for row in crate::lists::instances_by_image(app).unwrap_or_default().into_iter().filter(|(on, ..)| on == digest) {
        *all.entry(row.1).or_default() += row.2;
    }
    all
}
