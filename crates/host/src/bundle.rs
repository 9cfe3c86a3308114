//! The OCI config of an instance: what it sees and what it may do. Pure; the shim and the runtime probe write the file.

use crate::private_files::Given;
use crate::record::Record;
use crate::root::Root;
use crate::userns::Range;
use crate::{declared, seccomp};
use model::{Limits, Release, SECRET_FILES};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use zeroize::Zeroizing;

/// The kernel takes no more.
const SHARES_MAX: u64 = 262_144;
const QUOTA_US_MAX: u64 = 1 << 40;

pub struct Bundle<'a> {
    pub args: &'a [String],
    pub env: Vec<String>,
    pub user: (u32, u32),
    pub cwd: &'a str,
    pub hostname: &'a str,
    pub root: &'a Path,
    /// More mounts, in order.
    pub mounts: Vec<Value>,
    pub limits: &'a Limits,
    /// Whether this host can bound memory and swap together.
    pub swap: bool,
    pub spaces: &'a Spaces,
    pub cgroup: &'a str,
}

/// Namespaces that exist already, as paths, and the ids that they use.
pub struct Spaces {
    pub user: String,
    pub network: String,
    pub ids: Range,
}

/// `given`: further variables, from secrets. `secrets`: what is mounted at [`SECRET_FILES`].
/// `volumes`: their mounts.
pub fn of(record: &Record, root: &Root, spaces: &Spaces, swap: bool, given: &Given, secrets: Option<&Path>, volumes: Vec<Value>) -> Value {
    let release = &record.release;
    let placement = &record.placement;
    // Of the same tmpfs as the root: one bound for all that is written.
    let mut mounts = vec![json!({ "destination": "/tmp", "type": "bind", "source": root.tmp, "options": ["bind", "nosuid", "nodev"] })];
    if let Some(code) = &root.code {
        mounts.push(json!({ "destination": "/app", "type": "bind", "source": code, "options": ["bind", "ro", "nosuid", "nodev"] }));
    }
    if let Some(dir) = secrets {
        let options = ["bind", "ro", "nosuid", "nodev", "noexec"];
        mounts.push(json!({ "destination": SECRET_FILES, "type": "bind", "source": dir, "options": options }));
    }
    mounts.extend(volumes);
    config(&Bundle {
        args: record.once.as_ref().map_or(&release.run, |once| &once.run),
        env: env(record, given),
        user: declared::user(&release.user).unwrap_or((65534, 65534)),
        cwd: if root.code.is_some() { "/app" } else { workdir(release) },
        hostname: record.id.as_str(),
        root: &root.path,
        mounts,
        limits: &release.limits,
        swap,
        spaces,
        cgroup: &placement.cgroup,
    })
}

fn workdir(release: &Release) -> &str {
    release.container.as_ref().and_then(|from| from.workdir.as_deref()).unwrap_or("/")
}

