//! Makes what was shown, and notes it in an incident: what every containing verb does under the lock.

use super::again;
use super::changes::{Change, Source};
use super::progress;
use super::session::{Session, Tally};
use super::waivers::now_s;
use crate::show;
use contain::Incidents;
use guard::contain::{NoPlan, Setting};
use guard::incident::Event;
use guard::rules::Facts;
use guard::{Severity, show_day};
use model::Fault;

/// Opens the incident, makes every change, and adds what came of it to the record. `is_now`: nobody was asked about what was shown.
pub(super) fn carry_out(
    session: &Session,
    shown: Vec<Change>,
    incident: Option<String>,
    is_now: bool,
    tally: &mut Tally,
) -> Result<Option<String>, Fault> {
    let (changes, others): (Vec<Change>, Vec<Change>) =
        again::all(session, shown, is_now, tally).into_iter().partition(|c| c.planned.is_ok());
    let asked = incident.clone();
    let incident = if changes.is_empty() { None } else { Some(first_seen(session, &changes, incident)?) };
    let (mut made, mut covered) = (Vec::new(), Vec::new());
    for change in changes {
        let Ok(mut planned) = change.planned else { continue };
        if let Some(earlier) = earlier(&made, &planned.plan.setting)
            && let Source::Aws(target) = &change.source
        {
            // An earlier change of this run was of the same setting: what is planned is planned on what is there now.
            match again::one(session, target)? {
                Ok(fresh) => planned = fresh,
                Err(NoPlan::NotPublic(_)) => {
                    let (kind, resource) = (planned.plan.kind.clone(), planned.plan.id.clone());
                    show::note(show::safe_line(&format!(
                        "{kind} {resource} is not public any more: an earlier change of this run covers it"
                    )));
                    covered.push(Event::Covered { kind, resource, containment: earlier.to_string() });
                    continue;
                }
                Err(no_plan) => {
                    tally.count(&no_plan);
                    show::note(show::safe_line(&no_plan.to_string()));
                    continue;
                }
            }
        }
        planned.incident.clone_from(&incident);
        let setting = planned.plan.setting.clone();
        made.push((setting, session.contain(planned, tally)?));
    }
    for change in others {
        let Err(no_plan) = change.planned else { continue };
        let is_closed = match &change.source {
            Source::Aws(target) if made.iter().any(|(setting, _)| matches!(setting, Setting::AccountBlock { .. })) => {
                matches!(again::one(session, target)?, Err(NoPlan::NotPublic(_)))
            }
            _ => false,
        };
        if !is_closed {
            tally.count(&no_plan);
        }
    }
    if let Some(id) = incident.as_ref().filter(|_| !covered.is_empty()) {
        Incidents::new(&session.journal).append(id, covered, session.by_name(), now_s())?;
    }
    progress::note_incidents(session, asked.as_deref())?;
    Ok(incident)
}

/// The containment of this run that changed a setting, or the one of the account that counts for it as well.
fn earlier<'a>(made: &'a [(Setting, String)], setting: &Setting) -> Option<&'a str> {
    let is_of = |of: &Setting| of == setting || (matches!(of, Setting::AccountBlock { .. }) && setting.bucket().is_some());
    made.iter().rev().find(|(of, _)| is_of(of)).map(|(_, id)| id.as_str())
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
