//! `bake`: machine images from their recipes, with progress.

use super::build_args::BuildArgs;
use super::progress::{Bar, rounded};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::processes::interrupt;
use crate::recipe_places::refuse_secrets;
use crate::show;
use api::control::ImageHistory;
use bake::{Baked, Progress};
use clap::Args;
use lifecycle::{Evidence, State};
use model::{Digest, Fault, ImageName, ImageSpec, ServiceFile};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use store::Did;

/// Bake machine images from their recipes
#[derive(Args, Debug)]
#[command(after_help = "It works in the image store of this machine. A second bake of the same inputs does no work and says so.\n\n\
                  A baked image becomes the recipe's current image, the one that is deployed. Where the recipe has checks, it does so once it has \
                  passed them, for which the control plane must run (`afresh up`). An image that is marked bad or revoked stays so.\n\n\
                  A recipe that a rule denies is not baked: `afresh guard check` shows why, and where. A finished tree with a secret in it is not \
                  used; a false alarm is waived at the control plane as the refusal says, and noted in the image's manifest.\n\n\
                  Exits with 0 if it is current, 3 if it is still to be tested, 4 if it is bad or revoked, or a rule denies its recipe.\n\nExample:\n  afresh bake base")]
pub struct Bake {
    /// Bake only this image; by default every image of the file
    pub image: Option<ImageName>,
    /// Bake even if nothing is new, and without kept bases
    #[arg(long)]
    pub fresh: bool,
    /// Do not wait for the checks of the recipe
    #[arg(long)]
    pub no_follow: bool,
    #[command(flatten)]
    pub args: BuildArgs,
}

impl Bake {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let mut file = context.load()?;
        if let Some(name) = &self.image {
            recipe(&file, name)?;
        }
        self.args.apply(&mut file, |name| self.image.as_ref().is_none_or(|only| only == name))?;
        let specs: Vec<&ImageSpec> = match &self.image {
            Some(name) => vec![recipe(&file, name)?],
            None => file.images.values().collect(),
        };
        refuse_secrets(context, &specs)?;
        let store = context.images()?;
        let mut exit = Exit::Succeeded;
        for spec in specs {
            let mut baked = bake(&store, spec, self.fresh, context.json)?;
            if !self.no_follow {
                follow_checks(context, &mut baked)?;
            }
            tell_state(context, &baked);
            exit = exit.max(match baked.state {
                State::Bad | State::Revoked => Exit::Refused,
                State::Candidate | State::Tested => Exit::NotYet,
                State::Current | State::Retired => Exit::Succeeded,
            });
            if context.json {
                let mut seconds: BTreeMap<&str, f64> = BTreeMap::new();
                for (step, s) in &baked.steps {
                    // Some steps are taken more than once: a tree is scrubbed after each stage, and one with a script is made twice.
                    let sum = seconds.entry(step.as_str()).or_insert(0.0);
                    *sum = rounded(*sum + s);
                }
                show::json(&json!({
                    "image": baked.image, "digest": baked.digest, "packages": baked.packages.len(), "did": baked.did,
                    "why": baked.why, "bytes": baked.bytes, "notes": baked.notes, "seconds": seconds, "base": baked.base,
                    "state": baked.state, "state_why": baked.state_why, "reference": baked.pinned.as_ref().map(|(reference, _)| reference),
                    "manifest": baked.pinned.as_ref().map(|(_, manifest)| manifest),
                }));
            }
        }
        Ok(exit)
    }
}

/// Longer than any checks should take.
const CHECKS_WITHIN: Duration = Duration::from_secs(3600);

