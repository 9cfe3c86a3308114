//! From a recipe to an image in the store, all steps in a row; each also stands alone.
//!
//! ```text
//! check tools, rights ─▶ update (what do the mirrors sign now?) ─▶ same as once before? ─▶ the lock it gave then
//!                          └▶ lock (which packages, which bytes) ─▶ an image of this lock is there? ─▶ nothing
//!                               └▶ fetch ─▶ unpack ─▶ configure ─▶ scrub ─▶ emit ─▶ store ─▶ attest
//! ```

use crate::apt::{self, Apt, Traffic};
use crate::baked::{Baked, Options, finish, key};
use crate::base::Bases;
use crate::container;
use crate::fetch::Fetched;
use crate::packages;
use crate::progress::{Progress, Steps};
use crate::rebuild;
use crate::recipe;
use disk::files;
use model::{Digest, Fault, ImageSpec, Time};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use store::erofs;
use store::lockfile::{Head, Index, Lock, Locked};
use store::manifest::Manifest;
use store::program;
use store::{Did, Store};

/// Bakes the image unless one from the same inputs is there, and makes it the recipe's current one, unless it is bad or revoked. One
/// whose recipe has checks is given over to the control plane first, which runs them.
pub fn bake(store: &Store, spec: &ImageSpec, tell: &mut dyn FnMut(Progress)) -> Result<Baked, Fault> {
    bake_with(store, spec, &Options::default(), tell)
}

/// As [`bake`], but bakes also when nothing is new.
pub fn bake_fresh(store: &Store, spec: &ImageSpec, tell: &mut dyn FnMut(Progress)) -> Result<Baked, Fault> {
    bake_with(store, spec, &Options { fresh: true, ..Options::default() }, tell)
}

pub fn bake_with(store: &Store, spec: &ImageSpec, options: &Options, tell: &mut dyn FnMut(Progress)) -> Result<Baked, Fault> {
    if let Some(source) = &spec.oci {
        return container::bake(store, spec, source, options, tell);
    }
    let mut steps = Steps::new(tell);
    steps.begin("check", "tools and rights");
    need_tools()?;
    recipe::check(spec)?;
    let own = recipe::digest(spec);
    let _alone = store.lock(&format!("bake-{}", own.short()), || steps.begin("wait", "another bake of this recipe is running"))?;

    let asked = ask(store, spec, &mut steps)?;
    let (lock, known) = lock_of(store, spec, &asked, !options.fresh, &mut steps)?;
    let inputs = lock.digest();
    lock.write(&store.lock_path(&inputs))?;
    if !options.fresh
        && let Some(there) = store.from_inputs(&inputs)?
    {
        let why = if known { SAME_INDEXES } else { "the indexes are newer, but every package of it is the same" };
        let there = heal(store, options, there, &mut steps)?;
        return finish(store, spec, options, (there, None), (Did::Nothing, why), (asked.at, asked.notes), steps);
    }
    // Until it is let go, every other bake waits for it.
    drop(asked.apt);
    steps.begin("fetch", "packages that are not in the store");
    crate::fetch::fetch(store, &lock, &mut steps)?;
    let bases = if options.fresh { Bases::Renew } else { Bases::Use };
    let (mut manifest, base) = crate::build::image(store, &lock, &inputs, (bases, &options.waivers), &mut steps)?;
    rebuild::note(store, &lock, &mut manifest, &mut steps)?;
    steps.begin("attest", "what is in it, where it came from, who says so");
    attest::attest(store, &lock, &manifest, &key(store, options)?)?;
    let why = if options.fresh { "it was asked for afresh" } else { "there was no image of these packages" };
    finish(store, spec, options, (manifest, base), (Did::Baked, why), (asked.at, asked.notes), steps)
}

