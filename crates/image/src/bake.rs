//! From a recipe to an image in the store.
//!
//! ```text
//! check tools, rights ─▶ update (what do the mirrors sign now?) ─▶ same as last time? ─▶ nothing
//!                                     └▶ lock (which packages, which bytes) ─▶ same? ─▶ nothing
//!                                              └▶ build ─▶ scrub ─▶ emit ─▶ store
//! ```

use crate::apt::{self, Apt, Release, Wanted};
use crate::erofs::{self, Options, Pack};
use crate::exec;
use crate::io;
use crate::manifest::{Kind, Manifest, Package};
use crate::packages;
use crate::progress::{Progress, Steps};
use crate::scrub::scrub;
use crate::sources;
use crate::store::Store;
use crate::tree::Tree;
use model::{Digest, Fault, ImageName, ImageSpec};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Grows when the same recipe and packages give other bytes: old images are then not taken for new ones.
const FORMAT: u32 = 1;
/// The default level of lz4hc: twice as slow as lz4 to make, a tenth smaller, as quick to read.
const LEVEL: u32 = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Did {
    /// The object was there already, from the same inputs.
    Nothing,
    Baked,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baked {
    pub image: ImageName,
    pub digest: Digest,
    pub did: Did,
    /// Why nothing was done, or what was.
    pub why: String,
    pub bytes: u64,
    pub packages: Vec<Package>,
    /// Seconds by step, of this call.
    pub steps: Vec<(String, f64)>,
}

/// Bakes the image unless one from the same inputs is there, and makes it the recipe's current one.
pub fn bake(store: &Store, spec: &ImageSpec, tell: &mut dyn FnMut(Progress)) -> Result<Baked, Fault> {
    run(store, spec, false, tell)
}

/// As [`bake`], but bakes also when nothing is new.
pub fn bake_fresh(store: &Store, spec: &ImageSpec, tell: &mut dyn FnMut(Progress)) -> Result<Baked, Fault> {
    run(store, spec, true, tell)
}

fn run(store: &Store, spec: &ImageSpec, fresh: bool, tell: &mut dyn FnMut(Progress)) -> Result<Baked, Fault> {
    let mut steps = Steps::new(tell);
    steps.begin("check", "tools and rights");
    exec::need_root("baking an image")?;
    exec::need(&["mmdebstrap", erofs::TOOL, "setpriv", "unshare", "nsenter"])?;
    check_recipe(spec)?;
    let recipe = recipe_digest(spec);
    let _alone =
        store.lock(&format!("bake-{}", recipe.short()), || steps.at(0, 0, "another bake of this recipe is running: waiting for it"))?;

    steps.begin("update", "asking the mirrors what is new");
    let (all, own) = apt::machine_sources()?;
    let chosen = sources::of_release(&all, &spec.debian, own.as_deref());
    if chosen.is_empty() {
        return Err(Fault::yours("no-sources", format!("this machine's apt sources have none for {}", spec.debian))
            .hint("use the release this machine runs, or add its mirror under /etc/apt/sources.list.d"));
    }
    let apt = Apt::open(store, chosen)?;
    let releases = apt.update()?;
    let signed = digest_of_lines("release", &recipe, releases.iter().map(|r| format!("{} {}", r.file, r.digest)));
    if !fresh && let Some(there) = store.from_inputs(&signed)? {
        return nothing(store, spec, there, "the mirrors' signed indexes are the ones it was baked from", steps);
    }

    steps.begin("lock", "choosing packages");
    let mut names = packages::required(&apt.lists())?;
    names.insert("apt".to_string());
    names.extend(spec.packages.iter().cloned());
    let wanted = apt.resolve(&names.into_iter().collect::<Vec<_>>())?;
    let locked = digest_of_lines("lock", &recipe, wanted.iter().map(|w| format!("{} {}", w.file, w.sha256)));
    if !fresh && let Some(there) = store.from_inputs(&locked)? {
        store.remember(&signed, &there.digest)?;
        return nothing(store, spec, there, "the indexes are newer, but every package of it is the same", steps);
    }
    let manifest = build(store, spec, &Inputs { recipe, locked, apt: &apt, releases: &releases, wanted: &wanted }, &mut steps)?;
    store.remember(&signed, &manifest.digest)?;
    store.set_current(&spec.name, &manifest.digest)?;
    Ok(Baked {
        image: spec.name.clone(),
        digest: manifest.digest,
        did: Did::Baked,
        why: if fresh { "it was asked for afresh" } else { "there was no image of these packages" }.to_string(),
        bytes: manifest.bytes,
        packages: manifest.packages,
        steps: steps.finish(),
    })
}

fn nothing(store: &Store, spec: &ImageSpec, there: Manifest, why: &str, steps: Steps) -> Result<Baked, Fault> {
    store.set_current(&spec.name, &there.digest)?;
    Ok(Baked {
        image: spec.name.clone(),
        digest: there.digest,
        did: Did::Nothing,
        why: why.to_string(),
        bytes: there.bytes,
        packages: there.packages,
        steps: steps.finish(),
    })
}

struct Inputs<'a> {
    recipe: Digest,
    locked: Digest,
    apt: &'a Apt,
    releases: &'a [Release],
    wanted: &'a [Wanted],
}

