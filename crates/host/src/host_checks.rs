//! What `doctor` reads of this host and judges without trying anything: kernel, switches, limits, disk, clock. Each judgement is pure, over
//! what was read, so that a bad host can be told from a text.

use crate::{cgroup, command, firewall};
use nix::sys::resource::{Resource, getrlimit};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(10);

/// What was found, and, if that is not enough, what follows.
pub type Judged = Result<String, Lack>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    pub found: String,
    /// What to do.
    pub hint: String,
    /// Servers run all the same.
    pub advice: bool,
    /// Shell lines that do it. They change nothing that somebody else set for a reason, and remove nothing.
    pub fix: Vec<String>,
}

impl Lack {
    pub fn missing(found: impl Into<String>, hint: impl Into<String>) -> Lack {
        Lack { found: found.into(), hint: hint.into(), advice: false, fix: Vec::new() }
    }

    pub fn advice(found: impl Into<String>, hint: impl Into<String>) -> Lack {
        Lack { advice: true, ..Lack::missing(found, hint) }
    }

    #[must_use]
    pub fn fix(mut self, line: impl Into<String>) -> Lack {
        self.fix.push(line.into());
        self
    }

    /// Where Debian's tools are there.
    #[must_use]
    pub fn install(self, package: &str) -> Lack {
        if in_path("apt-get") { self.fix(format!("apt-get install --yes --no-install-recommends {package}")) } else { self }
    }

    /// Now, and after each boot.
    #[must_use]
    pub fn set(self, name: &str, value: u64) -> Lack {
        self.fix(format!("sysctl -w {name}={value} && echo '{name} = {value}' >> /etc/sysctl.d/60-afresh.conf"))
    }
}

/// Whether a program can be called by its name.
pub fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_string())
}

fn number(path: &str) -> Option<u64> {
    read(path)?.parse().ok()
}

/// Owners of an image's files are mapped on each mount (`mount_setattr`), also below an overlay.
const KERNEL_MIN: (u32, u32) = (5, 19);

pub fn kernel() -> Judged {
    judge_kernel(&read("/proc/sys/kernel/osrelease").unwrap_or_default())
}

fn judge_kernel(release: &str) -> Judged {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().ok());
    let hint =
        format!("install a kernel from {}.{} on; on Debian 12 or Ubuntu 24.04 that of the release is enough", KERNEL_MIN.0, KERNEL_MIN.1);
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) >= KERNEL_MIN => Ok(release.to_string()),
        _ => Err(Lack::missing(format!("{release:?} is older than {}.{}", KERNEL_MIN.0, KERNEL_MIN.1), hint)),
    }
}

/// Each server has one, made by a user of its own.
pub fn user_namespaces() -> Judged {
    judge_user_namespaces(
        number("/proc/sys/user/max_user_namespaces"),
        number("/proc/sys/kernel/unprivileged_userns_clone"),
        number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
    )
}

const USER_NAMESPACES_MIN: u64 = 1_024;

/// What is switched off altogether, somebody switched off: the hint says how to change it, and `--fix` does not.
fn judge_user_namespaces(max: Option<u64>, clone: Option<u64>, apparmor: Option<u64>) -> Judged {
    let Some(max) = max else { return Err(Lack::missing("this kernel has no user namespaces", "install a kernel with CONFIG_USER_NS")) };
    if clone == Some(0) {
        let found = "only root may make them (kernel.unprivileged_userns_clone = 0), and each server's is made by its own user";
        return Err(Lack::missing(found, "sysctl -w kernel.unprivileged_userns_clone=1"));
    }
    if apparmor == Some(1) {
        let found =
            "AppArmor forbids them to users (kernel.apparmor_restrict_unprivileged_userns = 1), and each server's is made by its own user";
        let hint = "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for afresh with `userns,`";
        return Err(Lack::missing(found, hint));
    }
    let (found, hint) = (format!("at most {max}"), "sysctl -w user.max_user_namespaces=65536");
    match max {
        0 => Err(Lack::missing("switched off: user.max_user_namespaces is 0", hint)),
        1..USER_NAMESPACES_MIN => {
            Err(Lack::advice(format!("{found}: each server takes one"), hint).set("user.max_user_namespaces", 65_536))
        }
        _ => Ok(found),
    }
}

/// As the package sets them.
const LIMITS: &[(&str, &str, u64)] = &[
    ("fs.inotify.max_user_instances", "/proc/sys/fs/inotify/max_user_instances", 1_024),
    ("fs.inotify.max_user_watches", "/proc/sys/fs/inotify/max_user_watches", 524_288),
    ("kernel.keys.maxkeys", "/proc/sys/kernel/keys/maxkeys", 2_000),
];

