//! Keeps a data plane running: adopts one that runs, starts one if none does.
//!
//! ```text
//!          lock held                     lock free
//!  adopted ◀──────────────────── check ───────────▶ start it (at once; with a pause if it keeps exiting) ─▶ check
//! ```
//!
//! A data plane is known by its lock, which ends with its process, and not by a pid file.

use crate::mutex::lock;
use crate::run_files;
use disk::lock::Lock;
use model::Layout;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const CHECK_EVERY: Duration = Duration::from_millis(25);
/// One that ran for less is started again with a pause.
const SHORT_LIFE: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(2);

pub struct Supervisor {
    layout: Layout,
    program: PathBuf,
    args: Vec<OsString>,
    /// Why the data plane does not run, if it does not.
    trouble: Mutex<Option<String>>,
}

impl Supervisor {
    pub fn new(layout: Layout, program: PathBuf, args: Vec<OsString>) -> Self {
        Self { layout, program, args, trouble: Mutex::default() }
    }

    pub fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// Runs until the future is dropped; the data plane then continues.
    pub async fn keep_running(&self) {
        let lock_path = run_files::data_lock(&self.layout);
        let mut child: Option<(Child, Instant)> = None;
        let mut pause = Duration::ZERO;
        loop {
            if let Some((process, since)) = &mut child
                && let Ok(Some(status)) = process.try_wait()
            {
                pause =
                    if since.elapsed() < SHORT_LIFE { (pause * 2).clamp(Duration::from_millis(100), PAUSE_MAX) } else { Duration::ZERO };
                let why = format!("the data plane exited ({status}); see {}", self.log().display());
                tracing::warn!("{why}");
                *lock(&self.trouble) = Some(why);
                child = None;
                tokio::time::sleep(pause).await;
            }
            // While a child starts, the lock is not tried, so that the child can take it.
            let absent = child.is_none() && matches!(Lock::try_exclusive(&lock_path), Ok(Some(_)));
            if absent {
                match self.start() {
                    Ok(process) => child = Some((process, Instant::now())),
                    Err(e) => {
                        *lock(&self.trouble) = Some(format!("cannot start {}: {e}", self.program.display()));
                        tokio::time::sleep(PAUSE_MAX).await;
                    }
                }
            } else if child.as_ref().is_none_or(|(_, since)| since.elapsed() > SHORT_LIFE) {
                *lock(&self.trouble) = None;
            }
            tokio::time::sleep(CHECK_EVERY).await;
        }
    }

    fn log(&self) -> PathBuf {
        run_files::data_log(&self.layout)
    }

    /// The data plane starts its own session first, and inherits no pipe, terminal or lock.
    fn start(&self) -> std::io::Result<Child> {
        let mut data = Command::new(&self.program);
        data.args(&self.args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // It also runs without a log: the disk may be full.
        match disk::log::open(&self.log()) {
            Ok(log) => data.stdout(log.try_clone()?).stderr(log),
            Err(e) => {
                tracing::warn!("{}: {e}; the data plane starts without a log", self.log().display());
                &mut data
            }
        };
        data.spawn()
    }
}
