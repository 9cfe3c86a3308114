//! Commands inside instances that run, for looking inside. The OCI runtime starts them with the user, namespaces, seccomp filter and
//! `no_new_privs` of the instance, in a control group of their own within the instance's, so that all of a session can be killed.
//!
//! A terminal is two: the program has one of the instance's own devpts, the runtime copies between it and one of the host, whose master the
//! keeper holds. So a program never has a descriptor of a terminal of the host.

use crate::cgroup::Inner;
use crate::decide::Stage;
use crate::exec_sessions::{LEFTOVERS_WITHIN, Session, winsize};
use crate::keeper::Keeper;
use crate::record::Record;
use crate::{command, process, runtime, state_files};
use api::exec::{ExecBegun, ExecOrder, Size, Terminal};
use model::{ExecId, Fault, InstanceId, Time};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr, tcsetwinsize};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{SyncSender, sync_channel};

/// At a time on one host: of everybody; of all who are no administrators together, so that an administrator always has room; of one of them.
const OPEN_MAX: usize = 16;
const OPEN_OF_OTHERS_MAX: usize = 12;
const OPEN_OF_CALLER_MAX: usize = 4;
/// In one instance: of everybody, and of all who are no administrators.
const IN_INSTANCE_MAX: usize = 8;
const IN_INSTANCE_OF_OTHERS_MAX: usize = 4;
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
    must_have_room(&keeper.sessions.kept(), &order)?;
    let began = disk::files::now();
    let id = keeper.sessions.free_id(began)?;
    start(keeper, &record, id.clone(), order, began)?;
    Ok(ExecBegun { session: id })
}

/// Nobody takes the room of others, and those who are no administrators leave some to the administrators.
fn must_have_room(kept: &[ExecOrder], order: &ExecOrder) -> Result<(), Fault> {
    let instance = &order.request.instance;
    let count = |is_one: &dyn Fn(&ExecOrder) -> bool| kept.iter().filter(|one| is_one(one)).count();
    let is_here = |one: &ExecOrder| one.request.instance == *instance;
    let mut bounds = vec![("on this host".to_string(), kept.len(), OPEN_MAX), (format!("in {instance}"), count(&is_here), IN_INSTANCE_MAX)];
    if !order.is_admin {
        bounds.extend([
            (format!("of {}", order.caller()), count(&|one| one.caller() == order.caller()), OPEN_OF_CALLER_MAX),
            ("of those who are no administrators".to_string(), count(&|one| !one.is_admin), OPEN_OF_OTHERS_MAX),
            (
                format!("in {instance} of those who are no administrators"),
                count(&|one| !one.is_admin && is_here(one)),
                IN_INSTANCE_OF_OTHERS_MAX,
            ),
        ]);
    }
    match bounds.into_iter().find(|(_, open, max)| open >= max) {
        None => Ok(()),
        Some((whose, open, max)) => {
            let text = format!("{open} commands run inside servers {whose}, or were not read to their end, and at most {max} may");
            let hint = "`afresh exec list` lists yours, and an administrator's lists all; `afresh exec stop SESSION` ends one";
            Err(Fault::yours("too-many-sessions", text).hint(hint))
        }
    }
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
    let takes_cgroup = runtime::takes_cgroup(&placement.runtime);
    let inner = if takes_cgroup { Inner::named(&placement.cgroup, &format!("{GROUP}{id}")) } else { None };
    let mut exec = Command::new(&placement.runtime);
    exec.arg("--root").arg(&placement.runtime_state).arg("exec");
    if let Some(inner) = &inner {
        exec.arg("--cgroup").arg(&inner.argument);
    }
    if let Some(terminal) = &order.request.terminal {
        exec.arg("--tty").args(["--env", &format!("TERM={}", terminal.kind)]);
    }
    exec.arg("--pid-file").arg(&pid_file).arg(record.id.as_str()).args(&order.request.command);
    command::without_service_manager(exec.current_dir("/").process_group(0));
    let dropped = inner.clone();
    let begun = follow(keeper, exec, id, order, began, inner, pid_file);
    if let (Err(_), Some(inner)) = (&begun, dropped) {
        inner.kill(LEFTOVERS_WITHIN);
        inner.remove();
    }
    begun.map_err(broken)
}

/// Starts the runtime, and the threads that read, write and wait. All threads are there before the runtime is: where one cannot be made nothing
/// has begun.
fn follow(
    keeper: &Keeper,
    mut exec: Command,
    id: ExecId,
    order: ExecOrder,
    began: Time,
    inner: Option<Inner>,
    pid_file: PathBuf,
) -> std::io::Result<()> {
    let ends = connect(&mut exec, order.request.terminal.as_ref().map(|terminal| terminal.size))?;
    let readers = ends.output.iter().map(|_| Later::make()).collect::<std::io::Result<Vec<_>>>()?;
    let (writer, waiter) = (Later::make()?, Later::make()?);
    let mut child = exec.spawn()?;
    // The command holds the other ends too.
    drop(exec);
    let process = match process::of_child(&child) {
        Ok(process) => process,
        Err(e) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(e);
        }
    };
    let session = keeper.sessions.add(Session::new(id, order, began, process, ends.output.len(), ends.terminal));
    for (reader, (stderr, from)) in readers.into_iter().zip(ends.output) {
        let session = session.clone();
        reader.run(move || session.read(stderr, from));
    }
    let written = session.clone();
    writer.run(move || written.write(ends.input));
    waiter.run(move || session.wait(child, inner.as_ref(), &pid_file));
    Ok(())
}

