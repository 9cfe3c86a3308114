//! Unix sockets that nobody ever finds half made: bound in a directory that only the owner may enter, given their mode there,
//! then renamed over the place where others look. A dead process's socket is replaced in the same step.
//!
//! ```text
//! .name.new/ (0700)  made new ─▶ s bound in it ─▶ mode set ─▶ renamed to name ─▶ directory removed
//! ```

use std::fs::{DirBuilder, Permissions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// `sun_path` holds 108 bytes, the last of them zero (unix(7)).
const PATH_BYTES_MAX: usize = 107;

/// Binds and listens. The caller holds the lock that makes it the only process to do so at this path; what lies there is a dead
/// process's. The listener does not block, as async runtimes want it.
pub fn listen(path: &Path, mode: u32) -> Result<UnixListener> {
    let name = path.file_name().ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the path has no file name"))?;
    let private = path.with_file_name(format!(".{}.new", name.to_string_lossy()));
    let place = private.join("s");
    if place.as_os_str().len() > PATH_BYTES_MAX {
        let spare = PATH_BYTES_MAX - (place.as_os_str().len() - path.as_os_str().len());
        return Err(Error::new(ErrorKind::InvalidFilename, format!("the path of a socket has at most {spare} bytes here")));
    }
    remove(&private)?;
    DirBuilder::new().mode(0o700).create(&private)?;
    let bound = (|| {
        let listener = UnixListener::bind(&place)?;
        listener.set_nonblocking(true)?;
        std::fs::set_permissions(&place, Permissions::from_mode(mode))?;
        std::fs::rename(&place, path)?;
        Ok(listener)
    })();
    // Nothing is in it any more, or the first error is the one to report; the next start removes it.
    let _ = remove(&private);
    bound
}

/// Left by a process that was killed between two steps.
fn remove(private: &Path) -> Result<()> {
    match std::fs::remove_dir_all(private) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::FileTypeExt;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    fn mode(path: &Path) -> Option<u32> {
        fs::symlink_metadata(path).ok().map(|m| m.permissions().mode() & 0o7777)
    }

    /// Looks at both places as fast as it can while sockets are made: neither is ever open to others.
    #[test]
    fn no_one_finds_a_socket_open_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let (path, private) = (dir.path().join("x.sock"), dir.path().join(".x.sock.new"));
        let done = AtomicBool::new(false);
        /// Also when an assertion fails, so that the other thread ends.
        struct Done<'a>(&'a AtomicBool);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, SeqCst);
            }
        }
        std::thread::scope(|scope| {
            let at_the_end = Done(&done);
            let spy = scope.spawn(|| {
                let mut seen = std::collections::BTreeSet::new();
                while !done.load(SeqCst) {
                    seen.extend([("socket", mode(&path)), ("directory", mode(&private))]);
                }
                seen
            });
            let mut kept = None;
            for _ in 0..300 {
                let listener = listen(&path, 0o600).unwrap();
                let bound_at = listener.local_addr().unwrap().as_pathname().unwrap().to_path_buf();
                assert_eq!(bound_at.parent(), Some(private.as_path()), "bound where others look");
                assert_eq!(mode(&path), Some(0o600));
                UnixStream::connect(&path).unwrap();
                kept = Some(listener);
            }
            drop(at_the_end);
            let seen = spy.join().unwrap();
            let fine = |what: &(&str, Option<u32>)| matches!(what, ("socket", None | Some(0o600)) | ("directory", None | Some(0o700)));
            assert!(seen.iter().all(fine), "{seen:?}");
            drop(kept);
        });
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["x.sock"]);
    }

    /// Also when it died in the middle, or somebody else put a link there.
    #[test]
    fn what_a_dead_process_left_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (path, private) = (dir.path().join("x.sock"), dir.path().join(".x.sock.new"));
        drop(listen(&path, 0o600).unwrap());
        assert!(UnixStream::connect(&path).is_err(), "nobody listens");
        fs::create_dir(&private).unwrap();
        fs::set_permissions(&private, Permissions::from_mode(0o777)).unwrap();
        drop(UnixListener::bind(private.join("s")).unwrap());
        let _listener = listen(&path, 0o660).unwrap();
        UnixStream::connect(&path).unwrap();
        assert_eq!((mode(&path), mode(&private)), (Some(0o660), None));
        let elsewhere = dir.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &private).unwrap();
        let followed = listen(&path, 0o600);
        assert!(followed.is_err() || fs::read_dir(&elsewhere).unwrap().next().is_none());
        assert!(fs::metadata(&path).unwrap().file_type().is_socket());
    }

    #[test]
    fn a_path_too_long_says_how_long_it_may_be() {
        let dir = tempfile::tempdir().unwrap();
        let said = listen(&dir.path().join("x".repeat(100)), 0o600).unwrap_err().to_string();
        assert!(said.contains("has at most 100 bytes"), "{said}");
    }
}
