//! Executes a decision, and records the result.

use super::lives::Upkeep;
use super::observe::Observation;
use super::{image_check, rollout};
use crate::app::App;
use crate::gate;
use lifecycle::{Baking, Change, Checked, Decision, Evidence, Handed, Life, One, State, TestNow, Told, Work};
use model::{Blame, Digest, Fault, ImageName, ServiceName, Time};

/// The first wait after a failure, by the schedule's clock.
pub const MINUTE_MS: u64 = 60_000;

/// What is about to be done, in a few words.
pub fn describe(life: &Life, decision: &Decision) -> String {
    match decision {
        Decision::UseRecipe { deployed } => format!("the recipe that {} deployed comes into force", deployed.by),
        Decision::Clear { digest, service } => format!("{} is bad no more: a deploy of {service} on it was promoted", digest.short()),
        Decision::Check => format!("checking {}", life.asked()),
        Decision::Bake if life.is_container() => "pulling what is new".to_string(),
        Decision::Bake => "baking what is new".to_string(),
        Decision::Test { digest, check } => format!("running check {} in {}", check + 1, digest.short()),
        Decision::Tested { digest } => format!("{} is tested", digest.short()),
        Decision::Promote { digest, why } => format!("{} becomes current: {why}", digest.short()),
        Decision::RollOut { digest, services, .. } => {
            let names: Vec<&str> = services.iter().map(|(s, _)| s.as_str()).collect();
            format!("moving {} to {}", names.join(", "), digest.short())
        }
        Decision::RolledOut { digest } => format!("{} is rolled out", digest.short()),
        Decision::MarkBad { digest, why, .. } => format!("{} is bad: {why}", digest.short()),
        Decision::LeaveIt { digest, why } => format!("{} stays current though its rollout failed: {why}", digest.short()),
        Decision::Adopt { digest } => format!("a user made {} current", digest.short()),
        Decision::TakeIn { handed } => format!("a user baked {}", handed.digest.short()),
        Decision::Wait { why, .. } => why.clone(),
    }
}

pub fn execute(app: &App, upkeep: &Upkeep, life: &Life, observation: &Observation, decision: Decision) -> Result<(), Fault> {
    let now = observation.seen.now;
    let factory = &upkeep.config.factory;
    match decision {
        Decision::Wait { .. } => Ok(()),
        Decision::UseRecipe { deployed } => upkeep.edit_seen(life, |life| {
            life.use_recipe(&deployed, now);
            Ok(())
        }),
        Decision::Clear { digest, service } => upkeep.edit_seen(life, |life| {
            let why = format!("bad no more: a deploy of {service} on it was promoted");
            if life.cleared(&digest, now, &why) {
                factory.make_current(&life.name, &digest)?;
                life.promote(&digest, now, &why);
            }
            Ok(())
        }),
        Decision::Check => check_mirrors(upkeep, life, observation),
        Decision::Bake => bake(app, upkeep, life, observation),
        Decision::Test { digest, check } => {
            let begun = image_check::start(app, upkeep, life, &digest, check);
            if begun.is_err() && observation.seen.test == TestNow::NotThere {
                image_check::restart_clock(upkeep, life, app.now())?;
            }
            begun
        }
        Decision::Tested { digest } => upkeep.edit_seen(life, |life| {
            let checks: Vec<&str> = life.checks(&digest).iter().map(|c| c.name.as_str()).collect();
            let text = if checks.is_empty() {
                "tested: its recipe has no checks".to_string()
            } else {
                format!("tested: passed {}", checks.join(", "))
            };
            life.turn(&digest, State::Tested, now, text);
            life.work = None;
            Ok(())
        }),
        Decision::Promote { digest, why } => upkeep.edit_seen(life, |life| {
            factory.make_current(&life.name, &digest)?;
            life.promote(&digest, now, &why);
            Ok(())
        }),
        Decision::Adopt { digest } => adopt(upkeep, life, &digest, now),
        Decision::TakeIn { handed } => take_in(upkeep, observation, &life.name, &handed),
        Decision::RollOut { digest, services, back } => roll_out(app, upkeep, life, observation, &digest, &services, back),
        Decision::RolledOut { digest } => rolled_out(upkeep, life, &digest, now),
        Decision::MarkBad { digest, evidence, why } => upkeep.edit_seen(life, |life| {
            return_to_fallback(upkeep, life, &digest)?;
            life.found_bad(&digest, evidence, now, &why);
            Ok(())
        }),
        Decision::LeaveIt { digest, why } => upkeep.edit_seen(life, |life| {
            leave_it(life, &digest, &why, now);
            Ok(())
        }),
    }
}

