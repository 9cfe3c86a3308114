//! From a lock and the package store to an image: our own unpacking, dpkg's own configuring.
//!
//! ```text
//! open every package ─▶ unpack in parallel: the required ones, and all without a preinst ─▶ dpkg's records
//!   sandbox: preinsts of the required ─▶ configure what the rest pre-depends on ─▶ dpkg unpacks the rest ─▶ configure all
//!   ─▶ scrub ─▶ further stages, scrubbed each (stages.rs) ─▶ erofs ─▶ store
//! ```
//!
//! The required packages' preinsts run after their files are there, as every bootstrapping tool does it: before that there is no shell.
//! All other packages with a preinst are unpacked by dpkg itself, in order, so that diversions, overrides and triggers work as written.

#![deny(clippy::disallowed_methods, reason = "paths of a tree are resolved in within.rs and nowhere else")]

use crate::base;
use crate::base::{Base, Bases, From, Half};
use crate::configure::configure;
use crate::customise;
use crate::deb::Deb;
use crate::dpkg;
use crate::exposed;
use crate::fetch;
use crate::order::Set;
use crate::packages;
use crate::progress::Steps;
use crate::recipe;
use crate::sandbox::Sandbox;
use crate::scrub;
use crate::scrub::{Times, scrub};
use crate::stages::{Stage, Stages};
use crate::tree::Tree;
use crate::unpack;
use crate::unpack::{Items, MERGED, canonical, in_parallel};
use disk::files;
use disk::within::Root;
use guard::waiver::Waiver;
use model::{Digest, Fault};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use store::Store;
use store::erofs;
use store::lockfile::{Lock, Locked};
use store::manifest::{Kind, Manifest, Package};
use store::program;

/// A finished tree, before it is packed.
pub struct Built {
    pub tree: Tree,
    pub epoch: u64,
    pub packages: Vec<Package>,
    /// The kept tree that was begun with, or made on the way.
    pub base: Option<Base>,
    pub notes: Vec<String>,
}

/// All stages of a lock, one after another.
struct Build<'a> {
    store: &'a Store,
    lock: &'a Lock,
    stages: Stages<'a>,
    bases: Bases,
    /// By level: no package up to there is newer, so no file of one is.
    epochs: Vec<u64>,
    /// Bytes that the packages say they take when they are unpacked.
    told: u64,
    base: Option<Base>,
    notes: Vec<String>,
}

/// The finished tree of a lock. It may begin with a kept one; [`Bases::Without`] shows what comes of nothing.
pub fn tree(store: &Store, lock: &Lock, bases: Bases, steps: &mut Steps) -> Result<Built, Fault> {
    let mut build = Build::of(store, lock, bases)?;
    build.tree(steps)
}

impl<'a> Build<'a> {
    fn of(store: &'a Store, lock: &'a Lock, bases: Bases) -> Result<Self, Fault> {
        program::need_root("building an image")?;
        program::need(&["setpriv", "unshare", "nsenter", "timeout", erofs::TOOL])?;
        let stages = Stages::of(lock);
        let seen = in_parallel(lock.packages.len(), |n| {
            let deb = Deb::open(&fetch::path(store, &lock.packages[n]))?;
            Ok((deb.built, deb.installed_bytes()))
        })?;
        let newest = |level| lock.packages.iter().zip(&seen).filter(|(p, _)| p.level <= level).map(|(_, (b, _))| *b).max().unwrap_or(0);
        let epochs = (0..).take(lock.head.spec.levels().len()).map(newest).collect();
        let told = seen.iter().map(|(_, bytes)| *bytes).fold(0, u64::saturating_add);
        Ok(Self { store, lock, stages, bases, epochs, told, base: None, notes: Vec::new() })
    }

    fn tree(&mut self, steps: &mut Steps) -> Result<Built, Fault> {
        let Half { tree, epoch, packages } = self.reach(self.stages.all.len(), steps)?;
        Ok(Built { tree, epoch, packages, base: self.base.take(), notes: std::mem::take(&mut self.notes) })
    }

    /// The tree after the first `end` stages.
    fn reach(&mut self, end: usize, steps: &mut Steps) -> Result<Half, Fault> {
        let kept = self.stages.kept.iter().copied().filter(|k| *k < end).max().unwrap_or(0);
        // One that another image left may be further on than what this one would keep.
        let beyond = (kept + 1..end).rev().find_map(|done| Some((done, self.taken(done, steps)?)));
        let (mut half, begun) = match beyond {
            Some((done, half)) => (Some(half), done),
            None if kept > 0 => (Some(self.base(kept, steps)?), kept),
            None => (None, 0),
        };
        for stage in self.stages.all[begun..end].iter().copied() {
            half = Some(self.stage(half, stage, steps)?);
        }
        half.ok_or_else(|| Fault::ours("no-stage", "a build has no stage"))
    }

