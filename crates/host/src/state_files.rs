//! Reading and writing small state files, and locks on files. Whatever is read may be truncated or garbage: [`Read::Bad`] reports
//! it and leaves the decision to the caller.

use disk::Lasting;
use disk::state::{self, Found};
use model::Fault;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// No state file of ours is larger; a larger one is not ours.
const STATE_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug)]
pub enum Read<T> {
    Missing,
    /// It exists and is unusable: why.
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

/// An environment error at this path.
pub fn at(path: &Path, doing: &str, error: impl std::fmt::Display) -> Fault {
    Fault::world("host-io", format!("{}: {doing}: {error}", path.display()))
        .hint("is the disk full, or the data directory on a read-only file system?")
}

/// When the file was last written.
pub fn time_of(meta: &std::fs::Metadata) -> model::Time {
    use std::os::unix::fs::MetadataExt;
    let (seconds, nanos) = (u64::try_from(meta.mtime()).unwrap_or(0), u64::try_from(meta.mtime_nsec()).unwrap_or(0));
    model::Time(seconds * 1_000 + nanos / 1_000_000)
}

/// A state file (see `disk::state`): the newest undamaged copy of the two.
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

/// Writes both copies, the first durably before this returns.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Fault> {
    write_state(path, &encode(value)?, Lasting::Now)
}

/// Writes both copies, but only to the page cache: enough where a power cut ends what the file describes.
pub fn write_json_quick(path: &Path, value: &impl Serialize) -> Result<(), Fault> {
    write_state(path, &encode(value)?, Lasting::Soon)
}

pub fn write_state(path: &Path, bytes: &[u8], lasting: Lasting) -> Result<(), Fault> {
    state::write(path, bytes, 0o644, lasting).map_err(|e| at(path, "writing", e))
}

/// For readers that do not know state files, such as an OCI runtime.
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
    disk::write(path, bytes, 0o644, lasting).map_err(|e| at(path, "writing", e))
}

pub fn make_dir(path: &Path) -> Result<(), Fault> {
    std::fs::create_dir_all(path).map_err(|e| at(path, "making the directory", e))
}

/// Names in a directory, sorted; none for a missing directory.
pub fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(path)
        .map(|entries| entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect())
        .unwrap_or_default();
    names.sort();
    names
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
}
