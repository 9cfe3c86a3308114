//! The record of an incident: a timeline in which every entry holds the hash of the one before. Time is an argument.
//!
//! ```text
//! first seen -> contained -> verified -> cause -> guardrail -> closed
//! ```
//!
//! It closes only with a rule that refuses it now and has it among its failing samples, so that the same mistake is refused permanently.

mod text;

pub use text::{reply_template, security_txt};

use crate::judgement::Verdict;
use crate::rules::{Enforcement, Facts, Outcome, RuleSet};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    pub id: String,
    entries: Vec<Entry>,
}

/// One line of the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub incident: String,
    pub at_s: i64,
    pub by: String,
    pub event: Event,
    /// The hash of the entry before; of the first, of nothing.
    pub previous: String,
    pub hash: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    FirstSeen {
        kind: String,
        resource: String,
        fingerprint: String,
        why: String,
        /// The facts of the resource, as the gate reads them.
        attributes: BTreeMap<String, Value>,
    },
    /// Another resource of the same incident.
    Exposed {
        kind: String,
        resource: String,
        fingerprint: String,
        why: String,
    },
    /// A copy that is kept: a policy, a configuration, a log.
    Evidence {
        name: String,
        sha256: String,
    },
    Contained {
        change: String,
    },
    /// Another change of the incident closed it as well, so none was made.
    Covered {
        kind: String,
        resource: String,
        /// The containment that did.
        containment: String,
    },
    /// It does not exist any more, as its API answered when it was asked for it by name: nothing is left to contain.
    Gone {
        kind: String,
        resource: String,
    },
    /// A containment was taken back: what was contained and verified before does not count any more.
    Undone {
        change: String,
    },
    /// The verdict after the change.
    Verified {
        verdict: Verdict,
    },
    Cause {
        text: String,
    },
    Guardrail {
        rule: String,
    },
    Note {
        text: String,
    },
    Closed {
        rule: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("incident {incident}: {fault}")]
pub struct IncidentFault {
    pub incident: String,
    pub fault: String,
}

impl Incident {
    pub fn open(id: &str, facts: &Facts, fingerprint: &str, why: &str, by: &str, at_s: i64) -> Result<Incident, IncidentFault> {
        let mut incident = Incident { id: id.into(), entries: Vec::new() };
        let event = Event::FirstSeen {
            kind: facts.kind.clone(),
            resource: facts.id.clone(),
            fingerprint: fingerprint.into(),
            why: why.into(),
            attributes: facts.attributes.clone(),
        };
        incident.append(event, by, at_s)?;
        Ok(incident)
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The hash of the last entry. Whoever keeps it elsewhere notices a record that was cut.
    pub fn head(&self) -> &str {
        self.entries.last().map_or("", |e| e.hash.as_str())
    }

    /// Adds an entry. A closed record takes none, and time does not run back.
    pub fn append(&mut self, event: Event, by: &str, at_s: i64) -> Result<(), IncidentFault> {
        if matches!(event, Event::Closed { .. }) {
            return Err(self.fault("is closed by naming its rule: `afresh guard incident close`"));
        }
        self.push(event, by, at_s)
    }

    fn push(&mut self, event: Event, by: &str, at_s: i64) -> Result<(), IncidentFault> {
        let entry = Entry { incident: self.id.clone(), at_s, by: by.into(), event, previous: self.head().into(), hash: String::new() };
        let entry = Entry { hash: entry.computed_hash(), ..entry };
        self.check(&entry)?;
        self.entries.push(entry);
        Ok(())
    }

    /// What holds for every entry, written now or read again.
    fn check(&self, entry: &Entry) -> Result<(), IncidentFault> {
        let first = self.entries.is_empty();
        if entry.by.trim().is_empty() {
            return Err(self.fault("an entry needs who made it"));
        }
        if first != matches!(entry.event, Event::FirstSeen { .. }) {
            return Err(self.fault("begins with what was first seen, once"));
        }
        if self.is_closed() {
            return Err(self.fault("is closed"));
        }
        if self.entries.last().is_some_and(|last| last.at_s > entry.at_s) {
            return Err(self.fault("an entry is older than the one before it"));
        }
        match &entry.event {
            Event::Verified { verdict } if *verdict != Verdict::NotPublic => {
                Err(self.fault("is verified only when nothing is public any more"))
            }
            Event::Verified { .. } if !self.is_contained() => Err(self.fault("is verified after it is contained")),
            Event::Evidence { sha256, .. } if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Err(self.fault("evidence needs its SHA-256"))
            }
            Event::Cause { text } | Event::Contained { change: text } | Event::Undone { change: text } if text.trim().is_empty() => {
                Err(self.fault("an entry says nothing"))
            }
            _ => Ok(()),
        }
    }

    pub fn is_closed(&self) -> bool {
        self.entries.iter().any(|e| matches!(e.event, Event::Closed { .. }))
    }

    fn time_of(&self, is: impl Fn(&Event) -> bool) -> Option<i64> {
        self.entries.iter().find(|e| is(&e.event)).map(|e| e.at_s)
    }

