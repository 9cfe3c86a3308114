//! Files and ports of this host: how they are judged and planned.

use super::target::planned;
use contain::{Firewall, Host, Judged, Place, Planned, World};
use guard::contain::{Plan, State};
use guard::root::{Exposure, Purpose};
use guard::{Finding, Verdict};
use model::Fault;
use std::path::Path;

/// The findings of one path, by a scan of its tree: what a file exposes depends on what else is there.
pub(super) fn findings(root: &Path, path: &str) -> Result<Vec<Finding>, Fault> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut found = Vec::new();
    scan::scan(root, &scan::Options { purpose: Purpose::Host, threads }, &mut |event| {
        if let scan::Event::Finding(finding) = event
            && finding.id == path
        {
            found.push(finding.clone());
        }
    })?;
    Ok(found)
}

pub(super) fn judge(root: &Path, path: &str) -> Result<Judged, Fault> {
    Ok(judged(&findings(root, path)?))
}

fn judged(found: &[Finding]) -> Judged {
    let verdict = found.iter().map(|f| f.verdict).max().unwrap_or(Verdict::NotPublic);
    let missing = found.iter().filter(|f| f.verdict == Verdict::Unknown).map(|f| f.why.clone()).collect::<Vec<_>>().join("; ");
    Judged { verdict, missing }
}

/// Why nothing is planned: none of it is public, or no mode stops it.
pub(super) enum NoChange {
    NotPublic,
    NoSwitch(String),
}

/// Removes the access of other accounts that the findings are about.
pub(super) fn plan_file(root: &Path, path: &str, all: &[Finding], incident: Option<&str>) -> Result<Result<Planned, NoChange>, Fault> {
    let judged = judged(all);
    if judged.verdict == Verdict::NotPublic {
        return Ok(Err(NoChange::NotPublic));
    }
    // What a configuration says is not changed by who can read it, and what is unknown is not touched.
    let stopped: Vec<&Finding> = all.iter().filter(|f| f.verdict == Verdict::Public && Exposure::is_stopped_by_mode(&f.via)).collect();
    let unused = |_: &str| Ok(judged.clone());
    let (setting, before) = Host::new(root, &unused)?.mode_of(path)?;
    let after = stopped.iter().fold(before, |mode, finding| {
        mode & !match finding.via.as_str() {
            "world-writable" => 0o002,
            "setuid-without-package" => 0o4000,
            _ => 0o007,
        }
    });
    if after == before {
        let why = all.iter().map(|f| f.fix.clone()).collect::<Vec<_>>().join("; ");
        return Ok(Err(NoChange::NoSwitch(why)));
    }
    let cut_off = vec!["every account of the host but the owner and its group, to whom the mode allowed it".to_string()];
    let plan = Plan { kind: "file".into(), id: path.into(), setting, before: State::Mode(before), after: State::Mode(after), cut_off };
    place(root, &plan, incident).map(Ok)
}

pub(super) fn plan_port(id: &str, incident: Option<&str>) -> Result<Result<Planned, NoChange>, Fault> {
    let refused = || Fault::yours("no-such-resource", format!("{id:?} is no port")).hint("write it as tcp/5432");
    let setting = Firewall::setting_of(id).ok_or_else(refused)?;
    if Firewall.state(&setting)? == State::On(true) {
        return Ok(Err(NoChange::NotPublic));
    }
    let cut_off = vec![format!(
        "every client of {} that is not on this host, and what the host forwards to servers there",
        id.replacen('/', " port ", 1)
    )];
    let plan = Plan { kind: "port".into(), id: id.into(), setting, before: State::On(false), after: State::On(true), cut_off };
    place(Path::new("/"), &plan, incident).map(Ok)
}

fn place(root: &Path, plan: &Plan, incident: Option<&str>) -> Result<Planned, Fault> {
    let at = Place::Host { root: root.display().to_string() };
    let covers = vec![(plan.kind.clone(), plan.id.clone())];
    planned(plan, at, covers, incident).ok_or_else(|| Fault::ours("bad-journal", format!("no change of {} is known", plan.id)))
}
