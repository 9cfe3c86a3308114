//! A plan or a deploy before the gate.

use super::break_glass::{self, seconds};
use super::files::{self, Loaded};
use super::{facts, running};
use crate::access::Caller;
use crate::app::App;
use crate::deploy::Tiers;
use api::control::DeployRequest;
use api::guard::{Gate, Objection};
use guard::rules::{Disposition, Enforcement, Facts, GateReport, WaiverStore, gate_of};
use guard::waiver::BreakGlass;
use guard::{Severity, show_s};
use model::access::Role;
use model::{Fault, ServiceName};

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
pub fn judge(app: &App, caller: &Caller, request: &DeployRequest, tiers: &Tiers) -> Result<Gate, Fault> {
    must_be_allowed(caller, request)?;
    match files::load(&app.layout) {
        Err(fault) => Ok(Gate { denied: true, objections: Vec::new(), fault: Some(fault) }),
        Ok(loaded) => Ok(answer(app, &loaded, &decide(app, caller, request, tiers, &loaded)?.0)),
    }
}

/// Refuses a deploy that a rule denies. Nothing has been begun.
pub fn must_pass(app: &App, caller: &Caller, request: &DeployRequest, tiers: &Tiers) -> Result<Passed, Fault> {
    must_be_allowed(caller, request)?;
    let loaded = files::load(&app.layout)?;
    let (report, broken) = decide(app, caller, request, tiers, &loaded)?;
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
    request: &DeployRequest,
    tiers: &Tiers,
    loaded: &Loaded,
) -> Result<(GateReport, Option<BreakGlass>), Fault> {
    let (facts, now) = (facts::of_change(app, request, tiers)?, app.now());
    let gate = |broken| gate_of(WaiverStore::ControlPlane, &loaded.set, &facts, &loaded.waivers, broken, seconds(now));
    let report = gate(None);
    let Some(reason) = &request.break_glass else { return Ok((report, None)) };
    let lifted = |o: &&guard::rules::Objection| o.disposition == Disposition::Denied && o.enforcement == Enforcement::Deny;
    let mut rules: Vec<&str> = report.objections.iter().filter(lifted).map(|o| o.rule.as_str()).collect();
    rules.dedup();
    if rules.is_empty() {
        // Nothing to lift: nothing is recorded as an emergency.
        return Ok((report, None));
    }
    let broken = break_glass::open(caller.name(), reason, &rules, now)?;
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

/// Of one resource, by the rules alone.
pub fn report(loaded: &Loaded, facts: &[Facts], broken: Option<&BreakGlass>, now_s: i64) -> GateReport {
    gate_of(WaiverStore::ControlPlane, &loaded.set, facts, &loaded.waivers, broken, now_s)
}

pub fn wire(o: &guard::rules::Objection) -> Objection {
    Objection {
        rule: o.rule.clone(),
        kind: o.kind.clone(),
        resource: o.resource.clone(),
        severity: severity(o.severity).to_string(),
        enforcement: enforcement(o.enforcement).to_string(),
        disposition: disposition(&o.disposition).to_string(),
        missing: o.missing.clone(),
        evidence: o.evidence.clone(),
        fingerprint: o.fingerprint.clone(),
        why: o.why.clone(),
        fix: o.fix.clone(),
        hint: o.hint.clone(),
        since: None,
    }
}

fn severity(of: Severity) -> &'static str {
    match of {
        Severity::None => "none",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

fn enforcement(of: Enforcement) -> &'static str {
    match of {
        Enforcement::Observe => "observe",
        Enforcement::Warn => "warn",
        Enforcement::Deny => "deny",
        Enforcement::Hard => "hard",
    }
}

fn disposition(of: &Disposition) -> &'static str {
    match of {
        Disposition::Observed => "observed",
        Disposition::Warned => "warned",
        Disposition::Denied => "denied",
        Disposition::Waived { .. } => "waived",
        Disposition::BrokenGlass { .. } => "broken_glass",
    }
}
