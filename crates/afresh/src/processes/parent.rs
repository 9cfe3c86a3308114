//! A supervised process ends when its supervisor does, however that ended. Data plane and shims are not supervised and continue.

use model::Fault;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

/// Called first thing in a child that was started with `--parent PID`.
pub fn end_with(parent: i32) -> Result<(), Fault> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(|e| Fault::ours("no-parent-watch", format!("cannot watch the parent: {e}")))?;
    // It may have died before the line above; then no signal will come.
    if getppid() != Pid::from_raw(parent) {
        return Err(Fault::world("parent-gone", format!("the supervisor {parent} is gone")));
    }
    Ok(())
}