fn build(store: &Store, spec: &ImageSpec, inputs: &Inputs, steps: &mut Steps) -> Result<Manifest, Fault> {
    let packed: u64 = inputs.wanted.iter().map(|w| w.bytes).sum();
    // A .deb unpacks to three or four times its size; a compressed image is about twice the .debs.
    io::want_space(&store.dir("work"), packed * 3, "the image")?;
    let work = store.work("bake")?;
    let out = work.path().join("image.erofs");
    let tree = Tree::begin(work, packed * 8)?;
    let epoch = inputs.releases.iter().filter_map(|r| r.fields.get("Date").and_then(|d| parse_date(d))).max().unwrap_or(0);

    steps.begin("build", "mmdebstrap");
    mmdebstrap(spec, inputs, &tree, epoch, steps)?;
    let root = tree.path();
    let packages = packages::installed(root)?;

    steps.begin("scrub", "taking out what belongs to this machine and moment");
    scrub(root, epoch)?;

    steps.begin("emit", "packing the erofs volume");
    let options = Options { pack: Pack::Lz4(LEVEL), epoch, keep_times: true, plain_owner: false };
    let (digest, bytes) = erofs::make(tree.command(&[], erofs::TOOL), tree.inside(), &out, options)?;
    if bytes < packed / 2 {
        return Err(Fault::ours(
            "image-too-small",
            format!("{} packages of {packed} bytes gave an image of {bytes} bytes", packages.len()),
        ));
    }

    steps.begin("store", digest.short());
    let manifest = Manifest {
        kind: Kind::Image,
        name: spec.name.to_string(),
        digest,
        bytes,
        packages,
        recipe: Some(inputs.recipe.clone()),
        inputs: inputs.locked.clone(),
        made: io::now(),
        tools: tools(),
        seconds: steps.so_far(),
        notes: notes(inputs.apt),
    };
    store.put(&out, &manifest)?;
    steps.end();
    Ok(manifest)
}

