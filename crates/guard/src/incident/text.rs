//! The record of an incident as text: for the review, and for whoever reported it.

use super::{Event, Incident};
use crate::date::show_s;
use std::fmt::Write as _;

/// Whether an event is of one kind.
type Is = fn(&Event) -> bool;

impl Incident {
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

impl Event {
    fn phrase(&self) -> String {
        match self {
            Event::FirstSeen { kind, resource, fingerprint, .. } => format!("first seen: {kind} {resource} (finding {fingerprint})"),
            Event::Exposed { kind, resource, fingerprint, why } => format!("exposed too: {kind} {resource} (finding {fingerprint}): {why}"),
            Event::Evidence { name, sha256 } => format!("evidence kept: {name} (SHA-256 {sha256})"),
            Event::Contained { change } => format!("contained: {change}"),
            Event::Covered { kind, resource, containment } => format!("{kind} {resource} is closed by {containment} as well"),
            Event::Gone { kind, resource } => format!("gone: {kind} {resource} does not exist any more, as its API answers"),
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
