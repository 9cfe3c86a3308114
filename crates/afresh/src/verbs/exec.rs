//! `exec`: a command inside a server that runs, with a terminal or with its streams, and its exit code.

use super::lists::list;
use super::run_follow::FAILED;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use crate::show::raw_terminal::{self, RawTerminal};
use api::Client;
use api::exec::{self, ExecBegun, ExecExit, ExecInput, ExecOutput, ExecRequest, ExecSeen, ExecTaken, PIECE_BYTES_MAX, Terminal};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand};
use model::{ExecId, Fault, InstanceId, ServiceName};
use std::io::{IsTerminal, Read};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{Sender, channel};

/// Run a command inside a running server; list and stop such commands
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "It has the service's user, files, secrets, network and limits, and no more rights than the service itself. Nothing that it changes \
                  outlives the server: servers are replaced, not repaired. With a terminal on both sides it gets one too, else three streams; what it \
                  prints then reaches a terminal without escape sequences. Ctrl-] three times ends it whatever it does.\n\n\
                  Root of a host can forbid it (`exec = false` in the host policy), others than the administrator must be named in its `run`, and the \
                  audit has a line before each command begins and another when it has ended. One caller has at most 4 at a time; an administrator lists and stops \
                  those of all.\n\n\
                  The exit code is the command's, 128 + N for signal N; 125: Afresh failed, 127: the command could not be started.\n\n\
                  Example:\n  afresh exec web-r2-5-1 -- sh\n  afresh exec web-r2-5-1 -- cat /etc/os-release\n  echo 'select 1' | afresh exec web-r2-5-1 -- bin/db\n  afresh exec list\n  afresh exec stop s1764432000000"
)]
pub struct ExecVerb {
    #[command(subcommand)]
    pub what: Option<What>,
    /// The server (`web-r2-5-1`)
    #[arg(required = true)]
    pub instance: Option<InstanceId>,
    /// No terminal for the command, though there is one here
    #[arg(short = 'T', long)]
    pub no_tty: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum What {
    /// List commands that run inside servers: yours, or as an administrator all
    #[command(after_help = "Example:\n  afresh exec list")]
    List {},
    /// Stop a command: kill it and everything that it started
    #[command(
        after_help = "Yours, or anybody's as an administrator. The audit has who stopped it.\n\nExample:\n  afresh exec stop s1764432000000"
    )]
    Stop {
        /// The session (`s1764432000000`)
        session: ExecId,
    },
}

const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// A control plane that does not answer for longer is not waited for: the keeper ends the command then.
const AWAY_MAX: Duration = Duration::from_secs(50);
const AGAIN_AFTER: Duration = Duration::from_millis(300);
const NOT_STARTED: u8 = 127;
/// Ctrl-]
const ESCAPE: u8 = 0x1d;
const ESCAPES: usize = 3;
/// In a list.
const COMMAND_BYTES_MAX: usize = 60;

enum Typed {
    Bytes(Vec<u8>),
    End,
}

