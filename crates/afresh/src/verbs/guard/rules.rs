//! `guard rules` and `guard explain`: what is checked, and what is done about it.

use super::input::read;
use super::words::{enforcement, severity};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::guard::RulesSeen;
use clap::Args;
use guard::RuleFault;
use guard::rules::{Enforcement, Rule, RuleSet};
use guard::secrets::Detector;
use model::Fault;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// List the rules that changes are checked against
#[derive(Args, Debug)]
#[command(after_help = "\
Each rule carries samples that it must refuse and samples that it must let pass, and is refused without.

Example:
  afresh guard rules
  afresh guard rules --text > rules.toml   # to change it, and use it with --rules")]
pub struct Rules {
    #[command(flatten)]
    file: RuleFile,
    /// Show the rules of the control plane, which its plans and deploys are checked against
    #[arg(long, conflicts_with = "rules")]
    control_plane: bool,
    /// Print the rules as they are written, in TOML
    #[arg(long)]
    text: bool,
}

/// Which rules: a flag that several verbs share.
#[derive(Args, Debug)]
pub(super) struct RuleFile {
    /// Use the rules of this file instead of the built-in ones
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
}

impl RuleFile {
    pub(super) fn load(&self) -> Result<RuleSet, Fault> {
        let Some(path) = &self.rules else { return RuleSet::built_in().map_err(|e| Fault::ours("bad-rules", e.to_string())) };
        RuleSet::load(&self.text()?).map_err(|e| refused(path, &e))
    }

    fn refused(&self, fault: &RuleFault) -> Fault {
        refused(self.rules.as_deref().unwrap_or(Path::new("the rules")), fault)
    }

    pub(super) fn text(&self) -> Result<String, Fault> {
        match &self.rules {
            Some(path) => read(path, "begin with the built-in rules: afresh guard rules --text > FILE"),
            None => Ok(guard::rules::BUILT_IN.to_string()),
        }
    }
}

fn refused(path: &Path, fault: &RuleFault) -> Fault {
    Fault::yours("bad-rules", format!("{}: {fault}", path.display())).hint("`afresh guard rules --text` shows how rules are written")
}

impl Rules {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let text = if self.control_plane {
            context.wait(async { Ok(context.api().get::<RulesSeen>(api::guard::RULES).await?) })?.text
        } else {
            self.file.text()?
        };
        let set = RuleSet::load(&text).map_err(|e| self.file.refused(&e))?;
        if self.text {
            show::text(&text);
        } else if context.json {
            set.rules.iter().for_each(|rule| show::json(&described(rule)));
        } else {
            let row = |rule: &Rule| {
                let sample = rule.fail.first().map(sample).unwrap_or_default();
                vec![
                    rule.id.clone(),
                    enforcement(rule.enforcement).to_string(),
                    severity(rule.severity).to_string(),
                    sample,
                    rule.resources.join(","),
                ]
            };
            show::line(show::table(&["rule", "enforcement", "severity", "refuses", "of"], set.rules.iter().map(row).collect()));
        }
        Ok(Exit::Succeeded)
    }
}

/// Explain a rule: what it requires, why, and how to meet it
#[derive(Args, Debug)]
#[command(after_help = "A name of a rule of the gate (`afresh guard rules`), or of the secrets detector, as scans show it.\n\n\
Example:\n  afresh guard explain no-secret-in-env\n  afresh guard explain github-token")]
pub struct Explain {
    /// The rule's name
    rule: String,
    #[command(flatten)]
    file: RuleFile,
}

impl Explain {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let set = self.file.load()?;
        if let Some(rule) = set.rules.iter().find(|rule| rule.id == self.rule) {
            if context.json {
                show::json(&described(rule));
            } else {
                of_gate(rule);
            }
            return Ok(Exit::Succeeded);
        }
        let detector = Detector::built_in().map_err(|e| Fault::ours("bad-rules", e.to_string()))?;
        if let Some(rule) = detector.rules().iter().find(|rule| rule.id == self.rule) {
            if context.json {
                show::json(&json!({ "rule": rule.id, "title": rule.title, "source": rule.source, "fix": rule.fix }));
            } else {
                show::line(show::paint(show::BOLD, format!("{}: {}", rule.id, rule.title)));
                show::line(format!("\nA secret by the format that its issuer documents: {}\nfix: {}", rule.source, rule.fix));
            }
            return Ok(Exit::Succeeded);
        }
        let fault = Fault::yours("no-such-rule", format!("no rule is called {:?}", self.rule));
        Err(fault.hint("`afresh guard rules` lists them").into())
    }
}

fn of_gate(rule: &Rule) {
    show::line(show::paint(show::BOLD, format!("{}: {}", rule.id, rule.title)));
    show::line(format!(
        "\nOf {}, severity {}: {}.",
        rule.resources.join(", "),
        severity(rule.severity),
        match rule.enforcement {
            Enforcement::Observe => "what does not meet it is recorded",
            Enforcement::Warn => "what does not meet it is shown",
            Enforcement::Deny => "what does not meet it is refused, unless a waiver or a break-glass lifts it",
            Enforcement::Hard => "what does not meet it is refused, and nothing lifts that",
        }
    ));
    show::line(format!("\nIt says: {}\nfix: {}", rule.why, rule.fix));
    rule.fail.iter().for_each(|attributes| show::line(format!("refuses: {}", sample(attributes))));
    rule.pass.iter().for_each(|attributes| show::line(format!("passes:  {}", sample(attributes))));
    if rule.enforcement == Enforcement::Deny {
        show::line(format!("\nTo go on without the fix: afresh guard waive {} RESOURCE --evidence FINGERPRINT", rule.id));
    }
}

fn sample(attributes: &BTreeMap<String, Value>) -> String {
    attributes.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ")
}

fn described(rule: &Rule) -> Value {
    json!({
        "rule": rule.id,
        "title": rule.title,
        "severity": rule.severity,
        "enforcement": rule.enforcement,
        "resources": rule.resources,
        "why": rule.why,
        "fix": rule.fix,
        "fail": rule.fail,
        "pass": rule.pass,
    })
}
