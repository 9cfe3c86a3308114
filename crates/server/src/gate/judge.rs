//! A plan or a deploy before the gate.

use super::break_glass::{self, seconds};
use super::facts::{self, Lives, Recipes};
use super::files::{self, Loaded};
use super::objection::{disposition, report, wire};
use super::running;
use crate::access::Caller;
use crate::app::App;
use api::control::DeployRequest;
use api::guard::{Gate, Objection};
use control::Tiers;
use guard::rules::{Disposition, Enforcement, GateReport, WaiverStore, gate_of};
use guard::show_s;
use guard::waiver::BreakGlass;
use model::access::Role;
use model::{Fault, Release, ServiceName, ServiceSpec};

/// A deploy that the gate lets through, and what the journal is to say of it.
#[derive(Default)]
pub struct Passed {
    broken: Option<BreakGlass>,
    services: Vec<ServiceName>,
    /// For the audit.
    detail: String,
}

impl Passed {
    /// What the reason of each rotation says of rules that were lifted.
    pub fn note(&self) -> String {
        self.broken.as_ref().map_or_else(String::new, |broken| {
            format!("; break-glass until {} lifts {}: {}", show_s(broken.expires_s), broken.rules.join(", "), broken.reason)
        })
    }

    /// Before anything is opened: a kill must lose no record of it.
    pub fn record(&self, app: &App, caller: &Caller) -> Result<(), Fault> {
        if !self.detail.is_empty() {
            caller.detail(&self.detail);
        }
        let Some(broken) = &self.broken else { return Ok(()) };
        tracing::error!(alarm = true, owner = broken.owner, rules = broken.rules.join(","), "break-glass: {}", broken.reason);
        break_glass::record(app, self.services.clone(), broken)
    }
}

/// What the gate says of a plan.
pub fn judge(app: &App, caller: &Caller, request: &DeployRequest, tiers: &Tiers, recipes: &Recipes) -> Result<Gate, Fault> {
    must_be_allowed(caller, request)?;
    match files::load(&app.layout) {
        Err(fault) => Ok(Gate { denied: true, objections: Vec::new(), fault: Some(fault) }),
        Ok(loaded) => Ok(answer(app, &loaded, &decide(app, caller, (request, tiers, recipes), &loaded)?.0)),
    }
}

/// Refuses a deploy that a rule denies. Nothing has been begun.
pub fn must_pass(app: &App, caller: &Caller, request: &DeployRequest, tiers: &Tiers, recipes: &Recipes) -> Result<Passed, Fault> {
    must_be_allowed(caller, request)?;
    let loaded = files::load(&app.layout)?;
    let (report, broken) = decide(app, caller, (request, tiers, recipes), &loaded)?;
    if report.is_denied() {
        return Err(denied(&report));
    }
    let services = tiers.iter().flat_map(|(_, all)| all).map(|desired| desired.spec.name.clone()).collect();
    let told = |o: &guard::rules::Objection| format!("{} {} {}", disposition(&o.disposition), o.rule, o.resource);
    let detail = report.objections.iter().map(told).collect::<Vec<_>>().join(", ");
    Ok(Passed { broken, services, detail })
}

/// Whoever deploys does not lift what refuses him, unless he administers.
fn must_be_allowed(caller: &Caller, request: &DeployRequest) -> Result<(), Fault> {
    if request.break_glass.is_some() { caller.must_have(Role::Admin) } else { Ok(()) }
}

fn decide(
    app: &App,
    caller: &Caller,
    (request, tiers, recipes): (&DeployRequest, &Tiers, &Recipes),
    loaded: &Loaded,
) -> Result<(GateReport, Option<BreakGlass>), Fault> {
    let (facts, now) = (facts::of_change(app, request, tiers, recipes)?, app.now());
    let gate = |broken| gate_of(WaiverStore::ControlPlane, &loaded.set, &facts, &loaded.waivers, broken, seconds(now));
    let report = gate(None);
    let Some(reason) = &request.break_glass else { return Ok((report, None)) };
    let lifted = |o: &&guard::rules::Objection| o.disposition == Disposition::Denied && o.enforcement == Enforcement::Deny;
    let lifted: Vec<(&str, &str)> = report.objections.iter().filter(lifted).map(|o| (o.rule.as_str(), o.fingerprint.as_str())).collect();
    if lifted.is_empty() {
        // Nothing to lift: nothing is recorded as an emergency.
        return Ok((report, None));
    }
    let broken = break_glass::open(caller.name(), reason, &lifted, now)?;
    Ok((gate(Some(&broken)), Some(broken)))
}

pub fn denied(report: &GateReport) -> Fault {
    let denied: Vec<&guard::rules::Objection> = report.objections.iter().filter(|o| o.disposition == Disposition::Denied).collect();
    let told: Vec<String> = denied.iter().map(|o| format!("{}: {}", o.rule, o.why)).collect();
    let fault = Fault::yours("guard-denied", format!("denied by {}", told.join("; ")));
    match denied.first() {
        Some(first) => fault.hint(format!("{}; or {}", first.fix, first.hint)),
        None => fault,
    }
}

fn answer(app: &App, loaded: &Loaded, report: &GateReport) -> Gate {
    let objections = report.objections.iter().map(|o| Objection { since: running::since(app, loaded, o), ..wire(o) }).collect();
    Gate { denied: report.is_denied(), objections, fault: None }
}

/// A release that starts without a deploy: on a container image that says more than the one before, or in a run with variables of its own.
/// Nobody is there to lift what a rule denies.
pub fn release_must_pass(app: &App, spec: &ServiceSpec, release: &Release) -> Result<(), Fault> {
    let loaded = files::load(&app.layout)?;
    let facts = facts::of_active(app, &mut Lives::default(), spec, release)?;
    let live = break_glass::live(&app.layout, app.now())?;
    let lifted = break_glass::of_service(&live, spec.name.as_str());
    let report = report(&loaded, &[facts], lifted.as_ref(), seconds(app.now()));
    if report.is_denied() { Err(denied(&report)) } else { Ok(()) }
}
