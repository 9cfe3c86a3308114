//! One run that changes something: the journal with its lock, what an interrupted run left, and what is shown of each change.

use super::connection::{Connection, StateDir, by};
use super::host_target;
use super::settings;
use super::target::Account;
use super::waivers::now_s;
use crate::context::Context;
use crate::show;
use aws_scan::Single;
use contain::{Aws, By, Containment, Firewall, Host, Incidents, Journal, Outcome, Place, Planned, Standing, World};
use guard::Verdict;
use guard::contain::{NoPlan, Setting};
use guard::incident::{Event, Incident};
use model::Fault;
use serde_json::json;
use std::path::Path;

pub(super) struct Session<'a> {
    pub(super) journal: Journal,
    account: Option<&'a Account>,
    single: Option<Single<'a>>,
    by: String,
    is_json: bool,
}

/// What a run came to, for its exit code and its last line.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) contained: u64,
    pub(super) undone: u64,
    /// What is still exposed, or was changed by somebody else.
    pub(super) failed: u64,
    pub(super) unknown: u64,
}

impl Tally {
    /// Counts what nothing is planned for.
    pub(super) fn count(&mut self, none: &NoPlan) {
        match none {
            NoPlan::NotPublic(_) => {}
            NoPlan::CannotTell { .. } => self.unknown += 1,
            NoPlan::NotReversible { .. } | NoPlan::NoSwitch(_) | NoPlan::Waived(_) => self.failed += 1,
        }
    }
}

impl<'a> Session<'a> {
    /// `account`: none where nothing of AWS is changed.
    pub(super) fn open(state: &StateDir, context: &Context, account: Option<&'a Account>) -> Result<Session<'a>, Fault> {
        let journal = Journal::open(&state.for_writing(context)?)?;
        let single = account.map(Account::single).transpose()?;
        Ok(Session { journal, account, single, by: by(), is_json: context.json })
    }

    /// What an interrupted run left.
    pub(super) fn pending(state: &StateDir, context: &Context) -> Result<Vec<Containment>, Fault> {
        Ok(Journal::list(&state.path(context))?.into_iter().filter(|c| c.standing.is_open()).collect())
    }

    /// Connects only if something of AWS is to be done.
    pub(super) fn account_of(connection: &Connection, all: &[Containment]) -> Result<Option<Account>, Fault> {
        let is_of_aws = all.iter().any(|c| matches!(c.planned.at, Place::Aws { .. }));
        is_of_aws.then(|| Account::new(connection)).transpose()
    }

    pub(super) fn single(&self) -> Result<&Single<'a>, Fault> {
        self.single.as_ref().ok_or_else(|| Fault::ours("bad-journal", "the run is connected to no account"))
    }

    pub(super) fn by_name(&self) -> &str {
        &self.by
    }

    /// The world that a setting is in.
    fn within<T>(&self, at: &Place, setting: &Setting, act: impl FnOnce(&dyn World, &By) -> Result<T, Fault>) -> Result<T, Fault> {
        let by = By { name: &self.by, now_s: &now_s };
        match at {
            Place::Aws { account, region } => {
                let (Some(of), Some(single)) = (self.account, &self.single) else { return Err(other_account(account, "none")) };
                if single.account() != account {
                    return Err(other_account(account, single.account()));
                }
                act(&Aws { client: &of.client, single: single.in_region(region), is_patient: of.is_patient }, &by)
            }
            Place::Host { .. } if matches!(setting, Setting::FirewallDrop { .. }) => act(&Firewall, &by),
            Place::Host { root } => {
                let root = Path::new(root);
                act(&Host::new(root, &|path: &str| host_target::judge(root, path))?, &by)
            }
        }
    }

