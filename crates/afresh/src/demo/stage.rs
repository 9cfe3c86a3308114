//! The demo's own Afresh: a data directory, `afresh up` in the background, and everything gone at the end.

use super::shop;
use crate::context::Context;
use crate::failure::Failure;
use crate::processes::lock::{self, Taken};
use crate::processes::own_up::{OwnUp, empty};
use crate::processes::{Role, folders, ready};
use crate::show;
use crate::verbs::down;
use model::{Fault, Layout};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const READY_WITHIN: Duration = Duration::from_secs(60);

pub struct Stage {
    pub context: Context,
    /// Service file and versions of the code.
    pub shop: PathBuf,
    pub listen: SocketAddr,
    up: Option<OwnUp>,
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
        empty(dir, &[])?;
        folders::make(&layout, false)?;
        let listen = free_port()?;
        let shop = dir.join("shop");
        let file = shop::service_file(&shop, listen)?;
        Ok(Self { context: Context::over(file, layout, json), shop, listen, up: None })
    }

    /// Starts `afresh up` and waits until all three answer.
    pub async fn up(&mut self) -> Result<(), Failure> {
        self.up = Some(OwnUp::start(&self.context.layout).await?);
        Ok(())
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
        if let Some(up) = self.up.take() {
            up.stop();
        }
        down::end_all(&self.context.layout)?;
        empty(self.context.data_dir(), &[])?;
        Ok(())
    }
}

/// Below the kernel's ephemeral ports: it is bound only after the bake, and must still be free then.
fn free_port() -> Result<SocketAddr, Fault> {
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    let free =
        (first..first + 1_000).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).find(|addr| TcpListener::bind(addr).is_ok());
    free.ok_or_else(|| Fault::world("io", format!("none of the ports {first} to {} on the loopback is free", first + 999)))
}
