//! Notes of a plan: what the file would change of the desired state in force, and that it would bring back a release that was rolled
//! back.

use crate::secrets;
use api::control::PlanNote;
use control::Desired;
use journal::Records;
use model::{Event, Fault, Release, RouteAddress, ServiceName, ServiceSpec, Verdict};

/// Rotations that are searched for a rollback, newest first.
const LOOK_BACK: u64 = 50;
/// Longer values are cut off.
const SHOWN: usize = 60;

/// All but [`settings`] and [`inside`]. `release` has the number that it would get.
pub fn of(records: &Records<'_>, desired: &Desired, release: &Release) -> Result<Vec<PlanNote>, Fault> {
    let service = &desired.spec.name;
    let mut notes = Vec::new();
    if let Some(mut note) = rolled_back(records, service, release)? {
        if release.container.is_some() {
            let image = &desired.spec.image;
            note.text += &format!("; a deploy takes the image that was baked last: `afresh bake {image}` pulls what its tag leads to now");
        }
        notes.push(note);
    }
    notes.extend(data_stays(records, service, release)?);
    notes.extend(parks(records, desired)?);
    notes.extend(secrets::changes(records, release)?);
    Ok(notes)
}

/// What it offers inside and did not before, and services that it names in vain. `all` are deployed with it.
pub fn inside(records: &Records<'_>, desired: &Desired, all: &[&Desired]) -> Result<Vec<PlanNote>, Fault> {
    let (service, names) = (&desired.spec.name, records.names()?);
    let note = |text| PlanNote { service: service.clone(), at: None, text };
    let active = |service| Ok::<_, Fault>(records.active(service)?.and_then(|active| internal_port(&active.release)));
    let mut notes = Vec::new();
    let (before, now) = (active(service)?, internal_port(&desired.release));
    if let Some(port) = now.filter(|_| before != now) {
        let name = names.name_of(service);
        notes.push(note(format!("servers of services that allow service.{name} reach it as {name}.internal:{port}")));
    }
    for name in desired.spec.network.services() {
        let is_here = all.iter().any(|other| other.spec.name == *name && internal_port(&other.release).is_some());
        if !is_here && active(name)?.is_none() {
            let name = names.name_of(name);
            notes.push(note(format!("it allows service.{name}, which has no internal route here: nothing is opened until it has")));
        }
    }
    Ok(notes)
}

fn internal_port(release: &Release) -> Option<u16> {
    match release.route.as_ref()?.listen {
        RouteAddress::Internal(port) => Some(port),
        RouteAddress::Edge(_) => None,
    }
}

/// The settings in force that the file changes.
pub fn settings(records: &Records<'_>, desired: &Desired) -> Result<Option<PlanNote>, Fault> {
    let service = &desired.spec.name;
    let in_force = if records.active(service)?.is_some() { records.in_force(service)? } else { None };
    let Some(row) = in_force else { return Ok(None) };
    let changes = changes(&row.spec, &desired.spec);
    let text = format!("the file changes the settings in force since generation {} ({}): {}", row.generation, row.by, changes.join("; "));
    Ok((!changes.is_empty()).then(|| PlanNote { service: service.clone(), at: Some(row.at), text }))
}

/// An earlier release comes back, and nothing changes data back.
pub fn data_stays(records: &Records<'_>, service: &ServiceName, release: &Release) -> Result<Option<PlanNote>, Fault> {
    let Some(active) = records.active(service)?.map(|active| active.release) else { return Ok(None) };
    let Some(row) = records.migration(service, &active.digest())?.filter(|_| release.number < active.number) else { return Ok(None) };
    let text = format!("data stays as the migration of {} left it ({}): nothing migrates it back", active.label(), row.rotation);
    Ok(Some(PlanNote { service: service.clone(), at: Some(row.at), text }))
}

/// The service would have no server any more.
fn parks(records: &Records<'_>, desired: &Desired) -> Result<Option<PlanNote>, Fault> {
    let service = &desired.spec.name;
    let is_active = records.active(service)?.is_some();
    if desired.spec.count > 0 || is_active && records.in_force(service)?.is_some_and(|row| row.spec.count == 0) {
        return Ok(None);
    }
    let listener = desired.release.route.as_ref().map_or(String::new(), |r| format!("; {} stays open and answers 503", r.listen));
    let back = if is_active { format!("; `afresh rollback {service}` brings back what served before") } else { String::new() };
    let text = format!("count = 0 parks it: no server is left{listener}{back}");
    Ok(Some(PlanNote { service: service.clone(), at: None, text }))
}

/// The newest rotation that rolled this release back, unless it was promoted after that.
pub fn rolled_back(records: &Records<'_>, service: &ServiceName, release: &Release) -> Result<Option<PlanNote>, Fault> {
    if records.active(service)?.is_some_and(|s| s.release.number == release.number) {
        return Ok(None);
    }
    for row in records.closed_rotations(service, LOOK_BACK)? {
        let Some(Event::Opened(opened)) = records.first_line(&row.id)?.map(|l| l.event) else { continue };
        let Some(last) = row.closed_seq.map(|seq| records.lines(&row.id, seq)).transpose()?.and_then(|lines| lines.into_iter().next())
        else {
            continue;
        };
        let Event::Closed { verdict, why, .. } = last.event else { continue };
        // A removal says nothing against the release.
        if api::control::is_removal(&opened) {
            continue;
        }
        let label = release.label();
        let left = opened.from.as_ref().is_some_and(|from| from.release.number == release.number);
        let text = if opened.to.release.number == release.number {
            match verdict {
                Verdict::RolledBack => format!("this brings back {label}, which {} rolled back: {why}", row.id),
                _ => return Ok(None),
            }
        } else if left && opened.to.release.number < release.number && verdict == Verdict::Promoted {
            format!("this brings back {label}, which was rolled back to r{} by {}: {}", opened.to.release.number, row.id, opened.why)
        } else {
            continue;
        };
        return Ok(Some(PlanNote { service: service.clone(), at: Some(last.at), text }));
    }
    Ok(None)
}

/// `count: 3 -> 7`. Of the environment only names: values may be secret.
fn changes(old: &ServiceSpec, new: &ServiceSpec) -> Vec<String> {
    // The artifact's path is no setting: the plan shows the digest.
    let settings = config::changed_settings(old, new).into_iter().filter(|one| one.key != "artifact");
    let mut all: Vec<String> = settings
        .map(|one| match one.key.starts_with("env.") {
            true => format!("{} differs", one.key),
            false => format!("{}: {} -> {}", one.key, shown(one.from), shown(one.to)),
        })
        .collect();
    if old.recipe.is_some() && old.recipe != new.recipe {
        all.push(format!("the recipe of image {} differs", new.image));
    }
    all
}

fn shown(value: Option<String>) -> String {
    let text = value.unwrap_or_else(|| "none".to_string());
    if text.chars().count() > SHOWN { text.chars().take(SHOWN).chain("...".chars()).collect() } else { text }
}
