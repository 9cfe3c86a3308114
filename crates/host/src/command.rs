//! Runs a helper program to its end, with a time limit and bounded output. Its output is read from pipes; beyond the bound it is read
//! and discarded, so that no program can fill our memory or block on a full pipe.
//!
//! ```text
//! spawn (own process group) ─▶ poll: output? read, keep up to the bound ─▶ ended: take what is in the pipes ─▶ Ran
//!                                └ time over: the whole group is killed ─▶ helper-slow
//! ```

use model::Fault;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, OFlags, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::fs::File;
use std::io::{PipeReader, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What is kept of each of a program's two outputs, unless the caller says otherwise.
const OUTPUT_BYTES_MAX: usize = 256 << 10;

/// What is shown of it.
const SAID_CHARS_MAX: usize = 400;

/// What a service manager says to the process that it started alone. runc and crun have a meaning of their own for the first: they would wait until the
/// program in the container says that it is ready, and pass that on.
const SERVICE_MANAGER: &[&str] = &["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// For each program that is started here: none of them is the service manager's business.
pub fn without_service_manager(command: &mut Command) -> &mut Command {
    SERVICE_MANAGER.iter().fold(command, |command, name| command.env_remove(name))
}

pub struct Ran {
    pub ok: bool,
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Its output in one line, for display.
    pub fn said(&self) -> String {
        let text = if self.err.trim().is_empty() { &self.out } else { &self.err };
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if lines.is_empty() { "no output".to_string() } else { lines.join("; ").chars().take(SAID_CHARS_MAX).collect() }
    }
}

/// `input` is passed on standard input. A program that takes longer is killed with its children, and the call fails.
pub fn run(command: &mut Command, input: &str, within: Duration) -> Result<Ran, Fault> {
    run_keeping(command, input, within, OUTPUT_BYTES_MAX)
}

/// As [`run`], with as much of the output.
pub fn run_keeping(command: &mut Command, input: &str, within: Duration, bytes_max: usize) -> Result<Ran, Fault> {
    let name = command.get_program().to_string_lossy().into_owned();
    let broken = |e: std::io::Error| {
        let hint = if e.kind() == std::io::ErrorKind::NotFound { "is its package installed?" } else { "see the message" };
        Fault::world("helper-failed", format!("{name}: {e}")).hint(hint)
    };
    let (mut out, out_end) = Output::open(bytes_max).map_err(broken)?;
    let (mut err, err_end) = Output::open(bytes_max).map_err(broken)?;
    command.stdin(Stdio::from(memory(input).map_err(broken)?)).stdout(out_end).stderr(err_end).process_group(0);
    without_service_manager(command);
    let child = command.spawn().map_err(broken)?;
    // The command holds the writing ends too; until they are dropped, no pipe would end.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut group = Group(child);
    let ended = group.until_ended(&mut out, &mut err, within).map_err(broken)?;
    if !ended {
        return Err(Fault::world("helper-slow", format!("{name} took longer than {} ms and was killed", within.as_millis())));
    }
    let status = group.0.wait().map_err(broken)?;
    // Only what is in the pipes already: a child that outlives the program may hold them open.
    out.read();
    err.read();
    Ok(Ran { ok: status.success(), code: status.code(), out: out.text(), err: err.text() })
}

/// The program and what it started. Whatever of it still runs when this is dropped is killed.
struct Group(Child);

impl Group {
    /// False: it did not end within the time.
    fn until_ended(&self, out: &mut Output, err: &mut Output, within: Duration) -> std::io::Result<bool> {
        let process = pidfd_open(self.pid(), PidfdFlags::empty())?;
        let until = Instant::now() + within;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut fds = vec![PollFd::new(&process, PollFlags::IN)];
            fds.extend([&*out, &*err].into_iter().filter_map(|output| Some(PollFd::new(output.from.as_ref()?, PollFlags::IN))));
            match poll(&mut fds, Some(&timespec(left))) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            if !fds[0].revents().is_empty() {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            out.read();
            err.read();
        }
    }

    fn pid(&self) -> Pid {
        i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).expect("a child has a pid above 0")
    }
}

impl Drop for Group {
    /// The program is not waited for before its group is signalled, so the group's number is still its own.
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// One output of a program, as far as it is kept.
struct Output {
    /// None: it has ended.
    from: Option<PipeReader>,
    kept: Vec<u8>,
    bytes_max: usize,
}

impl Output {
    fn open(bytes_max: usize) -> std::io::Result<(Self, std::io::PipeWriter)> {
        let (from, to) = std::io::pipe()?;
        fcntl_setfl(&from, OFlags::NONBLOCK)?;
        Ok((Self { from: Some(from), kept: Vec::new(), bytes_max }, to))
    }

    /// At most one pipe's content at a time, so that the clock is checked even when a program never stops writing.
    fn read(&mut self) {
        let mut buffer = [0; 64 << 10];
        let Some(from) = &mut self.from else { return };
        match from.read(&mut buffer) {
            Ok(0) => self.from = None,
            Ok(n) => {
                let room = self.bytes_max - self.kept.len();
                self.kept.extend_from_slice(&buffer[..n.min(room)]);
            }
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted) => {}
            Err(_) => self.from = None,
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() }
}

/// As [`run`], but anything except success is an error that carries the program's output.
pub fn must(command: &mut Command, input: &str, within: Duration) -> Result<String, Fault> {
    let ran = run(command, input, within)?;
    if ran.ok {
        return Ok(ran.out);
    }
    let args: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
    let name = command.get_program().to_string_lossy();
    Err(Fault::world("helper-failed", format!("{name} {}: {}", args.join(" "), ran.said())))
}

/// Whether it becomes readable within the time; for a pidfd, whether its process ended.
pub fn wait_readable(fd: &impl AsFd, within: Duration) -> bool {
    let until = Instant::now() + within;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timespec(left))) {
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
    file.rewind()?;
    Ok(file)
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

    fn sh(script: &str, within_ms: u64) -> Result<Ran, Fault> {
        run(Command::new("sh").args(["-c", script]), "", Duration::from_millis(within_ms))
    }

    /// The kernel's limit on file sizes shows that no file grows with the output: a pipe is not a file.
    #[test]
    fn a_flood_of_output_is_read_and_not_kept() {
        let ran = sh("ulimit -f 2048; head -c 300000000 /dev/zero && head -c 300000000 /dev/zero >&2 && exit 4", 60_000).unwrap();
        assert_eq!((ran.code, ran.out.len(), ran.err.len()), (Some(4), OUTPUT_BYTES_MAX, OUTPUT_BYTES_MAX), "{}", ran.err);
    }

    #[test]
    fn what_takes_too_long_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        let script = format!("sleep 1000 & echo $! > {0}; yes >&2 & echo $! >> {0}; wait", pids.display());
        assert_eq!(sh(&script, 500).err().unwrap().code, "helper-slow");
        let text = std::fs::read_to_string(&pids).unwrap();
        assert_eq!(text.lines().count(), 2);
        for pid in text.lines() {
            let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).ok().filter(|stat| !stat.contains(") Z "));
            let until = Instant::now() + Duration::from_secs(10);
            while state().is_some() && Instant::now() < until {
                std::thread::yield_now();
            }
            assert_eq!(state(), None, "it still runs");
        }
    }

    /// A helper may leave a process that holds its output open: that is not waited for.
    #[test]
    fn an_end_is_seen_though_a_child_holds_the_output() {
        let begin = Instant::now();
        let ran = sh("sleep 5 & echo said", 60_000).unwrap();
        assert_eq!(ran.out, "said\n");
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
}
