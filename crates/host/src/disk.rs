//! Reading and writing small state files, and locks on files. Whatever is read back may be truncated or garbage:
//! [`Read::Bad`] says so and leaves the decision to the caller.

use ::disk::Lasting;
use ::disk::state::{self, Found};
use model::Fault;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// No state file of ours is larger; a larger one is not ours.
const STATE_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug)]
pub enum Read<T> {
    Missing,
    /// There, but no use: why.
    Bad(String),
    Good(T),
}

impl<T> Read<T> {
    pub fn good(self) -> Option<T> {
        match self {
            Read::Good(value) => Some(value),
            Read::Missing | Read::Bad(_) => None,
        }
    }
}

/// A fault of the world at this place.
pub fn at(path: &Path, doing: &str, error: impl std::fmt::Display) -> Fault {
    Fault::world("host-io", format!("{}: {doing}: {error}", path.display()))
        .hint("is the disk full, or the data directory on a file system that is read-only?")
}

/// Milliseconds since 1970 by this host's clock.
pub fn now() -> model::Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    model::Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// When the file was last written.
pub fn time_of(meta: &std::fs::Metadata) -> model::Time {
    use std::os::unix::fs::MetadataExt;
    let (seconds, nanos) = (u64::try_from(meta.mtime()).unwrap_or(0), u64::try_from(meta.mtime_nsec()).unwrap_or(0));
    model::Time(seconds * 1_000 + nanos / 1_000_000)
}

/// A state file (see `disk::state`): the newest whole copy of the two.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Read<T> {
    match read_state(path) {
        Found::Absent => Read::Missing,
        Found::Good(good) => {
            if let Some(damage) = good.damage {
                tracing::warn!("{damage}; its spare copy was read");
            }
            Read::Good(good.value)
        }
        Found::Damaged(why) => Read::Bad(why),
    }
}

/// As [`read_json`], with what is known of the two copies.
pub fn read_state<T: DeserializeOwned>(path: &Path) -> Found<T> {
    state::read(path, STATE_BYTES_MAX, |bytes| serde_json::from_slice(bytes).map_err(|e| format!("does not decode: {e}")))
}

/// Both copies, and the first on the disk before this returns.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Fault> {
    write_state(path, &encode(value)?, Lasting::Now)
}

/// Both copies, but only as durable as the page cache: enough where a power cut ends what the file speaks of.
pub fn write_json_quick(path: &Path, value: &impl Serialize) -> Result<(), Fault> {
    write_state(path, &encode(value)?, Lasting::Soon)
}

pub fn write_state(path: &Path, bytes: &[u8], lasting: Lasting) -> Result<(), Fault> {
    state::write(path, bytes, 0o644, lasting).map_err(|e| at(path, "writing", e))
}

/// For others to read who know nothing of state files, such as an OCI runtime.
pub fn write_plain_json(path: &Path, value: &impl Serialize) -> Result<(), Fault> {
    write(path, &encode(value)?, false)
}

pub fn encode(value: &impl Serialize) -> Result<Vec<u8>, Fault> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|e| Fault::ours("encode", e.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

pub fn write(path: &Path, bytes: &[u8], durable: bool) -> Result<(), Fault> {
    let lasting = if durable { Lasting::Now } else { Lasting::Soon };
    ::disk::write(path, bytes, 0o644, lasting).map_err(|e| at(path, "writing", e))
}

pub fn make_dir(path: &Path) -> Result<(), Fault> {
    std::fs::create_dir_all(path).map_err(|e| at(path, "making the directory", e))
}

/// Names in a directory, sorted; a directory that is not there has none.
pub fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(path)
        .map(|entries| entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

/// An exclusive lock that ends with the process, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// None: somebody else holds it. The file must be there, or `create` must be true.
    pub fn take(path: &Path, create: bool) -> std::io::Result<Option<Lock>> {
        let file = File::options().read(true).write(true).create(create).truncate(false).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(same_file(&file, path).then_some(Lock { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// As [`Self::take`], but waits a moment for it. Who looks whether a lock is held holds it for an instant, and a process that
    /// was killed while it began a helper leaves a copy of its locks with the helper until that has begun.
    pub fn take_within(path: &Path, create: bool, within: Duration) -> std::io::Result<Option<Lock>> {
        let until = Instant::now() + within;
        loop {
            let taken = Self::take(path, create)?;
            if taken.is_some() || Instant::now() >= until {
                return Ok(taken);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Whether the path still names the open file: a lock on a file that was removed meanwhile is worth nothing.
fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Whether a live process holds the lock.
pub fn is_held(path: &Path) -> bool {
    match File::options().read(true).write(true).open(path) {
        Ok(file) => matches!(flock(&file, FlockOperation::NonBlockingLockShared), Err(rustix::io::Errno::WOULDBLOCK)),
        Err(_) => false,
    }
}

/// The files that say what an instance is and how far it came, in its directory.
///
/// ```text
/// record.json, shim.lock   there from the first moment (the directory is renamed into place)
/// began                    a shim has taken it up: nobody may launch it again
/// started.json             its program runs
/// healthy                  it passed a health check once
/// ending.json              the keeper means it to end
/// exit.json                its program has ended, or never began
/// ```
#[derive(Clone, Debug)]
pub struct Place(pub PathBuf);

impl Place {
    pub fn record(&self) -> PathBuf {
        self.0.join("record.json")
    }
    pub fn lock(&self) -> PathBuf {
        self.0.join("shim.lock")
    }
    pub fn began(&self) -> PathBuf {
        self.0.join("began")
    }
    pub fn started(&self) -> PathBuf {
        self.0.join("started.json")
    }
    pub fn healthy(&self) -> PathBuf {
        self.0.join("healthy")
    }
    pub fn ending(&self) -> PathBuf {
        self.0.join("ending.json")
    }
    pub fn exit(&self) -> PathBuf {
        self.0.join("exit.json")
    }
    pub fn shim_log(&self) -> PathBuf {
        self.0.join("shim.log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_garbage_is_called_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        assert!(matches!(read_json::<u32>(&path), Read::Missing));
        write_json(&path, &7u32).unwrap();
        assert!(matches!(read_json::<u32>(&path), Read::Good(7)));
        for bad in [&b""[..], b"{", b"\xff\xfe", b"\"seven\""] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(read_json::<u32>(&path), Read::Good(7)), "its spare is whole: {bad:?}");
            std::fs::write(state::spare(&path), bad).unwrap();
            assert!(matches!(read_json::<u32>(&path), Read::Bad(_)), "{bad:?}");
            write_json(&path, &7u32).unwrap();
        }
        assert_eq!(names(dir.path()), ["x.json", "x.json.spare"], "no temporary file is left");
    }

    #[test]
    fn a_lock_is_held_by_one_and_dies_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert!(Lock::take(&path, false).is_err());
        let held = Lock::take(&path, true).unwrap();
        assert!(held.is_some() && is_held(&path));
        assert!(Lock::take(&path, true).unwrap().is_none());
        drop(held);
        assert!(!is_held(&path));
    }
}
