//! Secrets of an instance on this very host. Run as root: `cargo test -p host --test all secrets:: -- --ignored --test-threads 1`
//!
//! The oracles are what the program itself sees, a search through all that the keeper wrote, and the kernel's own lists.

use crate::common::{Host, Want};
use model::{DesiredGroup, GroupSeen, GroupSpec, InstanceState, PinnedSecrets, Probe, SecretName, SecretUse, ServiceName};
use secret::{Secrets, Value};
use std::path::{Path, PathBuf};

/// Found nowhere but where it belongs; `printf %s CANARY | sha256sum` is what the program prints in its place.
const CANARY: &str = "canary-4f1c9e7b2a";
const SHA256: &str = "cdc16d933e22de1057d97bdd270095c7bf196412bf300e81c847b592902e0198";

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

fn put(host: &Host, service: &str, value: &str) -> model::SecretVersion {
    let value = Value::new(&name("db"), value.as_bytes().to_vec()).unwrap();
    Secrets::of(&host.layout).put(&ServiceName::new(service).unwrap(), &name("db"), &value).unwrap()
}

/// With `db` as the variable URL and as a file.
fn with_secret(mut spec: GroupSpec, version: model::SecretVersion, probe: &str) -> GroupSpec {
    let DesiredGroup::Run { release, .. } = &mut spec.desired else { unreachable!() };
    let used = SecretUse { env: [("URL".to_string(), name("db"))].into(), files: [name("db")].into() };
    release.secrets = PinnedSecrets { used, versions: [(name("db"), version)].into() };
    release.user = "1000:1000".to_string();
    release.health.probe = Probe::Exec { command: ["sh", "-c", probe].map(str::to_string).to_vec() };
    release.health.timeout_ms = 5_000;
    spec
}

const LOOK: &str = "echo env $(printf %s \"$URL\" | busybox sha256sum); echo file $(busybox sha256sum < /run/secrets/db); \
    busybox stat -c 'mode %a %u:%g' /run/secrets/db /run/secrets; (echo x > /run/secrets/db) 2>/dev/null && echo written; \
    (echo x > /run/secrets/more) 2>/dev/null && echo made; busybox grep /run/secrets /proc/mounts; ulimit -c; echo looked; exec sleep 10000";

fn all_healthy(seen: &GroupSeen, count: usize) -> bool {
    seen.instances.len() == count && seen.instances.iter().all(|i| i.state == InstanceState::Running && i.healthy_ms.is_some())
}

#[test]
#[ignore = "needs root"]
fn an_instance_gets_its_values_and_nothing_of_them_lies_on_a_disk() {
    let mut host = Host::new();
    host.start();
    let version = put(&host, "web", &format!("{CANARY}\n"));
    let look = Want { name: "web-r1-1", run: &["sh", "-c", LOOK], ..Want::default() };
    let probe = format!("[ \"$(printf %s \"$URL\" | busybox sha256sum)\" = '{SHA256}  -' ] && [ -r /run/secrets/db ]");
    host.declare(1, with_secret(host.group(look), version, &probe));
    host.until("web-r1-1", "1 healthy", |seen| all_healthy(seen, 1));
    host.until_log("web-r1-1-1", "looked");
    let log = host.log("web-r1-1-1");
    println!("{log}");
    assert!(log.contains(&format!("env {SHA256}")), "without the line break");
    assert!(!log.contains(&format!("file {SHA256}")) && log.contains("file "), "as it is");
    assert!(log.contains("mode 400 1000:1000") && log.contains("mode 500 1000:1000"));
    assert!(!log.contains("written") && !log.contains("made"));
    let mount = log.lines().find(|line| line.contains("/run/secrets")).unwrap();
    for option in ["ramfs", "ro", "nosuid", "nodev", "noexec"] {
        assert!(mount.split([' ', ',']).any(|word| word == option), "{option}: {mount}");
    }
    // A probe finds them also by a keeper that launched nothing.
    host.restart();
    host.until_garbage_collected();
    host.until("web-r1-1", "1 healthy", |seen| all_healthy(seen, 1));
    assert_eq!(host.observe("web-r1-1").deaths, 0);
    nowhere(&host, &["web-r1-1-1"]);
    host.declare(2, host.gone("web-r1-1"));
    host.until("web-r1-1", "nothing left", |seen| seen.instances.is_empty());
    host.until_clean();
    nowhere(&host, &[]);
}

/// In no file below the data directory, no command line, and no environment but that of the programs themselves.
fn nowhere(host: &Host, programs: &[&str]) {
    let forms = [CANARY.to_string(), hex::encode(CANARY)];
    let has = |bytes: &[u8]| forms.iter().any(|form| bytes.windows(form.len()).any(|part| part == form.as_bytes()));
    let mut files = 0;
    walk(host.layout.root(), &mut |path| {
        files += 1;
        assert!(!has(&std::fs::read(path).unwrap_or_default()), "{}", path.display());
    });
    assert!(files > 5);
    let (mut lines, mut holders) = (0, 0);
    for process in std::fs::read_dir("/proc").unwrap().flatten().map(|e| e.path()).filter(|p| p.join("cmdline").exists()) {
        if process.join("cmdline") == Path::new(&format!("/proc/{}", std::process::id())).join("cmdline") {
            continue;
        }
        lines += 1;
        assert!(!has(&std::fs::read(process.join("cmdline")).unwrap_or_default()), "{}", process.display());
        if has(&std::fs::read(process.join("environ")).unwrap_or_default()) {
            let cgroup = std::fs::read_to_string(process.join("cgroup")).unwrap_or_default();
            assert!(programs.iter().any(|id| cgroup.contains(id)), "{}: {cgroup}", process.display());
            holders += 1;
        }
    }
    assert!(lines > 3 && (holders > 0) != programs.is_empty(), "{lines} processes, {holders} with it");
}

