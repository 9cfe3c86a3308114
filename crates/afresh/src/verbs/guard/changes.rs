//! Changes as they are shown before they are made, and the last line after it.

use super::session::Tally;
use super::settings;
use super::target::{Connected, Examined, Target};
use crate::context::Context;
use crate::exit::Exit;
use crate::show;
use contain::Planned;
use guard::contain::NoPlan;
use guard::rules::Facts;
use guard::{Finding, Severity};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One change that is shown before it is made.
pub(super) struct Change {
    pub(super) planned: Result<Planned, NoPlan>,
    pub(super) finding: Option<Finding>,
    pub(super) facts: Facts,
    pub(super) why: String,
    pub(super) source: Source,
    /// Of an account's switch: what it covers, for the incident.
    pub(super) covered: Vec<(Severity, Facts, Finding)>,
}

/// What it is planned from, again when nobody else can change anything.
pub(super) enum Source {
    Aws(Target),
    Account(Vec<Target>),
    File { root: PathBuf },
    Port,
}

impl Change {
    pub(super) fn of_aws(connected: &Connected, examined: &Examined) -> Change {
        let planned = connected.planned(examined);
        let finding = examined.finding();
        let (facts, why) = (examined.facts(), finding.why.clone());
        let source = Source::Aws(examined.target.clone());
        Change { planned, finding: Some(finding), facts, why, source, covered: Vec::new() }
    }

    pub(super) fn of_account(planned: Planned, examined: &[Examined]) -> Change {
        let is_covered = |e: &&Examined| planned.covers.contains(&(e.target.kind.clone(), e.target.id.clone()));
        let source = Source::Account(examined.iter().filter(is_covered).map(|e| e.target.clone()).collect());
        let mut covered: Vec<_> = examined.iter().filter(is_covered).map(|e| (e.finding().severity, e.facts(), e.finding())).collect();
        covered.sort_by_key(|(severity, ..)| std::cmp::Reverse(*severity));
        let (finding, facts) = match covered.first() {
            Some((_, facts, finding)) => (Some(finding.clone()), facts.clone()),
            None => (None, Facts { kind: "account".into(), id: planned.plan.id.clone(), attributes: BTreeMap::new() }),
        };
        let why = format!("{} of the account are public", show::times(covered.len() as u64, "resource"));
        Change { planned: Ok(planned), finding, facts, why, source, covered }
    }

    pub(super) fn of_host(source: Source, id: &str, planned: Result<Planned, NoPlan>, finding: Option<&Finding>, why: String) -> Change {
        let kind = if matches!(source, Source::Port) { "port" } else { "file" };
        let attributes = BTreeMap::from([("verdict".to_string(), json!("public")), ("via".to_string(), json!(finding.map(|f| &f.via)))]);
        let facts = Facts { kind: kind.to_string(), id: id.to_string(), attributes };
        Change { planned, finding: finding.cloned(), facts, why, source, covered: Vec::new() }
    }

    /// What is not covered any more is not of the incident either.
    pub(super) fn planned_again(mut self, planned: Result<Planned, NoPlan>) -> Change {
        if let Ok(planned) = &planned {
            self.covered.retain(|(_, facts, _)| planned.covers.contains(&(facts.kind.clone(), facts.id.clone())));
        }
        Change { planned, ..self }
    }

    pub(super) fn severity(&self) -> Severity {
        self.finding.as_ref().map_or(Severity::Medium, |f| f.severity)
    }
}

/// Before anything is asked.
pub(super) fn show_changes(changes: &[Change], is_json: bool, is_dry: bool) {
    for change in changes {
        match &change.planned {
            Ok(planned) if is_json => {
                // The line of what came of it has the same; a dry run has no other.
                if is_dry {
                    let plan = &planned.plan;
                    show::json(
                        &json!({"type": plan.kind, "id": plan.id, "result": "planned", "setting": plan.setting, "before": plan.before,
                        "after": plan.after, "command": planned.contain_command, "undo_command": planned.undo_command, "cut_off": plan.cut_off}),
                    );
                }
            }
            Ok(planned) => {
                show_plan(planned);
            }
            Err(no_plan) if is_json => {
                show::json(
                    &json!({"type": change.facts.kind, "id": change.facts.id, "result": no_result(no_plan), "text": no_plan.to_string()}),
                );
            }
            Err(no_plan) => show::line(show::safe_line(&no_plan.to_string())),
        }
    }
}

fn no_result(no_plan: &NoPlan) -> &'static str {
    match no_plan {
        NoPlan::NotPublic(_) => "not_public",
        NoPlan::CannotTell { .. } => "unknown",
        NoPlan::NotReversible { .. } | NoPlan::NoSwitch(_) | NoPlan::OfSeveralRegions(_) => "no_plan",
        NoPlan::Waived(_) => "waived",
    }
}

/// The last line and the exit code.
pub(super) fn end(context: &Context, tally: &Tally, incident: Option<&str>, rest: Value) -> Exit {
    let code = tally.exit();
    if context.json {
        let mut last = serde_json::Map::new();
        let counts = [("contained", tally.contained), ("undone", tally.undone), ("failed", tally.failed), ("unknown", tally.unknown)];
        for (name, count) in counts.into_iter().chain([("gone", tally.gone)]) {
            last.insert(name.into(), count.into());
        }
        last.insert("incident".into(), json!(incident));
        last.extend(rest.as_object().cloned().unwrap_or_default());
        show::json(&last);
        return code;
    }
    let took = rest["seconds"]
        .as_f64()
        .map(|s| format!(" in {s:.1} s, of which the scan took {:.1} s", rest["scan_seconds"].as_f64().unwrap_or(0.0)));
    let counts = format!("{} contained, {} undone, {} failed, {} unknown", tally.contained, tally.undone, tally.failed, tally.unknown);
    let gone = if tally.gone > 0 { format!(", {} gone", tally.gone) } else { String::new() };
    show::line(format!("{counts}{gone}{}", took.unwrap_or_default()));
    if let Some(incident) = incident {
        show::line(format!("incident {incident}: afresh guard incident show {incident}"));
    }
    code
}

/// What one plan looks like to whoever is asked.
pub(super) fn show_plan(planned: &Planned) {
    let plan = &planned.plan;
    show::line(format!("{} {}", plan.kind, show::paint(show::BOLD, show::safe_line(&plan.id))));
    let mut lines = vec![
        format!("{}: {} -> {}", settings::setting(&plan.setting), settings::state(&plan.before), settings::state(&plan.after)),
        format!("command: {}", planned.contain_command),
    ];
    const MOST: usize = 12;
    lines.extend(plan.cut_off.iter().take(MOST).map(|who| format!("cuts off: {who}")));
    if plan.cut_off.len() > MOST {
        lines.push(format!("cuts off: {} more; --json has all of them", plan.cut_off.len() - MOST));
    }
    lines.extend(plan.setting.not_restored().iter().map(|what| format!("not restored by an undo: {what}")));
    lines.iter().for_each(|line| show::line(format!("    {}", show::safe_line(line))));
}
