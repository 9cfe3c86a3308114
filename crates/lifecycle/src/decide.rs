//! What to do next for one recipe's images. Pure: the life as it is on disk and what is seen go in, one decision comes out.

use crate::deployed::{Deployed, Moved, Standing};
use crate::schedule::{Schedule, Span, frozen};
use crate::state::{Evidence, Handed, Life, One, State, Work};
use model::{Digest, ServiceName, Time};

/// What is seen of the world.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// By the clock of schedules and ages, which may go faster than the wall's.
    pub now: Time,
    /// By the wall's clock: a test takes as long as it takes.
    pub wall: Time,
    /// What the image store has as the recipe's current image.
    pub current: Option<Digest>,
    /// Services that stand on an image of this name.
    pub services: Vec<Standing>,
    /// What somebody baked and gave over, and is not in the life yet.
    pub handed: Option<Handed>,
    /// Of the test that is under way.
    pub test: TestNow,
    /// Of the rollout that is under way.
    pub rollout: RolloutNow,
}

impl Seen {
    /// Services that stand on another image than the current one.
    pub fn behind(&self) -> impl Iterator<Item = &Standing> {
        self.services.iter().filter(|s| self.current.as_ref().is_some_and(|current| *current != s.on))
    }

    /// Somebody's deploy on this image was promoted, and it is there still.
    pub fn is_deployed(&self, image: &Digest) -> bool {
        self.services.iter().any(|s| s.on == *image && s.is_by_somebody())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TestNow {
    /// Never declared, as far as the keeper knows.
    #[default]
    NotThere,
    Running,
    Passed,
    Failed(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RolloutNow {
    /// Never opened.
    #[default]
    NotThere,
    Open,
    Promoted,
    Halted(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A release with this recipe was promoted, or none with a newer one is active any more: it is in force.
    UseRecipe {
        deployed: Box<Deployed>,
    },
    /// A deploy of this service on a bad image was promoted: other code than that which was moved to it runs on it.
    Clear {
        digest: Digest,
        service: ServiceName,
    },
    /// Ask the mirrors what the newest packages are.
    Check,
    /// Bake what the last check found.
    Bake,
    /// Run this check of the recipe in an instance of the image.
    Test {
        digest: Digest,
        check: usize,
    },
    /// Every check passed.
    Tested {
        digest: Digest,
    },
    Promote {
        digest: Digest,
        why: String,
    },
    /// Turn these services to the image. `back`: away from one that is bad or revoked.
    RollOut {
        digest: Digest,
        services: Vec<(ServiceName, Digest)>,
        back: bool,
    },
    /// The rollout came to its end with every service promoted.
    RolledOut {
        digest: Digest,
    },
    MarkBad {
        digest: Digest,
        evidence: Evidence,
        why: String,
    },
    /// A rollout of an image that had proven itself failed: the image is not to blame, and it is not tried again by itself.
    LeaveIt {
        digest: Digest,
        why: String,
    },
    /// The store's current image was made so by somebody.
    Adopt {
        digest: Digest,
    },
    /// Somebody baked it and wants it current.
    TakeIn {
        handed: Handed,
    },
    Wait {
        why: String,
        until: Option<Time>,
    },
}

fn wait(why: impl Into<String>, until: Option<Time>) -> Decision {
    Decision::Wait { why: why.into(), until }
}

/// In this order: end what was begun; know what is in force and current; test and promote what was baked; roll out what is current; bake; look.
pub fn decide(life: &Life, seen: &Seen) -> Decision {
    if let Some(work) = &life.work {
        return under_way(life, seen, work);
    }
    if let Some(deployed) = life.comes_into_force(&seen.services) {
        return Decision::UseRecipe { deployed: Box::new(deployed.clone()) };
    }
    if let Some(clear) = clear(life, seen) {
        return clear;
    }
    if let Some(digest) = &seen.current
        && life.current().is_none_or(|c| c.digest != *digest)
        && life.image(digest).is_none_or(|i| !matches!(i.state, State::Bad | State::Revoked))
    {
        return Decision::Adopt { digest: digest.clone() };
    }
    if let (Some(stored), Some(ours)) = (&seen.current, life.current())
        && *stored != ours.digest
        && let Some(other) = life.image(stored)
    {
        return Decision::Promote { digest: ours.digest.clone(), why: format!("{} is {}", stored.short(), other.state.word()) };
    }
    if let Some(handed) = &seen.handed {
        return Decision::TakeIn { handed: handed.clone() };
    }
    let schedule = match life.recipe.as_ref().map(Schedule::of).transpose() {
        Ok(schedule) => schedule.flatten(),
        Err(fault) => return wait(fault.message, None),
    };
    if let Some(one) = life.newest(State::Candidate) {
        return next_check(life, one, 0);
    }
    if let Some(one) = life.newest(State::Tested) {
        return Decision::Promote { digest: one.digest.clone(), why: "every check passed".to_string() };
    }
    // What holds up a rollout does not hold up a look at the mirrors.
    let held = match roll_out(life, seen, schedule.as_ref()) {
        Some(wait @ Decision::Wait { .. }) => Some(wait),
        Some(decision) => return decision,
        None => None,
    };
    match (bake_or_look(life, seen, schedule.as_ref()), held) {
        (Decision::Wait { until, .. }, Some(Decision::Wait { why, until: free })) => wait(why, [until, free].into_iter().flatten().min()),
        (decision, _) => decision,
    }
}

fn under_way(life: &Life, seen: &Seen, work: &Work) -> Decision {
    match work {
        Work::Rollout { digest, id, services } => match &seen.rollout {
            RolloutNow::NotThere => {
                Decision::RollOut { digest: digest.clone(), services: services.clone(), back: goes_back(life, services) }
            }
            RolloutNow::Open => wait(format!("{id} is under way"), None),
            RolloutNow::Promoted => Decision::RolledOut { digest: digest.clone() },
            RolloutNow::Halted(why) if life.image(digest).is_some_and(|i| i.proven) || seen.is_deployed(digest) => {
                Decision::LeaveIt { digest: digest.clone(), why: why.clone() }
            }
            RolloutNow::Halted(why) => {
                Decision::MarkBad { digest: digest.clone(), evidence: Evidence::Rollout(id.clone()), why: why.clone() }
            }
        },
        Work::Test(test) => {
            let checks = life.checks(&test.digest);
            let Some(check) = checks.get(test.check) else { return Decision::Tested { digest: test.digest.clone() } };
            let bad = |why: String| Decision::MarkBad { digest: test.digest.clone(), evidence: Evidence::Checks(checks.to_vec()), why };
            let late = seen.wall.since(test.begun) > check.within_ms;
            match &seen.test {
                TestNow::Passed => life
                    .image(&test.digest)
                    .map_or_else(|| Decision::Tested { digest: test.digest.clone() }, |one| next_check(life, one, test.check + 1)),
                TestNow::Failed(why) => bad(format!("check {} failed: {why}", check.name)),
                TestNow::NotThere if !late => Decision::Test { digest: test.digest.clone(), check: test.check },
                TestNow::Running if !late => wait(format!("check {} is running", check.name), None),
                TestNow::NotThere | TestNow::Running => {
                    bad(format!("check {} did not end within {} s", check.name, check.within_ms / 1_000))
                }
            }
        }
    }
}

fn next_check(life: &Life, one: &One, check: usize) -> Decision {
    let digest = one.digest.clone();
    if check < life.checks(&digest).len() { Decision::Test { digest, check } } else { Decision::Tested { digest } }
}

fn goes_back(life: &Life, services: &[(ServiceName, Digest)]) -> bool {
    services.iter().any(|(_, on)| life.image(on).is_some_and(|i| matches!(i.state, State::Bad | State::Revoked)))
}

/// Somebody's deploy on an image is never there when a rollout of it is judged (`under_way`), so it came after the verdict.
fn clear(life: &Life, seen: &Seen) -> Option<Decision> {
    let is_cleared = |s: &&Standing| s.is_by_somebody() && life.image(&s.on).is_some_and(One::may_run_other_code);
    seen.services.iter().find(is_cleared).map(|s| Decision::Clear { digest: s.on.clone(), service: s.service.clone() })
}

/// What somebody deployed is not undone: neither is a service moved to the image that he moved it away from, nor to an older one.
fn would_undo(life: &Life, current: &One, b: &Standing) -> bool {
    match &b.moved {
        Moved::ByItself => false,
        Moved::BySomebody { from } => {
            from.as_ref() == Some(&current.digest) || life.image(&b.on).is_some_and(|on| on.patched >= current.patched)
        }
    }
}

/// The first tier with a service that is to be turned to the current image. None: there is none.
fn roll_out(life: &Life, seen: &Seen, schedule: Option<&Schedule>) -> Option<Decision> {
    let current = life.current().filter(|c| seen.current.as_ref() == Some(&c.digest))?;
    let is_ours = schedule.is_some() && life.is_of_recipe(&current.digest);
    let replaces = |on: &Digest| life.replace.as_ref().is_some_and(|r| r.digest == *on);
    let wants = |b: &&Standing| {
        let is_revoked = life.image(&b.on).is_some_and(|i| i.state == State::Revoked);
        let was_tried = current.tried.contains(&(b.service.clone(), b.on.clone()));
        let by_itself = is_ours && life.follows(b) && !is_revoked && !was_tried && !would_undo(life, current, b);
        (by_itself || replaces(&b.on)) && !current.leaves_out(&b.service, &b.on)
    };
    let wanted: Vec<&Standing> = seen.behind().filter(wants).collect();
    let place = |b: &Standing| life.tiers.iter().position(|t| *t == b.tier).unwrap_or(usize::MAX);
    let first = wanted.iter().map(|b| place(b)).min()?;
    let tier: Vec<&Standing> = wanted.into_iter().filter(|b| place(b) == first).collect();
    let services: Vec<(ServiceName, Digest)> = tier.iter().map(|b| (b.service.clone(), b.on.clone())).collect();
    let back = goes_back(life, &services);
    let looked_since = life.checked.as_ref().is_some_and(|c| c.at > current.since);
    if current.by_hand && !looked_since && !back {
        return Some(wait(
            format!("{} was baked by hand: it is rolled out after the next look at {}", current.digest.short(), life.asked()),
            None,
        ));
    }
    if let Some((b, busy)) = tier.iter().find_map(|b| b.busy.as_ref().map(|busy| (b, busy))) {
        return Some(wait(format!("{} is to get {}, and {busy} is under way", b.service, current.digest.short()), None));
    }
    // Going away from what is bad or revoked waits for no hours.
    if !back {
        let spans: Vec<Span> = tier.iter().flat_map(|b| &b.freeze).filter_map(|f| Span::parse(f).ok()).collect();
        if let Some(until) = frozen(&spans, seen.now) {
            return Some(wait(format!("nothing is rolled out by itself now: {} is frozen", tier[0].service), Some(until)));
        }
        if let Some(opens) = schedule.map(|s| s.opens(seen.now)).filter(|o| *o > seen.now) {
            return Some(wait("the rollout waits for the image's window", Some(opens)));
        }
    }
    Some(Decision::RollOut { digest: current.digest.clone(), services, back })
}

fn bake_or_look(life: &Life, seen: &Seen, schedule: Option<&Schedule>) -> Decision {
    if life.recipe.is_none() {
        return wait("no deployed file has this recipe", None);
    }
    let asked = life.wanted.as_ref();
    if schedule.is_none() && asked.is_none() {
        return wait("its recipe has no `rebuild`: it is baked by hand", None);
    }
    // Who asks for it now does not wait for hours.
    let opens = schedule.filter(|_| asked.is_none()).map_or(seen.now, |s| s.opens(seen.now));
    if let Some(wanted) = asked
        && life.checked.as_ref().is_none_or(|c| c.at < wanted.at)
    {
        return Decision::Check;
    }
    let trouble = life.trouble.as_ref();
    let resting = |during: &str| trouble.filter(|t| t.during == during).and_then(|t| t.until).filter(|u| *u > seen.now && asked.is_none());
    if let Some(checked) = &life.checked {
        let hopeless = trouble.is_some_and(|t| t.during == "bake" && t.inputs.as_ref() == Some(&checked.inputs) && t.until.is_none());
        // One that was retired is the newest again only if a look since then found it so: somebody who bakes another is about to deploy it.
        let looked_since = life.current().is_none_or(|c| checked.at > c.since);
        let is_new = life.from_inputs(&checked.inputs).is_none_or(|i| i.state == State::Retired && looked_since);
        if is_new && (!hopeless || asked.is_some()) && resting("bake").is_none() && opens <= seen.now {
            return Decision::Bake;
        }
    }
    if let Some(until) = resting("check") {
        return wait(format!("the look at {} failed: {}", life.asked(), trouble.map_or("", |t| t.why.as_str())), Some(until));
    }
    match schedule.and_then(|s| s.due(last_look(life))) {
        Some(due) if due <= seen.now && opens <= seen.now => Decision::Check,
        Some(due) if due <= seen.now => wait(format!("the next look at {} waits for the image's window", life.asked()), Some(opens)),
        Some(due) => wait(stands(life, seen), Some([Some(due), resting("bake")].into_iter().flatten().min().unwrap_or(due))),
        None => wait("its schedule names no time that ever comes", None),
    }
}

/// When the mirrors are looked at next by themselves. None: never.
pub fn next_look(life: &Life) -> Option<Time> {
    let schedule = life.recipe.as_ref().and_then(|r| Schedule::of(r).ok().flatten())?;
    schedule.due(last_look(life))
}

/// A bake by hand was a look, too.
fn last_look(life: &Life) -> Option<Time> {
    life.checked.as_ref().map(|c| c.at).or(life.current().map(|c| c.baked))
}

/// What is to be said while nothing is to be done.
fn stands(life: &Life, seen: &Seen) -> String {
    if let Some(current) = life.current().filter(|c| !life.is_of_recipe(&c.digest)) {
        return format!(
            "{} is current, and no release with its recipe was promoted: only a deploy brings it to services",
            current.digest.short()
        );
    }
    let others: Vec<&str> = seen.services.iter().filter(|s| !life.follows(s)).map(|s| s.service.as_str()).collect();
    let newest = newest(life);
    if others.is_empty() {
        return newest;
    }
    format!("{newest}; {} was deployed with another recipe, and gets images of this one by a deploy", others.join(", "))
}

fn newest(life: &Life) -> String {
    let Some(checked) = &life.checked else { return "it was not looked at yet".to_string() };
    match life.from_inputs(&checked.inputs) {
        Some(one) if matches!(one.state, State::Bad | State::Revoked) => {
            let why = one.story.last().map_or("", |t| t.text.as_str());
            let differs = if life.is_container() { "its name leads to another image" } else { "its packages differ" };
            format!("the newest, {}, is {why}; it is not tried again until {differs}", one.digest.short())
        }
        Some(_) if checked.unknown.is_some() => format!("nothing is newer; {}", checked.unknown.as_deref().unwrap_or_default()),
        Some(_) if !checked.behind.is_empty() => {
            format!("{} of its packages are not the newest: it must be built and pushed again", checked.behind.len())
        }
        Some(_) => "every package is the newest".to_string(),
        None => life.trouble.as_ref().map_or_else(
            || if life.tag_moved() { "its name leads to another image".to_string() } else { "newer packages are there".to_string() },
            |t| format!("the newest cannot be baked: {}", t.why),
        ),
    }
}
