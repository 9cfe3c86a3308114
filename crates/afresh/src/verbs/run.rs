//! `run`: a command in a server of its own, with what it prints and its exit code; and the list of runs.

use super::lists::list;
pub use super::run_follow::FAILED;
use super::run_follow::follow;
use super::units::{millis, release_number};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::runs::{self, RunRequest, RunSeen, RunStopRequest};
use clap::{Args, Subcommand};
use model::{Fault, Run, RunId, ServiceName, Time};

/// Run a command once in a server of a service's release; list and stop runs
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "The server has the image, artifact, environment, user, limits and network of the service's servers. It gets no traffic and counts \
                  as no capacity. What it prints comes line by line, each stream on its own. Ctrl-C sends the service's drain signal and waits, \
                  a second one kills. If this command is killed, the run goes on until it ends or its timeout is over.\n\n\
                  A secret is no --env: it has those of the service, and a value given so stands in the journal, where whoever may deploy the service \
                  can read it. The audit has the command and the names of the variables, without their values.\n\n\
                  The exit code is the command's, 128 + N for signal N. Of Afresh itself:\n  \
                  124  ended because its timeout was over\n  \
                  125  Afresh failed, or how it ended is not known; the message says more\n  \
                  127  the command could not be started\n\n\
                  Example:\n  afresh run web -- python3 manage.py shell -c 'print(1)'\n  afresh run web --release 41 --timeout 10m -- ./report\n  afresh run --env LOG_LEVEL=debug web -- ./report\n  afresh run list web\n  afresh run stop web.x17"
)]
pub struct RunVerb {
    #[command(subcommand)]
    pub what: Option<What>,
    /// The service whose release it runs in
    #[arg(required = true)]
    pub service: Option<ServiceName>,
    /// Run it in this release instead of the active one
    #[arg(long, value_name = "N", value_parser = release_number)]
    pub release: Option<u64>,
    /// End it when it has run for this time
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = millis)]
    pub timeout: u64,
    /// Set a variable, besides those of the service or in place of one of them (repeatable)
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,
    /// Print its id and do not wait for it
    #[arg(short, long)]
    pub detach: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum What {
    /// List runs, the newest first
    #[command(after_help = "Example:\n  afresh run list\n  afresh run list web --limit 5")]
    List {
        /// Only runs of this service
        service: Option<ServiceName>,
        /// List at most this many
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u64,
    },
    /// Show one run
    #[command(after_help = "`afresh logs INSTANCE` prints what it printed.\n\nExample:\n  afresh run show web.x17")]
    Show {
        /// The run (`web.x17`)
        run: RunId,
    },
    /// Follow a run: print what it prints, and exit as it does
    #[command(after_help = "Example:\n  afresh run attach web.x17")]
    Attach {
        /// The run (`web.x17`)
        run: RunId,
    },
    /// Stop a run: send its drain signal, and kill it when its drain time is over
    #[command(after_help = "Example:\n  afresh run stop web.x17\n  afresh run stop web.x17 --kill")]
    Stop {
        /// The run (`web.x17`)
        run: RunId,
        /// Kill it at once
        #[arg(long)]
        kill: bool,
    },
}

impl RunVerb {
    /// Whether it gives the exit code of a program: then errors of Afresh have one that hardly any program uses.
    pub fn is_program(&self) -> bool {
        matches!(self.what, None | Some(What::Attach { .. }))
    }

    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            None => context.wait(async {
                let service = self.service.ok_or_else(|| Fault::yours("bad-request", "no service is named"))?;
                if input_is_given() {
                    show::note("the command has no standard input: what is piped into `afresh run` is not read");
                }
                let request = RunRequest {
                    command: self.command,
                    release: self.release,
                    within_ms: Some(self.timeout),
                    env: self.env.into_iter().collect(),
                };
                let seen: RunSeen = context.api().post(&runs::of(&service), &request).await?;
                if self.detach {
                    return Ok(print(context, &seen));
                }
                follow(context, seen).await
            }),
            Some(What::List { service, limit }) => {
                let path = service.map_or_else(|| runs::RUNS.to_string(), |service| runs::of(&service));
                let now = show::now();
                let head = ["run", "release", "state", "took", "began", "by", "command"];
                list(context, &format!("{path}?limit={limit}"), &head, |seen: &RunSeen| row(&seen.run, now))
            }
            Some(What::Show { run }) => context.wait(async {
                let seen: RunSeen = context.api().get(&runs::one(&run)).await?;
                if context.json {
                    show::json(&seen);
                } else {
                    show_one(&seen);
                }
                Ok(Exit::Succeeded)
            }),
            Some(What::Attach { run }) => context.wait(async {
                let seen: RunSeen = context.api().get(&runs::one(&run)).await?;
                follow(context, seen).await
            }),
            Some(What::Stop { run, kill }) => context.wait(async {
                let seen: RunSeen = context.api().post(&runs::stop(&run), &RunStopRequest { kill }).await?;
                if context.json {
                    show::json(&seen);
                } else {
                    show::line(format!("{run}: {}", state(&seen.run)));
                }
                Ok(Exit::Succeeded)
            }),
        }
    }
}

/// A pipe or a file, and not a terminal or nothing.
fn input_is_given() -> bool {
    use rustix::fs::{FileType, fstat};
    let Ok(stat) = fstat(std::io::stdin()) else { return false };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => true,
        FileType::RegularFile => stat.st_size > 0,
        _ => false,
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_string(), value.to_string()))
}

pub fn print(context: &Context, seen: &RunSeen) -> Exit {
    if context.json {
        show::json(seen);
    } else {
        show::line(&seen.run.id);
    }
    Exit::Succeeded
}

/// `running`, `stopping`, `exit 1, "no such table"`
pub fn state(run: &Run) -> String {
    match (&run.exit, &run.stop) {
        (Some(exit), _) => exit.to_string(),
        (None, Some(stop)) if stop.kill => "being killed".to_string(),
        (None, Some(_)) => "stopping".to_string(),
        (None, None) => "running".to_string(),
    }
}

fn row(run: &Run, now: Time) -> Vec<String> {
    let until = run.exit.as_ref().map_or(now, |exit| exit.at);
    vec![
        run.id.to_string(),
        format!("r{}", run.release),
        state(run),
        show::span(until.since(run.asked)),
        show::ago(run.asked, now),
        run.by.clone(),
        model::text::shown(&run.command.join(" "), 60),
    ]
}

fn show_one(seen: &RunSeen) {
    let run = &seen.run;
    let mut rows = vec![
        ("run", run.id.to_string()),
        ("release", format!("{}@r{}", run.service(), run.release)),
        ("command", model::text::shown(&run.command.join(" "), 1_000)),
        ("state", state(run)),
        ("began", show::ago(run.asked, show::now())),
        ("timeout", show::span(run.within_ms)),
        ("by", run.by.clone()),
        ("server", seen.instance.to_string()),
    ];
    rows.extend(run.env.iter().map(|(name, value)| ("variable", model::text::shown(&format!("{name}={value}"), 200))));
    rows.extend(run.stop.as_ref().map(|stop| ("stopped by", stop.by.clone())));
    rows.extend(seen.waits.as_ref().map(|why| ("waits", why.clone())));
    for (name, value) in rows {
        show::line(format!("{name:<10}  {value}"));
    }
    for line in run.exit.iter().flat_map(|exit| &exit.lines) {
        show::line(format!("{:<10}  {line}", "printed"));
    }
}