/// A bake that was killed before its last step is ended, and papers that were damaged since are made again.
fn heal(store: &Store, options: &Options, mut there: Manifest, steps: &mut Steps) -> Result<Manifest, Fault> {
    if !attest::statement::is_whole(store, &there.digest)
        && let Ok(lock) = store.lock_of(&there.digest)
    {
        rebuild::note(store, &lock, &mut there, steps)?;
        attest::attest(store, &lock, &there, &key(store, options)?)?;
    }
    Ok(there)
}

const SAME_INDEXES: &str = "the mirrors' signed indexes are ones that gave this image before";

/// What the mirrors say now.
struct Asked {
    apt: Apt,
    at: Time,
    sequence: u64,
    releases: Vec<crate::index_files::Release>,
    traffic: Traffic,
    /// What a reader should know of them.
    notes: Vec<String>,
    /// Of the recipe and everything the mirrors signed.
    signed: Digest,
}

fn ask(store: &Store, spec: &ImageSpec, steps: &mut Steps) -> Result<Asked, Fault> {
    steps.begin("update", "asking the mirrors what is new");
    let apt = Apt::open(store, apt::sources_of(store, &spec.debian, &spec.custom)?)?;
    if let Some(line) = apt.passed.iter().find(|l| l.contains("::Check-") && l.contains("false")) {
        steps.at(0, 0, format!("this machine's apt is configured not to check how old an index is: {line}"));
    }
    // The moment before: what came to the mirrors since is not known.
    let at = files::now();
    let (releases, traffic, notes) = apt.update(store)?;
    let sequence = store.next_sequence()?;
    notes.iter().for_each(|note| steps.begin("update", note));
    steps.at(0, 0, format!("{} unchanged, {} fetched ({} bytes)", traffic.same, traffic.fetched, traffic.bytes));
    let signed = recipe::digest_of_lines("release", &recipe::digest(spec), releases.iter().map(|r| format!("{} {}", r.file, r.digest)));
    Ok(Asked { apt, at, sequence, releases, traffic, notes, signed })
}

/// The same signed indexes and the same recipe give the same lock: no list is read and nothing resolved for that. True: so it was.
fn lock_of(store: &Store, spec: &ImageSpec, asked: &Asked, may_know: bool, steps: &mut Steps) -> Result<(Lock, bool), Fault> {
    let known = may_know.then(|| store.lock_of_signed(&asked.signed)).flatten();
    if let Some(lock) = known.filter(|l| l.head.recipe == recipe::digest(spec) && l.head.debian == spec.debian) {
        let head = Head { spec: spec.clone(), asked: asked.at, sequence: asked.sequence, ..lock.head };
        return Ok((Lock { head, ..lock }, true));
    }
    let lock = choose(store, spec, asked, steps)?;
    store.remember_signed(&asked.signed, &lock.digest())?;
    Ok((lock, false))
}

fn choose(store: &Store, spec: &ImageSpec, asked: &Asked, steps: &mut Steps) -> Result<Lock, Fault> {
    steps.begin("lock", "choosing packages");
    let lists = packages::read_lists(&asked.apt.lists())?;
    let mut required = packages::required(&lists)?;
    required.insert("apt".to_string());
    let mut all: BTreeMap<String, Locked> = BTreeMap::new();
    for (level, spec) in (0u32..).zip(spec.levels()) {
        if level > 0 && spec.packages.iter().all(|p| all.contains_key(p)) {
            continue;
        }
        // All that a base has is asked for by name: it is there before what is built on it.
        let names: BTreeSet<&String> = required.iter().chain(all.keys()).chain(&spec.packages).collect();
        let resolved = asked.apt.resolve(&names.into_iter().cloned().collect::<Vec<_>>());
        let mut wanted = resolved.map_err(|fault| upon_base(fault, spec))?;
        if let Some(other) = all.values().find(|l| !wanted.iter().any(|w| w.sha256 == l.sha256)) {
            let base = spec.base.as_ref().map_or("", |base| base.name.as_str());
            let text = format!("the packages of {} want another {} than its base {base} has", spec.name, other.name);
            return Err(Fault::yours("packages-conflict", text).hint("take that package out of one of the two, or build without a base"));
        }
        wanted.retain(|w| !all.values().any(|l| l.sha256 == w.sha256));
        for one in locked(&lists, &wanted, &required)? {
            all.insert(one.name.clone(), Locked { level, ..one });
        }
    }
    let head = Head { sequence: asked.sequence, ..head(spec, recipe::digest(spec), &asked.apt, &asked.releases, asked.at) };
    let lock = Lock { head, packages: all.into_values().collect() };
    lock.write(&store.lock_path(&lock.digest()))?;
    Ok(lock)
}

