//! Volumes, scratch and exclusive groups on this very host. Run as root: `cargo test -p host --test all volumes:: -- --ignored --test-threads 1`
//!
//! The oracles are what the programs print, and what the host's own tools see of the directory.

use crate::common::{Host, Want};
use model::{DesiredGroup, GroupSeen, GroupSpec, InstanceState, Limits, Volume, VolumeName, VolumeRule};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// A user of this host that is nobody of an image.
const OWNER: u32 = 4_711;

/// Directories of this host, and the keeper's policy for them.
struct Directories {
    dir: tempfile::TempDir,
    rules: BTreeMap<String, VolumeRule>,
}

impl Directories {
    fn new() -> Self {
        // Everybody may pass: the servers' own ids are on the way.
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir, rules: BTreeMap::new() }
    }

    /// Of [`OWNER`], and nobody else may look into it.
    fn make(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        chown(&path, Some(OWNER), Some(OWNER)).unwrap();
        path
    }

    fn permit(&mut self, host: &Host, pattern: &str, services: &[&str], mounted: bool) {
        let services = services.iter().map(|s| model::ServiceName::new(*s).unwrap()).collect();
        let path = self.dir.path().join(pattern).to_str().unwrap().to_string();
        self.rules.insert(path, VolumeRule { services, read_only: false, mounted });
        self.write(host);
    }

    fn write(&self, host: &Host) {
        std::fs::write(host.layout.root().join("rules.json"), serde_json::to_vec(&self.rules).unwrap()).unwrap();
    }
}

fn with_volume(mut spec: GroupSpec, source: &Path, read_only: bool, user: &str) -> GroupSpec {
    let DesiredGroup::Run { release, .. } = &mut spec.desired else { unreachable!() };
    let (name, source) = (VolumeName::new("data").unwrap(), source.to_str().unwrap().to_string());
    release.volumes.push(Volume { name, source, at: "/data".to_string(), read_only });
    release.user = user.to_string();
    spec
}

fn exclusive(mut spec: GroupSpec) -> GroupSpec {
    let DesiredGroup::Run { release, .. } = &mut spec.desired else { unreachable!() };
    release.exclusive = true;
    spec
}

fn script<'a>(name: &'a str, run: &'a [&'a str]) -> Want<'a> {
    Want { name, run, ..Want::default() }
}

fn healthy(seen: &GroupSeen) -> bool {
    !seen.instances.is_empty() && seen.instances.iter().all(|i| i.state == InstanceState::Running && i.healthy_ms.is_some())
}

/// Runs it once and returns what it printed.
fn once(host: &Host, fence: u64, name: &str, source: &Path, read_only: bool, text: &str) -> String {
    let run = ["sh", "-c", text];
    host.declare(fence, with_volume(host.group(Want { name, once: Some(&run), ..Want::default() }), source, read_only, "1000:1000"));
    host.until(name, "its end", |seen| seen.ended.is_some());
    host.log(&format!("{name}-1"))
}

/// Two services with other ids on this host and other users share a directory, and a server that is replaced finds what the one before wrote.
#[test]
#[ignore = "needs root"]
fn what_is_written_stays_and_belongs_to_the_directory_s_owner() {
    let mut host = Host::new();
    let mut dirs = Directories::new();
    let uploads = dirs.make("uploads");
    dirs.permit(&host, "uploads", &["web", "api"], false);
    host.start();
    let write = ["sh", "-c", "cat /data/* ; echo of-web-$AFRESH_INSTANCE > /data/$AFRESH_INSTANCE; echo wrote; exec sleep 10000"];
    host.declare(1, with_volume(host.group(script("web-r1-1", &write)), &uploads, false, "1000:1000"));
    host.until_log("web-r1-1-1", "wrote");
    let file = uploads.join("web-r1-1-1");
    let seen = std::fs::metadata(&file).unwrap();
    assert_eq!((seen.uid(), seen.gid()), (OWNER, OWNER), "not the service's range, which changes");
    host.kill_program(&model::InstanceId::new("web-r1-1-1").unwrap());
    host.until_log("web-r1-1-2", "of-web-web-r1-1-1");
    let look = "cat /data/web-r1-1-1; busybox stat -c '%u:%g' /data/web-r1-1-1; echo more >> /data/web-r1-1-1 && echo appended; id -u";
    let printed = once(&host, 1, "api-r1-x1", &uploads, false, look);
    assert!(printed.contains("of-web") && printed.contains("1000:1000") && printed.contains("appended"), "{printed}");
    assert_ne!(host.uid_of("web-r1-1-2") & !0xffff, 0);
    assert_eq!(std::fs::metadata(&file).unwrap().uid(), OWNER);
    // Read-only is that, also for who may write it elsewhere.
    let printed = once(&host, 1, "api-r1-x2", &uploads, true, "(echo x > /data/x) 2>&1; cat /data/web-r1-1-1");
    assert!(printed.contains("Read-only") && printed.contains("more"), "{printed}");
    for group in ["web-r1-1", "api-r1-x1", "api-r1-x2"] {
        host.declare(9, host.gone(group));
    }
    host.until_clean();
    assert!(file.exists(), "it outlives every server");
}

