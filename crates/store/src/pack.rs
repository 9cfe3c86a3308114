//! One version of a service's code as an erofs volume: the same content gives the same digest,
//! whoever owns the files, whenever they were written, and whether they come as a directory or a tarball.

use crate::archive;
use crate::archive::plain_mode;
use crate::erofs;
use crate::erofs::{Options, Pack};
use crate::ignore::Ignore;
use crate::manifest::{Form, Kind, Manifest, Source};
use crate::objects::{Did, Store};
use crate::program;
use disk::files;
use model::{Digest, Fault};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Grows when the same content gives other bytes.
const FORMAT: u32 = 1;
/// A moment for all files (2001-09-09), so that a Last-Modified made of it is sane and never changes.
const EPOCH: u64 = 1_000_000_000;
/// Deeper than any path that can be opened.
const DEPTH: usize = 512;
/// A service's code; what is larger is data, or a mistake.
const BYTES_MAX: u64 = 16 << 30;
const ENTRIES_MAX: u64 = 500_000;
const PACK: Duration = Duration::from_secs(3600);

/// An artifact in the store; nobody signed it yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub manifest: Manifest,
    pub did: Did,
    pub files: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Dir,
    File { mode: u32, bytes: u64, sum: Digest },
    Link(PathBuf),
}

/// Packs a directory or a tarball (tar, tar.gz, tar.xz, tar.zst) into the store. The same content again writes nothing.
pub fn pack(store: &Store, path: &Path) -> Result<Stored, Fault> {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let name = whole.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    pack_as(store, path, &whole, &name, &whole.to_string_lossy())
}

/// As [`pack`], of a file that was fetched from elsewhere.
pub fn pack_from(store: &Store, path: &Path, from: &str) -> Result<Stored, Fault> {
    let plain = from.split(['?', '@']).next().unwrap_or_default();
    let name = plain.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("archive");
    pack_as(store, path, path, name, from)
}

/// The artifact that came of a tarball of these bytes.
pub fn packed_tarball(store: &Store, sum: &Digest) -> Result<Option<Manifest>, Fault> {
    store.from_inputs(&tarball_key(sum))
}

fn tarball_key(sum: &Digest) -> Digest {
    files::digest_of(format!("tarball {FORMAT} {sum}").as_bytes())
}

fn pack_as(store: &Store, path: &Path, whole: &Path, name: &str, from: &str) -> Result<Stored, Fault> {
    program::need(&[erofs::TOOL, "setpriv", "timeout", "prlimit"])?;
    let seen = fs::metadata(path).map_err(|e| files::fault("cannot read the artifact", path, &e))?;
    // By where it lies and not by how it is written: a link to /etc is /etc.
    if seen.is_dir() {
        model::path_validation::no_system_directory(&whole.to_string_lossy())?;
    }
    let ((digest, did, files), form, sum) = if seen.is_dir() {
        let entries = scan(path, &Ignore::read(path)?)?;
        (put(store, name, entries, |e, work| stage(path, e, work))?, Form::Directory, None)
    } else if seen.is_file() {
        if seen.len() > BYTES_MAX {
            return Err(too_large(format!("{} has {} bytes, more than {BYTES_MAX}", path.display(), seen.len())));
        }
        let (sum, _) = files::digest_file(path)?;
        (tarball(store, path, &sum, name)?, Form::Tarball, Some(sum))
    } else {
        return Err(Fault::yours("bad-artifact", format!("{} is neither a directory nor a file", path.display())));
    };
    let mut manifest = store.manifest(&digest)?;
    if manifest.source.is_none() {
        manifest.source = Some(Source { path: from.to_string(), form, sum, files });
        store.note(&manifest)?;
    }
    Ok(Stored { manifest, did, files })
}

type Put = (Digest, Did, u64);
type Entries = BTreeMap<PathBuf, Entry>;

fn tarball(store: &Store, path: &Path, sum: &Digest, name: &str) -> Result<Put, Fault> {
    let key = tarball_key(sum);
    if let Some(there) = store.from_inputs(&key)? {
        return Ok((there.digest, Did::Nothing, 0));
    }
    let work = store.work("unpack")?;
    let root = work.path().join("root");
    fs::create_dir(&root).map_err(files::at("cannot make", &root))?;
    // Half of what is free: the volume is made beside the files.
    archive::unpack(path, &root, files::free_bytes(&root)? / 2)?;
    let entries = scan(&root, &Ignore::default())?;
    let done = put(store, name, entries, |e, work| stage(&root, e, work))?;
    store.remember(&key, &done.0)?;
    Ok(done)
}

