//! Takes out of a tree what belongs to the machine or the moment it was made on, so that equal inputs give equal trees.
//! What is taken out, and why, is written in one table.

use crate::io;
use model::Fault;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

enum Act {
    /// Gone, with all that is in it.
    Remove,
    /// The directory stays, empty.
    Empty,
    /// Every plain file in it goes; directories stay, as programs expect them.
    Files,
    /// There, with this content.
    Write(&'static str),
    /// A directory that is there, empty or not.
    Dir,
}

const TABLE: &[(&str, Act)] = &[
    // Identity: systemd takes an empty machine-id as "make one on first boot".
    ("etc/machine-id", Act::Write("")),
    ("var/lib/dbus/machine-id", Act::Remove),
    ("etc/hostname", Act::Remove),
    ("etc/resolv.conf", Act::Remove),
    ("etc/hosts", Act::Write("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")),
    ("var/lib/systemd/random-seed", Act::Remove),
    ("var/lib/systemd/credential.secret", Act::Remove),
    ("var/lib/NetworkManager/secret_key", Act::Remove),
    ("root/.bash_history", Act::Remove),
    // ssl-cert makes a key pair per machine: in an image all servers would share it, and everybody who has the image would know it.
    // A service that wants one runs `make-ssl-cert generate-default-snakeoil` when it starts.
    ("etc/ssl/private/ssl-cert-snakeoil.key", Act::Remove),
    ("etc/ssl/certs/ssl-cert-snakeoil.pem", Act::Remove),
    // How the tree was made: mirrors, proxies, downloaded lists. A server is replaced, not changed, so it needs none of them.
    ("etc/apt/sources.list", Act::Remove),
    ("etc/apt/sources.list.d", Act::Empty),
    ("etc/apt/apt.conf.d/99mmdebstrap", Act::Remove),
    ("etc/apt/auth.conf.d", Act::Empty),
    ("var/lib/apt", Act::Files),
    ("var/lib/apt/lists", Act::Empty),
    ("var/cache/apt", Act::Empty),
    ("var/cache/debconf", Act::Empty),
    ("var/cache/ldconfig", Act::Empty),
    ("var/cache/man", Act::Empty),
    // Copies of the state before the last change, in the order things happened to be done.
    ("var/lib/dpkg/status-old", Act::Remove),
    ("var/lib/dpkg/available", Act::Remove),
    ("var/lib/dpkg/available-old", Act::Remove),
    ("var/lib/dpkg/diversions-old", Act::Remove),
    ("var/lib/dpkg/statoverride-old", Act::Remove),
    ("var/lib/dpkg/lock", Act::Remove),
    ("var/lib/dpkg/lock-frontend", Act::Remove),
    ("var/lib/dpkg/triggers/Lock", Act::Remove),
    ("var/lib/dpkg/cmethopt", Act::Remove),
    ("etc/passwd-", Act::Remove),
    ("etc/group-", Act::Remove),
    ("etc/shadow-", Act::Remove),
    ("etc/gshadow-", Act::Remove),
    ("etc/subuid-", Act::Remove),
    ("etc/subgid-", Act::Remove),
    ("etc/.pwd.lock", Act::Remove),
    // The moment.
    ("var/log", Act::Files),
    ("var/log/journal", Act::Empty),
    ("run", Act::Empty),
    ("tmp", Act::Empty),
    ("var/tmp", Act::Empty),
    ("dev", Act::Empty),
    ("proc", Act::Empty),
    ("sys", Act::Empty),
    // Where the service's code is mounted.
    ("app", Act::Dir),
];

/// What becomes of the times of files.
pub struct Times<'a> {
    /// Seconds since 1970. Nothing is newer.
    pub epoch: u64,
    /// The times that packages brought, by place. A file that still has its own keeps it, so that compiled Python still matches
    /// its source; all others were made here and get `epoch`, whatever the clock said. None: only what is newer is changed.
    pub shipped: Option<&'a BTreeMap<PathBuf, i64>>,
}

pub fn scrub(root: &Path, times: &Times) -> Result<(), Fault> {
    for (place, act) in TABLE {
        // A script of the recipe could have made a link of /etc: what lies behind one is not the tree's.
        if parents_are_dirs(root, place) {
            apply(&root.join(place), act)?;
        }
    }
    host_keys(root)?;
    shadow(root, times.epoch)?;
    settle(root, Path::new(""), times)
}

