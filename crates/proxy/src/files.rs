//! State files, and folders of them. Damage and absence are told from content; what is made of them is the reader's business.

use disk::state::{Found, Mark};
use model::Fault;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// No state file is larger; more is garbage.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Whole or not at all, on the disk before this returns, and nobody else's.
pub fn write_durable(path: &Path, bytes: &[u8]) -> io::Result<()> {
    disk::write(path, bytes, 0o600, disk::Lasting::Now)
}

/// A state file (see `disk::state`): both copies, on the disk before this returns.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Fault> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|e| Fault::ours("bad-state", format!("{}: {e}", path.display())))?;
    disk::state::write(path, &bytes, 0o600, disk::Lasting::Now)
        .map_err(|e| Fault::world("disk", format!("{}: {e}", path.display())).hint("is the disk full, or the data directory not ours?"))
}

/// The newest whole copy, or why there is none.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Found<T> {
    disk::state::read(path, FILE_BYTES_MAX, |bytes| serde_json::from_slice(bytes).map_err(|e| e.to_string()))
}

/// Only for the owner: sockets and state are nobody else's.
pub fn make_folder(path: &Path) -> Result<(), Fault> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| Fault::world("data-dir", format!("{}: {e}", path.display())).hint("the data directory must be writable").again(false))
}

/// The `*.json` state files of a folder, and which of them changed since the last look.
pub struct Folder {
    path: PathBuf,
    marks: BTreeMap<String, Mark>,
}

pub struct Changes {
    /// Names without `.json`.
    pub changed: Vec<(String, PathBuf)>,
    /// Of which both copies are missing. Nobody removes a file before it says that what it is about is over.
    pub gone: Vec<String>,
}

impl Folder {
    pub fn new(path: PathBuf) -> Self {
        Self { path, marks: BTreeMap::new() }
    }

    /// As of the last look.
    pub fn has(&self, name: &str) -> bool {
        self.marks.contains_key(name)
    }

    /// An unreadable folder is an error, and must not look like an empty one.
    pub fn look(&mut self) -> io::Result<Changes> {
        let mut marks = BTreeMap::new();
        let mut changed = Vec::new();
        for name in disk::state::names(&self.path, ".json")? {
            let path = self.path.join(format!("{name}.json"));
            let mark = Mark::of(&path);
            if mark.is_absent() {
                continue;
            }
            if self.marks.get(&name) != Some(&mark) {
                changed.push((name.clone(), path));
            }
            marks.insert(name, mark);
        }
        let gone = self.marks.keys().filter(|name| !marks.contains_key(*name)).cloned().collect();
        self.marks = marks;
        Ok(Changes { changed, gone })
    }
}
