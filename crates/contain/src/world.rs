//! What a containment changes: read, written, judged. AWS, this host, or the world of a test.

use guard::contain::{Call, Setting, State};
use guard::{Judgement, Verdict};
use model::Fault;
use std::time::Duration;

/// What the verdict function says of a resource, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    pub verdict: Verdict,
    /// What could not be read, if it is unknown.
    pub missing: String,
}

impl From<&Judgement> for Judged {
    fn from(judgement: &Judgement) -> Judged {
        let missing = judgement.missing.iter().map(|m| m.0.as_str()).collect::<Vec<_>>().join(", ");
        Judged { verdict: judgement.verdict, missing }
    }
}

pub trait World {
    /// The value that is there now.
    fn state(&self, setting: &Setting) -> Result<State, Fault>;

    /// Makes the call, once. An error says that it may not have been done, not that it was not.
    fn write(&self, call: &Call) -> Result<(), Fault>;

    /// By the verdict function, from facts that are read now.
    fn judge(&self, kind: &str, id: &str) -> Result<Judged, Fault>;

    /// Whether it is proved that a resource which the setting closed does not exist any more. A denied call proves nothing.
    fn is_gone(&self, setting: &Setting, resource: (&str, &str)) -> Result<bool, Fault>;

    /// How often to read again, with which pauses, until a value that was written is the one that is read.
    fn settles_in(&self, setting: &Setting) -> Vec<Duration>;
}
