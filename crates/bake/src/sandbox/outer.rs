//! The sandbox's first process, with the rights of who bakes: makes limits and namespaces, starts PID 1 and ends as it ends.
//! It runs nothing of the tree.

use crate::sandbox::request::{GUARD_INIT, PATIENCE_S, PROCESSES, Request, USERS, at};
use crate::sandbox::slots::Slot;
use crate::sandbox::verdict;
use crate::sandbox::verdict::Verdict;
use crate::sandbox::{groups, guard_init, mounts};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use store::program;

/// User ids of a sandbox.
const COUNT: u32 = 65_536;
/// PID 1 ends the scripts when their time is over or their room is used up; this long after, or this many observations after, it has failed to.
const GRACE: Duration = Duration::from_secs(30);
const LOOKS_SPARE: u32 = 5;
const LOOK_EVERY: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// What the keeper of a user namespace says when it is made.
const MADE: &str = "made";

/// Reports how the sandbox ended to who started it.
pub fn run(request: Option<OsString>) {
    if let Ok(channel) = verdict::channel() {
        let verdict = sandbox(request).unwrap_or_else(Verdict::NotMade);
        verdict::report(&channel, &verdict);
    }
}

fn sandbox(request: Option<OsString>) -> Result<Verdict, String> {
    let text = request.and_then(|r| r.into_string().ok()).ok_or("it was started without a request")?;
    let mut request: Request = serde_json::from_str(&text).map_err(at("its request cannot be read"))?;
    // Before the namespaces: only who is outside may say which users there are.
    let users = Users::make(&request)?;
    request.users = (users.path(), users.first());
    let groups = groups::Groups::make(request.tree_limit);
    request.groups = groups.dirs();
    // By descriptors: PID 1's change of its root is one of this process, too.
    let root = std::fs::File::open("/").map_err(at("cannot open the root"))?;
    let tree = std::fs::File::open(&request.tree).map_err(at("cannot open the tree"))?;

    let new =
        CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
    unshare(new).map_err(at("cannot make namespaces"))?;
    let _ = unshare(CloneFlags::CLONE_NEWCGROUP);
    mounts::make_private()?;

    // Of a read-only mount of its own: PID 1 can be looked at from inside, and its program must not be a way to the host's file.
    let program = mounts::own_program();
    let path =
        program.as_ref().map_or_else(|| PathBuf::from("/proc/self/exe"), |fd| PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())));
    let (ours, theirs) = verdict::pair().map_err(at("cannot make a socket for its PID 1"))?;
    let mut command = Command::new(path);
    let spawned = command.arg(GUARD_INIT).stdin(theirs).spawn();
    // It holds the other end of the socket, too.
    drop(command);
    let mut init = spawned.map_err(at("cannot start its PID 1"))?;
    let text = serde_json::to_vec(&request).map_err(at("cannot write its request"))?;
    let sent = verdict::send_request(&ours, &text);
    let free = || rustix::fs::fstatvfs(&tree).map_or(0, |s| s.f_bavail.saturating_mul(s.f_frsize));
    let before = free();
    let is_full = || request.is_on_disk && before.saturating_sub(free()) > request.tree_limit;
    let (status, ended) = oversee(&mut init, Duration::from_secs(PATIENCE_S) + GRACE, is_full)?;
    let verdict = verdict::read(ours);
    drop(users);
    // Where the control groups lie. What cannot be removed is swept by a later sandbox.
    let _ = rustix::process::fchdir(&root).and_then(|()| rustix::process::chroot("."));
    groups.remove();
    if let Some(why) = ended {
        return Ok(Verdict::Stopped(why.to_string()));
    }
    match (verdict, guard_init::signal_of(status)) {
        (Some(verdict), _) => Ok(verdict),
        // Nobody inside can kill PID 1; the kernel does where memory is out.
        (None, Some(signal)) => Ok(Verdict::Stopped(format!("PID 1 of the sandbox was killed by signal {signal}: out of memory?"))),
        (None, None) => {
            sent.map_err(at("cannot hand over its request"))?;
            Err(format!("its PID 1 ended without a report ({status})"))
        }
    }
}

/// Waits for PID 1, and ends it when it does not keep the bounds itself: scripts have its user and its rights, and where the kernel has
/// nothing against it they write into its memory (`/proc/1/mem`). With why, if it was ended.
fn oversee(init: &mut Child, patience: Duration, is_full: impl Fn() -> bool) -> Result<(ExitStatus, Option<&'static str>), String> {
    let pid = rustix::process::Pid::from_child(init);
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(at("cannot watch its PID 1"))?;
    let (since, mut full) = (Instant::now(), 0);
    let why = loop {
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&LOOK_EVERY)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => break None,
            Err(e) => return Err(format!("cannot watch its PID 1: {e}")),
        }
        full = if is_full() { full + 1 } else { 0 };
        if full > LOOKS_SPARE {
            break Some("the scripts wrote more than they may, and went on: No space left on device");
        }
        if since.elapsed() > patience {
            break Some("the scripts took longer than they may, and were not ended from inside");
        }
    };
    if why.is_some() {
        init.kill().map_err(at("cannot end its PID 1"))?;
    }
    Ok((init.wait().map_err(at("cannot wait for its PID 1"))?, why))
}