type Work = Box<dyn FnOnce() + Send>;

/// A thread that waits for its work, and ends without one when this is dropped.
struct Later(SyncSender<Work>);

impl Later {
    fn make() -> std::io::Result<Self> {
        let (give, take) = sync_channel::<Work>(1);
        std::thread::Builder::new().name("exec".to_string()).spawn(move || take.recv().into_iter().for_each(|work| work()))?;
        Ok(Self(give))
    }

    fn run(self, work: impl FnOnce() + Send + 'static) {
        // It waits for this alone.
        let _ = self.0.send(Box::new(work));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestKeeper, instance, started};
    use api::exec::ExecRequest;

    fn order(by: &str, is_admin: bool, instance: &str) -> ExecOrder {
        let request = ExecRequest { instance: instance.parse().unwrap(), command: vec!["x".to_string()], terminal: None };
        ExecOrder { request, by: by.to_string(), is_admin }
    }

    /// Begins what has room, in order, and says how many have begun of each caller.
    fn begun(all: &[ExecOrder]) -> Vec<ExecOrder> {
        all.iter().fold(Vec::new(), |mut kept, order| {
            if must_have_room(&kept, order).is_ok() {
                kept.push(order.clone());
            }
            kept
        })
    }

    /// Found by a reader: one deploy token held all sessions of a host, and an administrator had none and could end none.
    #[test]
    fn nobody_takes_the_room_of_others_and_administrators_keep_some() {
        let of = |by: &str, is_admin: bool, servers: u64| -> Vec<ExecOrder> {
            (0..40).map(|n| order(by, is_admin, &format!("web-r1-1-{}", n % servers + 1))).collect()
        };
        // Another reason is no other caller.
        let greedy: Vec<ExecOrder> =
            (0..40).map(|n| order(&format!("token:ci (reason {n})"), false, &format!("web-r1-1-{}", n + 1))).collect();
        assert_eq!(begun(&greedy).len(), 4, "one caller");
        let three = ["token:a", "token:b", "token:c"].map(|by| of(by, false, 40)).concat();
        let five = [three, of("token:d", false, 40), of("token:e", false, 40), of("root", true, 40)].concat();
        let kept = begun(&five);
        assert_eq!((kept.iter().filter(|one| !one.is_admin).count(), kept.len()), (12, 16), "administrators have room for four");
        // In one server too.
        let both = [of("token:a", false, 1), of("token:b", false, 1), of("root", true, 1)].concat();
        let kept = begun(&both);
        assert_eq!((kept.iter().filter(|one| !one.is_admin).count(), kept.len()), (4, 8));
        let fault = must_have_room(&begun(&greedy), &greedy[0]).unwrap_err();
        assert_eq!(fault.code, "too-many-sessions");
        assert!(fault.message.contains("4 commands run inside servers of token:ci, "), "{}", fault.message);
    }

    /// The kernel gives no more threads: a limit of the group of this thread stands for a host that is full. Version 1 has groups of threads.
    #[test]
    #[ignore = "needs root"]
    fn a_thread_that_cannot_be_made_is_an_error() {
        let hierarchy = std::path::Path::new("/sys/fs/cgroup/pids");
        if !hierarchy.join("cgroup.procs").exists() {
            return;
        }
        let group = hierarchy.join(format!("afresh-test-threads-{}", std::process::id()));
        std::fs::create_dir(&group).unwrap();
        let t = TestKeeper::new();
        let mut one = instance(1);
        (one.stage, one.started) = (Stage::Up, Some(started()));
        one.record.placement.runtime = "/bin/true".into();
        let id = one.record.id.clone();
        t.keeper.state().instances.insert(id.clone(), one);
        std::fs::create_dir_all(t.keeper.layout.instance(&id)).unwrap();
        let is_empty = || std::fs::read_to_string(group.join("pids.current")).unwrap().trim() == "0";
        let codes = |room: usize| {
            while !is_empty() {
                std::thread::yield_now();
            }
            let (keeper, group, id) = (t.keeper.clone(), group.clone(), id.clone());
            let thread = std::thread::spawn(move || {
                std::fs::write(group.join("tasks"), rustix::thread::gettid().as_raw_nonzero().to_string()).unwrap();
                std::fs::write(group.join("pids.max"), (room + 1).to_string()).unwrap();
                begin(&keeper, order("root", true, id.as_str())).map(drop).map_err(|fault| fault.code)
            });
            thread.join().expect("it panics")
        };
        let all: Vec<Result<(), String>> = (0..6).map(codes).collect();
        println!("{all:?}");
        // Four threads and the runtime.
        assert!(all[..5].iter().all(|begun| *begun == Err("exec".to_string())) && all[5].is_ok(), "{all:?}");
        assert_eq!(t.keeper.sessions.kept().len(), 1, "nothing that failed takes room");
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while std::fs::remove_dir(&group).is_err() {
            assert!(std::time::Instant::now() < until, "a thread is left");
            std::thread::yield_now();
        }
    }
}
