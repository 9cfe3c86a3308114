//! The other builder: mmdebstrap. It is the fallback, and the oracle our own is held against.

use crate::apt::Apt;
use crate::build::Built;
use crate::exec;
use crate::identity;
use crate::lockfile::Lock;
use crate::packages;
use crate::progress::Steps;
use crate::scrub::{Times, scrub};
use crate::stages;
use crate::store::Store;
use crate::tree::Tree;
use model::{Fault, ImageSpec};
use std::collections::BTreeSet;

/// A scrubbed tree of the recipe's packages. It chooses them anew: it cannot be given a lock.
pub fn tree(store: &Store, lock: &Lock, apt: &Apt, steps: &mut Steps) -> Result<Built, Fault> {
    exec::need(&["mmdebstrap"])?;
    // Suites and components are in the sources that it is given.
    if !stages::acts(&lock.head.spec.custom).is_empty() || lock.head.spec.base.is_some() {
        return Err(Fault::yours("not-with-mmdebstrap", "bases, users, files and scripts of a recipe are for our own builder only")
            .hint("bake without --builder"));
    }
    steps.begin("mmdebstrap", "bootstrapping");
    let packed: u64 = lock.packages.iter().map(|p| p.bytes).sum();
    let epoch = lock.head.indexes.iter().filter_map(|i| crate::recipe::parse_date(&i.date)).max().unwrap_or(0);
    let tree = Tree::begin(store.work("bake")?, packed * 8 + (64 << 20))?;
    run(&lock.head.spec, lock, apt, &tree, epoch, steps)?;
    let root = &tree.root()?;
    let installed = packages::installed(root)?;
    identity::settle(root, &BTreeSet::new())?;
    steps.begin("scrub", "taking out what belongs to this machine and moment");
    scrub(root, &Times { epoch, shipped: None })?;
    Ok(Built { epoch, packages: installed, tree, base: None, notes: Vec::new() })
}

fn run(spec: &ImageSpec, lock: &Lock, apt: &Apt, tree: &Tree, epoch: u64, steps: &mut Steps) -> Result<(), Fault> {
    let mut c = tree.command(&[], "mmdebstrap");
    c.args(["--mode=root", "--variant=minbase", "--format=directory", "--verbose"]);
    if !spec.packages.is_empty() {
        c.arg(format!("--include={}", spec.packages.join(",")));
    }
    c.arg(format!("--aptopt={}", apt.passed_file()?.display()));
    c.arg(&spec.debian).arg(tree.inside()).arg(apt.sources_file());
    c.env("SOURCE_DATE_EPOCH", epoch.to_string()).env("TMPDIR", "/tmp");
    // Each package is unpacked once and set up once.
    let total = lock.packages.len() as u64 * 2;
    let mut done = 0;
    let said = exec::run_lines(&mut c, "mmdebstrap", |line| {
        if line.starts_with("Unpacking ") || line.starts_with("Setting up ") {
            done += 1;
            steps.at(done, total, line.trim_end_matches(" ..."));
        } else if let Some(text) = line.strip_prefix("I: ") {
            steps.at(done, total, text);
        }
    })?;
    if said.status.success() { Ok(()) } else { Err(exec::ended_badly("mmdebstrap", said.status, &said.stderr)) }
}