    /// As [`Build::reach`], and the tree is in the store afterwards. Of several who want the same one at once, one makes it.
    fn base(&mut self, done: usize, steps: &mut Steps) -> Result<Half, Fault> {
        if self.bases == Bases::Without {
            return self.reach(done, steps);
        }
        let _alone = self.alone(done, steps)?;
        if let Some(half) = self.taken(done, steps) {
            return Ok(half);
        }
        let before = base::find(self.store, &self.stages, done);
        let half = self.reach(done, steps)?;
        steps.begin("keep", format!("{}, for the next image", self.stages.name(done)));
        let made = base::keep(self.store, &self.stages, done, &half)?;
        if let Some(before) = before.filter(|b| b.digest != made.digest) {
            self.notes
                .push(format!("the kept base {} was not what a build from nothing gives: {} is in its place", before.digest, made.digest));
        }
        self.base = Some(made);
        Ok(half)
    }

    /// Always taken for more stages before it is taken for fewer, so that no two wait for each other.
    fn alone(&self, done: usize, steps: &mut Steps) -> Result<disk::lock::Lock, Fault> {
        let name = format!("base-{}", self.stages.key(done).short());
        self.store.lock(&name, || steps.begin("wait", format!("another bake makes {}", self.stages.name(done))))
    }

    /// A copy of the kept tree after `done` stages. What is wrong with it is reported, and it is not used.
    fn taken(&mut self, done: usize, steps: &mut Steps) -> Option<Half> {
        if self.bases != Bases::Use {
            return None;
        }
        let kept = base::find(self.store, &self.stages, done)?;
        let name = self.stages.name(done);
        steps.begin("base", format!("{name}: {} from the store", kept.digest.short()));
        match base::take(self.store, &kept, self.room()) {
            Ok(tree) => {
                self.base = Some(Base { digest: kept.digest, name, from: From::Store });
                let level = self.stages.all[done - 1].level();
                Some(Half { tree, epoch: self.epochs[level as usize], packages: kept.packages })
            }
            Err(fault) => {
                steps.at(0, 0, format!("it cannot be used, {}: building from nothing", fault.message));
                self.notes.push(format!("the kept base {} could not be used: {}", kept.digest, fault.message));
                None
            }
        }
    }

    /// Bytes a tree of these packages may need: what they say, or what is usual where they say less.
    fn room(&self) -> u64 {
        self.told.saturating_add(self.told / 4).max(packed(self.lock).saturating_mul(8)).saturating_add(64 << 20)
    }

    fn stage(&self, half: Option<Half>, stage: Stage, steps: &mut Steps) -> Result<Half, Fault> {
        match (stage, half) {
            (Stage::Packages(0), _) => self.first(steps),
            (Stage::Packages(level), Some(half)) => self.further(half, level, steps),
            (Stage::Custom(level), Some(half)) => self.custom(half, level, steps),
            (_, None) => Err(Fault::ours("no-stage", "a build begins with packages")),
        }
    }

    /// The packages of the lowest base, where there is nothing yet.
    fn first(&self, steps: &mut Steps) -> Result<Half, Fault> {
        let packages: Vec<&Locked> = self.stages.packages(0).collect();
        let epoch = self.epochs[0];
        steps.begin("unpack", format!("{} packages", packages.len()));
        let set = Set::open(self.store, &packages, epoch, true)?;
        let tree = Tree::begin(self.store.work("build")?, self.room())?;
        match self.fill(&tree, &set, &packages, steps) {
            Ok(installed) => Ok(Half { tree, epoch, packages: installed }),
            Err(fault) => Err(tree.explain(fault)),
        }
    }

    fn fill(&self, tree: &Tree, set: &Set, packages: &[&Locked], steps: &mut Steps) -> Result<Vec<Package>, Fault> {
        let root = tree.root()?;
        skeleton(&root, &self.lock.head.arch)?;
        dpkg::begin(&root, &self.lock.head.arch)?;
        let early: Vec<&Deb> = set.debs.iter().enumerate().filter(|(n, _)| !set.late.contains(n)).map(|(_, d)| d).collect();
        let items = unpack::unpack_all(&root, &early, &|_| {})?;
        dpkg::record(&root, &early, &items)?;

        steps.begin("configure", "running maintainer scripts");
        let late_items = configure_and_list(self.store, tree, set, steps)?;
        let installed = packages::installed(&root)?;
        compare(&installed, packages, packages)?;
        steps.begin("scrub", "taking out what belongs to this machine and moment");
        scrub(&root, &Times { epoch: set.epoch, shipped: Some(&shipped(items.iter().chain(&late_items))) })?;
        Ok(installed)
    }

