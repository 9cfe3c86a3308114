//! Brings locked packages into the package store, by SHA-256. What is there already is not asked for again,
//! so a mirror that dropped a package, or is down, does not matter for one that was fetched once.
//!
//! apt's own downloader does the talking: proxies, credentials and certificates work as the machine's owner set them up.

use crate::apt;
use crate::apt_user::{self, Place};
use crate::progress::Steps;
use crate::unpack::in_parallel;
use disk::files;
use model::Fault;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use store::Store;
use store::lockfile::{Lock, Locked};
use store::program;

/// Downloads at once; more gains nothing and is unkind to a mirror.
const AT_ONCE: usize = 4;
const HELPER: &str = "/usr/lib/apt/apt-helper";
/// A download that makes no progress is given up by apt itself; this bounds the whole.
const PATIENCE_S: u32 = 1800;

/// So much more may come than is said, to be told apart from what is said.
const SLACK: u64 = 1 << 20;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// Packages that were there, whole.
    pub had: usize,
    pub fetched: usize,
    pub bytes: u64,
}

/// Where a package's file lies once it is there.
pub fn path(store: &Store, package: &Locked) -> PathBuf {
    store.dir("packages").join(file_name(package))
}

fn is_whole(path: &Path, package: &Locked) -> Result<bool, Fault> {
    // Every byte, each time: it is 0.1 s for a system, and a package changed on disk must never get in.
    let right_size = std::fs::metadata(path).is_ok_and(|m| m.len() == package.bytes);
    Ok(right_size && files::digest_file(path)?.0.hex() == package.sha256)
}

/// Packages of a lock that are not in the store whole.
pub fn missing<'a>(store: &Store, lock: &'a Lock) -> Result<Vec<&'a Locked>, Fault> {
    let whole = in_parallel(lock.packages.len(), |n| is_whole(&path(store, &lock.packages[n]), &lock.packages[n]))?;
    Ok(lock.packages.iter().zip(&whole).filter(|(_, w)| !**w).map(|(p, _)| p).collect())
}

/// Fetches what is missing or damaged.
pub fn fetch(store: &Store, lock: &Lock, steps: &mut Steps) -> Result<Fetched, Fault> {
    let missing = missing(store, lock)?;
    let had = lock.packages.len() - missing.len();
    if missing.is_empty() {
        return Ok(Fetched { had, ..Fetched::default() });
    }
    let bytes = missing.iter().map(|p| p.bytes).sum();
    files::make_dir(&store.dir("packages"))?;
    let place = Place::of(&store.dir("packages/partial"));
    place.make_dir_for_downloads("")?;
    steps.at(0, bytes, format!("{} packages, {} MB", missing.len(), bytes / 1_000_000));
    files::want_space(&store.dir("packages"), bytes + bytes / 10, "the packages")?;
    // Half-fetched files are kept by name for the next try, so only one may fetch into them.
    let _alone = store.lock("fetch", || {})?;
    program::need(&["apt-get", "timeout", "prlimit"])?;
    // The same number of bytes for each, about.
    let mut shares: Vec<(u64, Vec<&Locked>)> = vec![(0, Vec::new()); AT_ONCE.min(missing.len())];
    let mut sorted = missing.clone();
    sorted.sort_by_key(|p| std::cmp::Reverse(p.bytes));
    for p in sorted {
        let least = shares.iter_mut().min_by_key(|s| s.0).expect("there is one at least");
        least.0 += p.bytes;
        least.1.push(p);
    }
    for p in &missing {
        // What is there with other bytes is of no use, and must not be taken for what comes.
        files::remove_file(&path(store, p))?;
    }
    let conf = apt::passed_conf(store)?;
    std::thread::scope(|scope| {
        let started: Vec<_> = shares.iter().map(|(_, share)| scope.spawn(|| download(store, &place, &conf, share))).collect();
        started.into_iter().try_for_each(|t| t.join().expect("a download does not panic"))
    })?;
    steps.at(bytes, bytes, "all there");
    Ok(Fetched { had, fetched: missing.len(), bytes })
}