pub(crate) fn parents_are_dirs(root: &Path, place: &str) -> bool {
    let Some((parents, _)) = place.rsplit_once('/') else { return true };
    let mut path = root.to_path_buf();
    parents.split('/').all(|part| {
        path.push(part);
        fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir())
    })
}

fn apply(path: &Path, act: &Act) -> Result<(), Fault> {
    let kind = fs::symlink_metadata(path).ok().map(|m| m.file_type());
    match act {
        Act::Remove => match kind {
            Some(k) if k.is_dir() => io::remove_tree(path),
            Some(_) => io::remove_file(path),
            None => Ok(()),
        },
        Act::Empty if kind.is_some_and(|k| k.is_dir()) => {
            each(path, |p, is_dir| if is_dir { io::remove_tree(p) } else { io::remove_file(p) })
        }
        Act::Files if kind.is_some_and(|k| k.is_dir()) => remove_files(path),
        Act::Empty | Act::Files => Ok(()),
        Act::Write(text) => {
            io::remove_file(path)?;
            fs::write(path, text).map_err(io::at("cannot write", path))?;
            io::set_mode(path, 0o644)
        }
        Act::Dir => {
            io::make_dir(path)?;
            io::set_mode(path, 0o755)
        }
    }
}

fn each(dir: &Path, mut act: impl FnMut(&Path, bool) -> Result<(), Fault>) -> Result<(), Fault> {
    for entry in fs::read_dir(dir).map_err(io::at("cannot list", dir))? {
        let entry = entry.map_err(io::at("cannot list", dir))?;
        act(&entry.path(), entry.file_type().is_ok_and(|t| t.is_dir()))?;
    }
    Ok(())
}

fn remove_files(dir: &Path) -> Result<(), Fault> {
    each(dir, |p, is_dir| if is_dir { remove_files(p) } else { io::remove_file(p) })
}

/// The day a password was last changed is the day of the bake: pwconv asks the clock and nothing else. `0` (to be changed at once) stays.
fn shadow(root: &Path, epoch: u64) -> Result<(), Fault> {
    let path = root.join("etc/shadow");
    if !parents_are_dirs(root, "etc/shadow") || !fs::symlink_metadata(&path).is_ok_and(|m| m.is_file()) {
        return Ok(());
    }
    let text = io::read_limited(&path, 16 << 20)?;
    let text = String::from_utf8_lossy(&text);
    // Written into the same file: its owner and mode stay.
    fs::write(&path, shadow_of_day(&text, epoch / 86_400)).map_err(io::at("cannot write", &path))
}

fn shadow_of_day(text: &str, day: u64) -> String {
    let line = |l: &str| {
        let mut fields: Vec<&str> = l.split(':').collect();
        let day = day.to_string();
        if fields.get(2).is_some_and(|f| !f.is_empty() && *f != "0") {
            fields[2] = &day;
        }
        fields.join(":") + "\n"
    };
    text.lines().map(line).collect()
}

/// Two servers with one key are one server to whoever listens in.
fn host_keys(root: &Path) -> Result<(), Fault> {
    let certs = root.join("etc/ssl/certs");
    if parents_are_dirs(root, "etc/ssl/certs/x") {
        // Its name is a hash of the key that went.
        each(
            &certs,
            |p, _| if fs::read_link(p).is_ok_and(|to| to.ends_with("ssl-cert-snakeoil.pem")) { io::remove_file(p) } else { Ok(()) },
        )?;
    }
    let dir = root.join("etc/ssh");
    if !parents_are_dirs(root, "etc/ssh/x") {
        return Ok(());
    }
    each(&dir, |p, _| {
        let name = p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("ssh_host_") { io::remove_file(p) } else { Ok(()) }
    })
}

/// Bottom up: changing what is in a directory changes its time.
fn settle(root: &Path, below: &Path, times: &Times) -> Result<(), Fault> {
    use std::os::unix::fs::MetadataExt;
    let path = root.join(below);
    let seen = fs::symlink_metadata(&path).map_err(io::at("cannot look at", &path))?;
    if seen.is_dir() {
        for entry in fs::read_dir(&path).map_err(io::at("cannot list", &path))? {
            let entry = entry.map_err(io::at("cannot list", &path))?;
            settle(root, &below.join(entry.file_name()), times)?;
        }
    }
    let epoch = i64::try_from(times.epoch).unwrap_or(i64::MAX);
    let own = times.shipped.is_none_or(|s| s.get(below) == Some(&seen.mtime()));
    let time = if own { seen.mtime().min(epoch) } else { epoch };
    // Parts of a second are not kept by every way of packing a file, so they are dropped.
    if time == seen.mtime() && seen.mtime_nsec() == 0 { Ok(()) } else { set_time(&path, time) }
}

