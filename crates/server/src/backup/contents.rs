//! What of a data directory a backup has. Everything else is made again by who needs it: sockets, locks, servers, mounts, logs, caches,
//! packages. What belongs to this machine alone stays: its name for leases, its network.

use disk::files;
use model::{Digest, Fault, Layout};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use store::{Kind, Store};

/// A declaration is far below this.
const DECLARED_BYTES_MAX: u64 = 64 << 20;

/// Written by keeper and balancer when they are asked to, and read while the journal's writers are held.
const DECLARED: &[&str] = &["host/groups", "host/uids.json", "proxy/routes", "service-names.json"];
/// Each file replaced as a whole, or only appended to.
const OTHERS: &[&str] = &[
    "afresh.json",
    "policy.json",
    "signer.json",
    "sources.d",
    "audit",
    "control",
    "guard",
    "secrets/values",
    "secrets/version.key",
    "store/apt/newest.json",
    "store/asked",
    "store/current",
    "store/inputs",
    "store/kits",
    "store/life",
    "store/locked",
    "store/sequence",
];
/// Of those, what is not for another machine, or is written otherwise.
const NOT: &[&str] = &["control/node", "control/backup.json", "control/afresh.db"];

pub(super) const MACHINE_KEY: &str = "secrets/machine.key";
pub(super) const SIGNING_KEY: &str = "store/keys/signing.key";
pub(super) const DATABASE: &str = "control/afresh.db";

/// A small file's bytes, as they were at one moment.
pub(super) struct Held {
    pub path: String,
    pub mode: u32,
    pub bytes: Vec<u8>,
}

pub(super) fn declared(layout: &Layout) -> Result<Vec<Held>, Fault> {
    let mut all = Vec::new();
    for path in below(layout, DECLARED)? {
        if let Some((mode, size, file)) = open(layout, &path)? {
            let mut bytes = Vec::new();
            file.take(DECLARED_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(files::at("cannot read", &layout.root().join(&path)))?;
            if bytes.len() as u64 > DECLARED_BYTES_MAX.min(size) {
                let text = format!("{path} is larger than any declaration, or grows");
                return Err(Fault::world("too-large", text));
            }
            all.push(Held { path, mode, bytes });
        }
    }
    Ok(all)
}

/// Every digest that a declaration names, whatever it is of: the keeper may run what no journal knows.
pub(super) fn named(declared: &[Held]) -> BTreeSet<Digest> {
    let mut all = BTreeSet::new();
    for held in declared.iter().filter(|held| held.path.starts_with("host/groups/")) {
        let text = String::from_utf8_lossy(&held.bytes);
        let digests = text.match_indices("sha256:").filter_map(|(at, _)| text.get(at..at + "sha256:".len() + 64));
        all.extend(digests.filter_map(|text| Digest::new(text.to_string()).ok()));
    }
    all
}

pub(super) fn others(layout: &Layout) -> Result<Vec<String>, Fault> {
    let mut all = below(layout, OTHERS)?;
    all.retain(|path| !stays(path));
    Ok(all)
}

/// Beside what [`NOT`] names: the database, its log, its own backup, and what a restore put aside.
fn stays(path: &str) -> bool {
    NOT.contains(&path) || path.starts_with(DATABASE)
}

/// Whether a backup can have a file of this plain path: whoever wrote the archive chose the names in it.
pub(super) fn has(path: &str) -> bool {
    let is_digest = |hex: &str| Digest::new(format!("sha256:{hex}")).is_ok();
    let is_below = |root: &&str| {
        path.strip_prefix(*root).is_some_and(|rest| ["", ".spare"].contains(&rest) || rest.starts_with('/') || rest.starts_with(".spare/"))
    };
    let is_listed = || !path.split('/').any(|part| part.starts_with('.') || part == "lock") && !stays(path);
    if path == DATABASE || path.strip_suffix(".age").is_some_and(|key| [MACHINE_KEY, SIGNING_KEY].contains(&key)) {
        return true;
    }
    match path.split('/').collect::<Vec<_>>()[..] {
        ["store", "objects", hex] => is_digest(hex),
        ["store", "manifests", name] => name.strip_suffix(".json").is_some_and(is_digest),
        ["store", "attested", hex, _, ..] => is_digest(hex) && is_listed(),
        _ => DECLARED.iter().chain(OTHERS).any(is_below) && is_listed(),
    }
}

/// Files of the objects that are in use, and what is left out.
pub(super) fn objects(store: &Store, used: &BTreeSet<Digest>, without: bool) -> Result<(Vec<String>, Vec<String>), Fault> {
    let layout = store.layout();
    let (mut paths, mut left_out) = (Vec::new(), Vec::new());
    for digest in used {
        let Ok(manifest) = store.manifest(digest) else { continue };
        let hex = digest.hex();
        paths.push(format!("store/manifests/{hex}.json"));
        // It is baked again from its lock. A container image and an artifact come from elsewhere.
        let again = manifest.kind == Kind::Image
            && manifest.container.is_none()
            && layout.store().join(format!("locked/{}.lock", manifest.inputs.hex())).exists();
        if without && again {
            left_out.push(format!("image {} {} ({} bytes): bake it again", manifest.name, digest.short(), manifest.bytes));
        } else if layout.object(digest).exists() {
            paths.push(format!("store/objects/{hex}"));
        }
        let attested = format!("store/attested/{hex}");
        paths.extend(below(layout, &[&attested])?);
    }
    Ok((paths, left_out))
}

/// None: it is gone by now.
pub(super) fn open(layout: &Layout, path: &str) -> Result<Option<(u32, u64, File)>, Fault> {
    let place = layout.root().join(path);
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let file = match rustix::fs::open(&place, flags, rustix::fs::Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(e) => return Err(files::fault("cannot read", &place, &e.into())),
    };
    let about = file.metadata().map_err(files::at("cannot read", &place))?;
    if !about.is_file() {
        return Err(Fault::world("bad-file", format!("{}: it is no plain file", place.display())).again(false));
    }
    Ok(Some((about.mode() & 0o755, about.size(), file)))
}

/// Plain files, in order. Names that begin with a dot are of files that are being written.
fn below(layout: &Layout, roots: &[&str]) -> Result<Vec<String>, Fault> {
    let mut all = Vec::new();
    for root in roots {
        let spare = format!("{root}.spare");
        walk(layout.root(), Path::new(root), &mut all)?;
        walk(layout.root(), Path::new(&spare), &mut all)?;
    }
    all.sort();
    Ok(all)
}

fn walk(root: &Path, path: &Path, all: &mut Vec<String>) -> Result<(), Fault> {
    let place = root.join(path);
    let about = match fs::symlink_metadata(&place) {
        Ok(about) => about,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        Err(e) => return Err(files::fault("cannot look at", &place, &e)),
    };
    if about.is_file() {
        let text =
            path.to_str().ok_or_else(|| Fault::world("bad-file", format!("{}: its name is no text", place.display())).again(false))?;
        all.push(text.to_string());
    }
    if !about.is_dir() {
        return Ok(());
    }
    let listed = match fs::read_dir(&place) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        listed => listed.map_err(files::at("cannot list", &place))?,
    };
    let mut names: Vec<PathBuf> = Vec::new();
    for entry in listed {
        let name = entry.map_err(files::at("cannot list", &place))?.file_name();
        if !name.as_encoded_bytes().starts_with(b".") && name != "lock" {
            names.push(path.join(name));
        }
    }
    names.sort();
    names.iter().try_for_each(|name| walk(root, name, all))
}