/// Services that cannot run on the image are left out, and the rest is decided again. It is bad only if it is of use to nobody.
fn roll_out(
    app: &App,
    upkeep: &Upkeep,
    life: &Life,
    observation: &Observation,
    digest: &Digest,
    services: &[(ServiceName, Digest)],
    back: bool,
) -> Result<(), Fault> {
    let unfit = rollout::unfit(app, digest, services)?;
    if unfit.is_empty() {
        return rollout::open(app, upkeep, life, observation, digest, services, back);
    }
    let now = observation.seen.now;
    let is_proven = life.image(digest).is_some_and(|one| one.proven);
    let is_of_use = is_proven || rollout::is_usable(app, life, observation, digest, &unfit)?;
    upkeep.edit_seen(life, |life| {
        if is_of_use {
            life.leave_out(digest, unfit, now);
            return Ok(());
        }
        return_to_fallback(upkeep, life, digest)?;
        let why: Vec<&str> = unfit.iter().map(|(_, left)| left.why.as_str()).collect();
        life.found_bad(digest, Evidence::Unusable, now, &format!("no service can run on it: {}", why.join("; ")));
        Ok(())
    })
}

/// What runs on it elsewhere shows that the image is not to blame.
fn leave_it(life: &mut Life, digest: &Digest, why: &str, now: Time) {
    if let Some(one) = life.image_mut(digest) {
        one.story.push(Told { at: now, text: format!("stays current, though a rollout of it failed: {why}") });
    }
    life.work = None;
    life.failed("rollout", why, false, Some(digest.clone()), now, MINUTE_MS);
}

fn check_mirrors(upkeep: &Upkeep, life: &Life, observation: &Observation) -> Result<(), Fault> {
    let Some(spec) = &life.recipe else { return Ok(()) };
    let now = observation.seen.now;
    match upkeep.config.factory.fresh(spec, observation.seen.current.as_ref()) {
        Ok(fresh) => upkeep
            .edit(&life.name, |life| life.looked(Checked { at: now, inputs: fresh.inputs, behind: fresh.behind, unknown: fresh.unknown })),
        Err(fault) => upkeep.edit(&life.name, |life| life.failed("check", &with_code(&fault), true, None, now, MINUTE_MS)),
    }
}

fn bake(app: &App, upkeep: &Upkeep, life: &Life, observation: &Observation) -> Result<(), Fault> {
    let (Some(spec), Some(checked)) = (&life.recipe, &life.checked) else { return Ok(()) };
    let factory = &upkeep.config.factory;
    if let Err(fault) = gate::recipe_must_pass(&upkeep.layout, spec, app.now()) {
        // Rules and waivers change without the mirrors.
        return upkeep.edit(&life.name, |life| life.failed("bake", &with_code(&fault), true, None, observation.seen.now, MINUTE_MS));
    }
    let baking = Baking { begun: observation.seen.now, inputs: checked.inputs.clone() };
    upkeep.edit(&life.name, |life| life.baking = Some(baking))?;
    let made = match factory.bake(spec) {
        Ok(made) => made,
        Err(fault) => {
            let again = fault.again && fault.blame == Blame::World;
            let inputs = Some(checked.inputs.clone());
            return upkeep.edit(&life.name, |life| {
                life.baking = None;
                life.failed("bake", &with_code(&fault), again, inputs, upkeep.now(app.now()), MINUTE_MS);
            });
        }
    };
    let now = upkeep.now(app.now());
    let (changes, cves) = differs(upkeep, observation.seen.current.as_ref(), &made.digest);
    let one = One { changes, cves, ..One::new(made.digest.clone(), made.inputs.clone(), now) };
    upkeep.edit(&life.name, |life| {
        life.baking = None;
        life.baked(one, &made.why);
        life.baked_from(made.inputs);
    })
}

