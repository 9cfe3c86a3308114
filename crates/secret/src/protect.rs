//! What a process does for itself before it holds values.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// This process leaves no core: not as a file, and not in a pipe, where only a limit of 1 counts and 0 does not (core(5)). Processes
/// that it starts inherit the limit. Nobody but root may look into its memory.
pub fn protect_memory() {
    let before = getrlimit(Resource::Core);
    let most = before.maximum.map_or(1, |most| most.min(1));
    // What the kernel refuses here it refuses a process that has no more to protect itself with.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(most), maximum: Some(most) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
