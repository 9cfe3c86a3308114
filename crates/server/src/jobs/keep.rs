//! Starts what is due. A supervised part: after a panic or a kill it begins again from the rows.

use super::known::{self, OPEN_MAX, OPEN_OF_SERVICE_MAX, OneJob};
use crate::app::App;
use journal::Tx;
use lifecycle::JobStep;
use model::{Fault, JobName, JobStart, JobState, Run, RunId, RunStop, ServiceName, Time};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The clock may be set: nothing is believed to be far away for longer.
const LOOK_MS_MAX: u64 = 30_000;
/// A server that is not launched by then is not waited for.
const LAUNCH_WITHIN_MS: u64 = 120_000;

pub fn keep(app: &Arc<App>) {
    let mut looked: Option<(u64, Time)> = None;
    let mut until = Time(0);
    while !app.is_stopping() {
        let (count, now) = (app.notifier.count(), app.now());
        // Nothing was written, nothing is due, and the clock was not set back.
        let is_quiet = looked.is_some_and(|(at_count, at)| at_count == count && at <= now) && now < until;
        if !is_quiet {
            looked = Some((count, now));
            let passed = pass(app, now);
            until = *passed.as_ref().unwrap_or(&now);
            app.parts.attempted("jobs", passed.err().map(|fault| fault.message));
        }
        app.notifier.wait(count, LOOK_EVERY);
    }
}

/// Until when nothing is due.
fn pass(app: &App, now: Time) -> Result<Time, Fault> {
    let (jobs, mut failed) = app.database.browse(known::all)?;
    let mut until = now.plus(LOOK_MS_MAX);
    for job in &jobs {
        match advance(app, job, now) {
            Ok(at) => until = until.min(at),
            // One job that cannot be started holds up no other.
            Err(fault) => failed = Some(fault),
        }
    }
    forget_removed(app, &jobs)?;
    failed.map_or(Ok(until), Err)
}

fn advance(app: &App, one: &OneJob, now: Time) -> Result<Time, Fault> {
    let (service, name) = (&one.service, &one.job.name);
    match one.step(now)? {
        JobStep::Wait { until, .. } => return Ok(until.unwrap_or(Time(u64::MAX))),
        JobStep::Settle(state) => {
            app.database.write(|tx| if is_same(tx, one)? { tx.put_job_state(service, name, &state) } else { Ok(()) })?;
        }
        JobStep::Stop(run) => stop(app, &run, name)?,
        JobStep::Start { state, start } => {
            // Groups that no journal knows are not added to. It stays due; what is missed already is recorded all the same.
            if app.comparison.must_cover(service).is_err() {
                let known = one.state.as_ref().map(|old| &old.missed);
                if let Some(last) = state.missed.last().filter(|_| known != Some(&state.missed)) {
                    let missed = JobState { settled: last.last, ..state.clone() };
                    app.database.write(|tx| if is_same(tx, one)? { tx.put_job_state(service, name, &missed) } else { Ok(()) })?;
                }
                return Ok(now.plus(1_000));
            }
            start_run(app, one, Some(&state), start, &format!("job {name}"))?;
        }
    }
    Ok(now)
}

fn is_same(tx: &Tx<'_>, one: &OneJob) -> Result<bool, Fault> {
    Ok(tx.job_state(&one.service, &one.job.name)? == one.state)
}

/// Writes the run, and what it settles, in one transaction, if nothing has changed since it was decided.
pub fn start_run(app: &App, one: &OneJob, state: Option<&JobState>, start: JobStart, by: &str) -> Result<Option<Run>, Fault> {
    let OneJob { service, job, .. } = one;
    // No collection of objects between the choice of the release and its row.
    let _alone = app.deploy_lock();
    let asked = app.now();
    let run = app.database.write(|tx| {
        let newest = tx.runs_of_job(service, &job.name, 1)?;
        if !is_same(tx, one)? || newest.first() != one.runs.first() {
            return Ok(None);
        }
        let (open, own) = known::open_runs(&tx.open_runs()?, service);
        let has_room = open < OPEN_MAX && own < OPEN_OF_SERVICE_MAX;
        let Some(active) = tx.active(service)?.filter(|_| has_room) else { return Ok(None) };
        if let Some(state) = state {
            tx.put_job_state(service, &job.name, state)?;
        }
        let number = active.release.number;
        let make = |id: &RunId| {
            Ok(Run {
                id: id.clone(),
                release: number,
                group: Run::group_of(id, number)?,
                command: job.run.clone(),
                env: Default::default(),
                by: by.to_string(),
                asked,
                within_ms: job.within_ms,
                launch_by: asked.plus(LAUNCH_WITHIN_MS),
                stop: None,
                exit: None,
                is_over: false,
                job: Some(start),
            })
        };
        tx.open_run(service, make).map(Some)
    })?;
    if let Some(run) = &run {
        tracing::info!(%service, job = %job.name, run = %run.id, attempt = run.job.as_ref().map_or(1, |start| start.attempt), "started");
        app.notifier.notify();
    }
    Ok(run)
}

fn stop(app: &App, id: &RunId, name: &JobName) -> Result<(), Fault> {
    let at = app.now();
    app.database.write(|tx| match tx.run(id)?.filter(|run| run.exit.is_none() && run.stop.is_none()) {
        Some(run) => tx.put_run(&Run { stop: Some(RunStop { by: format!("job {name}: it is due again"), at, kill: false }), ..run }),
        None => Ok(()),
    })?;
    app.notifier.notify();
    Ok(())
}

/// A job that comes back later is new.
fn forget_removed(app: &App, jobs: &[OneJob]) -> Result<(), Fault> {
    let there: BTreeSet<(&ServiceName, &JobName)> = jobs.iter().map(|one| (&one.service, &one.job.name)).collect();
    let known = app.database.browse(|r| r.job_names())?;
    for (service, job) in known.iter().filter(|(service, job)| !there.contains(&(service, job))) {
        app.database.write(|tx| {
            // A service whose journal cannot be read is not one without jobs.
            let has = tx.in_force(service)?.is_some_and(|row| row.spec.jobs.iter().any(|j| j.name == *job));
            if has { Ok(()) } else { tx.forget_job(service, job) }
        })?;
    }
    Ok(())
}
