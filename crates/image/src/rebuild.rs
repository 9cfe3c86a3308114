//! Shows that an image is what it is said to be: builds it again from its lock and the package store, and compares.

use crate::bake;
use crate::base::Bases;
use crate::build;
use crate::compare::{Difference, compare_volumes};
use crate::erofs;
use crate::fetch;
use crate::lockfile::Lock;
use crate::manifest::Manifest;
use crate::progress::{Progress, Steps};
use crate::recipe;
use crate::store::Store;
use model::{Digest, Fault};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rebuilt {
    pub digest: Digest,
    /// What came out this time.
    pub again: Digest,
    /// Empty when both are the same; else why not, by path and by bytes.
    pub differences: Vec<Difference>,
    pub steps: Vec<(String, f64)>,
}

impl Rebuilt {
    pub fn is_same(&self) -> bool {
        self.digest == self.again
    }
}

/// Builds the image again and compares; the store is not changed, but for packages that were fetched anew.
pub fn verify_rebuild(store: &Store, digest: &Digest, tell: &mut dyn FnMut(Progress)) -> Result<Rebuilt, Fault> {
    let mut steps = Steps::new(tell);
    let lock = store.lock_of(digest).map_err(|f| f.hint("only an image that was built from a lock can be built again"))?;
    if lock.head.recipe != recipe::digest(&lock.head.spec) {
        return Err(Fault::world("other-format", format!("image {} was made by another version of this program", digest.short()))
            .hint("bake it anew")
            .again(false));
    }
    bake::need_tools()?;
    steps.begin("fetch", "packages that are not in the store");
    fetch::fetch(store, &lock, &mut steps)?;
    // From nothing: what was kept is no proof of itself.
    let (again, differences) = again(store, &lock, digest, Bases::Without, &mut steps)?;
    Ok(Rebuilt { digest: digest.clone(), again, differences, steps: steps.finish() })
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

const SAME: &str = "its script gave the same result twice";
const OTHER: &str = "its script did not give the same result twice";

/// What [`note`] found; None: there is no script, or nobody looked.
pub fn is_script_reproducible(manifest: &Manifest) -> Option<bool> {
    let said = |text: &str| manifest.notes.iter().any(|note| note.starts_with(text));
    if said(SAME) { Some(true) } else { said(OTHER).then_some(false) }
}

/// A recipe with a script is built twice, and whether both are the same is noted: nobody knows what a script does.
/// Nothing is done where there is no script, or where it was noted before. The second time begins with the tree that was kept before
/// the script, so that after a bake from nothing this also holds the kept tree against the one that it was kept of.
pub fn note(store: &Store, lock: &Lock, manifest: &mut Manifest, steps: &mut Steps) -> Result<(), Fault> {
    if lock.head.spec.custom.script.is_none() || is_script_reproducible(manifest).is_some() {
        return Ok(());
    }
    let (again, differences) = again(store, lock, &manifest.digest, Bases::Use, steps)?;
    manifest.notes.push(if again == manifest.digest {
        SAME.to_string()
    } else {
        let some: Vec<String> = differences.iter().take(5).map(|d| format!("{}: {}", d.path.display(), d.what)).collect();
        let paths = if differences.len() == 1 { "1 path differs".to_string() } else { format!("{} paths differ", differences.len()) };
        format!("{OTHER}: {paths}: {}", some.join(" | "))
    });
    store.note(manifest)
}
