//! PID 1 of the sandbox: mounts, gives up every right, starts the script, collects what dies, and ends everything when the script
//! ends or its time is over. When the script starts, PID 1 has no more rights than the script has, and nothing of the host to show.

use crate::sandbox::request::{MEMORY, PATIENCE_S, PROCESSES, Request, at};
use crate::sandbox::verdict;
use crate::sandbox::verdict::Verdict;
use crate::sandbox::{filter, mounts};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// What dpkg, maintainer scripts and a recipe do as root: owners and modes of files, users, capabilities of files, their own processes.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP);

/// Whoever started this program may have left some open.
fn close_descriptors() -> Result<(), String> {
    let entries = std::fs::read_dir("/proc/self/fd").map_err(at("cannot list its descriptors"))?;
    let open: Vec<i32> = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    // The one that listed them is closed already.
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        let _ = nix::unistd::close(fd);
    }
    Ok(())
}

/// Reports its end to the sandbox's first process. Without a channel to report on there is nobody to do anything for.
pub fn run() {
    if let Ok(channel) = close_descriptors().and_then(|()| verdict::channel()) {
        let verdict = sandbox().unwrap_or_else(Verdict::NotMade);
        verdict::report(&channel, &verdict);
    }
}

fn sandbox() -> Result<Verdict, String> {
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text).map_err(at("its request cannot be read"))?;
    let request: Request = serde_json::from_slice(&text).map_err(at("its request cannot be read"))?;
    for dir in &request.groups {
        std::fs::write(dir.join("cgroup.procs"), "0").map_err(at("cannot join its control group"))?;
    }
    let (path, first) = &request.users;
    let users = OwnedFd::from(std::fs::File::open(path).map_err(at("cannot open its user namespace"))?);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // Without a terminal: /dev/tty would be that of who bakes.
    rustix::process::setsid().map_err(at("cannot leave the terminal"))?;
    nix::unistd::sethostname("afresh-bake").map_err(at("cannot give it a name"))?;
    mounts::enter(&request.tree, &request.packages, users.as_fd(), *first)?;
    let null = std::fs::File::open("/tree/dev/null").map_err(at("cannot open /dev/null"))?;
    rustix::stdio::dup2_stdin(null).map_err(at("cannot close its input"))?;
    limits(&request)?;
    setns(&users, CloneFlags::CLONE_NEWUSER).map_err(at("cannot enter its user namespace"))?;
    nix::unistd::setgroups(&[]).map_err(at("cannot give up its groups"))?;
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    nix::unistd::setresgid(gid, gid, gid).map_err(at("cannot become root of the tree"))?;
    nix::unistd::setresuid(uid, uid, uid).map_err(at("cannot become root of the tree"))?;
    watch(&request)
}

fn limits(request: &Request) -> Result<(), String> {
    let file = if request.tree_limit == 0 { None } else { Some(request.tree_limit) };
    for (resource, most) in [
        (Resource::Core, Some(0)),
        (Resource::Cpu, Some(PATIENCE_S)),
        (Resource::Nproc, Some(PROCESSES)),
        (Resource::Fsize, file),
        (Resource::Data, Some(MEMORY.saturating_add(request.tree_limit))),
    ] {
        let old = rustix::process::getrlimit(resource);
        let most = most.map(|m| old.maximum.map_or(m, |o| o.min(m)));
        rustix::process::setrlimit(resource, Rlimit { current: most, maximum: most }).map_err(at("cannot set its limits"))?;
    }
    // The same on every machine, for some programs look at it.
    let old = rustix::process::getrlimit(Resource::Nofile);
    let most = old.maximum.map_or(65_536, |o| o.min(65_536));
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(most.min(1024)), maximum: Some(most) })
        .map_err(at("cannot set its limits"))
}

/// What this thread may still do, and all that it starts.
fn give_up() -> Result<(), String> {
    for n in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << n);
        if !KEPT.contains(one) && rustix::thread::capability_is_in_bounding_set(one).unwrap_or(false) {
            rustix::thread::remove_capability_from_bounding_set(one).map_err(at("cannot give up capabilities"))?;
        }
    }
    let _ = rustix::thread::clear_ambient_capability_set();
    let have = rustix::thread::capabilities(None).map_err(at("cannot ask for capabilities"))?;
    let keep = KEPT.intersection(have.permitted);
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(at("cannot give up capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(at("cannot refuse new privileges"))?;
    filter::apply()
}

/// Two threads: one waits at the sandbox's own root, one goes into the tree and starts the script there. Scripts ask whether they are
/// in a chroot by comparing their root with that of PID 1, and do other things where they are not.
fn watch(request: &Request) -> Result<Verdict, String> {
    let (begin, begun) = channel::<()>();
    let (tell, told) = channel::<Result<i32, String>>();
    let (script, args) = (request.script.clone(), request.args.clone());
    std::thread::spawn(move || within(&begun, &tell, &script, &args));
    give_up()?;
    // Its end is ours; set here, since a change of rights takes it away.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(at("cannot be bound to its parent"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(at("cannot be looked at"))?;
    begin.send(()).map_err(|_| "its second thread is gone")?;
    let since = Instant::now();
    let free = free_bytes();
    loop {
        match told.recv_timeout(Duration::from_secs(1)) {
            Ok(ended) => return ended.map(Verdict::Ended),
            Err(RecvTimeoutError::Disconnected) => return Err("its second thread is gone".into()),
            Err(RecvTimeoutError::Timeout) if since.elapsed() > Duration::from_secs(PATIENCE_S) => {
                return Ok(Verdict::Stopped(format!("the scripts took longer than {PATIENCE_S} s")));
            }
            // A tree in memory has a size of its own.
            Err(RecvTimeoutError::Timeout) if request.is_on_disk && free.saturating_sub(free_bytes()) > request.tree_limit => {
                let most = request.tree_limit / 1_000_000;
                return Ok(Verdict::Stopped(format!("the scripts wrote more than {most} MB: No space left on device")));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn free_bytes() -> u64 {
    rustix::fs::statvfs("/tree").map_or(0, |s| s.f_bavail.saturating_mul(s.f_frsize))
}

fn within(begun: &Receiver<()>, tell: &Sender<Result<i32, String>>, script: &str, args: &[String]) {
    if begun.recv().is_ok() {
        let _ = tell.send(script_in_tree(script, args));
    }
}

fn script_in_tree(script: &str, args: &[String]) -> Result<i32, String> {
    // A root of this thread's own.
    unshare(CloneFlags::CLONE_FS).map_err(at("cannot enter the tree"))?;
    rustix::process::chroot("/tree").map_err(at("cannot enter the tree"))?;
    rustix::process::chdir("/").map_err(at("cannot enter the tree"))?;
    give_up()?;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, "sh"]).args(args).stdin(Stdio::null());
    let child = command.spawn().map_err(at("cannot start /bin/sh of the tree"))?;
    let child = i32::try_from(child.id()).map_err(at("its script has no number"))?;
    loop {
        // Whatever lost its parent is ours to collect.
        match waitpid(Pid::from_raw(-1), None) {
            Ok(WaitStatus::Exited(pid, code)) if pid.as_raw() == child => return Ok(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid.as_raw() == child => return Ok(128 + signal as i32),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(format!("cannot wait for the script: {e}")),
        }
    }
}
