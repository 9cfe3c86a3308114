//! What is known of each job. Nothing is decided or written here.

use journal::{Lists, Records};
use lifecycle::{JobKnown, JobStep, Timetable, job_step};
use model::{Fault, Job, JobName, JobState, Run, ServiceName, Time};

/// The most runs of jobs at a time, of all services: each needs an address and the memory of a server.
pub const OPEN_MAX: usize = 16;
/// And of one service: nobody's jobs keep all others from theirs.
pub const OPEN_OF_SERVICE_MAX: usize = 4;
/// A job's runs that are looked at: one that is open, and the attempts before it.
const RUNS: u64 = 20;

pub struct OneJob {
    pub service: ServiceName,
    pub job: Job,
    pub state: Option<JobState>,
    pub runs: Vec<Run>,
    /// Why its service can run nothing.
    pub hindered: Option<String>,
    /// How many runs of jobs are open, of all services and of this one.
    pub open: usize,
    pub own: usize,
}

impl OneJob {
    pub fn step(&self, now: Time) -> Result<JobStep, Fault> {
        let table = Timetable::of(&self.job)?;
        let no_room = if self.own >= OPEN_OF_SERVICE_MAX {
            Some(format!("{} runs of its jobs have not ended, and at most {OPEN_OF_SERVICE_MAX} of a service are started", self.own))
        } else {
            (self.open >= OPEN_MAX).then(|| format!("{} runs of jobs have not ended, and at most {OPEN_MAX} are started", self.open))
        };
        let (hindered, no_room) = (self.hindered.as_deref(), no_room.as_deref());
        let known = JobKnown { job: &self.job, table: &table, state: self.state.as_ref(), runs: &self.runs, now, hindered, no_room };
        Ok(job_step(&known))
    }
}

/// The jobs of the desired state in force: a release that rolls back brings none.
pub fn of_service(records: &Records<'_>, service: &ServiceName) -> Result<Vec<OneJob>, Fault> {
    let Some(row) = records.in_force(service)?.filter(|row| !row.spec.jobs.is_empty()) else { return Ok(Vec::new()) };
    let hindered = match records.active(service)? {
        None => Some(format!("{service} has no active release")),
        Some(_) if row.spec.count == 0 => Some(format!("{service} is parked (count = 0)")),
        Some(_) => None,
    };
    let (open, own) = open_runs(&records.open_runs()?, service);
    let one = |job: Job| {
        let (state, runs) = (records.job_state(service, &job.name)?, records.runs_of_job(service, &job.name, RUNS)?);
        Ok(OneJob { service: service.clone(), job, state, runs, hindered: hindered.clone(), open, own })
    };
    row.spec.jobs.into_iter().map(one).collect()
}

/// Runs of jobs that are open: of all services, and of this one.
pub fn open_runs(runs: &[Run], service: &ServiceName) -> (usize, usize) {
    let of_jobs = || runs.iter().filter(|run| run.job.is_some());
    (of_jobs().count(), of_jobs().filter(|run| run.id.service() == *service).count())
}

pub fn one(records: &Records<'_>, service: &ServiceName, job: &JobName) -> Result<OneJob, Fault> {
    if records.service(service)?.is_none() {
        return Err(journal::no_service(service));
    }
    let found = of_service(records, service)?.into_iter().find(|one| one.job.name == *job);
    found.ok_or_else(|| journal::no_job(service, job))
}

/// Of all services; one whose journal cannot be read keeps no other from its jobs.
pub fn all(lists: &Lists<'_>) -> Result<(Vec<OneJob>, Option<Fault>), Fault> {
    let (mut jobs, mut failed) = (Vec::new(), None);
    for service in lists.service_names()? {
        match of_service(lists, &service) {
            Ok(of) => jobs.extend(of),
            Err(fault) => failed = Some(fault),
        }
    }
    Ok((jobs, failed))
}