    /// Further packages, where dpkg can do all of it: there are few of them, and its triggers are for the files of those that are there.
    fn further(&self, half: Half, level: u32, steps: &mut Steps) -> Result<Half, Fault> {
        let packages: Vec<&Locked> = self.stages.packages(level).collect();
        let epoch = self.epochs[level as usize];
        steps.begin("configure", format!("{} further packages", packages.len()));
        let mut times = scrub::times(&half.tree.root()?)?;
        let set = Set::open(self.store, &packages, epoch, false)?;
        let items = configure_and_list(self.store, &half.tree, &set, steps).map_err(|f| half.tree.explain(f))?;
        times.extend(shipped(items.iter()));
        let installed = packages::installed(&half.tree.root()?)?;
        compare(&installed, &packages, &self.stages.packages_up_to(level).collect::<Vec<_>>())?;
        steps.begin("scrub", "taking out what belongs to this machine and moment");
        scrub(&half.tree.root()?, &Times { epoch, shipped: Some(&times) })?;
        Ok(Half { epoch, packages: installed, ..half })
    }

    fn custom(&self, half: Half, level: u32, steps: &mut Steps) -> Result<Half, Fault> {
        let epoch = self.epochs[level as usize];
        steps.begin("customise", "the recipe's own users, files and script");
        let times = scrub::times(&half.tree.root()?)?;
        let work = self.store.work("custom")?;
        customise::apply(self.stages.custom(level), &work, &Sandbox { tree: &half.tree, packages: work.path(), epoch })
            .map_err(|f| half.tree.explain(f))?;
        steps.begin("scrub", "taking out what belongs to this machine and moment");
        scrub(&half.tree.root()?, &Times { epoch, shipped: Some(&times) })?;
        Ok(Half { epoch, ..half })
    }
}

fn packed(lock: &Lock) -> u64 {
    lock.packages.iter().map(|p| p.bytes).sum()
}

/// Configures, and says what the late packages brought.
fn configure_and_list(store: &Store, tree: &Tree, set: &Set, steps: &mut Steps) -> Result<Vec<Items>, Fault> {
    let late: Vec<&Deb> = set.late.iter().map(|n| &set.debs[*n]).collect();
    std::thread::scope(|scope| {
        // While scripts run on one core, another reads what the late packages bring.
        let reading = scope.spawn(|| in_parallel(late.len(), |n| unpack::listing(late[n])));
        configure(store, tree, set, steps)?;
        reading.join().expect("reading a package does not panic")
    })
}

fn shipped<'a>(items: impl Iterator<Item = &'a Items>) -> BTreeMap<PathBuf, i64> {
    items.flatten().filter(|i| !i.dir).map(|i| (canonical(&i.path), i.mtime)).collect()
}

/// Directories and links that must be there before the first package.
pub fn skeleton(root: &Root, arch: &str) -> Result<(), Fault> {
    root.set_mode(Path::new(""), 0o755)?;
    let merged = MERGED.iter().filter(|(from, _)| *from != "lib64" || matches!(arch, "amd64" | "ppc64el" | "loong64"));
    for (from, to) in merged {
        root.make_dir(Path::new(to))?;
        for path in ["usr", to] {
            root.set_mode(Path::new(path), 0o755)?;
        }
        root.symlink(to, Path::new(from))?;
    }
    for (dir, mode) in [
        ("dev", 0o755),
        ("proc", 0o755),
        ("sys", 0o755),
        ("run", 0o755),
        ("tmp", 0o1777),
        ("etc", 0o755),
        ("var", 0o755),
        ("var/lib", 0o755),
    ] {
        root.make_dir(Path::new(dir))?;
        root.set_mode(Path::new(dir), mode)?;
    }
    Ok(())
}

