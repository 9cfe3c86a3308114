//! Walks a root directory read-only and gives `guard` what is in it: an image before it is used, a host, a server.
//!
//! ```text
//! walk (one thread) ── files, opened, in order ─▶ judge (a thread a core) ── exposures ─▶ put in order again ─▶ the caller
//! ```
//!
//! Everything is opened beneath one directory, no link of the walk is followed, and nothing that could wait is opened: no pipe, no socket,
//! no device. What is kept in memory has bounds, whatever the tree holds. It judges nothing: what cannot be read becomes `Unknown`.

#![deny(clippy::disallowed_methods)]

mod checksum;
mod filesystem;
mod job;
mod order;
mod read;
mod tree;
mod walk;

pub use filesystem::{Mounted, of as filesystem};
pub use order::scan;

use guard::Finding;
use guard::root::Purpose;
use std::time::Instant;

pub struct Options {
    pub purpose: Purpose,
    /// Threads that judge; the walk has one of its own.
    pub threads: usize,
    /// What is not scanned by then is unknown.
    pub until: Option<Instant>,
}

/// Whether the time of a scan is over.
fn is_over(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() >= until)
}

/// What a scan reports while it runs. Findings are in the order of the walk.
pub enum Event<'a> {
    Finding(&'a Finding),
    Progress(Totals),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub files: u64,
    pub directories: u64,
    /// Of files, as far as they were read.
    pub bytes: u64,
}
