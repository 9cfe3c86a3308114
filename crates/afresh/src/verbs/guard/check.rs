//! `guard check`: a change against the rules, before it is made.

use super::input::read;
use super::rules::RuleFile;
use super::service_facts;
use super::waivers::{WaiverFile, now_s};
use super::words;
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::show;
use clap::{Args, ValueEnum};
use guard::rules::{Disposition, Facts, GateReport, Objection, RuleSet, gate};
use guard::secrets::Detector;
use guard::{TerraformPlan, report};
use model::Fault;
use std::path::{Path, PathBuf};

/// Check a service file or a Terraform plan against the rules
#[derive(Args, Debug)]
#[command(after_help = "\
Exits with 0 where nothing is denied, 1 where a rule denies it, 2 where a rule cannot tell (which is denied too), 3 on an error.
A plan is what `terraform show -json PLAN` prints. Images are as old as the store of this machine says; one that it does not have is baked by the deploy.

Example:
  afresh guard check plan.json             # terraform show -json tfplan > plan.json
  afresh guard check afresh.hcl --format sarif > guard.sarif")]
pub struct Check {
    /// A service file, or a plan of Terraform in JSON [default: the service file of --file]
    #[arg(value_name = "FILE")]
    path: Option<PathBuf>,
    #[command(flatten)]
    rules: RuleFile,
    #[command(flatten)]
    waivers: WaiverFile,
    /// How to print what the rules object to
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// The AWS account that the plan is for: what it names as its own is no stranger's
    #[arg(long, value_name = "ID")]
    account: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One object a line, and a last line with totals
    Json,
    /// SARIF 2.1.0, with waived findings as suppressions
    Sarif,
    /// JUnit XML: a test for each rule
    Junit,
    /// OCSF compliance findings, one a line
    Ocsf,
}

impl Check {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let set = self.rules.load()?;
        let waivers = self.waivers.load()?;
        let path = self.path.clone().unwrap_or_else(|| context.file.clone());
        let facts = self.facts(context, &path)?;
        let now_s = now_s();
        let report = gate(&set, &facts, &waivers, None, now_s);
        let format = if context.json { Format::Json } else { self.format };
        print(format, &set, &report, now_s);
        Ok(exit::of_guard(report.exit_code()))
    }

    fn facts(&self, context: &Context, path: &Path) -> Result<Vec<Facts>, Failure> {
        if path.extension().is_some_and(|ending| ending == "json") {
            let text = read(path, "write it with `terraform show -json PLAN`")?;
            let plan = TerraformPlan::read(&text, self.account.as_deref()).map_err(|e| {
                Fault::yours("bad-plan", format!("{}: {e}", path.display())).hint("write it with `terraform show -json PLAN`")
            })?;
            return Ok(plan.facts());
        }
        let context = Context { file: path.to_path_buf(), ..context.clone() };
        let file = context.load()?;
        let detector = Detector::built_in().map_err(|e| Fault::ours("bad-rules", e.to_string()))?;
        Ok(service_facts::facts(&context, &file, &context.read()?, &detector))
    }
}

fn print(format: Format, set: &RuleSet, gate: &GateReport, now_s: i64) {
    let version = env!("CARGO_PKG_VERSION");
    let (rules, entries) = report::of_gate(set, gate);
    match format {
        Format::Table => table(gate),
        Format::Json => {
            gate.objections.iter().for_each(show::json);
            let (denied, unknown) = counts(gate);
            show::json(&serde_json::json!({
                "resources": gate.resources, "rules": gate.rules, "denied": denied, "unknown": unknown,
            }));
        }
        Format::Sarif => show::json(&report::sarif(version, &rules, &entries)),
        Format::Junit => show::text(&report::junit(&rules, &entries)),
        Format::Ocsf => report::ocsf(version, &entries, now_s).iter().for_each(show::json),
    }
}

/// Denied by what is known, and denied because something is not.
fn counts(gate: &GateReport) -> (usize, usize) {
    let denied = gate.objections.iter().filter(|o| o.disposition == Disposition::Denied);
    let (unknown, known): (Vec<&Objection>, Vec<&Objection>) = denied.partition(|o| !o.missing.is_empty());
    (known.len(), unknown.len())
}

fn table(gate: &GateReport) {
    for objection in &gate.objections {
        let (word, style) = match &objection.disposition {
            Disposition::Denied if !objection.missing.is_empty() => ("unknown", show::YELLOW),
            Disposition::Denied => ("denied", show::RED),
            Disposition::Warned => ("warning", show::YELLOW),
            Disposition::Observed => ("observed", show::DIM),
            Disposition::Waived { .. } => ("waived", show::CYAN),
            Disposition::BrokenGlass { .. } => ("break-glass", show::CYAN),
        };
        let (word, severity) = (show::paint(style, format!("{word:<8}")), words::severity(objection.severity));
        let resource = show::paint(show::BOLD, show::safe_line(&objection.resource));
        show::line(format!("{word}  {} {resource}  {severity}  {}", objection.kind, objection.rule));
        for text in [objection.why.clone(), format!("fix: {}", objection.fix), objection.hint.clone()] {
            show::line(format!("          {}", show::safe_line(&text)));
        }
    }
    let (denied, unknown) = counts(gate);
    let resources = show::times(gate.resources as u64, "resource");
    let rules = show::times(gate.rules as u64, "rule");
    let verdict = if denied + unknown == 0 { "nothing is denied".to_string() } else { format!("{denied} denied, {unknown} unknown") };
    show::line(format!("{verdict}: {resources}, {rules}"));
}
