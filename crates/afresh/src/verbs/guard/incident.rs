//! `guard incident`: the record of what was exposed, from the first sight to the rule that prevents it.

use super::connection::{StateDir, by};
use super::rules::RuleFile;
use super::waivers::now_s;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use clap::{Args, Subcommand};
use contain::{Incidents, Journal, Kept};
use guard::incident::{Event, Incident, reply_template};
use guard::show_s;
use model::Fault;
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Keep the record of an incident: what was exposed, contained and prevented
#[derive(Args, Debug)]
#[command(after_help = "\
`afresh guard contain` and `stop-the-bleeding` open incidents. Each entry holds the hash of the one before, so that none can be changed or left out unseen.
An incident closes only when it is contained and verified, has a cause, and names a rule that refuses it now and has it among its failing samples.

Example:
  afresh guard incident list
  afresh guard incident cause INC-2026-11-30-1 'a policy copied from a tutorial'
  afresh guard incident close INC-2026-11-30-1 data-is-not-public --rules rules.toml
  afresh guard incident export INC-2026-11-30-1 > review.md")]
pub struct IncidentVerb {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    state: StateDir,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List incidents, and what each needs before it may close
    #[command(after_help = "Example:\n  afresh guard incident list --json")]
    List,
    /// Show the entries of an incident
    #[command(after_help = "Example:\n  afresh guard incident show INC-2026-11-30-1")]
    Show {
        /// The incident, as `list` shows it
        #[arg(value_name = "INCIDENT")]
        id: String,
    },
    /// Add what somebody found out or did
    #[command(after_help = "Example:\n  afresh guard incident note INC-2026-11-30-1 'the access log shows no reader'")]
    Note {
        /// The incident, as `list` shows it
        #[arg(value_name = "INCIDENT")]
        id: String,
        /// What it was
        text: String,
    },
    /// Add what caused it
    #[command(after_help = "Example:\n  afresh guard incident cause INC-2026-11-30-1 'a policy copied from a tutorial'")]
    Cause {
        /// The incident, as `list` shows it
        #[arg(value_name = "INCIDENT")]
        id: String,
        /// The cause
        text: String,
    },
    /// Add a rule that prevents it, without closing it
    #[command(after_help = "Example:\n  afresh guard incident guardrail INC-2026-11-30-1 data-is-not-public")]
    Guardrail {
        /// The incident, as `list` shows it
        #[arg(value_name = "INCIDENT")]
        id: String,
        /// The rule's name
        rule: String,
    },
    /// Copy a file into the record, with its hash
    #[command(after_help = "Example:\n  afresh guard incident evidence INC-2026-11-30-1 access.log")]
    Evidence {
        /// The incident, as `list` shows it
        #[arg(value_name = "INCIDENT")]
        id: String,
        /// The file
        file: PathBuf,
    },
    /// Close it by the rule that refuses it now
    #[command(after_help = "Example:\n  afresh guard incident close INC-2026-11-30-1 data-is-not-public --rules rules.toml")]
    Close {
        /// The incident, as `list` shows it
        #[arg(value_name = "INCIDENT")]
        id: String,
        /// The rule's name
        rule: String,
        #[command(flatten)]
        rules: RuleFile,
    },
    /// Print it as Markdown for the review, with the state of its evidence
    #[command(after_help = "Example:\n  afresh guard incident export INC-2026-11-30-1 > review.md")]
    Export {
        /// The incident, as `list` shows it
        #[arg(value_name = "INCIDENT")]
        id: String,
    },
}

impl IncidentVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let path = self.state.path(context);
        let add = |id: &str, event: Event| -> Result<Incident, Fault> {
            let journal = Journal::open(&self.state.for_writing(context)?)?;
            Incidents::new(&journal).append(id, vec![event], &by(), now_s())
        };
        let incident = match &self.verb {
            Verb::List => return list(context, &Incidents::list(&path)?),
            Verb::Show { id } => return shown(context, &Incidents::read(&path, id)?),
            Verb::Export { id } => return export(&path, &Incidents::read(&path, id)?),
            Verb::Note { id, text } => add(id, Event::Note { text: text.clone() })?,
            Verb::Cause { id, text } => add(id, Event::Cause { text: text.clone() })?,
            Verb::Guardrail { id, rule } => add(id, Event::Guardrail { rule: rule.clone() })?,
            Verb::Evidence { id, file } => {
                let journal = Journal::open(&self.state.for_writing(context)?)?;
                Incidents::new(&journal).keep(id, file, &by(), now_s())?;
                Incidents::read(&path, id)?
            }
            Verb::Close { id, rule, rules } => {
                let journal = Journal::open(&self.state.for_writing(context)?)?;
                Incidents::new(&journal).close(id, (rule, &rules.load()?), &by(), now_s())?
            }
        };
        if context.json {
            show::json(&incident.entries().last());
        } else {
            let state = if incident.is_closed() { "closed" } else { "open" };
            show::line(format!("incident {} is {state}; last hash {}", incident.id, incident.head()));
        }
        Ok(Exit::Succeeded)
    }
}

