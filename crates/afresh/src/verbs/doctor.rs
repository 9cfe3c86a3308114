//! `doctor`: what this host can do, and why not; and the part of it without which nothing is begun.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use clap::Args;
use model::{Fault, Layout};

/// Say what this host can do, what it cannot, and what to do about it
#[derive(Args, Debug)]
#[command(after_help = "Exit 7 if something is missing.\n\nExample:\n  sudo afresh doctor")]
pub struct Doctor {}

/// Needed to bake, not to run what is baked.
const ONLY_TO_BAKE: &[&str] = &["mkfs.erofs"];

impl Doctor {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let findings = host::doctor(&context.layout);
        if context.json {
            show::json(&findings);
        } else {
            let rows = findings.iter().map(|f| {
                vec![if f.ok { "ok" } else { "MISSING" }.to_string(), f.name.clone(), f.detail.clone(), f.hint.clone().unwrap_or_default()]
            });
            show::line(show::table(&["", "what", "found", "do"], rows.collect()));
        }
        Ok(if findings.iter().all(|f| f.ok) { Exit::Succeeded } else { Exit::World })
    }
}

pub fn not_root() -> Fault {
    Fault::world("not-root", "servers, mounts and networks need root").hint("sudo afresh ...").again(false)
}

/// Refuses at once, with everything that is missing, rather than failing in the middle with one thing. A fleet that is there already is
/// started all the same, with a warning: what is missing may be needed for the next deploy only, and the servers are needed now.
pub fn essentials(layout: &Layout) -> Result<(), Fault> {
    let missing: Vec<String> = host::doctor(layout)
        .into_iter()
        .filter(|f| !f.ok && !ONLY_TO_BAKE.contains(&f.name.as_str()))
        .map(|f| format!("{}: {}{}", f.name, f.detail, f.hint.map_or_else(String::new, |h| format!(" ({h})"))))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if has_fleet(layout) {
        missing.iter().for_each(|what| {
            show::note(format!("{} {what}; the fleet is started all the same", show::paint(show::RED.bold(), "warning:")))
        });
        return Ok(());
    }
    Err(Fault::world("host-unfit", format!("this host cannot run servers: {}", missing.join("; ")))
        .hint("`afresh doctor` says more")
        .again(false))
}

/// Something was declared here once.
fn has_fleet(layout: &Layout) -> bool {
    std::fs::read_dir(layout.groups()).is_ok_and(|mut groups| groups.next().is_some())
}
