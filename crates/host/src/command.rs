//! Runs a helper program to its end, within a time and with bounded output.

use model::Fault;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What is kept of a program's output.
const OUTPUT_BYTES_MAX: u64 = 256 << 10;

/// What people are shown of it.
const SAID_CHARS_MAX: usize = 400;

pub struct Ran {
    pub ok: bool,
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// What it said, in one line, for people.
    pub fn said(&self) -> String {
        let text = if self.err.trim().is_empty() { &self.out } else { &self.err };
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if lines.is_empty() { "it said nothing".to_string() } else { lines.join("; ").chars().take(SAID_CHARS_MAX).collect() }
    }
}

/// `input` is given on standard input. A program that takes longer is killed and is a fault.
pub fn run(command: &mut Command, input: &str, within: Duration) -> Result<Ran, Fault> {
    let name = command.get_program().to_string_lossy().into_owned();
    let broken = |e: std::io::Error| {
        let hint = if e.kind() == std::io::ErrorKind::NotFound { "is its package installed?" } else { "see the message" };
        Fault::world("helper-failed", format!("{name}: {e}")).hint(hint)
    };
    let mut stdin = memory(input).map_err(broken)?;
    stdin.rewind().map_err(broken)?;
    let (mut out, mut err) = (memory("").map_err(broken)?, memory("").map_err(broken)?);
    command.stdin(Stdio::from(stdin)).stdout(out.try_clone().map_err(broken)?).stderr(err.try_clone().map_err(broken)?);
    let mut child = command.spawn().map_err(broken)?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a child has a pid above 0");
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| broken(e.into()))?;
    if !wait_readable(&pidfd, within) {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        let _ = child.wait();
        return Err(Fault::world("helper-slow", format!("{name} took longer than {} ms and was killed", within.as_millis())));
    }
    let status = child.wait().map_err(broken)?;
    Ok(Ran { ok: status.success(), code: status.code(), out: text(&mut out).map_err(broken)?, err: text(&mut err).map_err(broken)? })
}

/// As [`run`], and anything but success is a fault that carries what the program said.
pub fn must(command: &mut Command, input: &str, within: Duration) -> Result<String, Fault> {
    let ran = run(command, input, within)?;
    if ran.ok {
        return Ok(ran.out);
    }
    let args: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
    let name = command.get_program().to_string_lossy();
    Err(Fault::world("helper-failed", format!("{name} {}: {}", args.join(" "), ran.said())))
}

/// Whether the pidfd's process ended within the time.
pub fn wait_readable(fd: &OwnedFd, within: Duration) -> bool {
    let until = std::time::Instant::now() + within;
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        let time = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&time)) {
            Ok(0) if left.is_zero() => return false,
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

fn memory(text: &str) -> std::io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("afresh", MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    Ok(file)
}

fn text(file: &mut File) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_codes_and_time_are_kept() {
        let ran = run(Command::new("sh").args(["-c", "cat; echo bad >&2; exit 3"]), "hello", Duration::from_secs(20)).unwrap();
        assert_eq!((ran.ok, ran.code, ran.out.as_str(), ran.said().as_str()), (false, Some(3), "hello", "bad"));
        assert_eq!(run(Command::new("sleep").arg("60"), "", Duration::from_millis(20)).err().unwrap().code, "helper-slow");
        assert_eq!(run(&mut Command::new("/no/such"), "", Duration::from_secs(1)).err().unwrap().code, "helper-failed");
    }
}