    /// Goes on with what an interrupted run left. What belongs to another account is named and left.
    pub(super) fn resume(&self, tally: &mut Tally) -> Result<(), Fault> {
        for mut containment in self.journal.all()?.into_iter().filter(|c| c.standing.is_open()) {
            let planned = containment.planned.clone();
            let done =
                self.within(&planned.at, &planned.plan.setting, |world, by| contain::carry_on(&self.journal, world, &mut containment, by));
            match done {
                Err(fault) if fault.code == "other-account" => {
                    show::note(show::safe_line(&format!("{} was interrupted and is not finished: {fault}", containment.id)));
                }
                other => self.tell(&containment, other, tally),
            }
        }
        Ok(())
    }

    /// Records the plan and carries it out.
    pub(super) fn contain(&self, planned: Planned, tally: &mut Tally) -> Result<(), Fault> {
        let mut containment = self.journal.begin(planned, &self.by, now_s())?;
        let planned = containment.planned.clone();
        let done =
            self.within(&planned.at, &planned.plan.setting, |world, by| contain::carry_on(&self.journal, world, &mut containment, by));
        self.tell(&containment, done, tally);
        Ok(())
    }

    pub(super) fn undo(&self, containment: &mut Containment, owner: &str, reason: &str, tally: &mut Tally) -> Result<(), Fault> {
        let planned = containment.planned.clone();
        let done = self.within(&planned.at, &planned.plan.setting, |world, by| {
            let seen = contain::begin_undo(&self.journal, world, containment, (owner, reason), by)?;
            match seen {
                Some(seen) => Ok(Outcome::Conflict(seen)),
                None => contain::carry_on(&self.journal, world, containment, by),
            }
        });
        match done {
            Err(fault) if matches!(fault.code.as_str(), "other-account" | "bad-containment") => Err(fault),
            other => {
                self.tell(containment, other, tally);
                Ok(())
            }
        }
    }

    /// Shows what came of one containment, and counts it.
    fn tell(&self, containment: &Containment, done: Result<Outcome, Fault>, tally: &mut Tally) {
        let plan = &containment.planned.plan;
        let (result, text) = match &done {
            Ok(Outcome::Contained) => {
                tally.contained += 1;
                ("contained", format!("undo: afresh guard undo {} --owner WHO --reason TEXT", containment.id))
            }
            Ok(Outcome::Undone) => {
                tally.undone += 1;
                ("undone", format!("the {} is {} again", settings::setting(&plan.setting), settings::state(&plan.before)))
            }
            Ok(Outcome::Conflict(seen)) => {
                tally.failed += 1;
                let what = format!("somebody else changed the {}", settings::setting(&plan.setting));
                ("conflict", format!("{what}: it is {}, and was left so{}", settings::state(seen), self.later(containment)))
            }
            Ok(Outcome::NotVerified { id, judged }) => {
                tally.failed += u64::from(judged.verdict == Verdict::Public);
                tally.unknown += u64::from(judged.verdict != Verdict::Public);
                let why = match judged.verdict {
                    Verdict::Public => format!("{id} is public still"),
                    _ => format!("cannot tell whether {id} is public: could not read {}", judged.missing),
                };
                ("not_verified", format!("the change was made and is not proved to have helped: {why}"))
            }
            Err(fault) => {
                tally.failed += 1;
                let hint = fault.hint.as_ref().map(|h| format!("; {h}")).unwrap_or_default();
                ("failed", format!("{}{hint}", fault.message))
            }
        };
        if self.is_json {
            show::json(&json!({"type": plan.kind, "id": plan.id, "result": result, "containment": containment.id, "setting": plan.setting,
                "before": plan.before, "after": plan.after, "command": containment.planned.contain_command,
                "undo_command": containment.planned.undo_command, "cut_off": plan.cut_off, "text": text}));
            return;
        }
        let style = if matches!(result, "contained" | "undone") { show::GREEN } else { show::RED };
        show::line(format!(
            "{}  {} {}  {}",
            show::paint(style, format!("{result:<12}")),
            plan.kind,
            show::safe_line(&plan.id),
            containment.id
        ));
        show::line(format!("              {}", show::safe_line(&text)));
    }