/// What is missing before it may close.
fn needs(incident: &Incident) -> String {
    let has = |is: fn(&Event) -> bool| incident.entries().iter().any(|e| is(&e.event));
    let steps = [
        ("contained", incident.is_contained()),
        ("verified", incident.is_verified()),
        ("cause", has(|e| matches!(e, Event::Cause { .. }))),
        ("guardrail", has(|e| matches!(e, Event::Closed { .. }))),
    ];
    steps.iter().filter(|(_, done)| !done).map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn list(context: &Context, all: &[Incident]) -> Result<Exit, Failure> {
    let about = |incident: &Incident| match incident.entries().first().map(|e| &e.event) {
        Some(Event::FirstSeen { kind, resource, .. }) => format!("{kind} {resource}"),
        _ => String::new(),
    };
    let since = |incident: &Incident| incident.entries().first().map_or(String::new(), |e| show_s(e.at_s));
    let state = |incident: &Incident| if incident.is_closed() { "closed" } else { "open" };
    if context.json {
        for incident in all {
            show::json(&json!({"incident": incident.id, "state": state(incident), "since": since(incident), "about": about(incident),
                "needs": needs(incident), "entries": incident.entries().len(), "head": incident.head()}));
        }
    } else if all.is_empty() {
        show::line("no incidents");
    } else {
        let row = |i: &Incident| vec![i.id.clone(), state(i).into(), since(i), about(i), needs(i)];
        show::line(show::table(&["incident", "state", "first seen", "about", "needs"], all.iter().map(row).collect()));
    }
    Ok(Exit::Succeeded)
}

fn shown(context: &Context, incident: &Incident) -> Result<Exit, Failure> {
    if context.json {
        incident.entries().iter().for_each(show::json);
    } else {
        show::line(incident.markdown().trim_end());
    }
    Ok(Exit::Succeeded)
}

fn export(path: &std::path::Path, incident: &Incident) -> Result<Exit, Failure> {
    let mut text = incident.markdown();
    let evidence = Incidents::evidence(path, incident)?;
    if !evidence.is_empty() {
        text.push_str("\n## Evidence\n\n");
    }
    for (_, sha256, kept) in evidence {
        let state = match kept {
            Kept::Whole => "kept, and its hash is as recorded",
            Kept::Changed => "CHANGED: the copy is not what was recorded",
            Kept::Missing => "MISSING: the copy is not there",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "- `{sha256}`: {state}");
    }
    show::line(text.trim_end());
    Ok(Exit::Succeeded)
}

/// Print an answer to an outsider who reported exposed data
#[derive(Args, Debug)]
#[command(after_help = "\
It says what the record of the incident says; the blanks are for a person.

Example:
  afresh guard answer INC-2026-11-30-1 > answer.txt")]
pub struct Answer {
    /// The incident
    #[arg(value_name = "INCIDENT")]
    id: String,
    #[command(flatten)]
    state: StateDir,
}

impl Answer {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let text = reply_template(&Incidents::read(&self.state.path(context), &self.id)?);
        if context.json {
            show::json(&json!({"text": text}))
        } else {
            show::text(&text)
        }
        Ok(Exit::Succeeded)
    }
}

/// Print a security.txt: where outsiders report what they found
#[derive(Args, Debug)]
#[command(after_help = "\
RFC 9116. It belongs at /.well-known/security.txt of each site, and expires at most a year from now.

Example:
  afresh guard security-txt --contact mailto:security@example.org --expires 2027-06-30 > security.txt")]
pub struct SecurityTxt {
    /// Where to report: mailto:, https:// or tel:
    #[arg(long, value_name = "URI")]
    contact: String,
    /// Until when it holds
    #[arg(long, value_name = "DATE")]
    expires: String,
    /// Your policy about reports
    #[arg(long, value_name = "URL")]
    policy: Option<String>,
}

impl SecurityTxt {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let refused = |text: String, hint: &str| Failure::from(Fault::yours("bad-security-txt", text).hint(hint));
        let expires_s =
            guard::parse_s(&self.expires).ok_or_else(|| refused(format!("{:?} is no date", self.expires), "write it as 2027-06-30"))?;
        const YEAR_S: i64 = 366 * 86_400;
        if !(now_s()..=now_s() + YEAR_S).contains(&expires_s) {
            return Err(refused(format!("{} is not within a year from now", self.expires), "RFC 9116 recommends less than a year"));
        }
        let text = guard::incident::security_txt(&self.contact, self.policy.as_deref(), expires_s)
            .map_err(|e| refused(e, "--contact mailto:security@example.org"))?;
        if context.json {
            show::json(&json!({"text": text}))
        } else {
            show::text(&text)
        }
        Ok(Exit::Succeeded)
    }
}
