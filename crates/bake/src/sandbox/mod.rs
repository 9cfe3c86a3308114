//! Runs scripts that nobody here trusts in a tree: maintainer scripts and a recipe's own. They see their tree and nothing else of
//! the machine but its kernel, and of that as little as dpkg needs.
//!
//! ```text
//! this process ─▶ nsenter (the tree's mount namespace) ─▶ this program again: outer.rs
//!                    limits, user namespace, new mount, PID, network, UTS, IPC and cgroup namespaces
//!                    └─▶ this program again, PID 1 of that namespace: guard_init.rs
//!                          a PID namespace within it, which ends with this process
//!                          └─▶ this program again, PID 1 for the scripts: init.rs
//!                                mounts, pivot_root, old root detached, no privileges, seccomp
//!                                └─▶ /bin/sh in the tree
//! ```
//!
//! How it ended is reported back along the same chain, over sockets that scripts cannot reach: verdict.rs.
//!
//! A process that has threads may not enter a user namespace, and one that holds keys must not be what the scripts can look at; so the
//! program is executed again. It says in `main`, before anything else, that it can be: [`enter_sandbox`].

mod filter;
mod groups;
mod guard_init;
mod init;
mod mounts;
mod outer;
mod request;
mod slots;
mod verdict;

use crate::tree::Tree;
use model::Fault;
use request::{GUARD_INIT, INIT, KILLED, OUTER, Request, USERS};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::OnceLock;
use store::program;
use verdict::Verdict;

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Called first in `main` of a program that bakes. Returns unless the program was started to be the sandbox.
pub fn enter_sandbox() {
    let mut args = std::env::args_os().skip(1);
    let (Some(first), request) = (args.next(), args.next()) else {
        let _ = PROGRAM.set(PathBuf::from(format!("/proc/{}/exe", std::process::id())));
        return;
    };
    match first.to_str() {
        Some(OUTER) => outer::run(request),
        Some(GUARD_INIT) => std::process::exit(guard_init::run()),
        Some(INIT) => init::run(),
        Some(USERS) => outer::hold_users(request),
        _ => {
            let _ = PROGRAM.set(PathBuf::from(format!("/proc/{}/exe", std::process::id())));
            return;
        }
    }
    std::process::exit(0)
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
    pub fn run(&self, script: &str, args: &[&str], line: impl FnMut(&str)) -> Result<program::Done, Fault> {
        let program = PROGRAM.get().ok_or_else(|| Fault::ours("no-sandbox", "this program did not say that it can be the sandbox"))?;
        let request = Request {
            tree: self.tree.inside().to_path_buf(),
            packages: self.packages.to_path_buf(),
            script: script.to_string(),
            args: args.iter().map(ToString::to_string).collect(),
            tree_limit: self.tree.limit(),
            is_on_disk: self.tree.is_on_disk(),
            users: (PathBuf::new(), 0),
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
        let (ours, theirs) = verdict::pair().map_err(disk::files::at("cannot make a socket for", program))?;
        c.stdin(theirs);
        let done = program::run_lines(&mut c, "the sandbox", line)?;
        // It holds the other end of the socket, too.
        drop(c);
        judged(verdict::read(ours), done)
    }
}

/// What the scripts printed and the exit of the program are no evidence of what became of the sandbox: only its own report is.
fn judged(verdict: Option<Verdict>, done: program::Done) -> Result<program::Done, Fault> {
    let failed = |why: String| {
        Err(Fault::world("sandbox-failed", format!("cannot make a sandbox for scripts: {why}"))
            .hint("it needs root, a kernel of 5.12 or later, and the right to mount and to make namespaces; `sysctl user.max_user_namespaces` must not be 0"))
    };
    let ended = |code: i32| ExitStatus::from_raw((code & 0xff) << 8);
    match verdict {
        Some(Verdict::Ended(code)) => Ok(program::Done { status: ended(code), ..done }),
        Some(Verdict::Stopped(why)) => Ok(program::Done { status: ended(KILLED), stderr: format!("{}\n{why}", done.stderr), ..done }),
        Some(Verdict::NotMade(why)) => failed(why),
        None => failed(format!("it ended without a report ({})", done.status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(code: i32, stderr: &str) -> program::Done {
        program::Done { status: ExitStatus::from_raw(code << 8), stdout: Vec::new(), stderr: stderr.to_string() }
    }

    /// A script may print what it likes and exit as it likes.
    #[test]
    fn only_the_sandbox_says_how_it_ended() {
        let fake = "afresh-sandbox: cannot make namespaces";
        for code in [0, 1, 125, 137] {
            let said = judged(Some(Verdict::Ended(code)), done(0, fake)).unwrap();
            assert_eq!((said.status.code(), said.stderr.as_str()), (Some(code), fake));
        }
        let said = judged(Some(Verdict::Stopped("the scripts took longer than 1800 s".into())), done(0, "last line")).unwrap();
        assert_eq!((said.status.code(), said.stderr.as_str()), (Some(137), "last line\nthe scripts took longer than 1800 s"));
        for (verdict, code) in [(Some(Verdict::NotMade("no namespaces".into())), 0), (None, 0), (None, 137)] {
            assert_eq!(judged(verdict, done(code, "")).unwrap_err().code, "sandbox-failed", "what is not known is not taken for an end");
        }
    }
}
