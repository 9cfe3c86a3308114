//! An `afresh up` that another verb starts in the background, over a data directory that it may empty.

use super::{Role, ready, supervise};
use crate::failure::{self, Failure};
use model::{Fault, Layout};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What it would take to bake again is kept; everything else is new each time.
const KEPT: &[&str] = &["store", "afresh.json", "afresh.json.spare"];
const READY_WITHIN: Duration = Duration::from_secs(60);

pub struct OwnUp {
    layout: Layout,
    child: Child,
}

impl OwnUp {
    /// Returns when all three processes answer. What is new at the mirrors has no part in this.
    pub async fn start(layout: &Layout) -> Result<Self, Failure> {
        let log = log_of(layout);
        let broken = |e: std::io::Error| failure::io("cannot write", &log, &e);
        let file = disk::log::open(&log).map_err(broken)?;
        let exe = std::env::current_exe().map_err(|e| Fault::world("io", format!("cannot find the own program: {e}")))?;
        let mut command = Command::new(exe);
        command.arg("up").arg("--data-dir").arg(layout.root());
        command.env("AFRESH_UPKEEP_CLOCK", "off").env_remove("AFRESH_HOST");
        command.stdin(Stdio::null()).stdout(file.try_clone().map_err(broken)?).stderr(file).process_group(0);
        let child = command.spawn().map_err(|e| Fault::world("io", format!("cannot start afresh up: {e}")))?;
        let mut up = Self { layout: layout.clone(), child };
        let until = Instant::now() + READY_WITHIN;
        for role in Role::ALL {
            while let Err(fault) = ready::health(layout, role).await {
                if matches!(up.child.try_wait(), Ok(Some(_))) || Instant::now() > until {
                    let fault = Fault::world("not-ready", format!("afresh up: {} does not answer: {}", role.name(), fault.message));
                    let tail = log_tail(layout);
                    up.stop();
                    return Err(fault.hint(format!("its log ends with:\n{tail}")).into());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(up)
    }

    /// Its servers and data plane run on.
    pub fn stop(mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }

    pub fn log(&self) -> PathBuf {
        log_of(&self.layout)
    }
}

fn log_of(layout: &Layout) -> PathBuf {
    layout.root().join(supervise::LOG)
}

fn log_tail(layout: &Layout) -> String {
    let text = std::fs::read_to_string(log_of(layout)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Removes everything but what is kept. Nothing of the directory may run.
pub fn empty(dir: &Path, also_kept: &[&str]) -> Result<(), Fault> {
    let broken = |e: std::io::Error| failure::io("cannot empty", dir, &e);
    for entry in std::fs::read_dir(dir).map_err(broken)? {
        let path = entry.map_err(broken)?.path();
        if path.file_name().is_some_and(|name| KEPT.iter().chain(also_kept).any(|kept| name == *kept)) {
            continue;
        }
        // A link is removed, never what it leads to.
        let is_dir = std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir());
        let removed = if is_dir { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.map_err(|e| failure::io("cannot remove", &path, &e))?;
    }
    Ok(())
}
