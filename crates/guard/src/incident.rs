//! The record of an incident: a timeline in which every entry holds the hash of the one before. Time is an argument.
//!
//! ```text
//! first seen -> contained -> verified -> cause -> guardrail -> closed
//! ```
//!
//! It closes only with a rule that refuses it now and has it among its failing samples, so that the same mistake is refused permanently.

use crate::date::show_s;
use crate::judgement::Verdict;
use crate::rules::{Enforcement, Facts, Outcome, RuleSet};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Whether an event is of one kind.
type Is = fn(&Event) -> bool;

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
            Event::Verified { .. } if self.in_force(|e| matches!(e, Event::Contained { .. })).is_none() => {
                Err(self.fault("is verified after it is contained"))
            }
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

    /// Whether something of it is contained, and was not undone since.
    pub fn is_contained(&self) -> bool {
        self.in_force(|e| matches!(e, Event::Contained { .. })).is_some()
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

    /// For the review.
    pub fn markdown(&self) -> String {
        let mut out = format!("# Incident {}\n\n", plain(&self.id));
        if let Some(Event::FirstSeen { kind, resource, why, .. }) = self.entries.first().map(|e| &e.event) {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{} {}: {}\n", plain(kind), plain(resource), plain(why));
        }
        let state = if self.is_closed() { "closed" } else { "open" };
        let _ = writeln!(out, "State: {state}. Last hash: `{}`.\n", self.head());
        let first_s = self.entries.first().map_or(0, |e| e.at_s);
        let steps: [(&str, Is); 2] =
            [("Contained", |e| matches!(e, Event::Contained { .. })), ("Verified", |e| matches!(e, Event::Verified { .. }))];
        for (name, is) in steps {
            if let Some(at_s) = self.time_of(is) {
                let _ = writeln!(out, "{name} {} s after it was first seen.\n", at_s - first_s);
            }
        }
        out.push_str("| When | Who | What |\n| --- | --- | --- |\n");
        for entry in &self.entries {
            let _ = writeln!(out, "| {} | {} | {} |", show_s(entry.at_s), plain(&entry.by), plain(&entry.event.phrase()));
        }
        out
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

impl Event {
    fn phrase(&self) -> String {
        match self {
            Event::FirstSeen { kind, resource, fingerprint, .. } => format!("first seen: {kind} {resource} (finding {fingerprint})"),
            Event::Exposed { kind, resource, fingerprint, why } => format!("exposed too: {kind} {resource} (finding {fingerprint}): {why}"),
            Event::Evidence { name, sha256 } => format!("evidence kept: {name} (SHA-256 {sha256})"),
            Event::Contained { change } => format!("contained: {change}"),
            Event::Undone { change } => format!("undone: {change}"),
            Event::Verified { .. } => "verified: it is not public any more".into(),
            Event::Cause { text } => format!("cause: {text}"),
            Event::Guardrail { rule } => format!("guardrail: rule {rule} refuses it from now on"),
            Event::Note { text } => text.clone(),
            Event::Closed { rule } => format!("closed by rule {rule}"),
        }
    }
}

/// Text of others in a table of Markdown: no markup, no new row.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '#' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// <https://www.rfc-editor.org/rfc/rfc9116>
pub fn security_txt(contact: &str, policy: Option<&str>, expires_s: i64) -> Result<String, String> {
    let is_uri =
        |text: &str| ["https://", "mailto:", "tel:"].iter().any(|scheme| text.starts_with(scheme)) && !text.contains(char::is_whitespace);
    if !is_uri(contact) {
        return Err(format!("contact {contact:?} must be a URI: mailto:security@example.org"));
    }
    let mut out = format!("Contact: {contact}\nExpires: {}\nPreferred-Languages: en\n", show_s(expires_s));
    if let Some(policy) = policy {
        if !policy.starts_with("https://") || policy.contains(char::is_whitespace) {
            return Err(format!("policy {policy:?} must be an https:// URI"));
        }
        let _ = writeln!(out, "Policy: {policy}");
    }
    Ok(out)
}

/// What to answer an outsider who reports exposed data. The blanks are for a person.
pub fn reply_template(incident: &Incident) -> String {
    let contained = incident.in_force(|e| matches!(e, Event::Verified { .. }));
    let state = contained.map_or("We are closing the access now and will tell you when it is done.".into(), |at_s| {
        format!("The access was closed on {} and we verified that it is.", show_s(at_s))
    });
    format!(
        "Subject: Your report, our reference {}\n\nHello [name],\n\nthank you for telling us. We have confirmed what you found. {state}\n\n\
         Please delete any copy that you made, and tell us [what you accessed, and when], so that we can inform those concerned.\n\
         We will write to you by [date] with what caused it and what now prevents it. We will take no action against you for a report\n\
         in good faith.\n\n[name, role, how to reach you]\n",
        incident.id
    )
}
