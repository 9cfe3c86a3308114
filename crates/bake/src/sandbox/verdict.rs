//! How a sandbox ended, as it reports itself to who started it.
//!
//! The report goes over a pair of sockets: each process of the chain has one end as its standard input until it has read its request,
//! and no script inherits it. A socket cannot be opened through `/proc/<pid>/fd`, and taking it from another process is refused
//! (`filter.rs`). Exit codes and printed lines would not do: they are the scripts' own. A script that writes into PID 1's memory can
//! report for it, as one that puts another `/bin/sh` into the tree can: nothing but how the scripts ended is believed, and the bounds
//! are held by who started PID 1 (`outer.rs`).

use crate::sandbox::request::at;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

const BYTES_MAX: u64 = 64 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The script's exit code; 128 and the signal's number for one that was killed.
    Ended(i32),
    /// The sandbox ended the scripts, and why.
    Stopped(String),
    /// No script was started, and why.
    NotMade(String),
}

/// Our end, and the one that becomes a child's standard input. Ours reads its end only when no process has the other any more.
pub fn pair() -> std::io::Result<(UnixStream, Stdio)> {
    let (ours, theirs) = UnixStream::pair()?;
    Ok((ours, Stdio::from(OwnedFd::from(theirs))))
}

/// In the child: its end, no longer its standard input by the time it starts others. They do not inherit it.
pub fn channel() -> Result<UnixStream, String> {
    let end = std::io::stdin().as_fd().try_clone_to_owned().map_err(at("it has no channel to report on"))?;
    Ok(UnixStream::from(end))
}

pub fn send_request(channel: &UnixStream, request: &[u8]) -> std::io::Result<()> {
    (&mut &*channel).write_all(request)?;
    channel.shutdown(Shutdown::Write)
}

pub fn report(channel: &UnixStream, verdict: &Verdict) {
    // Who started it is gone if this fails, and then nobody waits for it.
    if let Ok(text) = serde_json::to_vec(verdict) {
        let _ = (&mut &*channel).write_all(&text);
    }
}

/// None: it ended before it could report.
pub fn read(channel: UnixStream) -> Option<Verdict> {
    let mut text = Vec::new();
    channel.take(BYTES_MAX).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}