/// Variables of a container image come first. The release's variables override them and the path and home given here, but never the variables that identify the instance.
fn env(record: &Record, given: &Given) -> Vec<String> {
    let release = &record.release;
    let mut env: BTreeMap<&str, String> = BTreeMap::new();
    env.insert("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_string());
    env.insert("HOME", "/tmp".to_string());
    env.insert("LANG", "C.UTF-8".to_string());
    for (name, value) in release.container.iter().flat_map(|from| &from.env).chain(&release.env) {
        env.insert(name, value.clone());
    }
    for (name, value) in &given.env {
        env.insert(name, value.to_string());
    }
    for (name, value) in record.once.iter().flat_map(|once| &once.env) {
        env.insert(name, value.clone());
    }
    if let Some(port) = release.port {
        env.insert("PORT", port.to_string());
    }
    env.insert("AFRESH_SERVICE", release.service.to_string());
    env.insert("AFRESH_GROUP", record.group.to_string());
    env.insert("AFRESH_INSTANCE", record.id.to_string());
    env.insert("AFRESH_RELEASE", release.number.to_string());
    env.into_iter().map(|(name, value)| format!("{name}={}", *Zeroizing::new(value))).collect()
}

pub fn config(bundle: &Bundle) -> Value {
    let scratch = format!("size={}", bundle.limits.scratch());
    let mut mounts = vec![
        json!({ "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] }),
        json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] }),
        json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] }),
        json!({ "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", &scratch] }),
        json!({ "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"] }),
        json!({ "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] }),
    ];
    mounts.extend(bundle.mounts.iter().cloned());
    let ids = json!([{ "containerID": 0, "hostID": bundle.spaces.ids.0, "size": Range::SIZE }]);
    let mut namespaces =
        vec![json!({ "type": "user", "path": bundle.spaces.user }), json!({ "type": "network", "path": bundle.spaces.network })];
    namespaces.extend(["pid", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({ "type": kind })));
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": bundle.user.0, "gid": bundle.user.1 },
            "args": bundle.args,
            "env": bundle.env,
            "cwd": bundle.cwd,
            "capabilities": { "bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": [] },
            "noNewPrivileges": true,
        },
        "root": { "path": bundle.root, "readonly": false },
        "hostname": bundle.hostname,
        "mounts": mounts,
        "linux": {
            "namespaces": namespaces,
            "uidMappings": ids,
            "gidMappings": ids,
            "cgroupsPath": bundle.cgroup,
            "resources": resources(bundle.limits, bundle.swap),
            "seccomp": seccomp::profile(),
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// Memory and swap have one limit: swapped memory still counts as the instance's.
fn resources(limits: &Limits, swap: bool) -> Value {
    let bytes = i64::try_from(limits.memory_bytes).unwrap_or(i64::MAX);
    let memory = if swap { json!({ "limit": bytes, "swap": bytes }) } else { json!({ "limit": bytes }) };
    let shares = (limits.cpu_milli.saturating_mul(1024) / 1000).min(SHARES_MAX);
    json!({
        "devices": [{ "allow": false, "access": "rwm" }],
        "memory": memory,
        "cpu": { "shares": shares.max(2), "quota": limits.cpu_milli.saturating_mul(100).clamp(1_000, QUOTA_US_MAX), "period": 100_000 },
        "pids": { "limit": i64::try_from(limits.pids).unwrap_or(i64::MAX) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Placement;
    use crate::testing::release;

    fn record() -> Record {
        Record {
            id: model::InstanceId::new("web-r7-2-3").unwrap(),
            group: model::GroupName::new("web-r7-2").unwrap(),
            number: 3,
            release: release(7),
            once: None,
            stamp: None,
            created: model::Time(0),
            placement: Placement {
                runtime: "/usr/sbin/runc".into(),
                runtime_state: "/d/host/runtime".into(),
                cgroup: "/afresh-0123/web-r7-2-3".to_string(),
                image_mount: "/d/host/mounts/aa".into(),
                artifact_mount: Some("/d/host/mounts/bb".into()),
                mounts: "/d/host/mounts".into(),
                log: "/d/host/logs/x.log".into(),
                bridge: "afresh0123".to_string(),
                veth: "v01".to_string(),
                gateway: [198, 18, 0, 1].into(),
                address: [198, 18, 0, 9].into(),
                six: None,
                search: Vec::new(),
                secrets: None,
                ids: Some(Range(7 << 16)),
                mount_points: BTreeMap::new(),
            },
        }
    }

    fn config_of(record: &Record, code: bool) -> Value {
        let root = Root { stage: "/run".into(), path: "/run/r".into(), tmp: "/run/tmp".into(), code: code.then(|| "/run/app".into()) };
        let spaces = Spaces { user: "/proc/9/fd/3".to_string(), network: "/proc/9/fd/4".to_string(), ids: Range(7 << 16) };
        of(record, &root, &spaces, true, &Given::default(), None, Vec::new())
    }

    /// The oracle is the list of what the design promises, checked one by one.
    #[test]
    fn the_config_keeps_every_promise() {
        let config = config_of(&record(), true);
        let process = &config["process"];
        assert_eq!(process["args"], json!(["/bin/serve", "--port", "8080"]));
        assert_eq!(process["user"], json!({ "uid": 65534, "gid": 65534 }));
        assert_eq!(process["cwd"], "/app");
        assert_eq!(process["noNewPrivileges"], true);
        for set in ["bounding", "effective", "inheritable", "permitted", "ambient"] {
            assert_eq!(process["capabilities"][set], json!([]), "{set}");
        }
        let env: Vec<&str> = process["env"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
        for want in
            ["MODE=test", "PORT=8080", "AFRESH_SERVICE=web", "AFRESH_GROUP=web-r7-2", "AFRESH_INSTANCE=web-r7-2-3", "AFRESH_RELEASE=7"]
        {
            assert!(env.contains(&want), "{want} is not in {env:?}");
        }
        assert_eq!(config["hostname"], "web-r7-2-3");
        let linux = &config["linux"];
        assert_eq!(linux["resources"]["memory"]["limit"], 256 << 20);
        assert_eq!(linux["resources"]["memory"]["swap"], 256 << 20, "swap is no memory surge the limit");
        assert_eq!(linux["resources"]["cpu"]["quota"], 100_000);
        assert_eq!(linux["resources"]["pids"]["limit"], 256);
        assert_eq!(linux["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
        let namespaces = linux["namespaces"].as_array().unwrap();
        for space in [json!({ "type": "user", "path": "/proc/9/fd/3" }), json!({ "type": "network", "path": "/proc/9/fd/4" })] {
            assert!(namespaces.contains(&space), "{space}");
        }
        for kind in ["pid", "ipc", "uts", "mount", "cgroup"] {
            assert!(namespaces.contains(&json!({ "type": kind })), "{kind}");
        }
        for map in ["uidMappings", "gidMappings"] {
            assert_eq!(linux[map], json!([{ "containerID": 0, "hostID": 7 << 16, "size": 65_536 }]), "its root is not the host's");
        }
        assert!(!config.to_string().contains("/d/"), "no path of the data directory is in it: {config}");
        let mounts = config["mounts"].as_array().unwrap();
        let at = |place: &str| mounts.iter().find(|m| m["destination"] == place).unwrap()["options"].to_string();
        assert!(at("/app").contains("\"ro\"") && at("/sys").contains("\"ro\"") && at("/dev/shm").contains("size=134217728"));
        let tmp = mounts.iter().find(|m| m["destination"] == "/tmp").unwrap();
        assert!(tmp["source"] == "/run/tmp" && at("/tmp").contains("nosuid"), "one bound for all that is written");
    }

    #[test]
    fn without_an_artifact_the_root_is_the_directory_and_a_test_runs_its_own_command() {
        let mut record = record();
        record.once = Some(model::OneShot::of(vec!["true".to_string()]));
        record.release.env.insert("AFRESH_GROUP".to_string(), "forged".to_string());
        let config = config_of(&record, false);
        assert_eq!(config["process"]["cwd"], "/");
        assert_eq!(config["process"]["args"], json!(["true"]));
        assert!(config["mounts"].as_array().unwrap().iter().all(|m| m["destination"] != "/app"));
        assert!(config["process"]["env"].to_string().contains("AFRESH_GROUP=web-r7-2"));
    }

    #[test]
    fn a_container_image_says_what_nobody_else_does() {
        let mut record = record();
        let said = |name: &str, value: &str| (name.to_string(), value.to_string());
        let env = [said("MODE", "image"), said("PATH", "/opt/bin"), said("LOG", "all"), said("PORT", "1"), said("AFRESH_SERVICE", "other")];
        record.release.container =
            Some(model::FromContainer { env: env.into(), workdir: Some("/srv".to_string()), left: Default::default() });
        let without = config_of(&record, false);
        assert_eq!(without["process"]["cwd"], "/srv");
        assert_eq!(config_of(&record, true)["process"]["cwd"], "/app", "code comes before");
        let env: Vec<&str> = without["process"]["env"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
        for want in ["MODE=test", "PATH=/opt/bin", "LOG=all", "PORT=8080", "AFRESH_SERVICE=web"] {
            assert!(env.contains(&want), "{want} is not in {env:?}");
        }
    }

    #[test]
    fn the_largest_limits_overflow_nothing() {
        let limits = Limits { memory_bytes: u64::MAX, cpu_milli: u64::MAX, pids: u64::MAX, scratch_bytes: None };
        for swap in [true, false] {
            let resources = resources(&limits, swap);
            assert_eq!(resources["cpu"]["shares"], SHARES_MAX);
            assert_eq!(resources["cpu"]["quota"], QUOTA_US_MAX);
            assert_eq!(resources["memory"]["limit"], i64::MAX);
            assert_eq!(resources["memory"].get("swap").is_some(), swap, "a host that cannot bound it is not asked to");
        }
    }
}
