//! `plan` and `deploy`: pin the wish to digests, show the plan, open the rotations, follow them.

use super::bake::{currents, planned};
use super::build_args::BuildArgs;
use super::follow::follow;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::{DeployRequest, Opened, PlanAnswer, Removal};
use clap::Args;
use model::{Digest, Fault, ImageName, ServiceFile, ServiceName};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

/// What to deploy: flags that `plan` and `deploy` share.
#[derive(Args, Debug)]
pub struct Desired {
    /// Only this service; otherwise all, tier by tier
    pub service: Option<ServiceName>,
    /// Its code: a directory or tarball, instead of the one the file names
    #[arg(long, value_name = "PATH", requires = "service")]
    pub artifact: Option<PathBuf>,
    /// Deploy this earlier release again instead of making a new one
    #[arg(long, value_name = "rN", value_parser = release_number, requires = "service", conflicts_with = "artifact")]
    pub release: Option<u64>,
    /// Also drain and retire this service, which runs and which the file does not name; repeat it for more
    #[arg(long, value_name = "NAME", conflicts_with = "service")]
    pub remove: Vec<ServiceName>,
    #[command(flatten)]
    pub args: BuildArgs,
}

/// Show what a deploy would do: steps, capacity at each, the peak. Nothing is baked, deployed or changed
#[derive(Args, Debug)]
#[command(
    after_help = "The code is packed into the store, so that its digest is known; `afresh gc` removes what no release uses.\n\nExample:\n  afresh plan web --artifact ./build"
)]
pub struct Plan {
    #[command(flatten)]
    pub desired: Desired,
}

/// Deploy one service, or all tier by tier, and follow it to its end
#[derive(Args, Debug)]
#[command(
    after_help = "Ctrl-C leaves it running. The exit code is the verdict: 0 promoted, 5 returned, 6 partial.\n\nExample:\n  afresh deploy web --artifact ./build"
)]
pub struct Deploy {
    #[command(flatten)]
    pub desired: Desired,
    /// Open it and return at once
    #[arg(long)]
    pub no_follow: bool,
    /// Do not ask before the change
    #[arg(short, long)]
    pub yes: bool,
}

/// `r42` or `42`
pub fn release_number(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix('r').unwrap_or(text);
    digits.parse().ok().filter(|n| *n > 0).ok_or_else(|| "a release is written r42".to_string())
}

impl Plan {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let request = request(context, &self.desired, Images::Plan)?;
        let answer: PlanAnswer = context.wait(async { Ok(context.api().post("/v1/plan", &request).await?) })?;
        if context.json {
            show::json(&answer);
        } else {
            tell_plan(&answer);
        }
        Ok(Exit::Succeeded)
    }
}

impl Deploy {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let request = request(context, &self.desired, Images::Bake)?;
        context.wait(async {
            let answer: PlanAnswer = context.api().post("/v1/plan", &request).await?;
            if context.json {
                show::json(&answer);
            } else {
                tell_plan(&answer);
            }
            let changes = !answer.rotations.is_empty() || !request.remove.is_empty();
            if changes && !self.yes && !agreed()? {
                show::note("nothing was changed");
                return Ok(Exit::Refused);
            }
            let opened: Opened = context.api().post("/v1/deploy", &request).await?;
            if self.no_follow || (opened.rotations.is_empty() && opened.rollout.is_none() && opened.removing.is_empty()) {
                tell_opened(context, &opened);
                return Ok(Exit::Succeeded);
            }
            tell_unchanged(context, &opened);
            follow(context, &opened).await
        })
    }
}

/// What becomes of an image that is not baked yet, or whose recipe has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Images {
    Bake,
    /// A plan changes nothing: it says that a deploy would bake it.
    Plan,
}

/// Loads the file, bakes what was never baked, packs the code. Everything is in the store before the wish is sent.
pub fn request(context: &Context, desired: &Desired, unbaked: Images) -> Result<DeployRequest, Failure> {
    let mut file = context.load()?;
    if let Some(service) = &desired.service
        && !file.services.contains_key(service)
    {
        let names: Vec<&str> = file.services.keys().map(ServiceName::as_str).collect();
        let fault = Fault::yours("no-such-service", format!("{}: no service {service}", context.file.display()));
        return Err(fault.hint(format!("it has: {}", names.join(", "))).into());
    }
    let used = used(&file, desired.service.as_ref());
    if desired.release.is_some() && !desired.args.args.is_empty() {
        let fault = Fault::yours("bad-request", "an earlier release has its own image: nothing is baked with --arg");
        return Err(fault.hint("leave --arg out").into());
    }
    desired.args.apply(&mut file, |name| used.contains(name))?;
    let mut images = BTreeMap::new();
    let mut artifacts = BTreeMap::new();
    let mut to_bake = BTreeSet::new();
    if desired.release.is_none() {
        let store = context.images()?;
        match unbaked {
            Images::Bake => images = currents(context, &store, &file, &used)?,
            Images::Plan => (images, to_bake) = planned(context, &store, &file, &used)?,
        }
        artifacts = pack(context, &store, &file, desired)?;
    }
    Ok(DeployRequest {
        file,
        service: desired.service.clone(),
        images,
        artifacts,
        release: desired.release,
        remove: desired.remove.clone(),
        unbaked: to_bake,
    })
}