/// A user namespace, kept by a process that does nothing else.
struct Users {
    child: Child,
    /// None: the numbers are the host's own.
    slot: Option<Slot>,
}

impl Users {
    /// The best that this host gives: numbers that are nobody's on the host and no other bake's, if files can be seen with these; else
    /// the host's own numbers without the rights that go with them. Without a user namespace no script runs.
    fn make(request: &Request) -> Result<Self, String> {
        // Root of a user namespace may have no more than a system needs itself.
        if program::users_here() >= u64::from(Slot::END) {
            let slot = Slot::take()?;
            let users = Self::of(Some(slot))?;
            if mounts::can_be_shifted(&request.tree, &users.path())? && mounts::can_be_shifted(&request.packages, &users.path())? {
                return Ok(users);
            }
        }
        Self::of(None)
    }

    fn of(slot: Option<Slot>) -> Result<Self, String> {
        let first = slot.as_ref().map_or(0, Slot::first);
        let mut command = Command::new("/proc/self/exe");
        command.arg(USERS).arg(first.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(at("cannot start the keeper of its users"))?;
        let said = child.stdout.take().map(|out| {
            let mut line = String::new();
            let _ = BufReader::new(out.take(1 << 10)).read_line(&mut line);
            line
        });
        let users = Self { child, slot };
        match said.as_deref().map(str::trim) {
            Some(MADE) => {}
            said => return Err(format!("cannot make a user namespace: {}", said.filter(|s| !s.is_empty()).unwrap_or("no answer"))),
        }
        for name in ["uid_map", "gid_map"] {
            std::fs::write(format!("/proc/{}/{name}", users.child.id()), format!("0 {first} {COUNT}\n"))
                .map_err(|e| format!("cannot map its users from {first} on: {name}: {e}"))?;
        }
        Ok(users)
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/user", self.child.id()))
    }

    fn first(&self) -> u32 {
        self.slot.as_ref().map_or(0, Slot::first)
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The process that keeps a user namespace: says that it is there, or why not, and ends with who started it.
pub fn hold_users(first: Option<OsString>) {
    let first = first.and_then(|f| f.to_str().and_then(|f| f.parse().ok()));
    let said = first.ok_or_else(|| "no user is named".to_string()).and_then(make_users);
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{}", said.as_ref().map_or_else(String::as_str, |()| MADE)).and_then(|()| out.flush());
    if said.is_ok() {
        let _ = std::io::stdin().read(&mut [0u8; 1]);
    }
}

/// The kernel charges what a namespace's users take (inotify, say) to who made it as well, and bounds all of it by that user's limits.
/// So it is made by its own root, who is nobody else: made by root, a script could take what root's programs need.
fn make_users(first: u32) -> Result<(), String> {
    if first != 0 {
        let most = Some(PROCESSES);
        rustix::process::setrlimit(Resource::Nproc, Rlimit { current: most, maximum: most }).map_err(at("cannot set its limits"))?;
        rustix::thread::set_keep_capabilities(true).map_err(at("cannot keep the right to make one"))?;
        nix::unistd::setgroups(&[]).map_err(at("cannot give up its groups"))?;
        let (uid, gid) = (Uid::from_raw(first), Gid::from_raw(first));
        nix::unistd::setresgid(gid, gid, gid).map_err(at("cannot become its root"))?;
        nix::unistd::setresuid(uid, uid, uid).map_err(at("cannot become its root"))?;
        // Some hosts let only who has this right make user namespaces.
        let admin = CapabilitySet::SYS_ADMIN;
        rustix::thread::set_capabilities(None, CapabilitySets { effective: admin, permitted: admin, inheritable: CapabilitySet::empty() })
            .map_err(at("cannot keep the right to make one"))?;
    }
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn told(program: &str, patience: Duration, is_full: bool) -> (ExitStatus, Option<&'static str>) {
        let mut child = Command::new("sh").args(["-c", program]).spawn().unwrap();
        oversee(&mut child, patience, || is_full).unwrap()
    }

    /// A PID 1 that a script has made its own ends nothing.
    #[test]
    fn a_first_process_that_keeps_no_bounds_is_ended() {
        let long = Duration::from_secs(3600);
        let (status, why) = told("exec sleep 600", Duration::ZERO, false);
        assert!(status.signal() == Some(9) && why.is_some_and(|w| w.contains("longer")), "{status} {why:?}");
        let (status, why) = told("exec sleep 600", long, true);
        assert!(status.signal() == Some(9) && why.is_some_and(|w| w.contains("No space left on device")), "{status} {why:?}");
        let (status, why) = told("exit 3", long, true);
        assert!(status.code() == Some(3) && why.is_none(), "one that ends by itself is not ended: {status} {why:?}");
    }
}