fn put(store: &Store, name: &str, entries: Entries, stage: impl FnOnce(&Entries, &Path) -> Result<(), Fault>) -> Result<Put, Fault> {
    let inputs = key(&entries);
    let files = entries.values().filter(|e| matches!(e, Entry::File { .. })).count() as u64;
    if let Some(there) = store.from_inputs(&inputs)? {
        return Ok((there.digest, Did::Nothing, files));
    }
    let _alone = store.lock(&format!("pack-{}", inputs.short()), || {})?;
    if let Some(there) = store.from_inputs(&inputs)? {
        return Ok((there.digest, Did::Nothing, files));
    }
    let total: u64 = entries.values().map(|e| if let Entry::File { bytes, .. } = e { bytes + 4096 } else { 4096 }).sum();
    files::want_space(&store.dir("work"), total * 2, "the artifact")?;
    let work = store.work("pack")?;
    let (root, out) = (work.path().join("root"), work.path().join("artifact.erofs"));
    fs::create_dir(&root).map_err(files::at("cannot make", &root))?;
    files::set_mode(&root, 0o755)?;
    stage(&entries, &root)?;
    let options = Options { pack: Pack::Plain, epoch: EPOCH, keep_times: false, plain_owner: true, id: None };
    let (digest, bytes) = erofs::make(erofs::bounded(entries.len() as u64, PACK)?, &root, &out, options)?;
    let manifest = Manifest {
        kind: Kind::Artifact,
        name: name.to_string(),
        digest: digest.clone(),
        bytes,
        packages: Vec::new(),
        recipe: None,
        inputs,
        made: files::now(),
        tools: BTreeMap::new(),
        seconds: Vec::new(),
        notes: Vec::new(),
        source: None,
        container: None,
    };
    store.put(&out, &manifest)?;
    Ok((digest, Did::Baked, files))
}

/// Everything below `root` that is code, by path, with the sum of each file. What is too much is refused by its sizes, before a byte is read.
fn scan(root: &Path, ignore: &Ignore) -> Result<Entries, Fault> {
    let mut entries = Entries::new();
    let mut left = Left { bytes: BYTES_MAX, entries: ENTRIES_MAX };
    measure(root, Path::new(""), ignore, 0, &mut left)?;
    scan_dir(root, Path::new(""), ignore, 0, &mut entries)?;
    if entries.is_empty() {
        return Err(Fault::yours("empty-artifact", format!("there is nothing in {}", root.display())).hint("was the build run?"));
    }
    Ok(entries)
}

/// What an artifact may still have.
struct Left {
    bytes: u64,
    entries: u64,
}

/// By apparent size: a sparse file is packed with all its zeros, and reading them takes as long as if they were there.
fn measure(root: &Path, below: &Path, ignore: &Ignore, depth: usize, left: &mut Left) -> Result<(), Fault> {
    // Deeper is refused, with its place, when it is read.
    if depth > DEPTH {
        return Ok(());
    }
    let dir = root.join(below);
    for found in fs::read_dir(&dir).map_err(files::at("cannot list", &dir))? {
        let found = found.map_err(files::at("cannot list", &dir))?;
        let (path, place) = (found.path(), below.join(found.file_name()));
        if ignore.leaves_out(&place) {
            continue;
        }
        let seen = fs::symlink_metadata(&path).map_err(files::at("cannot look at", &path))?;
        left.entries = left.entries.checked_sub(1).ok_or_else(|| too_large(format!("more than {ENTRIES_MAX} files are in it")))?;
        if seen.is_file() {
            left.bytes = left.bytes.checked_sub(seen.len()).ok_or_else(|| {
                let sparse = if seen.blocks() < seen.len() / 1024 { ", most of them holes" } else { "" };
                too_large(format!("with {} ({} bytes{sparse}) it has more than {BYTES_MAX} bytes", path.display(), seen.len()))
            })?;
        } else if seen.is_dir() {
            measure(root, &place, ignore, depth + 1, left)?;
        }
    }
    Ok(())
}

fn too_large(why: String) -> Fault {
    Fault::yours("artifact-too-large", format!("the artifact is too large: {why}"))
        .hint("is it the right directory? data belongs beside a service, not into its code")
}

