//! Takes out of a tree what belongs to the machine or the moment it was made on, so that equal inputs give equal trees.
//! What is taken out, and why, is written in one table.

#![deny(clippy::disallowed_methods, reason = "paths of a tree are resolved in within.rs and nowhere else")]

use disk::within::Root;
use model::Fault;
use std::collections::BTreeMap;
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

pub fn scrub(root: &Root, times: &Times) -> Result<(), Fault> {
    for (place, act) in TABLE {
        let place = Path::new(place);
        // A script of the recipe could have made a link of /etc: what lies behind one is not what this table means.
        if root.parents_are_dirs(place) {
            apply(root, place, act)?;
        }
    }
    host_keys(root)?;
    shadow(root, times.epoch)?;
    settle(root, times)
}

fn apply(root: &Root, place: &Path, act: &Act) -> Result<(), Fault> {
    let is_dir = root.is_dir(place);
    match act {
        Act::Remove => root.remove(place),
        Act::Empty if is_dir => root.list(place)?.iter().try_for_each(|(name, _)| root.remove(&place.join(name))),
        Act::Files if is_dir => remove_files(root, place, 0),
        Act::Empty | Act::Files => Ok(()),
        Act::Write(text) => root.write(place, text.as_bytes(), 0o644),
        Act::Dir => {
            if !is_dir {
                root.remove_file(place)?;
            }
            root.make_dir(place)?;
            root.set_mode(place, 0o755)
        }
    }
}

/// Deeper than this no program logs.
const DEPTH: usize = 64;

fn remove_files(root: &Root, dir: &Path, depth: usize) -> Result<(), Fault> {
    for (name, kind) in root.list(dir)? {
        let path = dir.join(name);
        if kind.is_dir() && depth < DEPTH { remove_files(root, &path, depth + 1)? } else { root.remove(&path)? }
    }
    Ok(())
}

/// The day a password was last changed is the day of the bake: pwconv asks the clock and nothing else. `0` (to be changed at once) stays.
fn shadow(root: &Root, epoch: u64) -> Result<(), Fault> {
    let path = Path::new("etc/shadow");
    if !root.parents_are_dirs(path) || !root.is_file(path) {
        return Ok(());
    }
    let text = root.read(path, 16 << 20)?;
    let text = String::from_utf8_lossy(&text);
    root.rewrite(path, shadow_of_day(&text, epoch / 86_400).as_bytes())
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
fn host_keys(root: &Root) -> Result<(), Fault> {
    let in_dir = |dir: &str| {
        let dir = Path::new(dir);
        let names = if root.parents_are_dirs(&dir.join("x")) { root.list(dir)? } else { Vec::new() };
        Ok::<_, Fault>(names.into_iter().map(|(name, _)| dir.join(name)).collect::<Vec<_>>())
    };
    for path in in_dir("etc/ssl/certs")? {
        // Its name is a hash of the key that went.
        if root.read_link(&path).is_some_and(|to| to.ends_with("ssl-cert-snakeoil.pem")) {
            root.remove_file(&path)?;
        }
    }
    for path in in_dir("etc/ssh")? {
        if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("ssh_host_")) {
            root.remove_file(&path)?;
        }
    }
    Ok(())
}

/// Bottom up: changing what is in a directory changes its time.
fn settle(root: &Root, times: &Times) -> Result<(), Fault> {
    let epoch = i64::try_from(times.epoch).unwrap_or(i64::MAX);
    root.walk(&mut |entry| {
        let seen = entry.stat.st_mtime;
        let own = times.shipped.is_none_or(|s| s.get(entry.path) == Some(&seen));
        let time = if own { seen.min(epoch) } else { epoch };
        // Parts of a second are not kept by every way of packing a file, so they are dropped.
        if time == seen && entry.stat.st_mtime_nsec == 0 { Ok(()) } else { entry.set_time(time) }
    })
}

/// The times of everything in a tree but its directories, by place: what has one of its own before a stage keeps it after.
pub fn times(root: &Root) -> Result<BTreeMap<PathBuf, i64>, Fault> {
    let mut all = BTreeMap::new();
    root.walk(&mut |entry| {
        if !entry.is_dir() {
            all.insert(entry.path.to_path_buf(), entry.stat.st_mtime);
        }
        Ok(())
    })?;
    Ok(all)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's own tree")]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn no_recipe_puts_a_file_where_it_would_be_taken_out() {
        for (place, _) in TABLE {
            assert!(model::path_validation::file_path(&format!("/{place}")).is_err(), "{place}: add it to the rules");
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
        let tool = fs::File::options().write(true).open(root.join("usr/bin/tool")).unwrap();
        tool.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000)).unwrap();
        let shipped = BTreeMap::from([(PathBuf::from("usr/bin/tool"), 1_000)]);
        scrub(&Root::open(&root).unwrap(), &Times { epoch: 5_000, shipped: Some(&shipped) }).unwrap();
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
