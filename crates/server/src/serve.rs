//! Starts and stops the control plane.

use crate::app::App;
use crate::backup::Backups;
use crate::blocking::blocking;
use crate::config::Config;
use crate::instance_lock::{self, InstanceLock};
use crate::{drive, exec, http, inventory, names};
use json_http::Room;
use model::Fault;
use std::net::SocketAddr;
use std::sync::Arc;

/// A running control plane. Dropping it stops it as kill -9 would, but its threads notice at once.
pub struct Server {
    app: Arc<App>,
    threads: Vec<std::thread::JoinHandle<()>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    recorder: tokio::task::JoinHandle<()>,
    address: Option<SocketAddr>,
    // Every thread holds it too: the next control plane gets the data directory when the last thread has ended.
    _lock: Arc<InstanceLock>,
}

/// Serves until the future is dropped or something ends it.
pub async fn run(config: Config) -> Result<(), Fault> {
    let mut server = start(config).await?;
    server.ended().await
}

/// Locks the data directory, opens the database, drives what is open, listens.
pub async fn start(config: Config) -> Result<Server, Fault> {
    config.backups.as_ref().map_or(Ok(()), Backups::check)?;
    let lock = Arc::new(instance_lock::acquire(&config.layout)?);
    let tcp = match &config.listen {
        None => None,
        Some(address) => Some(json_http::tcp(*address).await?),
    };
    let address = tcp.as_ref().and_then(|listener| listener.local_addr().ok());
    let app = {
        let config = config.clone();
        blocking(move || App::open(&config)).await?
    };
    let first = app.clone();
    // Nothing is driven before the journal was compared with the inventory. A thread retries while the keeper does not answer.
    let _ = blocking(move || {
        names::keep_published(&first);
        inventory::compare(&first)
    })
    .await;
    let threads = drive::start(&app, &lock)?;
    let unix = match json_http::unix(&config.layout.api_socket(), 0o600) {
        Ok(unix) => unix,
        Err(fault) => {
            app.stop();
            return Err(fault);
        }
    };
    // Each socket has connection limits of its own: the administrator always gets in.
    let mut tasks = vec![tokio::spawn(json_http::serve(unix, http::router(&app), Room::new(128, 128), "the API"))];
    if let Some(listener) = tcp {
        tasks.push(tokio::spawn(json_http::serve(listener, http::router(&app), Room::new(256, 64), "the API")));
    }
    let recorder = app.clone();
    let recorder = tokio::spawn(exec::record_ends(recorder));
    if let Some(listener) = for_peers(&app) {
        tasks.push(tokio::spawn(json_http::serve(listener, http::router(&app), Room::new(128, 32), "the API")));
    }
    Ok(Server { app, threads, tasks, recorder, address, _lock: lock })
}

/// The socket for users of this machine that the host policy names. An error of it keeps nobody else out.
fn for_peers(app: &App) -> Option<tokio::net::UnixListener> {
    let bind = || match app.access.policy()?.socket {
        Some(path) => json_http::unix(std::path::Path::new(&path), 0o666).map(Some),
        None => Ok(None),
    };
    bind().unwrap_or_else(|fault| {
        tracing::error!(code = fault.code, "cannot open the socket for the peers of the host policy: {}", fault.message);
        None
    })
}

impl Server {
    /// The TCP address that it listens on, if any.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Returns when it can serve no longer.
    pub async fn ended(&mut self) -> Result<(), Fault> {
        for task in &mut self.tasks {
            if let Err(e) = task.await {
                return Err(Fault::ours("server-ended", format!("a listener stopped: {e}")));
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
                // A panic was logged by the thread that it ended.
                let _ = thread.join();
            }
            Ok(())
        });
        let _ = joined.await;
    }

    fn halt(&mut self) {
        self.app.stop();
        // What is in the database file is covered by the integrity check of the next start.
        if let Err(fault) = self.app.database.checkpoint() {
            tracing::warn!(code = fault.code, "cannot write the last checkpoint: {}", fault.message);
        }
        for task in self.tasks.iter().chain([&self.recorder]) {
            task.abort();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.halt();
    }
}
