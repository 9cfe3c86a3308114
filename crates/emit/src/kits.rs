//! What a machine boots with and an image does not hold (kernel, modules, boot tools), made like everything else: chosen by the same apt,
//! locked, fetched by sum, unpacked from the package store. It must not go into images: the kit is patched apart from them.
//!
//! ```text
//! store/kits/<lock's digest>.lock      every package of a kit, a line each, as in an image's lock
//! store/kits/current/<recipe>.json     the lock that disks of this release get, until a newer one is asked for
//!
//! ask the mirrors ─▶ lock ─▶ fetch ─▶ unpack into memory ─▶ Kit (gone with the process; the lock and the packages stay)
//! ```

use crate::Kit;
use bake::apt::{self, Apt};
use bake::build;
use bake::fetch;
use bake::order;
use bake::packages;
use bake::pipeline;
use bake::progress::{Progress, Steps};
use bake::recipe;
use bake::tree::Tree;
use bake::unpack;
use disk::files;
use lifecycle::{Change, changes};
use model::{Digest, Fault, ImageCustom, ImageSpec};
use std::collections::BTreeSet;
use std::path::Path;
use store::lockfile::Lock;
use store::program;
use store::{Store, current_kit_lock, keep_kit_lock, kit_lock_path, kit_locks};

/// A kit's packages are unpacked and never installed, so what would only run on an installed system is taken to be there:
/// without this apt wants a maker of initrds and half a system for it, none of which would get onto a disk.
const NOT_NEEDED: &str = "Package: afresh-kit\nStatus: install ok installed\nPriority: optional\nSection: misc\nMaintainer: Afresh <afresh@localhost>\n\
     Version: 1\nProvides: linux-initramfs-tool, initramfs-tools (= 9999), linux-base (= 9999), kmod (= 9999)\nDescription: what a kit goes without\n";

/// Which lock a disk's kit comes from.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// The one that disks of this release had last; the mirrors are asked only if there is none.
    Kept,
    /// The mirrors are asked.
    Newest,
    /// This one: a file, or its first digits.
    Lock(&'a str),
}

/// A kit, unpacked; its files are gone when this goes.
pub struct MachineKit {
    pub kit: Kit,
    pub lock: Lock,
    _tree: Tree,
}

/// How far the kept kit of a release is behind its suites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KitState {
    pub lock: Digest,
    pub newest: Digest,
    pub packages: usize,
    pub behind: Vec<Change>,
}

/// The kit's own recipe: of the release and the suites of the image.
fn spec_of(image: &ImageSpec) -> ImageSpec {
    let from = &image.custom;
    let custom = ImageCustom {
        suites: from.suites.clone(),
        components: from.components.clone(),
        allow_unsigned: from.allow_unsigned.clone(),
        ..ImageCustom::default()
    };
    ImageSpec {
        name: "kit".parse().expect("it is a good name"),
        packages: crate::KIT_PACKAGES.map(String::from).into(),
        rebuild: None,
        max_age_ms: None,
        window: None,
        jitter_ms: 0,
        checks: Vec::new(),
        base: None,
        custom,
        ..image.clone()
    }
}

fn recipe_of(spec: &ImageSpec) -> Digest {
    recipe::digest_of_lines("kit", &recipe::digest(spec), [NOT_NEEDED.to_string()].into_iter())
}

fn alone(store: &Store, spec: &ImageSpec, steps: &mut Steps) -> Result<disk::lock::Lock, Fault> {
    store.lock(&format!("kit-{}", spec.debian), || steps.at(0, 0, "another process is at this kit: waiting for it"))
}

/// The lock that the kit of an image's release has now. None: none yet, or it cannot be read any more.
pub fn kept_kit(store: &Store, image: &ImageSpec) -> Option<Lock> {
    current_kit_lock(store, &recipe_of(&spec_of(image)))
}

