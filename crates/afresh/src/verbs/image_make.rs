//! `image lock`, `fetch`, `build`: the steps of a bake, one at a time; `image pack`, the one step of an artifact. Each does nothing where its result is there already.

use super::bake::{Bar, recipe};
use super::build_args::BuildArgs;
use super::image_key::KeyArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::processes::interrupt;
use crate::show;
use bake::Progress;
use clap::Args;
use model::{Fault, ImageName};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;
use store::{Did, Lock as Packages};

/// Choose the newest packages of the recipe's suites and write them down: address, size, SHA-256 and suite of each
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sudo afresh image lock base --out base.lock")]
pub struct Lock {
    /// As the service file names it
    pub image: ImageName,
    /// Write it here too, to be read, compared and kept with the code
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub args: BuildArgs,
    /// Lock what its disks boot with instead: the newest kernel and boot tools of the release
    #[arg(long)]
    pub kit: bool,
}

/// Fetch the packages of a lock that are not in the store yet
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sudo afresh image fetch base")]
pub struct Fetch {
    /// A recipe's name for its newest lock, a lock's first digits, or a lock file
    #[arg(value_name = "NAME|LOCK")]
    pub lock: String,
}

/// Build the image of a lock: unpack, configure, scrub, pack, store. The recipe's current image stays as it is
#[derive(Args, Debug)]
#[command(
    after_help = "The image has no attestation yet: `afresh image attest` is the next step.\n\nExample:\n  sudo afresh image build base"
)]
pub struct Build {
    /// A recipe's name for its newest lock, a lock's first digits, or a lock file
    #[arg(value_name = "NAME|LOCK")]
    pub lock: String,
}

/// Pack a service's code, a directory or a tarball, into a volume of its own in the store, and sign where it came from
#[derive(Args, Debug)]
#[command(after_help = "`afresh deploy` does this by itself.\n\nExample:\n  afresh image pack ./app")]
pub struct Pack {
    pub artifact: PathBuf,
    #[command(flatten)]
    pub key: KeyArgs,
}

impl Pack {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let store = context.images()?;
        let packed = match self.key.named() {
            Some(key) => attest::pack_with(&store, &self.artifact, &key?)?,
            None => attest::pack(&store, &self.artifact)?,
        };
        let is_new = packed.did == Did::Baked;
        let path = context.layout.object(&packed.digest);
        if context.json {
            let did = if is_new { "packed" } else { "nothing" };
            show::json(&json!({
                "digest": packed.digest, "path": path, "bytes": packed.bytes, "files": packed.files, "did": did,
                "signed_by": packed.signed_by,
                "seconds": { "pack": packed.seconds },
            }));
            return Ok(Exit::Succeeded);
        }
        let did = if is_new { "packed" } else { "already in the store" };
        let size = format!("{}, {}", show::times(packed.files, "file"), show::bytes(packed.bytes));
        show::line(format!("artifact {} {did}: {size}, in {} ({:.1} s)", packed.digest.short(), path.display(), packed.seconds));
        show::line(format!("signed by {}", packed.signed_by));
        Ok(Exit::Succeeded)
    }
}

/// Runs one piece of work with its progress on stderr, and says how many seconds it took, by step.
pub fn with_progress<T>(
    context: &Context,
    image: &ImageName,
    work: impl FnOnce(&mut dyn FnMut(Progress)) -> Result<T, Fault>,
) -> Result<(T, BTreeMap<String, f64>), Fault> {
    let _interruptible = interrupt::interruptible("the work");
    let mut bar = Bar::new(image.clone(), context.json);
    let (mut seconds, mut open) = (BTreeMap::new(), None::<(String, Instant)>);
    let mut close = |open: &mut Option<(String, Instant)>| {
        if let Some((step, since)) = open.take() {
            *seconds.entry(step).or_insert(0.0) += rounded(since.elapsed().as_secs_f64());
        }
    };
    let done = work(&mut |progress| {
        if open.as_ref().is_none_or(|(step, _)| *step != progress.step) {
            close(&mut open);
            open = Some((progress.step.clone(), Instant::now()));
        }
        bar.tell(&progress);
    });
    close(&mut open);
    bar.clear();
    done.map(|value| (value, seconds))
}

