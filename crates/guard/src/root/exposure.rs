//! One exposure of a root directory.

use crate::finding::{Finding, Severity, fingerprint};
use crate::judgement::{CrossAccount, Verdict};
use crate::ternary::Tri;
use serde::Serialize;
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exposure {
    pub rule: &'static str,
    pub path: String,
    /// 0: the file as a whole.
    pub line: usize,
    /// `Public` or `Unknown`.
    pub verdict: Verdict,
    pub severity: Severity,
    pub why: String,
    pub fix: String,
    /// What the fingerprint rests on: no line number, no secret.
    pub evidence: String,
}

impl Exposure {
    pub(super) fn new(
        rule: &'static str,
        path: &str,
        line: usize,
        severity: Severity,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Exposure {
        let (why, fix) = (why.into(), fix.into());
        Exposure { rule, path: path.into(), line, verdict: Verdict::Public, severity, evidence: why.clone(), why, fix }
    }

    /// Something could not be read, so the rule cannot say that there is no exposure.
    pub(super) fn unknown(rule: &'static str, path: &str, missing: &str) -> Exposure {
        let why = format!("cannot tell whether {path} exposes anything: could not read {missing}");
        let fix = format!("let the scan read {missing}: run it as root, or look at the file yourself");
        let verdict = Verdict::Unknown;
        Exposure { rule, path: path.into(), line: 0, verdict, severity: Severity::Medium, evidence: missing.into(), why, fix }
    }

    /// What the walk could not look at: why, and what would answer it.
    pub fn unread(path: &str, cause: &str, fix: impl Into<String>) -> Exposure {
        let why = format!("cannot tell whether anything is exposed there: {cause}");
        let (verdict, severity) = (Verdict::Unknown, Severity::Medium);
        Exposure { rule: "unread", path: path.into(), line: 0, verdict, severity, evidence: cause.into(), why, fix: fix.into() }
    }

    /// Given that it is so, that it is not, or that this is not known.
    pub(super) fn given(self, holds: Tri, missing: &str) -> Option<Exposure> {
        match holds {
            Tri::Yes => Some(self),
            Tri::No => None,
            Tri::Unknown => Some(Exposure { line: self.line, ..Exposure::unknown(self.rule, &self.path, missing) }),
        }
    }

    /// Whether a file's mode stops what a rule finds: who may read or write it, not what it says to a service.
    pub fn is_stopped_by_mode(rule: &str) -> bool {
        matches!(rule, "secret" | "credentials" | "keystore" | "history" | "world-writable" | "setuid-without-package")
            || rule.starts_with("readable-")
    }

    /// The line of a scan.
    pub fn finding(&self) -> Finding {
        let place = if self.line == 0 { self.path.clone() } else { format!("{}:{}", self.path, self.line) };
        Finding {
            kind: "file".into(),
            id: self.path.clone(),
            verdict: self.verdict,
            via: self.rule.into(),
            documented: self.verdict,
            effective: self.verdict,
            cross_account: CrossAccount::None,
            severity: self.severity,
            why: format!("{place}: {}", self.why),
            fix: self.fix.clone(),
            fingerprint: fingerprint(self.rule, &self.path, &Value::String(self.evidence.clone())),
            region: None,
        }
    }
}

/// Rules whose findings no image may have: everybody who has it would have the secret, or could become root in it.
const NOT_IN_IMAGES: &[&str] = &["secret", "credentials", "keystore", "readable-shadow", "world-writable"];

/// Whether findings of this rule, or some of them, stop an image: a waiver may name it.
pub fn stops_image(rule: &str) -> bool {
    NOT_IN_IMAGES.contains(&rule) || matches!(rule, "history" | "unread")
}

/// Whether an image with this finding of [`super::Purpose::Image`] may not be used: the rule `no-secret-in-image`. What could not be read may
/// hold a secret. Services that listen, setuid programs and what lies under web roots are for whoever uses the image to judge.
pub fn blocks_image(finding: &Finding) -> bool {
    match finding.verdict {
        Verdict::Public => {
            NOT_IN_IMAGES.contains(&finding.via.as_str()) || (finding.via == "history" && finding.severity >= Severity::High)
        }
        Verdict::Unknown => finding.via == "unread",
        Verdict::NotPublic => false,
    }
}