pub fn sysctls() -> Judged {
    let all: Vec<_> = LIMITS.iter().filter_map(|(name, path, least)| Some((*name, number(path)?, *least))).collect();
    judge_sysctls(&all)
}

/// Name, value, and the least that is enough for some hundred servers.
fn judge_sysctls(all: &[(&str, u64, u64)]) -> Judged {
    let low: Vec<_> = all.iter().filter(|(_, value, least)| value < least).collect();
    if low.is_empty() {
        return Ok("limits of inotify and keys are enough".to_string());
    }
    let found = low.iter().map(|(name, value, _)| format!("{name} is {value}")).collect::<Vec<_>>().join(", ");
    let hint = low.iter().map(|(name, _, least)| format!("sysctl -w {name}={least}")).collect::<Vec<_>>().join("; ");
    let lack = Lack::advice(format!("{found}: with some hundred servers that is too little"), hint);
    Err(low.iter().fold(lack, |lack, (name, _, least)| lack.set(name, *least)))
}

/// It is switched on by the keeper where it is off; that must be possible.
pub fn forwarding() -> Judged {
    let path = "/proc/sys/net/ipv4/ip_forward";
    let Some(value) = read(path) else {
        return Err(Lack::missing(format!("{path} cannot be read"), "mount /proc, and give this host a network"));
    };
    // Opened and not written: nothing changes.
    let writable = std::fs::OpenOptions::new().write(true).open(path);
    match (value.as_str(), writable) {
        ("0", Err(e)) => {
            let hint =
                "make /proc/sys writable (mount -o remount,rw /proc/sys), or switch forwarding on before: sysctl -w net.ipv4.ip_forward=1";
            Err(Lack::advice(format!("it is off and cannot be switched on: {e}; servers reach nothing outside"), hint))
        }
        ("0", Ok(_)) => Ok("off; the keeper switches it on for servers alone".to_string()),
        _ => Ok("on".to_string()),
    }
}

/// A journal's times, leases and certificates are by the clock.
pub fn clock() -> Judged {
    let now = disk::files::now().0;
    let said = command::run(Command::new("timedatectl").args(["show", "--property=NTPSynchronized", "--value"]), "", WITHIN).ok();
    let synchronized = said.filter(|ran| ran.ok).map(|ran| ran.out.trim() == "yes");
    judge_clock(now, synchronized, time_daemon().as_deref())
}

/// 2025-01-01
const CLOCK_MIN_MS: u64 = 1_735_689_600_000;
/// As /proc has their names: 15 characters.
const TIME_DAEMONS: &[&str] = &["systemd-timesyn", "chronyd", "ntpd", "openntpd", "ptp4l", "phc2sys", "VBoxService", "vmtoolsd"];

fn time_daemon() -> Option<String> {
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
        TIME_DAEMONS.iter().find(|daemon| **daemon == name.trim()).map(ToString::to_string)
    })
}

fn judge_clock(now_ms: u64, synchronized: Option<bool>, daemon: Option<&str>) -> Judged {
    if now_ms < CLOCK_MIN_MS {
        return Err(Lack::missing(
            "this machine's clock is before 2025",
            "set it: date --set '2026-01-31 12:00', or install a time daemon",
        )
        .install("systemd-timesyncd"));
    }
    match (synchronized, daemon) {
        (Some(true), _) => Ok("synchronized".to_string()),
        (_, Some(daemon)) => Ok(format!("{daemon} runs{}", if synchronized == Some(false) { ", and is not yet synchronized" } else { "" })),
        _ => Err(Lack::advice("nothing sets this machine's clock", "apt install systemd-timesyncd (or chrony); timedatectl set-ntp true")
            .install("systemd-timesyncd")),
    }
}

/// Where the data directory lies.
pub fn filesystem(place: &Path) -> Judged {
    let info = read("/proc/self/mountinfo").unwrap_or_default();
    let place = place.canonicalize().unwrap_or_else(|_| place.to_path_buf());
    judge_filesystem(&info, &place)
}

