//! Files and ports of this host: how they are judged and planned.

use super::target::planned;
use contain::{Firewall, Host, Judged, Place, Planned, World};
use guard::contain::{NoPlan, Plan, State};
use guard::root::{Exposure, Purpose};
use guard::{Finding, Verdict};
use model::Fault;
use std::path::Path;

/// Of a finding about what the scan could not read.
const UNREAD: &str = "unread";
/// Who is started by root, and what web servers serve: without it, no file that it could name is known not to be exposed.
const OF_ROOT: &[&str] =
    &["/etc/crontab", "/etc/cron.d", "/var/spool/cron", "/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system"];
const OF_THE_WEB: &[&str] = &["/etc/nginx", "/etc/apache2", "/etc/httpd", "/etc/lighttpd"];

/// What a scan of the tree says of one path: what a file exposes depends on what else is there. What could not be read of that is among it.
pub(super) fn findings(root: &Path, path: &str) -> Result<Vec<Finding>, Fault> {
    let mode = mode_of_scanned(root, path)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut found = Vec::new();
    scan::scan(root, &scan::Options { purpose: Purpose::Host, threads, until: None }, &mut |event| {
        if let scan::Event::Finding(finding) = event
            && is_about(finding, path, mode)
        {
            found.push(finding.clone());
        }
    })?;
    Ok(found)
}

fn is_about(finding: &Finding, path: &str, mode: u32) -> bool {
    let holds = |directory: &str, path: &str| directory == "/" || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
    let is_in = |places: &[&str]| places.iter().any(|place| finding.id == *place || holds(place, &finding.id));
    let is_missed = || holds(&finding.id, path) || (mode & 0o002 != 0 && is_in(OF_ROOT)) || is_in(OF_THE_WEB);
    finding.id == path || (finding.via == UNREAD && is_missed())
}

/// A path that the scan would print. Of any other it says nothing, which is not that it is not public.
fn mode_of_scanned(root: &Path, path: &str) -> Result<u32, Fault> {
    let refused = |why: &str, hint: String| Err(Fault::yours("no-such-resource", format!("{path:?} {why}")).hint(hint));
    let is_printed = |part: &str| !matches!(part, "" | "." | "..");
    if !path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_printed)) {
        return refused("is no path as the scan prints it", "write it whole, from the root on: /etc/cron.d/backup".into());
    }
    let unused = |_: &str| Err(Fault::ours("bad-journal", "nothing is judged here"));
    let (_, mode) = Host::new(root, &unused)?.mode_of(path)?;
    let place = root.join(path.trim_start_matches('/'));
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
    let opened = rustix::fs::open(&place, flags, rustix::fs::Mode::empty());
    let fd = opened.map_err(|e| crate::failure::io("cannot look at", &place, &e.into()))?;
    if scan::filesystem(&fd) == Some(scan::Mounted::MadeUp) {
        return refused("lies on a filesystem that the kernel makes up", "it has no files of anybody: a scan leaves it out".into());
    }
    Ok(mode)
}

pub(super) fn judge(root: &Path, path: &str) -> Result<Judged, Fault> {
    Ok(judged(&findings(root, path)?))
}

fn judged(found: &[Finding]) -> Judged {
    let verdict = found.iter().map(|f| f.verdict).max().unwrap_or(Verdict::NotPublic);
    let missing = found.iter().filter(|f| f.verdict == Verdict::Unknown).map(|f| f.why.clone()).collect::<Vec<_>>().join("; ");
    Judged { verdict, missing }
}

/// The change of a file, and the finding that it is about.
pub(super) fn file(root: &Path, path: &str) -> Result<(Result<Planned, NoPlan>, Option<Finding>), Fault> {
    let found = findings(root, path)?;
    Ok((plan_file(root, path, &found)?, found.into_iter().max_by_key(|f| f.verdict)))
}

/// The same, as long as the file has the mode that it had: what else is in the tree is judged after the change.
pub(super) fn file_again(root: &Path, path: &str, shown: &Result<Planned, NoPlan>) -> Result<Result<Planned, NoPlan>, Fault> {
    let Ok(planned) = shown else { return Ok(shown.clone()) };
    let unused = |_: &str| Err(Fault::ours("bad-journal", "nothing is judged here"));
    let seen = Host::new(root, &unused)?.state(&planned.plan.setting)?;
    if seen.is(&planned.plan.before) { Ok(shown.clone()) } else { Ok(file(root, path)?.0) }
}

/// Removes the access of other accounts that the findings are about.
fn plan_file(root: &Path, path: &str, all: &[Finding]) -> Result<Result<Planned, NoPlan>, Fault> {
    let judged = judged(all);
    match judged.verdict {
        Verdict::NotPublic => return Ok(Err(NoPlan::NotPublic(path.to_string()))),
        Verdict::Unknown => return Ok(Err(NoPlan::CannotTell { id: path.to_string(), missing: judged.missing })),
        Verdict::Public => {}
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
        return Ok(Err(NoPlan::NoSwitch(format!("{path} ({why})"))));
    }
    let cut_off = vec!["every account of the host but the owner and its group, to whom the mode allowed it".to_string()];
    let plan = Plan { kind: "file".into(), id: path.into(), setting, before: State::Mode(before), after: State::Mode(after), cut_off };
    place(root, &plan).map(Ok)
}

pub(super) fn port(id: &str) -> Result<Result<Planned, NoPlan>, Fault> {
    let refused = || Fault::yours("no-such-resource", format!("{id:?} is no port")).hint("write it as tcp/5432, udp/53 or sctp/36412");
    let setting = Firewall::setting_of(id).ok_or_else(refused)?;
    match Firewall.state(&setting)? {
        State::On(false) => {}
        State::On(true) => return Ok(Err(NoPlan::NotPublic(id.to_string()))),
        // Somebody changed the table: what it drops is not known, and nothing is added to it.
        _ => {
            let missing = "what the table inet afresh_contain drops: somebody changed it (nft list table inet afresh_contain)".into();
            return Ok(Err(NoPlan::CannotTell { id: id.to_string(), missing }));
        }
    }
    let cut_off = vec![format!(
        "every client of {} that is not on this host, and what the host forwards to servers there",
        id.replacen('/', " port ", 1)
    )];
    let plan = Plan { kind: "port".into(), id: id.into(), setting, before: State::On(false), after: State::On(true), cut_off };
    place(Path::new("/"), &plan).map(Ok)
}

fn place(root: &Path, plan: &Plan) -> Result<Planned, Fault> {
    let at = Place::Host { root: root.display().to_string() };
    let covers = vec![(plan.kind.clone(), plan.id.clone())];
    planned(plan, at, covers).ok_or_else(|| Fault::ours("bad-journal", format!("no change of {} is known", plan.id)))
}
