//! The kernel's switches for forwarding, which servers need to get out. Where they are off, they are turned on with the value 2, which the
//! kernel takes as on and nobody else writes: it says by itself, whatever happens to us, that this host forwards for servers alone. Who
//! else wants this host to forward writes 1 (sysctl, Docker, libvirt), and is not held up from then on.
//!
//! | switch | it means | the firewall's guard |
//! | --- | --- | --- |
//! | 0 | nobody needs it | on, before it is turned on |
//! | 2 | servers need it, nobody else | on |
//! | 1 | this host is a router | off |

use crate::firewall::rules::Guard;
use crate::state_files;
use model::Fault;
use std::path::{Path, PathBuf};

const V4: &str = "/proc/sys/net/ipv4/ip_forward";
const V6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
const OURS: &str = "2";
/// Interfaces that listened to routers before, one a line. On the host and not in a data directory: it is about the host, until its next boot.
const LISTENED: &str = "/run/afresh-accept-ra";

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_string())
}

/// Whether what this host forwards must be bounded to servers.
pub fn guard() -> Guard {
    let bounded = |path| read(path).is_some_and(|value| value == "0" || value == OURS);
    Guard { v4: bounded(V4), v6: bounded(V6) }
}

/// Turns forwarding on where it is off. The guard must be in force.
pub fn turn_on(v6: bool) -> Result<(), Fault> {
    let on = |path: &str| std::fs::write(path, OURS).map_err(|e| state_files::at(Path::new(path), "turning forwarding on", e));
    if read(V4).as_deref() == Some("0") {
        on(V4)?;
        tracing::info!("this host now forwards IPv4, for servers alone: {V4} is {OURS}");
    }
    if v6 && read(V6).as_deref() == Some("0") {
        keep_listening()?;
        on(V6)?;
        tracing::info!("this host now forwards IPv6, for servers alone: {V6} is {OURS}");
    }
    Ok(())
}

/// A host that forwards IPv6 no longer believes its routers, and forgets the way out that it had from them, unless it is told to.
fn keep_listening() -> Result<(), Fault> {
    let mut listened = read(LISTENED).unwrap_or_default();
    for (name, setting) in accept_ra() {
        if read(&setting.to_string_lossy()).as_deref() == Some("1") {
            if !listened.lines().any(|line| line == name) {
                listened.push_str(&format!("{name}\n"));
            }
            // Written down first: what is not known cannot be put back.
            std::fs::write(LISTENED, &listened).map_err(|e| state_files::at(Path::new(LISTENED), "writing", e))?;
            std::fs::write(&setting, "2").map_err(|e| state_files::at(&setting, "setting", e))?;
        }
    }
    Ok(())
}

/// Interfaces, `default` with them: what is plugged in later.
fn accept_ra() -> Vec<(String, PathBuf)> {
    let conf = Path::new("/proc/sys/net/ipv6/conf");
    let names = state_files::names(conf).into_iter().filter(|name| name != "all" && name != "lo");
    names.map(|name| (name.clone(), conf.join(name).join("accept_ra"))).collect()
}

/// Turns off what is on for servers alone. The last data directory of this host does that: others' servers need it as well.
pub fn turn_off() {
    let is_bridge = |name: &String| name.strip_prefix("afresh").is_some_and(|mark| mark.len() == 8);
    if state_files::names(Path::new("/sys/class/net")).iter().any(is_bridge) {
        return;
    }
    for path in [V4, V6] {
        if read(path).as_deref() == Some(OURS) {
            let _ = std::fs::write(path, "0");
        }
    }
    // Where somebody else made this host a router meanwhile, it must go on listening.
    if read(V6).as_deref() != Some("0") {
        return;
    }
    let listened = read(LISTENED).unwrap_or_default();
    for (name, setting) in accept_ra() {
        if listened.lines().any(|line| line == name) && read(&setting.to_string_lossy()).as_deref() == Some("2") {
            let _ = std::fs::write(&setting, "1");
        }
    }
    let _ = std::fs::remove_file(LISTENED);
}