fn judge_filesystem(mountinfo: &str, place: &Path) -> Judged {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (own, rest) = line.split_once(" - ")?;
        let mut own = own.split(' ').skip(4);
        let (point, options) = (own.next()?.replace("\\040", " "), own.next()?);
        Some((point, options.split(',').any(|option| option == "ro"), rest.split(' ').next()?.to_string()))
    });
    // Of several mounts at one point the last is the one that is seen.
    let of = mounts.filter(|(point, ..)| place.starts_with(point)).enumerate().max_by_key(|(n, (point, ..))| (point.len(), *n));
    let Some((_, (point, read_only, kind))) = of else { return Ok("not known".to_string()) };
    let found = format!("{kind} at {point}");
    let elsewhere = "choose a directory of a local disk with --data-dir";
    if read_only {
        return Err(Lack::missing(format!("{found} is read-only"), format!("mount -o remount,rw {point}; or {elsewhere}")));
    }
    match kind.as_str() {
        "tmpfs" | "ramfs" => Err(Lack::advice(format!("{found}: everything is gone after a reboot"), elsewhere)),
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "ceph" => {
            Err(Lack::advice(format!("{found}: locks and synced writes are as good as that server's"), elsewhere))
        }
        _ => Ok(found),
    }
}

const INODES_MIN: u64 = 20_000;

pub fn inodes(place: &Path) -> Judged {
    let stat = rustix::fs::statvfs(place).map_err(|e| Lack::missing(e.to_string(), "the data directory must be there"))?;
    judge_inodes(stat.f_files, stat.f_favail)
}

fn judge_inodes(all: u64, free: u64) -> Judged {
    // Some filesystems make them as they are needed, and say 0.
    if all == 0 || free >= INODES_MIN {
        return Ok(if all == 0 { "as many as are needed".to_string() } else { format!("{free} free") });
    }
    Err(Lack::missing(format!("{free} of {all} free"), "remove small files (`afresh gc`), or choose another disk with --data-dir"))
}

const CONTROLLERS: &[&str] = &["cpu", "memory", "pids"];

pub fn cgroups() -> Judged {
    let unified = || read("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let all = match cgroup::mode() {
        cgroup::Mode::Unified => unified(),
        _ => enabled_controllers(&read("/proc/cgroups").unwrap_or_default()),
    };
    judge_cgroups(cgroup::mode(), &all)
}

/// Of version 1, those that are not switched off.
fn enabled_controllers(cgroups: &str) -> String {
    let rows = cgroups.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.get(3) == Some(&"1")).map(|row| row[0].to_string()).collect::<Vec<_>>().join(" ")
}

fn judge_cgroups(mode: cgroup::Mode, controllers: &str) -> Judged {
    let version = match mode {
        cgroup::Mode::Unified => "version 2",
        cgroup::Mode::Hybrid => "hybrid (limits by version 1; crun does not run here, runc does)",
        cgroup::Mode::Legacy => "version 1",
        cgroup::Mode::Missing => {
            let lack = Lack::missing("no cgroup file system is mounted", "mount -t cgroup2 none /sys/fs/cgroup");
            return Err(lack.fix("mount -t cgroup2 none /sys/fs/cgroup"));
        }
    };
    let missing: Vec<&str> =
        CONTROLLERS.iter().copied().filter(|name| !controllers.split_whitespace().any(|there| there == *name)).collect();
    if missing.is_empty() {
        return Ok(format!("{version}, with {}", CONTROLLERS.join(", ")));
    }
    let hint = "boot the kernel with cgroup_enable=memory (GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub), or with a kernel that has them";
    Err(Lack::missing(format!("{version}, without {}: servers would have no such limit", missing.join(", ")), hint))
}

const MEMORY_MIN_KIB: u64 = 512 << 10;

pub fn memory() -> Judged {
    judge_memory(&read("/proc/meminfo").unwrap_or_default(), cgroup::bounds_swap())
}

fn judge_memory(meminfo: &str, bounds_swap: bool) -> Judged {
    let of = |name: &str| meminfo.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok());
    let (Some(total), Some(available)) = (of("MemTotal:"), of("MemAvailable:")) else { return Ok("not known".to_string()) };
    let swap = of("SwapTotal:").unwrap_or(0);
    let found = format!("{} of {} MiB available, {} MiB swap", available >> 10, total >> 10, swap >> 10);
    if available < MEMORY_MIN_KIB {
        return Err(Lack::advice(found, "servers are killed when memory is short: end what needs it, or add some"));
    }
    if swap > 0 && !bounds_swap {
        let hint = "boot with swapaccount=1, or with cgroup version 2 (systemd.unified_cgroup_hierarchy=1)";
        return Err(Lack::advice(format!("{found}, which no limit of a server covers"), hint));
    }
    Ok(found)
}

