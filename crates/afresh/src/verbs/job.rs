//! `job`: what runs by a calendar: when it is due, what became of it, start it now, pause it.

use super::lists::list;
use super::run;
use super::run_follow::follow;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::jobs::{self, JobHistory, JobSeen};
use api::runs::RunSeen;
use clap::{Args, Subcommand};
use model::{JobName, Missed, ServiceName, Time};

/// List the jobs of services and their history; start, pause and resume them
#[derive(Args, Debug)]
#[command(
    after_help = "A job is a block of its service in the file: a command, and when it is due. Each start is a run (`afresh run list`) in a server of its \
                  own, of the release that is active then.\n\nExample:\n  afresh job list\n  afresh job history web nightly\n  afresh job run web nightly"
)]
pub struct JobVerb {
    #[command(subcommand)]
    pub what: What,
}

#[derive(Debug, Subcommand)]
pub enum What {
    /// List jobs: when each is due next, and what became of its last run
    #[command(after_help = "Example:\n  afresh job list\n  afresh job list web")]
    List {
        /// Only jobs of this service
        service: Option<ServiceName>,
    },
    /// Show the runs of a job, the newest first, and the starts that were missed
    #[command(after_help = "`afresh logs INSTANCE` prints what a run printed.\n\nExample:\n  afresh job history web nightly --limit 5")]
    History {
        /// The service
        service: ServiceName,
        /// The job
        job: JobName,
        /// List at most this many
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u64,
    },
    /// Start a job now: print what it prints, and exit as it does
    #[command(
        after_help = "What is due comes all the same. If this command is killed, the run goes on.\n\nExample:\n  afresh job run web nightly"
    )]
    Run {
        /// The service
        service: ServiceName,
        /// The job
        job: JobName,
        /// Print the id of its run and do not wait for it
        #[arg(short, long)]
        detach: bool,
    },
    /// Start nothing of a job until it is resumed; a run that has begun goes on
    #[command(after_help = "Example:\n  afresh job pause web nightly")]
    Pause {
        /// The service
        service: ServiceName,
        /// The job
        job: JobName,
    },
    /// Start a job again when it is due; what came due meanwhile is left out
    #[command(after_help = "Example:\n  afresh job resume web nightly")]
    Resume {
        /// The service
        service: ServiceName,
        /// The job
        job: JobName,
    },
}

impl JobVerb {
    /// Whether it gives the exit code of a program.
    pub fn is_program(&self) -> bool {
        matches!(self.what, What::Run { .. })
    }

    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            What::List { service } => {
                let path = service.map_or_else(|| jobs::JOBS.to_string(), |service| jobs::of(&service));
                let now = show::now();
                list(context, &path, &HEAD, |seen: &JobSeen| row(seen, now))
            }
            What::History { service, job, limit } => context.wait(async {
                let path = format!("{}?limit={limit}", jobs::one(&service, &job, "history"));
                let history: JobHistory = context.api().get(&path).await?;
                if context.json {
                    show::json(&history);
                } else {
                    print(&history);
                }
                Ok(Exit::Succeeded)
            }),
            What::Run { service, job, detach } => context.wait(async {
                let seen: RunSeen = context.api().post(&jobs::one(&service, &job, "run"), &()).await?;
                if detach { Ok(run::print(context, &seen)) } else { follow(context, seen).await }
            }),
            What::Pause { service, job } => change(context, &service, &job, "pause"),
            What::Resume { service, job } => change(context, &service, &job, "resume"),
        }
    }
}

fn change(context: &Context, service: &ServiceName, job: &JobName, call: &str) -> Result<Exit, Failure> {
    let seen: JobSeen = context.wait(async { Ok(context.api().post(&jobs::one(service, job, call), &()).await?) })?;
    if context.json {
        show::json(&seen);
    } else {
        show::line(format!("{service} {job}: {}", next(&seen, show::now())));
    }
    Ok(Exit::Succeeded)
}

const HEAD: [&str; 7] = ["service", "job", "schedule", "next", "last run", "state", "missed"];

pub fn table(all: &[JobSeen]) -> String {
    let now = show::now();
    show::table(&HEAD, all.iter().map(|seen| row(seen, now)).collect())
}

fn row(seen: &JobSeen, now: Time) -> Vec<String> {
    let missed = seen.missed.as_ref().map_or(String::new(), |missed| format!("{} {}", count(missed), show::ago(missed.last, now)));
    vec![
        seen.service.to_string(),
        seen.job.name.to_string(),
        seen.job.calendar(),
        next(seen, now),
        seen.last.as_ref().map_or_else(|| "none".to_string(), |run| format!("{} {}", run.id, show::ago(run.asked, now))),
        seen.last.as_ref().map_or(String::new(), run::state),
        missed,
    ]
}

/// `in 3 h`, `paused by root`, `web is parked (count = 0)`
fn next(seen: &JobSeen, now: Time) -> String {
    match (&seen.paused, &seen.waits, seen.next) {
        (Some(pause), ..) => format!("paused by {}", pause.by),
        (None, Some(why), _) => why.clone(),
        (None, None, Some(at)) => format!("in {}", show::span(at.since(now))),
        (None, None, None) => "never".to_string(),
    }
}

fn count(missed: &Missed) -> String {
    if missed.count >= Missed::COUNT_MAX { format!("{} or more", missed.count) } else { missed.count.to_string() }
}

fn print(history: &JobHistory) {
    let now = show::now();
    if history.runs.is_empty() {
        show::note("it has not run yet");
    } else {
        let head = ["run", "release", "attempt", "due", "state", "took", "by"];
        let row = |seen: &RunSeen| {
            let (run, start) = (&seen.run, seen.run.job.as_ref());
            let due = start.and_then(|start| start.due).map_or_else(|| "by hand".to_string(), show::upkeep::day);
            let until = run.exit.as_ref().map_or(now, |exit| exit.at);
            let attempt = start.map_or(1, |start| start.attempt).to_string();
            vec![
                run.id.to_string(),
                format!("r{}", run.release),
                attempt,
                due,
                run::state(run),
                show::span(until.since(run.asked)),
                run.by.clone(),
            ]
        };
        show::line(show::table(&head, history.runs.iter().map(row).collect()));
    }
    for missed in history.missed.iter().rev() {
        let (first, last) = (show::upkeep::day(missed.first), show::upkeep::day(missed.last));
        let span = if missed.count == 1 { first } else { format!("{first} to {last}") };
        show::line(format!("missed {}: {span}: {}", count(missed), missed.why));
    }
}
