//! Sessions of commands inside instances: what they printed and nobody read yet, what was typed and they did not read, and how they ended.
//! Everything is bounded. It does not know how one is started.
//!
//! ```text
//! begin ─▶ runtime exec ─▶ output waits, bounded: the command blocks, never the instance ─▶ read by whoever began it
//!             └ ends by itself, is stopped, or nobody reads for a while ─▶ its group is killed ─▶ exit ─▶ recorded ─▶ forgotten
//! ```

use crate::cgroup::Inner;
use crate::{command, process, runtime, start_error};
use api::exec::{ExecExit, ExecInput, ExecOrder, ExecOutput, ExecSeen, ExecTaken, PIECE_BYTES_MAX, Piece, Size};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::{ExecId, Fault, Time};
use rustix::process::Signal;
use rustix::termios::{Winsize, tcsetwinsize};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Output that nobody read yet; beyond it the command waits.
const UNREAD_BYTES_MAX: usize = 1 << 20;
/// What a piece takes besides its bytes.
const PIECE_COST: usize = 64;
/// Input that the command did not read yet.
const UNTAKEN_BYTES_MAX: usize = 256 << 10;
/// In one answer.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// Whoever began it asks for output all the time.
const FORSAKEN_AFTER: Duration = Duration::from_secs(60);
const ASK_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(500);
pub const LEFTOVERS_WITHIN: Duration = Duration::from_secs(2);
/// The last output of a command whose group was killed is there already.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);
/// How it ended is kept until it is recorded, and for no longer than this.
const ENDED_FOR: Duration = Duration::from_secs(600);
const NOT_FOUND: i32 = 127;

#[derive(Default)]
pub struct Sessions {
    all: Mutex<BTreeMap<ExecId, Arc<Session>>>,
    beginning: Mutex<()>,
}

pub struct Session {
    id: ExecId,
    order: ExecOrder,
    began: Time,
    begun: Instant,
    /// The runtime that runs it. By its pid a signal could reach another process, once it has been waited for.
    runtime: OwnedFd,
    state: Mutex<SessionState>,
    changed: Condvar,
}

struct SessionState {
    /// Output that was not acknowledged, and the place of its first piece.
    pieces: VecDeque<(bool, Vec<u8>)>,
    first: u64,
    unread: usize,
    /// A call waits for output.
    is_awaited: bool,
    /// Streams that have not ended.
    open: usize,
    input: VecDeque<u8>,
    taken: u64,
    is_input_over: bool,
    terminal: Option<File>,
    asked: Instant,
    stop: Option<&'static str>,
    exit: Option<(ExecExit, Instant)>,
    /// Its end is in the audit; and whoever began it knows it too.
    is_recorded: bool,
    is_told: bool,
    /// Nobody will ask any more.
    is_forgotten: bool,
}

impl SessionState {
    fn is_done(&self, now: Instant) -> bool {
        let Some((_, at)) = &self.exit else { return false };
        let is_forsaken = now.duration_since(*at) > FORSAKEN_AFTER && now.duration_since(self.asked) > FORSAKEN_AFTER;
        (self.is_recorded && (self.is_told || is_forsaken)) || now.duration_since(*at) > ENDED_FOR
    }

    /// It has ended and all that it printed is here, as far as that will come.
    fn is_over(&self) -> bool {
        self.exit.as_ref().is_some_and(|(_, at)| self.open == 0 || at.elapsed() > DRAIN_WITHIN)
    }
}

fn no_session(id: &ExecId) -> Fault {
    Fault::yours("not-found", format!("there is no session {id}")).hint("it has ended, or its keeper was restarted, which ends all of them")
}

impl Sessions {
    /// Held while one begins, so that limits hold.
    pub fn beginning(&self) -> MutexGuard<'_, ()> {
        self.beginning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that take room: also those that have ended, until somebody has read their output.
    pub fn kept(&self) -> Vec<ExecOrder> {
        self.forget_done(Instant::now());
        let all = self.all();
        all.values().filter(|session| !session.state().is_told).map(|session| session.order.clone()).collect()
    }

