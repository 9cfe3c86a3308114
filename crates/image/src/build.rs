//! From a lock and the package store to an image: our own unpacking, dpkg's own configuring.
//!
//! ```text
//! open every package ─▶ unpack in parallel: the required ones, and all without a preinst ─▶ dpkg's records
//!   sandbox: preinsts of the required ─▶ configure what the rest pre-depends on ─▶ dpkg unpacks the rest ─▶ configure all
//!   ─▶ the recipe's own files, users, script ─▶ scrub ─▶ erofs ─▶ store
//! ```
//!
//! The required packages' preinsts run after their files are there, as every bootstrapping tool does it: before that there is no shell.
//! All other packages with a preinst are unpacked by dpkg itself, in order, so that diversions, overrides and triggers work as written.

use crate::custom;
use crate::deb::Deb;
use crate::dpkg;
use crate::erofs::{self, Options};
use crate::exec;
use crate::fetch;
use crate::io;
use crate::lockfile::Lock;
use crate::manifest::{Kind, Manifest};
use crate::packages;
use crate::progress::Steps;
use crate::recipe;
use crate::sandbox::Sandbox;
use crate::scrub::{Times, scrub};
use crate::store::Store;
use crate::tree::Tree;
use crate::unpack::{self, Items, MERGED, canonical, in_parallel};
use model::{Digest, Fault};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// A finished tree, before it is packed.
pub struct Built {
    pub tree: Tree,
    pub epoch: u64,
    pub packages: Vec<crate::manifest::Package>,
}

/// Packages of a lock, opened, and how each is to be unpacked.
struct Set {
    debs: Vec<Deb>,
    /// Places of what must be there before any script runs, and all it depends on.
    core: BTreeSet<usize>,
    /// Places of what dpkg itself unpacks.
    late: BTreeSet<usize>,
    /// No package is newer, so no file of one is.
    epoch: u64,
}

impl Set {
    fn open(store: &Store, lock: &Lock) -> Result<Set, Fault> {
        let debs = open_packages(store, lock)?;
        let required = lock.packages.iter().enumerate().filter(|(_, p)| p.required).map(|(n, _)| n).collect();
        let core = dpkg::closure(&debs, required);
        let late = (0..debs.len()).filter(|n| !core.contains(n) && debs[*n].script("preinst").is_some()).collect();
        let epoch = debs.iter().map(|d| d.built).max().unwrap_or(0);
        Ok(Set { debs, core, late, epoch })
    }

    /// The late packages in turns: what is configured first, then what is unpacked. A package that wants another late one configured
    /// before it (python3 its python3-minimal) comes in a later turn than that.
    fn turns(&self) -> Vec<(BTreeSet<usize>, BTreeSet<usize>)> {
        let wants: BTreeMap<usize, BTreeSet<usize>> = self.late.iter().map(|n| (*n, self.wanted_before(*n))).collect();
        let (mut left, mut configured, mut turns) = (self.late.clone(), BTreeSet::<usize>::new(), Vec::new());
        while !left.is_empty() {
            let mut ready: BTreeSet<usize> = left.iter().copied().filter(|n| wants[n].is_disjoint(&left)).collect();
            if ready.is_empty() {
                // A circle: dpkg says best what is wrong with it.
                ready.clone_from(&left);
            }
            let wanted = self.core.iter().chain(ready.iter().flat_map(|n| &wants[n])).copied();
            let first: BTreeSet<usize> = wanted.filter(|n| !left.contains(n) && !configured.contains(n)).collect();
            left.retain(|n| !ready.contains(n));
            configured.extend(&first);
            turns.push((first, ready));
        }
        turns
    }

    /// What a package wants configured before it is unpacked, and all that needs.
    fn wanted_before(&self, n: usize) -> BTreeSet<usize> {
        let names: BTreeSet<&str> = unpack::relations(self.debs[n].field("Pre-Depends")).collect();
        let named = (0..self.debs.len()).filter(|m| *m != n && self.debs[*m].field("Package").is_some_and(|p| names.contains(p)));
        let mut all = dpkg::closure(&self.debs, named.collect());
        all.remove(&n);
        all
    }
}

/// Every package of a lock from the package store; each must be what the lock says it is.
pub(crate) fn open_packages(store: &Store, lock: &Lock) -> Result<Vec<Deb>, Fault> {
    in_parallel(lock.packages.len(), |n| {
        let locked = &lock.packages[n];
        let deb = Deb::open(&fetch::path(store, locked))?;
        let found = (deb.field("Package"), deb.field("Version"));
        if found != (Some(&locked.name), Some(&locked.version)) {
            let text = format!(
                "{} holds {} {}, and the lock says {} {}",
                deb.path().display(),
                found.0.unwrap_or("?"),
                found.1.unwrap_or("?"),
                locked.name,
                locked.version
            );
            return Err(Fault::world("bad-package-file", text).again(false));
        }
        Ok(deb)
    })
}

