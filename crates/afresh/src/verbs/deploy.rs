//! `plan` and `deploy`: pin the wish to digests, show the plan, open the rotations, follow them.

use super::bake::currents;
use super::build_args::BuildArgs;
use super::follow::follow;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::{DeployRequest, Opened, PlanAnswer};
use clap::Args;
use model::{Digest, Fault, ImageName, ServiceFile, ServiceName};
use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

/// What to deploy: flags that `plan` and `deploy` share.
#[derive(Args, Debug)]
pub struct Wish {
    /// Only this service; otherwise all, tier by tier
    pub service: Option<ServiceName>,
    /// Its code: a directory or tarball, instead of the one the file names
    #[arg(long, value_name = "PATH", requires = "service")]
    pub artifact: Option<PathBuf>,
    /// Deploy this earlier release again instead of making a new one
    #[arg(long, value_name = "rN", value_parser = release_number, requires = "service", conflicts_with = "artifact")]
    pub release: Option<u64>,
    #[command(flatten)]
    pub args: BuildArgs,
}

/// Show what a deploy would do: steps, capacity at each, the peak. Nothing is changed
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh plan web --artifact ./build")]
pub struct Plan {
    #[command(flatten)]
    pub wish: Wish,
}

/// Deploy one service, or all tier by tier, and follow it to its end
#[derive(Args, Debug)]
#[command(
    after_help = "Ctrl-C leaves it running. The exit code is the verdict: 0 promoted, 5 returned, 6 partial.\n\nExample:\n  afresh deploy web --artifact ./build"
)]
pub struct Deploy {
    #[command(flatten)]
    pub wish: Wish,
    /// Open it and return at once
    #[arg(long)]
    pub no_follow: bool,
    /// Also drain and retire services that run and that the file does not name any more
    #[arg(long, conflicts_with = "service")]
    pub remove: bool,
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
        let request = request(context, &self.wish)?;
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
        let mut request = request(context, &self.wish)?;
        context.wait(async {
            let answer: PlanAnswer = context.api().post("/v1/plan", &request).await?;
            if context.json {
                show::json(&answer);
            } else {
                tell_plan(&answer);
            }
            if !answer.rotations.is_empty() && !self.yes && !agreed()? {
                show::note("nothing was changed");
                return Ok(Exit::Refused);
            }
            if !answer.removals.is_empty() && self.removes()? {
                request.remove = answer.removals.iter().map(|r| r.service.clone()).collect();
            }
            let opened: Opened = context.api().post("/v1/deploy", &request).await?;
            tell_removals(context, &opened);
            if self.no_follow || (opened.rotations.is_empty() && opened.rollout.is_none()) {
                tell_opened(context, &opened);
                return Ok(Exit::Succeeded);
            }
            tell_unchanged(context, &opened);
            follow(context, &opened).await
        })
    }
}

impl Deploy {
    /// Where a person sits, a removal has a question of its own; a script must say --remove.
    fn removes(&self) -> Result<bool, Failure> {
        if self.yes {
            return Ok(self.remove);
        }
        Ok(asked_and_agreed("remove what the file does not name?")?.unwrap_or(self.remove))
    }
}

/// Loads the file, bakes what was never baked, packs the code. Everything is in the store before the wish is sent.
pub fn request(context: &Context, wish: &Wish) -> Result<DeployRequest, Failure> {
    let mut file = context.load()?;
    if let Some(service) = &wish.service
        && !file.services.contains_key(service)
    {
        let names: Vec<&str> = file.services.keys().map(ServiceName::as_str).collect();
        let fault = Fault::yours("no-such-service", format!("{}: no service {service}", context.file.display()));
        return Err(fault.hint(format!("it has: {}", names.join(", "))).into());
    }
    let used = used(&file, wish.service.as_ref());
    if wish.release.is_some() && !wish.args.args.is_empty() {
        let fault = Fault::yours("bad-request", "an earlier release has its own image: nothing is baked with --arg");
        return Err(fault.hint("leave --arg out").into());
    }
    wish.args.apply(&mut file, |name| used.contains(name))?;
    let mut images = BTreeMap::new();
    let mut artifacts = BTreeMap::new();
    if wish.release.is_none() {
        let store = image::Store::open(&context.layout)?;
        images = currents(context, &store, &file, &used)?;
        artifacts = pack(context, &store, &file, wish)?;
    }
    Ok(DeployRequest { file, service: wish.service.clone(), images, artifacts, release: wish.release, remove: Vec::new() })
}

fn used(file: &ServiceFile, only: Option<&ServiceName>) -> Vec<ImageName> {
    let services = file.services.values().filter(|s| only.is_none_or(|only| *only == s.name));
    let mut names: Vec<ImageName> = services.map(|s| s.image.clone()).collect();
    names.sort();
    names.dedup();
    names
}

fn pack(context: &Context, store: &image::Store, file: &ServiceFile, wish: &Wish) -> Result<BTreeMap<ServiceName, Digest>, Failure> {
    let mut packed: BTreeMap<PathBuf, Digest> = BTreeMap::new();
    let mut artifacts = BTreeMap::new();
    for service in file.services.values().filter(|s| wish.service.as_ref().is_none_or(|only| *only == s.name)) {
        let path = match (&wish.artifact, &service.artifact) {
            (Some(path), _) => path.clone(),
            (None, Some(path)) => context.beside_file(path),
            (None, None) => continue,
        };
        let digest = match packed.get(&path) {
            Some(digest) => digest.clone(),
            None => {
                let done = image::pack(store, &path)?;
                if !context.json {
                    let did = if done.did == image::Did::Nothing { "already in the store" } else { "packed" };
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
        let what = format!("{} in {} runs and is not in the file", removal.standing.release.label(), removal.standing.group);
        show::line(format!(
            "{}: remove: {what}; `afresh deploy --remove` drains and retires it",
            show::paint(show::BOLD, &removal.service)
        ));
    }
    for note in &answer.notes {
        let at = note.at.map_or_else(String::new, |at| format!(" ({})", show::upkeep::day(at)));
        show::line(format!("{}: {}{at}", show::paint(show::BOLD, &note.service), note.text));
    }
    if answer.rotations.is_empty() {
        show::line("nothing to change: what stands is what was asked for");
    }
}

fn tell_removals(context: &Context, opened: &Opened) {
    if context.json {
        return;
    }
    for rotation in &opened.removing {
        show::line(format!("{rotation}: opened, it removes the service; come back with: afresh rotation show {rotation} --follow"));
    }
    for service in &opened.left {
        show::line(format!("{service}: not in the file, and left as it is"));
    }
}

/// Asks only where a person sits; a script that calls `deploy` means it.
fn agreed() -> Result<bool, Fault> {
    Ok(asked_and_agreed("deploy this?")?.unwrap_or(true))
}

/// None: no person sits there.
fn asked_and_agreed(question: &str) -> Result<Option<bool>, Fault> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(None);
    }
    let _ = write!(anstream::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(|e| Fault::world("io", format!("cannot read the answer: {e}")))?;
    Ok(Some(matches!(answer.trim(), "y" | "Y" | "yes")))
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
