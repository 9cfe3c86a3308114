//! What users may do with images: show the history, rebuild, revoke.

use super::lives::Upkeep;
use super::{execute, observe};
use crate::app::App;
use ::api::control::{ImageHistory, ImageStory, RebuildAnswer, RebuildRequest, RevokeAnswer, RevokeRequest, Waiting};
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
        services: observation.services_on(&one.digest),
        changes: one.changes.iter().map(ToString::to_string).collect(),
        cves: one.cves.clone(),
        story: one.story.iter().map(|t| (t.at, t.text.clone())).collect(),
    };
    let waits = upkeep.waiting(name);
    Ok(ImageHistory {
        name: name.clone(),
        now,
        settled: is_settled(&life, waits.as_ref()),
        waits,
        checked: life.checked.as_ref().map(|c| c.at),
        newest: life.checked.as_ref().map(|c| c.unknown.is_none() && life.current().is_some_and(|i| i.inputs == c.inputs)),
        behind: life.checked.iter().flat_map(|c| &c.behind).map(ToString::to_string).collect(),
        reference: life.recipe.as_ref().and_then(|r| r.oci.as_ref()).map(|source| source.reference.clone()),
        tag_moved: life.tag_moved(),
        max_age_ms: life.recipe.as_ref().and_then(|r| r.max_age_ms),
        alarms: alarms(&life, &observation.users(), now),
        images: life.images.iter().map(story).collect(),
    })
}

fn is_settled(life: &Life, waits: Option<&Waiting>) -> bool {
    let open = life.images.iter().any(|one| matches!(one.state, State::Candidate | State::Tested));
    // With a schedule there is always a time until which it waits.
    let scheduled = life.recipe.as_ref().is_some_and(|recipe| recipe.rebuild.is_some());
    life.work.is_none() && life.wanted.is_none() && !open && (!scheduled || waits.is_some_and(|w| w.until.is_some()))
}

/// Checks the mirrors now, and bakes if something is new, whatever the schedule says; or tries a bad image again. A bad image of a recipe
/// that is not in force is tested alone: what the mirrors have for the recipe in force is another image.
pub fn rebuild(app: &App, by: &str, name: &ImageName, request: &RebuildRequest) -> Result<RebuildAnswer, Fault> {
    let upkeep = of(app)?;
    life_of(upkeep, name)?;
    let at = upkeep.now(app.now());
    let answer = upkeep.try_edit(name, |life| {
        let again = bad_one(life, request)?;
        let checks = life.recipe.is_some() && again.as_ref().is_none_or(|digest| life.is_of_recipe(digest));
        if again.is_none() && !checks {
            return Err(Fault::yours("no-recipe", format!("no release with a recipe for {name} was promoted"))
                .hint(format!("`afresh bake {name}` bakes it by hand")));
        }
        life.trouble = None;
        if let Some(digest) = &again {
            life.try_again(digest, at, by);
        }
        life.wanted = checks.then(|| Wanted { at, by: by.to_string() });
        Ok(RebuildAnswer { again, checks })
    })?;
    app.notifier.notify();
    Ok(answer)
}

/// The image that is to be tried again. None: that was not asked for.
fn bad_one(life: &Life, request: &RebuildRequest) -> Result<Option<Digest>, Fault> {
    if !request.again {
        return Ok(None);
    }
    let hint = format!("`afresh image history {}` shows every image and its state", life.name);
    let Some(prefix) = &request.digest else {
        let newest = life.newest(State::Bad).map(|one| Some(one.digest.clone()));
        return newest.ok_or_else(|| Fault::yours("not-bad", format!("no image of {} is marked bad", life.name)).hint(hint));
    };
    let hex = hex_of(prefix)?;
    let found: Vec<&One> = life.images.iter().filter(|one| one.digest.hex().starts_with(hex)).collect();
    match found[..] {
        [one] if one.state == State::Bad => Ok(Some(one.digest.clone())),
        [one] => {
            let text = format!("image {} {} is not marked bad: it is {}", life.name, one.digest.short(), one.state.word());
            Err(Fault::yours("not-bad", text).hint(hint))
        }
        [] => Err(Fault::yours("not-found", format!("no image of {} has a digest that begins with {hex}", life.name)).hint(hint)),
        _ => Err(several(found.len(), hex)),
    }
}

fn hex_of(prefix: &str) -> Result<&str, Fault> {
    let hex = prefix.strip_prefix("sha256:").unwrap_or(prefix);
    let good = hex.len() >= 6 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    good.then_some(hex).ok_or_else(|| {
        Fault::yours("bad-digest", format!("{prefix:?} is not a digest"))
            .hint("give at least six hex digits; `afresh image list` shows twelve")
    })
}

fn several(count: usize, hex: &str) -> Fault {
    Fault::yours("bad-digest", format!("{count} images have a digest that begins with {hex}")).hint("give more digits")
}

/// The one image whose digest has this prefix.
fn find(app: &App, prefix: &str) -> Result<(ImageName, Digest), Fault> {
    let hex = hex_of(prefix)?;
    let found: Vec<_> =
        app.images.kept()?.into_iter().filter(|k| k.digest.hex().starts_with(hex)).filter_map(|k| Some((k.image?, k.digest))).collect();
    match &found[..] {
        [one] => Ok(one.clone()),
        [] => {
            Err(Fault::yours("not-found", format!("no image has a digest that begins with {hex}")).hint("`afresh image list` lists them"))
        }
        _ => Err(several(found.len(), hex)),
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
        execute::return_to_fallback(upkeep, life, &digest)?;
        life.went_bad(&digest, State::Revoked, now, &why);
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
    let services = observation.services_on(&digest);
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
