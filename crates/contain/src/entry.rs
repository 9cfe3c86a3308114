//! One line of a journal: what was planned, or what came of it. Every line holds the hash of the one before.

use guard::contain::{Phase, Plan, State};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Where the setting is. An undo is made there and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "place")]
pub enum Place {
    /// `endpoint`: what answers instead of AWS, which may have an account of the same number.
    Aws {
        account: String,
        region: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        endpoint: Option<String>,
    },
    Host {
        root: String,
    },
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    pub at: Place,
    pub plan: Plan,
    /// `type` and `id` of what must not be public after it: the resource of the plan, or every exposed one of an account.
    pub covers: Vec<(String, String)>,
    /// The same by hand.
    pub contain_command: String,
    pub undo_command: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Planned(Box<Planned>),
    /// The change is about to be sent: from here on it may be in place.
    Writing,
    /// Something that it covers does not exist any more, as its API answered when it was asked for it by name.
    CoveredGone {
        kind: String,
        id: String,
    },
    /// The same of what the setting belongs to: nothing of the change is left.
    Gone,
    /// Read again, and not public by the verdict function.
    Contained,
    /// `opens`: `type` and `id` of everything that is public again after it, as it was shown before.
    Undoing {
        owner: String,
        reason: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        opens: Vec<(String, String)>,
    },
    Undone,
    /// Somebody else changed the setting meanwhile. It was left as it is.
    Conflict {
        seen: State,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub containment: String,
    pub at_s: i64,
    pub by: String,
    pub event: Event,
    /// The hash of the line before; of the first line, of nothing.
    pub previous: String,
    pub hash: String,
}

impl Entry {
    pub fn new(containment: &str, at_s: i64, by: &str, event: Event, previous: &str) -> Entry {
        let (containment, by, previous) = (containment.to_string(), by.to_string(), previous.to_string());
        let entry = Entry { containment, at_s, by, event, previous, hash: String::new() };
        Entry { hash: entry.computed_hash(), ..entry }
    }

    /// Over everything but itself. The length before each part keeps parts apart.
    pub fn computed_hash(&self) -> String {
        let event = serde_json::to_string(&self.event).unwrap_or_default();
        let mut hash = Sha256::new();
        for part in [self.containment.as_str(), &self.at_s.to_string(), &self.by, &event, &self.previous] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        hex::encode(hash.finalize())
    }
}

/// What the lines of a journal come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Phase(Phase),
    /// Nothing of it is in place: somebody else changed the setting before it was contained.
    Superseded,
    /// What the setting belonged to does not exist any more.
    Gone,
}

impl Standing {
    pub const CONTAINED: Standing = Standing::Phase(Phase::Contained);
    pub const UNDONE: Standing = Standing::Phase(Phase::Undone);

    /// Whether a run that was interrupted left it to the next.
    pub fn is_open(&self) -> bool {
        matches!(self, Standing::Phase(Phase::Planned | Phase::Undoing { .. }))
    }

    pub fn name(&self) -> &'static str {
        match self {
            Standing::Phase(Phase::Planned) => "planned",
            Standing::Phase(Phase::Contained) => "contained",
            Standing::Phase(Phase::Undoing { .. }) => "undoing",
            Standing::Phase(Phase::Undone) => "undone",
            Standing::Superseded => "superseded",
            Standing::Gone => "gone",
        }
    }

    /// None: the event cannot follow.
    pub fn after(&self, event: &Event) -> Option<Standing> {
        let Standing::Phase(phase) = self else { return None };
        Some(match (phase, event) {
            (Phase::Planned, Event::Writing | Event::CoveredGone { .. }) => self.clone(),
            (Phase::Planned | Phase::Contained | Phase::Undoing { .. }, Event::Gone) => Standing::Gone,
            (Phase::Planned, Event::Contained) => Standing::Phase(Phase::Contained),
            (Phase::Planned | Phase::Contained, Event::Undoing { owner, reason, .. }) => {
                Standing::Phase(Phase::Undoing { owner: owner.clone(), reason: reason.clone() })
            }
            (Phase::Undoing { .. }, Event::Undone) => Standing::Phase(Phase::Undone),
            (Phase::Planned, Event::Conflict { .. }) => Standing::Superseded,
            // What is there may become what was contained again.
            (Phase::Undoing { .. }, Event::Conflict { .. }) => Standing::Phase(Phase::Contained),
            _ => return None,
        })
    }
}