/// Unpacks, configures, customises and scrubs.
pub fn tree(store: &Store, lock: &Lock, steps: &mut Steps) -> Result<Built, Fault> {
    exec::need_root("building an image")?;
    exec::need(&["setpriv", "unshare", "nsenter", "timeout", erofs::TOOL])?;
    let spec = &lock.head.spec;
    steps.begin("unpack", format!("{} packages", lock.packages.len()));
    let set = Set::open(store, lock)?;
    let packed: u64 = lock.packages.iter().map(|p| p.bytes).sum();
    let tree = Tree::begin(store.work("build")?, packed * 8 + (64 << 20))?;
    let root = tree.path().to_path_buf();
    skeleton(&root, &lock.head.arch)?;
    dpkg::begin(&root, &lock.head.arch)?;
    let early: Vec<&Deb> = set.debs.iter().enumerate().filter(|(n, _)| !set.late.contains(n)).map(|(_, d)| d).collect();
    let items = unpack::unpack_all(&root, &early, &|_| {})?;
    dpkg::record(&root, &early, &items)?;

    steps.begin("configure", "running maintainer scripts");
    let late: Vec<&Deb> = set.late.iter().map(|n| &set.debs[*n]).collect();
    let late_items = std::thread::scope(|scope| {
        // While scripts run on one core, another reads what the late packages bring.
        let reading = scope.spawn(|| in_parallel(late.len(), |n| unpack::listing(late[n])));
        configure(store, &tree, &set, steps)?;
        reading.join().expect("reading a package does not panic")
    })?;
    let installed = packages::installed(&root)?;
    compare(&installed, lock)?;

    if !spec.custom.is_empty() {
        steps.begin("customise", "the recipe's own users, files and script");
        let work = store.work("custom")?;
        custom::apply(&spec.custom, &work, &Sandbox { tree: &tree, packages: work.path(), epoch: set.epoch })?;
    }
    steps.begin("scrub", "taking out what belongs to this machine and moment");
    let shipped = shipped(items.iter().chain(&late_items));
    scrub(&root, &Times { epoch: set.epoch, shipped: Some(&shipped) })?;
    Ok(Built { tree, epoch: set.epoch, packages: installed })
}

fn shipped<'a>(items: impl Iterator<Item = &'a Items>) -> BTreeMap<PathBuf, i64> {
    items.flatten().filter(|i| !i.dir).map(|i| (canonical(&i.path), i.mtime)).collect()
}

/// Directories and links that must be there before the first package.
pub(crate) fn skeleton(root: &Path, arch: &str) -> Result<(), Fault> {
    io::set_mode(root, 0o755)?;
    let merged = MERGED.iter().filter(|(from, _)| *from != "lib64" || matches!(arch, "amd64" | "ppc64el" | "loong64"));
    for (from, to) in merged {
        let dir = root.join(to);
        io::make_dir(&dir)?;
        for path in [root.join("usr"), dir] {
            io::set_mode(&path, 0o755)?;
        }
        let link = root.join(from);
        std::os::unix::fs::symlink(to, &link).map_err(io::at("cannot make the link", &link))?;
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
        io::make_dir(&root.join(dir))?;
        io::set_mode(&root.join(dir), mode)?;
    }
    Ok(())
}

const POLICY: &str = "usr/sbin/policy-rc.d";

fn configure(store: &Store, tree: &Tree, set: &Set, steps: &mut Steps) -> Result<(), Fault> {
    let policy = tree.path().join(POLICY);
    // What starts services asks this first: nothing is started in a sandbox.
    io::make_dir(policy.parent().expect("it lies in a directory"))?;
    std::fs::write(&policy, "#!/bin/sh\nexit 101\n").map_err(io::at("cannot write", &policy))?;
    io::set_mode(&policy, 0o755)?;
    let script = script(set)?;
    let sandbox = Sandbox { tree, packages: &store.dir("packages"), epoch: set.epoch };
    let total = set.debs.len() as u64;
    let mut done = 0;
    let said = sandbox.run(&script, &[], |line| {
        if let Some(what) = line.strip_prefix("Setting up ") {
            done += 1;
            steps.at(done, total, what.trim_end_matches(" ..."));
        }
    })?;
    if !said.status.success() {
        return Err(script_fault(&said));
    }
    io::remove_file(&policy)
}

