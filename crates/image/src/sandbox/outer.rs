//! The sandbox's first process, with the rights of who bakes: makes limits and namespaces, starts PID 1 and ends as it ends.
//! It runs nothing of the tree.

use super::{INIT, Request, USERS, at, groups, mounts};
use nix::sched::{CloneFlags, unshare};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The host's number of the sandbox's root; 65536 from there on. No distribution gives these to anybody.
const FIRST: u32 = model::BAKE_IDS;
const COUNT: u32 = 65_536;

pub fn run(request: Option<OsString>) -> Result<i32, String> {
    let text = request.and_then(|r| r.into_string().ok()).ok_or("it was started without a request")?;
    let mut request: Request = serde_json::from_str(&text).map_err(at("its request cannot be read"))?;
    let groups = groups::Groups::make(request.tree_limit);
    request.groups = groups.dirs();
    // Before the namespaces: only who is outside may say which users there are.
    let users = Users::make(&request);
    request.users = users.as_ref().map(|u| (PathBuf::from(format!("/proc/{}/ns/user", u.child.id())), u.first));

    let new =
        CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
    unshare(new).map_err(at("cannot make namespaces"))?;
    let _ = unshare(CloneFlags::CLONE_NEWCGROUP);
    mounts::make_private()?;

    // Of a read-only mount of its own: PID 1 can be looked at from inside, and its program must not be a way to the host's file.
    let program = mounts::own_program();
    let path =
        program.as_ref().map_or_else(|| PathBuf::from("/proc/self/exe"), |fd| PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())));
    let mut init = Command::new(path).arg(INIT).stdin(Stdio::piped()).spawn().map_err(at("cannot start its PID 1"))?;
    if let Some(mut input) = init.stdin.take() {
        let text = serde_json::to_vec(&request).map_err(at("cannot write its request"))?;
        input.write_all(&text).map_err(at("cannot hand over its request"))?;
    }
    let status = init.wait().map_err(at("cannot wait for its PID 1"))?;
    drop(users);
    groups.remove();
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

/// A user namespace, kept by a process that does nothing else.
struct Users {
    child: Child,
    first: u32,
}

impl Users {
    /// The best that this kernel gives: numbers that are nobody's on the host, if files can be seen with these; else the host's own
    /// numbers without the rights that go with them. None: no namespaces for users here; the capabilities that stay are all there is.
    fn make(request: &Request) -> Option<Self> {
        let shifted = Self::of(FIRST).filter(|users| {
            let users = PathBuf::from(format!("/proc/{}/ns/user", users.child.id()));
            [&request.tree, &request.packages].into_iter().all(|path| mounts::can_be_shifted(path, &users))
        });
        shifted.or_else(|| Self::of(0))
    }

    fn of(first: u32) -> Option<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.arg(USERS).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().ok()?;
        let mut said = [0u8; 1];
        let is_there = child.stdout.take().is_some_and(|mut out| out.read_exact(&mut said).is_ok());
        let users = Self { child, first };
        let map = format!("0 {first} {COUNT}\n");
        let written = |name: &str| std::fs::write(format!("/proc/{}/{name}", users.child.id()), &map).is_ok();
        (is_there && written("uid_map") && written("gid_map")).then_some(users)
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The process that keeps a user namespace: says that it is there, and ends with who started it.
pub fn hold_users() -> Result<i32, String> {
    unshare(CloneFlags::CLONE_NEWUSER).map_err(at("cannot make a user namespace"))?;
    let mut out = std::io::stdout();
    out.write_all(b"u").and_then(|()| out.flush()).map_err(at("cannot say so"))?;
    let _ = std::io::stdin().read(&mut [0u8; 1]);
    Ok(0)
}
