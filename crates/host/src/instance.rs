//! Follows an instance from its launch to its removal, from outside. Each function here runs beside the reconciler.
//!
//! ```text
//! launch ─▶ follow: started.json? ─▶ Up, probed ─▶ pidfd or exit.json ─▶ Dead ─▶ remove ─▶ (nothing)
//! adopt  ─┘                └ the shim is gone without exit.json: what runs is killed, exit 137 is written for it
//! ```

use crate::decide::Stage;
use crate::instance_dir::InstanceDir;
use crate::keeper::Keeper;
use crate::listening::Explainer;
use crate::record::{Began, Ended, Ending, Record, Started};
use crate::state::Instance;
use crate::state_files::{self, Read};
use crate::{
    cgroup, command, connectivity, group_files, health_check, log_reader, mounts, net, process, removal, runtime, scratch, termination,
};
use disk::lock::{self, Lock};
use model::{Digest, FailedProbe, InstanceId};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;

/// How often to check for a file that is about to appear.
const POLL_EVERY: Duration = Duration::from_millis(4);
/// A launch that takes longer has failed.
const LAUNCH_WITHIN: Duration = Duration::from_secs(60);
/// Both processes are watched; this is only how often the files are read in addition.
const SHIM_EVERY: Duration = Duration::from_millis(500);
/// What is shown of a shim's log.
const SAID_BYTES_MAX: u64 = 300;
/// How long the kernel may take for an interface.
const VETH_GOES_WITHIN: Duration = Duration::from_millis(500);
/// How long a shim may take to leave once its instance has ended.
const SHIM_LEAVES_WITHIN: Duration = Duration::from_secs(10);

/// Reads every instance from its directory and continues where the last keeper stopped.
pub fn adopt(keeper: &Arc<Keeper>) {
    for name in state_files::names(&keeper.layout.instances()) {
        let dir = keeper.layout.instances().join(&name);
        let record = match group_files::read_record(keeper, &InstanceDir(dir.clone())) {
            Read::Good(record) if record.id.as_str() == name => relocate(keeper, &dir, record),
            // It runs and cannot be followed: ending it for a damaged file would be worse.
            read if runs(&InstanceDir(dir.clone())) && !name.starts_with('.') => {
                let why = match read {
                    Read::Bad(why) => why,
                    Read::Missing => format!("{}: it is missing", InstanceDir(dir).record().display()),
                    Read::Good(record) => format!("{}: it is about {}", InstanceDir(dir).record().display(), record.id),
                };
                group_files::stray(keeper, name, why);
                continue;
            }
            _ => {
                removal::remove_instance(keeper, &dir, &name);
                continue;
            }
        };
        let place = InstanceDir(dir);
        if let Some(ids) = record.placement.ids {
            keeper.uids.adopt(&record.release.service, ids);
        }
        let mut one = Instance::new(record.clone());
        one.ended = state_files::read_json::<Ended>(&place.exit()).good();
        if one.ended.is_some() {
            one.last_lines = log_reader::last_lines(&record.placement.log);
        }
        one.started = state_files::read_json::<Started>(&place.started()).good().or_else(|| found_running(&place, &record));
        one.ending = state_files::read_json::<Ending>(&place.ending()).good();
        one.was_healthy = place.healthy().exists();
        let taken_up = place.began().exists() || lock::is_held(&place.lock());
        one.adopted = taken_up;
        one.stage = match (&one.ended, &one.ending, taken_up) {
            (Some(_), _, _) => Stage::Dead,
            (None, _, false) => Stage::Intended,
            (None, Some(_), true) => Stage::Ending,
            (None, None, true) => Stage::Launching,
        };
        tracing::info!(instance = name, stage = ?one.stage, "adopted");
        let (record, stage) = (one.record.clone(), one.stage);
        {
            let mut state = keeper.state();
            state.last_address = state.last_address.max(record.placement.address.octets()[3]);
            if stage == Stage::Ending {
                termination::begin(keeper, &one);
            }
            // Added to the state before it is followed: the follower reads the state first.
            state.instances.insert(record.id.clone(), one);
        }
        if matches!(stage, Stage::Launching | Stage::Ending) {
            follow(keeper, &record, None);
        }
    }
}

/// In a data directory that was moved, a record names paths that no longer exist.
fn relocate(keeper: &Keeper, dir: &Path, mut record: Record) -> Record {
    let (was, is) = (record.placement.mounts.clone(), mounts::root(&keeper.layout));
    let tail = is.strip_prefix(keeper.layout.root()).unwrap_or(Path::new("host/mounts"));
    if was == is || !was.ends_with(tail) {
        return record;
    }
    let was = was.ancestors().nth(tail.components().count()).map(Path::to_path_buf).unwrap_or_default();
    let placement = &mut record.placement;
    for path in [&mut placement.runtime_state, &mut placement.image_mount, &mut placement.mounts, &mut placement.log]
        .into_iter()
        .chain(&mut placement.artifact_mount)
        .chain(&mut placement.secrets)
    {
        if let Ok(tail) = path.strip_prefix(&was) {
            *path = keeper.layout.root().join(tail);
        }
    }
    if let Err(fault) = state_files::write_json_quick(&InstanceDir(dir.to_path_buf()).record(), &record) {
        tracing::warn!("{fault}");
    }
    record
}

