//! Explains why an address cannot be listened on, in a sentence that says what to do.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;

/// Searches /proc, so it is called only after a bind failed.
pub fn explain(addr: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => match owner(addr.port()) {
            Some(who) => format!("cannot listen on {addr}: {who} has the port; stop it or choose another port"),
            None => format!("cannot listen on {addr}: another process has the port; `ss -ltnp` may show which"),
        },
        io::ErrorKind::PermissionDenied => {
            format!("cannot listen on {addr}: permission denied; a port below 1024 needs root or CAP_NET_BIND_SERVICE")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("cannot listen on {addr}: this host has no such address; `ip address` shows those it has")
        }
        _ => format!("cannot listen on {addr}: {error}"),
    }
}

/// The process that listens on this port, if it is visible to this user.
fn owner(port: u16) -> Option<String> {
    let mut inodes = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        inodes.extend(text.lines().skip(1).filter_map(|line| listening(line, port)));
    }
    if inodes.is_empty() {
        return None;
    }
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        // Processes of other users may be invisible: that is no error.
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        for file in files.flatten() {
            let Ok(link) = fs::read_link(file.path()) else { continue };
            let inode = link.to_str().and_then(|l| l.strip_prefix("socket:[")).and_then(|l| l.strip_suffix(']'));
            if inode.is_some_and(|i| inodes.contains(i)) {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                let own = if pid == std::process::id() { " (another route of this balancer)" } else { "" };
                return Some(format!("process {pid} ({}){own}", name.trim()));
            }
        }
    }
    None
}

/// The inode of a listening socket on this port, from a line of /proc/net/tcp.
fn listening(line: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    let has = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    (has == port && state == LISTEN).then(|| inode.to_string())
}