/// The note is removed after the life was written: a kill between the two finds the image taken in already.
fn take_in(upkeep: &Upkeep, observation: &Observation, name: &ImageName, handed: &Handed) -> Result<(), Fault> {
    let (factory, now) = (&upkeep.config.factory, observation.seen.now);
    // An image that was removed meanwhile is no candidate.
    if let Ok(made) = factory.known(&handed.digest) {
        let pace = &upkeep.config.pace;
        let (at, patched) = (pace.at(made.made).min(now), pace.at(handed.patched).min(now));
        let current = observation.seen.current.as_ref().filter(|c| **c != handed.digest);
        let (changes, cves) = differs(upkeep, current, &handed.digest);
        let one = One { changes, cves, patched, checks: Some(handed.checks.clone()), ..One::new(handed.digest.clone(), made.inputs, at) };
        upkeep.edit(name, |life| {
            put_under_recipe(upkeep, life, &handed.digest);
            life.take_in(one, now);
        })?;
    }
    upkeep.taken(name, handed)
}

/// Changes and CVEs are information only: without them the image is recorded all the same.
fn differs(upkeep: &Upkeep, from: Option<&Digest>, to: &Digest) -> (Vec<Change>, Vec<String>) {
    let factory = &upkeep.config.factory;
    from.map_or_else(Default::default, |from| (factory.changes(from, to).unwrap_or_default(), factory.fixes(from, to).unwrap_or_default()))
}

/// What somebody baked is of the recipe in force if that says the same.
fn put_under_recipe(upkeep: &Upkeep, life: &mut Life, digest: &Digest) {
    if life.recipe.as_ref().is_some_and(|recipe| upkeep.config.factory.is_of(digest, recipe)) {
        life.put_under_recipe(digest);
    }
}

fn adopt(upkeep: &Upkeep, life: &Life, digest: &Digest, now: Time) -> Result<(), Fault> {
    let made = upkeep.config.factory.known(digest)?;
    let at = upkeep.config.pace.at(made.made).min(now);
    upkeep.edit_seen(life, |life| {
        let by_hand = life.image(digest).is_none_or(|i| i.state == State::Retired);
        if life.image(digest).is_none() {
            let story = vec![Told { at, text: "baked by hand".to_string() }];
            life.images.push(One { by_hand, story, ..One::new(digest.clone(), made.inputs, at) });
        }
        if let Some(one) = life.image_mut(digest) {
            one.by_hand = by_hand;
        }
        put_under_recipe(upkeep, life, digest);
        life.promote(digest, now, if by_hand { "a user baked it" } else { "every check passed" });
        Ok(())
    })
}

fn rolled_out(upkeep: &Upkeep, life: &Life, digest: &Digest, now: Time) -> Result<(), Fault> {
    upkeep.edit_seen(life, |life| {
        if let Some(Work::Rollout { services, id, .. }) = life.work.take() {
            let names: Vec<&str> = services.iter().map(|(s, _)| s.as_str()).collect();
            let text = format!("rolled out to {} ({id})", names.join(", "));
            if let Some(one) = life.image_mut(digest) {
                one.story.push(Told { at: now, text });
            }
        }
        if life.trouble.as_ref().is_some_and(|t| t.during == "rollout") {
            life.trouble = None;
        }
        Ok(())
    })
}

/// Before an image is marked bad or revoked, within an edit of its life. The store is changed first: after a kill between the two, the
/// same is decided again.
pub fn return_to_fallback(upkeep: &Upkeep, life: &mut Life, digest: &Digest) -> Result<(), Fault> {
    let was_current = life.image(digest).is_some_and(|i| i.state == State::Current);
    if let Some(back) = life.fallback().filter(|_| was_current) {
        upkeep.config.factory.make_current(&life.name, &back.digest)?;
    }
    life.work = None;
    Ok(())
}

fn with_code(fault: &Fault) -> String {
    format!("{} ({})", fault.message, fault.code)
}
