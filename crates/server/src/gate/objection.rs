//! Objections of the rules, and the words that the API has for them.

use super::files::Loaded;
use api::guard::Objection;
use guard::Severity;
use guard::rules::{Disposition, Enforcement, Facts, GateReport, WaiverStore, gate_of};
use guard::waiver::BreakGlass;

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

pub fn disposition(of: &Disposition) -> &'static str {
    match of {
        Disposition::Observed => "observed",
        Disposition::Warned => "warned",
        Disposition::Denied => "denied",
        Disposition::Waived { .. } => "waived",
        Disposition::BrokenGlass { .. } => "broken_glass",
    }
}
