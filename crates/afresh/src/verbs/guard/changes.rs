//! Changes that are shown, made, and noted in an incident: what every containing verb does.

use super::session::{self, Session, Tally};
use super::settings;
use super::target::{Account, Examined, Target, planned};
use super::waivers::now_s;
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::show;
use aws_scan::Single;
use contain::{Containment, Incidents, Place, Planned};
use guard::contain::NoPlan;
use guard::incident::Event;
use guard::rules::Facts;
use guard::{Finding, Severity, show_day};
use model::Fault;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One change that is shown before it is made.
pub(super) struct Change {
    pub(super) planned: Result<Planned, NoPlan>,
    finding: Option<Finding>,
    facts: Facts,
    why: String,
    target: Option<Target>,
    /// Of an account's switch: what it covers, for the incident.
    covered: Vec<(Severity, Facts, Finding)>,
}

impl Change {
    pub(super) fn of_aws(single: &Single, examined: &Examined) -> Change {
        let plan = examined.plan.clone();
        let planned = plan.and_then(|plan| {
            of_aws(&plan, single.account(), &examined.target.region).ok_or_else(|| NoPlan::NoSwitch(examined.target.id.clone()))
        });
        let finding = examined.finding();
        let (facts, why) = (examined.facts(), finding.why.clone());
        Change { planned, finding: Some(finding), facts, why, target: Some(examined.target.clone()), covered: Vec::new() }
    }

    pub(super) fn of_account(planned: Planned, examined: &[Examined]) -> Change {
        let is_covered = |e: &&Examined| planned.covers.contains(&(e.target.kind.clone(), e.target.id.clone()));
        let mut covered: Vec<_> = examined.iter().filter(is_covered).map(|e| (e.finding().severity, e.facts(), e.finding())).collect();
        covered.sort_by_key(|(severity, ..)| std::cmp::Reverse(*severity));
        let (finding, facts) = match covered.first() {
            Some((_, facts, finding)) => (Some(finding.clone()), facts.clone()),
            None => (None, Facts { kind: "account".into(), id: planned.plan.id.clone(), attributes: BTreeMap::new() }),
        };
        let why = format!("{} of the account are public", show::times(covered.len() as u64, "resource"));
        Change { planned: Ok(planned), finding, facts, why, target: None, covered }
    }

    pub(super) fn of_host(kind: &str, id: &str, planned: Result<Planned, NoPlan>, finding: Option<&Finding>, why: String) -> Change {
        let attributes = BTreeMap::from([("verdict".to_string(), json!("public")), ("via".to_string(), json!(finding.map(|f| &f.via)))]);
        let facts = Facts { kind: kind.to_string(), id: id.to_string(), attributes };
        Change { planned, finding: finding.cloned(), facts, why, target: None, covered: Vec::new() }
    }

    fn severity(&self) -> Severity {
        self.finding.as_ref().map_or(Severity::Medium, |f| f.severity)
    }
}

/// What an interrupted run left, and this one will finish.
pub(super) fn show_pending(pending: &[Containment], is_json: bool) {
    for containment in pending {
        let plan = &containment.planned.plan;
        let text = format!("{} of {} {} was interrupted and will be finished", settings::setting(&plan.setting), plan.kind, plan.id);
        if is_json {
            show::json(&json!({"type": plan.kind, "id": plan.id, "result": "pending", "containment": containment.id, "text": text}));
        } else {
            show::line(format!("{} {}", containment.id, show::safe_line(&text)));
        }
    }
}

/// Before anything is asked.
pub(super) fn show_changes(changes: &[Change], is_json: bool, is_dry: bool) {
    for change in changes {
        match &change.planned {
            Ok(planned) if is_json => {
                // The line of what came of it has the same; a dry run has no other.
                if is_dry {
                    let plan = &planned.plan;
                    show::json(
                        &json!({"type": plan.kind, "id": plan.id, "result": "planned", "setting": plan.setting, "before": plan.before,
                        "after": plan.after, "command": planned.contain_command, "undo_command": planned.undo_command, "cut_off": plan.cut_off}),
                    );
                }
            }
            Ok(planned) => {
                show::line(format!("{} {}", planned.plan.kind, show::paint(show::BOLD, show::safe_line(&planned.plan.id))));
                describe(planned).iter().for_each(|line| show::line(format!("    {}", show::safe_line(line))));
            }
            Err(no_plan) if is_json => {
                show::json(
                    &json!({"type": change.facts.kind, "id": change.facts.id, "result": no_result(no_plan), "text": no_plan.to_string()}),
                );
            }
            Err(no_plan) => show::line(show::safe_line(&no_plan.to_string())),
        }
    }
}

fn no_result(no_plan: &NoPlan) -> &'static str {
    match no_plan {
        NoPlan::NotPublic(_) => "not_public",
        NoPlan::CannotTell { .. } => "unknown",
        NoPlan::NotReversible { .. } | NoPlan::NoSwitch(_) => "no_plan",
        NoPlan::Waived(_) => "waived",
    }
}

