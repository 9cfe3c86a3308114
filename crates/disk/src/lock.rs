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
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a lock that is waited for is tried.
const RETRY_EVERY: Duration = Duration::from_millis(2);
/// A process id and the spaces behind it.
const HOLDER_BYTES: u64 = 10;

/// A `flock` on a file, held until dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Waits until no other process holds it.
    pub fn exclusive(path: &Path) -> Result<Lock, Fault> {
        let file = open(path)?;
        file.lock().map_err(files::at("cannot lock", path))?;
        Ok(Lock { file })
    }

    /// Waits until no other process holds it exclusively.
    pub fn shared(path: &Path) -> Result<Lock, Fault> {
        let file = open(path)?;
        file.lock_shared().map_err(files::at("cannot lock", path))?;
        Ok(Lock { file })
    }

    /// None: another process holds it.
    pub fn try_exclusive(path: &Path) -> Result<Option<Lock>, Fault> {
        try_lock(open(path)?).map_err(|e| files::fault("cannot lock", path, &e))
    }

    /// As [`Lock::try_exclusive`], for a file that must exist. None also if the file was removed meanwhile: a lock on a file that
    /// no path names excludes no other process.
    pub fn try_existing(path: &Path) -> io::Result<Option<Lock>> {
        let file = File::options().read(true).write(true).open(path)?;
        Ok(try_lock(file)?.filter(|lock| names(path, &lock.file)))
    }

    /// Locks a directory, waiting until no other process holds it.
    pub fn directory(path: &Path) -> io::Result<Lock> {
        let file = File::open(path)?;
        file.lock()?;
        Ok(Lock { file })
    }

    /// Writes this process's id into the file, for messages; the lock itself is what counts. It overwrites in place, so that it
    /// needs no space on a full disk.
    pub fn write_holder(&mut self) -> io::Result<()> {
        let pid = format!("{:<width$}", std::process::id(), width = HOLDER_BYTES as usize);
        self.file.rewind()?;
        self.file.write_all(pid.as_bytes())?;
        self.file.set_len(pid.len() as u64)
    }
}

/// Tries again until `within` is over. A process that checks whether a lock is held holds it for a moment, and a process that was
/// killed while it started a child leaves a copy of its locks with the child until that has started.
pub fn retry<T, E>(within: Duration, mut take: impl FnMut() -> Result<Option<T>, E>) -> Result<Option<T>, E> {
    let until = Instant::now() + within;
    loop {
        let taken = take()?;
        if taken.is_some() || Instant::now() >= until {
            return Ok(taken);
        }
        std::thread::sleep(RETRY_EVERY);
    }
}

/// Whether a live process holds the lock exclusively.
pub fn is_held(path: &Path) -> bool {
    let file = File::options().read(true).write(true).open(path);
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The process id that the holder wrote, if it could.
pub fn holder(path: &Path) -> Option<i32> {
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(HOLDER_BYTES).read_to_string(&mut text)).ok()?;
    text.trim().parse().ok().filter(|pid| *pid > 1)
}

/// Makes the file, and its directory if that is missing. Only its owner can hold the lock.
fn open(path: &Path) -> Result<File, Fault> {
    let open = || OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path);
    let opened = match (open(), path.parent()) {
        (Err(e), Some(dir)) if e.kind() == io::ErrorKind::NotFound => {
            files::make_dir(dir)?;
            open()
        }
        (opened, _) => opened,
    };
    opened.map_err(files::at("cannot open the lock", path))
}

fn try_lock(file: File) -> io::Result<Option<Lock>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

fn names(path: &Path, file: &File) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
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
    fn a_lock_has_one_holder_and_ends_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/lock");
        assert!(Lock::try_existing(&path).is_err() && !is_held(&path) && holder(&path).is_none());
        let mut held = Lock::try_exclusive(&path).unwrap().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "no other user can hold it");
        assert!(is_held(&path) && Lock::try_exclusive(&path).unwrap().is_none() && Lock::try_existing(&path).unwrap().is_none());
        held.write_holder().unwrap();
        assert_eq!(holder(&path), i32::try_from(std::process::id()).ok());
        assert!(retry(Duration::from_millis(20), || Lock::try_exclusive(&path)).unwrap().is_none());
        drop(held);
        // A child that another test starts at this moment has a copy of the descriptor until its exec, and the lock lasts as long.
        let patience = Duration::from_secs(60);
        assert!(retry(patience, || Ok::<_, ()>((!is_held(&path)).then_some(()))).unwrap().is_some());
        assert!(retry(patience, || Lock::try_existing(&path)).unwrap().is_some());
    }

    /// Why the test above waits.
    #[test]
    fn a_lock_lasts_as_long_as_a_copy_of_its_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::try_exclusive(&path).unwrap().unwrap();
        let copy = held.file.try_clone().unwrap();
        drop(held);
        assert!(is_held(&path) && Lock::try_exclusive(&path).unwrap().is_none());
        drop(copy);
        assert!(retry(Duration::from_secs(60), || Lock::try_exclusive(&path)).unwrap().is_some());
    }

    /// A lock on a file that was replaced meanwhile would not exclude the holder of the new file.
    #[test]
    fn a_lock_on_a_replaced_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("lock"), dir.path().join("other"));
        let file = open(&path).unwrap();
        assert!(names(&path, &file));
        std::fs::write(&other, "").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(!names(&path, &file));
        std::fs::remove_file(&path).unwrap();
        assert!(!names(&path, &file));
    }

    #[test]
    fn nobody_else_comes_to_what_is_half_made() {
        let dir = tempfile::tempdir().unwrap();
        let work = Work::begin(&dir.path().join("work"), &dir.path().join("gate"), "build").unwrap();
        assert_eq!(std::fs::metadata(work.path()).unwrap().permissions().mode() & 0o077, 0, "a tree in it has files that run as root");
    }
}
