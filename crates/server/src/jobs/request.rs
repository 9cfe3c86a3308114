//! What callers ask for. Everything here is a row that is written or read; nothing is declared.

use super::keep::start_run;
use super::known::{self, OneJob};
use crate::access::Caller;
use crate::app::App;
use api::jobs::{JobHistory, JobSeen};
use api::runs::RunSeen;
use lifecycle::{JobStep, Timetable};
use model::{Fault, JobName, JobPause, JobStart, JobState, ServiceName, Time};

pub fn all(app: &App) -> Result<Vec<JobSeen>, Fault> {
    let (jobs, _) = app.database.browse(known::all)?;
    let now = app.now();
    Ok(jobs.into_iter().map(|one| seen(app, one, now)).collect())
}

pub fn of_service(app: &App, service: &ServiceName) -> Result<Vec<JobSeen>, Fault> {
    let jobs = app.database.browse(|r| match r.service(service)? {
        Some(_) => known::of_service(r, service),
        None => Err(journal::no_service(service)),
    })?;
    let now = app.now();
    Ok(jobs.into_iter().map(|one| seen(app, one, now)).collect())
}

/// Also of a job that the file no longer has.
pub fn history(app: &App, service: &ServiceName, job: &JobName, limit: u64) -> Result<JobHistory, Fault> {
    let (runs, missed) = app.database.browse(|r| {
        let runs = r.runs_of_job(service, job, limit)?;
        if runs.is_empty() {
            known::one(r, service, job)?;
        }
        Ok((runs, r.job_state(service, job)?.map_or_else(Vec::new, |state| state.missed)))
    })?;
    Ok(JobHistory {
        runs: runs.into_iter().map(|run| RunSeen { waits: app.run_waits.of(&run.id), ..RunSeen::of(run, None) }).collect(),
        missed,
    })
}

/// A start by hand, which settles nothing: what is due comes all the same.
pub fn start(app: &App, caller: &Caller, service: &ServiceName, job: &JobName) -> Result<RunSeen, Fault> {
    caller.must_deploy(service, None, false)?;
    app.comparison.must_cover(service)?;
    let one = app.database.read(|r| known::one(r, service, job))?;
    if let Some(why) = &one.hindered {
        return Err(Fault::yours("no-release", format!("cannot start {job}: {why}")).hint(format!("`afresh why {service}` shows it")));
    }
    if let Some(open) = one.runs.iter().find(|run| run.exit.is_none()) {
        return Err(Fault::yours("busy", format!("{job} of {service} runs already: {}", open.id))
            .hint(format!("wait for it, or stop it: `afresh run attach {0}`, `afresh run stop {0}`", open.id)));
    }
    let by_hand = JobStart { name: job.clone(), due: None, attempt: 1 };
    let run = start_run(app, &one, None, by_hand, &format!("job {job}, started by {}", caller.signed()))?;
    let run = run.ok_or_else(|| {
        Fault::world(
            "busy",
            format!("{job} of {service} could not be started now: it has just been started, or 16 runs of jobs have not ended"),
        )
        .hint("try again")
    })?;
    caller.about(run.id.as_str());
    Ok(RunSeen::of(run, None))
}

pub fn pause(app: &App, caller: &Caller, service: &ServiceName, job: &JobName) -> Result<JobSeen, Fault> {
    let pause = JobPause { by: caller.signed(), at: app.now() };
    change(app, caller, service, job, |state| JobState { paused: Some(state.paused.clone().unwrap_or(pause)), ..state })
}

/// What came due while it was paused is not made up for.
pub fn resume(app: &App, caller: &Caller, service: &ServiceName, job: &JobName) -> Result<JobSeen, Fault> {
    let now = app.now();
    change(app, caller, service, job, |state| JobState {
        paused: None,
        settled: if state.paused.is_some() { now } else { state.settled },
        ..state
    })
}

fn change(
    app: &App,
    caller: &Caller,
    service: &ServiceName,
    job: &JobName,
    to: impl FnOnce(JobState) -> JobState,
) -> Result<JobSeen, Fault> {
    caller.must_deploy(service, None, false)?;
    caller.about(&format!("{service} {job}"));
    let now = app.now();
    let one = app.database.write(|tx| {
        let one = known::one(tx, service, job)?;
        let fresh = || JobState { calendar: one.job.calendar(), settled: now, ..JobState::default() };
        tx.put_job_state(service, job, &to(one.state.clone().unwrap_or_else(fresh)))?;
        known::one(tx, service, job)
    })?;
    app.notifier.notify();
    Ok(seen(app, one, now))
}

fn seen(app: &App, one: OneJob, now: Time) -> JobSeen {
    let (next, mut waits) = match (one.step(now), Timetable::of(&one.job)) {
        (Ok(JobStep::Wait { why, .. }), Ok(table)) => (table.next(now), why),
        (Ok(_), Ok(table)) => (table.next(now), None),
        (Err(fault), _) | (_, Err(fault)) => (None, Some(fault.message)),
    };
    waits = app.comparison.must_cover(&one.service).err().map(|fault| fault.message).or(waits);
    let (paused, missed) = one.state.map_or((None, None), |state| (state.paused, state.missed.last().cloned()));
    let next = next.filter(|_| paused.is_none() && one.hindered.is_none());
    JobSeen { service: one.service, job: one.job, next, paused, waits, last: one.runs.into_iter().next(), missed }
}