/// Asks the mirrors for the newest packages of a kit; nothing is kept but their lists.
fn choose(store: &Store, spec: &ImageSpec, steps: &mut Steps) -> Result<Lock, Fault> {
    steps.begin("kit-lock", "asking the mirrors for kernel and boot tools");
    let apt = Apt::open(store, apt::sources_of(store, &spec.debian, &spec.custom)?)?;
    let asked = files::now();
    let (releases, _, notes) = apt.update(store)?;
    notes.iter().for_each(|note| steps.begin("update", note));
    let lists = packages::read_lists(&apt.lists())?;
    let status = format!("{NOT_NEEDED}Architecture: {}\n\n", apt.arch);
    let wanted = apt.resolve_beside(&spec.packages, &status)?;
    let packages = pipeline::locked(&lists, &wanted, &BTreeSet::new())?;
    Ok(Lock { head: pipeline::head(spec, recipe_of(spec), &apt, &releases, asked), packages })
}

/// The lock step alone: from now on disks of this image's release get these packages.
pub fn lock_kit(store: &Store, image: &ImageSpec, tell: &mut dyn FnMut(Progress)) -> Result<Lock, Fault> {
    let (spec, mut steps) = (spec_of(image), Steps::new(tell));
    let _alone = alone(store, &spec, &mut steps)?;
    let lock = choose(store, &spec, &mut steps)?;
    keep_kit_lock(store, &lock)?;
    Ok(lock)
}

/// The kit for disks of an image.
pub fn kit(store: &Store, image: &ImageSpec, which: Which, tell: &mut dyn FnMut(Progress)) -> Result<MachineKit, Fault> {
    program::need_root("unpacking a kernel's packages")?;
    program::need(&["apt-get", "dpkg", "setpriv", "unshare", "nsenter", "timeout"])?;
    let (spec, mut steps) = (spec_of(image), Steps::new(tell));
    let kept = match which {
        Which::Kept => kept_kit(store, image),
        Which::Lock(text) => Some(named(store, text)?),
        Which::Newest => None,
    };
    let lock = match kept {
        Some(lock) => lock,
        None => {
            let _alone = alone(store, &spec, &mut steps)?;
            let lock = choose(store, &spec, &mut steps)?;
            keep_kit_lock(store, &lock)?;
            lock
        }
    };
    steps.begin("kit-fetch", "packages that are not in the store");
    fetch::fetch(store, &lock, &mut steps)?;
    steps.begin("kit-unpack", format!("{} packages", lock.packages.len()));
    let made = unpacked(store, lock)?;
    steps.end();
    Ok(made)
}

fn unpacked(store: &Store, lock: Lock) -> Result<MachineKit, Fault> {
    let debs = order::open_packages(store, &lock.packages.iter().collect::<Vec<_>>())?;
    let packed: u64 = lock.packages.iter().map(|p| p.bytes).sum();
    let tree = Tree::begin(store.work("kit")?, packed * 6 + (64 << 20))?;
    let root = tree.root()?;
    build::skeleton(&root, &lock.head.arch)?;
    unpack::unpack_all(&root, &debs.iter().collect::<Vec<_>>(), &|_| {})?;
    Ok(MachineKit { kit: Kit::open(tree.path())?, lock, _tree: tree })
}

/// A lock file, or the first digits of a kit's lock in the store.
fn named(store: &Store, text: &str) -> Result<Lock, Fault> {
    let lock = if Path::new(text).is_file() { Lock::read(Path::new(text))? } else { in_store(store, text)? };
    if lock.head.recipe != recipe_of(&lock.head.spec) {
        return Err(Fault::yours("other-recipe", format!("{text} is no lock of a kit")).hint("`afresh image lock NAME --kit` makes one"));
    }
    // One that came from elsewhere is kept too: the disk's attestation names it.
    files::make_dir(&store.dir("kits"))?;
    lock.write(&kit_lock_path(store, &lock.digest()))?;
    Ok(lock)
}

