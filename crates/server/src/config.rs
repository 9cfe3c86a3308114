//! What `serve` is started with.

use crate::backup::Backups;
use crate::ports::Images;
use crate::upkeep;
use model::Layout;
use rotation::{GroupInventory, RouteInventory};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Whoever starts the server makes the ports.
#[derive(Clone)]
pub struct Config {
    pub layout: Layout,
    /// Listen on TCP too, for callers with a token; None: on the Unix socket alone.
    pub listen: Option<SocketAddr>,
    /// Where a token of the administrator is, besides the tokens that have names: see [`crate::read_token`].
    pub token_file: Option<PathBuf>,
    /// The policy of the host's root: see [`crate::read_policy`].
    pub policy: PathBuf,
    /// The name under which it takes leases, the same after a restart: see [`crate::lease_holder`].
    pub holder: String,
    pub provider: Arc<dyn GroupInventory + Send + Sync>,
    pub router: Arc<dyn RouteInventory + Send + Sync>,
    pub images: Arc<dyn Images>,
    /// Makes backups of the data directory; None: they are made by hand only.
    pub backups: Option<Backups>,
    /// Keeps images patched; None: they are baked by hand only.
    pub upkeep: Option<upkeep::Config>,
}
