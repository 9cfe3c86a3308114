//! The program of an instance, for whoever looks at it from outside. Only root of this machine can; nothing is changed.

use crate::instance_dir::InstanceDir;
use crate::record::Started;
use crate::{process, state_files};
use model::{Fault, InstanceId, Layout};
use std::path::PathBuf;

/// A process that ran when it was found, and is asked again whether it still does: a pid is used again.
#[derive(Debug)]
pub struct RunningProgram {
    id: InstanceId,
    started: Started,
}

impl RunningProgram {
    pub fn find(layout: &Layout, id: &InstanceId) -> Result<RunningProgram, Fault> {
        let place = InstanceDir(layout.instance(id));
        let none = || Fault::yours("not-found", format!("no server {id} runs here")).hint("`afresh instance list` lists servers");
        let started = state_files::read_json::<Started>(&place.started()).good().ok_or_else(none)?;
        let program = RunningProgram { id: id.clone(), started };
        program.is_running().then_some(program).ok_or_else(none)
    }

    pub fn pid(&self) -> i32 {
        self.started.pid
    }

    /// Its directory in /proc.
    pub fn proc(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.started.pid))
    }

    pub fn is_running(&self) -> bool {
        process::open(self.started.pid, self.started.pid_start).is_some()
    }

    /// To be asked after what was read of it: another process may have its pid by then.
    pub fn must_run(&self) -> Result<(), Fault> {
        if self.is_running() {
            return Ok(());
        }
        let text = format!("server {} ended while it was read", self.id);
        Err(Fault::world("not-found", text).hint("`afresh instance list` shows what is in its place"))
    }
}
