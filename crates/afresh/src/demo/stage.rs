//! The demo's own Afresh: a data directory, `afresh up` in the background, and everything gone at the end.

use super::shop;
use crate::context::Context;
use crate::failure::{self, Failure};
use crate::processes::lock::{self, Taken};
use crate::processes::{Role, folders, ready};
use crate::show;
use crate::verbs::down;
use model::{Fault, Layout};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What it would take to bake again is kept between demos; everything else is new each time.
const KEPT: &[&str] = &["store", "afresh.json", "afresh.json.spare"];
const READY_WITHIN: Duration = Duration::from_secs(60);

pub struct Stage {
    pub context: Context,
    /// Service file and versions of the code.
    pub shop: PathBuf,
    pub listen: SocketAddr,
    up: Option<Child>,
}

impl Stage {
    /// Empties the directory of what an earlier demo left, but for the store.
    pub fn set(dir: &Path, json: bool) -> Result<Self, Failure> {
        let layout = Layout::new(dir);
        folders::make(&layout, false)?;
        if let Taken::Theirs(pid) = lock::take(&layout, "up")? {
            let who = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
            let hint = format!("end it with: afresh down --yes --data-dir {}", dir.display());
            return Err(Fault::yours("already-up", format!("another demo exists{who}")).hint(hint).into());
        }
        down::end_all(&layout)?;
        empty(dir)?;
        folders::make(&layout, false)?;
        let listen = free_port()?;
        let shop = dir.join("shop");
        let file = shop::service_file(&shop, listen)?;
        Ok(Self { context: Context::over(file, layout, json), shop, listen, up: None })
    }

    /// Starts `afresh up` and waits until all three answer.
    pub async fn up(&mut self) -> Result<(), Failure> {
        let log = self.log();
        let broken = |e: std::io::Error| failure::io("cannot write", &log, &e);
        let file = disk::log::open(&log).map_err(broken)?;
        let exe = std::env::current_exe().map_err(|e| Fault::world("io", format!("cannot find the own program: {e}")))?;
        let mut command = Command::new(exe);
        command.arg("up").arg("--data-dir").arg(self.context.data_dir());
        // What is new at the mirrors has no part in this play.
        command.env("AFRESH_UPKEEP_CLOCK", "off").env_remove("AFRESH_HOST");
        command.stdin(Stdio::null()).stdout(file.try_clone().map_err(broken)?).stderr(file).process_group(0);
        self.up = Some(command.spawn().map_err(|e| Fault::world("io", format!("cannot start afresh up: {e}")))?);
        let until = Instant::now() + READY_WITHIN;
        for role in Role::ALL {
            while let Err(fault) = ready::health(&self.context.layout, role).await {
                let ended = self.up.as_mut().and_then(|up| up.try_wait().ok().flatten());
                if ended.is_some() || Instant::now() > until {
                    let fault = Fault::world("not-ready", format!("afresh up: {} does not answer: {}", role.name(), fault.message));
                    return Err(fault.hint(format!("its log ends with:\n{}", self.log_tail())).into());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.context.data_dir().join(crate::processes::supervise::LOG)
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    pub async fn pid(&self, role: Role) -> Result<u32, Fault> {
        Ok(ready::health(&self.context.layout, role).await?.pid)
    }

    /// kill -9 of one control process; waits until its successor runs and returns how long that took.
    pub async fn kill(&self, role: Role) -> Result<Duration, Fault> {
        let pid = self.pid(role).await?;
        let raw = i32::try_from(pid).map_err(|_| Fault::ours("bad-answer", format!("{} says its process id is {pid}", role.name())))?;
        kill(Pid::from_raw(raw), Signal::SIGKILL).map_err(|e| Fault::world("io", format!("cannot kill {} ({pid}): {e}", role.name())))?;
        let began = Instant::now();
        while self.pid(role).await.ok().is_none_or(|now| now == pid) {
            if began.elapsed() > READY_WITHIN {
                return Err(Fault::ours("not-restarted", format!("{} was not started again in {READY_WITHIN:?}", role.name())));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(began.elapsed())
    }

    /// Leaves it running and says how to play with it and how to end it.
    pub fn leave(&self) {
        let dir = self.context.data_dir().display();
        let file = self.context.file.display();
        show::note(format!("left running; clients at http://{}/hello?id=1", self.listen));
        show::note(format!(
            "  afresh --data-dir {dir} status\n  afresh --data-dir {dir} --file {file} deploy web --artifact {}/v2",
            self.shop.display()
        ));
        show::note(format!("end it with: afresh --data-dir {dir} down --yes"));
    }

    /// Ends everything and leaves the kept part of the directory alone.
    pub fn strike(mut self) -> Result<(), Failure> {
        if let Some(mut up) = self.up.take() {
            if let Ok(pid) = i32::try_from(up.id()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            let _ = up.wait();
        }
        down::end_all(&self.context.layout)?;
        empty(self.context.data_dir())?;
        Ok(())
    }
}

fn empty(dir: &Path) -> Result<(), Fault> {
    let broken = |e: std::io::Error| failure::io("cannot empty", dir, &e);
    for entry in std::fs::read_dir(dir).map_err(broken)? {
        let path = entry.map_err(broken)?.path();
        if path.file_name().is_some_and(|name| KEPT.iter().any(|kept| name == *kept)) {
            continue;
        }
        if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) }
            .map_err(|e| failure::io("cannot remove", &path, &e))?;
    }
    Ok(())
}

/// Below the kernel's ephemeral ports: it is bound only after the bake, and must still be free then.
fn free_port() -> Result<SocketAddr, Fault> {
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    let free =
        (first..first + 1_000).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).find(|addr| TcpListener::bind(addr).is_ok());
    free.ok_or_else(|| Fault::world("io", format!("none of the ports {first} to {} on the loopback is free", first + 999)))
}
