//! Reports for other tools: SARIF 2.1.0 with suppressions, JUnit XML, and OCSF compliance findings. Time is an argument.

use crate::finding::{Finding, Severity};
use crate::judgement::Verdict;
use crate::rules::{Disposition, GateReport, Objection, RuleSet};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What the three formats say of one objection or finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub rule: String,
    pub kind: String,
    pub resource: String,
    pub severity: Severity,
    pub standing: Standing,
    pub why: String,
    pub fix: String,
    pub fingerprint: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Observed or warned.
    Noted,
    Denied,
    Unknown,
    /// By a waiver or a break-glass, with who and why.
    Suppressed(String),
}

impl From<&Objection> for Entry {
    fn from(o: &Objection) -> Entry {
        let standing = match &o.disposition {
            Disposition::Observed | Disposition::Warned => Standing::Noted,
            Disposition::Denied if !o.missing.is_empty() => Standing::Unknown,
            Disposition::Denied => Standing::Denied,
            Disposition::Waived { owner, reason, .. } => Standing::Suppressed(format!("waived by {owner}: {reason}")),
            Disposition::BrokenGlass { owner, reason, .. } => Standing::Suppressed(format!("break-glass by {owner}: {reason}")),
        };
        Entry {
            rule: o.rule.clone(),
            kind: o.kind.clone(),
            resource: o.resource.clone(),
            severity: o.severity,
            standing,
            why: o.why.clone(),
            fix: o.fix.clone(),
            fingerprint: o.fingerprint.clone(),
        }
    }
}

/// The rule of a scan's findings.
const EXPOSED: &str = "exposed";

/// Only exposures and what could not be told are findings of a report; `NotPublic` is `None`.
pub fn entry_of_finding(f: &Finding) -> Option<Entry> {
    let standing = match f.verdict {
        Verdict::NotPublic => return None,
        Verdict::Public => Standing::Denied,
        Verdict::Unknown => Standing::Unknown,
    };
    Some(Entry {
        rule: EXPOSED.into(),
        kind: f.kind.clone(),
        resource: f.id.clone(),
        severity: f.severity,
        standing,
        why: f.why.clone(),
        fix: f.fix.clone(),
        fingerprint: f.fingerprint.clone(),
    })
}

/// 0 clean, 1 something is public, 2 nothing is known to be public but something could not be told.
pub fn exit_code(findings: &[Finding]) -> u8 {
    match findings.iter().map(|f| f.verdict).max() {
        Some(Verdict::Public) => 1,
        Some(Verdict::Unknown) => 2,
        Some(Verdict::NotPublic) | None => 0,
    }
}

/// Every rule with its title, and every objection.
pub fn of_gate(set: &RuleSet, report: &GateReport) -> (Vec<(String, String)>, Vec<Entry>) {
    let rules = set.rules.iter().map(|r| (r.id.clone(), r.title.clone())).collect();
    (rules, report.objections.iter().map(Entry::from).collect())
}

/// <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>
pub fn sarif(version: &str, rules: &[(String, String)], entries: &[Entry]) -> Value {
    let results: Vec<Value> = entries
        .iter()
        .map(|e| {
            let level = match e.standing {
                Standing::Denied | Standing::Suppressed(_) => "error",
                Standing::Unknown => "warning",
                Standing::Noted => "note",
            };
            let mut result = json!({
                "ruleId": e.rule,
                "level": level,
                "message": {"text": format!("{}. Fix: {}", e.why, e.fix)},
                "locations": [{"logicalLocations": [{"kind": "resource", "fullyQualifiedName": format!("{}/{}", e.kind, e.resource)}]}],
                "partialFingerprints": {"afresh/v1": e.fingerprint},
            });
            if let Standing::Suppressed(why) = &e.standing {
                result["suppressions"] = json!([{"kind": "external", "status": "accepted", "justification": why}]);
            }
            result
        })
        .collect();
    let rules: Vec<Value> = rules.iter().map(|(id, title)| json!({"id": id, "shortDescription": {"text": title}})).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": {"name": "afresh guard", "version": version, "rules": rules}}, "results": results}],
    })
}

/// One test a rule and resource that it objects to; a rule without objections is one test that passes.
pub fn junit(rules: &[(String, String)], entries: &[Entry]) -> String {
    let quiet: Vec<&String> = rules.iter().map(|(id, _)| id).filter(|id| entries.iter().all(|e| e.rule != **id)).collect();
    let count = |test: fn(&Standing) -> bool| entries.iter().filter(|e| test(&e.standing)).count();
    let failures = count(|s| *s == Standing::Denied);
    let errors = count(|s| *s == Standing::Unknown);
    let skipped = count(|s| matches!(s, Standing::Suppressed(_)));
    let tests = entries.len() + quiet.len();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    // Writing to a String cannot fail.
    let _ = writeln!(
        xml,
        "  <testsuite name=\"afresh guard\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\">"
    );
    for id in quiet {
        let _ = writeln!(xml, "    <testcase classname=\"{}\" name=\"all\"/>", escaped(id));
    }
    for e in entries {
        let name = escaped(&format!("{}/{}", e.kind, e.resource));
        let (why, fix) = (escaped(&e.why), escaped(&e.fix));
        let inside = match &e.standing {
            Standing::Denied => format!("<failure message=\"{why}\">{fix}</failure>"),
            Standing::Unknown => format!("<error message=\"{why}\">{fix}</error>"),
            Standing::Suppressed(reason) => format!("<skipped message=\"{}\"/>", escaped(reason)),
            Standing::Noted => format!("<system-out>{why}</system-out>"),
        };
        let _ = writeln!(xml, "    <testcase classname=\"{}\" name=\"{name}\">{inside}</testcase>", escaped(&e.rule));
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

/// Names come from outside. XML 1.0 has no control characters at all, not even escaped ones.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' | '\r' => out.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Compliance findings (class 2003), one a line. <https://schema.ocsf.io/classes/compliance_finding>
pub fn ocsf(version: &str, entries: &[Entry], now_s: i64) -> Vec<Value> {
    entries
        .iter()
        .map(|e| {
            let (status_id, status) = match &e.standing {
                Standing::Noted | Standing::Unknown => (2, "Warning"),
                Standing::Denied | Standing::Suppressed(_) => (3, "Fail"),
            };
            let is_suppressed = matches!(e.standing, Standing::Suppressed(_));
            let mut written = json!({
                "activity_id": 1,
                "category_uid": 2,
                "class_uid": 2003,
                "type_uid": 200_301,
                "time": now_s * 1000,
                "severity_id": match e.severity {
                    Severity::None => 1,
                    Severity::Low => 2,
                    Severity::Medium => 3,
                    Severity::High => 4,
                    Severity::Critical => 5,
                },
                // 1 new, 3 suppressed.
                "status_id": if is_suppressed { 3 } else { 1 },
                "metadata": {"version": "1.3.0", "product": {"name": "afresh guard", "vendor_name": "Afresh", "version": version}},
                "finding_info": {"uid": e.fingerprint, "title": e.rule, "desc": e.why},
                "compliance": {"control": e.rule, "status": status, "status_id": status_id},
                "remediation": {"desc": e.fix},
                "resources": [{"type": e.kind, "uid": e.resource}],
            });
            if let Standing::Suppressed(reason) = &e.standing {
                written["comment"] = json!(reason);
            }
            written
        })
        .collect()
}
