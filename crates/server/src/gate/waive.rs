//! Waivers of the control plane. Its administrator grants them; the file is appended to as a whole or not at all.

use super::break_glass::{seconds, time};
use super::files::{self, Loaded, read, unusable, waivers_path};
use crate::access::Caller;
use crate::app::App;
use crate::files::{io_fault, private_dir};
use api::guard::{WaiveRequest, WaiverRow};
use guard::root::stops_image;
use guard::rules::Enforcement;
use guard::waiver::{WAIVER_MAX_DAYS, WAIVER_MAX_DAYS_CRITICAL, Waiver, schedule};
use guard::{Severity, parse_s, show_day};
use model::{Fault, ServiceName, Time};

const DAY_S: i64 = 86_400;

/// The next to end first.
pub fn list(app: &App, caller: &Caller) -> Result<Vec<WaiverRow>, Fault> {
    let loaded = files::load(&app.layout)?;
    let is_for = |waiver: &Waiver| {
        caller.services().is_none() || ServiceName::new(waiver.resource.clone()).is_ok_and(|service| caller.sees(&service))
    };
    let all = schedule(&loaded.waivers, seconds(app.now()));
    Ok(all.into_iter().filter(|(_, waiver)| is_for(waiver)).map(|(days_left, waiver)| row(waiver, days_left)).collect())
}

pub fn waive(app: &App, caller: &Caller, request: &WaiveRequest) -> Result<WaiverRow, Fault> {
    let loaded = files::load(&app.layout)?;
    let days = must_be_waivable(&loaded, request)?;
    let waiver = waiver(caller, request, days, app.now())?;
    caller.about(&waiver.resource);
    let (rule, until) = (&waiver.rule, show_day(waiver.expires_s));
    caller.detail(&format!("waives {rule} until {until} for {}: {}", waiver.owner, waiver.ticket));
    // Of two at a time each would lose the other's.
    let _alone = app.deploy_lock();
    let path = waivers_path(&app.layout);
    let text = waiver.appended_to(&read(&path)?.unwrap_or_default());
    // As it would be read: what is not a waiver is not written.
    Waiver::load(&text).map_err(|e| Fault::yours("bad-waiver", e.to_string()).hint("nothing was written"))?;
    if text.len() as u64 > files::BYTES_MAX {
        let fault = Fault::world("guard-unusable", format!("{}: one waiver more would make it too large to be read", path.display()));
        return Err(fault.hint("remove those that expired; nothing was written").again(false));
    }
    private_dir(&app.layout.root().join("guard"))?;
    disk::write(&path, text.as_bytes(), 0o600, disk::Lasting::Now).map_err(|e| io_fault(&path, &e))?;
    read(&path)?.filter(|now| *now == text).ok_or_else(|| unusable(&path, "it is not what was written"))?;
    app.notifier.notify();
    let days_left = schedule(std::slice::from_ref(&waiver), seconds(app.now())).first().map_or(days, |(left, _)| *left);
    Ok(row(&waiver, days_left))
}

/// For how many days.
fn must_be_waivable(loaded: &Loaded, request: &WaiveRequest) -> Result<i64, Fault> {
    let bad = |why: String| Fault::yours("bad-waiver", why);
    let Some(rule) = loaded.set.rules.iter().find(|rule| rule.id == request.rule) else {
        if stops_image(&request.rule) {
            return within(request, WAIVER_MAX_DAYS_CRITICAL);
        }
        let fault = bad(format!("there is no rule {}", model::text::shown(&request.rule, 80)));
        return Err(fault.hint("`afresh guard rules --control-plane` lists them"));
    };
    if rule.enforcement == Enforcement::Hard {
        return Err(bad(format!("{} has no waiver: it is a hard rule", rule.id)).hint(rule.fix.clone()));
    }
    let most = if rule.severity == Severity::Critical { WAIVER_MAX_DAYS_CRITICAL } else { WAIVER_MAX_DAYS };
    within(request, most)
}

fn within(request: &WaiveRequest, most: i64) -> Result<i64, Fault> {
    let days = i64::from(request.days);
    let bad = || Fault::yours("bad-waiver", format!("a waiver of {} lasts 1 to {most} days", request.rule));
    (1..=most).contains(&days).then_some(days).ok_or_else(bad)
}

fn waiver(caller: &Caller, request: &WaiveRequest, days: i64, now: Time) -> Result<Waiver, Fault> {
    for text in [&request.resource, &request.owner, &request.reason, &request.ticket] {
        model::text::line(text).map_err(|wrong| Fault { code: "bad-waiver".to_string(), ..wrong.into() })?;
    }
    // Services are judged by their ids, and may be called otherwise.
    let resource = match ServiceName::new(request.resource.clone()) {
        Ok(name) => caller.id_of(&name)?.to_string(),
        Err(_) => request.resource.clone(),
    };
    let today_s = parse_s(&show_day(seconds(now))).unwrap_or_default();
    Ok(Waiver {
        rule: request.rule.clone(),
        resource,
        evidence: request.evidence.clone(),
        owner: request.owner.clone(),
        reason: request.reason.clone(),
        ticket: request.ticket.clone(),
        granted_s: today_s,
        expires_s: today_s + days * DAY_S,
    })
}

fn row(waiver: &Waiver, days_left: i64) -> WaiverRow {
    WaiverRow {
        rule: waiver.rule.clone(),
        resource: waiver.resource.clone(),
        evidence: waiver.evidence.clone(),
        owner: waiver.owner.clone(),
        reason: waiver.reason.clone(),
        ticket: waiver.ticket.clone(),
        granted: time(waiver.granted_s),
        expires: time(waiver.expires_s),
        days_left,
    }
}