fn used(file: &ServiceFile, only: Option<&ServiceName>) -> Vec<ImageName> {
    let services = file.services.values().filter(|s| only.is_none_or(|only| *only == s.name));
    let mut names: Vec<ImageName> = services.map(|s| s.image.clone()).collect();
    names.sort();
    names.dedup();
    names
}

fn pack(context: &Context, store: &store::Store, file: &ServiceFile, desired: &Desired) -> Result<BTreeMap<ServiceName, Digest>, Failure> {
    let mut packed: BTreeMap<PathBuf, Digest> = BTreeMap::new();
    let mut artifacts = BTreeMap::new();
    for service in file.services.values().filter(|s| desired.service.as_ref().is_none_or(|only| *only == s.name)) {
        let path = match (&desired.artifact, &service.artifact) {
            (Some(path), _) => path.clone(),
            (None, Some(path)) => context.beside_file(path),
            (None, None) => continue,
        };
        let digest = match packed.get(&path) {
            Some(digest) => digest.clone(),
            None => {
                let done = attest::pack(store, &path)?;
                if !context.json {
                    let did = if done.did == store::Did::Nothing { "already in the store" } else { "packed" };
                    let size = format!("{}, {}", show::times(done.files, "file"), show::bytes(done.bytes));
                    show::line(format!("artifact {} {} {did}, {size} ({:.1} s)", path.display(), done.digest.short(), done.seconds));
                }
                done.digest
            }
        };
        packed.insert(path, digest.clone());
        artifacts.insert(service.name.clone(), digest);
    }
    Ok(artifacts)
}

fn tell_plan(answer: &PlanAnswer) {
    for rotation in &answer.rotations {
        show::line(show::plan(rotation));
    }
    for removal in &answer.removals {
        if let Some(plan) = &removal.plan {
            show::line(show::removal(removal, plan));
        }
    }
    for note in &answer.notes {
        let at = note.at.map_or_else(String::new, |at| format!(" ({})", show::upkeep::day(at)));
        show::line(format!("{}: {}{at}", show::paint(show::BOLD, &note.service), note.text));
    }
    if answer.rotations.is_empty() && answer.removals.iter().all(|r| r.plan.is_none()) {
        show::line("nothing to change: what stands is what was asked for");
    }
    if let Some(left) = left_alone(&answer.removals) {
        show::line(left);
    }
}

/// More names than this say nothing to anybody.
const NAMES_SHOWN: usize = 5;

/// They may be another file's: nothing is removed that is not named.
fn left_alone(removals: &[Removal]) -> Option<String> {
    let left: Vec<&str> = removals.iter().filter(|r| r.plan.is_none()).map(|r| r.service.as_str()).collect();
    let first = left.first()?;
    let names = left.iter().take(NAMES_SHOWN).copied().collect::<Vec<_>>().join(", ");
    let more = left.len().checked_sub(NAMES_SHOWN).filter(|n| *n > 0).map_or_else(String::new, |n| format!(" and {n} more"));
    Some(format!("not in this file and left as they are: {names}{more} (`--remove {first}` removes one)"))
}

/// Asks only where a person sits; a script that calls `deploy` means it.
fn agreed() -> Result<bool, Fault> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(true);
    }
    let _ = write!(anstream::stderr(), "deploy this? [y/N] ");
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(|e| Fault::world("io", format!("cannot read the answer: {e}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn tell_unchanged(context: &Context, opened: &Opened) {
    if !context.json {
        for service in &opened.unchanged {
            show::line(format!("{service}: unchanged, what stands is what was asked for"));
        }
    }
}

/// What was opened, for those who do not stay.
pub fn tell_opened(context: &Context, opened: &Opened) {
    if context.json {
        show::json(opened);
        return;
    }
    tell_unchanged(context, opened);
    for rotation in &opened.rotations {
        show::line(format!("{rotation}: opened; come back with: afresh rotation show {rotation} --follow"));
    }
    for rotation in &opened.removing {
        show::line(format!("{rotation}: opened, it removes the service; come back with: afresh rotation show {rotation} --follow"));
    }
    if let Some(rollout) = &opened.rollout {
        show::line(format!("{rollout}: opened; look at it with: afresh status"));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn releases_are_written_with_or_without_r() {
        assert_eq!(super::release_number("r42"), Ok(42));
        assert_eq!(super::release_number("7"), Ok(7));
        for bad in ["", "r", "r0", "web@r1", "-1", "r99999999999999999999"] {
            assert!(super::release_number(bad).is_err(), "{bad:?} was taken");
        }
    }
}
