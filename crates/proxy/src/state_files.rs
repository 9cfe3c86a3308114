//! Reads and writes state files, and finds which files of a folder changed. What damage or absence means is decided by the caller.

use disk::state::{Found, Mark};
use model::Fault;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A larger file is not a state file of the balancer.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Atomic, durable before this returns, and readable only by the owner.
pub fn write_durable(path: &Path, bytes: &[u8]) -> io::Result<()> {
    disk::write(path, bytes, 0o600, disk::Lasting::Now)
}

/// Writes both copies of a state file (see `disk::state`), durable before this returns.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Fault> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|e| Fault::ours("bad-state", format!("{}: {e}", path.display())))?;
    disk::state::write(path, &bytes, 0o600, disk::Lasting::Now).map_err(|e| {
        Fault::world("disk", format!("{}: {e}", path.display())).hint("check the free space and the owner of the data directory")
    })
}

/// The newest intact copy, or why there is none.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Found<T> {
    disk::state::read(path, FILE_BYTES_MAX, |bytes| serde_json::from_slice(bytes).map_err(|e| e.to_string()))
}

/// Mode 0700: only the owner may reach sockets and state.
pub fn make_folder(path: &Path) -> Result<(), Fault> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| Fault::world("data-dir", format!("{}: {e}", path.display())).hint("the data directory must be writable").again(false))
}

/// The `*.json` state files of a folder, as of the last call of [`Folder::changes`].
pub struct Folder {
    path: PathBuf,
    marks: BTreeMap<String, Mark>,
}

pub struct Changes {
    /// Names without `.json`.
    pub changed: Vec<(String, PathBuf)>,
    /// Names of which both copies are missing. A file is removed only after its content says that its object has ended.
    pub gone: Vec<String>,
}

impl Folder {
    pub fn new(path: PathBuf) -> Self {
        Self { path, marks: BTreeMap::new() }
    }

    pub fn has(&self, name: &str) -> bool {
        self.marks.contains_key(name)
    }

    /// What changed since the last call. An unreadable folder is an error, never an empty one.
    pub fn changes(&mut self) -> io::Result<Changes> {
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
