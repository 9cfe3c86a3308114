//! What an instance has written beside its volumes, and how much it may: read off the tmpfs that its root and `/tmp` are on.

use crate::process;
use crate::record::Started;
use model::ScratchSeen;
use std::path::Path;

/// With less room than this it is full.
const FULL_BYTES: u64 = 64 << 10;

/// Of a program that runs. None: it has ended.
pub fn of(started: &Started) -> Option<ScratchSeen> {
    // The kernel's answer for an overlay is that of its upper layer.
    let seen = at(&Path::new("/proc").join(started.pid.to_string()).join("root"));
    seen.filter(|_| process::start_of(started.pid) == Some(started.pid_start))
}

/// Of the filesystem at a path.
pub fn at(path: &Path) -> Option<ScratchSeen> {
    let seen = rustix::fs::statvfs(path).ok().filter(|s| s.f_blocks > 0)?;
    let (limit_bytes, free) = (seen.f_blocks.saturating_mul(seen.f_frsize), seen.f_bfree.saturating_mul(seen.f_frsize));
    let is_full = free < FULL_BYTES || seen.f_files > 0 && seen.f_ffree == 0;
    Some(ScratchSeen { used_bytes: limit_bytes.saturating_sub(free), limit_bytes, is_full })
}
