//! Shows that an image is what it is said to be: builds it again from its lock and the package store, and compares.

use crate::base::Bases;
use crate::build;
use crate::compare::{Difference, compare_volumes};
use crate::fetch;
use crate::progress::{Progress, Steps};
use crate::recipe;
use model::{Digest, Fault};
use serde::{Deserialize, Serialize};
use store::Store;
use store::erofs;
use store::lockfile::Lock;
use store::manifest::Manifest;
use store::program;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rebuilt {
    pub digest: Digest,
    /// What came out this time.
    pub again: Digest,
    /// Empty when both are the same; else why not, by path and by bytes.
    pub differences: Vec<Difference>,
    /// Tools that are of another version here: name, version then, version now.
    pub tools: Vec<(String, String, String)>,
    pub steps: Vec<(String, f64)>,
}

impl Rebuilt {
    pub fn is_same(&self) -> bool {
        self.digest == self.again
    }
}

/// Builds the image again and compares; the store is not changed, but for packages that had to be fetched again. With every package in
/// it neither a network nor apt is needed.
pub fn verify_rebuild(store: &Store, digest: &Digest, tell: &mut dyn FnMut(Progress)) -> Result<Rebuilt, Fault> {
    let mut steps = Steps::new(tell);
    let (manifest, lock) = (store.manifest(digest)?, store.lock_of(digest)?);
    if lock.head.recipe != recipe::digest(&lock.head.spec) {
        return Err(Fault::world("other-format", format!("image {} was made by another version of this program", digest.short()))
            .hint("bake it again")
            .again(false));
    }
    program::need_root("building an image again")?;
    program::need(&["setpriv", "unshare", "nsenter", "timeout", erofs::TOOL])?;
    steps.begin("fetch", format!("{} packages, from the store", lock.packages.len()));
    let missing = fetch::missing(store, &lock)?;
    if let Some(first) = missing.first() {
        let text = format!(
            "{} of the image's {} packages are not in the store whole, {} {} among them",
            missing.len(),
            lock.packages.len(),
            first.name,
            first.version
        );
        steps.begin("fetch", &text);
        fetch::fetch(store, &lock, &mut steps).map_err(|f| incomplete(text, f))?;
    }
    // From nothing: what was kept is no proof of itself.
    let (again, differences) = again(store, &lock, digest, Bases::Without, &mut steps)?;
    let here = recipe::tools();
    let tools = manifest.tools.iter().filter_map(|(name, then)| {
        let now = here.get(name).map_or("unknown", String::as_str);
        (name == erofs::TOOL && then != now).then(|| (name.clone(), then.clone(), now.to_string()))
    });
    Ok(Rebuilt { digest: digest.clone(), again, differences, tools: tools.collect(), steps: steps.finish() })
}

fn incomplete(text: String, why: Fault) -> Fault {
    Fault::world("store-incomplete", format!("{text}, and they cannot be fetched: {}", why.message))
        .hint("copy store/packages of the data directory that it was baked in, or give this machine the network it needs")
        .again(false)
}

fn again(store: &Store, lock: &Lock, digest: &Digest, bases: Bases, steps: &mut Steps) -> Result<(Digest, Vec<Difference>), Fault> {
    let built = build::tree(store, lock, bases, steps)?;
    steps.begin("emit", "packing the erofs volume");
    let work = store.work("rebuild")?;
    let out = work.path().join("image.erofs");
    let (again, _) = erofs::make(built.tree.command(&[], erofs::TOOL), built.tree.inside(), &out, erofs::of_image(built.epoch))?;
    steps.begin("compare", again.short());
    let differences = if &again == digest { Vec::new() } else { compare_volumes(store, &store.path(digest)?, &out)? };
    steps.end();
    Ok((again, differences))
}

/// A recipe with a script is built twice, and whether both are the same is noted: nobody knows what a script does.
/// Nothing is done where there is no script, or where it was noted before. The second time begins with the tree that was kept before
/// the script, so that after a bake from nothing this also holds the kept tree against the one that it was kept of.
pub fn note(store: &Store, lock: &Lock, manifest: &mut Manifest, steps: &mut Steps) -> Result<(), Fault> {
    if lock.head.spec.custom.script.is_none() || manifest.is_script_reproducible().is_some() {
        return Ok(());
    }
    let (again, differences) = again(store, lock, &manifest.digest, Bases::Use, steps)?;
    manifest.notes.push(if again == manifest.digest {
        Manifest::SCRIPT_SAME.to_string()
    } else {
        let some: Vec<String> = differences.iter().take(5).map(|d| format!("{}: {}", d.path.display(), d.what)).collect();
        let paths = if differences.len() == 1 { "1 path differs".to_string() } else { format!("{} paths differ", differences.len()) };
        format!("{}: {paths}: {}", Manifest::SCRIPT_OTHER, some.join(" | "))
    });
    store.note(manifest)
}
