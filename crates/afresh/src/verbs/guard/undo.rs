//! `guard undo` and `guard contained`: what was changed, and how it is changed back.

use super::changes;
use super::connection::{Connection, StateDir};
use super::exposed;
use super::progress;
use super::reach::{Pending, reached};
use super::session::{Session, Tally};
use super::settings;
use super::target::{Account, Connected};
use crate::confirm::confirmed;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use clap::Args;
use contain::{Containment, Journal, Place, Standing};
use guard::contain::Setting;
use guard::show_s;
use model::Fault;
use serde_json::json;
use std::collections::BTreeSet;

/// Of each bucket, when what an undo opens is searched.
const OBJECTS: usize = 10;

/// Undo a containment: give the setting exactly the value that it had
#[derive(Args, Debug)]
#[command(after_help = "\
It needs an owner and a reason, which are recorded first. The setting is read right before it is written: if somebody else changed it since, it is left as it is, \
and the exit code is 1. A configuration that was not there is deleted again. Several are undone the latest first.
What is public again after it is shown before the question, and recorded. For an account's switch that is everything that a scan of the account without it finds.

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
        let mut chosen = self.chosen(&all)?;
        let is_of_aws = |c: &Containment| !Pending::is_of_host(c);
        let account = chosen.iter().any(is_of_aws).then(|| Account::new(&self.connection)).transpose()?;
        let connected = account.as_ref().map(Account::connect).transpose()?;
        let mut tally = Tally::default();
        self.keep_reached(&mut chosen, connected.as_ref(), &mut tally)?;
        let others: Vec<Containment> = all.iter().filter(|c| !chosen.contains(c)).cloned().collect();
        let pending = Pending::of(&others, connected.as_ref());
        let opens = chosen.iter().map(|c| opened(connected.as_ref(), c)).collect::<Result<Vec<_>, _>>()?;
        if !context.json {
            chosen.iter().zip(&opens).for_each(|(containment, opens)| show_undo(containment, opens));
        }
        pending.show(context.json);
        tally.unknown += pending.unreached();
        let count = chosen.len() + pending.here.len();
        if count > 0 && !confirmed(self.now, &format!("make {}", show::times(count as u64, "change")))? {
            show::note("nothing was changed");
            return Ok(Exit::Succeeded);
        }
        let session = Session::open(&self.state, context, connected.as_ref())?;
        session.resume(&[&pending.here[..], &chosen].concat(), self.now, &mut tally)?;
        // Read again: the run that was interrupted may have been about one of these.
        let mut all = session.journal.all()?;
        let mut done = Ok(());
        for (id, opens) in chosen.iter().map(|c| &c.id).zip(&opens) {
            let Some(containment) = all.iter_mut().find(|c| c.id == *id) else { continue };
            if containment.standing == Standing::UNDONE {
                continue;
            }
            let opens: Vec<(String, String)> = opens.iter().map(|o| (o.kind.clone(), o.id.clone())).collect();
            done = session.undo(containment, &contain::Undo { owner: &self.owner, reason: &reason, opens: &opens }, &mut tally);
            if done.is_err() {
                break;
            }
        }
        progress::note_incidents(&session, None)?;
        done?;
        Ok(changes::end(context, &tally, None, json!({})))
    }

    /// `--all`: what this run is connected to. What was named and cannot be reached is an error.
    fn keep_reached(&self, chosen: &mut Vec<Containment>, connected: Option<&Connected>, tally: &mut Tally) -> Result<(), Fault> {
        let mut kept = Vec::new();
        for containment in chosen.drain(..) {
            let reached = if Pending::is_of_host(&containment) { Ok(()) } else { reached(connected, &containment.planned.at).map(drop) };
            match reached {
                Ok(()) => kept.push(containment),
                Err(fault) if self.all => {
                    tally.unknown += 1;
                    show::note(show::safe_line(&format!("{} is not undone: {fault}", containment.id)));
                }
                Err(fault) => return Err(Fault { message: format!("{}: {}", containment.id, fault.message), ..fault }),
            }
        }
        *chosen = kept;
        Ok(())
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

/// Something that an undo makes public again.
struct Opened {
    kind: String,
    id: String,
    /// In words, for whoever is asked.
    why: String,
}

/// Of an account's switch, everything that it closes by now, and not only what was exposed when it was set.
fn opened(connected: Option<&Connected>, containment: &Containment) -> Result<Vec<Opened>, Fault> {
    let plan = &containment.planned.plan;
    if let (Setting::AccountBlock { .. }, Some(connected)) = (&plan.setting, connected) {
        let found = exposed::opened_by(connected, &plan.before, OBJECTS)?;
        return Ok(found.into_iter().map(|f| Opened { kind: f.kind, id: f.id, why: f.why }).collect());
    }
    let of = |(kind, id): &(String, String)| Opened { kind: kind.clone(), id: id.clone(), why: String::new() };
    Ok(containment.planned.covers.iter().map(of).collect())
}

fn show_undo(containment: &Containment, opens: &[Opened]) {
    let plan = &containment.planned.plan;
    show::line(format!("{} {} {}", containment.id, plan.kind, show::paint(show::BOLD, show::safe_line(&plan.id))));
    let (now, then) = (settings::state(&plan.after), settings::state(&plan.before));
    let mut lines =
        vec![format!("{}: {now} -> {then}", settings::setting(&plan.setting)), format!("command: {}", containment.planned.undo_command)];
    lines.extend(plan.setting.not_restored().iter().map(|what| format!("not restored: {what}")));
    let mark = |of: &Opened| if of.why.is_empty() { String::new() } else { format!(": {}", of.why) };
    lines.extend(opens.iter().map(|of| format!("opens: {} {}{}", of.kind, of.id, mark(of))));
    lines.iter().for_each(|line| show::line(format!("    {}", show::safe_line(line))));
}

/// List containments: what was changed, where, and whether it is in force
#[derive(Args, Debug)]
#[command(after_help = "\
A containment is planned, contained, undoing, undone, superseded (somebody else changed the setting before it was contained), or gone (what it was a setting \
of does not exist any more). \
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
                Place::Aws { account, region, endpoint: None } => format!("{account} {region}"),
                Place::Aws { account, region, endpoint: Some(url) } => format!("{account} {region} {url}"),
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
