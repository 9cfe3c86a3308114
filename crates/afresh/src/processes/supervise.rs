//! Keeps the control processes alive: one thread for each child, which starts it, prefixes its log, and starts it again.
//!
//! ```text
//!   start ─▶ alive ─ ends ─▶ wait 100 ms (twice as long each time it lived under 1 s, 5 s at most) ─▶ start
//!              └─ told to stop: TERM ─▶ ended, or KILL after 10 s ─▶ over
//! ```
//!
//! A child is tied to the thread that started it (the kernel's death signal counts threads), so that thread lives as long as this process.

use super::Role;
use crate::show;
use model::Fault;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A child that ran for this time ended for a new reason: the restart delay is reset.
const LIVED: Duration = Duration::from_secs(1);
const STOP_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Longer lines are cut into several.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// In the data directory: the output of `afresh up`, where its starter wants it there.
pub const LOG: &str = "up.log";

/// What the threads are told.
#[derive(Default)]
struct Told {
    stop: AtomicBool,
    /// How often the children are to read again.
    reloads: AtomicU32,
}

impl Told {
    fn to_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

pub struct Supervisor {
    told: Arc<Told>,
    threads: Vec<JoinHandle<()>>,
}

impl Supervisor {
    /// `args` follow the role's name.
    pub fn start(data_dir: &Path, roles: &[(Role, Vec<String>)]) -> Result<Self, Fault> {
        let exe = std::env::current_exe().map_err(|e| Fault::world("io", format!("cannot find the own program: {e}")))?;
        let told = Arc::new(Told::default());
        let mut threads = Vec::new();
        let log = Arc::new(OwnLog { path: data_dir.join(LOG), turning: Mutex::new(()) });
        for (role, args) in roles {
            let (role, told, log) = (*role, told.clone(), log.clone());
            let mut line = vec![role.name().to_string(), "--data-dir".into(), data_dir.display().to_string()];
            line.extend(["--parent".to_string(), std::process::id().to_string()]);
            line.extend(args.iter().cloned());
            let exe = exe.clone();
            let keep = move || keep(role, &exe, &line, &told, &log);
            let thread = std::thread::Builder::new().name(role.name().into()).spawn(keep);
            threads.push(thread.map_err(|e| Fault::world("io", format!("cannot start a thread: {e}")))?);
        }
        Ok(Self { told, threads })
    }

    /// SIGHUP for each child.
    pub fn reload(&self) {
        self.told.reloads.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends the children and waits for them.
    pub fn stop(self) {
        self.told.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // A panic there was printed there; the others are still to be waited for.
            let _ = thread.join();
        }
    }
}

fn keep(role: Role, exe: &Path, line: &[String], told: &Told, log: &Arc<OwnLog>) {
    let mut pause = PAUSE_MIN;
    while !told.to_stop() {
        let began = Instant::now();
        match start(role, exe, line, log) {
            Ok(mut child) => {
                let status = watch(&mut child, told);
                if told.to_stop() {
                    return;
                }
                log.say(role, &format!("ended ({}), starting it again", describe(status)));
            }
            Err(error) => log.say(role, &format!("cannot be started: {error}")),
        }
        pause = if began.elapsed() >= LIVED { PAUSE_MIN } else { pause };
        let until = Instant::now() + pause;
        while Instant::now() < until && !told.to_stop() {
            std::thread::sleep(LOOK_EVERY);
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn start(role: Role, exe: &Path, line: &[String], log: &Arc<OwnLog>) -> std::io::Result<Child> {
    // A process group of its own: Ctrl-C in the terminal reaches us alone, and we end the children in order.
    let mut command = Command::new(exe);
    command.args(line).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    // A service manager listens to this process alone.
    let mut child = host::without_service_manager(&mut command).spawn()?;
    if let Some(out) = child.stdout.take() {
        pump(role, out, log.clone());
    }
    if let Some(err) = child.stderr.take() {
        pump(role, err, log.clone());
    }
    Ok(child)
}

/// Ends with the pipe.
fn pump(role: Role, pipe: impl Read + Send + 'static, log: Arc<OwnLog>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            log.say(role, String::from_utf8_lossy(&line).trim_end());
            line.clear();
        }
    })
}

fn watch(child: &mut Child, told: &Told) -> Option<ExitStatus> {
    let (mut killed_at, mut reloads) = (None, told.reloads.load(Ordering::Relaxed));
    // Called before it is reaped, so the number is still its own.
    let send = |child: &Child, signal| i32::try_from(child.id()).is_ok_and(|pid| kill(Pid::from_raw(pid), signal).is_ok());
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        let now = told.reloads.load(Ordering::Relaxed);
        if std::mem::replace(&mut reloads, now) != now {
            send(child, Signal::SIGHUP);
        }
        match killed_at {
            None if told.to_stop() => {
                killed_at = Some(Instant::now() + STOP_WITHIN);
                send(child, Signal::SIGTERM);
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

/// Where the children's lines go: our stderr. If that is [`LOG`] in the data directory (as in the demo), it is kept bounded.
struct OwnLog {
    path: PathBuf,
    turning: Mutex<()>,
}

impl OwnLog {
    fn say(&self, role: Role, text: &str) {
        show::note(format!("{} {text}", show::paint(show::DIM, format!("{:<5} |", role.name()))));
        let _one_at_a_time = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = disk::log::rotate(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: usize = 60_000;

    /// A process of its own, for it gives its stderr away: two children say more than a log holds, both at once.
    #[test]
    #[ignore = "a process of the test below"]
    fn child() {
        let Some(path) = std::env::var_os("AFRESH_TEST_UP_LOG") else { return };
        let log = Arc::new(OwnLog { path: path.into(), turning: Mutex::new(()) });
        let text = || (0..LINES).fold(String::new(), |text, n| text + &format!("{n:06} {}\n", "x".repeat(200)));
        let said = [Role::Host, Role::Proxy].map(|role| pump(role, std::io::Cursor::new(text()), log.clone()));
        said.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn the_log_of_up_is_bounded_and_keeps_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOG);
        let log = disk::log::open(&path).unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "processes::supervise::tests::child"])
            .env("AFRESH_TEST_UP_LOG", &path)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status()
            .unwrap();
        assert!(status.success());
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        let (old, new) = (read(&disk::log::previous(&path)), read(&path));
        let most = usize::try_from(disk::log::LOG_BYTES_MAX).unwrap() + 4_096;
        assert!(old.len() <= most && new.len() <= most, "{} and {} bytes", old.len(), new.len());
        for role in ["host", "proxy"] {
            let of = |line: &&str| line.contains(role) && line.ends_with('x');
            let numbers =
                old.lines().chain(new.lines()).filter(of).filter_map(|line| line.split("| ").nth(1)?.get(..6)?.parse::<usize>().ok());
            let numbers: Vec<usize> = numbers.collect();
            assert_eq!(numbers.last(), Some(&(LINES - 1)), "{role}");
            assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{role}: lines are missing between the two files");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