const FILES_MIN: u64 = 65_536;

pub fn open_files() -> Judged {
    let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
    if hard >= FILES_MIN {
        return Ok(format!("at most {hard}"));
    }
    let hint =
        format!("ulimit -n {FILES_MIN} before `afresh up`; units have LimitNOFILE=1048576; the balancer takes two for each connection");
    Err(Lack::advice(format!("at most {hard}"), hint))
}

/// Whoever drops what is forwarded drops what servers send as well: an accept of ours is no accept of others.
pub fn other_firewalls() -> Judged {
    let ran = command::run(Command::new("nft").args(["-j", "list", "chains"]), "", WITHIN);
    let ran = ran.map_err(|fault| Lack::missing(fault.message, "apt install nftables").install("nftables"))?;
    let dropping = dropping_chains(&ran.out);
    let passes = |side: &str| command::run(Command::new("iptables").args(["-C", "FORWARD", side, "afresh+", "-j", "ACCEPT"]), "", WITHIN);
    let is_passed = || ["-i", "-o"].iter().all(|side| passes(side).is_ok_and(|ran| ran.ok));
    judge_firewalls(&dropping, in_path("iptables"), is_passed)
}

fn judge_firewalls(dropping: &[String], iptables: bool, is_passed: impl Fn() -> bool) -> Judged {
    if dropping.is_empty() {
        return Ok("none drops what is forwarded by default".to_string());
    }
    let only_iptables = dropping.iter().all(|chain| chain == IPTABLES);
    if only_iptables && iptables && is_passed() {
        return Ok(format!("{IPTABLES} lets servers pass"));
    }
    let accept = ["iptables -I FORWARD -i afresh+ -j ACCEPT", "iptables -I FORWARD -o afresh+ -j ACCEPT"];
    let found = format!(
        "{} drops what is forwarded by default (Docker, ufw): unless a rule of it lets afresh* pass, no server gets out",
        dropping.join(", ")
    );
    let lack = Lack::advice(found, format!("let interfaces named afresh* pass, and again after each boot: {}; {}", accept[0], accept[1]));
    Err(if only_iptables && iptables { accept.iter().fold(lack, |lack, line| lack.fix(*line)) } else { lack })
}

/// What the chain of iptables is called by nft.
const IPTABLES: &str = "chain FORWARD of table ip filter";

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