pub fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

pub fn total(seconds: &BTreeMap<String, f64>) -> f64 {
    seconds.values().sum()
}

impl Lock {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let mut file = context.load()?;
        recipe(&file, &self.image)?;
        self.args.apply(&mut file, |name| *name == self.image)?;
        let spec = recipe(&file, &self.image)?;
        let store = context.images()?;
        let (before, (lock, seconds)) = if self.kit {
            let before = emit::kept_kit(&store, spec).map(|l| l.digest());
            (before, with_progress(context, &self.image, |tell| emit::lock_kit(&store, spec, tell))?)
        } else {
            let before = bake::find_lock(&store, self.image.as_str()).ok().map(|l| l.digest());
            (before, with_progress(context, &self.image, |tell| bake::lock(&store, spec, tell))?)
        };
        let digest = lock.digest();
        let path = match &self.out {
            Some(out) => {
                lock.write(out)?;
                out.clone()
            }
            None if self.kit => store::kit_lock_path(&store, &digest),
            None => store.lock_path(&digest),
        };
        let did = if before.as_ref() == Some(&digest) { "nothing" } else { "locked" };
        if context.json {
            let indexes: Vec<_> =
                lock.head.indexes.iter().map(|i| json!({ "suite": i.suite, "date": i.date, "digest": i.digest })).collect();
            show::json(&json!({
                "image": self.image, "lock": digest, "path": path, "packages": lock.packages.len(), "did": did, "indexes": indexes, "seconds": seconds,
            }));
            return Ok(Exit::Succeeded);
        }
        let same = if did == "nothing" { ", the same as before" } else { "" };
        show::line(format!(
            "lock {} of {}{}: {}{same}, in {} ({:.1} s)",
            digest.short(),
            if self.kit { "the kit for disks of " } else { "" },
            self.image,
            show::times(lock.packages.len() as u64, "package"),
            path.display(),
            total(&seconds)
        ));
        Ok(Exit::Succeeded)
    }
}

fn name_of(lock: &Packages) -> &ImageName {
    &lock.head.spec.name
}

impl Fetch {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let store = context.images()?;
        let lock = bake::find_lock(&store, &self.lock)?;
        let (fetched, seconds) = with_progress(context, name_of(&lock), |tell| bake::fetch(&store, &lock, tell))?;
        if context.json {
            let did = if fetched.fetched == 0 { "nothing" } else { "fetched" };
            show::json(&json!({
                "image": name_of(&lock), "lock": lock.digest(), "had": fetched.had, "fetched": fetched.fetched, "bytes": fetched.bytes,
                "did": did, "seconds": seconds,
            }));
        } else {
            show::line(format!(
                "lock {}: {} fetched ({}), {} were in the store ({:.1} s)",
                lock.digest().short(),
                show::times(fetched.fetched as u64, "package"),
                show::bytes(fetched.bytes),
                fetched.had,
                total(&seconds)
            ));
        }
        Ok(Exit::Succeeded)
    }
}

impl Build {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let store = context.images()?;
        let lock = bake::find_lock(&store, &self.lock)?;
        let ((manifest, did), seconds) = with_progress(context, name_of(&lock), |tell| {
            bake::fetch(&store, &lock, tell)?;
            bake::build(&store, &lock, tell)
        })?;
        if context.json {
            let did = if did == Did::Nothing { "nothing" } else { "built" };
            show::json(&json!({
                "image": manifest.name, "digest": manifest.digest, "lock": lock.digest(), "packages": manifest.packages.len(),
                "bytes": manifest.bytes, "did": did, "seconds": seconds,
            }));
        } else {
            let did = if did == Did::Nothing { "there already, from this very lock" } else { "built" };
            show::line(format!(
                "image {} {} {} {did} ({:.1} s)",
                manifest.name,
                manifest.digest.short(),
                show::bytes(manifest.bytes),
                total(&seconds)
            ));
        }
        Ok(Exit::Succeeded)
    }
}