fn in_store(store: &Store, text: &str) -> Result<Lock, Fault> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let mut fit = kit_locks(store)
        .into_iter()
        .filter(|(path, _)| hex.len() >= 6 && path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(hex)));
    match (fit.next(), fit.next()) {
        (Some((_, lock)), None) => Ok(lock),
        (None, _) => Err(Fault::yours("no-such-lock", format!("{text} is no lock file and no kit's lock in the store"))
            .hint("`afresh image lock NAME --kit` makes one; six digits are enough")),
        _ => {
            Err(Fault::yours("no-such-lock", format!("several kits' locks have a digest that begins with {hex}")).hint("give more digits"))
        }
    }
}

/// What the mirrors have that the kept kit has not. None: no disk was made of this image's release yet.
pub fn kit_state(store: &Store, image: &ImageSpec, tell: &mut dyn FnMut(Progress)) -> Result<Option<KitState>, Fault> {
    let Some(kept) = kept_kit(store, image) else { return Ok(None) };
    let mut steps = Steps::new(tell);
    let newest = choose(store, &spec_of(image), &mut steps)?;
    let versions = |lock: &Lock| lock.packages.iter().map(|p| (p.name.clone(), p.version.clone())).collect::<Vec<_>>();
    let (old, new) = (versions(&kept), versions(&newest));
    let behind = changes(old.iter().map(|(n, v)| (n.as_str(), v.as_str())), new.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    Ok(Some(KitState { lock: kept.digest(), newest: newest.digest(), packages: kept.packages.len(), behind }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Layout, Time};

    fn image() -> ImageSpec {
        serde_json::from_value(serde_json::json!({ "name": "base", "debian": "bookworm", "packages": ["curl"], "rebuild": "daily" }))
            .unwrap()
    }

    fn lock_of(asked: u64, version: &str) -> Lock {
        let mut lock = store::testing::sample(&[("dmsetup", "1"), ("linux-image-cloud-amd64", version)]);
        lock.head.spec = spec_of(&image());
        lock.head.recipe = recipe_of(&lock.head.spec);
        lock.head.asked = Time(asked);
        lock
    }

    #[test]
    fn a_kit_is_of_the_release_and_its_suites_alone() {
        let (one, mut other) = (image(), image());
        other.name = "other".parse().unwrap();
        other.packages = vec!["nginx".into()];
        other.custom.script = Some("true".into());
        other.base = Some(Box::new(image()));
        assert_eq!(recipe_of(&spec_of(&one)), recipe_of(&spec_of(&other)), "images of one release share it");
        other.custom.suites = vec!["bookworm-backports".into()];
        assert_ne!(recipe_of(&spec_of(&one)), recipe_of(&spec_of(&other)));
        assert_ne!(recipe_of(&spec_of(&one)), recipe::digest(&spec_of(&one)), "an image of the same packages is no kit");
    }

    #[test]
    fn the_kept_lock_is_found_and_a_damaged_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&Layout::new(dir.path())).unwrap();
        assert!(kept_kit(&store, &image()).is_none());
        let (old, new) = (lock_of(1, "1"), lock_of(2, "2"));
        keep_kit_lock(&store, &old).unwrap();
        keep_kit_lock(&store, &new).unwrap();
        assert_eq!(kept_kit(&store, &image()), Some(new.clone()));
        assert_eq!(named(&store, old.digest().short()).unwrap(), old);
        assert_eq!(named(&store, "ffffffff").unwrap_err().code, "no-such-lock");

        let path = kit_lock_path(&store, &new.digest());
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("linux-image", "linux-imago")).unwrap();
        assert!(kept_kit(&store, &image()).is_none(), "a lock that was changed is not the one that was kept");
        let stranger = dir.path().join("image.lock");
        store::testing::sample(&[("a", "1")]).write(&stranger).unwrap();
        assert_eq!(named(&store, &stranger.display().to_string()).unwrap_err().code, "other-recipe");
    }
}