    /// What each holds in memory goes with it, also where no other ever begins.
    pub fn forget_done(&self, now: Instant) {
        self.forget(|session| session.state().is_done(now));
    }

    pub fn free_id(&self, began: Time) -> Result<ExecId, Fault> {
        let all = self.all();
        let mut number = began.0;
        loop {
            let id = ExecId::new(format!("s{number}")).map_err(|e| Fault::ours("exec", e.to_string()))?;
            if !all.contains_key(&id) {
                return Ok(id);
            }
            number += 1;
        }
    }

    pub fn add(&self, session: Session) -> Arc<Session> {
        let session = Arc::new(session);
        self.all().insert(session.id.clone(), session.clone());
        session
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<ExecId, Arc<Session>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn one(&self, id: &ExecId) -> Result<Arc<Session>, Fault> {
        self.all().get(id).cloned().ok_or_else(|| no_session(id))
    }

    /// Those whose end is not recorded.
    pub fn list(&self) -> Vec<ExecSeen> {
        let all: Vec<Arc<Session>> = self.all().values().cloned().collect();
        all.iter().filter(|session| !session.state().is_recorded).map(|session| session.seen()).collect()
    }

    fn forget(&self, is_done: impl Fn(&Session) -> bool) {
        self.all().retain(|_, session| {
            let done = is_done(session);
            if done {
                session.state().is_forgotten = true;
                session.changed.notify_all();
            }
            !done
        });
    }

    /// How it ended is written down: it may be forgotten once its output was read.
    pub fn recorded(&self, id: &ExecId) {
        if let Ok(session) = self.one(id)
            && session.state().exit.is_some()
        {
            session.state().is_recorded = true;
            self.forget_done(Instant::now());
        }
    }
}

pub fn winsize(size: Size) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Session {
    /// `runtime`: the process that runs it; `open`: how many streams of output it has.
    pub fn new(id: ExecId, order: ExecOrder, began: Time, runtime: OwnedFd, open: usize, terminal: Option<File>) -> Self {
        let state = SessionState {
            pieces: VecDeque::new(),
            first: 0,
            unread: 0,
            is_awaited: false,
            open,
            input: VecDeque::new(),
            taken: 0,
            is_input_over: false,
            terminal,
            asked: Instant::now(),
            stop: None,
            exit: None,
            is_recorded: false,
            is_told: false,
            is_forgotten: false,
        };
        Self { id, order, began, begun: Instant::now(), runtime, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, SessionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> ExecSeen {
        ExecSeen {
            session: self.id.clone(),
            instance: self.order.request.instance.clone(),
            by: self.order.by.clone(),
            command: self.order.request.command.clone(),
            began: self.began,
            exit: self.state().exit.as_ref().map(|(exit, _)| exit.clone()),
        }
    }

    /// Kills all of it.
    pub fn stop(&self) {
        self.state().stop.get_or_insert("it was stopped");
        self.changed.notify_all();
    }

    pub fn read(&self, stderr: bool, mut from: File) {
        let mut buffer = vec![0; PIECE_BYTES_MAX];
        loop {
            match from.read(&mut buffer) {
                // A terminal whose other end is closed gives EIO.
                Ok(0) => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
                Ok(n) => {
                    let is_full = |state: &mut SessionState| state.unread >= UNREAD_BYTES_MAX && !state.is_forgotten;
                    let mut state = self.changed.wait_while(self.state(), is_full).unwrap_or_else(PoisonError::into_inner);
                    if state.is_forgotten {
                        break;
                    }
                    state.unread += n + PIECE_COST;
                    state.pieces.push_back((stderr, buffer[..n].to_vec()));
                    self.changed.notify_all();
                }
            }
        }
        self.state().open -= 1;
        self.changed.notify_all();
    }

    pub fn write(&self, mut to: File) {
        loop {
            let bytes: Vec<u8> = {
                let is_idle = |state: &mut SessionState| state.input.is_empty() && !state.is_input_over && state.exit.is_none();
                let mut state = self.changed.wait_while(self.state(), is_idle).unwrap_or_else(PoisonError::into_inner);
                if state.exit.is_some() || state.input.is_empty() {
                    break;
                }
                let n = state.input.len().min(PIECE_BYTES_MAX);
                state.input.drain(..n).collect()
            };
            // What it does not read any more is nobody's loss.
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let mut state = self.state();
        state.is_input_over = true;
        state.input.clear();
    }

    /// Until it has ended; then everything of it is killed.
    pub fn wait(&self, mut child: Child, inner: Option<&Inner>, pid_file: &Path) {
        let mut why = None;
        let code = loop {
            command::wait_readable(&self.runtime, LOOK_EVERY);
            if let Ok(Some(status)) = child.try_wait() {
                break std::os::unix::process::ExitStatusExt::signal(&status).map_or(status.code().unwrap_or(1), |signal| 128 + signal);
            }
            let mut state = self.state();
            if state.asked.elapsed() > FORSAKEN_AFTER {
                state.stop.get_or_insert("nobody asked for its output");
            }
            if let Some(stop) = state.stop {
                drop(state);
                why = Some(stop.to_string());
                match inner {
                    Some(inner) => drop(inner.kill(LEFTOVERS_WITHIN)),
                    None => runtime::kill_named_by(pid_file),
                }
                // The runtime follows its program, unless it hangs.
                if !command::wait_readable(&self.runtime, DRAIN_WITHIN) {
                    let _ = child.kill();
                }
            }
        };
        if let Some(inner) = inner {
            if !inner.kill(LEFTOVERS_WITHIN * 5) {
                tracing::warn!(session = %self.id, "processes of a command that has ended are still there after being killed");
            }
            inner.remove();
        }
        let has_started = pid_file.exists();
        let _ = std::fs::remove_file(pid_file);
        // Its last output, which it wrote before it ended.
        let until = Instant::now() + DRAIN_WITHIN;
        let mut state = self.state();
        while state.open > 0 && state.unread < UNREAD_BYTES_MAX && Instant::now() < until {
            state = self.changed.wait_timeout(state, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
        let not_started =
            (!has_started && why.is_none()).then(|| said(&state.pieces, self.order.request.command.first().map_or("", String::as_str)));
        if not_started.is_some() {
            // What the runtime said is no output of the command.
            state.first += state.pieces.len() as u64;
            state.pieces.clear();
            state.unread = 0;
        }
        let code = if not_started.is_some() { NOT_FOUND } else { code };
        let took_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        state.exit = Some((ExecExit { code, ended: why, not_started, took_ms }, Instant::now()));
        state.terminal = None;
        drop(state);
        self.changed.notify_all();
    }

    pub fn input(&self, more: &ExecInput) -> Result<ExecTaken, Fault> {
        let bytes = BASE64.decode(&more.data).map_err(|e| Fault::yours("bad-request", format!("data is not base64: {e}")))?;
        if bytes.len() > PIECE_BYTES_MAX {
            return Err(Fault::yours(
                "bad-request",
                format!("{} bytes of input, and at most {PIECE_BYTES_MAX} are taken at once", bytes.len()),
            ));
        }
        let mut state = self.state();
        state.asked = Instant::now();
        if let (Some(size), Some(terminal)) = (more.size, &state.terminal) {
            let _ = tcsetwinsize(terminal, winsize(size));
            // It asks for the size then, and tells the inner terminal.
            process::send(&self.runtime, Signal::WINCH);
        }
        if more.at > state.taken {
            return Err(Fault::yours("bad-request", format!("input from byte {} on, and {} were taken so far", more.at, state.taken)));
        }
        if state.is_input_over {
            // Nobody reads it: it is taken and dropped.
            state.taken = state.taken.max(more.at + bytes.len() as u64);
            return Ok(ExecTaken { taken: state.taken });
        }
        let known = usize::try_from(state.taken - more.at).unwrap_or(usize::MAX).min(bytes.len());
        let room = UNTAKEN_BYTES_MAX - state.input.len().min(UNTAKEN_BYTES_MAX);
        let new = &bytes[known..];
        let new = &new[..new.len().min(room)];
        state.input.extend(new);
        state.taken += new.len() as u64;
        state.is_input_over = more.end && state.taken >= more.at + bytes.len() as u64;
        let taken = state.taken;
        drop(state);
        self.changed.notify_all();
        Ok(ExecTaken { taken })
    }

    /// Waits for something to say.
    pub fn output(&self, after: u64) -> ExecOutput {
        let mut state = self.state();
        state.asked = Instant::now();
        while state.first < after
            && let Some((_, bytes)) = state.pieces.pop_front()
        {
            state.first += 1;
            state.unread = state.unread.saturating_sub(bytes.len() + PIECE_COST);
        }
        self.changed.notify_all();
        let until = Instant::now() + ASK_WITHIN;
        // One call waits at a time: each holds a thread, also when its caller has gone.
        if !std::mem::replace(&mut state.is_awaited, true) {
            while state.pieces.is_empty() && !state.is_over() && Instant::now() < until {
                let left = until.saturating_duration_since(Instant::now()).min(LOOK_EVERY);
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            state.is_awaited = false;
        }
        state.asked = Instant::now();
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        for (stderr, piece) in &state.pieces {
            if bytes > 0 && bytes + piece.len() + PIECE_COST > ANSWER_BYTES_MAX {
                break;
            }
            bytes += piece.len() + PIECE_COST;
            pieces.push(Piece { stderr: *stderr, data: BASE64.encode(piece) });
        }
        let is_last = pieces.len() == state.pieces.len() && state.is_over();
        let exit = state.exit.as_ref().filter(|_| is_last).map(|(exit, _)| exit.clone());
        state.is_told |= exit.is_some();
        ExecOutput { next: state.first + pieces.len() as u64, pieces, exit }
    }
}

/// What the runtime said in place of the command.
fn said(pieces: &VecDeque<(bool, Vec<u8>)>, program: &str) -> String {
    let all: Vec<u8> = pieces.iter().flat_map(|(_, bytes)| bytes.iter().copied()).take(4_096).collect();
    let text = String::from_utf8_lossy(&all);
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    // `time="..." level=error msg="exec failed: ..."`
    let message = last.split_once("msg=\"").map_or(last, |(_, rest)| rest.trim_end_matches('"'));
    start_error::reason(&message.replace("\\\"", "\""), program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_s_reason_is_taken_out_of_its_line() {
        let line =
            "time=\"2026\" level=error msg=\"exec failed: unable to start container process: exec: \\\"x\\\": not found in $PATH\"\r\n";
        let said = |text: &str| said(&VecDeque::from([(true, text.as_bytes().to_vec())]), "x");
        assert_eq!(said(line), "the image has no program \"x\" in its PATH");
        assert_eq!(said("a\nsome words\n\n"), "\"x\" did not start: some words");
    }

    fn session() -> Session {
        let request = api::exec::ExecRequest { instance: "web-r1-1-1".parse().unwrap(), command: vec!["x".into()], terminal: None };
        let order = ExecOrder { request, by: "root".into(), is_admin: true };
        let pid = i32::try_from(std::process::id()).unwrap();
        let own = process::open(pid, process::start_of(pid).unwrap()).unwrap();
        Session::new("s1".parse().unwrap(), order, Time(1), own, 1, None)
    }

    /// Nobody begins another: what has ended is forgotten all the same, sooner once it is recorded and nobody asks for it.
    #[test]
    fn what_has_ended_is_forgotten_by_time_alone() {
        let sessions = Sessions::default();
        let session = sessions.add(session());
        let begun = Instant::now();
        let after = |s: u64| begun + Duration::from_secs(s);
        let is_there = |now: Instant| {
            sessions.forget_done(now);
            sessions.one(&session.id).is_ok()
        };
        assert!(is_there(after(100_000)), "it runs");
        session.state().exit = Some((ExecExit { code: 0, ended: None, not_started: None, took_ms: 1 }, begun));
        assert!(is_there(after(500)), "its end is not recorded yet");
        session.state().is_recorded = true;
        session.state().asked = after(30);
        assert!(is_there(after(80)), "whoever began it still asks");
        assert!(!is_there(after(100)));
        let again = sessions.add(super::tests::session());
        again.state().exit = Some((ExecExit { code: 0, ended: None, not_started: None, took_ms: 1 }, begun));
        assert!(is_there(after(590)) && !is_there(after(602)), "not recorded by anybody");
    }

    /// Nobody reads: the command waits with what does not fit, and every byte comes once however often a call is repeated.
    #[test]
    fn output_is_bounded_and_comes_once() {
        let session = Arc::new(session());
        let (from, mut to) = std::io::pipe().unwrap();
        let reader = session.clone();
        let read = std::thread::spawn(move || reader.read(false, File::from(std::os::fd::OwnedFd::from(from))));
        let all: Vec<u8> = (0..4_000_000u32).map(|n| (n % 251) as u8).collect();
        let bytes = all.clone();
        let writer = std::thread::spawn(move || to.write_all(&bytes).unwrap());
        let (mut got, mut after) = (Vec::new(), 0);
        while got.len() < all.len() {
            let first = session.output(after);
            assert!(session.state().unread <= UNREAD_BYTES_MAX + PIECE_BYTES_MAX + PIECE_COST);
            let again = session.output(after);
            assert_eq!(first.pieces[0], again.pieces[0], "until it is acknowledged");
            got.extend(again.pieces.iter().flat_map(|piece| BASE64.decode(&piece.data).unwrap()));
            after = again.next;
        }
        writer.join().unwrap();
        read.join().unwrap();
        assert!(got == all);
    }

    #[test]
    fn input_is_bounded_and_taken_once() {
        let session = session();
        let more = |at: u64, bytes: &[u8]| ExecInput { at, data: BASE64.encode(bytes), ..ExecInput::default() };
        assert_eq!(session.input(&more(0, b"abc")).unwrap().taken, 3);
        assert_eq!(session.input(&more(0, b"abcd")).unwrap().taken, 4, "repeated, only what is new is added");
        assert_eq!(session.state().input, b"abcd");
        assert_eq!(session.input(&more(9, b"x")).unwrap_err().code, "bad-request");
        let piece = vec![0; PIECE_BYTES_MAX];
        let mut taken = 4;
        while taken < UNTAKEN_BYTES_MAX as u64 {
            taken = session.input(&more(taken, &piece)).unwrap().taken;
        }
        assert_eq!(session.input(&more(UNTAKEN_BYTES_MAX as u64, b"x")).unwrap().taken, UNTAKEN_BYTES_MAX as u64, "it is full");
        assert_eq!(session.input(&more(0, &vec![0; PIECE_BYTES_MAX + 1])).unwrap_err().code, "bad-request");
    }

    fn end(session: &Session) {
        let mut state = session.state();
        state.open = 0;
        state.exit = Some((ExecExit { code: 0, ended: None, not_started: None, took_ms: 1 }, Instant::now()));
    }

    /// A caller who begins and never reads would fill the keeper's memory.
    #[test]
    fn an_ended_session_takes_room_until_its_output_was_read() {
        let sessions = Sessions::default();
        let one = sessions.add(session());
        assert_eq!(sessions.kept().len(), 1, "it runs");
        one.state().pieces.push_back((false, b"its output".to_vec()));
        end(&one);
        sessions.recorded(&one.id);
        assert_eq!(sessions.kept().len(), 1, "nobody has read its output");
        assert!(one.output(0).exit.is_some());
        assert_eq!(sessions.kept().len(), 0);
        assert_eq!(sessions.one(&one.id).err().map(|fault| fault.code).as_deref(), Some("not-found"), "and it is forgotten");
    }

    /// Each that waits holds a thread of the keeper.
    #[test]
    fn one_call_waits_for_output_and_others_are_answered_at_once() {
        let session = Arc::new(session());
        let waiting = session.clone();
        let first = std::thread::spawn(move || waiting.output(0));
        while !session.state().is_awaited {
            std::thread::yield_now();
        }
        for _ in 0..3 {
            let begun = Instant::now();
            assert!(session.output(0).pieces.is_empty());
            assert!(begun.elapsed() < ASK_WITHIN / 2, "it waited too");
        }
        assert!(!first.is_finished(), "the first still waits");
        end(&session);
        session.changed.notify_all();
        assert!(first.join().unwrap().exit.is_some());
        assert!(!session.state().is_awaited, "the next may wait");
    }
}