/// A program that runs although no readable file says so: the pid that the runtime recorded, if that process is in the instance's
/// control group. Recorded again.
fn found_running(place: &InstanceDir, record: &Record) -> Option<Started> {
    if !lock::is_held(&place.lock()) {
        return None;
    }
    let pid: i32 = std::fs::read_to_string(place.0.join("pid")).ok()?.trim().parse().ok()?;
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    groups.lines().any(|line| line.ends_with(&record.placement.cgroup)).then_some(())?;
    let started = Started { pid, pid_start: process::start_of(pid)?, at: record.created, spent_ms: Vec::new() };
    tracing::warn!(instance = %record.id, pid, "{} was damaged or missing; the program was found by its control group", place.started().display());
    if let Err(fault) = state_files::write_json_quick(&place.started(), &started) {
        tracing::warn!("{fault}");
    }
    Some(started)
}

/// Whether its shim or its program runs.
fn runs(place: &InstanceDir) -> bool {
    let program = state_files::read_json::<Started>(&place.started()).good();
    lock::is_held(&place.lock()) || program.is_some_and(|started| process::open(started.pid, started.pid_start).is_some())
}

/// Opens what its server may reach, then starts a shim.
pub fn launch(keeper: &Arc<Keeper>, record: &Record) {
    let (keeper, record) = (keeper.clone(), record.clone());
    keeper.clone().tasks.spawn_blocking(move || match connectivity::open(&keeper) {
        Ok(()) => start_shim(&keeper, &record),
        Err(fault) => never_began(&keeper, &record, fault.message),
    });
}

/// Two shims for one instance are harmless: the second finds the first's lock or mark, and leaves.
fn start_shim(keeper: &Arc<Keeper>, record: &Record) {
    let place = InstanceDir(keeper.layout.instance(&record.id));
    let log = disk::log::open(&place.shim_log()).map_or_else(|_| Stdio::null(), Stdio::from);
    let mut shim = tokio::process::Command::new(&keeper.program);
    shim.args(&keeper.shim_args).arg(&place.0).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command::without_service_manager(shim.as_std_mut());
    let _runtime = keeper.tasks.enter();
    match shim.spawn() {
        Ok(child) => {
            keeper.counters.change(|c| c.launched += 1);
            follow(keeper, record, Some(child));
        }
        Err(e) => never_began(keeper, record, format!("{}: the shim does not start: {e}", keeper.program.display())),
    }
}

/// Nobody else writes this down for it.
fn never_began(keeper: &Arc<Keeper>, record: &Record, why: String) {
    let place = InstanceDir(keeper.layout.instance(&record.id));
    let _ = state_files::write_json_quick(&place.exit(), &Ended::new(127, Some(why)));
    follow(keeper, record, None);
}

fn follow(keeper: &Arc<Keeper>, record: &Record, child: Option<tokio::process::Child>) {
    let (keeper, record) = (keeper.clone(), record.clone());
    keeper.clone().tasks.spawn(async move {
        let place = InstanceDir(keeper.layout.instance(&record.id));
        let ended = match until_started(&keeper, &record, &place, child).await {
            Ok(started) => {
                if !mark_up(&keeper, &record, &started) {
                    return;
                }
                keeper.nudge();
                until_ended(&keeper, &record, &place, &started).await
            }
            Err(ended) => ended,
        };
        // Read before its exit becomes visible, so that whoever sees the exit sees the reason.
        let last_lines = log_reader::last_lines(&record.placement.log);
        if let Some(one) = keeper.state().instances.get_mut(&record.id) {
            one.last_lines = last_lines;
            one.ended = Some(ended);
            if one.stage != Stage::Removing {
                one.stage = Stage::Dead;
            }
        }
        keeper.nudge();
    });
}

