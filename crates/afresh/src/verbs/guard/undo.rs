//! `guard undo` and `guard contained`: what was changed, and how it is changed back.

use super::changes;
use super::connection::{Connection, StateDir};
use super::session::{Session, Tally};
use super::settings;
use crate::confirm::confirmed;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use clap::Args;
use contain::{Containment, Journal, Place, Standing};
use guard::show_s;
use model::Fault;
use serde_json::json;
use std::collections::BTreeSet;

/// Undo a containment: give the setting exactly the value that it had
#[derive(Args, Debug)]
#[command(after_help = "\
It needs an owner and a reason, which are recorded first. The setting is read right before it is written: if somebody else changed it since, it is left as it is, \
and the exit code is 1. A configuration that was not there is deleted again. Several are undone the latest first.

Example:
  afresh guard undo c3-0a1b2c3d --owner ann@example.org --reason 'the site is meant to be public, OPS-17'")]
pub struct Undo {
    /// Containments, as `afresh guard contained` lists them
    #[arg(value_name = "CONTAINMENT", required_unless_present = "all")]
    containments: Vec<String>,
    /// Undo every one that is in force
    #[arg(long, conflicts_with = "containments")]
    all: bool,
    /// Who answers for it
    #[arg(long, value_name = "WHO")]
    owner: String,
    /// Do not ask; the record is kept all the same
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    state: StateDir,
}

impl Undo {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let reason = context.reason.clone().unwrap_or_default();
        if reason.trim().is_empty() || self.owner.trim().is_empty() {
            let fault = Fault::yours("bad-containment", "an undo needs an owner and a reason");
            return Err(fault.hint("say why it may be open again: --owner WHO --reason TEXT").into());
        }
        let all = Journal::list(&self.state.path(context))?;
        let chosen = self.chosen(&all)?;
        for containment in chosen.iter().filter(|_| !context.json) {
            let plan = &containment.planned.plan;
            show::line(format!("{} {} {}", containment.id, plan.kind, show::paint(show::BOLD, show::safe_line(&plan.id))));
            let (now, then) = (settings::state(&plan.after), settings::state(&plan.before));
            show::line(show::safe_line(&format!("    {}: {now} -> {then}", settings::setting(&plan.setting))));
            show::line(show::safe_line(&format!("    command: {}", containment.planned.undo_command)));
        }
        let is_pending = |c: &&Containment| c.standing.is_open() && !chosen.contains(c);
        let pending: Vec<Containment> = all.iter().filter(is_pending).cloned().collect();
        changes::show_pending(&pending, context.json);
        let count = chosen.len() + pending.len();
        if !confirmed(self.now, &format!("make {}", show::times(count as u64, "change")))? {
            show::note("nothing was changed");
            return Ok(Exit::Succeeded);
        }
        let account = Session::account_of(&self.connection, &chosen)?;
        let session = Session::open(&self.state, context, account.as_ref())?;
        let mut tally = Tally::default();
        session.resume(&mut tally)?;
        // Read again: the run that was interrupted may have been about one of these.
        let mut all = session.journal.all()?;
        let mut done = Ok(());
        for id in chosen.iter().map(|c| &c.id) {
            let Some(containment) = all.iter_mut().find(|c| c.id == *id) else { continue };
            if containment.standing == Standing::UNDONE {
                continue;
            }
            done = session.undo(containment, &self.owner, &reason, &mut tally);
            if done.is_err() {
                break;
            }
        }
        session.note_incidents()?;
        done?;
        Ok(changes::end(context, &tally, None, json!({})))
    }

    /// The latest first: one may have changed what an earlier one had changed. `all`: the oldest first.
    fn chosen(&self, all: &[Containment]) -> Result<Vec<Containment>, Fault> {
        let mut named = BTreeSet::new();
        for id in &self.containments {
            let is_it = |c: &&Containment| c.id == *id || (id.len() > 1 && c.id.starts_with(&format!("{id}-")));
            let found: Vec<&Containment> = all.iter().filter(is_it).collect();
            let [one] = found[..] else {
                let fault = Fault::yours("bad-containment", format!("there is no containment {:?}", show::safe_line(id)));
                return Err(fault.hint("`afresh guard contained` lists them; --state names another directory"));
            };
            named.insert(one.id.as_str());
        }
        let is_chosen = |c: &&Containment| if self.all { c.standing == Standing::CONTAINED } else { named.contains(c.id.as_str()) };
        let chosen: Vec<Containment> = all.iter().rev().filter(is_chosen).cloned().collect();
        if chosen.is_empty() {
            return Err(Fault::yours("bad-containment", "nothing is contained").hint("`afresh guard contained` lists what was"));
        }
        Ok(chosen)
    }
}

/// List containments: what was changed, where, and whether it is in force
#[derive(Args, Debug)]
#[command(after_help = "\
A containment is planned, contained, undoing, undone, or superseded: somebody else changed the setting before it was contained. \
What is planned or undoing was interrupted, and the next run finishes it.

Example:
  afresh guard contained
  afresh guard contained --json")]
pub struct Contained {
    #[command(flatten)]
    state: StateDir,
}

impl Contained {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let all = Journal::list(&self.state.path(context))?;
        if context.json {
            all.iter().for_each(|c| {
                show::json(&json!({"containment": c.id, "state": c.standing.name(), "at": show_s(c.at_s()), "place": c.planned.at, "type": c.planned.plan.kind,
                    "id": c.planned.plan.id, "setting": c.planned.plan.setting, "before": c.planned.plan.before, "after": c.planned.plan.after,
                    "undo_command": c.planned.undo_command, "incident": c.planned.incident}));
            });
            return Ok(Exit::Succeeded);
        }
        if all.is_empty() {
            show::line("nothing was contained");
            return Ok(Exit::Succeeded);
        }
        let row = |c: &Containment| {
            let place = match &c.planned.at {
                Place::Aws { account, region } => format!("{account} {region}"),
                Place::Host { root } => root.clone(),
            };
            let incident = c.planned.incident.clone().unwrap_or_default();
            vec![c.id.clone(), c.standing.name().into(), show_s(c.at_s()), place, settings::setting(&c.planned.plan.setting), incident]
        };
        let head = ["containment", "state", "planned", "place", "setting", "incident"];
        show::line(show::table(&head, all.iter().map(row).collect()));
        Ok(Exit::Succeeded)
    }
}