fn walk(dir: &Path, look: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path: PathBuf = entry.path();
        let kind = std::fs::symlink_metadata(&path).map(|m| m.file_type());
        match kind {
            Ok(kind) if kind.is_dir() => walk(&path, look),
            // A link into a shim's descriptors is no file of this directory.
            Ok(kind) if kind.is_file() => look(&path),
            _ => {}
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_lost_key_keeps_what_runs_and_is_alarmed() {
    let mut host = Host::new();
    host.start();
    let version = put(&host, "web", CANARY);
    let want = Want { name: "web-r1-1", run: &["sleep", "10000"], ..Want::default() };
    host.declare(1, with_secret(host.group(want), version, "[ -n \"$URL\" ]"));
    let before = host.until("web-r1-1", "1 healthy", |seen| all_healthy(seen, 1));
    let key = host.layout.secrets().join("machine.key");
    let kept = std::fs::read(&key).unwrap();
    for damage in [None, Some(&kept[..kept.len() / 2]), Some(b"")] {
        match damage {
            None => std::fs::remove_file(&key).unwrap(),
            Some(bytes) => std::fs::write(&key, bytes).unwrap(),
        }
        let alarm = |text: &str| host.remote.alarms().unwrap().iter().any(|alarm| alarm.code == "machine-key" && alarm.text.contains(text));
        assert!(alarm("no server of web@r1 could be launched now") && alarm("machine.key"));
        host.restart();
        host.until_garbage_collected();
        let seen = host.until("web-r1-1", "healthy as before", |seen| all_healthy(seen, seen.instances.len()));
        assert_eq!(seen.instances.first().map(|i| &i.id), before.instances.first().map(|i| &i.id), "it goes on");
    }
    // One that dies now cannot be replaced, and says why.
    host.kill_program(&before.instances[0].id);
    let seen = host.until("web-r1-1", "trouble", |seen| seen.trouble.as_ref().is_some_and(|why| why.contains("machine.key")));
    assert!(seen.trouble.as_ref().unwrap().contains("backup"), "it says what to do: {seen:?}");
    assert_eq!(seen.deaths, 1, "what cannot be launched is not launched again and again");
    std::fs::write(&key, &kept).unwrap();
    host.until("web-r1-1", "1 healthy", |seen| all_healthy(seen, 1));
    assert!(host.remote.alarms().unwrap().iter().all(|alarm| alarm.code != "machine-key"));
}

#[test]
#[ignore = "needs root"]
fn another_service_s_version_gives_nothing() {
    let mut host = Host::new();
    host.start();
    let of_web = put(&host, "web", CANARY);
    let thief = Want { name: "thief-r1-1", run: &["sh", "-c", "echo got $URL; sleep 10000"], ..Want::default() };
    host.declare(1, with_secret(host.group(thief), of_web, "true"));
    let seen = host.until("thief-r1-1", "trouble", |seen| seen.trouble.is_some());
    assert!(seen.trouble.as_ref().unwrap().contains("secret db of thief"), "{seen:?}");
    assert!(seen.instances.is_empty());
}

/// Nothing of an instance's memory, nor of its shim's, comes to lie in a file when it crashes.
#[test]
#[ignore = "needs root"]
fn a_crash_leaves_no_core() {
    let mut host = Host::new();
    host.start();
    let version = put(&host, "web", CANARY);
    let crash = "ulimit -c unlimited 2>/dev/null; ulimit -c; busybox touch /tmp/here; cd /tmp; kill -SEGV $$";
    let want = Want {
        name: "web-r1-1",
        run: &["sh", "-c", &format!("sh -c '{crash}'; echo left $(busybox ls /tmp); sleep 10000")],
        ..Want::default()
    };
    host.declare(1, with_secret(host.group(want), version, "true"));
    host.until_log("web-r1-1-1", "left");
    let log = host.log("web-r1-1-1");
    assert!(log.contains("left here\n"), "{log}");
    let id = host.observe("web-r1-1").instances[0].id.clone();
    let shim = host.shim_pid(id.as_str());
    let limits = std::fs::read_to_string(format!("/proc/{shim}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert!(core.split_whitespace().filter(|word| *word == "1").count() == 2, "0 would not count where cores go to a pipe: {core}");
    host.crash_shim(&id);
    host.until("web-r1-1", "replaced", |seen| seen.deaths >= 1 && seen.instances.iter().all(|i| i.id != id));
    nowhere_but_alive(&host);
}

fn nowhere_but_alive(host: &Host) {
    let mut cores = Vec::new();
    walk(host.layout.root(), &mut |path| {
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core")) {
            cores.push(path.to_path_buf());
        }
        let bytes = std::fs::read(path).unwrap_or_default();
        assert!(!bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes()), "{}", path.display());
    });
    assert!(cores.is_empty(), "{cores:?}");
}