/// Opens the incident, makes every change, and adds what came of it to the record.
pub(super) fn carry_out(
    session: &Session,
    account: Option<&Account>,
    changes: Vec<Change>,
    incident: Option<String>,
    tally: &mut Tally,
) -> Result<Option<String>, Fault> {
    changes.iter().filter_map(|change| change.planned.as_ref().err()).for_each(|none| tally.count(none));
    let changes: Vec<Change> = changes.into_iter().filter(|c| c.planned.is_ok()).collect();
    let incident = if changes.is_empty() { None } else { Some(first_seen(session, &changes, incident)?) };
    let (mut touched, mut covered) = (Vec::new(), Vec::new());
    for change in changes {
        let Ok(mut planned) = change.planned else { continue };
        if touched.contains(&planned.plan.setting)
            && let (Some(account), Some(target)) = (account, &change.target)
        {
            // An earlier change of this run was of the same setting: what is planned is planned on what is there now.
            match again(session, account, target)? {
                Ok(fresh) => planned = fresh,
                Err(NoPlan::NotPublic(_)) => {
                    covered.push(format!("{}{} {}", session::COVERED, planned.plan.kind, planned.plan.id));
                    let (kind, id) = (&planned.plan.kind, show::safe_line(&planned.plan.id));
                    show::note(format!("{kind} {id} is not public any more: an earlier change of this run covers it"));
                    continue;
                }
                Err(no_plan) => {
                    tally.count(&no_plan);
                    show::note(show::safe_line(&no_plan.to_string()));
                    continue;
                }
            }
        }
        touched.push(planned.plan.setting.clone());
        planned.incident.clone_from(&incident);
        session.contain(planned, tally)?;
    }
    if let Some(id) = &incident
        && !covered.is_empty()
    {
        let notes = covered.into_iter().map(|text| Event::Note { text }).collect();
        Incidents::new(&session.journal).append(id, notes, session.by_name(), now_s())?;
    }
    session.note_incidents()?;
    Ok(incident)
}

fn again(session: &Session, account: &Account, target: &Target) -> Result<Result<Planned, NoPlan>, Fault> {
    let single = session.single()?;
    let examined = account.examine(single, target)?;
    let planned = |plan| of_aws(&plan, single.account(), &target.region).ok_or_else(|| NoPlan::NoSwitch(target.id.clone()));
    Ok(examined.plan.and_then(planned))
}

/// The worst exposure is what the incident is about; the others are noted in it.
fn first_seen(session: &Session, changes: &[Change], incident: Option<String>) -> Result<String, Fault> {
    let mut all: Vec<(Severity, &Facts, String, String)> = Vec::new();
    for change in changes {
        if change.covered.is_empty() {
            let print = change.finding.as_ref().map_or(String::new(), |f| f.fingerprint.clone());
            all.push((change.severity(), &change.facts, print, change.why.clone()));
        }
        all.extend(change.covered.iter().map(|(severity, facts, f)| (*severity, facts, f.fingerprint.clone(), f.why.clone())));
    }
    all.sort_by_key(|(severity, ..)| std::cmp::Reverse(*severity));
    let incidents = Incidents::new(&session.journal);
    let (id, others) = match (incident, all.first()) {
        (Some(id), _) => (id, &all[..]),
        (None, Some((_, facts, print, why))) => {
            let opened = incidents.open(&show_day(now_s()), facts, (print, why), session.by_name(), now_s())?;
            (opened.id, &all[1..])
        }
        (None, None) => return Err(Fault::ours("bad-incident", "an incident is about something exposed")),
    };
    let notes = others.iter().map(|(_, facts, print, why)| Event::Exposed {
        kind: facts.kind.clone(),
        resource: facts.id.clone(),
        fingerprint: print.clone(),
        why: why.clone(),
    });
    incidents.append(&id, notes.collect(), session.by_name(), now_s())?;
    Ok(id)
}

/// The last line and the exit code.
pub(super) fn end(context: &Context, tally: &Tally, incident: Option<&str>, rest: Value) -> Exit {
    let code = exit::of_guard(if tally.failed > 0 { 1 } else { u8::from(tally.unknown > 0) * 2 });
    if context.json {
        let mut last = serde_json::Map::new();
        for (name, count) in
            [("contained", tally.contained), ("undone", tally.undone), ("failed", tally.failed), ("unknown", tally.unknown)]
        {
            last.insert(name.into(), count.into());
        }
        last.insert("incident".into(), json!(incident));
        last.extend(rest.as_object().cloned().unwrap_or_default());
        show::json(&last);
        return code;
    }
    let took = rest["seconds"]
        .as_f64()
        .map(|s| format!(" in {s:.1} s, of which the scan took {:.1} s", rest["scan_seconds"].as_f64().unwrap_or(0.0)));
    let counts = format!("{} contained, {} undone, {} failed, {} unknown", tally.contained, tally.undone, tally.failed, tally.unknown);
    show::line(format!("{counts}{}", took.unwrap_or_default()));
    if let Some(incident) = incident {
        show::line(format!("incident {incident}: afresh guard incident show {incident}"));
    }
    code
}

/// What one plan looks like to whoever is asked.
fn describe(planned: &Planned) -> Vec<String> {
    let plan = &planned.plan;
    let mut lines = vec![
        format!("{}: {} -> {}", settings::setting(&plan.setting), settings::state(&plan.before), settings::state(&plan.after)),
        format!("command: {}", planned.contain_command),
    ];
    const MOST: usize = 12;
    lines.extend(plan.cut_off.iter().take(MOST).map(|who| format!("cuts off: {who}")));
    if plan.cut_off.len() > MOST {
        lines.push(format!("cuts off: {} more; --json has all of them", plan.cut_off.len() - MOST));
    }
    lines
}

/// A plan of AWS as it is written to the journal.
fn of_aws(plan: &guard::contain::Plan, account: &str, region: &str) -> Option<Planned> {
    let at = Place::Aws { account: account.to_string(), region: region.to_string() };
    planned(plan, at, vec![(plan.kind.clone(), plan.id.clone())], None)
}
