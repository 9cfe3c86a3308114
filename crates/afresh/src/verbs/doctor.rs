//! `doctor`: what this host can do and what is missing; and the part of it that `up` requires.

use crate::confirm::confirmed;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use clap::Args;
use host::{Finding, Lack};
use model::{Fault, Layout};

/// Check what this host lacks to run servers and bake images
#[derive(Args, Debug)]
#[command(
    after_help = "It looks at this machine alone: kernel, limits, runtime, network, firewalls, disk, clock, and the age of the last backup. Exits with 7 if something is \
                  missing without which no server runs; what is only advised does not count.\n\n--fix shows the commands that mend what it found, asks, and runs them \
                  one after the other. They install packages, load modules, set sysctls (kept in /etc/sysctl.d/60-afresh.conf) and add rules that let \
                  servers pass; none removes anything.\n\nExample:\n  sudo afresh doctor\n  sudo afresh doctor --fix"
)]
pub struct Doctor {
    /// Run the commands that mend what was found, after asking
    #[arg(long)]
    pub fix: bool,
    /// Do not ask for confirmation
    #[arg(short, long, requires = "fix")]
    pub yes: bool,
}

/// Needed to bake, not to run what is baked.
const ONLY_TO_BAKE: &[&str] = &["mkfs.erofs"];
/// Where nobody says how often backups are made.
const BACKUP_MAX_AGE_MS: u64 = 8 * 24 * 3_600_000;

impl Doctor {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        crate::processes::let_servers_pass();
        let findings = examine(&context.layout);
        if context.json && !self.fix {
            show::json(&findings);
            return Ok(exit_of(&findings));
        }
        print(&findings);
        let mut lines: Vec<&String> = findings.iter().filter(|f| !f.ok).flat_map(|f| &f.fix).collect();
        lines.dedup();
        if !self.fix {
            if !lines.is_empty() {
                show::note(format!("`afresh doctor --fix` mends {} of this, after asking", show::times(lines.len() as u64, "part")));
            }
            return Ok(exit_of(&findings));
        }
        if lines.is_empty() {
            show::note("there is nothing that a command of the doctor mends");
            return Ok(exit_of(&findings));
        }
        if !nix::unistd::geteuid().is_root() {
            return Err(not_root().into());
        }
        show::line("\nwould run:");
        lines.iter().for_each(|line| show::line(format!("  {line}")));
        if !confirmed(self.yes, "run these commands")? {
            show::note("nothing was changed");
            return Ok(Exit::Refused);
        }
        let failed = lines.iter().filter(|line| !is_done(line)).count();
        let after = examine(&context.layout);
        show::line("");
        print(&after);
        if failed > 0 {
            show::note(format!("{} failed", show::times(failed as u64, "command")));
            return Ok(Exit::Environment);
        }
        Ok(exit_of(&after))
    }
}

/// The host's own findings, and what only a data directory says.
fn examine(layout: &Layout) -> Vec<Finding> {
    let mut findings = host::doctor(layout);
    findings.push(Finding::of("last backup", last_backup(layout)));
    findings
}

fn last_backup(layout: &Layout) -> Result<String, Lack> {
    let hint = "afresh backup DIR, on another disk; `afresh serve --backup DIR` makes them by itself";
    if !has_fleet(layout) {
        return Ok("nothing runs here yet".to_string());
    }
    let Some(last) = server::last_backup(layout) else { return Err(Lack::advice("no backup of this data directory was ever made", hint)) };
    let (now, path) = (show::now(), last.path.display());
    if !std::fs::metadata(&last.path).is_ok_and(|about| about.len() == last.bytes) {
        return Err(Lack::advice(format!("{path} is not there any more"), hint));
    }
    if last.at > now {
        return Err(Lack::advice(format!("{path} was made {}, after now", show::upkeep::day(last.at)), "set this machine's clock"));
    }
    let found = format!("{}, {path}", show::ago(last.at, now));
    if now.since(last.at) > BACKUP_MAX_AGE_MS { Err(Lack::advice(found, hint)) } else { Ok(found) }
}

fn exit_of(findings: &[Finding]) -> Exit {
    if findings.iter().all(|f| f.ok || f.advice) { Exit::Succeeded } else { Exit::Environment }
}

fn print(findings: &[Finding]) {
    let width = findings.iter().map(|f| f.name.chars().count()).max().unwrap_or(0);
    for f in findings {
        let (style, state) = match (f.ok, f.advice) {
            (true, _) => (show::GREEN, "ok"),
            (false, true) => (show::YELLOW, "advice"),
            (false, false) => (show::RED.bold(), "MISSING"),
        };
        show::line(format!("{} {:<width$}  {}", show::paint(style, format!("{state:<7}")), f.name, f.detail));
        if let Some(hint) = &f.hint {
            show::line(format!("{:8}{:<width$}  do: {hint}", "", ""));
        }
    }
}

fn is_done(line: &str) -> bool {
    show::line(format!("$ {line}"));
    show::flush();
    match std::process::Command::new("sh").arg("-c").arg(line).stdin(std::process::Stdio::null()).status() {
        Ok(status) if status.success() => true,
        Ok(status) => {
            show::note(format!("it failed: {status}"));
            false
        }
        Err(e) => {
            show::note(format!("it was not run: {e}"));
            false
        }
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
        .filter(|f| !f.ok && !f.advice && !ONLY_TO_BAKE.contains(&f.name.as_str()))
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