    /// Another containment that changed the same setting since, if it is that.
    fn later(&self, containment: &Containment) -> String {
        let all = self.journal.all().unwrap_or_default();
        let is_later = |c: &&Containment| {
            c.id != containment.id
                && c.standing == Standing::CONTAINED
                && c.planned.at == containment.planned.at
                && c.planned.plan.setting == containment.planned.plan.setting
                && c.planned.plan.before.is(&containment.planned.plan.after)
        };
        all.iter().find(is_later).map_or(String::new(), |c| format!("; undo {} first, which changed it since", c.id))
    }

    /// Brings the records of incidents up to what the journals say, also where a run was killed between the two.
    pub(super) fn note_incidents(&self) -> Result<(), Fault> {
        let all = self.journal.all()?;
        let mut ids: Vec<&str> = all.iter().filter_map(|c| c.planned.incident.as_deref()).collect();
        ids.sort_unstable();
        ids.dedup();
        let incidents = Incidents::new(&self.journal);
        for id in ids {
            let incident = match Incidents::read(self.journal.root(), id) {
                Err(fault) if fault.code == "no-such-incident" => continue,
                other => other?,
            };
            if incident.is_closed() {
                continue;
            }
            let has = |text: &str| {
                let is = |e: &Event| matches!(e, Event::Contained { change: t } | Event::Undone { change: t } if t.starts_with(text));
                incident.entries().iter().any(|e| is(&e.event))
            };
            let own: Vec<&Containment> = all.iter().filter(|c| c.planned.incident.as_deref() == Some(id)).collect();
            let mut events = Vec::new();
            for containment in &own {
                let plan = &containment.planned.plan;
                let change = format!("{}: {} of {} {}", containment.id, settings::setting(&plan.setting), plan.kind, plan.id);
                let was = containment.entries().iter().any(|e| matches!(e.event, contain::Event::Contained));
                if was && !has(&format!("{}:", containment.id)) {
                    events.push(Event::Contained { change: format!("{change} set to {}", settings::state(&plan.after)) });
                }
                let undone = format!("undone {}:", containment.id);
                if containment.standing == Standing::UNDONE && was && !has(&undone) {
                    let why = containment.entries().iter().find_map(|e| match &e.event {
                        contain::Event::Undoing { owner, reason } => Some(format!("by {owner}: {reason}")),
                        _ => None,
                    });
                    events.push(Event::Undone { change: format!("{undone} {}", why.unwrap_or_default()) });
                }
            }
            let is_undone = events.iter().any(|e| matches!(e, Event::Undone { .. }));
            if !is_undone && !incident.is_verified() && is_contained(&incident, &own) {
                events.push(Event::Verified { verdict: Verdict::NotPublic });
            }
            if !events.is_empty() {
                incidents.append(id, events, &self.by, now_s())?;
            }
        }
        Ok(())
    }
}

fn other_account(needed: &str, have: &str) -> Fault {
    let text = format!("it was made in account {needed}, and these credentials are of account {have}");
    Fault::yours("other-account", text).hint("use the credentials of that account: --profile NAME")
}

/// Begins the note that an earlier change of the same run covers a resource.
pub(super) const COVERED: &str = "covered by an earlier change: ";

/// Whether a containment that is in force covers each resource of the incident.
fn is_contained(incident: &Incident, own: &[&Containment]) -> bool {
    let in_force: Vec<&&Containment> = own.iter().filter(|c| c.standing == Standing::CONTAINED).collect();
    let is_covered = |(kind, id): (&str, &str)| {
        let note = format!("{COVERED}{kind} {id}");
        in_force.iter().any(|c| c.planned.covers.iter().any(|(k, i)| k == kind && i == id))
            || incident.entries().iter().any(|e| matches!(&e.event, Event::Note { text } if *text == note))
    };
    !in_force.is_empty() && own.iter().all(|c| !c.standing.is_open()) && incident.resources().into_iter().all(is_covered)
}