impl ExecVerb {
    /// Whether it gives the exit code of a program.
    pub fn is_program(&self) -> bool {
        self.what.is_none()
    }

    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            None => self.begin(context),
            Some(What::List {}) => {
                let now = show::now();
                let head = ["session", "server", "by", "began", "command"];
                list(context, exec::EXEC, &head, |seen: &ExecSeen| {
                    let command = model::text::shown(&seen.command.join(" "), COMMAND_BYTES_MAX);
                    vec![seen.session.to_string(), seen.instance.to_string(), seen.by.clone(), show::ago(seen.began, now), command]
                })
            }
            Some(What::Stop { session }) => context.wait(stop(context, &session)),
        }
    }

    fn begin(self, context: &Context) -> Result<Exit, Failure> {
        let instance = self.instance.ok_or_else(|| Fault::yours("bad-request", "no server is named"))?;
        let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let terminal = (is_terminal && !self.no_tty && !context.json).then(|| Terminal {
            size: raw_terminal::size(),
            kind: std::env::var("TERM").ok().filter(|kind| !kind.is_empty()).unwrap_or_else(|| "dumb".to_string()),
        });
        let service = instance.service().ok_or_else(|| {
            Fault::yours("bad-name", format!("{instance} is not a server's name")).hint("`afresh instance list` lists servers")
        })?;
        context.wait(async {
            let api = context.api().timeout(ANSWER_WITHIN);
            let request = ExecRequest { instance, command: self.command, terminal: terminal.clone() };
            let begun: ExecBegun = api.post(&exec::of(&service), &request).await?;
            let session = Session { api, service, id: begun.session, has_terminal: terminal.is_some() };
            let raw = terminal.map(|_| RawTerminal::enter()).transpose()?;
            let ended = session.follow(context).await;
            drop(raw);
            let exit = ended?;
            Ok(Exit::Program(session.say(context, &exit)))
        })
    }
}

async fn stop(context: &Context, session: &ExecId) -> Result<Exit, Failure> {
    let all: Vec<ExecSeen> = context.api().get(exec::EXEC).await?;
    let seen = all.into_iter().find(|seen| seen.session == *session);
    let service = seen.and_then(|seen| seen.instance.service()).ok_or_else(|| {
        Fault::yours("not-found", format!("no command {session} of yours runs inside a server"))
            .hint("`afresh exec list` lists those that run")
    })?;
    let answer: serde_json::Value = context.api().post(&exec::stop(&service, session), &serde_json::json!({})).await?;
    if context.json {
        show::json(&answer);
    } else {
        show::line(format!("{session}: stopped"));
    }
    Ok(Exit::Succeeded)
}

struct Session {
    api: Client,
    service: ServiceName,
    id: ExecId,
    has_terminal: bool,
}

impl Session {
    async fn follow(&self, context: &Context) -> Result<ExecExit, Failure> {
        let listen = |kind| signal(kind).map_err(|e| Fault::world("io", format!("cannot wait for signals: {e}")));
        // With a terminal Ctrl-C is a byte that is sent.
        let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        let mut changed = listen(SignalKind::window_change())?;
        let (sender, mut typed) = channel(4);
        std::thread::spawn(move || read_input(&sender));
        let mut output = Box::pin(self.print_output(context));
        // Beside the output: a command that waits for its output to be read does not read its input.
        let mut input = Box::pin(async {
            let mut input = Input { session: self, sent: 0, escapes: 0, is_over: false };
            loop {
                let sent = tokio::select! {
                    more = typed.recv(), if !input.is_over => input.take(more).await,
                    _ = changed.recv(), if self.has_terminal => input.send(&[], false, Some(raw_terminal::size())).await,
                    else => return Ok::<(), Failure>(()),
                };
                sent?;
            }
        });
        let mut is_typing = true;
        loop {
            tokio::select! {
                exit = &mut output => return exit,
                over = &mut input, if is_typing => {
                    over?;
                    is_typing = false;
                }
                _ = interrupt.recv() => self.stop().await,
                _ = terminate.recv() => self.stop().await,
            }
        }
    }

    async fn stop(&self) {
        let stopped: Result<serde_json::Value, Fault> = self.api.post(&exec::stop(&self.service, &self.id), &serde_json::json!({})).await;
        if let Err(fault) = stopped {
            show::note(format!("cannot end it: {}; it ends by itself a minute after this command", fault.message));
        }
    }

