//! The keeper process: locks the data directory, adopts what runs, then reconciles until it is stopped.
//!
//! One thread decides (see `reconcile`); everything slow runs beside it, changes the state when done, and notifies.

use crate::dns::Sockets;
use crate::firewall::Firewall;
use crate::keeper::{Config, Keeper, make_dirs, take_lock};
use crate::{
    alarms, answering, connectivity, exec, garbage, group_files, inside, instance, log_bounds, log_forward, net, one_shot, reconcile,
    runtime, serve, state_files, usage,
};
use disk::lock::Lock;
use model::Fault;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// The longest time between two passes of the reconciler.
const PASS_EVERY: Duration = Duration::from_millis(500);
const GARBAGE_EVERY: Duration = Duration::from_secs(5);

/// Runs until the returned future is dropped. That stops the keeper, never the instances: the next keeper adopts them.
pub async fn run(config: Config) -> Result<(), Fault> {
    let layout = config.layout.clone();
    let (keeper, _lock, sockets) =
        tokio::task::spawn_blocking(move || begin(config)).await.map_err(|e| Fault::ours("keeper", e.to_string()))??;
    // The lock is held, so an existing socket is a dead keeper's.
    let listener = json_http::unix(&layout.host_socket(), 0o600)?;
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
    if let Some(to) = keeper.logs.forward.clone() {
        let forwarder = keeper.clone();
        std::thread::Builder::new()
            .name("forward".to_string())
            .spawn(move || log_forward::run(&forwarder, &to))
            .map_err(|e| Fault::ours("keeper", e.to_string()))?;
    }
    keeper.tasks.spawn(connectivity::keep_names(keeper.clone()));
    let _answering = AbortOnDrop(keeper.tasks.spawn(answering::keep(keeper.clone(), sockets)));
    tracing::info!(bridge = keeper.network.bridge, subnet = %keeper.network.subnet, runtime = %keeper.runtime.display(), "keeper runs");
    serve::serve(listener, keeper).await;
    Ok(())
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct StopOnDrop(Arc<Keeper>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn loop_reconcile(keeper: &Arc<Keeper>) {
    while !keeper.is_stopped() {
        let next = reconcile::pass(keeper);
        keeper.wait(next.min(PASS_EVERY));
    }
}

fn loop_garbage(keeper: &Arc<Keeper>) {
    while !keeper.is_stopped() {
        garbage::collect(keeper);
        log_bounds::bound(keeper);
        usage::sample(keeper);
        one_shot::forget_old(keeper);
        keeper.sessions.forget_done(Instant::now());
        connectivity::look(keeper);
        alarms::look_for_oom(keeper);
        std::thread::sleep(GARBAGE_EVERY);
    }
}

fn begin(config: Config) -> Result<(Arc<Keeper>, Lock, Option<Sockets>), Fault> {
    let layout = config.layout.clone();
    if !nix::unistd::geteuid().is_root() {
        return Err(
            Fault::yours("not-root", "the keeper creates containers, mounts and interfaces, so it must run as root").hint("sudo afresh up")
        );
    }
    let text = layout.root().to_string_lossy().into_owned();
    if !layout.root().is_absolute() || text.contains(|c: char| c.is_whitespace() || c.is_control() || ":,\\\"'".contains(c)) {
        return Err(Fault::yours("bad-data-dir", format!("{text:?} cannot be a data directory"))
            .hint("it must be an absolute path without spaces, commas, colons, quotes and backslashes: mount options contain it"));
    }
    let lock = take_lock(&layout)?;
    make_dirs(&layout)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(layout.host(), mode).map_err(|e| state_files::at(&layout.host(), "setting its mode", e))?;
    let runtime = runtime::choose(&layout, config.runtime.as_deref())?;
    let network = net::ensure(&layout, config.subnet)?;
    let firewall = Firewall::new(&net::mark(&layout));
    let config = Config { layout, ..config };
    let keeper = Arc::new(Keeper::new(config, network, firewall, runtime, Handle::current()));
    instance::adopt(&keeper);
    exec::end_left_behind(&keeper);
    // Whoever asks before the first pass is not answered that a group has no declaration and never had a death.
    group_files::read_groups(&keeper, &mut keeper.state());
    inside::tell(&keeper);
    let sockets = answering::bind(&keeper);
    connectivity::open(&keeper)?;
    Ok((keeper, lock, sockets))
}
