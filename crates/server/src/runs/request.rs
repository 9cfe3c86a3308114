//! What callers ask for. Everything here is a row that is written or read; nothing is declared.

use crate::access::Caller;
use crate::app::App;
use crate::gate;
use api::runs::{RunRequest, RunSeen, RunStopRequest};
use journal::{Tx, no_run, no_service};
use model::{Fault, RUN_WITHIN_MS, RUN_WITHIN_MS_MAX, Release, Run, RunId, RunStop, ServiceName, check_command, check_env};

/// The most runs by hand at a time, of all services: each needs an address and the memory of a server.
const OPEN_MAX: usize = 16;
const WITHIN_MS_MIN: u64 = 1_000;
/// A server that is not launched by then is not waited for: somebody sits before a terminal.
const LAUNCH_WITHIN_MS: u64 = 120_000;

pub fn begin(app: &App, caller: &Caller, service: &ServiceName, request: &RunRequest) -> Result<RunSeen, Fault> {
    caller.must_deploy(service, None, false)?;
    // Values of variables are in the journal's row, and not in the audit.
    let names: Vec<String> = request.env.keys().map(|name| format!("{name}=...")).collect();
    caller.detail(&[&names[..], &request.command].concat().join(" "));
    check_command(&request.command)?;
    check_env(&request.env)?;
    if !caller.is_admin() {
        app.access.policy()?.permits_run(caller.name(), service)?;
    }
    let within_ms = request.within_ms.unwrap_or(RUN_WITHIN_MS);
    if !(WITHIN_MS_MIN..=RUN_WITHIN_MS_MAX).contains(&within_ms) {
        let hours = RUN_WITHIN_MS_MAX / 3_600_000;
        return Err(Fault::yours("bad-time", format!("a run takes {within_ms} ms at most? It must be from 1 s to {hours} h")));
    }
    // No collection of objects between the choice of the release and its row.
    let _alone = app.deploy_lock();
    app.comparison.must_cover(service)?;
    let asked = app.now();
    let run = app.database.write(|tx| {
        // The host policy's count of servers bounds what one service has; runs by hand are bounded together.
        let mut open = tx.open_runs()?;
        open.retain(|run| run.job.is_none());
        if open.len() >= OPEN_MAX {
            let text = format!("{} runs are not over, and at most {OPEN_MAX} are allowed at a time", open.len());
            return Err(Fault::yours("too-many-runs", text).hint("wait for one of them, or end one: `afresh run list`, `afresh run stop`"));
        }
        let release = release_of(tx, service, request.release)?;
        must_pass(app, tx, request, &release)?;
        tx.open_run(service, |id| {
            Ok(Run {
                id: id.clone(),
                release: release.number,
                group: Run::group_of(id, release.number)?,
                command: request.command.clone(),
                env: request.env.clone(),
                by: caller.signed(),
                asked,
                within_ms,
                launch_by: asked.plus(LAUNCH_WITHIN_MS),
                stop: None,
                exit: None,
                is_over: false,
                job: None,
            })
        })
    })?;
    caller.about(run.id.as_str());
    app.notifier.notify();
    Ok(RunSeen::of(run, None))
}

/// What runs already is judged already; what the caller adds to it, and a release that does not run, is not.
fn must_pass(app: &App, tx: &Tx<'_>, request: &RunRequest, release: &Release) -> Result<(), Fault> {
    let service = &release.service;
    let is_active = tx.active(service)?.is_some_and(|active| active.release.number == release.number);
    if is_active && request.env.is_empty() {
        return Ok(());
    }
    let spec = tx.in_force(service)?.ok_or_else(|| no_service(service))?.spec;
    let env = release.env.clone().into_iter().chain(request.env.clone()).collect();
    gate::release_must_pass(app, &spec, &Release { env, ..release.clone() })
}

/// The active release, or an earlier one by its number.
fn release_of(tx: &Tx<'_>, service: &ServiceName, number: Option<u64>) -> Result<Release, Fault> {
    if tx.service(service)?.is_none() {
        return Err(no_service(service));
    }
    match number {
        Some(number) => tx.release(service, number)?.map(|row| row.release).ok_or_else(|| {
            Fault::yours("not-found", format!("{service} has no release {number}"))
                .hint(format!("`afresh release list {service}` lists them"))
        }),
        None => tx.active(service)?.map(|active| active.release).ok_or_else(|| {
            Fault::yours("no-release", format!("{service} has no active release")).hint("deploy it first, or name a release: --release N")
        }),
    }
}

pub fn stop(app: &App, caller: &Caller, id: &RunId, request: RunStopRequest) -> Result<RunSeen, Fault> {
    caller.must_deploy(&id.service(), None, false)?;
    let at = app.now();
    let run = app.database.write(|tx| {
        let run = tx.run(id)?.ok_or_else(|| no_run(id))?;
        if run.exit.is_some() {
            return Ok(run);
        }
        // Force is not taken back.
        let kill = request.kill || run.stop.as_ref().is_some_and(|stop| stop.kill);
        let stop = RunStop { by: caller.signed(), at, kill };
        let run = Run { stop: Some(run.stop.filter(|old| old.kill == kill).unwrap_or(stop)), ..run };
        tx.put_run(&run)?;
        Ok(run)
    })?;
    app.notifier.notify();
    Ok(seen(app, run))
}

pub fn one(app: &App, id: &RunId) -> Result<RunSeen, Fault> {
    app.database.read(|r| r.run(id))?.map(|run| seen(app, run)).ok_or_else(|| no_run(id))
}

pub fn of_service(app: &App, service: &ServiceName, limit: u64) -> Result<Vec<RunSeen>, Fault> {
    let runs = app.database.browse(|r| match r.service(service)? {
        Some(_) => r.runs_of(service, limit),
        None => Err(no_service(service)),
    })?;
    Ok(runs.into_iter().map(|run| seen(app, run)).collect())
}

pub fn all(app: &App, limit: u64) -> Result<Vec<RunSeen>, Fault> {
    Ok(app.database.browse(|r| r.all_runs(limit))?.into_iter().map(|run| seen(app, run)).collect())
}

fn seen(app: &App, run: Run) -> RunSeen {
    let waits = app.run_waits.of(&run.id);
    RunSeen::of(run, waits)
}