fn partial(store: &Store, package: &Locked) -> PathBuf {
    store.dir("packages/partial").join(file_name(package))
}

fn file_name(package: &Locked) -> String {
    format!("{}.deb", package.sha256)
}

fn download(store: &Store, place: &Place, conf: &Path, share: &[&Locked]) -> Result<(), Fault> {
    for some in share.chunks(200) {
        // No file may grow past what the largest should have: who lies of the size could fill the disk.
        let largest = some.iter().map(|p| p.bytes).max().unwrap_or(0) + SLACK;
        let mut c = place.command(PATIENCE_S, "prlimit");
        c.arg(format!("--fsize={largest}")).arg("--").arg(HELPER);
        c.env("APT_CONFIG", conf).arg("download-file");
        for p in some {
            c.arg(&p.url).arg(place.seen().join(file_name(p))).arg(format!("SHA256:{}", p.sha256));
        }
        let done = program::run(&mut c, "apt-helper")?;
        for p in some {
            // Each that did arrive is kept, whatever became of the others.
            let at = partial(store, p);
            if apt_user::take(&at)? && is_whole(&at, p)? {
                std::fs::File::open(&at).and_then(|f| f.sync_data()).map_err(files::at("cannot sync", &at))?;
                std::fs::rename(&at, path(store, p)).map_err(files::at("cannot keep", &at))?;
            }
        }
        if let Some(p) =
            some.iter().find(|p| !files::exists(&path(store, p)) || std::fs::metadata(path(store, p)).is_ok_and(|m| m.len() != p.bytes))
        {
            return Err(refused(p, &done));
        }
    }
    files::sync_dir(&store.dir("packages"))
}

fn refused(p: &Locked, done: &program::Done) -> Fault {
    let said = &format!("{}{}", done.text(), done.stderr);
    // apt says all twice: as it goes on, and at the end with E: before it.
    let lines: Vec<&str> = said.lines().skip_while(|l| !l.starts_with("E:")).filter(|l| *l != "E: Download Failed").collect();
    let shown = match lines.len() {
        0 => format!("apt's downloader ended with {} and said: {}", done.status, program::last_lines(said)),
        _ => program::last_lines(&lines.join("\n")),
    };
    let has = |words: &[&str]| words.iter().any(|w| said.contains(w));
    if has(&["No space left on device"]) {
        return files::disk_full(format!("no room for {}:\n{shown}", p.url));
    }
    if has(&["Hash Sum mismatch", "Hashes of", "unexpected size", "File too large", "died unexpectedly", "exited unexpectedly"]) {
        return Fault::world("mirror-lies", format!("{} has other bytes than the signed index says:\n{shown}", p.url))
            .hint("it may be in the middle of an update: try again in some minutes, or use another mirror");
    }
    if is_gone(said) {
        return Fault::world("package-gone", format!("{} {} is not at {} any more:\n{shown}", p.name, p.version, p.url))
            .hint("a newer one is out: lock or bake again, or point apt at a mirror that keeps old ones")
            .again(false);
    }
    if let Some(fault) = apt::answered_badly(&shown) {
        return fault;
    }
    Fault::world("mirror-unreachable", format!("cannot fetch {}:\n{shown}", p.url))
        .hint("check the network, and proxies in /etc/apt/apt.conf.d")
}

/// The status as a word of its own: a port or a version may hold the same digits.
fn is_gone(said: &str) -> bool {
    said.contains(" 404 ") || said.contains("File not found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_status() {
        assert!(is_gone("E: Failed to fetch http://127.0.0.1:80/pool/tool_2.10_amd64.deb  404  Not Found [IP: 127.0.0.1 80]"));
        assert!(!is_gone("E: Failed to fetch http://127.0.0.1:40469/pool/tool_2.10_amd64.deb  Undetermined Error [IP: 127.0.0.1 40469]"));
    }
}
