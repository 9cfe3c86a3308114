//! Following one run: what it prints, what is done on Ctrl-C, and the exit code that it gives. It only reads and asks; killing it ends nothing.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::Client;
use api::logs::{self, LogLine, LogPart, LogQuery, Stream};
use api::runs::{self, RunSeen, RunStopRequest};
use model::Fault;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

const POLL_EVERY: Duration = Duration::from_millis(150);
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// A control plane that does not answer for longer is not waited for; the run does not need it.
const AWAY_MAX: Duration = Duration::from_secs(300);
/// Why it has not begun is not said before this.
const QUIET: Duration = Duration::from_secs(3);

pub const TIMED_OUT: u8 = 124;
pub const FAILED: u8 = 125;
const NOT_STARTED: u8 = 127;

struct Follower<'a> {
    context: &'a Context,
    api: Client,
    seen: RunSeen,
    query: LogQuery,
    /// Everything that it printed was printed.
    is_read: bool,
    /// The reason why it waits that was printed last.
    waits: Option<String>,
    begun: Instant,
}

pub async fn follow(context: &Context, seen: RunSeen) -> Result<Exit, Failure> {
    let api = context.api().timeout(ANSWER_WITHIN);
    let mut follower = Follower { context, api, seen, query: LogQuery::default(), is_read: false, waits: None, begun: Instant::now() };
    let mut away: Option<Instant> = None;
    let mut interrupts = 0u32;
    // From the beginning, so that none is missed while something is printed.
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    loop {
        let polled = tokio::select! {
            polled = follower.poll() => polled,
            _ = interrupt.recv() => { interrupts += 1; follower.stop(interrupts > 1).await; continue }
            _ = terminate.recv() => { interrupts += 1; follower.stop(interrupts > 1).await; continue }
        };
        match polled {
            Ok(()) => away = None,
            Err(fault) if fault.code == "unreachable" && away.is_none_or(|since| since.elapsed() < AWAY_MAX) => {
                if away.is_none() {
                    show::note(format!("the control plane does not answer; waiting for it. {} goes on", follower.seen.run.id));
                }
                away.get_or_insert_with(Instant::now);
            }
            Err(fault) => return Err(fault.into()),
        }
        show::flush();
        if away.is_none() && follower.seen.run.exit.is_some() && follower.is_read {
            return Ok(follower.end());
        }
        tokio::select! {
            () = tokio::time::sleep(POLL_EVERY) => {}
            _ = interrupt.recv() => { interrupts += 1; follower.stop(interrupts > 1).await; }
            _ = terminate.recv() => { interrupts += 1; follower.stop(interrupts > 1).await; }
        }
    }
}

fn listen(kind: SignalKind) -> Result<Signal, Fault> {
    signal(kind).map_err(|e| Fault::world("io", format!("cannot wait for signals: {e}")))
}

impl Follower<'_> {
    async fn poll(&mut self) -> Result<(), Fault> {
        // Its end first: what it printed before it ended is then read.
        self.seen = self.api.get(&runs::one(&self.seen.run.id)).await?;
        let has_ended = self.seen.run.exit.is_some();
        loop {
            let path = logs::one(&self.seen.run.service(), &self.seen.instance, &self.query);
            let part: LogPart = match self.api.get(&path).await {
                Ok(part) => part,
                // It has not begun, or never did, or its log is not kept any more.
                Err(fault) if fault.code == "no-log" => {
                    self.is_read = has_ended;
                    break;
                }
                Err(fault) => return Err(fault),
            };
            if part.lost {
                show::note(format!("{}: lines were printed faster than they were read, and are lost", self.seen.instance));
            }
            self.query = LogQuery { from: Some(part.next), ..LogQuery::default() };
            part.lines.iter().for_each(|line| self.print(line));
            if !part.more {
                self.is_read = has_ended && !part.lives;
                break;
            }
        }
        self.say_why();
        Ok(())
    }

    fn print(&self, line: &LogLine) {
        match line.stream {
            _ if self.context.json => show::json(line),
            Some(Stream::Stdout) | None => show::raw_line(&line.text),
            Some(Stream::Stderr) => show::raw_err_line(&line.text),
            Some(Stream::Afresh) => show::note(&line.text),
        }
    }

    fn say_why(&mut self) {
        if self.begun.elapsed() < QUIET || self.seen.waits.is_none() || self.seen.waits == self.waits {
            return;
        }
        self.waits.clone_from(&self.seen.waits);
        if let Some(why) = &self.waits {
            show::note(format!("{} waits: {why}", self.seen.run.id));
        }
    }

    /// A control plane that does not answer is asked again with the next Ctrl-C.
    async fn stop(&mut self, kill: bool) {
        let id = &self.seen.run.id;
        let asked: Result<RunSeen, Fault> = self.api.post(&runs::stop(id), &RunStopRequest { kill }).await;
        match asked {
            Ok(_) if kill => show::note(format!("killing {id}")),
            Ok(_) => show::note(format!("stopping {id}: it has its drain time to end; press Ctrl-C again to kill it")),
            Err(fault) => show::note(format!("cannot stop {id}: {}; it goes on, and ends when its timeout is over", fault.message)),
        }
    }

    fn end(&self) -> Exit {
        let Some(exit) = &self.seen.run.exit else { return Exit::Program(FAILED) };
        let code = match exit {
            exit if exit.lost => FAILED,
            exit if exit.timed_out => TIMED_OUT,
            exit if exit.not_started.is_some() => NOT_STARTED,
            exit => u8::try_from(exit.code).unwrap_or(FAILED),
        };
        if self.context.json {
            show::json(&serde_json::json!({ "exit": code, "run": self.seen }));
        } else if exit.lost || exit.timed_out || exit.not_started.is_some() || exit.out_of_memory {
            show::note(format!("{}: {}", self.seen.run.id, exit.how()));
        }
        Exit::Program(code)
    }
}
