//! `image lock`, `fetch`, `build`: the steps of a bake, one at a time, in the store of this machine. Each does nothing where its result exists.

use super::bake::recipe;
use super::build_args::BuildArgs;
use super::progress::{total, with_progress};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use clap::Args;
use model::ImageName;
use serde_json::json;
use std::path::PathBuf;
use store::{Did, Lock as Packages};

/// Choose the newest packages of the recipe's suites and record them
#[derive(Args, Debug)]
#[command(
    after_help = "A lock has the address, size, SHA-256 and suite of each package.\n\nExample:\n  sudo afresh image lock base --out base.lock"
)]
pub struct Lock {
    /// The image, as the service file names it
    pub image: ImageName,
    /// Write the lock to this file too
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub args: BuildArgs,
    /// Lock the newest kernel and boot tools for its disks instead
    #[arg(long)]
    pub kit: bool,
}

/// Download the packages of a lock that are not in the store yet
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sudo afresh image fetch base")]
pub struct Fetch {
    /// A lock's first digits, a lock file, or a recipe's name for its newest lock
    #[arg(value_name = "NAME|LOCK")]
    pub lock: String,
}

/// Build the image of a lock: unpack, configure, scrub, pack, store
#[derive(Args, Debug)]
#[command(
    after_help = "The recipe's current image stays as it is. The image has no attestation yet: `afresh image attest` is the next step.\n\nExample:\n  sudo afresh image build base"
)]
pub struct Build {
    /// A lock's first digits, a lock file, or a recipe's name for its newest lock
    #[arg(value_name = "NAME|LOCK")]
    pub lock: String,
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
            if self.kit { "the boot kit of " } else { "" },
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
        server::recipe_must_pass(&context.layout, &lock.head.spec, show::now())?;
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
            let did = if did == Did::Nothing { "exists already, from this lock" } else { "built" };
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
