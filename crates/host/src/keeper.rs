//! The keeper process: takes the data directory for itself, adopts what runs, then reconciles for ever.
//!
//! One thread decides (see `reconcile`); everything slow runs beside it and answers by changing the state and nudging.

use crate::admit::Admit;
use crate::counters::Counters;
use crate::disk::{self, Lock};
use crate::history::History;
use crate::net::{self, Network, Subnet};
use crate::objects::Objects;
use crate::state::State;
use crate::uids::Uids;
use crate::{alarms, firewall, garbage, instance, reconcile, runtime, serve};
use model::{Fault, Layout};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// The reconciler looks at everything at least so often.
const TICK: Duration = Duration::from_millis(500);
/// Whoever holds the lock longer is another keeper.
const LOCK_WITHIN: Duration = Duration::from_secs(1);
const GARBAGE_EVERY: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub struct Config {
    pub layout: Layout,
    /// `<program> <shim_args..> DIR` must call [`crate::shim`] with DIR.
    pub program: PathBuf,
    pub shim_args: Vec<String>,
    /// None: chosen by the data directory's hash, and remembered.
    pub subnet: Option<Subnet>,
    /// None: the first of runc, crun, youki that runs a container here.
    pub runtime: Option<PathBuf>,
    /// IssuedCommand before the root of a machine is used.
    pub admit: Admit,
}

pub struct Keeper {
    pub layout: Layout,
    pub program: PathBuf,
    pub shim_args: Vec<String>,
    pub mark: String,
    pub network: Network,
    pub runtime: PathBuf,
    pub objects: Objects,
    pub admit: Admit,
    pub counters: Counters,
    pub history: History,
    pub uids: Uids,
    pub tasks: Handle,
    state: Mutex<State>,
    declaring: Mutex<()>,
    forgetting: Mutex<()>,
    nudged: Mutex<bool>,
    nudge: Condvar,
    stopped: AtomicBool,
}

impl Keeper {
    /// Over what the data directory holds; it has adopted nothing yet.
    pub fn new(config: Config, network: Network, runtime: PathBuf, tasks: Handle) -> Self {
        let layout = config.layout;
        Self {
            program: config.program,
            shim_args: config.shim_args,
            mark: net::mark(&layout),
            network,
            runtime,
            objects: Objects::open(&layout),
            admit: config.admit,
            counters: Counters::open(&layout),
            history: History::open(&layout),
            uids: Uids::open(&layout, &net::mark(&layout)),
            tasks,
            state: Mutex::new(State::default()),
            declaring: Mutex::new(()),
            forgetting: Mutex::new(()),
            nudged: Mutex::new(true),
            nudge: Condvar::new(),
            stopped: AtomicBool::new(false),
            layout,
        }
    }

    /// A panic elsewhere is a bug, but the state is still the best there is.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while a declaration is judged and written.
    pub fn declaring(&self) -> MutexGuard<'_, ()> {
        self.declaring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while an instance is forgotten: the last of a group sees that it is the last.
    pub fn forgetting(&self) -> MutexGuard<'_, ()> {
        self.forgetting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something changed: reconcile now.
    pub fn nudge(&self) {
        *self.nudged.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.nudge.notify_one();
    }

    fn wait(&self, at_most: Duration) {
        let nudged = self.nudged.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut nudged, _) = self.nudge.wait_timeout_while(nudged, at_most, |nudged| !*nudged).unwrap_or_else(PoisonError::into_inner);
        *nudged = false;
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// Runs until the returned future is dropped. That stops the keeper, never the instances: the next keeper adopts them.
pub async fn run(config: Config) -> Result<(), Fault> {
    let layout = config.layout.clone();
    let (keeper, _lock) = tokio::task::spawn_blocking(move || begin(config)).await.map_err(|e| Fault::ours("keeper", e.to_string()))??;
    let listener = serve::listen(&layout)?;
    let _stop = StopOnDrop(keeper.clone());
    let reconciler = keeper.clone();
    std::thread::Builder::new()
        .name("reconcile".to_string())
        .spawn(move || loop_reconcile(&reconciler))
        .map_err(|e| Fault::ours("keeper", e.to_string()))?;
    let collector = keeper.clone();
    std::thread::Builder::new()
        .name("garbage".to_string())
        .spawn(move || loop_garbage(&collector))
        .map_err(|e| Fault::ours("keeper", e.to_string()))?;
    tracing::info!(bridge = keeper.network.bridge, subnet = %keeper.network.subnet, runtime = %keeper.runtime.display(), "keeper runs");
    serve::serve(listener, keeper).await
}

struct StopOnDrop(Arc<Keeper>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
        self.0.nudge();
    }
}