fn mmdebstrap(spec: &ImageSpec, inputs: &Inputs, tree: &Tree, epoch: u64, steps: &mut Steps) -> Result<(), Fault> {
    let mut c = tree.command(&[], "mmdebstrap");
    c.args(["--mode=root", "--variant=minbase", "--format=directory", "--verbose"]);
    if !spec.packages.is_empty() {
        c.arg(format!("--include={}", spec.packages.join(",")));
    }
    c.arg(format!("--aptopt={}", inputs.apt.passed_file()?.display()));
    c.arg(&spec.debian).arg(tree.inside()).arg(inputs.apt.sources_file());
    c.env("SOURCE_DATE_EPOCH", epoch.to_string()).env("TMPDIR", "/tmp");
    // Each package is unpacked once and set up once.
    let total = inputs.wanted.len() as u64 * 2;
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

fn tools() -> BTreeMap<String, String> {
    let mkfs = exec::version_of("mkfs.erofs", &["-V"]);
    BTreeMap::from([("mmdebstrap".to_string(), exec::version_of("mmdebstrap", &["--version"])), ("mkfs.erofs".to_string(), mkfs)])
}

fn notes(apt: &Apt) -> Vec<String> {
    apt.passed.iter().map(|line| format!("setting of the machine's apt: {line}")).collect()
}

fn check_recipe(spec: &ImageSpec) -> Result<(), Fault> {
    let plain = |s: &str| {
        s.len() > 1
            && s.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.'))
            && s.as_bytes()[0].is_ascii_alphanumeric()
    };
    if !plain(&spec.debian) {
        return Err(
            Fault::yours("bad-suite", format!("{:?} is no name of a Debian release", spec.debian)).hint("write debian = \"bookworm\"")
        );
    }
    match spec.packages.iter().find(|p| !plain(p)) {
        Some(p) => {
            Err(Fault::yours("bad-package-name", format!("{p:?} is no name of a package")).hint("lower-case letters, digits, + - and ."))
        }
        None => Ok(()),
    }
}

/// Of what decides the bytes; the recipe's own name and its schedule do not.
pub(crate) fn recipe_digest(spec: &ImageSpec) -> Digest {
    let packages: BTreeSet<&String> = spec.packages.iter().collect();
    let text = serde_json::json!({ "format": FORMAT, "debian": spec.debian, "packages": packages, "level": LEVEL });
    io::digest_of(text.to_string().as_bytes())
}

fn digest_of_lines(what: &str, recipe: &Digest, lines: impl Iterator<Item = String>) -> Digest {
    let mut text = format!("{what}\n{recipe}\n");
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    io::digest_of(text.as_bytes())
}

/// `Sat, 21 Nov 2026 00:53:02 UTC` as seconds since 1970: the form of a release file's dates.
pub(crate) fn parse_date(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, clock, "UTC" | "GMT" | "+0000"] = words[..] else { return None };
    let month =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"].iter().position(|m| *m == month)? as u64 + 1;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let clock: Vec<u64> = clock.split(':').map(|c| c.parse().ok()).collect::<Option<_>>()?;
    let [h, m, s] = clock[..] else { return None };
    if !(1970..10_000).contains(&year) || !(1..=31).contains(&day) || h > 23 || m > 59 || s > 60 {
        return None;
    }
    // Days since 1970-01-01 by the civil calendar: the year is taken to begin in March, so that the leap day is its last.
    let y = if month <= 2 { year - 1 } else { year };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (153 * ((month + 9) % 12) + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + h * 3600 + m * 60 + s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_release_files() {
        // `date -u -d ... +%s` said so.
        assert_eq!(parse_date("Sat, 21 Nov 2026 00:53:02 UTC"), Some(1_795_222_382));
        assert_eq!(parse_date("Thu, 01 Jan 1970 00:00:00 UTC"), Some(0));
        assert_eq!(parse_date("Thu, 29 Feb 2024 12:00:00 UTC"), Some(1_709_208_000));
        for bad in ["", "now", "Sat, 21 Nov 2026 00:53 UTC", "Sat, 99 Nov 2026 00:53:02 UTC", "Sat, 21 Nov 2026 00:53:02 CET"] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_recipe_is_its_packages_and_not_its_name() {
        let spec = |name: &str, packages: &[&str]| ImageSpec {
            name: ImageName::new(name).unwrap(),
            debian: "bookworm".into(),
            packages: packages.iter().map(|p| (*p).to_string()).collect(),
            rebuild: None,
            max_age_ms: None,
        };
        assert_eq!(recipe_digest(&spec("a", &["x1", "y1"])), recipe_digest(&spec("b", &["y1", "x1"])));
        assert_ne!(recipe_digest(&spec("a", &["x1"])), recipe_digest(&spec("a", &["y1"])));
        assert_eq!(check_recipe(&spec("a", &["--option"])).unwrap_err().code, "bad-package-name");
    }
}
