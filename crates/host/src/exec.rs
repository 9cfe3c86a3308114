//! Commands inside instances that run, for looking inside. The OCI runtime starts them with the user, namespaces, seccomp filter and
//! `no_new_privs` of the instance, in a control group of their own within the instance's, so that all of a session can be killed.
//!
//! A terminal is two: the program has one of the instance's own devpts, the runtime copies between it and one of the host, whose master the
//! keeper holds. So a program never has a descriptor of a terminal of the host.
//!

use crate::cgroup::Inner;
use crate::decide::Stage;
use crate::exec_sessions::{LEFTOVERS_WITHIN, Session, winsize};
use crate::keeper::Keeper;
use crate::record::Record;
use crate::{runtime, state_files};
use api::exec::{ExecBegun, ExecOrder, Size, Terminal};
use model::{ExecId, Fault, InstanceId, Time};
use rustix::process::Pid;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr, tcsetwinsize};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// At a time, of one host and in one instance.
const OPEN_MAX: usize = 16;
const OPEN_OF_INSTANCE_MAX: usize = 4;
/// Control groups of sessions begin with this.
const GROUP: &str = "session-";
const TERM_BYTES_MAX: usize = 40;

/// Starts a command in an instance.
pub fn begin(keeper: &Keeper, order: ExecOrder) -> Result<ExecBegun, Fault> {
    model::check_command(&order.request.command)?;
    if let Some(terminal) = &order.request.terminal {
        check_terminal(terminal)?;
    }
    let record = running(keeper, &order.request.instance)?;
    let _one_by_one = keeper.sessions.beginning();
    let kept = keeper.sessions.kept();
    let own = kept.iter().filter(|instance| **instance == order.request.instance).count();
    if kept.len() >= OPEN_MAX || own >= OPEN_OF_INSTANCE_MAX {
        let text = format!(
            "{} commands run inside servers of this host or were not read to their end, {own} of them in {}",
            kept.len(),
            order.request.instance
        );
        let hint = format!("at most {OPEN_OF_INSTANCE_MAX} run in one server and {OPEN_MAX} on a host: end one of them");
        return Err(Fault::yours("too-many-sessions", text).hint(hint));
    }
    let began = disk::files::now();
    let id = keeper.sessions.free_id(began)?;
    start(keeper, &record, id.clone(), order, began)?;
    Ok(ExecBegun { session: id })
}

/// It becomes a variable of the command.
fn check_terminal(terminal: &Terminal) -> Result<(), Fault> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._+".contains(c);
    if terminal.kind.is_empty() || terminal.kind.len() > TERM_BYTES_MAX || !terminal.kind.chars().all(is_plain) {
        let kind = model::text::shown(&terminal.kind, TERM_BYTES_MAX);
        return Err(Fault::yours("bad-terminal", format!("{kind:?} is no kind of terminal")).hint("set TERM, such as TERM=xterm"));
    }
    Ok(())
}

fn running(keeper: &Keeper, id: &InstanceId) -> Result<Record, Fault> {
    let state = keeper.state();
    let none = || Fault::yours("not-found", format!("no server {id} runs here")).hint("`afresh instance list` lists servers");
    let one = state.instances.get(id).ok_or_else(none)?;
    let is_up = matches!(one.stage, Stage::Up | Stage::Ending) && one.started.is_some() && one.ended.is_none();
    if is_up { Ok(one.record.clone()) } else { Err(none()) }
}

/// The ends of the command's streams that are ours.
struct Ends {
    input: File,
    output: Vec<(bool, File)>,
    terminal: Option<File>,
}

fn start(keeper: &Keeper, record: &Record, id: ExecId, order: ExecOrder, began: Time) -> Result<(), Fault> {
    let broken = |e: std::io::Error| Fault::world("exec", format!("cannot start a command in {}: {e}", record.id));
    let placement = &record.placement;
    let dir = keeper.layout.instance(&record.id);
    let pid_file = dir.join(format!("{id}.pid"));
    let inner = Inner::named(&placement.cgroup, &format!("{GROUP}{id}")).filter(|_| runtime::takes_cgroup(&placement.runtime));
    let mut exec = Command::new(&placement.runtime);
    exec.arg("--root").arg(&placement.runtime_state).arg("exec");
    if let Some(inner) = &inner {
        exec.arg("--cgroup").arg(&inner.argument);
    }
    if let Some(terminal) = &order.request.terminal {
        exec.arg("--tty").args(["--env", &format!("TERM={}", terminal.kind)]);
    }
    exec.arg("--pid-file").arg(&pid_file).arg(record.id.as_str()).args(&order.request.command);
    exec.current_dir("/").process_group(0);
    let ends = connect(&mut exec, order.request.terminal.as_ref().map(|terminal| terminal.size)).map_err(broken)?;
    let child = exec.spawn().map_err(broken)?;
    // The command holds the other ends too.
    drop(exec);
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| Fault::ours("exec", "a child has no pid"))?;
    let session = keeper.sessions.add(Session::new(id, order, began, pid, ends.output.len(), ends.terminal));
    for (stderr, from) in ends.output {
        let session = session.clone();
        std::thread::spawn(move || session.read(stderr, from));
    }
    let writer = session.clone();
    std::thread::spawn(move || writer.write(ends.input));
    std::thread::spawn(move || session.wait(child, inner.as_ref(), &pid_file));
    Ok(())
}

/// Pipes, or both ends of a terminal.
fn connect(exec: &mut Command, size: Option<Size>) -> std::io::Result<Ends> {
    let Some(size) = size else {
        let ((input_end, input), (out, out_end), (err, err_end)) = (std::io::pipe()?, std::io::pipe()?, std::io::pipe()?);
        exec.stdin(input_end).stdout(out_end).stderr(err_end);
        let file = |fd: std::os::fd::OwnedFd| File::from(fd);
        return Ok(Ends { input: file(input.into()), output: vec![(false, file(out.into())), (true, file(err.into()))], terminal: None });
    };
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(name.as_bytes()));
    let flags = rustix::fs::OFlags::NOCTTY.bits().cast_signed();
    let slave = std::os::unix::fs::OpenOptionsExt::custom_flags(File::options().read(true).write(true), flags).open(path)?;
    let master = File::from(master);
    tcsetwinsize(&master, winsize(size))?;
    // Before the runtime does it: what is typed meanwhile is the inner terminal's to interpret.
    let mut modes = tcgetattr(&slave)?;
    modes.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &modes)?;
    exec.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
    Ok(Ends { input: master.try_clone()?, output: vec![(false, master.try_clone()?)], terminal: Some(master) })
}

/// Sessions of a keeper that was killed: nobody reads their output any more.
pub fn end_left_behind(keeper: &Keeper) {
    let all: Vec<(InstanceId, String)> =
        keeper.state().instances.values().map(|one| (one.record.id.clone(), one.record.placement.cgroup.clone())).collect();
    for (id, group) in all {
        for inner in Inner::all(&group, GROUP) {
            inner.kill(LEFTOVERS_WITHIN);
            inner.remove();
            tracing::info!(instance = %id, "ended a command that an earlier keeper had begun inside it");
        }
        let dir = keeper.layout.instance(&id);
        for name in state_files::names(&dir).into_iter().filter(|name| name.starts_with('s') && name.ends_with(".pid")) {
            let _ = std::fs::remove_file(dir.join(name));
        }
    }
}
