//! The format: a tar archive of plain files (POSIX ustar), whose first entry says what it is and whose last one, the manifest, has the
//! digest of every other. It knows nothing of what the files are.
//!
//! Reading trusts nothing: not the names, kinds, sizes and order of entries, nor that the file ends where it should.

use disk::files::{self, Hashing};
use model::{Digest, Fault, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path};

/// Of this format. What a later version adds changes it.
const FORMAT: u32 = 1;
const HEAD: &str = "afresh-backup.json";
const MANIFEST: &str = "manifest.json";
const HEAD_BYTES_MAX: u64 = 4 << 10;
const MANIFEST_BYTES_MAX: u64 = 64 << 20;
pub(super) const ENTRIES_MAX: usize = 200_000;
/// A ustar header holds no longer name.
const PATH_BYTES_MAX: usize = 255;
/// tar fills its last record: 20 blocks.
const END_BYTES_MAX: u64 = 10 << 10;

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    /// Of the afresh that made it.
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub version: String,
    pub made: Time,
    /// The data directory.
    pub of: String,
    pub entries: Vec<Entry>,
    /// What whoever restores it has to know: what is not in it.
    pub left_out: Vec<String>,
    /// The machine's keys are in it, encrypted for this recipient of age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_for: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub path: String,
    pub bytes: u64,
    pub sha256: Digest,
}

impl Manifest {
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.bytes).sum()
    }
}

/// Ends with an error as soon as `is_stopping`.
struct Until<'a, R> {
    inner: R,
    is_stopping: &'a dyn Fn() -> bool,
}

impl<R: Read> Read for Until<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if (self.is_stopping)() { Err(std::io::Error::other("interrupted by a stop")) } else { self.inner.read(buffer) }
    }
}

pub(super) struct Writer<'a> {
    /// For messages.
    to: &'a Path,
    is_stopping: &'a dyn Fn() -> bool,
    tar: tar::Builder<Hashing<&'a File>>,
    entries: Vec<Entry>,
}

impl<'a> Writer<'a> {
    pub fn begin(file: &'a File, to: &'a Path, is_stopping: &'a dyn Fn() -> bool) -> Result<Self, Fault> {
        let mut writer = Self { to, is_stopping, tar: tar::Builder::new(Hashing::new(file)), entries: Vec::new() };
        let head = Head { format: FORMAT, version: env!("CARGO_PKG_VERSION").to_string() };
        let head = serde_json::to_vec(&head).map_err(|e| Fault::ours("unwritable-record", e.to_string()))?;
        writer.append(HEAD, 0o600, head.len() as u64, &head[..])?;
        Ok(writer)
    }

    /// Takes exactly `bytes` from the reader.
    pub fn add(&mut self, path: &str, mode: u32, bytes: u64, from: impl Read) -> Result<(), Fault> {
        if self.entries.len() >= ENTRIES_MAX {
            return Err(Fault::yours("too-large", format!("a backup has at most {ENTRIES_MAX} files"))
                .hint("`afresh gc` removes what nothing uses"));
        }
        let sha256 = self.append(path, mode, bytes, from)?;
        self.entries.push(Entry { path: path.to_string(), bytes, sha256 });
        Ok(())
    }

    /// Writes the manifest and the end; returns the manifest, the digest of the whole file and its size.
    pub fn end(mut self, about: Manifest) -> Result<(Manifest, Digest, u64), Fault> {
        let manifest = Manifest { entries: std::mem::take(&mut self.entries), ..about };
        let text = serde_json::to_vec_pretty(&manifest).map_err(|e| Fault::ours("unwritable-record", e.to_string()))?;
        self.append(MANIFEST, 0o600, text.len() as u64, &text[..])?;
        let all = self.tar.into_inner().map_err(files::at("cannot write", self.to))?;
        Ok((manifest, files::digest_from(all.hasher), all.bytes))
    }

    fn append(&mut self, path: &str, mode: u32, bytes: u64, from: impl Read) -> Result<Digest, Fault> {
        let mut header = tar::Header::new_ustar();
        let long = |e: std::io::Error| Fault::world("too-large", format!("{path}: {e}")).again(false);
        header.set_path(path).map_err(long)?;
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(bytes);
        header.set_mode(mode);
        header.set_mtime(0);
        header.set_cksum();
        let mut from = Hashing::new(Until { inner: from.take(bytes), is_stopping: self.is_stopping });
        self.tar.append(&header, &mut from).map_err(files::at("cannot write", self.to))?;
        if from.bytes != bytes {
            let text = format!("{path}: it became shorter while it was copied: {} of {bytes} bytes", from.bytes);
            return Err(Fault::world("changed-meanwhile", text).hint("make the backup again"));
        }
        Ok(files::digest_from(from.hasher))
    }
}

pub(super) fn bad(file: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::yours("bad-backup", format!("{}: {why}; nothing was changed", file.display()))
        .hint("copy it again from where it was made and compare its sha256; an older backup may be whole")
}

/// What of a tar archive that ends too early tar itself says.
fn broken(file: &Path) -> impl Fn(std::io::Error) -> Fault + '_ {
    move |e| match e.raw_os_error() {
        Some(_) => files::fault("cannot read", file, &e),
        None => bad(file, format_args!("it is cut short, or no backup of afresh: {e}")),
    }
}

