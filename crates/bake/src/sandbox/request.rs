//! The request that starts a sandbox, and its limits.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Longer than the slowest configure of a large system; a script that asks a question ends here.
pub(super) const PATIENCE_S: u64 = 1800;

/// What scripts may use beside the tree itself, which lies in memory too.
pub(super) const MEMORY: u64 = 4 << 30;

pub(super) const PROCESSES: u64 = 4096;

/// The first argument of this program when it is to be the sandbox.
pub(super) const OUTER: &str = "afresh-sandbox";

pub(super) const GUARD_INIT: &str = "afresh-guard-init";

pub(super) const INIT: &str = "afresh-init";

pub(super) const USERS: &str = "afresh-users";

/// As `timeout` has it for what it killed.
pub(super) const KILLED: i32 = 137;

/// What the program is started with, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) tree: PathBuf,
    pub(super) packages: PathBuf,
    pub(super) script: String,
    pub(super) args: Vec<String>,
    /// Bytes that the tree may hold; where it lies on a disk, what may be written beyond what is there.
    pub(super) tree_limit: u64,
    pub(super) is_on_disk: bool,
    /// `/proc/<pid>/ns/user` of the namespace to join, and the host's number of its root. The sandbox fills it in.
    pub(super) users: (PathBuf, u32),
    /// Directories of control groups to join.
    pub(super) groups: Vec<PathBuf>,
}

/// An error with what was to be done.
pub(super) fn at<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> String + '_ {
    move |error| format!("{what}: {error}")
}
