//! Keeps the control processes alive: one thread for each child, which starts it, prefixes its log, and starts it again.
//!
//! ```text
//!   start ─▶ alive ─ ends ─▶ wait 100 ms (twice as long each time it lived under 1 s, 5 s at most) ─▶ start
//!              └─ told to stop: TERM ─▶ ended, or KILL after 10 s ─▶ over
//! ```
//!
//! A child is tied to the thread that started it (the kernel's death signal counts threads), so that thread lives as long as we do.

use super::Role;
use crate::show;
use model::Fault;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A child that lived so long ended for a new reason: no pause grows.
const LIVED: Duration = Duration::from_secs(1);
const STOP_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub struct Supervisor {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Supervisor {
    /// `args` stand behind the role's name.
    pub fn start(data_dir: &Path, roles: &[(Role, Vec<String>)]) -> Result<Self, Fault> {
        let exe = std::env::current_exe().map_err(|e| Fault::world("io", format!("cannot find the own program: {e}")))?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (role, args) in roles {
            let (role, stop) = (*role, stop.clone());
            let mut line = vec![role.name().to_string(), "--data-dir".into(), data_dir.display().to_string()];
            line.extend(["--parent".to_string(), std::process::id().to_string()]);
            line.extend(args.iter().cloned());
            let exe = exe.clone();
            let keep = move || keep(role, &exe, &line, &stop);
            let thread = std::thread::Builder::new().name(role.name().into()).spawn(keep);
            threads.push(thread.map_err(|e| Fault::world("io", format!("cannot start a thread: {e}")))?);
        }
        Ok(Self { stop, threads })
    }

    /// Ends the children and waits for them.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // A panic there was printed there; the others are still to be waited for.
            let _ = thread.join();
        }
    }
}

fn keep(role: Role, exe: &Path, line: &[String], stop: &AtomicBool) {
    let mut pause = PAUSE_MIN;
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        match start(role, exe, line) {
            Ok(mut child) => {
                let status = watch(&mut child, stop);
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                say(role, &format!("ended ({}), starting it again", describe(status)));
            }
            Err(error) => say(role, &format!("cannot be started: {error}")),
        }
        pause = if began.elapsed() >= LIVED { PAUSE_MIN } else { pause };
        let until = Instant::now() + pause;
        while Instant::now() < until && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK_EVERY);
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn start(role: Role, exe: &Path, line: &[String]) -> std::io::Result<Child> {
    // A process group of its own: Ctrl-C in the terminal reaches us alone, and we end the children in order.
    let mut child =
        Command::new(exe).args(line).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn()?;
    if let Some(out) = child.stdout.take() {
        pump(role, out);
    }
    if let Some(err) = child.stderr.take() {
        pump(role, err);
    }
    Ok(child)
}

/// Ends with the pipe.
fn pump(role: Role, pipe: impl Read + Send + 'static) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            say(role, String::from_utf8_lossy(&line).trim_end());
            line.clear();
        }
    });
}

fn watch(child: &mut Child, stop: &AtomicBool) -> Option<ExitStatus> {
    let mut killed_at = None;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        match killed_at {
            None if stop.load(Ordering::Relaxed) => {
                killed_at = Some(Instant::now() + STOP_WITHIN);
                if let Ok(pid) = i32::try_from(child.id()) {
                    // Not reaped yet, so the number is still its own.
                    let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
                }
            }
            Some(until) if Instant::now() > until => {
                let _ = child.kill();
                return child.wait().ok();
            }
            _ => {}
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn describe(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "nobody knows how".to_string(), |s| s.to_string())
}

fn say(role: Role, text: &str) {
    show::note(format!("{} {text}", show::paint(show::DIM, format!("{:<5} |", role.name()))));
}
