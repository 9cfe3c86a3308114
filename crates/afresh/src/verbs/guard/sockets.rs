//! What listens in a network namespace, whose processes these are, and what nftables says. Everything is read; what cannot be read is unknown.

use super::report::Report;
use guard::Tri;
use guard::root::{Exposure, Firewall, Listener, Protocol};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Of a table of sockets: some hundred thousand connections.
const TABLE_MAX: u64 = 64 << 20;
const RULES_MAX: u64 = 64 << 20;
const TABLES: [(&str, Protocol); 4] = [("tcp", Protocol::Tcp), ("tcp6", Protocol::Tcp), ("udp", Protocol::Udp), ("udp6", Protocol::Udp)];

/// `net`: `/proc/net`, or that of a process. Also the tables that could not be read.
pub fn listeners(net: &Path) -> (Vec<Listener>, Vec<String>) {
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    for (name, protocol) in TABLES {
        let path = net.join(name);
        let text = match bounded(&path, TABLE_MAX) {
            Ok(text) => text,
            // A kernel without IPv6 has no table of it.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && name.ends_with('6') => continue,
            Err(_) => String::new(),
        };
        match guard::root::listeners(protocol, &text) {
            Some(all) => found.extend(all),
            None => unread.push(path.display().to_string()),
        }
    }
    (found, unread)
}

pub fn unread(report: &mut Report, tables: &[String]) {
    for table in tables {
        let exposure = Exposure::unread(table, "the table of sockets cannot be read", "run the scan as root of this host");
        report.finding(&exposure.finding());
    }
}

fn bounded(path: &Path, limit: u64) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Processes by the inodes of their sockets: "redis-server (pid 812)". Those of others are known to root alone.
pub fn owners() -> BTreeMap<u64, String> {
    let mut owners = BTreeMap::new();
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let mut name = None;
        for file in files.flatten() {
            let Ok(target) = std::fs::read_link(file.path()) else { continue };
            let inode = target.to_str().and_then(|t| t.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok());
            let Some(inode) = inode else { continue };
            let name = name.get_or_insert_with(|| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default());
            owners.entry(inode).or_insert_with(|| format!("{} (pid {pid})", name.trim()));
        }
    }
    owners
}

/// The rules of this host's nftables, or why they are not known.
pub struct Rules(Result<Firewall, String>);

impl Rules {
    pub fn read() -> Rules {
        // Rules of the older iptables are not among those of nftables.
        let has_old = ["ip_tables_names", "ip6_tables_names"]
            .iter()
            .any(|name| std::fs::read_to_string(format!("/proc/net/{name}")).is_ok_and(|names| !names.trim().is_empty()));
        if has_old {
            return Rules(Err("rules of iptables-legacy are in force, which are not read here".into()));
        }
        Rules(ruleset().and_then(|text| Firewall::read(&text).ok_or_else(|| "what nft prints is not understood".into())))
    }

    /// With why it is not known.
    pub fn admits(&self, listener: &Listener) -> (Tri, String) {
        match &self.0 {
            Ok(firewall) => {
                (firewall.admits(listener), "the rules of nftables hold conditions that are not understood here: `nft list ruleset`".into())
            }
            Err(why) => (Tri::Unknown, why.clone()),
        }
    }
}

fn ruleset() -> Result<String, String> {
    let mut nft = store::program::command("nft");
    nft.args(["-j", "list", "ruleset"])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null());
    let cannot = |e: std::io::Error| format!("nftables cannot be asked (`nft -j list ruleset`: {e})");
    let mut child = nft.spawn().map_err(cannot)?;
    let mut bytes = Vec::new();
    let out = child.stdout.take().map(|out| out.take(RULES_MAX));
    let read = out.map_or(Ok(0), |mut out| out.read_to_end(&mut bytes));
    let status = child.wait().map_err(cannot)?;
    read.map_err(cannot)?;
    if !status.success() {
        return Err("nftables cannot be read: run the scan as root".into());
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
