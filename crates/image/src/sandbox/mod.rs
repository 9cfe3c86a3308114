//! Runs scripts that nobody here trusts in a tree: maintainer scripts and a recipe's own. They see their tree and nothing else of
//! the machine but its kernel, and of that as little as dpkg needs.
//!
//! ```text
//! this process ─▶ nsenter (the tree's mount namespace) ─▶ this program again: outer.rs
//!                    limits, user namespace, new mount, PID, network, UTS, IPC and cgroup namespaces
//!                    └─▶ this program again, PID 1: init.rs
//!                          mounts, pivot_root, old root detached, no privileges, seccomp
//!                          └─▶ /bin/sh in the tree
//! ```
//!
//! A process that has threads may not enter a user namespace, and one that holds keys must not be what the scripts can look at; so the
//! program is executed again. It says in `main`, before anything else, that it can be: [`enter_sandbox`].

mod filter;
mod groups;
mod init;
mod mounts;
mod outer;

use crate::exec;
use crate::tree::Tree;
use model::Fault;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Longer than the slowest configure of a large system; a script that asks a question ends here.
const PATIENCE_S: u64 = 1800;
/// What scripts may use beside the tree itself, which lies in memory too.
const MEMORY: u64 = 4 << 30;
const PROCESSES: u64 = 4096;

/// The first argument of this program when it is to be the sandbox.
const OUTER: &str = "afresh-sandbox";
const INIT: &str = "afresh-init";
const USERS: &str = "afresh-users";
/// How it ends when the sandbox could not be made, after a line that begins so.
const NOT_MADE: i32 = 125;
const SAYS: &str = "afresh-sandbox: ";

/// What the program is started with, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Request {
    tree: PathBuf,
    packages: PathBuf,
    script: String,
    args: Vec<String>,
    /// Bytes that the tree may hold; where it lies on a disk, what may be written beyond what is there.
    tree_limit: u64,
    is_on_disk: bool,
    /// `/proc/<pid>/ns/user` of the namespace to join, and the host's number of its root.
    users: Option<(PathBuf, u32)>,
    /// Directories of control groups to join.
    groups: Vec<PathBuf>,
}

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Called first in `main` of a program that bakes. Returns unless the program was started to be the sandbox.
pub fn enter_sandbox() {
    let mut args = std::env::args_os().skip(1);
    let (Some(first), request) = (args.next(), args.next()) else {
        let _ = PROGRAM.set(PathBuf::from(format!("/proc/{}/exe", std::process::id())));
        return;
    };
    let ended = match first.to_str() {
        Some(OUTER) => outer::run(request),
        Some(INIT) => init::run(),
        Some(USERS) => outer::hold_users(),
        _ => {
            let _ = PROGRAM.set(PathBuf::from(format!("/proc/{}/exe", std::process::id())));
            return;
        }
    };
    let code = ended.unwrap_or_else(|why| {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "{SAYS}{why}");
        NOT_MADE
    });
    std::process::exit(code)
}

/// For a process whose own `main` is not ours, such as a test's: a program that calls [`enter_sandbox`].
pub fn sandbox_program(path: &Path) {
    let _ = PROGRAM.set(path.to_path_buf());
}

pub struct Sandbox<'a> {
    pub tree: &'a Tree,
    /// Package files, seen read-only as /tmp/packages.
    pub packages: &'a Path,
    /// `SOURCE_DATE_EPOCH` for the scripts.
    pub epoch: u64,
}

impl Sandbox<'_> {
    /// Runs a shell script in the tree. Err: it could not be run; its own end is in the answer.
    pub fn run(&self, script: &str, args: &[&str], line: impl FnMut(&str)) -> Result<exec::Done, Fault> {
        let program = PROGRAM.get().ok_or_else(|| Fault::ours("no-sandbox", "this program did not say that it can be the sandbox"))?;
        let request = Request {
            tree: self.tree.inside().to_path_buf(),
            packages: self.packages.to_path_buf(),
            script: script.to_string(),
            args: args.iter().map(ToString::to_string).collect(),
            tree_limit: self.tree.limit(),
            is_on_disk: self.tree.is_on_disk(),
            users: None,
            groups: Vec::new(),
        };
        let mut c = self.tree.enter(program);
        c.arg(OUTER).arg(serde_json::to_string(&request).expect("our types hold nothing that JSON cannot"));
        c.env("SOURCE_DATE_EPOCH", self.epoch.to_string()).env("DEBCONF_NONINTERACTIVE_SEEN", "true");
        c.env("PYTHONHASHSEED", "0")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("USER", "root")
            .env("LOGNAME", "root")
            .env("SHELL", "/bin/sh")
            .env("TERM", "dumb");
        let done = exec::run_lines(&mut c, "the sandbox", line)?;
        match done.stderr.lines().rev().find_map(|l| l.strip_prefix(SAYS)) {
            Some(why) if done.status.code() == Some(NOT_MADE) => {
                Err(Fault::world("sandbox-failed", format!("cannot make a sandbox for scripts: {why}"))
                    .hint("it needs root, a kernel of 5.12 or later, and the right to mount and to make namespaces"))
            }
            _ => Ok(done),
        }
    }
}

/// An error with what was to be done.
fn at<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> String + '_ {
    move |error| format!("{what}: {error}")
}
