//! The files of a directory that `init` looks at: few, small, none behind a link, none of other people's code.

use crate::failure;
use model::Fault;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Directories of code that is somebody else's, or no code.
const SKIPPED: &[&str] = &["node_modules", "venv", "env", "vendor", "target", "build", "dist", "__pycache__", "tests", "test"];
const FILES_MAX: usize = 400;
const BYTES_MAX: u64 = 256 << 10;
const DEPTH_MAX: usize = 4;
const READ: &[&str] = &["py", "js", "mjs", "cjs", "ts", "php", "go", "rs", "json", "toml", "txt", "mod", "cfg"];

pub struct Tree {
    root: PathBuf,
    /// By path from the root.
    files: BTreeMap<String, String>,
}

impl Tree {
    pub fn read(root: &Path) -> Result<Self, Fault> {
        let root = root.canonicalize().map_err(|e| failure::io("cannot read", root, &e))?;
        let mut tree = Self { root, files: BTreeMap::new() };
        let root = tree.root.clone();
        tree.walk(&root, "", 0)?;
        Ok(tree)
    }

    /// Nearer files first, so that a large tree hides none of them.
    fn walk(&mut self, dir: &Path, below: &str, depth: usize) -> Result<(), Fault> {
        let mut dirs = Vec::new();
        let mut entries: Vec<_> = std::fs::read_dir(dir).map_err(|e| failure::io("cannot list", dir, &e))?.flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Ok(kind) = entry.file_type() else { continue };
            let place = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
            if kind.is_dir() && !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
                dirs.push((entry.path(), place));
            } else if kind.is_file() && self.files.len() < FILES_MAX && is_read(&name) {
                let small = entry.metadata().is_ok_and(|meta| meta.len() <= BYTES_MAX);
                let text = if small { std::fs::read(entry.path()).unwrap_or_default() } else { Vec::new() };
                self.files.insert(place, String::from_utf8_lossy(&text).into_owned());
            }
        }
        for (path, place) in dirs.into_iter().filter(|_| depth < DEPTH_MAX) {
            // One that cannot be listed is not looked at.
            let _ = self.walk(&path, &place, depth + 1);
        }
        Ok(())
    }

    pub fn name(&self) -> String {
        self.root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    pub fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Whether there is such a directory, looked at or not.
    pub fn has_dir(&self, name: &str) -> bool {
        std::fs::symlink_metadata(self.root.join(name)).is_ok_and(|meta| meta.is_dir())
    }

    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Path and text of each file with one of these endings.
    pub fn with<'a>(&'a self, endings: &'a [&'a str]) -> impl Iterator<Item = (&'a str, &'a str)> {
        let ends = move |path: &str| path.rsplit_once('.').is_some_and(|(_, ending)| endings.contains(&ending));
        self.files.iter().filter(move |(path, _)| ends(path)).map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The first of these that is there.
    pub fn first<'a>(&self, paths: &[&'a str]) -> Option<&'a str> {
        paths.iter().copied().find(|path| self.has(path))
    }
}

fn is_read(name: &str) -> bool {
    name == "Dockerfile" || name == "Containerfile" || name.rsplit_once('.').is_some_and(|(_, ending)| READ.contains(&ending))
}