/// Waits until the control plane has tested a candidate. Without a control plane it stays one.
fn follow_checks(context: &Context, baked: &mut Baked) -> Result<(), Failure> {
    let path = format!("/v1/images/{}/history", baked.image);
    let (begun, mut told) = (Instant::now(), String::new());
    while matches!(baked.state, State::Candidate | State::Tested) && begun.elapsed() < CHECKS_WITHIN {
        let history: ImageHistory = match context.wait(async { Ok(context.api().get(&path).await) })? {
            Ok(history) => history,
            Err(fault) if matches!(fault.code.as_str(), "unreachable" | "no-upkeep") => {
                baked.state_why = format!("the control plane has to run its checks ({})", fault.message);
                return Ok(());
            }
            Err(fault) => return Err(fault.into()),
        };
        if let Some(one) = history.images.iter().find(|one| one.digest == baked.digest) {
            baked.state = State::of_word(&one.state).unwrap_or(baked.state);
            baked.state_why = one.story.last().map_or_else(String::new, |(_, text)| text.clone());
        }
        // What comes next would read like the cause.
        if !matches!(baked.state, State::Candidate | State::Tested) {
            break;
        }
        let waits = history.waits.map_or_else(String::new, |w| w.why);
        if waits != told && !context.json {
            show::note(format!("image {}: {waits}", baked.image));
        }
        told = waits;
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn tell_state(context: &Context, baked: &Baked) {
    if context.json {
        return;
    }
    let (name, digest, why) = (&baked.image, baked.digest.short(), &baked.state_why);
    match baked.state {
        State::Current | State::Retired => show::line(format!("{name} {digest} is current: {why}")),
        State::Candidate | State::Tested => show::line(format!("{name} {digest} is a candidate, not current yet: {why}")),
        // The text about it begins with this word.
        State::Bad | State::Revoked => {
            show::note(format!("`afresh image history {name}` says more; it is baked again when packages or recipe differ"));
            show::line(format!("{name} {digest} is not made current, it is {why}"));
        }
    }
}

pub fn recipe<'a>(file: &'a ServiceFile, name: &ImageName) -> Result<&'a ImageSpec, Fault> {
    file.images.get(name).ok_or_else(|| {
        let names: Vec<&str> = file.images.keys().map(ImageName::as_str).collect();
        Fault::yours("no-such-image", format!("the service file has no image {name}")).hint(format!("it has: {}", names.join(", ")))
    })
}

/// Of these names.
pub fn recipes<'a>(file: &'a ServiceFile, used: &[ImageName]) -> Result<Vec<&'a ImageSpec>, Fault> {
    used.iter().map(|name| recipe(file, name)).collect()
}

fn on_base(baked: &Baked) -> String {
    match &baked.base {
        Some(base) if base.from == bake::From::Store => format!("; it began with {} from the store", base.name),
        Some(base) => format!("; {} is kept for the next", base.name),
        None => String::new(),
    }
}

/// Bakes one, with its progress on stderr unless `quiet`.
pub fn bake(store: &store::Store, spec: &ImageSpec, fresh: bool, quiet: bool) -> Result<Baked, Fault> {
    server::recipe_must_pass(store.layout(), spec, show::now())?;
    let _interruptible = interrupt::interruptible("the bake");
    let mut bar = Bar::new(spec.name.clone(), quiet);
    let mut tell = |progress: Progress| bar.tell(&progress);
    let options = bake::Options { fresh, waivers: server::image_waivers(store.layout())?, ..bake::Options::default() };
    let baked = bake::bake_with(store, spec, &options, &mut tell);
    bar.clear();
    let baked = baked?;
    if !quiet {
        let seconds: f64 = baked.steps.iter().map(|(_, s)| s).sum();
        let did = match baked.did {
            Did::Nothing => format!("nothing to do: {}", baked.why),
            Did::Baked if baked.pinned.is_some() => {
                format!("pulled, {}: {}", show::times(baked.packages.len() as u64, "package"), baked.why)
            }
            Did::Baked => format!("baked, {}: {}{}", show::times(baked.packages.len() as u64, "package"), baked.why, on_base(&baked)),
        };
        show::line(format!("image {} {} {} {did} ({seconds:.1} s)", spec.name, baked.digest.short(), show::bytes(baked.bytes)));
        baked.notes.iter().for_each(|note| show::line(format!("  note: {note}")));
    }
    Ok(baked)
}