fn script(set: &Set) -> Result<String, Fault> {
    let mut text = String::from("set -u\nexport DPKG_ADMINDIR=/var/lib/dpkg DPKG_ROOT= DPKG_MAINTSCRIPT_DEBUG=0\n");
    // base-passwd makes the users that the others name.
    let mut first: Vec<&Deb> = set.core.iter().map(|n| &set.debs[*n]).filter(|d| d.script("preinst").is_some()).collect();
    first.sort_by_key(|d| (d.field("Package") != Some("base-passwd"), d.field("Package")));
    for deb in first {
        let (name, arch, info) = (word(deb, "Package")?, word(deb, "Architecture")?, dpkg::info_name(deb));
        let _ = writeln!(
            text,
            "DPKG_MAINTSCRIPT_PACKAGE={name} DPKG_MAINTSCRIPT_ARCH={arch} DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 \
             /var/lib/dpkg/info/{info}.preinst install || {{ echo \"dpkg: error processing package {name} (preinst):\"; exit 1; }}"
        );
    }
    text.push_str("unset DPKG_ADMINDIR DPKG_ROOT DPKG_MAINTSCRIPT_DEBUG\n");
    let dpkg = "dpkg --force-unsafe-io --force-confold";
    for (first, then) in set.turns() {
        let names: Vec<String> = first.iter().map(|n| dpkg::info_name(&set.debs[*n])).collect();
        let files: Vec<String> =
            then.iter().filter_map(|n| set.debs[*n].path().file_name()).map(|f| format!("/tmp/packages/{}", f.to_string_lossy())).collect();
        if !names.is_empty() {
            let _ = writeln!(text, "{dpkg} --configure {} || exit 1", names.join(" "));
        }
        let _ = writeln!(text, "{dpkg} --unpack {} || exit 1", files.join(" "));
    }
    let _ = writeln!(text, "exec {dpkg} --configure -a");
    Ok(text)
}

/// A name that can stand in a shell line as it is.
fn word<'a>(deb: &'a Deb, key: &str) -> Result<&'a str, Fault> {
    let text = deb.field(key).unwrap_or("");
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    plain
        .then_some(text)
        .ok_or_else(|| Fault::world("bad-package-file", format!("{}: its {key} is {text:?}", deb.path().display())).again(false))
}

fn script_fault(said: &exec::Done) -> Fault {
    if said.stderr.contains("No space left on device") {
        return io::disk_full(format!("a maintainer script ran out of disk space:\n{}", said.last_words()));
    }
    let lines: Vec<&str> = said.stderr.lines().collect();
    let at = lines.iter().position(|l| l.starts_with("dpkg: error processing"));
    let Some(at) = at else {
        return exec::ended_badly("dpkg in the sandbox", said.status, &said.stderr);
    };
    let who = lines[at].split_whitespace().nth(4).unwrap_or("?").trim_end_matches(':');
    // What it said itself stands before; why dpkg gave up stands behind.
    let shown = lines[at.saturating_sub(8)..(at + 3).min(lines.len())].join("\n");
    Fault::world("maintainer-script-failed", format!("a script of the package {who} failed:\n{shown}"))
        .hint(format!("take {who} out of the image's packages, or bake with mmdebstrap to see whether it fails there too"))
        .again(false)
}

/// dpkg's own list after the build against the lock.
fn compare(installed: &[crate::manifest::Package], lock: &Lock) -> Result<(), Fault> {
    let there: BTreeSet<(&str, &str)> = installed.iter().map(|p| (p.name.as_str(), p.version.as_str())).collect();
    let wanted: BTreeSet<(&str, &str)> = lock.packages.iter().map(|p| (p.name.as_str(), p.version.as_str())).collect();
    match wanted.symmetric_difference(&there).next() {
        None => Ok(()),
        Some((name, version)) => {
            Err(Fault::ours("lock-not-met", format!("{name} {version} is in the lock or in the tree, and not in both")))
        }
    }
}

/// How every image is packed.
pub fn options(built: &Built) -> Options {
    Options { pack: recipe::PACK, epoch: built.epoch, keep_times: true, plain_owner: false }
}

/// Packs a built tree and puts it into the store.
pub fn emit(store: &Store, lock: &Lock, built: &Built, inputs: &Digest, steps: &mut Steps) -> Result<Manifest, Fault> {
    let spec = &lock.head.spec;
    steps.begin("emit", "packing the erofs volume");
    let packed: u64 = lock.packages.iter().map(|p| p.bytes).sum();
    io::want_space(&store.dir("work"), packed * 3, "the image")?;
    let work = store.work("emit")?;
    let out = work.path().join("image.erofs");
    let (digest, bytes) = erofs::make(built.tree.command(&[], erofs::TOOL), built.tree.inside(), &out, options(built))?;
    if bytes < packed / 2 {
        return Err(Fault::ours("image-too-small", format!("{packed} bytes of packages gave an image of {bytes} bytes")));
    }
    steps.begin("store", digest.short());
    let manifest = Manifest {
        kind: Kind::Image,
        name: spec.name.to_string(),
        digest,
        bytes,
        packages: built.packages.clone(),
        recipe: Some(lock.head.recipe.clone()),
        inputs: inputs.clone(),
        made: io::now(),
        tools: recipe::tools(),
        seconds: steps.so_far(),
        notes: lock
            .head
            .passed
            .iter()
            .map(|line| format!("setting of the machine's apt: {line}"))
            .chain(custom::notes(&spec.custom))
            .collect(),
        source: None,
    };
    store.put(&out, &manifest)?;
    steps.end();
    Ok(manifest)
}
