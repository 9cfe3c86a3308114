//! Small acts on the disk that every other file here needs, and what their errors are called.
//! It must not know what an image is.

use model::{Digest, Fault, Time};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// An error of the disk, with the place: a full disk and a missing right have names of their own.
pub fn fault(what: &str, path: &Path, error: &io::Error) -> Fault {
    let text = format!("{what} {}: {error}", path.display());
    match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::NOSPC.raw_os_error() || code == rustix::io::Errno::DQUOT.raw_os_error() => disk_full(text),
        Some(code) if code == rustix::io::Errno::ROFS.raw_os_error() => {
            Fault::world("read-only-disk", text).hint("choose a --data-dir on a disk that can be written").again(false)
        }
        _ if error.kind() == io::ErrorKind::PermissionDenied => Fault::yours("no-permission", text).hint("run it as root, with sudo"),
        _ if error.kind() == io::ErrorKind::NotFound => Fault::yours("no-such-file", text).hint("check the path"),
        _ => Fault::world("io", text),
    }
}

pub fn disk_full(text: impl Into<String>) -> Fault {
    Fault::world("disk-full", text).hint("free some space (`afresh gc` drops images nobody uses), or choose a --data-dir on a larger disk")
}

/// The `map_err` form of [`fault`].
pub fn at<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> Fault + 'a {
    move |error| fault(what, path, &error)
}

pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

pub fn make_dir(path: &Path) -> Result<(), Fault> {
    fs::create_dir_all(path).map_err(at("cannot make", path))
}

pub fn sync_dir(path: &Path) -> Result<(), Fault> {
    File::open(path).and_then(|d| d.sync_all()).map_err(at("cannot sync", path))
}

pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Removes a file; one that is already gone is no error.
pub fn remove_file(path: &Path) -> Result<(), Fault> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(fault("cannot remove", path, &e)),
        _ => Ok(()),
    }
}

/// Removes a directory with all that is in it; one that is already gone is no error.
pub fn remove_tree(path: &Path) -> Result<(), Fault> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(fault("cannot remove", path, &e)),
        _ => Ok(()),
    }
}

/// Whole or not at all, and on the disk before this returns.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    make_dir(path.parent().expect("every path written here lies in a directory"))?;
    crate::write(path, bytes, 0o644, crate::Lasting::Now).map_err(at("cannot write", path))
}

pub fn set_mode(path: &Path, mode: u32) -> Result<(), Fault> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(at("cannot set the mode of", path))
}

/// A file that must not be there yet, with exactly this mode whatever the umask.
pub fn create_new(path: &Path, mode: u32) -> Result<File, Fault> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(at("cannot make", path))?;
    set_mode(path, mode)?;
    Ok(file)
}

/// Reads at most `limit` bytes: what is longer is not what we wrote.
pub fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, Fault> {
    let file = File::open(path).map_err(at("cannot read", path))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(at("cannot read", path))?;
    if bytes.len() as u64 > limit {
        return Err(Fault::world("too-large", format!("{} is larger than {limit} bytes", path.display())).again(false));
    }
    Ok(bytes)
}

/// A file without a place on any disk, and how it is opened while it is held.
pub fn in_memory(bytes: &[u8]) -> Result<(File, std::path::PathBuf), Fault> {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    let name = Path::new("a file in memory");
    let fd = rustix::fs::memfd_create("afresh", rustix::fs::MemfdFlags::CLOEXEC).map_err(|e| fault("cannot make", name, &e.into()))?;
    let mut file = File::from(fd);
    file.write_all(bytes).map_err(at("cannot write", name))?;
    let path = std::path::PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    Ok((file, path))
}

pub fn digest_of(bytes: &[u8]) -> Digest {
    digest_from(Sha256::new_with_prefix(bytes))
}

pub fn digest_from(hasher: Sha256) -> Digest {
    Digest::new(format!("sha256:{}", hex::encode(hasher.finalize()))).expect("a SHA-256 in hex is 64 lower-case digits")
}

/// Counts and hashes what is read or written through it.
pub struct Hashing<T> {
    pub inner: T,
    pub hasher: Sha256,
    pub bytes: u64,
}

impl<T> Hashing<T> {
    pub fn new(inner: T) -> Self {
        Self { inner, hasher: Sha256::new(), bytes: 0 }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.bytes += n as u64;
        Ok(n)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The digest and the number of bytes that were read.
pub fn digest_reader(mut from: impl Read) -> io::Result<(Digest, u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 18];
    let mut count = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok((digest_from(hasher), count)),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                count += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

pub fn digest_file(path: &Path) -> Result<(Digest, u64), Fault> {
    let file = File::open(path).map_err(at("cannot read", path))?;
    digest_reader(file).map_err(at("cannot read", path))
}

/// Bytes that an unprivileged writer could still put there.
pub fn free_bytes(path: &Path) -> Result<u64, Fault> {
    let seen = rustix::fs::statvfs(path).map_err(|e| fault("cannot ask for free space at", path, &e.into()))?;
    Ok(seen.f_bavail.saturating_mul(seen.f_frsize))
}

/// As [`want_space`], of files: a small disk has few.
pub fn want_files(path: &Path, count: u64, what: &str) -> Result<(), Fault> {
    let seen = rustix::fs::statvfs(path).map_err(|e| fault("cannot ask for free space at", path, &e.into()))?;
    // Some filesystems have no such number.
    if seen.f_files == 0 || seen.f_favail >= count {
        return Ok(());
    }
    Err(disk_full(format!("{what} has {count} files and directories, and {} has room for {} more", path.display(), seen.f_favail)))
}

/// Says so before the work, not in the middle of it.
pub fn want_space(path: &Path, bytes: u64, what: &str) -> Result<(), Fault> {
    let free = free_bytes(path)?;
    if free < bytes {
        return Err(disk_full(format!(
            "{what} needs about {} MB at {}, and {} MB are free",
            bytes.div_ceil(1_000_000),
            path.display(),
            free / 1_000_000
        )));
    }
    Ok(())
}
