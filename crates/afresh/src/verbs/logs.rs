//! `logs`: what the programs of a service printed, merged by time. It polls for new lines, so that it survives the control plane.

use super::units::{Since, since};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::Client;
use api::logs::{self, LogFile, LogLine, LogPart, LogQuery, Stream};
use clap::Args;
use model::{Fault, InstanceId, RunId, ServiceName, Time};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

/// Print what the servers of a service printed, merged by time
#[derive(Args, Debug)]
#[command(
    after_help = "Servers that are gone are included as far as the keeper still has their logs. Each server keeps its last 8 to 16 MiB, all of a host \
                  1 GiB together (`--log-total` of `up` and `host`), and what was dropped is counted in the log. With --json each line has its time \
                  and its stream: stdout, stderr, or afresh for what Afresh says of the log.\n\n\
                  Example:\n  afresh logs web --follow\n  afresh logs web --since 10m -n 100\n  afresh logs web --grep 'ERROR|status=5\\d\\d'\n  afresh logs web@r2\n  afresh logs web-r2-5-1\n  afresh logs web.x17"
)]
pub struct Logs {
    /// A service (`web`), one of its releases (`web@r2`), a server (`web-r2-5-1`) or a run (`web.x17`)
    #[arg(value_name = "SERVICE|RELEASE|INSTANCE|RUN", value_parser = of)]
    pub of: Of,
    /// Keep printing new lines
    #[arg(short, long)]
    pub follow: bool,
    /// Only lines since then: `10m` for ten minutes ago, or a time (2026-11-29T12:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<Since>,
    /// Only lines that this regular expression matches (`(?i)` ignores case)
    #[arg(short, long, value_name = "REGEX")]
    pub grep: Option<String>,
    /// Only the last N lines
    #[arg(short = 'n', long, value_name = "N")]
    pub tail: Option<usize>,
    /// Print time and stream before each line
    #[arg(short, long)]
    pub timestamps: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    Service(ServiceName),
    Release(ServiceName, u64),
    Instance(ServiceName, InstanceId),
    Run(RunId),
}

impl Of {
    fn service(&self) -> ServiceName {
        match self {
            Of::Service(service) | Of::Release(service, _) | Of::Instance(service, _) => service.clone(),
            Of::Run(run) => run.service(),
        }
    }

    fn includes(&self, log: &LogFile) -> bool {
        match self {
            Of::Service(_) => true,
            Of::Instance(_, instance) => *instance == log.instance,
            Of::Release(_, number) => log.group.parts().or_else(|| log.group.run()).is_some_and(|(_, release, _)| release == *number),
            Of::Run(run) => log.group.run().is_some_and(|(_, _, number)| number == run.number()),
        }
    }
}

/// As it was given.
impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Of::Service(service) => service.fmt(f),
            Of::Release(service, number) => write!(f, "{service}@r{number}"),
            Of::Instance(_, instance) => instance.fmt(f),
            Of::Run(run) => run.fmt(f),
        }
    }
}

const POLL_EVERY: Duration = Duration::from_millis(300);
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

fn of(text: &str) -> Result<Of, String> {
    if let Ok(instance) = InstanceId::new(text)
        && let Some(service) = instance.service()
    {
        return Ok(Of::Instance(service, instance));
    }
    if let Some((service, release)) = text.split_once('@') {
        let service = ServiceName::new(service).map_err(|e| e.to_string())?;
        return super::units::release_number(release).map(|number| Of::Release(service, number));
    }
    if let Ok(run) = RunId::new(text) {
        return Ok(Of::Run(run));
    }
    ServiceName::new(text).map(Of::Service).map_err(|e| e.to_string())
}

impl Logs {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.wait(async {
            let api = context.api().timeout(ANSWER_WITHIN);
            let since = self.since.map(|since| since.time(show::now()));
            let service = self.of.service();
            let grep = self.grep;
            let first = LogQuery { tail: self.tail, since, grep: grep.clone(), from: None };
            let is_one = matches!(self.of, Of::Instance(..) | Of::Run(_));
            let mut merged = Merged { api, service: &service, of: &self.of, grep: grep.clone(), logs: BTreeMap::new() };
            let mut printer = Printer { context, is_one, timestamps: self.timestamps, seen: Vec::new() };
            merged.find(&first).await?;
            if merged.logs.is_empty() && !self.follow {
                let text = match &self.of {
                    Of::Service(service) => format!("no server of {service} has a log"),
                    one => format!("no log of {one}"),
                };
                return Err(Fault::yours("no-log", text).hint(format!("`afresh instance list {service}` lists its servers")).into());
            }
            merged.print(self.tail, &mut printer).await?;
            if !self.follow {
                return Ok(Exit::Succeeded);
            }
            loop {
                show::flush();
                tokio::time::sleep(POLL_EVERY).await;
                // A server that appears now is read from its beginning.
                let round = async {
                    merged.find(&LogQuery { grep: grep.clone(), ..LogQuery::default() }).await?;
                    merged.print(None, &mut printer).await
                };
                match round.await {
                    // A control plane or keeper that restarts is waited for.
                    Err(fault) if fault.code == "unreachable" => {}
                    printed => printed?,
                }
            }
        })
    }
}

