//! One run that changes something: the journal with its lock, what an interrupted run left, and what is shown of each change.

use super::connection::{StateDir, by};
use super::host_target;
use super::reach::{Pending, reached};
use super::settings;
use super::target::Connected;
use super::waivers::now_s;
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::show;
use contain::{Aws, By, Containment, Firewall, Host, Journal, Outcome, Place, Planned, Standing, Undo, World};
use guard::Verdict;
use guard::contain::{NoPlan, Setting};
use model::Fault;
use serde_json::json;
use std::path::Path;

pub(super) struct Session<'a> {
    pub(super) journal: Journal,
    connected: Option<&'a Connected<'a>>,
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
    /// What does not exist any more.
    pub(super) gone: u64,
}

impl Tally {
    /// Counts what nothing is planned for.
    pub(super) fn count(&mut self, none: &NoPlan) {
        match none {
            NoPlan::NotPublic(_) => {}
            NoPlan::CannotTell { .. } => self.unknown += 1,
            NoPlan::NotReversible { .. } | NoPlan::NoSwitch(_) | NoPlan::OfSeveralRegions(_) | NoPlan::Waived(_) => self.failed += 1,
        }
    }

    pub(super) fn exit(&self) -> Exit {
        exit::of_guard(if self.failed > 0 { 1 } else { u8::from(self.unknown > 0) * 2 })
    }
}

impl<'a> Session<'a> {
    /// `connected`: none where nothing of AWS is changed.
    pub(super) fn open(state: &StateDir, context: &Context, connected: Option<&'a Connected<'a>>) -> Result<Session<'a>, Fault> {
        let journal = Journal::open(&state.for_writing(context)?)?;
        Ok(Session { journal, connected, by: by(), is_json: context.json })
    }

    /// What an interrupted run left.
    pub(super) fn pending(state: &StateDir, context: &Context) -> Result<Vec<Containment>, Fault> {
        Ok(Journal::list(&state.path(context))?.into_iter().filter(|c| c.standing.is_open()).collect())
    }

    pub(super) fn connected(&self) -> Option<&'a Connected<'a>> {
        self.connected
    }

    pub(super) fn is_json(&self) -> bool {
        self.is_json
    }

    pub(super) fn by_name(&self) -> &str {
        &self.by
    }

    /// The world that a setting is in.
    pub(super) fn within<T>(
        &self,
        at: &Place,
        setting: &Setting,
        act: impl FnOnce(&dyn World, &By) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let by = By { name: &self.by, now_s: &now_s };
        match at {
            Place::Aws { region, .. } => {
                let connected = reached(self.connected, at)?;
                let single = connected.single.in_region(region);
                act(&Aws { client: connected.client, single, is_patient: connected.is_patient }, &by)
            }
            Place::Host { .. } if matches!(setting, Setting::FirewallDrop { .. }) => act(&Firewall, &by),
            Place::Host { root } => {
                let root = Path::new(root);
                act(&Host::new(root, &|path: &str| host_target::judge(root, path))?, &by)
            }
        }
    }

    /// Goes on with what an interrupted run left, if it was shown before. `is_now`: nobody was asked, so that all of it is.
    pub(super) fn resume(&self, shown: &[Containment], is_now: bool, tally: &mut Tally) -> Result<(), Fault> {
        for mut containment in Pending::of(&self.journal.all()?, self.connected).here {
            if !is_now && !shown.iter().any(|c| c.id == containment.id) {
                tally.unknown += 1;
                show::note(format!("{} was interrupted since the question: the next run finishes it", containment.id));
                continue;
            }
            let done = self.carry_on(&mut containment);
            self.tell(&containment, done, tally);
        }
        Ok(())
    }

    fn carry_on(&self, containment: &mut Containment) -> Result<Outcome, Fault> {
        let planned = containment.planned.clone();
        self.within(&planned.at, &planned.plan.setting, |world, by| contain::carry_on(&self.journal, world, containment, by))
    }

    /// Records the plan and carries it out. Gives the identifier of the containment.
    pub(super) fn contain(&self, planned: Planned, tally: &mut Tally) -> Result<String, Fault> {
        let mut containment = self.journal.begin(planned, &self.by, now_s())?;
        let done = self.carry_on(&mut containment);
        self.tell(&containment, done, tally);
        Ok(containment.id)
    }

    pub(super) fn undo(&self, containment: &mut Containment, undo: &Undo, tally: &mut Tally) -> Result<(), Fault> {
        let planned = containment.planned.clone();
        let done = self.within(&planned.at, &planned.plan.setting, |world, by| {
            match contain::begin_undo(&self.journal, world, containment, undo, by)? {
                Some(outcome) => Ok(outcome),
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
            Ok(Outcome::Gone) => {
                tally.gone += 1;
                let (kind, id) = plan.setting.resource().unwrap_or((&plan.kind, &plan.id));
                ("gone", format!("{kind} {id} does not exist any more: nothing is left to change"))
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
            let opens = containment.entries().iter().rev().find_map(|e| match &e.event {
                contain::Event::Undoing { opens, .. } => {
                    Some(opens.iter().map(|(kind, id)| json!({"type": kind, "id": id})).collect::<Vec<_>>())
                }
                _ => None,
            });
            show::json(&json!({"type": plan.kind, "id": plan.id, "result": result, "containment": containment.id, "setting": plan.setting,
                "before": plan.before, "after": plan.after, "command": containment.planned.contain_command,
                "undo_command": containment.planned.undo_command, "cut_off": plan.cut_off,
                "opens": opens, "not_restored": plan.setting.not_restored(), "text": text}));
            return;
        }
        let style = if matches!(result, "contained" | "undone" | "gone") { show::GREEN } else { show::RED };
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
}