/// Who reads that packages do not go together looks for them in one image.
fn upon_base(fault: Fault, spec: &ImageSpec) -> Fault {
    match &spec.base {
        Some(base) if fault.code == "packages-conflict" => {
            let message = format!("the packages of {} and those of its base {}: {}", spec.name, base.name, fault.message);
            Fault { message, ..fault }.hint("take one of them out, or build without a base")
        }
        _ => fault,
    }
}

/// What apt chose, as the signed lists describe it. By name.
pub fn locked(lists: &BTreeMap<String, Vec<u8>>, wanted: &[apt::Wanted], required: &BTreeSet<String>) -> Result<Vec<Locked>, Fault> {
    let name_of = |w: &apt::Wanted| w.file.split('_').next().unwrap_or("").to_string();
    let names: BTreeSet<String> = wanted.iter().map(name_of).collect();
    let sums: BTreeSet<&str> = wanted.iter().map(|w| w.sha256.as_str()).collect();
    let found = packages::find(lists, &names, &sums);
    let mut locked: BTreeMap<String, Locked> = BTreeMap::new();
    for w in wanted {
        let stands: &[_] = found.get(w.sha256.as_str()).map_or(&[], Vec::as_slice);
        let Some((_, p)) = stands.first() else {
            return Err(Fault::ours("not-in-index", format!("apt wants {} and no index has its sum", w.url)));
        };
        let get = |key: &str| p.get(key).unwrap_or("").to_string();
        // Of the lists that have it, the one people ask about: security first.
        let suite = stands
            .iter()
            .map(|(list, _)| packages::suite_of(list))
            .min_by_key(|s| (!s.contains("security"), !s.contains("updates"), s.to_string()));
        let one = Locked {
            name: get("Package"),
            version: get("Version"),
            arch: get("Architecture"),
            suite: suite.unwrap_or_default().to_string(),
            bytes: w.bytes,
            sha256: w.sha256.clone(),
            url: w.url.clone(),
            source: p.get("Source").map(str::to_string),
            required: required.contains(&get("Package")),
            level: 0,
        };
        if let Some(twice) = locked.insert(one.name.clone(), one) {
            return Err(Fault::yours("two-of-one", format!("{} would be installed twice", twice.name))
                .hint("foreign architectures are not for images"));
        }
    }
    Ok(locked.into_values().collect())
}

/// Ubuntu gives every pocket the code name of its release, so that it is taken from where the index lies; but `stable` is known by its code name.
fn suite(file: &str, codename: Option<String>) -> String {
    let (place, codename) = (packages::suite_of(file), codename.unwrap_or_default());
    if place.starts_with(&codename) { place.to_string() } else { codename }
}

/// `asked`: the moment before the mirrors were.
pub fn head(spec: &ImageSpec, recipe: Digest, apt: &Apt, releases: &[crate::index_files::Release], asked: Time) -> Head {
    let get = |r: &crate::index_files::Release, key: &str| r.fields.get(key).cloned();
    let indexes = releases.iter().map(|r| Index {
        origin: get(r, "Origin").unwrap_or_default(),
        suite: suite(&r.file, get(r, "Codename")),
        date: get(r, "Date").unwrap_or_default(),
        valid_until: get(r, "Valid-Until"),
        digest: r.digest.clone(),
    });
    Head {
        lock: 1,
        debian: spec.debian.clone(),
        arch: apt.arch.clone(),
        recipe,
        spec: spec.clone(),
        asked,
        sequence: 0,
        indexes: indexes.collect(),
        passed: apt.passed.clone(),
    }
}

