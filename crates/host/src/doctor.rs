//! What this host can do, and how to fix what it cannot. What can be tried is really tried; what can only be read
//! is judged in `host_checks`.

use crate::host_checks::{self, Judged, Lack, in_path};
use crate::uids::TRIAL;
use crate::{command, idmap, root, runtime, state_files, userns};
use model::{Fault, Layout};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(20);
const DISK_BYTES_MIN: u64 = 2 << 30;

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Finding {
    pub name: String,
    pub ok: bool,
    /// It is not ok, and servers run all the same.
    #[serde(default)]
    pub advice: bool,
    pub detail: String,
    /// What to do, if it is not ok.
    pub hint: Option<String>,
    /// Shell lines that do it: `doctor --fix`.
    #[serde(default)]
    pub fix: Vec<String>,
}

impl Finding {
    pub fn of(name: &str, judged: Judged) -> Finding {
        let name = name.to_string();
        match judged {
            Ok(detail) => Finding { name, ok: true, advice: false, detail, hint: None, fix: Vec::new() },
            Err(lack) => Finding { name, ok: false, advice: lack.advice, detail: lack.found, hint: Some(lack.hint), fix: lack.fix },
        }
    }
}

pub fn doctor(layout: &Layout) -> Vec<Finding> {
    let root = nix::unistd::geteuid().is_root();
    let mut findings = vec![
        Finding::of("root", if root { Ok("uid 0".to_string()) } else { Err(Lack::missing("not root", "run it with sudo")) }),
        Finding::of("kernel", host_checks::kernel()),
    ];
    let made_here: Vec<_> =
        [layout.root().to_path_buf(), layout.host(), runtime::state(layout)].into_iter().filter(|dir| !dir.exists()).collect();
    let scratch = layout.host().join(format!(".doctor-{}", std::process::id()));
    let made = state_files::make_dir(&scratch).map_err(|fault| Lack::missing(fault.message, "the data directory must be writable"));
    let is_made = made.is_ok();
    findings.push(Finding::of("data directory", made.map(|()| layout.root().display().to_string())));
    if is_made {
        findings.push(Finding::of("filesystem", host_checks::filesystem(&scratch)));
        findings.push(Finding::of("disk space", space(&scratch)));
        findings.push(Finding::of("inodes", host_checks::inodes(&scratch)));
    }
    findings.push(Finding::of("cgroups", host_checks::cgroups()));
    findings.push(Finding::of("user namespaces", host_checks::user_namespaces()));
    // Without the right to try, a failure would prove nothing about this host.
    let tries: [(&str, &dyn Fn() -> Judged); 7] = [
        ("OCI runtime", &|| runtimes(layout)),
        ("overlayfs", &|| unseen(|| overlay(&scratch))),
        ("erofs and loop", &|| unseen(|| erofs(&scratch))),
        ("network", &network),
        ("forwarding", &host_checks::forwarding),
        ("firewall", &host_checks::nftables),
        ("other firewalls", &host_checks::other_firewalls),
    ];
    for (name, tried) in tries {
        let judged = if root { tried() } else { Err(Lack::missing("not tried: it takes root", "run it with sudo")) };
        findings.push(Finding::of(name, judged));
    }
    findings.push(Finding::of("mkfs.erofs", there("mkfs.erofs", "apt install erofs-utils: images are stored with it", "erofs-utils")));
    findings.push(Finding::of("limits of the kernel", host_checks::sysctls()));
    findings.push(Finding::of("open files", host_checks::open_files()));
    findings.push(Finding::of("memory", host_checks::memory()));
    findings.push(Finding::of("clock", host_checks::clock()));
    let _ = std::fs::remove_dir_all(&scratch);
    // The doctor creates nothing: what did not exist before does not exist afterwards.
    for dir in made_here.iter().rev() {
        let _ = std::fs::remove_dir(dir);
    }
    findings
}

fn told(hint: &'static str) -> impl Fn(Fault) -> Lack {
    move |fault| Lack::missing(fault.message, hint)
}

/// One that runs is enough; the others are reported, and are no failure.
fn runtimes(layout: &Layout) -> Judged {
    let candidates = runtime::candidates(None);
    let tried: Vec<_> = candidates.iter().map(|path| (path, runtime::probe(layout, path))).collect();
    let works: Vec<String> = tried.iter().filter(|(_, r)| r.is_ok()).map(|(p, _)| versioned(p)).collect();
    let not: Vec<String> = tried.iter().filter_map(|(p, r)| r.as_ref().err().map(|f| format!("{}: {}", p.display(), f.message))).collect();
    if works.is_empty() {
        let why = if not.is_empty() { "none of runc, crun and youki is installed".to_string() } else { not.join("; ") };
        let lack = Lack::missing(why, "apt install runc");
        Err(if candidates.is_empty() { lack.install("runc") } else { lack })
    } else {
        let not = if not.is_empty() { String::new() } else { format!(" (not: {})", not.join("; ")) };
        Ok(format!("{} ran a container{not}", works.join(" and ")))
    }
}

/// `/usr/bin/runc (runc version 1.1.5)`
fn versioned(program: &Path) -> String {
    let ran = command::run(Command::new(program).arg("--version"), "", WITHIN);
    let version = ran.ok().and_then(|ran| ran.out.lines().next().map(|line| format!(" ({})", line.trim())));
    format!("{}{}", program.display(), version.unwrap_or_default())
}