/// Reads all of it, shows each file to `take`, and compares each with the manifest. What `take` was shown is right only if this returns.
pub(super) fn read(file: &Path, mut take: impl FnMut(&str, u32, &mut dyn Read) -> Result<(), Fault>) -> Result<(Manifest, Digest), Fault> {
    // A pipe would keep us waiting, and could say something else the second time.
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed()).open(file);
    let opened = opened.map_err(files::at("cannot read", file))?;
    if !opened.metadata().map_err(files::at("cannot read", file))?.is_file() {
        return Err(bad(file, "it is not a plain file"));
    }
    let mut archive = tar::Archive::new(Hashing::new(BufReader::with_capacity(1 << 18, opened)));
    let (mut entries, mut names): (Vec<Entry>, BTreeSet<String>) = (Vec::new(), BTreeSet::new());
    let (mut head, mut manifest) = (false, None);
    for entry in archive.entries().map_err(broken(file))?.raw(true) {
        let mut entry = entry.map_err(broken(file))?;
        let path = name(&entry).map_err(|why| bad(file, why))?;
        if manifest.is_some() {
            return Err(bad(file, format_args!("{path} stands behind the manifest")));
        }
        if !names.insert(path.clone()) {
            return Err(bad(file, format_args!("{path} is in it twice")));
        }
        let bytes = entry.header().entry_size().map_err(broken(file))?;
        let mode = entry.header().mode().map_err(broken(file))?;
        match path.as_str() {
            HEAD if !head && entries.is_empty() => {
                check_head(file, &small(file, &mut entry, HEAD_BYTES_MAX, &path)?)?;
                head = true;
            }
            _ if !head => return Err(bad(file, "it does not begin as a backup of afresh does")),
            MANIFEST => {
                let text = small(file, &mut entry, MANIFEST_BYTES_MAX, &path)?;
                let read = serde_json::from_slice::<Manifest>(&text);
                manifest = Some(read.map_err(|e| bad(file, format_args!("its manifest does not decode: {e}")))?);
            }
            _ if entries.len() >= ENTRIES_MAX => return Err(bad(file, format_args!("it has more than {ENTRIES_MAX} files"))),
            _ => {
                let mut passing = Hashing::new(&mut entry);
                take(&path, mode, &mut passing)?;
                std::io::copy(&mut passing, &mut std::io::sink()).map_err(broken(file))?;
                if passing.bytes != bytes {
                    return Err(bad(file, format_args!("it is cut short in {path}, after {} of {bytes} bytes", passing.bytes)));
                }
                entries.push(Entry { path, bytes, sha256: files::digest_from(passing.hasher) });
            }
        }
    }
    let Some(manifest) = manifest else { return Err(bad(file, "it is cut short: it has no manifest")) };
    let mut rest = archive.into_inner();
    let mut end = Vec::new();
    (&mut rest).take(END_BYTES_MAX + 1).read_to_end(&mut end).map_err(broken(file))?;
    if end.len() as u64 > END_BYTES_MAX || end.iter().any(|byte| *byte != 0) {
        return Err(bad(file, "something stands behind its end"));
    }
    compare(&manifest.entries, &entries).map_err(|why| bad(file, why))?;
    Ok((manifest, files::digest_from(rest.hasher)))
}

fn check_head(file: &Path, text: &[u8]) -> Result<(), Fault> {
    let head: Head = serde_json::from_slice(text).map_err(|e| bad(file, format_args!("its first entry does not decode: {e}")))?;
    if head.format <= FORMAT {
        return Ok(());
    }
    let text = format!(
        "{}: it was made by afresh {} in format {}; this one reads formats up to {FORMAT}",
        file.display(),
        head.version,
        head.format
    );
    Err(Fault::yours("backup-newer", text).hint("restore it with the afresh that made it, or a newer one"))
}

fn small(file: &Path, entry: &mut impl Read, limit: u64, path: &str) -> Result<Vec<u8>, Fault> {
    let mut text = Vec::new();
    entry.take(limit + 1).read_to_end(&mut text).map_err(broken(file))?;
    if text.len() as u64 > limit {
        return Err(bad(file, format_args!("{path} has more than {limit} bytes")));
    }
    Ok(text)
}

/// A plain file's, below the data directory.
fn name<R: Read>(entry: &tar::Entry<'_, R>) -> Result<String, String> {
    let bytes = entry.path_bytes();
    let shown = String::from_utf8_lossy(&bytes).chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect::<String>();
    let kind = entry.header().entry_type();
    if kind != tar::EntryType::Regular {
        return Err(format!("{shown:?} is no plain file: links, directories and devices are in no backup"));
    }
    let text = std::str::from_utf8(&bytes).ok().filter(|text| !text.chars().any(char::is_control) && text.len() <= PATH_BYTES_MAX);
    let text = text.ok_or_else(|| format!("{shown:?} is no name that a backup has"))?;
    // A path is what it comes to: no `.`, no `//`, and no slash at the end.
    let plain: Option<Vec<&str>> = Path::new(text)
        .components()
        .map(|part| if let Component::Normal(part) = part { part.to_str().filter(|part| !part.is_empty()) } else { None })
        .collect();
    if plain.is_some_and(|parts| parts.join("/") == text && !text.is_empty()) {
        Ok(text.to_string())
    } else {
        Err(format!("{shown:?} leads out of the data directory"))
    }
}

fn compare(said: &[Entry], found: &[Entry]) -> Result<(), String> {
    for (said, found) in said.iter().zip(found) {
        if said.path != found.path {
            return Err(format!("the manifest has {} where {} is", said.path, found.path));
        }
        if (said.bytes, &said.sha256) != (found.bytes, &found.sha256) {
            return Err(format!("{} was changed: its digest is not the manifest's", said.path));
        }
    }
    match said.len().cmp(&found.len()) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(format!("{} is missing", said[found.len()].path)),
        std::cmp::Ordering::Less => Err(format!("{} is not in the manifest", found[said.len()].path)),
    }
}