/// One server's log, as far as it was read.
struct Log {
    query: LogQuery,
    lines: VecDeque<LogLine>,
    /// Of the last line that has one: lines without a time are printed after it.
    at: Time,
    more: bool,
    lives: bool,
}

struct Merged<'a> {
    api: Client,
    service: &'a ServiceName,
    of: &'a Of,
    grep: Option<String>,
    logs: BTreeMap<InstanceId, Log>,
}

impl Merged<'_> {
    /// Adds logs that appeared, and marks those to which more may have been added.
    async fn find(&mut self, first: &LogQuery) -> Result<(), Fault> {
        let files: Vec<LogFile> = self.api.get(&logs::list(self.service)).await?;
        for file in files.into_iter().filter(|file| self.of.includes(file)) {
            let new = || Log { query: first.clone(), lines: VecDeque::new(), at: Time(0), more: true, lives: true };
            let log = self.logs.entry(file.instance).or_insert_with(new);
            log.more |= log.lives;
        }
        Ok(())
    }

    /// Everything that is kept, the oldest line first; with `tail` only the last lines.
    async fn print(&mut self, tail: Option<usize>, printer: &mut Printer<'_>) -> Result<(), Fault> {
        let mut last = VecDeque::new();
        while let Some((instance, line)) = self.next().await? {
            let line = Line { instance, at: line.at, stream: line.stream, text: line.text };
            match tail {
                None => printer.print(&line),
                Some(tail) => {
                    last.push_back(line);
                    last.drain(..last.len().saturating_sub(tail));
                }
            }
        }
        last.iter().for_each(|line| printer.print(line));
        Ok(())
    }

    /// Only one part of each log is held at a time.
    async fn next(&mut self) -> Result<Option<(InstanceId, LogLine)>, Fault> {
        for (instance, log) in &mut self.logs {
            while log.lines.is_empty() && log.more {
                let part: LogPart = self.api.get(&logs::one(self.service, instance, &log.query)).await?;
                if part.lost {
                    show::note(format!("{instance}: lines were printed faster than they were read, and are lost"));
                }
                log.query = LogQuery { from: Some(part.next), grep: self.grep.clone(), ..LogQuery::default() };
                (log.lines, log.more, log.lives) = (part.lines.into(), part.more, part.lives);
            }
        }
        let at = |log: &Log| log.lines.front().map(|line| line.at.unwrap_or(log.at));
        let oldest = self.logs.iter_mut().filter_map(|(id, log)| Some((at(log)?, id, log))).min_by_key(|(at, id, _)| (*at, (*id).clone()));
        let Some((at, instance, log)) = oldest else { return Ok(None) };
        log.at = at;
        Ok(log.lines.pop_front().map(|line| (instance.clone(), line)))
    }
}

#[derive(Serialize)]
struct Line {
    instance: InstanceId,
    at: Option<Time>,
    stream: Option<Stream>,
    text: String,
}

struct Printer<'a> {
    context: &'a Context,
    is_one: bool,
    timestamps: bool,
    /// Servers in the order in which they appeared: neighbours have different colours.
    seen: Vec<InstanceId>,
}

impl Printer<'_> {
    fn print(&mut self, line: &Line) {
        if self.context.json {
            return show::json(line);
        }
        let stream = line.stream.map_or("-", Stream::name);
        let at = if self.timestamps { format!("{} {stream} ", line.at.map_or_else(|| "-".to_string(), stamp)) } else { String::new() };
        // What Afresh says is told apart from what the program printed.
        let text = if line.stream == Some(Stream::Afresh) { show::paint(show::DIM, &line.text) } else { line.text.clone() };
        if self.is_one {
            return show::line(format!("{at}{text}"));
        }
        let place = self.seen.iter().position(|id| *id == line.instance).unwrap_or_else(|| {
            self.seen.push(line.instance.clone());
            self.seen.len() - 1
        });
        let prefix = show::paint(show::PREFIXES[place % show::PREFIXES.len()], format!("{} |", line.instance));
        show::line(format!("{prefix} {at}{text}"));
    }
}

/// `2026-11-29T12:00:00.1Z`
fn stamp(at: Time) -> String {
    let stamp = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(|| format!("{} ms", at.0), |stamp| format!("{stamp:.1}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_service_or_a_server() {
        for name in ["web", "web-2", "web-r2-5", "api-v1-2"] {
            assert_eq!(of(name), Ok(Of::Service(ServiceName::new(name).unwrap())), "{name}");
        }
        for name in ["web-r2-5-1", "web-r2-5-c1a2b3c4d-1"] {
            assert_eq!(of(name), Ok(Of::Instance(ServiceName::new("web").unwrap(), InstanceId::new(name).unwrap())), "{name}");
        }
        assert_eq!(of("web@r2"), Ok(Of::Release(ServiceName::new("web").unwrap(), 2)));
        assert_eq!(of("web.x17"), Ok(Of::Run(RunId::new("web.x17").unwrap())));
        for bad in ["Web", "web@", "web@r0", "@r1", "web.y1", "web@r1@r2"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_printed_to_a_tenth() {
        assert_eq!(stamp(Time(1_764_000_000_123)), "2025-11-24T16:00:00.1Z");
    }
}