/// The very tables that a keeper makes, in a network that vanishes.
pub fn nftables() -> Judged {
    let hint = "apt install nftables; the kernel needs nftables with inet, bridge, nat, fib, reject and connlimit, for IPv4 and IPv6";
    let lack = |found: String| if in_path("nft") { Lack::missing(found, hint) } else { Lack::missing(found, hint).install("nftables") };
    firewall::tried(&firewall::rules::sample()).map_err(|fault| lack(fault.message))?;
    let version = command::run(Command::new("nft").arg("--version"), "", WITHIN).map_or_else(|_| String::new(), |ran| ran.said());
    let v6 = Path::new("/proc/sys/net/ipv6").is_dir();
    Ok(format!("{version}: a server's rules were loaded{}", if v6 { "" } else { "; this kernel has no IPv6" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lack(judged: Judged) -> Lack {
        judged.unwrap_err()
    }

    #[test]
    fn kernels_are_told_by_their_numbers() {
        for good in ["5.19.0", "6.1.0-18-amd64", "6.18.44-fc-v595", "10.0"] {
            assert!(judge_kernel(good).is_ok(), "{good}");
        }
        for bad in ["5.18.99", "4.19.0-26", "5.9", "", "linux", "6"] {
            assert!(!lack(judge_kernel(bad)).advice, "{bad}");
        }
    }

    #[test]
    fn namespaces_that_users_may_not_make_are_missing() {
        assert!(judge_user_namespaces(Some(96_365), None, None).is_ok());
        assert!(judge_user_namespaces(Some(96_365), Some(1), Some(0)).is_ok());
        let cases = [(None, None, None), (Some(0), None, None), (Some(9_999), Some(0), None), (Some(9_999), Some(1), Some(1))];
        for (max, clone, apparmor) in cases {
            let found = lack(judge_user_namespaces(max, clone, apparmor));
            assert!(!found.advice && found.fix.is_empty(), "{max:?} {clone:?} {apparmor:?}: somebody decided so: {found:?}");
        }
        let few = lack(judge_user_namespaces(Some(10), None, None));
        assert!(few.advice && few.fix[0].starts_with("sysctl -w user.max_user_namespaces=65536 &&"), "{few:?}");
    }

    #[test]
    fn each_limit_that_is_low_has_its_line() {
        let judged = lack(judge_sysctls(&[("a.b", 128, 1_024), ("c.d", 9, 9), ("e.f", 1, 2)]));
        assert!(
            judged.advice && judged.fix.len() == 2 && judged.found.contains("a.b is 128") && !judged.found.contains("c.d"),
            "{judged:?}"
        );
        assert!(judge_sysctls(&[("a.b", 2_000, 1_024)]).is_ok());
    }

    #[test]
    fn a_clock_needs_somebody_who_sets_it() {
        let now = 1_795_000_000_000;
        assert!(judge_clock(now, Some(true), None).is_ok() && judge_clock(now, None, Some("chronyd")).is_ok());
        assert!(judge_clock(now, Some(false), Some("ntpd")).unwrap().contains("not yet"));
        assert!(lack(judge_clock(now, Some(false), None)).advice && lack(judge_clock(now, None, None)).advice);
        assert!(!lack(judge_clock(0, Some(true), Some("ntpd"))).advice, "1970 is no time for certificates");
    }

    #[test]
    fn the_mount_that_holds_the_directory_is_judged() {
        let info = "1 0 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n2 1 0:5 / /var/lib rw - tmpfs t rw\n3 1 8:2 / /var/lib/afresh rw,noatime - xfs /dev/sdb rw\n\
                    4 1 0:6 / /srv/a\\040b ro,nosuid - ext4 /dev/sdc rw\n5 1 0:7 / /net rw - nfs4 h:/x rw\n6 5 8:3 / /net rw - ext4 /dev/sdd rw";
        let judge = |place: &str| judge_filesystem(info, Path::new(place));
        assert_eq!(judge("/var/lib/afresh/x").unwrap(), "xfs at /var/lib/afresh");
        assert_eq!(judge("/var/lib/afreshing").unwrap_err().found.split(':').next(), Some("tmpfs at /var/lib"));
        assert!(lack(judge("/srv/a b/c")).found.contains("read-only"));
        assert_eq!(judge("/net/x").unwrap(), "ext4 at /net", "the last mount at a point is the one that is seen");
        assert_eq!(judge("/home").unwrap(), "ext4 at /");
    }

    #[test]
    fn few_inodes_are_missing_and_none_are_many() {
        assert!(judge_inodes(0, 0).is_ok() && judge_inodes(1_000_000, 900_000).is_ok());
        assert!(!lack(judge_inodes(1_000_000, 10)).advice);
    }

    #[test]
    fn controllers_that_are_off_are_missing() {
        let text = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t1\t1\nmemory\t0\t1\t0\npids\t5\t1\t1\n";
        assert_eq!(enabled_controllers(text), "cpu pids");
        assert!(lack(judge_cgroups(cgroup::Mode::Hybrid, "cpu pids")).found.contains("without memory"));
        assert!(judge_cgroups(cgroup::Mode::Unified, "cpuset cpu io memory hugetlb pids rdma").is_ok());
        assert!(!lack(judge_cgroups(cgroup::Mode::Missing, "cpu memory pids")).advice);
    }

    #[test]
    fn memory_that_is_short_or_unbounded_is_told() {
        let info = |available: u64, swap: u64| {
            format!("MemTotal: 4000000 kB\nMemFree: 1 kB\nMemAvailable: {available} kB\nSwapTotal: {swap} kB\n")
        };
        assert!(judge_memory(&info(3_000_000, 0), false).is_ok() && judge_memory(&info(3_000_000, 9_999), true).is_ok());
        assert!(lack(judge_memory(&info(100_000, 0), true)).advice);
        assert!(lack(judge_memory(&info(3_000_000, 9_999), false)).found.contains("no limit"));
        assert_eq!(judge_memory("", true).unwrap(), "not known");
    }

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
        let dropping = dropping_chains(&format!(r#"{{"nftables":[{}]}}"#, all.join(",")));
        assert_eq!(dropping, [IPTABLES]);
        assert!(dropping_chains("nonsense").is_empty());
        assert!(judge_firewalls(&dropping, true, || true).is_ok());
        let docker = lack(judge_firewalls(&dropping, true, || false));
        assert!(docker.advice && docker.fix.len() == 2, "{docker:?}");
        // Whoever wrote rules in nft's own language is not mended by iptables.
        let own = ["chain forward of table inet filter".to_string()];
        assert!(lack(judge_firewalls(&own, true, || true)).fix.is_empty());
    }
}
