//! The gate: every rule against every resource, then waivers and break-glass. Time is an argument.

use super::expression::{Facts, Outcome};
use super::load::{Enforcement, Rule, RuleSet};
use crate::finding::{Severity, fingerprint};
use crate::waiver::{BreakGlass, Standing, Waiver};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// One rule that one resource does not meet, or of which that cannot be told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Objection {
    pub rule: String,
    pub resource: String,
    pub kind: String,
    pub severity: Severity,
    pub enforcement: Enforcement,
    /// Attributes that were not there. Empty: the rule is violated.
    pub missing: Vec<String>,
    pub evidence: Value,
    /// Of rule, resource and evidence. A waiver names it.
    pub fingerprint: String,
    pub why: String,
    pub fix: String,
    /// How to go on without the fix.
    pub hint: String,
    pub disposition: Disposition,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    Observed,
    Warned,
    Denied,
    Waived { owner: String, reason: String, expires_s: i64 },
    BrokenGlass { owner: String, reason: String, expires_s: i64 },
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateReport {
    pub resources: usize,
    pub rules: usize,
    /// The worst first, then by rule and resource.
    pub objections: Vec<Objection>,
}

impl GateReport {
    pub fn is_denied(&self) -> bool {
        self.objections.iter().any(|o| o.disposition == Disposition::Denied)
    }

    /// 0 clean, 1 denied, 2 denied only because something could not be told.
    pub fn exit_code(&self) -> u8 {
        let denied: Vec<&Objection> = self.objections.iter().filter(|o| o.disposition == Disposition::Denied).collect();
        match (denied.is_empty(), denied.iter().all(|o| !o.missing.is_empty())) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        }
    }
}

/// Who takes waivers: what an objection says of how to ask for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaiverStore {
    /// A file beside the code.
    File,
    /// The control plane, for its administrator.
    ControlPlane,
}

pub fn gate(set: &RuleSet, resources: &[Facts], waivers: &[Waiver], broken: Option<&BreakGlass>, now_s: i64) -> GateReport {
    gate_of(WaiverStore::File, set, resources, waivers, broken, now_s)
}

/// As [`gate`], at another place.
pub fn gate_of(
    store: WaiverStore,
    set: &RuleSet,
    resources: &[Facts],
    waivers: &[Waiver],
    broken: Option<&BreakGlass>,
    now_s: i64,
) -> GateReport {
    let around = Around { set, waivers, broken, now_s, store };
    let mut objections = Vec::new();
    let mut slots = vec![None; set.attributes.len()];
    for facts in resources {
        let Some(rules) = set.of_kind.get(&facts.kind) else { continue };
        set.fill(&facts.attributes, &mut slots);
        for rule in rules.iter().map(|n| &set.rules[*n]) {
            let outcome = rule.outcome(&slots);
            if matches!(outcome, Outcome::Violated | Outcome::CannotTell) {
                objections.push(objection(&around, rule, facts, outcome));
            }
        }
    }
    objections.sort_by(|a, b| (b.severity, &a.rule, &a.resource).cmp(&(a.severity, &b.rule, &b.resource)));
    GateReport { resources: resources.len(), rules: set.rules.len(), objections }
}

/// What every objection of one gate is made with.
struct Around<'a> {
    set: &'a RuleSet,
    waivers: &'a [Waiver],
    broken: Option<&'a BreakGlass>,
    now_s: i64,
    store: WaiverStore,
}

fn objection(around: &Around<'_>, rule: &Rule, facts: &Facts, outcome: Outcome) -> Objection {
    let set = around.set;
    let missing = if outcome == Outcome::CannotTell { set.missing(rule, facts) } else { Vec::new() };
    let mut evidence = set.evidence(rule, facts);
    if outcome == Outcome::CannotTell {
        // To accept that one fact is not known is not to accept what it turns out to be, nor another one.
        evidence["missing"] = missing.clone().into();
    }
    let fingerprint = fingerprint(&rule.id, &format!("{}/{}", facts.kind, facts.id), &evidence);
    let mut waiver_note = None;
    let disposition = match rule.enforcement {
        Enforcement::Observe => Disposition::Observed,
        Enforcement::Warn => Disposition::Warned,
        Enforcement::Hard => Disposition::Denied,
        Enforcement::Deny => lifted(around, rule, facts, &fingerprint, &mut waiver_note).unwrap_or(Disposition::Denied),
    };
    let why = match outcome {
        Outcome::CannotTell if missing.is_empty() => {
            format!("cannot tell whether {} meets {}: an attribute is of the wrong kind", facts.id, rule.id)
        }
        Outcome::CannotTell => format!("cannot tell whether {} meets {}: {} is not known", facts.id, rule.id, missing.join(", ")),
        _ => filled(&rule.why, facts),
    };
    let fix = match outcome {
        Outcome::CannotTell if missing.is_empty() => "correct what the check is given, and run it again".into(),
        Outcome::CannotTell => format!("let the check read {}, and run it again", missing.join(", ")),
        _ => filled(&rule.fix, facts),
    };
    let hint = hint(around.store, rule, facts, &fingerprint, &disposition, waiver_note);
    Objection {
        rule: rule.id.clone(),
        resource: facts.id.clone(),
        kind: facts.kind.clone(),
        severity: rule.severity,
        enforcement: rule.enforcement,
        missing,
        evidence,
        fingerprint,
        why,
        fix,
        hint,
        disposition,
    }
}

