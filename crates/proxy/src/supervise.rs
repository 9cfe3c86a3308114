//! Being the only one, and keeping the data plane there.
//!
//! ```text
//!          lock held by somebody        lock free
//!  adopted ◀───────────────────── look ───────────▶ start it (at once; slower if it keeps dying) ─▶ look
//! ```
//!
//! A lock is a `flock`: it falls with its process, however that dies, so no pid file can lie.

use model::{Fault, Layout};
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_millis(25);
/// One that lived for less is started again with a pause.
const SHORT_LIFE: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Held for as long as this lives.
pub struct Only(#[expect(dead_code, reason = "the lock is the open file")] File);

impl Only {
    /// None: somebody else holds it.
    pub fn now(path: &Path) -> Result<Option<Only>, Fault> {
        let fault = |e: std::io::Error| Fault::world("lock", format!("{}: {e}", path.display())).again(false);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(fault)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Only(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(fault(e)),
        }
    }

    pub async fn within(path: &Path, ms: u64) -> Result<Option<Only>, Fault> {
        let until = Instant::now() + Duration::from_millis(ms);
        loop {
            let got = Self::now(path)?;
            if got.is_some() || Instant::now() >= until {
                return Ok(got);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub struct Supervisor {
    layout: Layout,
    program: PathBuf,
    args: Vec<OsString>,
    /// Why the data plane is not there, if it is not.
    trouble: Mutex<Option<String>>,
}

impl Supervisor {
    pub fn new(layout: Layout, program: PathBuf, args: Vec<OsString>) -> Self {
        Self { layout, program, args, trouble: Mutex::default() }
    }

    pub fn trouble(&self) -> Option<String> {
        crate::group::lock(&self.trouble).clone()
    }

    /// For ever. Dropping it leaves the data plane alone.
    pub async fn keep(&self) {
        let lock = self.layout.run().join("data.lock");
        let mut child: Option<(Child, Instant)> = None;
        let mut pause = Duration::ZERO;
        loop {
            if let Some((process, since)) = &mut child
                && let Ok(Some(status)) = process.try_wait()
            {
                pause =
                    if since.elapsed() < SHORT_LIFE { (pause * 2).clamp(Duration::from_millis(100), PAUSE_MAX) } else { Duration::ZERO };
                let why = format!("the data plane ended ({status}); see {}", self.log().display());
                tracing::warn!("{why}");
                *crate::group::lock(&self.trouble) = Some(why);
                child = None;
                tokio::time::sleep(pause).await;
            }
            // While a child of ours is on its way the lock is not touched, so that it can take it.
            let absent = child.is_none() && matches!(Only::now(&lock), Ok(Some(_)));
            if absent {
                match self.start() {
                    Ok(process) => child = Some((process, Instant::now())),
                    Err(e) => {
                        *crate::group::lock(&self.trouble) = Some(format!("{} cannot be started: {e}", self.program.display()));
                        tokio::time::sleep(PAUSE_MAX).await;
                    }
                }
            } else if child.as_ref().is_none_or(|(_, since)| since.elapsed() > SHORT_LIFE) {
                *crate::group::lock(&self.trouble) = None;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn log(&self) -> PathBuf {
        crate::data::log_file(&self.layout)
    }

    /// It makes a session of its own first thing, and holds nothing of ours: no pipe, no terminal, no lock.
    fn start(&self) -> std::io::Result<Child> {
        let mut data = Command::new(&self.program);
        data.args(&self.args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Without a log it serves as well: on a full disk there may be no place for one.
        match disk::log::open(&self.log()) {
            Ok(log) => data.stdout(log.try_clone()?).stderr(log),
            Err(e) => {
                tracing::warn!("{}: {e}; the data plane is started without a log", self.log().display());
                &mut data
            }
        };
        data.spawn()
    }
}