/// The current image of each recipe that is used; it is baked first where there is none or the recipe has changed since.
pub fn currents(
    context: &Context,
    store: &store::Store,
    file: &ServiceFile,
    used: &[ImageName],
) -> Result<BTreeMap<ImageName, Digest>, Failure> {
    let mut images = BTreeMap::new();
    for name in used {
        let recipe = recipe(file, name)?;
        let digest = match usable(store, recipe) {
            Ok(digest) => digest,
            Err(why) => {
                why.iter().for_each(|why| show::note(format!("{why}; baking it again")));
                baked_and_current(context, store, recipe)?
            }
        };
        images.insert(name.clone(), digest);
    }
    Ok(images)
}

/// The current image of a recipe, if a deploy can use it. Err: it is baked first; with what is wrong with the one that exists.
fn usable(store: &store::Store, recipe: &ImageSpec) -> Result<Digest, Option<String>> {
    // A corrupt image is reported, and the bake makes it again.
    let current = store.current(&recipe.name).map_err(|fault| Some(fault.message))?.ok_or(None)?;
    store.verify(&current).map_err(|fault| Some(fault.message))?;
    if bake::is_of(store, &current, recipe) { Ok(current) } else { Err(None) }
}

/// For a plan: as [`currents`], but nothing is baked. Also returns the placeholder digests of images that a deploy would bake.
pub fn planned(
    context: &Context,
    store: &store::Store,
    file: &ServiceFile,
    used: &[ImageName],
) -> Result<(BTreeMap<ImageName, Digest>, BTreeSet<Digest>), Failure> {
    let (mut images, mut unbaked) = (BTreeMap::new(), BTreeSet::new());
    for name in used {
        let recipe = recipe(file, name)?;
        let digest = match usable(store, recipe) {
            Ok(digest) => digest,
            Err(why) => {
                let why = why.unwrap_or_else(|| "this recipe has none yet".to_string());
                let does = match &recipe.oci {
                    Some(source) => format!("pulls {} first, which says what it leaves open", source.reference),
                    None => "bakes it first".to_string(),
                };
                if !context.json {
                    show::line(format!("image {name}: a deploy {does}: {why}"));
                }
                let stand_in = stand_in(recipe)?;
                unbaked.insert(stand_in.clone());
                stand_in
            }
        };
        images.insert(name.clone(), digest);
    }
    Ok((images, unbaked))
}

/// A digest that no object has: of the recipe itself.
fn stand_in(recipe: &ImageSpec) -> Result<Digest, Fault> {
    let text = serde_json::to_vec(recipe).map_err(|e| Fault::ours("unwritable-record", e.to_string()))?;
    let hex = hex::encode(Sha256::digest([b"not baked yet: ", text.as_slice()].concat()));
    Digest::new(format!("sha256:{hex}")).map_err(|e| Fault::ours("bad-digest", e.to_string()))
}

/// What is deployed has passed its checks. Where a rollout of it failed, other code may run on it: the deploy shows it.
fn baked_and_current(context: &Context, store: &store::Store, recipe: &ImageSpec) -> Result<Digest, Failure> {
    let mut baked = bake(store, recipe, false, context.json)?;
    follow_checks(context, &mut baked)?;
    let (image, digest) = (&baked.image, baked.digest.short());
    let told = format!("image {image} {digest} cannot be deployed: {}", baked.state_why);
    let history = format!("`afresh image history {image}` says more");
    match baked.state {
        State::Current | State::Retired => Ok(baked.digest),
        State::Bad if baked.evidence.as_ref().is_some_and(|evidence| !matches!(evidence, Evidence::Checks(_))) => {
            show::note(format!("image {image} {digest} is {}; this deploy is its next test", baked.state_why));
            Ok(baked.digest)
        }
        State::Revoked => Err(Fault::yours("image-revoked", told).hint(history).into()),
        State::Bad => {
            let again =
                format!("change the recipe or its check, or check it once more: `afresh image rebuild {image} --again --digest {digest}`");
            Err(Fault::yours("image-bad", told).hint(format!("{again}; {history}")).into())
        }
        State::Candidate | State::Tested => {
            Err(Fault::yours("image-not-tested", told).hint("start `afresh up`: it runs the checks of the recipe").into())
        }
    }
}
