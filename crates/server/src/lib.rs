//! Control plane: the driving loop and the API over it.
//!
//! It holds no state of its own that matters: journals and records are in the store, the world is behind the ports. Killing it at
//! any moment loses nothing; whoever is started next goes on.
//!
//! ```text
//!  socket ─▶ http ─▶ deploy (plan, deploy, rollback, commands, steps, gc) ─▶ journal ◀─ drive ─▶ provider, router
//!                      └─ status, lists (read only) ◀──────────────────┘ notifies ▲
//! ```
//!
//! | file | what |
//! | --- | --- |
//! | `app`, `notify` | what everything shares; wakes threads when something changes |
//! | `instance_lock`, `socket`, `room` | one process a data directory; the sockets, and how many may speak on each |
//! | `access` | who calls, what they may do, tokens, the host policy, the audit |
//! | `desired`, `observed_service`, `deploy`, `rollouts` | from a request to open rotations |
//! | `drive`, `parts` | a thread for each open rotation; who restarts what panics, and counts it |
//! | `inventory`, `gate` | journal and world compared; nothing is declared for what the journal does not cover |
//! | `status`, `lists`, `steps`, `gc` | answers |
//! | `fleet` | what keeper and balancer say by themselves |
//! | `upkeep` | keeps images patched: looks, bakes, tests, rolls out |
//! | `http` | paths, bodies, errors, live events |

mod access;
mod adopt;
mod app;
mod deploy;
mod desired;
mod drive;
mod fleet;
mod gate;
mod gc;
mod http;
mod instance_lock;
mod inventory;
mod lists;
mod logs;
mod notes;
mod notify;
mod observed_service;
mod parts;
mod ports;
mod removal;
mod rollouts;
mod room;
mod socket;
mod status;
mod steps;
mod upkeep;

pub use access::read_policy;
pub use access::tokens::read_token;
pub use http::routes;
pub use instance_lock::{check_backup, lease_holder, restore};
pub use journal::Backup;
pub use ports::{Images, Kept};
pub use upkeep::{Config as Upkeep, Factory, Fresh, Made, Pace};

use model::{Fault, Layout};
use room::Room;
use std::net::SocketAddr;
use std::sync::Arc;

/// What `serve` needs. The ports are made by whoever starts it.
#[derive(Clone)]
pub struct Config {
    pub layout: Layout,
    /// Answer on TCP too, to who has a token; None: the Unix socket alone.
    pub listen: Option<SocketAddr>,
    /// A token that is the administrator's, besides those that have names: see [`read_token`].
    pub token: Option<String>,
    /// What the host's root keeps for itself: see [`read_policy`].
    pub policy: std::path::PathBuf,
    /// Names this data directory's control plane for ever, so that a restarted one takes its own leases back: see [`lease_holder`].
    pub holder: String,
    pub provider: Arc<dyn rotation::GroupInventory + Send + Sync>,
    pub router: Arc<dyn rotation::RouteInventory + Send + Sync>,
    pub images: Arc<dyn Images>,
    /// Keeps images patched; None: they are baked by hand only.
    pub upkeep: Option<Upkeep>,
}

/// A running control plane. Dropping it stops it as kill -9 would, only sooner noticed by its own threads.
pub struct Server {
    app: Arc<app::App>,
    threads: Vec<std::thread::JoinHandle<()>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    address: Option<SocketAddr>,
    // Every thread holds it too: the next control plane gets the directory when the last of them has ended.
    _only: Arc<instance_lock::InstanceLock>,
}

/// Serves until the future is dropped or something ends it.
pub async fn run(config: Config) -> Result<(), Fault> {
    let mut server = start(config).await?;
    server.ended().await
}

/// Takes the data directory, opens the store, picks up what is open, listens.
pub async fn start(config: Config) -> Result<Server, Fault> {
    let only = Arc::new(instance_lock::acquire(&config.layout)?);
    let tcp = match &config.listen {
        None => None,
        Some(address) => Some(socket::tcp(*address).await?),
    };
    let address = tcp.as_ref().and_then(|listener| listener.local_addr().ok());
    let app = {
        let config = config.clone();
        blocking(move || app::App::open(&config)).await?
    };
    let first = app.clone();
    // Nobody drives before the journal was compared with the world. A keeper that does not answer yet is asked again by a thread.
    let _ = blocking(move || inventory::compare(&first)).await;
    let threads = drive::start(&app, &only)?;
    let unix = match socket::unix(&config.layout.api_socket(), 0o600) {
        Ok(unix) => unix,
        Err(fault) => {
            app.stop();
            return Err(fault);
        }
    };
    // Each socket has room of its own: the administrator always gets in.
    let mut tasks = vec![tokio::spawn(socket::serve(unix, http::router(&app), Room::new(128, 128)))];
    if let Some(listener) = tcp {
        tasks.push(tokio::spawn(socket::serve(listener, http::router(&app), Room::new(256, 64))));
    }
    if let Some(listener) = for_peers(&app) {
        tasks.push(tokio::spawn(socket::serve(listener, http::router(&app), Room::new(128, 32))));
    }
    Ok(Server { app, threads, tasks, address, _only: only })
}

/// The socket for users of this machine that the host policy names. What is wrong with it keeps nobody else out.
fn for_peers(app: &app::App) -> Option<tokio::net::UnixListener> {
    let bind = || match app.access.policy()?.socket {
        Some(path) => socket::unix(std::path::Path::new(&path), 0o666).map(Some),
        None => Ok(None),
    };
    bind().unwrap_or_else(|fault| {
        tracing::error!(code = fault.code, "no socket for the peers of the host policy: {}", fault.message);
        None
    })
}

impl Server {
    /// Where it listens for TCP, if it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Waits until it can serve no more.
    pub async fn ended(&mut self) -> Result<(), Fault> {
        for task in &mut self.tasks {
            if let Err(e) = task.await {
                return Err(Fault::ours("server-ended", format!("a listener ended: {e}")));
            }
        }
        Ok(())
    }

    /// Stops and waits until its threads have ended.
    pub async fn stop(mut self) {
        self.halt();
        let threads = std::mem::take(&mut self.threads);
        let joined = blocking(move || {
            for thread in threads {
                // A thread that panicked has been told of where it ran.
                let _ = thread.join();
            }
            Ok(())
        });
        let _ = joined.await;
    }

    fn halt(&mut self) {
        self.app.stop();
        // What is in the database is covered by the integrity check of the next start.
        if let Err(fault) = self.app.database.checkpoint() {
            tracing::warn!(code = fault.code, "no checkpoint at the end: {}", fault.message);
        }
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.halt();
    }
}

/// Runs what blocks (the store, the ports) where it may.
async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    tokio::task::spawn_blocking(f).await.unwrap_or_else(|e| Err(Fault::ours("panic", format!("the control plane failed inside: {e}"))))
}
