//! What the keeper's threads and tasks share, and where the keeper keeps its files. It decides nothing.

use crate::admit::{Admit, Permit};
use crate::counters::Counters;
use crate::dns;
use crate::exec_sessions::Sessions;
use crate::firewall::Firewall;
use crate::history::History;
use crate::log_forwarded::Forwarded;
use crate::log_settings::LogSettings;
use crate::names::Names;
use crate::net::{self, Network};
use crate::objects::Objects;
use crate::resolvers::{self, Resolvers};
use crate::runtime;
use crate::samples::Samples;
use crate::service_names::ServiceNames;
use crate::state::State;
use crate::state_files;
use crate::subnet::Subnet;
use crate::uids::Uids;
use disk::lock::{self, Lock};
use model::{Fault, Layout};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// A process that holds the lock longer is another keeper.
const LOCK_WITHIN: Duration = Duration::from_secs(1);

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
    /// What becomes of the logs of all servers.
    pub logs: LogSettings,
    /// Called before an object becomes the root of a server.
    pub admit: Admit,
    /// Called before a directory of the host becomes a server's volume.
    pub permit: Permit,
}

pub struct Keeper {
    pub layout: Layout,
    pub program: PathBuf,
    pub shim_args: Vec<String>,
    pub mark: String,
    pub network: Network,
    pub firewall: Firewall,
    pub names: Names,
    pub service_names: ServiceNames,
    pub resolver: Arc<dns::Resolver>,
    pub runtime: PathBuf,
    pub objects: Objects,
    pub admit: Admit,
    pub permit: Permit,
    pub logs: LogSettings,
    pub forwarded: Forwarded,
    pub sessions: Sessions,
    pub samples: Samples,
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
    resolvers: Mutex<Resolvers>,
    /// Why no server can ask the resolver.
    not_answering: Mutex<Option<String>>,
}

impl Keeper {
    /// For what the data directory holds; it has adopted nothing yet.
    pub fn new(config: Config, network: Network, firewall: Firewall, runtime: PathBuf, tasks: Handle) -> Self {
        let layout = config.layout;
        Self {
            program: config.program,
            shim_args: config.shim_args,
            mark: net::mark(&layout),
            network,
            firewall,
            names: Names::open(&layout),
            service_names: ServiceNames::at(layout.service_names()),
            resolver: Arc::default(),
            runtime,
            objects: Objects::open(&layout),
            admit: config.admit,
            permit: config.permit,
            logs: config.logs,
            forwarded: Forwarded::default(),
            sessions: Sessions::default(),
            samples: Samples::default(),
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
            resolvers: Mutex::new(resolvers::of_host()),
            not_answering: Mutex::new(Some("it has not begun".to_string())),
            layout,
        }
    }

    /// A panic elsewhere is a bug, but the state is still the best available.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while a declaration is judged and written.
    pub fn declaring(&self) -> MutexGuard<'_, ()> {
        self.declaring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while an instance is forgotten, so that the last of a group can tell that it is the last.
    pub fn forgetting(&self) -> MutexGuard<'_, ()> {
        self.forgetting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something changed: reconcile now.
    pub fn nudge(&self) {
        *self.nudged.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.nudge.notify_one();
    }

    pub fn wait(&self, at_most: Duration) {
        let nudged = self.nudged.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut nudged, _) = self.nudge.wait_timeout_while(nudged, at_most, |nudged| !*nudged).unwrap_or_else(PoisonError::into_inner);
        *nudged = false;
    }

    /// As this host has them now, or had them a few seconds ago.
    pub fn resolvers(&self) -> Resolvers {
        self.resolvers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_resolvers(&self, now: Resolvers) {
        *self.resolvers.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Whom the resolver asks; never itself.
    pub fn upstreams(&self) -> Vec<SocketAddr> {
        let Network { subnet, prefix, .. } = self.network;
        let own = |ip: &IpAddr| *ip == IpAddr::from(subnet.gateway()) || prefix.is_some_and(|prefix| *ip == IpAddr::from(prefix.gateway()));
        self.resolvers().all.into_iter().filter(|ip| !own(ip)).map(|ip| SocketAddr::new(ip, dns::PORT)).collect()
    }

    pub fn not_answering(&self) -> Option<String> {
        self.not_answering.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// True: it was otherwise before.
    pub fn set_answering(&self, now: Result<(), String>) -> bool {
        let mut before = self.not_answering.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now.err();
        let changed = *before != now;
        *before = now;
        changed
    }

    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.nudge();
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// The file that one keeper at a time holds.
pub fn lock_path(layout: &Layout) -> PathBuf {
    layout.run().join("host.lock")
}

pub fn take_lock(layout: &Layout) -> Result<Lock, Fault> {
    state_files::make_dir(&layout.run())?;
    let path = lock_path(layout);
    let lock = lock::retry(LOCK_WITHIN, || Lock::try_exclusive(&path))?;
    lock.ok_or_else(|| {
        Fault::world("keeper-runs", format!("{}: another keeper holds this data directory", path.display()))
            .hint("stop it first, or use another --data-dir")
            .again(false)
    })
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
        state_files::make_dir(&dir)?;
    }
    Ok(())
}

/// What is remembered of groups beside their declarations: one file per group.
pub fn sums(layout: &Layout) -> PathBuf {
    layout.host().join("sums")
}

pub fn summary_path(layout: &Layout, group: &model::GroupName) -> PathBuf {
    sums(layout).join(format!("{group}.json"))
}
