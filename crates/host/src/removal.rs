//! Ends what runs of an instance and removes its directory. It does not decide which instance.

use crate::instance_dir::InstanceDir;
use crate::keeper::Keeper;
use crate::record::Began;
use crate::{cgroup, command, process, runtime, state_files};
use model::{Fault, Layout};
use rustix::process::Signal;
use std::path::Path;
use std::time::Duration;

pub fn kill_shim(place: &InstanceDir) {
    if let Some(began) = state_files::read_json::<Began>(&place.began()).good()
        && let Some(shim) = process::open(began.pid, began.pid_start)
    {
        process::send(&shim, Signal::KILL);
        command::wait_readable(&shim, Duration::from_secs(5));
    }
}

/// An instance that cannot be adopted: whatever of it runs is ended, then its directory is removed.
pub fn remove_instance(keeper: &Keeper, dir: &Path, name: &str) {
    kill_shim(&InstanceDir(dir.to_path_buf()));
    let id = name.trim_start_matches(".gone-").trim_start_matches(".new-");
    runtime::delete(&keeper.runtime, &runtime::state(&keeper.layout), id);
    cgroup::remove(&keeper.mark, Some(id));
    if let Err(fault) = remove_dir(&keeper.layout, dir) {
        tracing::warn!("{fault}");
    }
    keeper.counters.change(|c| c.removed += 1);
}

/// Renamed away in one step, then removed.
pub fn remove_dir(layout: &Layout, dir: &Path) -> Result<(), Fault> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let hidden = if name.starts_with('.') { dir.to_path_buf() } else { layout.instances().join(format!(".gone-{name}")) };
    if hidden != dir {
        let _ = std::fs::remove_dir_all(&hidden);
        match std::fs::rename(dir, &hidden) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(state_files::at(dir, "removing", e)),
            Ok(()) => {}
        }
    }
    // Two threads may do it at once: the second finds nothing.
    match std::fs::remove_dir_all(&hidden) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(state_files::at(&hidden, "removing", e)),
        _ => Ok(()),
    }
}
