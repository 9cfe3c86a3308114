//! `doctor`: what this host can do and what is missing; and the part of it that `up` requires.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use clap::Args;
use model::{Fault, Layout};

/// Check what this host lacks to run servers and bake images
#[derive(Args, Debug)]
#[command(after_help = "It looks at this machine alone. Exits with 7 if something is missing.\n\nExample:\n  sudo afresh doctor")]
pub struct Doctor {}

/// Needed to bake, not to run what is baked.
const ONLY_TO_BAKE: &[&str] = &["mkfs.erofs"];

impl Doctor {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        crate::processes::let_servers_pass();
        let findings = host::doctor(&context.layout);
        if context.json {
            show::json(&findings);
        } else {
            let rows = findings.iter().map(|f| {
                vec![if f.ok { "ok" } else { "MISSING" }.to_string(), f.name.clone(), f.detail.clone(), f.hint.clone().unwrap_or_default()]
            });
            show::line(show::table(&["", "what", "found", "do"], rows.collect()));
        }
        Ok(if findings.iter().all(|f| f.ok) { Exit::Succeeded } else { Exit::Environment })
    }
}

pub fn not_root() -> Fault {
    Fault::world("not-root", "servers, mounts and networks need root").hint("sudo afresh ...").again(false)
}

/// Refuses at once with everything that is missing, rather than failing halfway with one thing. An existing fleet is started all the same, with
/// a warning: what is missing may be needed for the next deploy only, and the servers are needed now.
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
        missing
            .iter()
            .for_each(|what| show::note(format!("{} {what}; starting the fleet all the same", show::paint(show::RED.bold(), "warning:"))));
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