    async fn print_output(&self, context: &Context) -> Result<ExecExit, Failure> {
        let mut after = 0;
        let mut away: Option<Instant> = None;
        let mut screens = [show::Screen::stdout(), show::Screen::stderr()];
        loop {
            let answer: Result<ExecOutput, Fault> = self.api.get(&exec::output(&self.service, &self.id, after)).await;
            let output = match answer {
                Ok(output) => output,
                Err(fault) if fault.code == "unreachable" && away.is_none_or(|since| since.elapsed() < AWAY_MAX) => {
                    away.get_or_insert_with(Instant::now);
                    tokio::time::sleep(AGAIN_AFTER).await;
                    continue;
                }
                Err(fault) => return Err(fault.into()),
            };
            away = None;
            for piece in &output.pieces {
                let bytes = BASE64.decode(&piece.data).map_err(|e| Fault::ours("bad-answer", format!("output is not base64: {e}")))?;
                if context.json {
                    let stream = if piece.stderr { "stderr" } else { "stdout" };
                    show::json(&serde_json::json!({ "stream": stream, "text": String::from_utf8_lossy(&bytes) }));
                } else if self.has_terminal {
                    raw_terminal::print(&bytes);
                } else {
                    screens[usize::from(piece.stderr)].print(&bytes);
                }
            }
            after = output.next;
            if let Some(exit) = output.exit {
                return Ok(exit);
            }
        }
    }

    fn say(&self, context: &Context, exit: &ExecExit) -> u8 {
        let code = match exit {
            exit if exit.not_started.is_some() => NOT_STARTED,
            exit if exit.ended.is_some() => u8::try_from(exit.code).ok().filter(|code| *code > 0).unwrap_or(FAILED),
            exit => u8::try_from(exit.code).unwrap_or(FAILED),
        };
        if context.json {
            show::json(&serde_json::json!({ "exit": code, "session": self.id, "how": exit.to_string() }));
        } else if exit.not_started.is_some() || exit.ended.is_some() {
            show::note(exit);
        }
        code
    }
}

struct Input<'a> {
    session: &'a Session,
    sent: u64,
    escapes: usize,
    is_over: bool,
}

impl Input<'_> {
    async fn take(&mut self, typed: Option<Typed>) -> Result<(), Failure> {
        match typed {
            Some(Typed::Bytes(bytes)) => {
                if self.session.has_terminal && self.is_escape(&bytes) {
                    self.session.stop().await;
                }
                self.send(&bytes, false, None).await
            }
            Some(Typed::End) | None => {
                self.is_over = true;
                self.send(&[], true, None).await
            }
        }
    }

    fn is_escape(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            self.escapes = if *byte == ESCAPE { self.escapes + 1 } else { 0 };
        }
        self.escapes >= ESCAPES
    }

    /// Until all of it was taken: a command that does not read holds up whoever types, and nobody else.
    async fn send(&mut self, bytes: &[u8], end: bool, size: Option<exec::Size>) -> Result<(), Failure> {
        let mut left = bytes;
        let begun = Instant::now();
        loop {
            let path = exec::input(&self.session.service, &self.session.id);
            let more = ExecInput { at: self.sent, data: BASE64.encode(left), end, size };
            match self.session.api.post::<_, ExecTaken>(&path, &more).await {
                Ok(answer) => {
                    let new = usize::try_from(answer.taken.saturating_sub(self.sent)).unwrap_or(usize::MAX).min(left.len());
                    self.sent += new as u64;
                    left = &left[new..];
                    if left.is_empty() {
                        return Ok(());
                    }
                }
                // It has ended; its output says how.
                Err(fault) if fault.code == "not-found" => return Ok(()),
                Err(fault) if fault.code == "unreachable" && begun.elapsed() < AWAY_MAX => {}
                Err(fault) => return Err(fault.into()),
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}

fn read_input(to: &Sender<Typed>) {
    let mut buffer = vec![0; PIECE_BYTES_MAX];
    loop {
        let typed = match std::io::stdin().lock().read(&mut buffer) {
            Ok(0) | Err(_) => Typed::End,
            Ok(n) => Typed::Bytes(buffer[..n].to_vec()),
        };
        let is_end = matches!(typed, Typed::End);
        if to.blocking_send(typed).is_err() || is_end {
            return;
        }
    }
}