fn lifted(around: &Around<'_>, rule: &Rule, facts: &Facts, fingerprint: &str, note: &mut Option<String>) -> Option<Disposition> {
    let Around { waivers, broken, now_s, .. } = *around;
    for waiver in waivers.iter().filter(|w| w.rule == rule.id && w.resource == facts.id) {
        match waiver.standing(fingerprint, rule.severity, now_s) {
            Standing::Live => {
                let (owner, reason) = (waiver.owner.clone(), waiver.reason.clone());
                return Some(Disposition::Waived { owner, reason, expires_s: waiver.expires_s });
            }
            other => *note = Some(other.phrase(waiver)),
        }
    }
    let broken = broken.filter(|b| b.lifts(fingerprint, now_s))?;
    let (owner, reason) = (broken.owner.clone(), broken.reason.clone());
    Some(Disposition::BrokenGlass { owner, reason, expires_s: broken.expires_s })
}

fn hint(store: WaiverStore, rule: &Rule, facts: &Facts, fingerprint: &str, disposition: &Disposition, note: Option<String>) -> String {
    let ask = || match store {
        WaiverStore::File => format!("ask for a waiver: `afresh guard waive {} {} --evidence {fingerprint}`", rule.id, facts.id),
        WaiverStore::ControlPlane => format!(
            "ask an administrator for a waiver: `afresh guard waive --control-plane {} {} --evidence {fingerprint}`; in an emergency they \
             deploy with --break-glass REASON",
            rule.id, facts.id
        ),
    };
    match (disposition, rule.enforcement) {
        (Disposition::Denied, Enforcement::Hard) => "this rule has no waiver and no break-glass".into(),
        (Disposition::Denied, _) => note.map_or_else(ask, |note| format!("{note}; {}", ask())),
        (Disposition::Waived { owner, expires_s, .. }, _) => format!("waived by {owner} until {}", crate::date::show_day(*expires_s)),
        (Disposition::BrokenGlass { owner, .. }, _) => format!("break-glass by {owner}: the fix is still due"),
        (Disposition::Warned, _) => "this rule only warns".into(),
        (Disposition::Observed, _) => "this rule is only observed".into(),
    }
}

/// `{id}`, and attributes by name.
fn filled(template: &str, facts: &Facts) -> String {
    let mut out = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let Some((name, tail)) = after.split_once('}').filter(|(name, _)| is_name(name)) else {
            out.push('{');
            rest = after;
            continue;
        };
        match (name, facts.attributes.get(name)) {
            ("id", _) => out.push_str(&facts.id),
            (_, Some(Value::String(text))) => out.push_str(text),
            (_, Some(Value::Array(items))) => {
                let shown = items.iter().map(|i| i.as_str().map_or_else(|| i.to_string(), str::to_string));
                out.push_str(&shown.collect::<Vec<_>>().join(", "));
            }
            (_, Some(value)) => out.push_str(&value.to_string()),
            (name, None) => out.push_str(&format!("({name} not known)")),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// What a rule would have done to past changes, before anyone turns it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replay {
    pub rule: String,
    pub changes: usize,
    pub denied: usize,
    /// Of the denied, those where an attribute was missing.
    pub cannot_tell: usize,
}

impl Replay {
    /// "would have denied 3 of 41 deploys".
    pub fn sentence(&self) -> String {
        let unclear =
            if self.cannot_tell > 0 { format!(", {} of them because a fact was missing", self.cannot_tell) } else { String::new() };
        format!("{} would have denied {} of {} deploys{unclear}", self.rule, self.denied, self.changes)
    }
}

/// Each change is the facts of one deploy.
pub fn replay(set: &RuleSet, changes: &[Vec<Facts>]) -> Vec<Replay> {
    let new = |rule: &Rule| Replay { rule: rule.id.clone(), changes: changes.len(), denied: 0, cannot_tell: 0 };
    let mut counted: Vec<Replay> = set.rules.iter().map(new).collect();
    let mut slots = vec![None; set.attributes.len()];
    for change in changes {
        let mut worst: BTreeMap<usize, Outcome> = BTreeMap::new();
        for facts in change {
            set.fill(&facts.attributes, &mut slots);
            for n in set.of_kind.get(&facts.kind).into_iter().flatten() {
                match set.rules[*n].outcome(&slots) {
                    Outcome::Violated => worst.insert(*n, Outcome::Violated),
                    Outcome::CannotTell => Some(*worst.entry(*n).or_insert(Outcome::CannotTell)),
                    Outcome::DoesNotApply | Outcome::Passes => None,
                };
            }
        }
        for (n, outcome) in worst {
            counted[n].denied += 1;
            counted[n].cannot_tell += usize::from(outcome == Outcome::CannotTell);
        }
    }
    counted
}
