//! Locks between processes, and places for what is half-made.
//! A lock lives as long as the process that holds it, so a killed one never leaves one behind.
//!
//! ```text
//! work/<name>/  with  work/<name>.lock held  ─▶ renamed into the store, or dropped
//!       └─ holder died: the lock is free ─▶ swept by the next one who opens the store
//! ```

use crate::files;
use model::Fault;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

fn open(path: &Path) -> Result<File, Fault> {
    if let Some(dir) = path.parent() {
        files::make_dir(dir)?;
    }
    OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).map_err(files::at("cannot open the lock", path))
}

impl Lock {
    pub fn exclusive(path: &Path) -> Result<Lock, Fault> {
        let file = open(path)?;
        file.lock().map_err(files::at("cannot lock", path))?;
        Ok(Lock { _file: file })
    }

    pub fn shared(path: &Path) -> Result<Lock, Fault> {
        let file = open(path)?;
        file.lock_shared().map_err(files::at("cannot lock", path))?;
        Ok(Lock { _file: file })
    }

    /// None: another process holds it.
    pub fn try_exclusive(path: &Path) -> Result<Option<Lock>, Fault> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(files::fault("cannot lock", path, &e)),
        }
    }
}

/// A directory for what is half-made; gone with everything in it when dropped, or swept after a kill.
#[derive(Debug)]
pub struct Work {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: Lock,
}

static COUNT: AtomicU64 = AtomicU64::new(0);

impl Work {
    /// `gate` is held while the directory and its lock come to be, so that no sweep sees one without the other.
    pub fn begin(work: &Path, gate: &Path, label: &str) -> Result<Work, Fault> {
        let _gate = Lock::exclusive(gate)?;
        files::make_dir(work)?;
        let name = format!("{label}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let (path, lock_path) = (work.join(&name), work.join(format!("{name}.lock")));
        files::remove_tree(&path)?;
        let lock = Lock::exclusive(&lock_path)?;
        // Trees that are put together here have files of root with the setuid bit, and the data directory may be open to others.
        DirBuilder::new().mode(0o700).create(&path).map_err(files::at("cannot make", &path))?;
        Ok(Work { path, lock_path, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next one who opens the store.
        let _ = files::remove_tree(&self.path);
        let _ = files::remove_file(&self.lock_path);
    }
}

/// Removes what dead processes left; says how many places.
pub fn sweep(work: &Path, gate: &Path) -> Result<u32, Fault> {
    let _gate = Lock::exclusive(gate)?;
    let mut swept = 0;
    let entries = match std::fs::read_dir(work) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(files::fault("cannot list", work, &e)),
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "lock") {
            if Lock::try_exclusive(&path)?.is_some() && !files::exists(&path.with_extension("")) {
                files::remove_file(&path)?;
            }
            continue;
        }
        let lock_path = PathBuf::from(format!("{}.lock", path.display()));
        let Some(_dead) = Lock::try_exclusive(&lock_path)? else { continue };
        let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
        if is_dir {
            files::remove_tree(&path)?
        } else {
            files::remove_file(&path)?
        }
        files::remove_file(&lock_path)?;
        swept += 1;
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn nobody_else_comes_to_what_is_half_made() {
        let dir = tempfile::tempdir().unwrap();
        let work = Work::begin(&dir.path().join("work"), &dir.path().join("gate"), "build").unwrap();
        assert_eq!(std::fs::metadata(work.path()).unwrap().permissions().mode() & 0o077, 0, "a tree in it has files that run as root");
    }
}
