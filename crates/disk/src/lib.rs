//! Small files, written whole or not at all: whoever reads one, also after a crash, finds the old or the new. What the bytes
//! mean is the caller's business.
//!
//! ```text
//! .name.pid.n  made new ─▶ written, mode set ─▶ synced ─▶ renamed over name ─▶ directory synced
//!     └─ any error: removed
//! ```

pub mod files;
pub mod lock;
pub mod log;
pub mod socket;
pub mod state;
pub mod volume;
pub mod within;

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// When the file is there again after a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// Before this returns.
    Now,
    /// When the kernel gets to it: enough where a power cut ends what the file speaks of.
    Soon,
}

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Puts `bytes` in the place of what is at `path`, with exactly this mode whatever the umask. The directory must be there.
pub fn write(path: &Path, bytes: &[u8], mode: u32, lasting: Lasting) -> Result<()> {
    let folder = path.parent().ok_or_else(|| Error::other("it has no place in a directory"))?;
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let (temp, file) = begin(folder, path, mode)?;
    let done = (|| {
        let mut file = file;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        if lasting == Lasting::Now {
            file.sync_all()?;
        }
        std::fs::rename(&temp, path)?;
        if lasting == Lasting::Now { File::open(folder)?.sync_all() } else { Ok(()) }
    })();
    if done.is_err() {
        // What is half written must not stay; that it cannot be removed is no news beside the first error.
        let _ = std::fs::remove_file(&temp);
    }
    done
}

/// A new file beside the one that is to be replaced; readers of a directory pass over names that begin with a dot.
fn begin(folder: &Path, path: &Path, mode: u32) -> Result<(PathBuf, File)> {
    let name = path.file_name().ok_or_else(|| Error::other("it has no name"))?.to_string_lossy();
    loop {
        let temp = folder.join(format!(".{name}.{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        match OpenOptions::new().write(true).create_new(true).mode(mode).open(&temp) {
            // Left by a process of this number that was killed.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            made => return made.map(|file| (temp, file)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn the_new_takes_the_place_of_the_old() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        for (bytes, mode, lasting) in [("old", 0o600, Lasting::Now), ("new", 0o644, Lasting::Soon), ("", 0o666, Lasting::Now)] {
            write(&path, bytes.as_bytes(), mode, lasting).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), bytes);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode, "whatever the umask");
            assert_eq!(names(dir.path()), ["state.json"]);
        }
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        assert!(write(&dir.path().join("no/such/dir"), b"x", 0o644, Lasting::Now).is_err());
        assert!(write(Path::new("/"), b"x", 0o644, Lasting::Now).is_err());
        // A directory stands where the file is to go.
        let taken = dir.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(write(&taken, b"x", 0o644, Lasting::Soon).is_err());
        assert_eq!(names(dir.path()), ["taken"]);
    }

    #[test]
    fn files_are_counted_before_they_are_made() {
        let dir = tempfile::tempdir().unwrap();
        let is_counted = rustix::fs::statvfs(dir.path()).unwrap().f_files > 0;
        files::want_files(dir.path(), 1, "it").unwrap();
        let more = files::want_files(dir.path(), u64::MAX, "it").map_err(|f| f.code);
        assert_eq!(more, if is_counted { Err("disk-full".to_string()) } else { Ok(()) });
    }

    #[test]
    fn what_a_killed_process_left_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let next = COUNT.load(Ordering::Relaxed);
        for n in next..next + 50 {
            fs::write(dir.path().join(format!(".f.{}.{n}", std::process::id())), "left").unwrap();
        }
        write(&dir.path().join("f"), b"x", 0o644, Lasting::Now).unwrap();
        assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"x");
    }

    #[test]
    fn many_at_once_leave_one_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::thread::scope(|scope| {
            for n in 0..8u8 {
                let path = &path;
                scope.spawn(move || (0..20).for_each(|_| write(path, &vec![n; 5000], 0o600, Lasting::Soon).unwrap()));
            }
        });
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.len() == 5000 && bytes.iter().all(|b| *b == bytes[0]));
        assert_eq!(names(dir.path()), ["f"]);
    }
}
