//! What people ask of images' lives, and what they may do to them.

use super::{Upkeep, execute, observe};
use crate::app::App;
use api::control::{ImageHistory, ImageLife, ImageStory, RebuildRequest, RevokeAnswer, RevokeRequest};
use lifecycle::{Life, One, Replace, State, Told, Wanted, Work, alarms};
use model::{Digest, Direction, Fault, ImageName, Release, RotationCommand, RotationId, ServiceName, Time};
use std::collections::{BTreeMap, BTreeSet};

fn of(app: &App) -> Result<&Upkeep, Fault> {
    app.upkeep.as_ref().ok_or_else(|| {
        Fault::yours("no-upkeep", "this control plane does not keep images").hint("start it with `afresh up` or `afresh serve`")
    })
}

/// By digest, of every image that has a life.
pub fn lives(app: &App) -> Result<BTreeMap<Digest, ImageLife>, Fault> {
    let Some(upkeep) = &app.upkeep else { return Ok(BTreeMap::new()) };
    let now = upkeep.now(app);
    let mut all = BTreeMap::new();
    for name in upkeep.names()? {
        let life = upkeep.load(&name)?;
        let active = observe::users_of(app, &life)?.into_iter().map(|(_, on)| on).collect();
        let alarms = alarms(&life, &active, now);
        for one in &life.images {
            let newest = life.checked.as_ref().map(|c| c.inputs == one.inputs);
            let mine = |text: &&String| text.contains(one.digest.short());
            let told = ImageLife {
                state: one.state.word().to_string(),
                since: one.since,
                baked: one.baked,
                patched: one.patched,
                age_ms: now.since(one.patched),
                checked: life.checked.as_ref().map(|c| c.at),
                newest,
                behind: life.checked.as_ref().filter(|_| one.state == State::Current).map_or(0, |c| c.behind.len()),
                why: one.story.last().map(|t| t.text.clone()).unwrap_or_default(),
                alarms: alarms.iter().filter(mine).cloned().collect(),
            };
            all.insert(one.digest.clone(), told);
        }
    }
    Ok(all)
}

/// And by the clock of which moment.
pub fn alarms_of(app: &App, upkeep: &Upkeep, name: &ImageName) -> Result<(Vec<String>, Time), Fault> {
    let life = upkeep.load(name)?;
    let now = upkeep.now(app);
    let active = observe::users_of(app, &life)?.into_iter().map(|(_, on)| on).collect();
    Ok((alarms(&life, &active, now), now))
}

fn life_of(upkeep: &Upkeep, name: &ImageName) -> Result<Life, Fault> {
    let names = upkeep.names()?;
    if names.contains(name) {
        return upkeep.load(name);
    }
    let known: Vec<&str> = names.iter().map(ImageName::as_str).collect();
    let hint = if known.is_empty() { "deploy a file with images first".to_string() } else { format!("there is {}", known.join(", ")) };
    Err(Fault::yours("not-found", format!("nothing is known of an image {name}")).hint(hint))
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
        newest: life.checked.as_ref().map(|c| life.current().is_some_and(|i| i.inputs == c.inputs)),
        behind: life.checked.iter().flat_map(|c| &c.behind).map(ToString::to_string).collect(),
        max_age_ms: life.recipe.as_ref().and_then(|r| r.max_age_ms),
        alarms: alarms(&life, &observation.active(), now),
        images: life.images.iter().map(story).collect(),
    })
}

/// Looks at the mirrors now, and bakes if something is new, whatever the schedule says.
pub fn rebuild(app: &App, by: &str, name: &ImageName, request: &RebuildRequest) -> Result<(), Fault> {
    let upkeep = of(app)?;
    let life = life_of(upkeep, name)?;
    if life.recipe.is_none() {
        return Err(Fault::yours("no-recipe", format!("no deployed file has a recipe for {name}"))
            .hint(format!("`afresh bake {name}` bakes it by hand")));
    }
    let at = upkeep.now(app);
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

/// The one image whose digest begins so.
fn find(app: &App, prefix: &str) -> Result<(ImageName, Digest), Fault> {
    let hex = prefix.strip_prefix("sha256:").unwrap_or(prefix);
    let good = hex.len() >= 6 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    if !good {
        return Err(Fault::yours("bad-digest", format!("{prefix:?} is no digest"))
            .hint("give at least six hex digits; `afresh images` shows twelve"));
    }
    let found: Vec<_> =
        app.images.kept()?.into_iter().filter(|k| k.digest.hex().starts_with(hex)).filter_map(|k| Some((k.image?, k.digest))).collect();
    match &found[..] {
        [one] => Ok(one.clone()),
        [] => Err(Fault::yours("not-found", format!("no image has a digest that begins with {hex}")).hint("`afresh images` lists them")),
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
    // A rollout to it that is under way comes to its own end; a test of it is over.
    let rolling = matches!(&life.work, Some(Work::Rollout { digest: d, .. }) if *d == digest);
    if rolling {
        let told = format!("a rollout of {} is under way", digest.short());
        return Err(Fault::yours("busy", told).hint("return or stop its rotations first (`afresh status` shows them), then revoke it"));
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

/// Somebody's rotations that are open towards it.
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

/// A keeper that does not answer is no reason not to revoke: then nothing is told of servers.
fn running(app: &App, digest: &Digest) -> BTreeMap<ServiceName, u32> {
    let mut all = BTreeMap::new();
    for row in crate::lists::instances_by_image(app).unwrap_or_default().into_iter().filter(|(on, ..)| on == digest) {
        *all.entry(row.1).or_default() += row.2;
    }
    all
}

/// A revoked image is not deployed, by whatever way; a bad one not where the policy says so. The host asks again.
pub fn refuse(app: &App, release: &Release) -> Result<(), Fault> {
    let Some(upkeep) = &app.upkeep else { return Ok(()) };
    let refuse_bad = attest::read_policy(&upkeep.layout)?.unwrap_or_default().refuse_bad;
    attest::may_begin(&upkeep.layout, &release.image, refuse_bad)
        .map_err(|f| Fault { message: format!("{}: {}", release.service, f.message), ..f })
}

/// Why the image of a release is not to be trusted, if it is known to be bad.
pub fn doubt(app: &App, release: &Release) -> Result<Option<String>, Fault> {
    let Some(upkeep) = &app.upkeep else { return Ok(None) };
    let life = upkeep.load(&release.image_name)?;
    let bad = life.image(&release.image).filter(|one| matches!(one.state, State::Bad | State::Revoked));
    let why = |one: &One| one.story.last().map_or_else(|| one.state.word().to_string(), |told| told.text.clone());
    Ok(bad.map(|one| format!("{} runs image {} {}, which is {}", release.label(), release.image_name, release.image.short(), why(one))))
}

/// The recipe that this host has of an image.
pub fn recipe(app: &App, name: &ImageName) -> Result<Option<model::ImageSpec>, Fault> {
    app.upkeep.as_ref().map_or(Ok(None), |upkeep| Ok(upkeep.load(name)?.recipe))
}

/// What gc must leave: what is on its way, and what would be gone back to.
pub fn spared(app: &App) -> Result<BTreeSet<Digest>, Fault> {
    let mut keep = BTreeSet::new();
    let Some(upkeep) = &app.upkeep else { return Ok(keep) };
    for name in upkeep.names()? {
        let life = upkeep.load(&name)?;
        let on_its_way = life.images.iter().filter(|i| matches!(i.state, State::Candidate | State::Tested | State::Current));
        keep.extend(on_its_way.chain(life.fallback()).map(|i| i.digest.clone()));
    }
    Ok(keep)
}
