//! What runs, as the rules and waivers of now judge it: a waiver expires, an image grows old, a rule is added. It is an alarm, and ends
//! nothing that runs.

use super::break_glass::{self, live, seconds};
use super::facts::{Lives, of_active, of_named_recipe};
use super::files::{self, Loaded};
use super::memory::Key;
use super::objection::{report, wire};
use crate::app::App;
use api::fleet::Alarm;
use api::guard::{Gate, GuardSeen, Objection};
use guard::rules::Disposition;
use guard::{show_day, show_s};
use model::{Fault, Release, ServiceName, ServiceSpec, Time};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_secs(5);
const MINUTE_MS: u64 = 60_000;
const REST_MS_MAX: u64 = 60_000;
/// Releases of a service that are searched for the first with the same evidence.
const LOOK_BACK: usize = 20;

fn key(app: &App) -> Key {
    let stat = |path: &Path| std::fs::metadata(path).ok().map(|m| (m.mtime(), m.mtime_nsec(), m.size(), m.ino()));
    let paths = [files::rules_path(&app.layout), files::waivers_path(&app.layout), break_glass::path(&app.layout)];
    Key { files: paths.iter().map(|path| stat(path)).collect(), commits: *app.changes.borrow(), minute: app.now().0 / MINUTE_MS }
}

pub fn seen(app: &App) -> Result<Arc<GuardSeen>, Fault> {
    let key = key(app);
    app.gate.or_judged(key, || judge(app))
}

fn judge(app: &App) -> Result<GuardSeen, Fault> {
    let broken = |fault| Gate { denied: true, objections: Vec::new(), fault: Some(fault) };
    let (loaded, live) = match files::load(&app.layout).and_then(|loaded| Ok((loaded, live(&app.layout, app.now())?))) {
        Ok(both) => both,
        Err(fault) => return Ok(GuardSeen { gate: broken(fault), break_glass: Vec::new() }),
    };
    let (mut lives, mut images) = (Lives::default(), BTreeSet::new());
    let mut gate = Gate::default();
    for (spec, release) in active(app)? {
        let mut facts = vec![of_active(app, &mut lives, &spec, &release)?];
        // Without an upkeep no recipe is known, and what does not run any more is nobody's.
        if app.upkeep.is_some() && images.insert((spec.image.clone(), spec.recipe.clone())) {
            facts.push(of_named_recipe(app, &mut lives, &spec)?);
        }
        let lifted = break_glass::of_service(&live, spec.name.as_str());
        let report = report(&loaded, &facts, lifted.as_ref(), seconds(app.now()));
        gate.denied |= report.is_denied();
        gate.objections.extend(report.objections.iter().map(|o| Objection { since: since(app, &loaded, o), ..wire(o) }));
    }
    Ok(GuardSeen { gate, break_glass: live })
}

/// A service whose journal cannot be read is an alarm elsewhere.
fn active(app: &App) -> Result<Vec<(ServiceSpec, Release)>, Fault> {
    app.database.browse(|r| {
        let one = |service: &ServiceName| Some((r.in_force(service).ok()??.spec, r.active(service).ok()??.release));
        Ok(r.service_names()?.iter().filter_map(one).collect())
    })
}

/// Of a service that is denied: since when a release with the same evidence was made, without one between that had none.
pub fn since(app: &App, loaded: &Loaded, o: &guard::rules::Objection) -> Option<(Time, String)> {
    if o.kind != "service" || o.disposition != Disposition::Denied {
        return None;
    }
    let service = ServiceName::new(o.resource.clone()).ok()?;
    let read = app.database.browse(|r| Ok((r.active(&service)?, r.in_force(&service)?, r.releases(&service)?)));
    let (active, in_force, rows) = read.ok()?;
    let (active, spec) = (active?.release, in_force?.spec);
    let mut lives = Lives::default();
    let mut is_same = |release: &Release| {
        let facts = of_active(app, &mut lives, &spec, release).ok();
        let found = facts.map(|facts| report(loaded, &[facts], None, seconds(app.now())).objections).unwrap_or_default();
        found.iter().any(|other| other.rule == o.rule && other.fingerprint == o.fingerprint)
    };
    let before = rows.iter().rev().filter(|row| row.release.number <= active.number).take(LOOK_BACK);
    let first = before.take_while(|row| is_same(&row.release)).last()?;
    Some((first.at, first.release.label()))
}

/// Of what was judged last: whoever asks for alarms does not wait until ten thousand services are judged.
pub fn alarms(app: &App) -> Vec<Alarm> {
    let Some(seen) = app.gate.last() else { return Vec::new() };
    let mut all = Vec::new();
    if let Some(fault) = &seen.gate.fault {
        all.push(Alarm::new("guard-unusable", None, format!("{}; nothing is deployed until it is corrected", fault.message)));
    }
    all.extend(seen.gate.objections.iter().filter(|o| o.disposition == "denied").map(of_objection));
    for one in &seen.break_glass {
        let until = show_s(seconds(one.expires));
        let text =
            format!("break-glass by {} lifts {} until {until}: {}; the fix is still due", one.owner, one.rules.join(", "), one.reason);
        all.extend(one.services.iter().map(|service| Alarm::new("break-glass", Some(service.clone()), text.clone())));
    }
    all
}

fn of_objection(o: &Objection) -> Alarm {
    let service = (o.kind == "service").then(|| ServiceName::new(o.resource.clone()).ok()).flatten();
    let since = o.since.as_ref().map_or_else(String::new, |(at, label)| format!(" since {} ({label})", show_day(seconds(*at))));
    Alarm::new("guard-denied", service, format!("{} is denied and runs{since}: {}; fix: {}; {}", o.rule, o.why, o.fix, o.hint))
}

/// Judges by schedule, and logs what is denied and was not before.
pub fn keep(app: &App) {
    let mut known: BTreeSet<String> = BTreeSet::new();
    while !app.is_stopping() {
        let (count, begun) = (app.notifier.count(), app.now());
        let judged = seen(app);
        let took_ms = app.now().since(begun);
        app.parts.attempted("guard", judged.as_ref().err().map(|f| f.message.clone()));
        if judged.is_ok() {
            let now: BTreeSet<String> = alarms(app).into_iter().map(|alarm| alarm.text).collect();
            now.difference(&known).for_each(|text| tracing::error!(alarm = true, "{text}"));
            known = now;
        }
        // Of many services that change all the time, a tenth of one core judges.
        let mut rest_ms = took_ms.min(REST_MS_MAX / 9) * 9;
        while rest_ms > 0 && !app.is_stopping() {
            let step = rest_ms.min(100);
            std::thread::sleep(Duration::from_millis(step));
            rest_ms -= step;
        }
        app.notifier.wait(count, LOOK_EVERY);
    }
}
