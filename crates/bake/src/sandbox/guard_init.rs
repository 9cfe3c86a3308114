//! PID 1 of a PID namespace around that of the scripts. When it ends, the kernel ends everything in both, whatever has become of the
//! scripts' own PID 1.
//!
//! A script that writes into its PID 1's memory can unbind that from its parent (`PR_SET_PDEATHSIG`), and it would outlive a sandbox
//! that was killed. This process it cannot reach: it has another user, and no number in the scripts' namespace.

use crate::sandbox::request::{INIT, at};
use nix::sched::{CloneFlags, unshare};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};

/// Ends as the scripts' PID 1 ends: with its code, or 128 and the signal's number.
pub fn run() -> i32 {
    match begin().and_then(|init| wait(&init).map(|()| init)).and_then(|mut init| init.wait().map_err(at("cannot wait for PID 1"))) {
        Ok(status) => code(status),
        Err(why) => {
            eprintln!("{why}");
            1
        }
    }
}

fn begin() -> Result<Child, String> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(at("cannot be bound to its parent"))?;
    unshare(CloneFlags::CLONE_NEWPID).map_err(at("cannot make a PID namespace"))?;
    // It inherits our standard input, the socket on which it reports.
    Command::new("/proc/self/exe").arg(INIT).spawn().map_err(at("cannot start its PID 1"))
}

/// Until PID 1 ends, or the parent does: its end of the socket is closed then. The parent may have ended before this process was bound to it.
fn wait(init: &Child) -> Result<(), String> {
    let process = pidfd_open(Pid::from_child(init), PidfdFlags::empty()).map_err(at("cannot watch its PID 1"))?;
    let stdin = std::io::stdin();
    loop {
        // Without being asked for, a hang-up is reported, and nothing else of the socket.
        let mut fds = [PollFd::new(&process, PollFlags::IN), PollFd::new(&stdin, PollFlags::empty())];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(format!("cannot watch its PID 1: {e}")),
            Ok(_) if !fds[0].revents().is_empty() => return Ok(()),
            Ok(_) if !fds[1].revents().is_empty() => return Err("its parent is gone".to_string()),
            Ok(_) => {}
        }
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}

/// Which signal ended the scripts' PID 1, if one did.
pub fn signal_of(status: ExitStatus) -> Option<i32> {
    status.signal().or_else(|| status.code().map(|code| code - 128).filter(|signal| *signal > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_the_first_process_ended_is_passed_on() {
        let ended = |raw: i32| code(ExitStatus::from_raw(raw));
        let passed_on = |code: i32| signal_of(ExitStatus::from_raw(code << 8));
        assert_eq!([0, 1, 125].map(|code| ended(code << 8)), [0, 1, 125]);
        assert_eq!([9, 15].map(|signal| passed_on(ended(signal))), [Some(9), Some(15)]);
        assert_eq!([0, 1, 125].map(passed_on), [None; 3]);
        assert_eq!(signal_of(ExitStatus::from_raw(9)), Some(9), "it was killed itself");
    }
}
