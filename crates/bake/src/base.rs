//! Trees that several images have in common, kept packed in the store by what decides them, and taken from there.
//!
//! ```text
//! look it up ─▶ there, whole ─▶ mounted read-only in a namespace of its own, copied into the new tree
//!    └─▶ not there, damaged, or not to be used ─▶ built (one of us, the others wait) ─▶ packed ─▶ put into the store ─▶ go on
//! ```
//!
//! The tree is copied, not put under an overlay. An overlay is there in 4 ms and a copy of 11 000 files takes half a second; but in an
//! overlay the first change to a file tears it from its hard links (perl's two names), and directories cannot be renamed: what scripts
//! do there would not always be what they do in a tree made from nothing.

use crate::recipe;
use crate::stages::Stages;
use crate::tree::Tree;
use disk::files;
use model::{Digest, Fault};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use store::Store;
use store::erofs;
use store::manifest::{Kind, Manifest, Package};
use store::program;

/// What may be done with kept trees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bases {
    /// Begin with one that is there, and keep what is made.
    #[default]
    Use,
    /// Begin with nothing, and put what is made in the place of what was kept.
    Renew,
    /// As if there were none.
    Without,
}

/// A scrubbed tree after some stages.
pub struct Half {
    pub tree: Tree,
    pub epoch: u64,
    pub packages: Vec<Package>,
}

/// The kept tree a build began with, or made on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Of the whole tree, packed.
    pub digest: Digest,
    /// Of which image, and whether of its packages only.
    pub name: String,
    pub from: From,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// It was there.
    Store,
    /// This build made it, for itself and the next.
    Made,
}

/// The whole tree after `done` stages, if it is in the store. One that cannot be read is none: it is made again.
pub fn find(store: &Store, stages: &Stages, done: usize) -> Option<Manifest> {
    let there = store.from_inputs(&stages.key(done)).ok().flatten()?;
    let locked: BTreeSet<(&str, &str)> =
        stages.packages_up_to(stages.all[done - 1].level()).map(|p| (p.name.as_str(), p.version.as_str())).collect();
    // The store says what a digest holds; that this is the tree that was asked for is seen by what is installed in it.
    let fits = there.packages.iter().all(|p| locked.contains(&(p.name.as_str(), p.version.as_str())));
    (there.kind != Kind::Artifact && !there.packages.is_empty() && fits).then_some(there)
}

/// `$1`: the packed tree; `$2`: an empty directory; `$3`: the new tree. What cannot be kept as it is ends it.
const COPY: &str = r#"mount -t erofs -o loop,ro "$1" "$2" && exec cp -R -P --preserve=mode,ownership,timestamps,links,xattr --sparse=never --reflink=never "$2/." "$3""#;

/// A tree of its own with all that the kept one has.
pub fn take(store: &Store, kept: &Manifest, bytes: u64) -> Result<Tree, Fault> {
    let tree = Tree::begin(store.work("build")?, bytes)?;
    let from = store.work("base")?;
    let mut c = tree.command(&["--propagation", "private"], "sh");
    c.args(["-c", COPY, "sh"]).arg(store.layout().object(&kept.digest)).arg(from.path()).arg(tree.inside());
    program::run_well(&mut c, "copying a base")?;
    Ok(tree)
}

/// Packs the tree as every image is packed, so that an image that is just this has the same digest, and keeps it.
pub fn keep(store: &Store, stages: &Stages, done: usize, half: &Half) -> Result<Base, Fault> {
    let work = store.work("keep")?;
    let out = work.path().join("base.erofs");
    let (digest, bytes) = erofs::make(half.tree.command(&[], erofs::TOOL), half.tree.inside(), &out, erofs::of_image(half.epoch))?;
    let (name, key) = (stages.name(done), stages.key(done));
    let is_image = store.manifest(&digest).is_ok_and(|m| m.kind == Kind::Image) && store.verify(&digest).is_ok();
    if is_image {
        store.remember(&key, &digest)?;
    } else {
        let manifest = Manifest {
            kind: Kind::Base,
            name: name.clone(),
            digest: digest.clone(),
            bytes,
            packages: half.packages.clone(),
            recipe: None,
            inputs: key,
            made: files::now(),
            tools: recipe::tools(),
            seconds: Vec::new(),
            notes: Vec::new(),
            source: None,
            container: None,
        };
        store.put(&out, &manifest)?;
    }
    Ok(Base { digest, name, from: From::Made })
}
