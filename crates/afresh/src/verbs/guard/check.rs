//! `guard check`: a change against the rules, before it is made.

use super::image_ages::ages;
use super::input::read;
use super::objection;
use super::rules::RuleFile;
use super::waivers::{WaiverFile, now_s};
use super::words;
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::show;
use clap::{Args, ValueEnum};
use guard::rules::{Disposition, Facts, GateReport, Objection, RuleSet, gate};
use guard::secrets::Detector;
use guard::service_facts::{ImageAge, of_recipe, of_service};
use guard::{NotJudged, TerraformPlan, report};
use model::{Fault, ServiceSpec};
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
        let (facts, text, not_judged) = self.facts(context, &path)?;
        let now_s = now_s();
        let report = gate(&set, &facts, &waivers, None, now_s);
        let format = if context.json { Format::Json } else { self.format };
        print(format, &set, &report, &text, &not_judged, now_s);
        Ok(exit::of_guard(report.exit_code()))
    }

    /// With the text of a service file, and the resources of a plan that no rule is about.
    fn facts(&self, context: &Context, path: &Path) -> Result<(Vec<Facts>, Text, Vec<NotJudged>), Failure> {
        if path.extension().is_some_and(|ending| ending == "json") {
            let text = read(path, "write it with `terraform show -json PLAN`")?;
            let plan = TerraformPlan::read(&text, self.account.as_deref()).map_err(|e| {
                Fault::yours("bad-plan", format!("{}: {e}", path.display())).hint("write it with `terraform show -json PLAN`")
            })?;
            return Ok((plan.facts(), Text::default(), plan.not_judged));
        }
        let context = Context { file: path.to_path_buf(), ..context.clone() };
        let file = context.load()?;
        let detector = Detector::built_in().map_err(|e| Fault::ours("bad-rules", e.to_string()))?;
        let ages = ages(&context, &file);
        let service = |spec: &ServiceSpec| {
            let recipe = file.images.get(&spec.image);
            let max_age_s = recipe.map(|recipe| recipe.max_age_ms.map(|ms| ms / 1000));
            of_service(spec, None, ImageAge { age_s: ages.get(&spec.image).copied(), max_age_s }, &detector)
        };
        let facts = file.services.values().map(service).chain(file.images.values().map(|image| of_recipe(image, &detector))).collect();
        let text = Text { name: context.file.display().to_string(), text: context.read()?, detector: Some(detector) };
        Ok((facts, text, Vec::new()))
    }
}

fn print(format: Format, set: &RuleSet, gate: &GateReport, file: &Text, not_judged: &[NotJudged], now_s: i64) {
    let version = env!("CARGO_PKG_VERSION");
    let (rules, entries) = report::of_gate(set, gate);
    match format {
        Format::Table => table(gate, file, not_judged),
        Format::Json => {
            for one in &gate.objections {
                let mut object = serde_json::json!(one);
                object["places"] = file.places(&shown(one)).into();
                show::json(&object);
            }
            let (denied, unknown) = counts(gate);
            show::json(&serde_json::json!({
                "resources": gate.resources, "rules": gate.rules, "denied": denied, "unknown": unknown, "not_judged": not_judged,
            }));
        }
        Format::Sarif => show::json(&report::sarif(version, &rules, &entries)),
        Format::Junit => show::text(&report::junit(&rules, &entries)),
        Format::Ocsf => report::ocsf(version, &entries, now_s).iter().for_each(show::json),
    }
    // These formats have no place for it.
    if matches!(format, Format::Sarif | Format::Junit | Format::Ocsf) {
        beyond(not_judged).iter().for_each(show::note);
    }
}

/// What of a plan is not judged, so that nobody takes it for clean.
fn beyond(not_judged: &[NotJudged]) -> Vec<String> {
    let (opening, others): (Vec<&NotJudged>, Vec<&NotJudged>) = not_judged.iter().partition(|n| n.can_let_in);
    let resources = |of: &[&NotJudged]| show::times(of.iter().map(|n| n.resources as u64).sum(), "resource");
    let mut lines = Vec::new();
    if !opening.is_empty() {
        let kinds: Vec<String> = opening.iter().map(|n| format!("{} ({})", show::safe_line(&n.kind), n.resources)).collect();
        lines.push(format!("not judged: {} of kinds that can let others in: {}", resources(&opening), kinds.join(", ")));
    }
    if !others.is_empty() {
        lines.push(format!("not judged: {} of {} (--json names them)", resources(&others), show::times(others.len() as u64, "other kind")));
    }
    lines
}

/// Denied by what is known, and denied because something is not.
fn counts(gate: &GateReport) -> (usize, usize) {
    let denied = gate.objections.iter().filter(|o| o.disposition == Disposition::Denied);
    let (unknown, known): (Vec<&Objection>, Vec<&Objection>) = denied.partition(|o| !o.missing.is_empty());
    (known.len(), unknown.len())
}

fn table(gate: &GateReport, file: &Text, not_judged: &[NotJudged]) {
    for one in &gate.objections {
        let shown = shown(one);
        objection::print(&shown, &file.places(&shown));
    }
    beyond(not_judged).iter().for_each(show::line);
    let (denied, unknown) = counts(gate);
    let resources = show::times(gate.resources as u64, "resource");
    let rules = show::times(gate.rules as u64, "rule");
    let verdict = if denied + unknown == 0 { "nothing is denied".to_string() } else { format!("{denied} denied, {unknown} unknown") };
    show::line(format!("{verdict}: {resources}, {rules}"));
}

fn shown(o: &Objection) -> api::guard::Objection {
    let disposition = match &o.disposition {
        Disposition::Observed => "observed",
        Disposition::Warned => "warned",
        Disposition::Denied => "denied",
        Disposition::Waived { .. } => "waived",
        Disposition::BrokenGlass { .. } => "broken_glass",
    };
    api::guard::Objection {
        rule: o.rule.clone(),
        kind: o.kind.clone(),
        resource: o.resource.clone(),
        severity: words::severity(o.severity).to_string(),
        enforcement: words::enforcement(o.enforcement).to_string(),
        disposition: disposition.to_string(),
        missing: o.missing.clone(),
        evidence: o.evidence.clone(),
        fingerprint: o.fingerprint.clone(),
        why: o.why.clone(),
        fix: o.fix.clone(),
        hint: o.hint.clone(),
        since: None,
    }
}

/// The service file that is checked; empty where it is a plan.
#[derive(Default)]
struct Text {
    name: String,
    text: String,
    detector: Option<Detector>,
}

impl Text {
    fn places(&self, objection: &api::guard::Objection) -> Vec<String> {
        self.detector.as_ref().map(|detector| objection::places(&self.name, &self.text, objection, detector)).unwrap_or_default()
    }
}
