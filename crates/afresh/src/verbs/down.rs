//! `down`: ends everything of a data directory: control processes, servers, data plane, mounts, networks.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{self, Failure};
use crate::processes::{Role, lock};
use crate::show;
use clap::Args;
use model::{Fault, Layout};
use std::time::Duration;

/// End everything of a data directory: processes, servers, traffic, mounts, networks
#[derive(Args, Debug)]
#[command(
    after_help = "Images, journals and declarations stay: the next `afresh up` starts the same servers again.\n\nExample:\n  afresh down\n  afresh down --purge"
)]
pub struct Down {
    /// Remove the data directory too: images, journals, everything
    #[arg(long)]
    pub purge: bool,
}

const UP_PATIENCE: Duration = Duration::from_secs(20);
const ROLE_PATIENCE: Duration = Duration::from_secs(5);
const DRAIN_MS: u64 = 5_000;

impl Down {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let dir = context.data_dir();
        if !context.layout.run().is_dir() {
            show::note(format!("nothing of Afresh is in {}", dir.display()));
            return Ok(Exit::Succeeded);
        }
        if !nix::unistd::geteuid().is_root() {
            return Err(super::doctor::not_root().into());
        }
        end_all(&context.layout)?;
        show::note(format!("ended everything of {}", dir.display()));
        if self.purge {
            std::fs::remove_dir_all(dir).map_err(|e| failure::io("cannot remove", dir, &e))?;
            show::note(format!("removed {}", dir.display()));
        }
        Ok(Exit::Succeeded)
    }
}

/// First whoever would start things again, then traffic, then servers. Nothing to end is no error.
pub fn end_all(layout: &Layout) -> Result<(), Fault> {
    lock::end_holder(layout, "up", UP_PATIENCE)?;
    for role in [Role::Serve, Role::Host] {
        lock::end_holder(layout, role.name(), ROLE_PATIENCE)?;
    }
    Context::runtime()?.block_on(proxy::down(layout, DRAIN_MS))?;
    lock::end_holder(layout, Role::Proxy.name(), ROLE_PATIENCE)?;
    host::down(layout)
}
