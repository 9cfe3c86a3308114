//! The kit of a release, kept in the store: made once, with the machine's mirrors, and again when asked for.
//! It must not go into images: kernel and boot tools are patched apart from them.

use crate::apt::{self, Apt};
use crate::emit::{self, Kit};
use crate::exec;
use crate::io;
use crate::progress::{Progress, Steps};
use crate::sources;
use crate::store::Store;
use model::Fault;

/// Kernel, modules and boot tools of `debian`. `fresh`: fetch them anew, for a newer kernel.
pub fn kit(store: &Store, debian: &str, fresh: bool, tell: &mut dyn FnMut(Progress)) -> Result<Kit, Fault> {
    let mut steps = Steps::new(tell);
    let _alone = store.lock(&format!("kit-{debian}"), || steps.at(0, 0, "another process makes this kit: waiting for it"))?;
    let at = store.dir("kits").join(debian);
    if !fresh && let Ok(kit) = Kit::open(&at) {
        return Ok(kit);
    }
    exec::need_root("unpacking a kernel's packages")?;
    exec::need(&["mmdebstrap"])?;
    steps.begin("kit", format!("fetching {}", emit::KIT_PACKAGES.join(", ")));
    let (all, own) = apt::machine_sources()?;
    let chosen = sources::of_release(&all, debian, own.as_deref());
    if chosen.is_empty() {
        return Err(Fault::yours("no-sources", format!("this machine's apt sources have none for {debian}"))
            .hint("add its mirror under /etc/apt/sources.list.d"));
    }
    let apt = Apt::open(store, chosen)?;
    let work = store.work("kit")?;
    let made = work.path().join("kit");
    emit::extract_kit(debian, &[apt.sources_file().display().to_string()], &made)?;
    // Looked at before it takes the place of the one that works.
    Kit::open(&made)?;
    io::make_dir(&store.dir("kits"))?;
    io::remove_tree(&at)?;
    std::fs::rename(&made, &at).map_err(io::at("cannot rename to", &at))?;
    io::sync_dir(&store.dir("kits"))?;
    Kit::open(&at)
}
