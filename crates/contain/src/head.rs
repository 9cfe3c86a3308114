//! How long a record was when it was last written, noted beside it: a record that was cut between two lines is noticed.
//!
//! It is written after the record. So what a killed run leaves is a record that is longer than noted, and never a shorter one.

use disk::files;
use model::Fault;
use serde::{Deserialize, Serialize};
use std::path::Path;

const HEAD_BYTES_MAX: u64 = 4096;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) entries: usize,
    /// Of the last of them.
    pub(crate) hash: String,
}

impl Head {
    /// None: nothing was noted. Read it before the record, which may grow meanwhile.
    pub(crate) fn read(path: &Path) -> Result<Option<Head>, Fault> {
        let bytes = match files::read_limited(path, HEAD_BYTES_MAX) {
            Err(fault) if fault.code == "no-such-file" => return Ok(None),
            other => other?,
        };
        let damaged = |e: serde_json::Error| {
            Fault::yours("bad-journal", format!("{} cannot be read: {e}", path.display())).hint("restore the file from a backup")
        };
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }

    /// It is on the disk when this returns.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Fault> {
        let line = serde_json::to_string(self).unwrap_or_default() + "\n";
        disk::write(path, line.as_bytes(), 0o600, disk::Lasting::Now).map_err(files::at("cannot write", path))
    }

    /// Whether a record with these hashes has everything that was noted. The fault completes "the record ...".
    pub(crate) fn check(&self, hashes: &[&str]) -> Result<(), String> {
        match self.entries.checked_sub(1).and_then(|last| hashes.get(last)) {
            Some(hash) if *hash == self.hash => Ok(()),
            Some(_) => Err("is not the one that was noted".into()),
            None => Err(format!("was cut: it has {} of the {} entries that were noted", hashes.len(), self.entries)),
        }
    }
}