/// In a thread with a mount namespace of its own. Whoever may change a directory above ours could lead a mount elsewhere, and nobody else
/// sees it.
fn unseen(tried: impl FnOnce() -> Judged + Send) -> Judged {
    let no = |doing: &str, e: nix::Error| Lack::missing(format!("{doing}: {e}"), "run it where mounts are permitted");
    let alone = || {
        unshare(CloneFlags::CLONE_NEWNS).map_err(|e| no("making a mount namespace", e))?;
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(|e| no("making mounts private", e))?;
        tried()
    };
    std::thread::scope(|scope| scope.spawn(alone).join()).unwrap_or_else(|_| Err(Lack::missing("it panicked", "report this as a bug")))
}

fn overlay(scratch: &Path) -> Judged {
    let hint = "this kernel needs overlayfs: modprobe overlay";
    let [lower, upper, work, root] = ["lower", "tmp/upper", "tmp/work", "root"].map(|name| scratch.join(name));
    let tmp = scratch.join("tmp");
    let none: Option<&str> = None;
    let lack = |found: String| Lack::missing(found, hint).fix("modprobe overlay");
    let io = |e: Fault| lack(e.message);
    state_files::make_dir(&tmp).map_err(io)?;
    mount(Some("tmp"), &tmp, Some("tmpfs"), MsFlags::empty(), none).map_err(|e| lack(format!("tmpfs: {e}")))?;
    let result = (|| {
        for dir in [&lower, &upper, &work, &root] {
            state_files::make_dir(dir).map_err(io)?;
        }
        let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .map_err(|e| lack(format!("overlay: {e}")))?;
        crate::mounts::unmount(&root).map_err(io)?;
        Ok("mounted over a tmpfs".to_string())
    })();
    let _ = crate::mounts::unmount(&tmp);
    result
}

fn erofs(scratch: &Path) -> Judged {
    let hint = "needs erofs-utils, and a kernel with erofs and loop devices: modprobe erofs loop";
    let (tree, file, point) = (scratch.join("tree"), scratch.join("tree.erofs"), scratch.join("point"));
    state_files::make_dir(&tree).map_err(told(hint))?;
    state_files::make_dir(&point).map_err(told(hint))?;
    let made = command::must(Command::new("mkfs.erofs").arg("-zlz4").arg(&file).arg(&tree), "", WITHIN);
    made.map_err(|fault| told(hint)(fault).install("erofs-utils"))?;
    let mounted = command::must(Command::new("mount").args(["-t", "erofs", "-o", "loop,ro"]).arg(&file).arg(&point), "", WITHIN);
    mounted.map_err(|fault| told(hint)(fault).fix("modprobe -a erofs loop"))?;
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

fn network() -> Judged {
    let hint = "needs iproute2, and a kernel with bridges, veth and network namespaces: modprobe bridge veth";
    let id = std::process::id() % 100_000;
    let (bridge, veth) = (format!("afdoc{id}"), format!("afdov{id}"));
    // Everything disappears with the interfaces; the namespace is that of a process that ends by itself.
    let batch = format!("link add {bridge} type bridge\nlink add {veth} type veth peer name {veth}p\nlink set {veth} master {bridge} up\n");
    let made = command::must(Command::new("ip").args(["-batch", "-"]), &batch, WITHIN).map_err(told(hint));
    let namespace = command::must(Command::new("unshare").args(["--net", "true"]), "", WITHIN).map_err(told(hint));
    let _ = crate::net::delete(&veth);
    let _ = crate::net::delete(&bridge);
    let lack = |lack: Lack| if in_path("ip") { lack.fix("modprobe -a bridge veth") } else { lack.install("iproute2") };
    made.and(namespace).map_err(lack).map(|_| "bridge, veth and network namespace were made".to_string())
}

fn space(scratch: &Path) -> Judged {
    let hint = "images take about 150 MB each; free some space or use another data directory";
    let stat = rustix::fs::statvfs(scratch).map_err(|e| Lack::missing(e.to_string(), hint))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let told = format!("{} MiB free", free >> 20);
    if free < DISK_BYTES_MIN { Err(Lack::missing(told, hint)) } else { Ok(told) }
}

fn there(program: &str, hint: &'static str, package: &str) -> Judged {
    let ran = command::run(Command::new(program).arg("--version"), "", WITHIN).map_err(|fault| told(hint)(fault).install(package))?;
    Ok(ran.out.lines().next().unwrap_or("there").trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs root"]
    fn nobody_sees_what_is_mounted_to_try_it() {
        let dir = tempfile::tempdir().unwrap();
        let is_mounted = |list: &str| std::fs::read_to_string(list).unwrap().contains(dir.path().to_str().unwrap());
        let none: Option<&str> = None;
        let tried = unseen(|| {
            mount(Some("tmp"), dir.path(), Some("tmpfs"), MsFlags::empty(), none).unwrap();
            assert!(is_mounted("/proc/thread-self/mountinfo") && !is_mounted("/proc/self/mountinfo"));
            Ok("mounted".to_string())
        });
        assert!(tried.is_ok_and(|said| said == "mounted") && !is_mounted("/proc/self/mountinfo"));
    }
}
