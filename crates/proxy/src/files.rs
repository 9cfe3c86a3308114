//! State files: written so that a crash leaves the old or the new, read so that garbage is told from absence.

use model::Fault;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// No state file is larger; more is garbage.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Whole or not at all, on the disk before this returns, and nobody else's.
pub fn write_durable(path: &Path, bytes: &[u8]) -> io::Result<()> {
    disk::write(path, bytes, 0o600, disk::Lasting::Now)
}

pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Fault> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|e| Fault::ours("bad-state", format!("{}: {e}", path.display())))?;
    write_durable(path, &bytes)
        .map_err(|e| Fault::world("disk", format!("{}: {e}", path.display())).hint("is the disk full, or the data directory not ours?"))
}

/// The sentence says which file and what is wrong with it.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{}: larger than {FILE_BYTES_MAX} bytes", path.display()));
    }
    serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display()))
}

/// Only for the owner: sockets and state are nobody else's.
pub fn make_folder(path: &Path) -> Result<(), Fault> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| Fault::world("data-dir", format!("{}: {e}", path.display())).hint("the data directory must be writable").again(false))
}

/// Enough to see that a file was replaced or changed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark(u64, u64, i64, i64, i64);

/// The `*.json` files of a folder, and which of them changed since the last look.
pub struct Folder {
    path: PathBuf,
    marks: BTreeMap<String, Mark>,
}

pub struct Changes {
    /// Names without `.json`.
    pub changed: Vec<(String, PathBuf)>,
    pub gone: Vec<String>,
}

impl Folder {
    pub fn new(path: PathBuf) -> Self {
        Self { path, marks: BTreeMap::new() }
    }

    /// An unreadable folder is an error, and must not look like an empty one.
    pub fn look(&mut self) -> io::Result<Changes> {
        let mut marks = BTreeMap::new();
        let mut changed = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let file = entry.file_name();
            let Some(name) = file.to_str().and_then(|n| n.strip_suffix(".json")).filter(|n| !n.starts_with('.')) else { continue };
            let meta = match entry.metadata() {
                Ok(meta) if meta.is_file() => meta,
                Ok(_) => continue,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let mark = Mark(meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime_nsec());
            if self.marks.get(name) != Some(&mark) {
                changed.push((name.to_string(), entry.path()));
            }
            marks.insert(name.to_string(), mark);
        }
        changed.sort();
        let gone = self.marks.keys().filter(|name| !marks.contains_key(*name)).cloned().collect();
        self.marks = marks;
        Ok(Changes { changed, gone })
    }
}
