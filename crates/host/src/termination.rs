//! Ends an instance gracefully. Times count from the mark on disk, so that a restarted keeper does not wait longer in total.
//!
//! ```text
//! marked (target file says draining) ─▶ drained, or within_ms has passed ─▶ signal ─▶ ended, or the rest of within_ms (at least 1 s)
//!                                                                                   └▶ SIGKILL
//! ```

use crate::instance_dir::InstanceDir;
use crate::keeper::Keeper;
use crate::record::Started;
use crate::state::Instance;
use crate::state_files;
use crate::{declared, process, removal, runtime};
use model::{Drain, GroupName, InstanceId};
use rustix::process::Signal;
use std::sync::Arc;
use std::time::{Duration, Instant};

const POLL_EVERY: Duration = Duration::from_millis(10);
/// A program that was signalled has at least this time.
const SIGNAL_WITHIN_MIN: Duration = Duration::from_secs(1);
/// Between two kills of a process that does not exit.
const KILL_EVERY: Duration = Duration::from_secs(2);

/// The instance's follower notices its exit; this only causes it.
pub fn begin(keeper: &Arc<Keeper>, one: &Instance) {
    let Some(ending) = &one.ending else { return };
    let drain = one.record.release.drain.clone();
    let gone_ms = disk::files::now().since(ending.at);
    let deadline = Instant::now() + Duration::from_millis(drain.within_ms.saturating_sub(gone_ms));
    // Only what was reported to the balancer can be in use.
    let routed =
        one.record.release.route.is_some() && one.record.release.port.is_some() && one.record.once.is_none() && one.started.is_some();
    let id = one.record.id.clone();
    let keeper = keeper.clone();
    keeper.clone().tasks.spawn(async move {
        // The pass that started this writes the target file before it unlocks the state.
        drop(keeper.state());
        if routed {
            until_drained(&keeper, &id, deadline).await;
        }
        stop(&keeper, &id, &drain, deadline).await;
    });
}

/// Kills one-shots of the group that were asked to end. How many that were.
pub fn kill_ending(keeper: &Keeper, group: &GroupName) -> usize {
    let state = keeper.state();
    let ending = state.of_group(group).filter(|one| one.record.once.is_some() && one.ending.is_some() && one.ended.is_none());
    let programs = ending.filter_map(|one| one.started.as_ref()).filter_map(|started| process::open(started.pid, started.pid_start));
    programs.map(|program| process::send(&program, Signal::KILL)).count()
}

fn has_ended(keeper: &Keeper, id: &InstanceId) -> bool {
    keeper.state().instances.get(id).is_none_or(|one| one.ended.is_some())
}

async fn until_drained(keeper: &Arc<Keeper>, id: &InstanceId, deadline: Instant) {
    let drained = keeper.layout.drained(id);
    while !drained.exists() && Instant::now() < deadline && !has_ended(keeper, id) {
        tokio::time::sleep(POLL_EVERY).await;
    }
}

async fn stop(keeper: &Arc<Keeper>, id: &InstanceId, drain: &Drain, deadline: Instant) {
    let place = InstanceDir(keeper.layout.instance(id));
    // It may still be starting; then there is nothing to signal yet.
    let started = loop {
        if has_ended(keeper, id) {
            return;
        }
        if let Some(started) = state_files::read_json::<Started>(&place.started()).good() {
            break started;
        }
        tokio::time::sleep(POLL_EVERY).await;
    };
    process::ask_to_end(&started, declared::signal(&drain.signal).unwrap_or(Signal::TERM));
    let deadline = deadline.max(Instant::now() + SIGNAL_WITHIN_MIN);
    while Instant::now() < deadline {
        if has_ended(keeper, id) {
            return;
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
    kill(keeper, id, &place, &started).await;
}

async fn kill(keeper: &Arc<Keeper>, id: &InstanceId, place: &InstanceDir, started: &Started) {
    let mut rounds = 0;
    while !has_ended(keeper, id) {
        match process::open(started.pid, started.pid_start) {
            Some(process) => process::send(&process, Signal::KILL),
            // The program is gone; a shim that does not record it is stuck.
            None if rounds > 2 => {
                let place = place.clone();
                let _ = tokio::task::spawn_blocking(move || removal::kill_shim(&place)).await;
            }
            None => {}
        }
        if rounds > 1 {
            let (path, state, id) = (keeper.runtime.clone(), runtime::state(&keeper.layout), id.clone());
            let _ = tokio::task::spawn_blocking(move || runtime::delete(&path, &state, id.as_str())).await;
        }
        rounds += 1;
        let until = Instant::now() + KILL_EVERY;
        while Instant::now() < until && !has_ended(keeper, id) {
            tokio::time::sleep(POLL_EVERY).await;
        }
    }
}
