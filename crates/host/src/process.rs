//! Processes that are not our children: identified by pid and start time, signalled through a pidfd, so that a reused pid is never
//! touched.

use crate::record::Started;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::os::fd::OwnedFd;

/// Clock ticks since boot at which the process started; None: no such process.
pub fn start_of(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_start(&stat)
}

/// Field 22 of /proc/pid/stat; the name in field 2 may hold spaces and brackets.
fn parse_start(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// A handle on exactly this process; None: it is gone.
pub fn open(pid: i32, start: u64) -> Option<OwnedFd> {
    let fd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    (start_of(pid) == Some(start)).then_some(fd)
}

/// A handle on a child that nobody has waited for, so that its pid is its own.
pub fn of_child(child: &std::process::Child) -> std::io::Result<OwnedFd> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(std::io::ErrorKind::NotFound)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

pub fn send(process: &OwnedFd, signal: Signal) {
    let _ = pidfd_send_signal(process, signal);
}

/// Whether the kernel would discard a signal: the first process of a pid namespace that has no handler for a signal never gets it.
/// Any other process would have ended.
pub fn deaf_to(pid: i32, signal: Signal) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    let mask = |name: &str| status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix(name)?.trim(), 16).ok()).unwrap_or(0);
    let bit = 1u64 << (signal.as_raw() - 1);
    (mask("SigCgt:") | mask("SigIgn:") | mask("SigBlk:")) & bit == 0
}

/// Sends the signal that ends it. A signal that the kernel would discard, because the program is the first of its pid namespace and has no
/// handler, would have ended it anywhere else: then it is killed.
pub fn ask_to_end(started: &Started, wanted: Signal) {
    if let Some(process) = open(started.pid, started.pid_start) {
        let deaf = deaf_to(started.pid, wanted) && wanted != Signal::WINCH;
        send(&process, if deaf { Signal::KILL } else { wanted });
    }
}

/// All processes whose last argument begins with this text: pid, start, last argument.
pub fn with_last_argument(prefix: &str) -> Vec<(i32, u64, String)> {
    let pids = crate::state_files::names(std::path::Path::new("/proc")).into_iter().filter_map(|name| name.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let last = line.strip_suffix(b"\0").unwrap_or(&line).rsplit(|b| *b == 0).next()?;
        let last = std::str::from_utf8(last).ok()?;
        last.starts_with(prefix).then_some(())?;
        Some((pid, start_of(pid)?, last.to_string()))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_read_behind_any_name() {
        let mut fields = vec!["S"; 50];
        fields[19] = "4711";
        let stat = format!("12 (a) b (c) {}", fields.join(" "));
        assert_eq!(parse_start(&stat), Some(4711));
        assert_eq!(parse_start("12 (a"), None);
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(open(own, start_of(own).unwrap()).is_some());
        assert!(open(own, 1).is_none(), "another start is another process");
    }
}
