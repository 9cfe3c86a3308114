//! What `dev` watches: the files of a few directories, by polling, which works on every file system. It reads no contents.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use store::Ignore;

/// More is somebody's data, and looking at it would take longer than a save is waited for.
const FILES_MAX: usize = 20_000;
const DEPTH_MAX: usize = 24;
/// Never code that is deployed, or what changes by itself.
const SKIPPED: &[&str] = &[".git", ".hg", ".svn", "node_modules", "venv", ".venv", "__pycache__", ".pytest_cache", ".mypy_cache", ".idea"];

/// When each file was changed last, as far as that shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    files: BTreeMap<PathBuf, (i64, i64, u64, u64)>,
    pub is_cut: bool,
}

impl Snapshot {
    /// `besides`: a directory that is never looked at.
    pub fn of(paths: &[PathBuf], besides: &Path) -> Self {
        let mut all = Self::default();
        for path in paths {
            all.add(path);
            if path.is_dir() {
                // A list that cannot be read is what a deploy complains about.
                let ignore = Ignore::read(path).unwrap_or_default();
                all.walk(path, Path::new(""), &ignore, besides, 0);
            }
        }
        all
    }

    fn add(&mut self, path: &Path) {
        if let Ok(meta) = std::fs::symlink_metadata(path) {
            let length = if meta.is_dir() { 0 } else { meta.len() };
            let times = if meta.is_dir() { (0, 0) } else { (meta.mtime(), meta.mtime_nsec()) };
            self.files.insert(path.to_path_buf(), (times.0, times.1, length, meta.ino()));
        }
    }

    fn walk(&mut self, root: &Path, below: &Path, ignore: &Ignore, besides: &Path, depth: usize) {
        let Ok(entries) = std::fs::read_dir(root.join(below)) else { return };
        for entry in entries.flatten() {
            let (path, place) = (entry.path(), below.join(entry.file_name()));
            let is_skipped = entry.file_name().to_str().is_some_and(|name| SKIPPED.contains(&name));
            if is_skipped || ignore.leaves_out(&place) || path == besides {
                continue;
            }
            if self.files.len() >= FILES_MAX || depth > DEPTH_MAX {
                self.is_cut = true;
                return;
            }
            self.add(&path);
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.walk(root, &place, ignore, besides, depth + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_save_is_seen_and_what_is_no_code_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in [".git", "node_modules/x", "data", "src/venv", "logs"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        std::fs::write(root.join(".afreshignore"), "logs\n*.tmp\n").unwrap();
        std::fs::write(root.join("src/app.py"), "1").unwrap();
        let look = || Snapshot::of(&[root.to_path_buf()], &root.join("data"));
        let mut before = look();
        for noise in [".git/index", "node_modules/x/a.js", "data/afresh.db", "src/venv/a", "logs/a", "x.tmp"] {
            std::fs::write(root.join(noise), "x").unwrap();
            assert_eq!(look(), before, "{noise}");
        }
        let mut changed = |what: &str| {
            let now = look();
            assert_ne!(now, before, "{what}");
            before = now;
        };
        std::fs::write(root.join("src/app.py"), "12").unwrap();
        changed("longer");
        std::fs::write(root.join("src/new.py"), "").unwrap();
        changed("new");
        std::fs::rename(root.join("src/new.py"), root.join("src/app.py")).unwrap();
        changed("replaced, as editors do");
        std::fs::remove_file(root.join("src/app.py")).unwrap();
        changed("removed");
        std::os::unix::fs::symlink("/", root.join("all")).unwrap();
        changed("a link");
        assert!(look().files.len() < 20, "nothing behind it is looked at");
    }
}
