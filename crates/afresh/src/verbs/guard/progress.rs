//! What the record of an incident says of its containments: made, undone, verified, and what does not exist any more.

use super::session::Session;
use super::settings;
use super::waivers::now_s;
use contain::{Containment, Incidents, Standing};
use guard::Verdict;
use guard::incident::{Event, Incident};
use model::Fault;
use std::collections::BTreeSet;

/// More than these are counted, and named in the record of the containment alone.
const NAMED_MAX: usize = 50;

/// Brings the records up to what the journals say, also where a run was killed between the two. `asked`: one that the run is about.
pub(super) fn note_incidents(session: &Session, asked: Option<&str>) -> Result<(), Fault> {
    let all = session.journal.all()?;
    let ids: BTreeSet<&str> = all.iter().filter_map(|c| c.planned.incident.as_deref()).chain(asked).collect();
    for id in ids {
        let incident = match Incidents::read(session.journal.root(), id) {
            Err(fault) if fault.code == "no-such-incident" && asked != Some(id) => continue,
            other => other?,
        };
        if incident.is_closed() {
            continue;
        }
        let own: Vec<&Containment> = all.iter().filter(|c| c.planned.incident.as_deref() == Some(id)).collect();
        let mut events: Vec<Event> = own.iter().flat_map(|containment| changes(&incident, containment)).collect();
        let is_undone = events.iter().any(|e| matches!(e, Event::Undone { .. }));
        if is_undone || !incident.is_verified() {
            events.extend(gone(session, &incident, &own));
            let is_settled = |(kind, id): (&str, &str)| {
                let is_new = |e: &Event| matches!(e, Event::Gone { kind: k, resource } if k == kind && resource == id);
                incident.is_gone(kind, id) || events.iter().any(is_new) || is_covered(&incident, &own, (kind, id))
            };
            if own.iter().all(|c| !c.standing.is_open()) && incident.resources().into_iter().all(is_settled) {
                events.extend(still(&incident, &events, &own));
                events.push(Event::Verified { verdict: Verdict::NotPublic });
            }
        }
        if !events.is_empty() {
            Incidents::new(&session.journal).append(id, events, session.by_name(), now_s())?;
        }
    }
    Ok(())
}

/// What came of a containment and is not in the record yet.
fn changes(incident: &Incident, containment: &Containment) -> Vec<Event> {
    let has = |text: &str| {
        let is = |e: &Event| matches!(e, Event::Contained { change: t } | Event::Undone { change: t } if t.starts_with(text));
        incident.entries().iter().any(|e| is(&e.event))
    };
    let plan = &containment.planned.plan;
    let was = containment.entries().iter().any(|e| matches!(e.event, contain::Event::Contained));
    let mut events = Vec::new();
    if was && !has(&format!("{}:", containment.id)) {
        let (setting, after) = (settings::setting(&plan.setting), settings::state(&plan.after));
        events.push(Event::Contained { change: format!("{}: {setting} of {} {} set to {after}", containment.id, plan.kind, plan.id) });
    }
    let undone = format!("undone {}:", containment.id);
    if was && containment.standing == Standing::UNDONE && !has(&undone) {
        let why = containment.entries().iter().rev().find_map(|e| match &e.event {
            contain::Event::Undoing { owner, reason, opens } => Some(format!("by {owner}: {reason}{}", opened(opens))),
            _ => None,
        });
        events.push(Event::Undone { change: format!("{undone} {}", why.unwrap_or_default()) });
    }
    events
}

/// What closes the resources though another containment was undone since: an undo ends what the record says was contained.
fn still(incident: &Incident, events: &[Event], own: &[&Containment]) -> Option<Event> {
    let is = |e: &Event| matches!(e, Event::Contained { .. });
    let is_since = match events.iter().rposition(|e| matches!(e, Event::Undone { .. })) {
        Some(at) => events[at..].iter().any(is),
        None => incident.is_contained() || events.iter().any(is),
    };
    let in_force: Vec<&str> = own.iter().filter(|c| c.standing == Standing::CONTAINED).map(|c| c.id.as_str()).collect();
    (!is_since && !in_force.is_empty()).then(|| Event::Contained { change: format!("still by {}", in_force.join(", ")) })
}

fn opened(opens: &[(String, String)]) -> String {
    let named: Vec<String> = opens.iter().take(NAMED_MAX).map(|(kind, id)| format!("{kind} {id}")).collect();
    let more = opens.len().saturating_sub(NAMED_MAX);
    match (named.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!("; public again: {}", named.join(", ")),
        (false, more) => format!("; public again: {} and {more} more", named.join(", ")),
    }
}

/// Resources that nothing closes, and that do not exist any more. What cannot be asked stays open.
fn gone(session: &Session, incident: &Incident, own: &[&Containment]) -> Vec<Event> {
    let left = incident.resources().into_iter().filter(|of| !incident.is_gone(of.0, of.1) && !is_covered(incident, own, *of));
    let is_gone = |(kind, id): &(&str, &str)| {
        let of = own.iter().find(|c| c.planned.covers.iter().any(|(k, i)| k == kind && i == id));
        of.is_some_and(|c| {
            let setting = &c.planned.plan.setting;
            session.within(&c.planned.at, setting, |world, _| world.is_gone(setting, (kind, id))).unwrap_or(false)
        })
    };
    left.filter(is_gone).map(|(kind, id)| Event::Gone { kind: kind.into(), resource: id.into() }).collect()
}

/// Whether a containment that is in force closes the resource.
fn is_covered(incident: &Incident, own: &[&Containment], (kind, id): (&str, &str)) -> bool {
    let is_in_force = |of: &str| own.iter().any(|c| c.id == of && c.standing == Standing::CONTAINED);
    let is_closed_too = |e: &Event| match e {
        Event::Covered { kind: k, resource, containment } => k == kind && resource == id && is_in_force(containment),
        _ => false,
    };
    own.iter().any(|c| c.standing == Standing::CONTAINED && c.planned.covers.iter().any(|(k, i)| k == kind && i == id))
        || incident.entries().iter().any(|e| is_closed_too(&e.event))
}