/// dpkg's own list against the lock: what was to come is there, and nothing that is not locked. A script of a base may have removed others.
fn compare(installed: &[Package], come: &[&Locked], locked: &[&Locked]) -> Result<(), Fault> {
    fn names<'a>(of: &[&'a Locked]) -> BTreeSet<(&'a str, &'a str)> {
        of.iter().map(|p| (p.name.as_str(), p.version.as_str())).collect()
    }
    let there: BTreeSet<(&str, &str)> = installed.iter().map(|p| (p.name.as_str(), p.version.as_str())).collect();
    let (missing, locked) = (names(come), names(locked));
    match missing.difference(&there).chain(there.difference(&locked)).next() {
        None => Ok(()),
        Some((name, version)) => {
            Err(Fault::ours("lock-not-met", format!("{name} {version} is in the lock or in the tree, and not in both")))
        }
    }
}

/// An image of a lock in the store, made unless the very same tree is there for another one.
/// `waivers`: of what is exposed in it.
pub fn image(
    store: &Store,
    lock: &Lock,
    inputs: &Digest,
    (bases, waivers): (Bases, &[Waiver]),
    steps: &mut Steps,
) -> Result<(Manifest, Option<Base>), Fault> {
    let mut build = Build::of(store, lock, bases)?;
    let whole = build.stages.all.len();
    let _alone = build.alone(whole, steps)?;
    if bases == Bases::Use
        && let Some(there) = base::find(store, &build.stages, whole)
    {
        steps.begin("base", format!("{} is the whole of it already", there.digest.short()));
        // It was kept for other images, or another image was made of it under waivers of its own.
        let tree = base::take(store, &there, build.room())?;
        let root = tree.root()?;
        let notes = exposed::refuse(&lock.head.spec.name, tree.path(), waivers, &mut |path| Some(exposed::origin(&root, path)))?;
        let used = Base { digest: there.digest.clone(), name: build.stages.name(whole), from: From::Store };
        let mut manifest = manifest(lock, there.digest, there.bytes, there.packages, inputs, steps.so_far());
        manifest.notes.extend(notes);
        store.note(&manifest)?;
        store.remember(inputs, &manifest.digest)?;
        return Ok((manifest, Some(used)));
    }
    let mut built = build.tree(steps)?;
    steps.begin("scan", "for secrets, and for programs of root's that everybody can change");
    let root = built.tree.root()?;
    let origin = &mut |path: &str| Some(exposed::origin(&root, path));
    built.notes.extend(exposed::refuse(&lock.head.spec.name, built.tree.path(), waivers, origin)?);
    let manifest = emit(store, lock, &built, inputs, steps)?;
    store.remember(&build.stages.key(whole), &manifest.digest)?;
    Ok((manifest, built.base))
}

/// Packs a built tree and puts it into the store.
pub fn emit(store: &Store, lock: &Lock, built: &Built, inputs: &Digest, steps: &mut Steps) -> Result<Manifest, Fault> {
    steps.begin("emit", "packing the erofs volume");
    let packed = packed(lock);
    files::want_space(&store.dir("work"), packed * 3, "the image")?;
    let work = store.work("emit")?;
    let out = work.path().join("image.erofs");
    let (digest, bytes) = erofs::make(built.tree.command(&[], erofs::TOOL), built.tree.inside(), &out, erofs::of_image(built.epoch))?;
    if bytes < packed / 2 {
        return Err(Fault::ours("image-too-small", format!("{packed} bytes of packages gave an image of {bytes} bytes")));
    }
    steps.begin("store", digest.short());
    let mut manifest = manifest(lock, digest, bytes, built.packages.clone(), inputs, steps.so_far());
    manifest.notes.extend(built.notes.iter().cloned());
    store.put(&out, &manifest)?;
    steps.end();
    Ok(manifest)
}

fn manifest(lock: &Lock, digest: Digest, bytes: u64, packages: Vec<Package>, inputs: &Digest, seconds: Vec<(String, f64)>) -> Manifest {
    let passed = lock.head.passed.iter().map(|line| format!("setting of the machine's apt: {line}"));
    let of_bases = lock.head.spec.levels();
    let of_bases = of_bases.iter().rev().skip(1).flat_map(|base| {
        let on = format!("it stands on the image {}", base.name);
        std::iter::once(on).chain(customise::notes(&base.custom).into_iter().map(|note| format!("{}: {note}", base.name)))
    });
    Manifest {
        kind: Kind::Image,
        name: lock.head.spec.name.to_string(),
        digest,
        bytes,
        packages,
        recipe: Some(lock.head.recipe.clone()),
        inputs: inputs.clone(),
        made: files::now(),
        tools: recipe::tools(),
        seconds,
        notes: passed.chain(customise::notes(&lock.head.spec.custom)).chain(of_bases).collect(),
        source: None,
        container: None,
    }
}