async fn until_started(
    keeper: &Arc<Keeper>,
    record: &Record,
    place: &InstanceDir,
    mut child: Option<tokio::process::Child>,
) -> Result<Started, Ended> {
    let until = Instant::now() + LAUNCH_WITHIN;
    let reap = |child: Option<tokio::process::Child>| {
        if let Some(mut child) = child {
            tokio::spawn(async move { child.wait().await });
        }
    };
    loop {
        // The shim is checked before its files are read, so that what it wrote before it exited is seen.
        let lives = match &mut child {
            Some(child) => matches!(child.try_wait(), Ok(None)) || lock::is_held(&place.lock()),
            None => lock::is_held(&place.lock()),
        };
        if let Some(started) = state_files::read_json::<Started>(&place.started()).good() {
            reap(child);
            return Ok(started);
        }
        if let Some(ended) = state_files::read_json::<Ended>(&place.exit()).good() {
            reap(child);
            return Err(ended);
        }
        if !lives || Instant::now() > until {
            let why = if lives { "it took too long" } else { "its shim ended without a word" };
            let why = format!("the launch of {} failed: {why} {}", record.id, log_head(&place.shim_log()).trim());
            reap(child);
            return Err(record_lost_exit(keeper, record, place, Some(why)).await);
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// The beginning of a log, for display.
fn log_head(log: &Path) -> String {
    let mut bytes = Vec::new();
    let _ = std::fs::File::open(log).and_then(|file| file.take(SAID_BYTES_MAX).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// False: this follower is no longer responsible for it.
fn mark_up(keeper: &Arc<Keeper>, record: &Record, started: &Started) -> bool {
    let mut state = keeper.state();
    let Some(one) = state.instances.get_mut(&record.id) else { return false };
    one.started = Some(started.clone());
    if one.stage == Stage::Launching {
        one.stage = Stage::Up;
        one.up_since = Some(Instant::now());
        if let Some(group) = state.groups.get_mut(&record.group) {
            group.trouble = None;
        }
    }
    tracing::info!(instance = %record.id, pid = started.pid, spent = ?started.spent_ms, "started");
    drop(state);
    if record.once.is_none() {
        keeper.tasks.spawn(keep_probing(keeper.clone(), record.clone(), started.clone()));
    }
    true
}

async fn until_ended(keeper: &Arc<Keeper>, record: &Record, place: &InstanceDir, started: &Started) -> Ended {
    let program = process::open(started.pid, started.pid_start).and_then(watch);
    let began = state_files::read_json::<Began>(&place.began()).good();
    let shim = began.and_then(|began| process::open(began.pid, began.pid_start)).and_then(watch);
    loop {
        match (&program, &shim) {
            (Some(program), Some(shim)) => {
                tokio::select! {
                    _ = program.readable() => {}
                    _ = shim.readable() => {}
                    () = tokio::time::sleep(SHIM_EVERY) => {}
                }
            }
            // One of them has exited already, so the record of it exists or is about to.
            _ => tokio::time::sleep(POLL_EVERY).await,
        }
        let lives = lock::is_held(&place.lock());
        if let Some(ended) = state_files::read_json::<Ended>(&place.exit()).good() {
            return ended;
        }
        if !lives {
            return record_lost_exit(keeper, record, place, None).await;
        }
        if program.as_ref().is_some_and(|p| has_ended(p.get_ref())) {
            tokio::time::sleep(POLL_EVERY).await;
        }
    }
}

/// Readable once the process has ended.
#[allow(deprecated, reason = "its successor is unsafe for types that may lie about their descriptor; an OwnedFd does not")]
fn watch(process: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    AsyncFd::new(process).ok()
}

fn has_ended(process: &OwnedFd) -> bool {
    crate::command::wait_readable(process, Duration::ZERO)
}

/// The shim is gone or stuck and will not record how the program ended: the program is killed now, and that is recorded.
async fn record_lost_exit(keeper: &Arc<Keeper>, record: &Record, place: &InstanceDir, failed: Option<String>) -> Ended {
    let (keeper, record, place) = (keeper.clone(), record.clone(), place.clone());
    let code = if failed.is_some() { 127 } else { 137 };
    let work = move || {
        removal::kill_shim(&place);
        let oom_kills = cgroup::oom_kills(&record.placement.cgroup).unwrap_or(0);
        runtime::delete(&record.placement.runtime, &record.placement.runtime_state, record.id.as_str());
        cgroup::remove(&keeper.mark, Some(record.id.as_str()));
        // Its program may have run to its end: nobody saw it.
        let lost = record.once.is_some() && place.began().exists();
        let made_up = Ended { oom_kills, lost, ..Ended::new(code, failed) };
        let ended = state_files::read_json::<Ended>(&place.exit()).good().unwrap_or(made_up);
        if let Err(fault) = state_files::write_json_quick(&place.exit(), &ended) {
            tracing::warn!("{fault}");
        }
        ended
    };
    tokio::task::spawn_blocking(work).await.unwrap_or(Ended::new(code, None))
}

async fn keep_probing(keeper: Arc<Keeper>, record: Record, started: Started) {
    let dir = keeper.layout.instance(&record.id);
    let health = record.release.health.clone();
    let mut explainer = Explainer::new(started.pid);
    loop {
        let answer = health_check::once(&record, &mut explainer, dir.clone()).await;
        let passed = answer.is_ok();
        // A program that cannot write often says so only in its log.
        let answer = answer.map_err(|why| match scratch::of(&started).filter(|seen| seen.is_full) {
            Some(seen) => format!("{why}; its scratch is full: {} MiB (`limits.scratch`)", seen.limit_bytes >> 20),
            None => why,
        });
        // One that never answered may say in its log what it waits for.
        let lines = if passed { Vec::new() } else { log_reader::last_few_lines(&record.placement.log, FailedProbe::LINES_MAX) };
        let pause = {
            let mut state = keeper.state();
            let Some(one) = state.instances.get_mut(&record.id) else { return };
            if one.stage != Stage::Up || keeper.is_stopped() {
                return;
            }
            one.probes.record(passed, health.unhealthy_after, Instant::now());
            one.failed_probe = answer.err().map(|answer| FailedProbe {
                instance: record.id.clone(),
                at: disk::files::now(),
                probe: health_check::asked(&health.probe),
                answer,
                lines: if one.was_healthy { Vec::new() } else { lines },
            });
            let pause = one.probes.pause(&health);
            if passed && !one.was_healthy {
                one.was_healthy = true;
                // For the next keeper. If it cannot be written, that keeper only takes longer.
                let _ = std::fs::write(InstanceDir(dir.clone()).healthy(), "");
                drop(state);
                keeper.nudge();
            }
            pause
        };
        tokio::time::sleep(pause).await;
    }
}

/// Removes everything of an ended or never launched instance, then forgets it.
pub fn remove(keeper: &Arc<Keeper>, id: &InstanceId) {
    let (keeper, id) = (keeper.clone(), id.clone());
    keeper.clone().tasks.spawn_blocking(move || {
        let place = InstanceDir(keeper.layout.instance(&id));
        let launched = place.began().exists();
        let exclusive = keeper.state().instances.get(&id).is_some_and(|one| one.record.release.exclusive);
        // While we hold the lock no shim runs, and no late one can start.
        let until = Instant::now() + SHIM_LEAVES_WITHIN;
        let _lock = loop {
            match Lock::try_existing(&place.lock()) {
                Ok(None) if Instant::now() < until => std::thread::sleep(POLL_EVERY),
                Ok(None) => removal::kill_shim(&place),
                Ok(Some(lock)) => break Some(lock),
                Err(_) => break None,
            }
        };
        let (runtime, state) = (keeper.runtime.clone(), runtime::state(&keeper.layout));
        runtime::delete(&runtime, &state, id.as_str());
        let until = Instant::now() + SHIM_LEAVES_WITHIN;
        while !cgroup::remove(&keeper.mark, Some(id.as_str())) && (exclusive || Instant::now() < until) {
            // It is gone when nothing of it runs, however long that takes: the next one starts then.
            if exclusive && keeper.is_stopped() {
                return;
            }
            std::thread::sleep(POLL_EVERY);
        }
        if let Err(fault) = removal::remove_dir(&keeper.layout, &place.0) {
            tracing::warn!("{fault}");
        }
        let _ = std::fs::remove_file(keeper.layout.drained(&id));
        until_veth_gone(&keeper, &id);
        keeper.counters.change(|c| {
            c.removed += 1;
            c.stopped += u64::from(launched);
        });
        forget(&keeper, &id);
        keeper.nudge();
    });
}

/// The kernel removes the interface with its namespace, a moment after the last process. What stays longer is garbage.
fn until_veth_gone(keeper: &Keeper, id: &InstanceId) {
    let veth = PathBuf::from(format!("/sys/class/net/{}", net::veth_name(&keeper.mark, id)));
    let until = Instant::now() + VETH_GOES_WITHIN;
    while veth.exists() && Instant::now() < until {
        std::thread::sleep(POLL_EVERY);
    }
}

/// Objects that only this instance still needed are unmounted first: when a group is observed empty, everything of it is gone.
fn forget(keeper: &Keeper, id: &InstanceId) {
    let _one_by_one = keeper.forgetting();
    let Some(release) = keeper.state().instances.get(id).map(|one| one.record.release.clone()) else { return };
    for object in std::iter::once(&release.image).chain(&release.artifact) {
        unmount_unused(keeper, object, Some(id));
    }
    keeper.state().instances.remove(id);
}

/// Unmounts an object unless something besides this instance may need it.
pub fn unmount_unused(keeper: &Keeper, object: &Digest, besides: Option<&InstanceId>) {
    if !mounts::place(&keeper.layout, object).exists() {
        return;
    }
    match keeper.objects.release(object, || keeper.state().uses(object.hex(), besides)) {
        Ok(done) => {
            if done {
                keeper.counters.change(|c| c.unmounted += 1);
            }
        }
        Err(fault) => tracing::warn!("{fault}"),
    }
}
