//! What this host can do, and how to fix what it cannot. Everything is really tried.

use crate::uids::TRIAL;
use crate::{cgroup, command, idmap, root, runtime, state_files, userns};
use model::{Fault, Layout};
use nix::mount::{MsFlags, mount};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(20);
const DISK_BYTES_MIN: u64 = 2 << 30;

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Finding {
    pub name: String,
    pub ok: bool,
    pub detail: String,
    /// What to do, if it is not ok.
    pub hint: Option<String>,
}

type Tried = Result<String, (String, &'static str)>;

pub fn doctor(layout: &Layout) -> Vec<Finding> {
    let root = nix::unistd::geteuid().is_root();
    let mut findings =
        vec![finding("root", if root { Ok("uid 0".to_string()) } else { Err(("not root".to_string(), "run it with sudo")) })];
    let made_here: Vec<_> =
        [layout.root().to_path_buf(), layout.host(), runtime::state(layout)].into_iter().filter(|dir| !dir.exists()).collect();
    let scratch = layout.host().join(format!(".doctor-{}", std::process::id()));
    let made = state_files::make_dir(&scratch).map_err(|fault| (fault.message, "the data directory must be writable"));
    findings.push(finding("data directory", made.map(|()| layout.root().display().to_string())));
    findings.push(finding("cgroups", cgroups()));
    // Without the right to try, a failure would prove nothing about this host.
    let tries: [(&str, &dyn Fn() -> Tried); 6] = [
        ("OCI runtime", &|| runtimes(layout)),
        ("overlayfs", &|| overlay(&scratch)),
        ("erofs and loop", &|| erofs(&scratch)),
        ("network", &network),
        ("firewall", &firewall),
        ("other firewalls", &other_firewalls),
    ];
    for (name, tried) in tries {
        findings.push(finding(name, if root { tried() } else { Err(("not tried: it takes root".to_string(), "run it with sudo")) }));
    }
    findings.push(finding("disk space", space(&scratch)));
    findings.push(finding("mkfs.erofs", there("mkfs.erofs", "apt install erofs-utils: images are stored with it")));
    let _ = std::fs::remove_dir_all(&scratch);
    // The doctor creates nothing: what did not exist before does not exist afterwards.
    for dir in made_here.iter().rev() {
        let _ = std::fs::remove_dir(dir);
    }
    findings
}

fn finding(name: &str, tried: Tried) -> Finding {
    match tried {
        Ok(detail) => Finding { name: name.to_string(), ok: true, detail, hint: None },
        Err((detail, hint)) => Finding { name: name.to_string(), ok: false, detail, hint: Some(hint.to_string()) },
    }
}

fn told(hint: &'static str) -> impl Fn(Fault) -> (String, &'static str) {
    move |fault| (fault.message, hint)
}

/// One that runs is enough; the others are reported, and are no failure.
fn runtimes(layout: &Layout) -> Tried {
    let candidates = runtime::candidates(None);
    let tried: Vec<_> = candidates.iter().map(|path| (path, runtime::probe(layout, path))).collect();
    let works: Vec<String> = tried.iter().filter(|(_, r)| r.is_ok()).map(|(p, _)| p.display().to_string()).collect();
    let not: Vec<String> = tried.iter().filter_map(|(p, r)| r.as_ref().err().map(|f| format!("{}: {}", p.display(), f.message))).collect();
    if works.is_empty() {
        let why = if not.is_empty() { "none of runc, crun and youki is installed".to_string() } else { not.join("; ") };
        Err((why, "apt install runc"))
    } else {
        let not = if not.is_empty() { String::new() } else { format!(" (not: {})", not.join("; ")) };
        Ok(format!("{} ran a container{not}", works.join(" and ")))
    }
}

fn cgroups() -> Tried {
    match cgroup::mode() {
        cgroup::Mode::Unified => Ok("version 2".to_string()),
        cgroup::Mode::Hybrid => Ok("hybrid (limits by version 1)".to_string()),
        cgroup::Mode::Legacy => Ok("version 1".to_string()),
        cgroup::Mode::Missing => Err(("no cgroup file system is mounted".to_string(), "mount -t cgroup2 none /sys/fs/cgroup")),
    }
}

fn overlay(scratch: &Path) -> Tried {
    let hint = "this kernel needs overlayfs: modprobe overlay";
    let [lower, upper, work, root] = ["lower", "tmp/upper", "tmp/work", "root"].map(|name| scratch.join(name));
    let tmp = scratch.join("tmp");
    let none: Option<&str> = None;
    let io = |e: Fault| (e.message, hint);
    state_files::make_dir(&tmp).map_err(io)?;
    mount(Some("tmp"), &tmp, Some("tmpfs"), MsFlags::empty(), none).map_err(|e| (format!("tmpfs: {e}"), hint))?;
    let result = (|| {
        for dir in [&lower, &upper, &work, &root] {
            state_files::make_dir(dir).map_err(io)?;
        }
        let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .map_err(|e| (format!("overlay: {e}"), hint))?;
        crate::mounts::unmount(&root).map_err(io)?;
        Ok("mounted over a tmpfs".to_string())
    })();
    let _ = crate::mounts::unmount(&tmp);
    result
}

fn erofs(scratch: &Path) -> Tried {
    let hint = "needs erofs-utils, and a kernel with erofs and loop devices: modprobe erofs loop";
    let (tree, file, point) = (scratch.join("tree"), scratch.join("tree.erofs"), scratch.join("point"));
    state_files::make_dir(&tree).map_err(told(hint))?;
    state_files::make_dir(&point).map_err(told(hint))?;
    command::must(Command::new("mkfs.erofs").arg("-zlz4").arg(&file).arg(&tree), "", WITHIN).map_err(told(hint))?;
    command::must(Command::new("mount").args(["-t", "erofs", "-o", "loop,ro"]).arg(&file).arg(&point), "", WITHIN).map_err(told(hint))?;
    let mapped = idmapped(&point);
    crate::mounts::unmount(&point).map_err(told(hint))?;
    mapped.map_err(told("servers have user ids of their own: needs user namespaces, and Linux 5.19 or later"))?;
    Ok("an lz4 image was mounted, and its owners mapped".to_string())
}

/// In a thread of its own, whose mounts disappear with it.
fn idmapped(point: &Path) -> Result<(), Fault> {
    let tried = || {
        let spaces = userns::make(TRIAL)?;
        let place = root::stage("size=1m,mode=0755")?.join("image");
        state_files::make_dir(&place)?;
        idmap::mount(point, &spaces.user, &place)
    };
    std::thread::scope(|scope| scope.spawn(tried).join()).unwrap_or_else(|_| Err(Fault::ours("doctor", "it panicked")))
}

fn network() -> Tried {
    let hint = "needs iproute2, and a kernel with bridges, veth and network namespaces: modprobe bridge veth";
    let id = std::process::id() % 100_000;
    let (bridge, veth) = (format!("afdoc{id}"), format!("afdov{id}"));
    // Everything disappears with the interfaces; the namespace is that of a process that ends by itself.
    let batch = format!("link add {bridge} type bridge\nlink add {veth} type veth peer name {veth}p\nlink set {veth} master {bridge} up\n");
    let made = command::must(Command::new("ip").args(["-batch", "-"]), &batch, WITHIN).map_err(told(hint));
    let namespace = command::must(Command::new("unshare").args(["--net", "true"]), "", WITHIN).map_err(told(hint));
    let _ = crate::net::delete(&veth);
    let _ = crate::net::delete(&bridge);
    made.and(namespace).map(|_| "bridge, veth and network namespace were made".to_string())
}

/// The very tables that a keeper makes, in a network that vanishes.
fn firewall() -> Tried {
    let hint = "apt install nftables; the kernel needs nftables with inet, bridge, nat, fib, reject and connlimit, for IPv4 and IPv6";
    crate::firewall::tried(&crate::firewall::rules::sample()).map_err(told(hint))?;
    let v6 = Path::new("/proc/sys/net/ipv6").is_dir();
    Ok(format!("a server's rules were loaded, with address translation{}", if v6 { "" } else { "; this kernel has no IPv6" }))
}

/// Whoever drops what is forwarded drops what servers send as well: an accept of ours is no accept of others.
fn other_firewalls() -> Tried {
    let ran = command::run(Command::new("nft").args(["-j", "list", "chains"]), "", WITHIN).map_err(told("apt install nftables"))?;
    let dropping = dropping_chains(&ran.out);
    if dropping.is_empty() {
        return Ok("none drops what is forwarded by default".to_string());
    }
    Ok(format!(
        "{} drops what is forwarded by default; unless its rules let interfaces named afresh* pass, no server gets out (iptables -I FORWARD -i afresh+ -j ACCEPT; \
         iptables -I FORWARD -o afresh+ -j ACCEPT)",
        dropping.join(", ")
    ))
}

/// Pure, over nft's JSON.
fn dropping_chains(json: &str) -> Vec<String> {
    let all: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    let chains = all["nftables"].as_array().into_iter().flatten().map(|item| &item["chain"]);
    let text = |chain: &serde_json::Value, key: &str| chain[key].as_str().unwrap_or_default().to_string();
    chains
        .filter(|chain| chain["hook"] == "forward" && chain["policy"] == "drop" && chain["family"] != "bridge")
        .map(|chain| format!("chain {} of table {} {}", text(chain, "name"), text(chain, "family"), text(chain, "table")))
        .collect()
}

fn space(scratch: &Path) -> Tried {
    let hint = "images take about 150 MB each; free some space or use another data directory";
    let stat = rustix::fs::statvfs(scratch).map_err(|e| (e.to_string(), hint))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let told = format!("{} MiB free", free >> 20);
    if free < DISK_BYTES_MIN { Err((told, hint)) } else { Ok(told) }
}

fn there(program: &str, hint: &'static str) -> Tried {
    let ran = command::run(Command::new(program).arg("--version"), "", WITHIN).map_err(told(hint))?;
    Ok(ran.out.lines().next().unwrap_or("there").trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_drops_what_is_forwarded_is_named() {
        let chain = |family: &str, name: &str, hook: &str, policy: &str| {
            format!(r#"{{"chain":{{"family":"{family}","table":"filter","name":"{name}","hook":"{hook}","policy":"{policy}"}}}}"#)
        };
        let all = [
            chain("ip", "FORWARD", "forward", "drop"),
            chain("ip", "INPUT", "input", "drop"),
            chain("inet", "forward", "forward", "accept"),
            chain("bridge", "forward", "forward", "drop"),
        ];
        assert_eq!(dropping_chains(&format!(r#"{{"nftables":[{}]}}"#, all.join(","))), ["chain FORWARD of table ip filter"]);
        assert!(dropping_chains("nonsense").is_empty());
    }
}
