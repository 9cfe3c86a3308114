//! Index files that mirrors signed, as apt keeps them.

use disk::files;
use model::{Digest, Fault};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// One file that a mirror signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    pub file: String,
    pub digest: Digest,
    pub fields: BTreeMap<String, String>,
}

pub fn files_ending(dir: &Path, endings: &[&str]) -> Result<Vec<PathBuf>, Fault> {
    let entries = fs::read_dir(dir).map_err(files::at("cannot list", dir))?;
    let fits = |p: &PathBuf| p.file_name().is_some_and(|n| endings.iter().any(|e| n.to_string_lossy().ends_with(e)));
    let mut all: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(fits).collect();
    all.sort();
    Ok(all)
}