    /// Everything that the incident is about: kind and identifier.
    pub fn resources(&self) -> Vec<(&str, &str)> {
        self.entries
            .iter()
            .filter_map(|e| match &e.event {
                Event::FirstSeen { kind, resource, .. } | Event::Exposed { kind, resource, .. } => Some((kind.as_str(), resource.as_str())),
                _ => None,
            })
            .collect()
    }

    /// Whether something of it is contained, and was not undone since, or nothing of it is left.
    pub fn is_contained(&self) -> bool {
        let are_gone = self.resources().into_iter().all(|(kind, id)| self.is_gone(kind, id));
        are_gone || self.in_force(|e| matches!(e, Event::Contained { .. })).is_some()
    }

    /// Whether it is on record that the resource does not exist any more.
    pub fn is_gone(&self, kind: &str, id: &str) -> bool {
        let is_it = |e: &Event| matches!(e, Event::Gone { kind: k, resource } if k == kind && resource == id);
        self.entries.iter().any(|e| is_it(&e.event))
    }

    /// Whether its containment is verified, and was not undone since.
    pub fn is_verified(&self) -> bool {
        self.in_force(|e| matches!(e, Event::Verified { .. })).is_some()
    }

    /// The same as `time_of`, since a containment was last undone.
    fn in_force(&self, is: impl Fn(&Event) -> bool) -> Option<i64> {
        let since = self.entries.iter().rposition(|e| matches!(e.event, Event::Undone { .. })).map_or(0, |at| at + 1);
        self.entries[since..].iter().find(|e| is(&e.event)).map(|e| e.at_s)
    }

    fn fault(&self, fault: &str) -> IncidentFault {
        IncidentFault { incident: self.id.clone(), fault: fault.into() }
    }

    /// Closes it with the rule that prevents it from now on: it denies, the incident violates it, and is one of its failing samples.
    pub fn close(&mut self, rule: &str, set: &RuleSet, by: &str, at_s: i64) -> Result<(), IncidentFault> {
        let Some(Event::FirstSeen { kind, attributes, .. }) = self.entries.first().map(|e| &e.event) else {
            return Err(self.fault("begins with what was first seen"));
        };
        let was_undone = self.time_of(|e| matches!(e, Event::Undone { .. })).is_some();
        for (name, is_so) in [("contained", self.is_contained()), ("verified", self.is_verified())] {
            if !is_so {
                let why = if was_undone { "any more: a containment was undone" } else { "yet" };
                return Err(self.fault(&format!("is not {name} {why}")));
            }
        }
        if self.time_of(|e| matches!(e, Event::Cause { .. })).is_none() {
            return Err(self.fault("is not given a cause yet"));
        }
        let Some(found) = set.rules.iter().find(|r| r.id == rule) else {
            return Err(self.fault(&format!("rule {rule} is not among the rules of the gate")));
        };
        if !matches!(found.enforcement, Enforcement::Deny | Enforcement::Hard) {
            return Err(self.fault(&format!("rule {rule} only warns: set its enforcement to deny")));
        }
        if !found.resources.contains(kind) || set.outcome(found, attributes) != Outcome::Violated {
            return Err(self.fault(&format!("rule {rule} would not have refused it")));
        }
        let is_incident = |sample: &BTreeMap<String, Value>| sample.iter().all(|(name, value)| attributes.get(name) == Some(value));
        if !found.fail.iter().any(is_incident) {
            return Err(self.fault(&format!("rule {rule} has no failing sample with the facts of the incident: add one")));
        }
        self.push(Event::Guardrail { rule: rule.into() }, by, at_s)?;
        self.push(Event::Closed { rule: rule.into() }, by, at_s)
    }

    /// One entry a line.
    pub fn to_lines(&self) -> String {
        self.entries.iter().filter_map(|e| serde_json::to_string(e).ok()).fold(String::new(), |text, line| text + &line + "\n")
    }

    /// Reads a record, and refuses one that was changed. `head`: the last hash, if it was kept elsewhere.
    pub fn read(text: &str, head: Option<&str>) -> Result<Incident, IncidentFault> {
        let mut incident = Incident { id: "?".into(), entries: Vec::new() };
        for (number, line) in (1..).zip(text.lines()) {
            let entry: Entry = serde_json::from_str(line).map_err(|e| incident.fault(&format!("line {number} cannot be read: {e}")))?;
            if incident.entries.is_empty() {
                incident.id.clone_from(&entry.incident);
            }
            if entry.incident != incident.id || entry.previous != incident.head() || entry.hash != entry.computed_hash() {
                return Err(incident.fault(&format!("line {number} was changed, or an entry before it is missing")));
            }
            incident.check(&entry).map_err(|e| incident.fault(&format!("line {number}: {}", e.fault)))?;
            incident.entries.push(entry);
        }
        if incident.entries.is_empty() {
            return Err(incident.fault("the record is empty"));
        }
        if head.is_some_and(|head| head != incident.head()) {
            return Err(incident.fault("the record was cut: its last entry is not the one that was kept"));
        }
        Ok(incident)
    }
}

impl Entry {
    /// Over everything but itself. The length before each part keeps parts apart.
    fn computed_hash(&self) -> String {
        let event = serde_json::to_string(&self.event).unwrap_or_default();
        let mut hash = Sha256::new();
        for part in [self.incident.as_str(), &self.at_s.to_string(), &self.by, &event, &self.previous] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }
}