fn loop_reconcile(keeper: &Arc<Keeper>) {
    while !keeper.is_stopped() {
        let next = reconcile::pass(keeper);
        keeper.wait(next.min(TICK));
    }
}

fn loop_garbage(keeper: &Arc<Keeper>) {
    while !keeper.is_stopped() {
        garbage::collect(keeper);
        if !firewall::is_there(&keeper.mark) {
            tracing::warn!("the firewall's table was gone; it is made again");
            if let Err(fault) = firewall::ensure(&keeper.mark, &keeper.network.bridge) {
                tracing::error!("{fault}");
            }
        }
        alarms::look_for_oom(keeper);
        std::thread::sleep(GARBAGE_EVERY);
    }
}

/// The file that one keeper at a time holds.
pub fn lock_path(layout: &Layout) -> PathBuf {
    layout.run().join("host.lock")
}

pub fn take_lock(layout: &Layout) -> Result<Lock, Fault> {
    disk::make_dir(&layout.run())?;
    let path = lock_path(layout);
    let lock = Lock::take_within(&path, true, LOCK_WITHIN).map_err(|e| disk::at(&path, "locking", e))?;
    lock.ok_or_else(|| {
        Fault::world("keeper-runs", format!("{}: another keeper holds this data directory", path.display()))
            .hint("stop it first, or use another --data-dir")
            .again(false)
    })
}

fn begin(config: Config) -> Result<(Arc<Keeper>, Lock), Fault> {
    let layout = config.layout.clone();
    if !nix::unistd::geteuid().is_root() {
        return Err(
            Fault::yours("not-root", "the keeper makes containers, mounts and interfaces, so it must run as root").hint("sudo afresh up")
        );
    }
    let text = layout.root().to_string_lossy().into_owned();
    if !layout.root().is_absolute() || text.contains(|c: char| c.is_whitespace() || c.is_control() || ":,\\\"'".contains(c)) {
        return Err(Fault::yours("bad-data-dir", format!("{text:?} cannot be a data directory"))
            .hint("it must be an absolute path without spaces, commas, colons, quotes and backslashes: it is named in mount options"));
    }
    let lock = take_lock(&layout)?;
    make_dirs(&layout)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(layout.host(), mode).map_err(|e| disk::at(&layout.host(), "setting its mode", e))?;
    let runtime = runtime::choose(&layout, config.runtime.as_deref())?;
    let network = net::ensure(&layout, config.subnet)?;
    firewall::ensure(&net::mark(&layout), &network.bridge)?;
    let config = Config { layout, ..config };
    let keeper = Arc::new(Keeper::new(config, network, runtime, Handle::current()));
    instance::adopt(&keeper);
    Ok((keeper, lock))
}

/// What the keeper writes into.
pub fn make_dirs(layout: &Layout) -> Result<(), Fault> {
    for dir in [
        layout.groups(),
        layout.instances(),
        sums(layout),
        layout.host().join("logs"),
        layout.targets().join("drained"),
        crate::mounts::root(layout),
        runtime::state(layout),
    ] {
        disk::make_dir(&dir)?;
    }
    Ok(())
}

/// What is remembered of groups beside their declarations: one file a group.
pub fn sums(layout: &Layout) -> PathBuf {
    layout.host().join("sums")
}

pub fn sum_path(layout: &Layout, group: &model::GroupName) -> PathBuf {
    sums(layout).join(format!("{group}.json"))
}