/// The lock step alone: asks the mirrors, chooses, and keeps the lock in the store.
pub fn lock(store: &Store, spec: &ImageSpec, tell: &mut dyn FnMut(Progress)) -> Result<Lock, Fault> {
    Ok(look(store, spec, tell)?.lock)
}

/// What a look at the mirrors gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    pub lock: Lock,
    /// The signed indexes are ones that were seen before: nothing was read or resolved.
    pub same_indexes: bool,
    pub traffic: Traffic,
}

/// As [`lock`], and tells what it took.
pub fn look(store: &Store, spec: &ImageSpec, tell: &mut dyn FnMut(Progress)) -> Result<Looked, Fault> {
    recipe::check(spec)?;
    if spec.oci.is_some() {
        return Err(store::no_lock(&spec.name));
    }
    let mut steps = Steps::new(tell);
    let asked = ask(store, spec, &mut steps)?;
    let (lock, same_indexes) = lock_of(store, spec, &asked, true, &mut steps)?;
    Ok(Looked { lock, same_indexes, traffic: asked.traffic })
}

/// The fetch step alone.
pub fn fetch(store: &Store, lock: &Lock, tell: &mut dyn FnMut(Progress)) -> Result<Fetched, Fault> {
    let mut steps = Steps::new(tell);
    steps.begin("fetch", "packages that are not in the store");
    crate::fetch::fetch(store, lock, &mut steps)
}

/// The build step alone: unpack, configure, scrub, pack, store. An image of this lock that is there already is not built again.
pub fn build(store: &Store, lock: &Lock, tell: &mut dyn FnMut(Progress)) -> Result<(Manifest, Did), Fault> {
    let spec = &lock.head.spec;
    recipe::check(spec)?;
    if lock.head.recipe != recipe::digest(spec) {
        return Err(Fault::yours("other-recipe", "the recipe in this lock is not the one it was made for").hint("lock again"));
    }
    need_tools()?;
    lock.write(&store.lock_path(&lock.digest()))?;
    let inputs = lock.digest();
    if let Some(there) = store.from_inputs(&inputs)? {
        return Ok((there, Did::Nothing));
    }
    let mut steps = Steps::new(tell);
    let (mut manifest, _) = crate::build::image(store, lock, &inputs, (Bases::Use, &[]), &mut steps)?;
    rebuild::note(store, lock, &mut manifest, &mut steps)?;
    Ok((manifest, Did::Baked))
}

/// Rights and programs, asked for before any work.
pub fn need_tools() -> Result<(), Fault> {
    program::need_root("baking an image")?;
    program::need(&["apt-get", "dpkg", erofs::TOOL, "setpriv", "unshare", "nsenter", "timeout"])
}

/// How far an image is behind what its suites have now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchState {
    /// When the mirrors were asked.
    pub as_of: Time,
    /// Name, version in the image, newest version.
    pub behind: Vec<(String, String, String)>,
    pub is_patched: bool,
}

/// Asks the mirrors and compares: patched means that every package is the newest candidate of its suites.
pub fn patch_state(store: &Store, digest: &Digest, tell: &mut dyn FnMut(Progress)) -> Result<PatchState, Fault> {
    let old = store.lock_of(digest)?;
    let new = lock(store, &old.head.spec, tell)?;
    let newest: BTreeMap<&str, &str> = new.packages.iter().map(|p| (p.name.as_str(), p.version.as_str())).collect();
    let behind: Vec<_> = old
        .packages
        .iter()
        .filter_map(|p| {
            newest.get(p.name.as_str()).filter(|v| **v != p.version).map(|v| (p.name.clone(), p.version.clone(), (*v).to_string()))
        })
        .collect();
    Ok(PatchState { as_of: new.head.asked, is_patched: behind.is_empty() && new.packages.len() == old.packages.len(), behind })
}
