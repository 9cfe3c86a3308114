//! `down`: ends everything of a data directory of this machine: control processes, servers, data plane, mounts, networks.

use crate::confirm::confirmed;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{self, Failure};
use crate::processes::{Role, lock};
use crate::show;
use clap::Args;
use model::{Fault, Layout};
use std::path::Path;
use std::time::Duration;

/// End everything of a data directory: servers, traffic, processes, mounts
#[derive(Args, Debug)]
#[command(
    after_help = "It works in the data directory of this machine and must be confirmed: at a terminal, or with --yes. Without a terminal and --yes it \
                  exits with 2.\n\nImages, journals and declarations stay: the next `afresh up` starts the same servers again.\n\n\
                  Example:\n  afresh down --yes\n  afresh down --purge --yes"
)]
pub struct Down {
    /// Delete the data directory too: images, journals, everything
    #[arg(long)]
    pub purge: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
}

const UP_PATIENCE: Duration = Duration::from_secs(20);
const ROLE_PATIENCE: Duration = Duration::from_secs(5);
const DRAIN_MS: u64 = 5_000;

impl Down {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.must_be_local("down")?;
        let dir = context.data_dir();
        if !dir.exists() {
            show::note(format!("nothing to end: {} does not exist", dir.display()));
            return Ok(Exit::Succeeded);
        }
        if !nix::unistd::geteuid().is_root() {
            return Err(super::doctor::not_root().into());
        }
        // Made by `bake` alone, before such directories were marked: nothing was ever started from it.
        if !self.purge && was_never_up(&context.layout) {
            show::note(format!("nothing to end: no `afresh up` was started over {}", dir.display()));
            return Ok(Exit::Succeeded);
        }
        // A foreign directory is not touched, and a copy's servers are the original's.
        host::identity::ours(&context.layout)?;
        let ends = format!("end every server, the traffic and the control processes of {}", dir.display());
        show::note(format!("would {ends}{}", if self.purge { ", and delete the directory" } else { "" }));
        let question = if self.purge { format!("{ends}, and delete every image, journal and declaration in it") } else { ends };
        if !confirmed(self.yes, &question)? {
            show::note("nothing was changed");
            return Ok(Exit::Refused);
        }
        end_all(&context.layout)?;
        show::note(format!("ended everything of {}", dir.display()));
        if self.purge {
            purge(dir)?;
        }
        Ok(Exit::Succeeded)
    }
}

/// Neither a marker nor anything that `up` or its keeper makes: a directory that lost some of that may still run servers.
fn was_never_up(layout: &Layout) -> bool {
    let marker = layout.root().join("afresh.json");
    [disk::state::spare(&marker), marker, layout.run(), layout.host()].iter().all(|path| path.symlink_metadata().is_err())
}

/// Mounts of others inside are left alone; a directory that is itself a mount point is emptied.
fn purge(dir: &Path) -> Result<(), Fault> {
    if let Some(point) = host::mounted_below(dir).into_iter().find(|point| point != dir) {
        let fault = Fault::world("in-use", format!("{}: is a mount point, so {} was not deleted", point.display(), dir.display()));
        return Err(fault.hint(format!("umount {}", point.display())).again(false));
    }
    for entry in std::fs::read_dir(dir).map_err(|e| failure::io("cannot read", dir, &e))? {
        let path = entry.map_err(|e| failure::io("cannot read", dir, &e))?.path();
        // A link is removed, never what it leads to.
        let is_dir = std::fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir());
        let removed = if is_dir { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.map_err(|e| failure::io("cannot remove", &path, &e))?;
    }
    match std::fs::remove_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::ResourceBusy => show::note(format!("emptied {}: it is a mount point", dir.display())),
        removed => {
            removed.map_err(|e| failure::io("cannot remove", dir, &e))?;
            show::note(format!("removed {}", dir.display()));
        }
    }
    Ok(())
}

/// First the processes that would restart others, then traffic, then servers. Nothing to end is no error.
pub fn end_all(layout: &Layout) -> Result<(), Fault> {
    lock::end_holder(layout, "up", UP_PATIENCE)?;
    for role in [Role::Serve, Role::Host] {
        lock::end_holder(layout, role.name(), ROLE_PATIENCE)?;
    }
    Context::runtime()?.block_on(proxy::down(layout, DRAIN_MS))?;
    lock::end_holder(layout, Role::Proxy.name(), ROLE_PATIENCE)?;
    host::down(layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_lost_a_part_may_still_run_something() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir(layout.store()).unwrap();
        assert!(was_never_up(&layout), "of `bake` alone");
        for made in [layout.run(), layout.host(), dir.path().join("afresh.json"), dir.path().join("afresh.json.spare")] {
            std::fs::create_dir(&made).unwrap();
            assert!(!was_never_up(&layout), "{}", made.display());
            std::fs::remove_dir(&made).unwrap();
        }
    }
}
