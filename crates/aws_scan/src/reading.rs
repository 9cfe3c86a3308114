//! Calls of one resource, and what of them failed: a fact that could not be read names the permission that would give it.

use aws_client::{AwsError, ErrorKind};
use guard::{Context, Fact, Finding, Judgement, Resource, Severity, Verdict, fingerprint, public};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Failed calls by IAM action.
#[derive(Clone, Debug, Default)]
pub struct Failures(BTreeMap<&'static str, AwsError>);

impl Failures {
    pub fn fact<T>(&mut self, read: Result<T, AwsError>) -> Fact<T> {
        match read {
            Ok(value) => Fact::Known(value),
            Err(error) => {
                let fact = Fact::denied(error.action);
                self.note(error);
                fact
            }
        }
    }

    pub fn note(&mut self, error: AwsError) {
        self.0.insert(error.action, error);
    }

    pub fn add(&mut self, other: &Failures) {
        self.0.extend(other.0.iter().map(|(action, error)| (*action, error.clone())));
    }

    fn of(&self, action: &str) -> Option<&AwsError> {
        self.0.get(action)
    }
}

/// A fact that was not asked for, since the others decide.
pub fn unread<T>(action: &str) -> Fact<T> {
    Fact::denied(action)
}

pub fn mapped<T, U>(fact: Fact<T>, change: impl FnOnce(T) -> U) -> Fact<U> {
    match fact {
        Fact::Known(value) => Fact::Known(change(value)),
        Fact::Unknown(missing) => Fact::Unknown(missing),
    }
}

/// Whether a further fact could change what is said.
pub fn is_undecided(judgement: &Judgement) -> bool {
    [judgement.verdict, judgement.documented, judgement.effective].contains(&Verdict::Unknown)
}

/// The line of a resource. `place` is its region, where the identifier does not say it.
pub fn finding(resource: &Resource, context: &Context, failures: &Failures, place: Option<&str>) -> Finding {
    let judgement = public(resource, context);
    let errors: Vec<&AwsError> = judgement.missing.iter().filter_map(|m| failures.of(&m.0)).collect();
    let mut found = Finding::new(resource, &judgement);
    if found.verdict == Verdict::Unknown && !errors.is_empty() {
        found.why = format!("{} ({})", found.why, messages(&errors));
        if errors.iter().any(|e| e.kind != ErrorKind::Denied) {
            found.fix = advice(&errors);
        }
    }
    if let Some(place) = place {
        found.why = format!("{} (region {place})", found.why);
        found.region = Some(place.to_string());
    }
    found
}

/// The line that stands for resources that could not be listed, or not all of them.
pub fn unlisted(kind: &'static str, place: &str, error: &AwsError) -> Finding {
    let id = format!("{place}/*");
    let verdict = Verdict::Unknown;
    Finding {
        kind: kind.into(),
        verdict,
        via: "none".into(),
        documented: verdict,
        effective: verdict,
        cross_account: guard::CrossAccount::Unknown,
        severity: Severity::Medium,
        why: format!("cannot tell what else is public: {} of {place} are not all listed ({})", kind.replace('_', " "), messages(&[error])),
        fix: advice(&[error]),
        fingerprint: fingerprint(kind, &id, &Value::Null),
        id,
        region: None,
    }
}

fn messages(errors: &[&AwsError]) -> String {
    errors.iter().map(|e| e.to_string()).collect::<Vec<_>>().join("; ")
}

fn advice(errors: &[&AwsError]) -> String {
    let denied: Vec<&str> = errors.iter().filter(|e| e.kind == ErrorKind::Denied).map(|e| e.action).collect();
    let mut parts = Vec::new();
    if !denied.is_empty() {
        let statement = json!({"Effect": "Allow", "Action": denied, "Resource": "*"});
        parts.push(format!("allow the scan to read it with the IAM statement {statement}"));
    }
    let is = |kind: ErrorKind| errors.iter().any(|e| e.kind == kind);
    if is(ErrorKind::Throttled) {
        parts.push("run the scan again with a smaller --concurrency".into());
    }
    if is(ErrorKind::Credentials) {
        parts.push("run the scan again with valid credentials, on a machine whose clock is right".into());
    }
    if [ErrorKind::Broken, ErrorKind::Unreachable, ErrorKind::Other, ErrorKind::NotFound, ErrorKind::Unimplemented].into_iter().any(is) {
        parts.push("run the scan again; the answer was no proof".into());
    }
    parts.join("; ")
}