fn scan_dir(root: &Path, below: &Path, ignore: &Ignore, depth: usize, entries: &mut Entries) -> Result<(), Fault> {
    let dir = root.join(below);
    if depth > DEPTH {
        return Err(Fault::yours("bad-artifact", format!("{} is nested more than {DEPTH} deep", dir.display())));
    }
    for found in fs::read_dir(&dir).map_err(files::at("cannot list", &dir))? {
        let found = found.map_err(files::at("cannot list", &dir))?;
        let (path, place) = (found.path(), below.join(found.file_name()));
        if ignore.leaves_out(&place) {
            continue;
        }
        let seen = fs::symlink_metadata(&path).map_err(files::at("cannot look at", &path))?;
        let entry = if seen.is_dir() {
            scan_dir(root, &place, ignore, depth + 1, entries)?;
            Entry::Dir
        } else if seen.is_file() {
            let (sum, bytes) = files::digest_file(&path)?;
            Entry::File { mode: plain_mode(seen.permissions().mode(), false), bytes, sum }
        } else if seen.is_symlink() {
            let to = fs::read_link(&path).map_err(files::at("cannot read the link", &path))?;
            if !archive::stays_within(&place, &to) {
                return Err(Fault::yours(
                    "bad-artifact",
                    format!("the link {} leads out of the artifact, to {}", path.display(), to.display()),
                )
                .hint("copy what it points to into the artifact"));
            }
            Entry::Link(to)
        } else {
            return Err(Fault::yours("bad-artifact", format!("{} is a device, a socket or a pipe", path.display()))
                .hint("remove it: only files, directories and links can be packed"));
        };
        entries.insert(place, entry);
    }
    Ok(())
}

/// Of everything that decides the volume's bytes. Lengths come before texts, so that no two contents give one text.
fn key(entries: &Entries) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(format!("artifact {FORMAT} {EPOCH}\n"));
    let mut field = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    for (path, entry) in entries {
        field(path.as_os_str().as_bytes());
        match entry {
            Entry::Dir => field(b"dir"),
            Entry::File { mode, sum, .. } => field(format!("file {mode:o} {sum}").as_bytes()),
            Entry::Link(to) => field(&[b"link ", to.as_os_str().as_bytes()].concat()),
        }
    }
    files::digest_from(hasher)
}

/// Copies in the order of the names, with plain modes. What changed since it was read is an error: it would be packed under a wrong key.
fn stage(from: &Path, entries: &Entries, to: &Path) -> Result<(), Fault> {
    let mut buffer = vec![0u8; 1 << 18];
    for (place, entry) in entries {
        let (source, target) = (from.join(place), to.join(place));
        match entry {
            Entry::Dir => {
                fs::create_dir(&target).map_err(files::at("cannot make", &target))?;
                files::set_mode(&target, 0o755)?;
            }
            Entry::Link(link) => std::os::unix::fs::symlink(link, &target).map_err(files::at("cannot make the link", &target))?,
            Entry::File { mode, sum, .. } => {
                if &copy(&source, &target, *mode, &mut buffer)? != sum {
                    return Err(Fault::world("artifact-changed", format!("{} changed while it was packed", source.display()))
                        .hint("let the build end before you deploy"));
                }
            }
        }
    }
    Ok(())
}

fn copy(source: &Path, target: &Path, mode: u32, buffer: &mut [u8]) -> Result<Digest, Fault> {
    let mut from = File::open(source).map_err(files::at("cannot read", source))?;
    let mut to = files::create_new(target, mode)?;
    let mut hasher = Sha256::new();
    loop {
        let n = from.read(buffer).map_err(files::at("cannot read", source))?;
        if n == 0 {
            return Ok(files::digest_from(hasher));
        }
        hasher.update(&buffer[..n]);
        to.write_all(&buffer[..n]).map_err(files::at("cannot write", target))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 111 s it took to read the zeros and then to say that the disk is too small.
    #[test]
    fn a_sparse_file_of_a_hundred_gigabytes_is_refused_by_its_size() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        let file = File::create(dir.path().join("data/core")).unwrap();
        file.set_len(100 << 30).unwrap();
        let fault = scan(dir.path(), &Ignore::default()).unwrap_err();
        assert_eq!(fault.code, "artifact-too-large");
        assert!(fault.message.contains("data/core") && fault.message.contains("holes"), "{}", fault.message);
        file.set_len(10).unwrap();
        assert_eq!(scan(dir.path(), &Ignore::default()).unwrap().len(), 2);
    }

    #[test]
    fn a_link_to_a_directory_of_the_system_is_that_directory() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&model::Layout::new(dir.path().join("data"))).unwrap();
        let link = dir.path().join("dist");
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        assert_eq!(pack(&store, &link).unwrap_err().code, "system-directory");
    }
}