/// The times of everything in a tree but its directories, by place: what has one of its own before a stage keeps it after.
pub fn times(root: &Path) -> Result<BTreeMap<PathBuf, i64>, Fault> {
    use std::os::unix::fs::MetadataExt;
    let (mut all, mut dirs) = (BTreeMap::new(), vec![PathBuf::new()]);
    while let Some(dir) = dirs.pop() {
        let path = root.join(&dir);
        for entry in fs::read_dir(&path).map_err(io::at("cannot list", &path))? {
            let entry = entry.map_err(io::at("cannot list", &path))?;
            let below = dir.join(entry.file_name());
            let seen = entry.metadata().map_err(io::at("cannot look at", &entry.path()))?;
            if seen.is_dir() {
                dirs.push(below);
            } else {
                all.insert(below, seen.mtime());
            }
        }
    }
    Ok(all)
}

fn set_time(path: &Path, seconds: i64) -> Result<(), Fault> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    utimensat(CWD, path, &Timestamps { last_access: time, last_modification: time }, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| io::fault("cannot set the time of", path, &e.into()))
}

/// Modes that tell how a file may be used and nothing more: read for all, write for none but root, execute kept.
pub fn plain_mode(mode: u32, is_dir: bool) -> u32 {
    if is_dir || mode & 0o111 != 0 { 0o755 } else { 0o644 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn no_recipe_puts_a_file_where_it_would_be_taken_out() {
        for (place, _) in TABLE {
            assert!(model::rules::file_path(&format!("/{place}")).is_err(), "{place}: add it to the rules");
        }
    }

    #[test]
    fn the_day_of_the_bake_does_not_show() {
        let text = "root:*:20779:0:99999:7:::\nshop:!:0:0::::\nnone:!::::::\nshort\n";
        assert_eq!(shadow_of_day(text, 5), "root:*:5:0:99999:7:::\nshop:!:0:0::::\nnone:!::::::\nshort\n");
    }

    #[test]
    fn what_belongs_to_the_machine_goes_and_what_lies_behind_a_link_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        for d in ["etc/ssh", "var/log/apt", "run/x", "var/lib/dpkg", "usr/bin"] {
            fs::create_dir_all(root.join(d)).unwrap();
        }
        fs::create_dir_all(outside.join("apt")).unwrap();
        for f in [
            "etc/hostname",
            "etc/ssh/ssh_host_rsa_key",
            "etc/ssh/sshd_config",
            "var/log/apt/term.log",
            "var/log/dpkg.log",
            "run/x/pid",
            "usr/bin/tool",
        ] {
            fs::write(root.join(f), "x").unwrap();
        }
        fs::write(outside.join("apt/kept"), "x").unwrap();
        // A hostile script's work: scrubbing var/cache/apt must not reach what lies behind.
        std::os::unix::fs::symlink(&outside, root.join("var/cache")).unwrap();
        set_time(&root.join("usr/bin/tool"), 1_000).unwrap();
        let shipped = BTreeMap::from([(PathBuf::from("usr/bin/tool"), 1_000)]);
        scrub(&root, &Times { epoch: 5_000, shipped: Some(&shipped) }).unwrap();
        for gone in ["etc/hostname", "etc/ssh/ssh_host_rsa_key", "var/log/apt/term.log", "var/log/dpkg.log", "run/x"] {
            assert!(!root.join(gone).exists(), "{gone}");
        }
        assert!(root.join("etc/ssh/sshd_config").exists() && root.join("var/log/apt").is_dir() && root.join("app").is_dir());
        assert_eq!(fs::read_to_string(root.join("etc/machine-id")).unwrap(), "");
        assert!(outside.join("apt/kept").exists());
        let time = |p: &str| fs::metadata(root.join(p)).unwrap().mtime();
        assert_eq!((time("usr/bin/tool"), time("etc/hosts"), time("usr/bin")), (1_000, 5_000, 5_000));
    }
}