/// A server that may write to its volume, and a later deploy that names what it planted there.
#[test]
#[ignore = "needs root"]
fn a_hostile_server_gets_nothing_of_the_host_by_its_volume() {
    let mut host = Host::new();
    let mut dirs = Directories::new();
    let shared = dirs.make("shared");
    let outside = dirs.make("outside");
    std::fs::write(outside.join("secret"), "of the host").unwrap();
    std::fs::set_permissions(outside.join("secret"), std::fs::Permissions::from_mode(0o644)).unwrap();
    dirs.permit(&host, "shared", &["evil"], false);
    dirs.permit(&host, "shared/*", &["evil"], false);
    // A file of root's in it, and a filesystem below it.
    std::fs::write(shared.join("of-root"), "of root").unwrap();
    std::fs::set_permissions(shared.join("of-root"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::create_dir(shared.join("below")).unwrap();
    // A device that a server may use elsewhere, and a set-uid program of the owner's.
    Host::run(&["mknod", "-m", "666", shared.join("zero").to_str().unwrap(), "c", "1", "5"], "");
    std::fs::copy(crate::common::busybox(), shared.join("set-uid")).unwrap();
    chown(shared.join("set-uid"), Some(OWNER), Some(OWNER)).unwrap();
    std::fs::set_permissions(shared.join("set-uid"), std::fs::Permissions::from_mode(0o6755)).unwrap();
    Host::run(&["mount", "-t", "tmpfs", "below", shared.join("below").to_str().unwrap()], "");
    std::fs::write(shared.join("below/file"), "another filesystem").unwrap();
    host.start();
    let attack = format!(
        "busybox ln -s {} /data/link; busybox ln -s /proc/self/root /data/magic; busybox mkdir /data/own; \
         busybox cp /bin/busybox /data/own/sh && busybox chmod 6777 /data/own/sh; /data/own/sh true && echo GOT executed; \
         busybox mknod /data/own/disk b 254 0 && echo GOT made; cat /data/of-root && echo GOT read; (echo x > /data/of-root) && echo GOT written; \
         cat /data/below/file && echo GOT passed; busybox head -c 1 /data/zero && echo GOT opened; \
         busybox head -c 1 /dev/zero && echo here; /data/set-uid true && echo GOT executed; busybox chown 0:0 /data/own/sh && echo GOT given; busybox mount -o remount,exec /data && echo GOT remounted; \
         busybox grep ' /data ' /proc/self/mountinfo; echo done",
        outside.display()
    );
    let printed = once(&host, 1, "evil-r1-x1", &shared, false, &attack);
    println!("{printed}");
    assert!(printed.contains("here"), "the same device in its own /dev");
    for word in ["executed", "made", "read", "written", "passed", "opened", "given", "remounted"] {
        // Not the whole line: what a program printed before may end without one.
        assert!(!printed.contains(&format!("GOT {word}")), "{word}");
    }
    let mount = printed.lines().find(|line| line.contains(" /data rw")).unwrap();
    assert!(["nosuid", "nodev", "noexec", "idmapped"].iter().all(|flag| mount.contains(flag)) && !mount.contains("shared:"), "{mount}");
    // On the host the program belongs to the directory's owner, and never to root.
    assert_eq!(std::fs::metadata(shared.join("own/sh")).unwrap().uid(), OWNER);
    assert!(shared.join("link").is_symlink());
    // A later deploy names a path in the volume.
    for (i, planted) in ["link", "magic", "own/sh", "of-root"].into_iter().enumerate() {
        let name = format!("evil-r2-{}", i + 1);
        let source = shared.join(planted);
        if planted == "own/sh" {
            dirs.permit(&host, "shared/own/*", &["evil"], false);
        }
        host.declare(
            1,
            with_volume(host.group(script(&name, &["sh", "-c", "busybox ls /data; exec sleep 1000"])), &source, false, "1000:1000"),
        );
        let seen = host.until(&name, "trouble", |seen| seen.trouble.is_some());
        let why = seen.trouble.unwrap();
        assert!(why.contains("symbolic link") || why.contains("no directory"), "{planted}: {why}");
        assert!(seen.instances.is_empty() && seen.deaths == 0, "{planted}: it was not launched");
        host.declare(2, host.gone(&name));
    }
    // Nothing that is mounted on the host later is seen, nor what another service may have.
    for (name, source) in [
        ("evil-r3-1", outside.clone()),
        ("other-r1-1", shared.clone()),
        ("evil-r3-2", PathBuf::from("/etc")),
        ("evil-r3-3", host.layout.root().to_path_buf()),
    ] {
        host.declare(1, with_volume(host.group(script(name, &["sleep", "1000"])), &source, true, "1000:1000"));
        let seen = host.until(name, "trouble", |seen| seen.trouble.is_some());
        assert!(seen.instances.is_empty(), "{name}: {:?}", seen.trouble);
        host.declare(2, host.gone(name));
    }
    Host::run(&["umount", shared.join("below").to_str().unwrap()], "");
    host.declare(2, host.gone("evil-r1-x1"));
}

/// A directory of root's is refused where a service would write root's files, and read-only it shows what is for everybody.
#[test]
#[ignore = "needs root"]
fn no_service_is_root_on_a_disk() {
    let mut host = Host::new();
    let mut dirs = Directories::new();
    let of_root = dirs.make("of-root");
    chown(&of_root, Some(0), Some(0)).unwrap();
    std::fs::set_permissions(&of_root, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (name, mode) in [("public", 0o644), ("private", 0o600)] {
        std::fs::write(of_root.join(name), format!("it is {name}")).unwrap();
        std::fs::set_permissions(of_root.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    dirs.permit(&host, "of-root", &["web"], false);
    host.start();
    // Also a server whose own user is 0.
    for (name, user) in [("web-r1-1", "0:0"), ("web-r1-2", "1000:1000")] {
        host.declare(1, with_volume(host.group(script(name, &["sleep", "1000"])), &of_root, false, user));
        let seen = host.until(name, "trouble", |seen| seen.trouble.is_some());
        assert!(seen.trouble.as_ref().unwrap().contains("belongs to root") && seen.instances.is_empty(), "{seen:?}");
        host.declare(2, host.gone(name));
    }
    let printed = once(&host, 1, "web-r1-x1", &of_root, true, "cat /data/public; cat /data/private; echo done");
    assert!(printed.contains("it is public") && !printed.contains("it is private"), "{printed}");
    host.declare(2, host.gone("web-r1-x1"));
}

/// A disk that is not mounted: the directory is there, and what is kept on it is not.
#[test]
#[ignore = "needs root"]
fn a_volume_that_is_gone_starts_nobody_and_is_reported() {
    let mut host = Host::new();
    let mut dirs = Directories::new();
    let disk = dirs.make("disk");
    let mount = || {
        Host::run(&["mount", "-t", "tmpfs", "disk", disk.to_str().unwrap()], "");
        chown(&disk, Some(OWNER), Some(OWNER)).unwrap();
    };
    dirs.permit(&host, "disk", &["web"], true);
    host.start();
    host.declare(
        1,
        with_volume(host.group(script("web-r1-1", &["sh", "-c", "echo kept > /data/file; exec sleep 1000"])), &disk, false, "1000:1000"),
    );
    let seen = host.until("web-r1-1", "trouble", |seen| seen.trouble.is_some());
    assert!(seen.trouble.as_ref().unwrap().contains("nothing is mounted there") && seen.instances.is_empty(), "{seen:?}");
    mount();
    host.until("web-r1-1", "1 healthy", healthy);
    assert!(host.observe("web-r1-1").trouble.is_none() && host.observe("web-r1-1").deaths == 0);
    // It goes while the server runs: that keeps what it has mounted, and an alarm says that no other could start.
    Host::run(&["umount", "-l", disk.to_str().unwrap()], "");
    let alarm = || host.remote.alarms().unwrap().into_iter().find(|alarm| alarm.text.contains("volume data"));
    host.until_true("the alarm", || match alarm() {
        Some(alarm) if alarm.text.contains("nothing is mounted there") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(healthy(&host.observe("web-r1-1")));
    host.kill_program(&model::InstanceId::new("web-r1-1-1").unwrap());
    let seen = host.until("web-r1-1", "trouble", |seen| seen.trouble.is_some() && seen.instances.is_empty());
    assert!(seen.trouble.unwrap().contains("nothing is mounted there"));
    assert_eq!(std::fs::read_dir(&disk).unwrap().count(), 0, "nothing was written beside it");
    // The policy that says what must be mounted cannot be read: unknown is not safe.
    std::fs::write(host.layout.root().join("rules.json"), "{").unwrap();
    mount();
    host.until("web-r1-1", "trouble", |seen| seen.trouble.as_ref().is_some_and(|why| !why.contains("mounted")));
    // Without a rule any more, a group that had a server goes on, an alarm says so, and what had to be mounted still has to be, also for a
    // keeper that begins after that.
    dirs.rules.clear();
    dirs.write(&host);
    host.until("web-r1-1", "1 healthy", healthy);
    let withdrawn = || host.remote.alarms().unwrap().into_iter().find(|alarm| alarm.code == "volume-withdrawn");
    host.until_true("the alarm", || match withdrawn() {
        Some(alarm) if alarm.text.contains("does not let web have") && alarm.text.contains("web@r1 keep it") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    host.restart();
    Host::run(&["umount", "-l", disk.to_str().unwrap()], "");
    let seen = host.until("web-r1-1", "1 running", |seen| !seen.instances.is_empty());
    host.kill_program(&seen.instances[0].id);
    let seen = host.until("web-r1-1", "trouble", |seen| seen.trouble.is_some() && seen.instances.is_empty());
    assert!(seen.trouble.as_ref().unwrap().contains("nothing is mounted there"), "{seen:?}");
    assert_eq!(std::fs::read_dir(&disk).unwrap().count(), 0, "nothing was written beside it");
    mount();
    host.until("web-r1-1", "1 healthy", healthy);
    host.declare(1, with_volume(host.group(script("web-r2-2", &["sleep", "1000"])), &disk, false, "1000:1000"));
    let seen = host.until("web-r2-2", "trouble", |seen| seen.trouble.is_some());
    assert!(seen.trouble.unwrap().contains("does not let web have"));
    host.declare(3, host.gone("web-r1-1"));
    host.declare(3, host.gone("web-r2-2"));
    host.until("web-r1-1", "gone", |seen| seen.instances.is_empty());
    Host::run(&["umount", disk.to_str().unwrap()], "");
}

/// The program writes its name again and again for as long as it runs: it knows of no keeper, and two at once cannot hide in what they wrote.
const ALONE: &str = "trap 'exit 0' TERM; while :; do echo $AFRESH_INSTANCE >> /data/beats; sleep 0.02; done";

/// Who wrote, in order; a name stands here twice if another wrote in between.
fn turns(beats: &Path) -> Vec<String> {
    let mut turns: Vec<String> = std::fs::read_to_string(beats).unwrap_or_default().lines().map(str::to_string).collect();
    turns.dedup();
    turns
}

#[test]
#[ignore = "needs root"]
fn of_an_exclusive_service_the_next_starts_when_the_last_is_gone() {
    let mut host = Host::new();
    let mut dirs = Directories::new();
    let data = dirs.make("data");
    dirs.permit(&host, "data", &["db"], false);
    host.start();
    let alone = ["sh", "-c", ALONE];
    let group = |name| exclusive(with_volume(host.group(script(name, &alone)), &data, false, "1000:1000"));
    let beats = data.join("beats");
    let until_begun =
        |n: usize| host.until_true("begun", || if turns(&beats).len() >= n { Ok(()) } else { Err(format!("{:?}", turns(&beats))) });
    host.declare(1, group("db-r1-1"));
    until_begun(1);
    // Another release beside it: it waits, and says for whom.
    host.declare(1, group("db-r2-2"));
    let seen = host.until("db-r2-2", "trouble", |seen| seen.trouble.is_some());
    assert!(seen.trouble.as_ref().unwrap().contains("db-r1-1-1 must be gone") && seen.instances.is_empty(), "{seen:?}");
    host.declare(2, host.gone("db-r2-2"));
    // A command beside it is none: it reads what there is, and writes nothing.
    let run = ["sh", "-c", "cat /data/beats; (echo x > /data/x) 2>&1; echo done"];
    host.declare(
        1,
        exclusive(with_volume(host.group(Want { name: "db-r1-x1", once: Some(&run), ..Want::default() }), &data, false, "1000:1000")),
    );
    host.until("db-r1-x1", "its end", |seen| seen.ended.is_some());
    let printed = host.log("db-r1-x1-1");
    assert!(printed.contains("db-r1-1-1") && printed.contains("Read-only"), "{printed}");
    // Dead servers, and a shim that is killed with its program left behind: never two.
    for n in 2..8 {
        let id = host.until("db-r1-1", "1 running", |seen| seen.instances.iter().any(|i| i.state == InstanceState::Running));
        let id = id.instances.last().unwrap().id.clone();
        if n % 2 == 0 {
            host.kill_program(&id)
        } else {
            host.kill_shim(&id)
        }
        until_begun(n);
    }
    host.declare(2, group("db-r3-3"));
    host.until("db-r3-3", "trouble", |seen| seen.trouble.is_some());
    host.declare(2, host.gone("db-r1-1"));
    until_begun(8);
    host.until("db-r3-3", "1 healthy", healthy);
    assert_eq!(host.observe("db-r1-1").instances.len(), 0);
    let turns = turns(&beats);
    let names: std::collections::BTreeSet<&String> = turns.iter().collect();
    assert_eq!(names.len(), turns.len(), "two servers ran at once: {turns:?}");
    assert_eq!(turns.last().map(String::as_str), Some("db-r3-3-1"), "{turns:?}");
    assert!(host.observe("db-r3-3").trouble.is_none());
    for group in ["db-r3-3", "db-r1-x1"] {
        host.declare(3, host.gone(group));
    }
}

/// One bound for all that is written: the root and /tmp.
#[test]
#[ignore = "needs root"]
fn scratch_is_bounded_and_a_full_one_is_reported() {
    let mut host = Host::new();
    host.start();
    let fill = "busybox dd if=/dev/zero of=/tmp/one bs=1M count=5; busybox dd if=/dev/zero of=/two bs=1M count=9; \
                busybox ls -l /tmp/one /two; echo full; busybox sleep 10000 & wait";
    let run = ["sh", "-c", fill];
    let mut spec = host.group(script("web-r1-1", &run));
    let DesiredGroup::Run { release, .. } = &mut spec.desired else { unreachable!() };
    release.user = "0:0".to_string();
    release.limits = Limits { scratch_bytes: Some(8 << 20), ..release.limits.clone() };
    host.declare(1, spec);
    host.until_log("web-r1-1-1", "full");
    let log = host.log("web-r1-1-1");
    assert!(log.contains("No space left on device"), "{log}");
    let seen = host.until("web-r1-1", "it is full", |seen| seen.instances[0].scratch.is_some_and(|s| s.is_full));
    let scratch = seen.instances[0].scratch.unwrap();
    assert!(scratch.limit_bytes == 8 << 20 && scratch.used_bytes > 7 << 20, "{scratch:?}");
    host.kill_program(&seen.instances[0].id);
    host.until("web-r1-1", "a death", |seen| seen.deaths == 1);
    let text = host.happened().into_iter().map(|h| h.text).collect::<Vec<_>>().join("\n");
    assert!(text.contains("with its scratch full: 8 MiB"), "{text}");
    host.declare(2, host.gone("web-r1-1"));
}
