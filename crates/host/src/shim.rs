//! One small process per instance: creates what only this instance uses, launches it, bounds its log, and records how it ended. It
//! outlives the keeper and knows nothing of groups, health or other instances.
//!
//! Its network and its mounts are in namespaces of its own, so they disappear with the shim and the program: a kill -9 leaves nothing
//! to clean up. It is the child subreaper of the program, so the exit code is never lost.
//!
//! ```text
//! lock ─▶ began ─▶ namespaces ─▶ network ─▶ root ─▶ runtime run ─▶ started.json ─▶ wait ─▶ exit.json ─▶ runtime delete
//!   └ held, or began exists: another shim has it; end        └ any failure: exit.json with the reason
//! ```

use crate::deadline::Deadline;
use crate::instance_dir::InstanceDir;
use crate::record::{Began, Ended, Record, Six, Started};
use crate::state_files::{self, Read};
use crate::{bundle, cgroup, command, declared, net, output, private_files, process, root, runtime, scratch, start_error, userns, volumes};
use disk::lock::{self, Lock};
use model::Fault;
use nix::sched::{CloneFlags, setns};
use nix::sys::wait::{WaitStatus, waitpid};
use std::fs::File;
use std::io::{PipeWriter, Read as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::fchown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A process that holds the lock longer is another shim.
const LOCK_WITHIN: Duration = Duration::from_millis(100);
const COMMAND_WITHIN: Duration = Duration::from_secs(20);
/// How long to wait for the end of the output after the process that wrote it has exited.
const LOG_END_WITHIN: Duration = Duration::from_millis(500);
/// What is kept of a runtime's log.
const RUNTIME_LOG_BYTES_MAX: usize = 64 << 10;

/// Blocks until the instance has ended. To be called on the main thread of a process that does nothing else.
pub fn shim(dir: &Path) -> Result<(), Fault> {
    let _ = nix::unistd::setsid();
    secret::protect_memory();
    let place = InstanceDir(dir.to_path_buf());
    // The data directory may be moved while the instance runs: the exit is recorded where its directory is then.
    let here = if std::env::set_current_dir(dir).is_ok() { InstanceDir(PathBuf::from(".")) } else { place.clone() };
    let Ok(Some(_lock)) = lock::retry(LOCK_WITHIN, || Lock::try_existing(&place.lock())) else { return Ok(()) };
    if place.began().exists() || place.exit().exists() {
        return Ok(());
    }
    let pid = i32::try_from(std::process::id()).expect("a pid is below 2^31");
    let began = Began { pid, pid_start: process::start_of(pid).unwrap_or(0) };
    nix::sys::prctl::set_child_subreaper(true).map_err(|e| state_files::at(dir, "becoming the subreaper", e))?;
    let record = match state_files::read_json::<Record>(&place.record()) {
        Read::Good(record) => record,
        Read::Missing => return never_began(&place, &began, "record.json is missing".to_string()),
        Read::Bad(why) => return never_began(&place, &began, why),
    };
    // A power cut ends every server. What it leaves of a one-shot must say that it began, and how it ended.
    let is_one_shot = record.once.is_some();
    write(&place.began(), &began, is_one_shot)?;
    let ended = match launch(&place, &record, here.shim_log()) {
        Ok((started, held)) => {
            state_files::write_json_quick(&place.started(), &started)?;
            let within_ms = record.once.as_ref().and_then(|once| once.within_ms);
            let deadline = within_ms.map(|ms| Deadline::bound(&started, &record.release.drain, ms));
            let code = wait(started.pid);
            let timed_out = deadline.is_some_and(|deadline| deadline.has_passed());
            // The pipe closes when the last process of the instance is gone; its last lines of output are worth waiting for.
            let _ = held.log.recv_timeout(LOG_END_WITHIN);
            let oom_kills = cgroup::oom_kills(&record.placement.cgroup).unwrap_or(0);
            let full_scratch = scratch::at(Path::new(root::STAGE)).filter(|seen| seen.is_full).map(|seen| seen.limit_bytes);
            write(&here.exit(), &Ended { oom_kills, timed_out, full_scratch, ..Ended::new(code, None) }, is_one_shot)
        }
        Err(fault) => write(&place.exit(), &Ended::new(127, Some(fault.message)), is_one_shot),
    };
    runtime::delete(&record.placement.runtime, &record.placement.runtime_state, record.id.as_str());
    ended
}

fn never_began(place: &InstanceDir, began: &Began, why: String) -> Result<(), Fault> {
    state_files::write_json_quick(&place.began(), began)?;
    state_files::write_json_quick(&place.exit(), &Ended::new(127, Some(why)))
}

fn write(path: &Path, value: &impl serde::Serialize, is_durable: bool) -> Result<(), Fault> {
    if is_durable { state_files::write_json(path, value) } else { state_files::write_json_quick(path, value) }
}

/// Closed when the log has been read to its end.
type LogEnd = std::sync::mpsc::Receiver<()>;

/// What must stay open while the instance runs.
struct Held {
    log: LogEnd,
    _config: File,
}

fn launch(place: &InstanceDir, record: &Record, own_log: PathBuf) -> Result<(Started, Held), Fault> {
    let begin = Instant::now();
    let mut spent_ms = Vec::new();
    let mut lap = |what: &str| {
        let before: u64 = spent_ms.iter().map(|(_, ms)| ms).sum();
        spent_ms.push((what.to_string(), u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_sub(before)));
    };
    let given = private_files::read(record)?;
    let ids = record.placement.ids.ok_or_else(|| Fault::world("no-uids", "an older version recorded this instance, without user ids"))?;
    let spaces = userns::make(ids)?;
    make_network(record, &spaces.network)?;
    lap("network");
    let root = root::make(record, &spaces.user, ids)?;
    let path = |fd: &OwnedFd| format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
    let named = bundle::Spaces { user: path(&spaces.user), network: path(&spaces.network), ids };
    let user = declared::user(&record.release.user).and_then(|(uid, gid)| ids.on_host(uid).zip(ids.on_host(gid)));
    let (uid, gid) = user.ok_or_else(|| Fault::yours("bad-spec", format!("user {:?} has ids above 65535", record.release.user)))?;
    let secrets = private_files::mount_secrets(&root.stage, &given, (uid, gid))?;
    let volumes = volumes::mount(&root.stage, record, (uid, gid), root.code.as_deref())?;
    let config = bundle::of(record, &root, &named, cgroup::bounds_swap(), &given, secrets.as_deref(), volumes);
    drop(given);
    let config = private_files::write_config(&root.stage, &place.0.join("config.json"), config)?;
    lap("mounts");
    let pipe = || std::io::pipe().map_err(|e| state_files::at(&place.0, "making a pipe", e));
    let ((out, out_end), (err, err_end)) = (pipe()?, pipe()?);
    // Programs open their output again by name (/dev/stdout), so it must be theirs.
    for end in [&out_end, &err_end] {
        fchown(end, Some(uid), Some(gid)).map_err(|e| state_files::at(&place.0, "giving the output to the program", e))?;
    }
    runtime::bound_ourselves();
    // The shim's own log is kept bounded as well.
    let log = output::keep(out, err, record.placement.log.clone(), move || drop(disk::log::rotate(&own_log)));
    let pid = run(place, record, out_end, err_end)?;
    lap("runtime");
    // The program may have ended already; then only its exit code is known.
    let pid_start = process::start_of(pid).unwrap_or(0);
    Ok((Started { pid, pid_start, at: disk::files::now(), spent_ms }, Held { log, _config: config }))
}

/// The namespace's `eth0`, attached to the bridge. This thread stays in the namespace.
fn make_network(record: &Record, inside: &OwnedFd) -> Result<(), Fault> {
    let placement = &record.placement;
    let no = |doing: &'static str| move |e: nix::Error| Fault::world("network", format!("{doing}: {e}"));
    let (veth, bridge, hardware) = (&placement.veth, &placement.bridge, net::hardware(placement.address));
    let path = format!("/proc/{}/fd/{}", std::process::id(), inside.as_raw_fd());
    let batch = format!(
        "link add {veth} type veth peer name eth0 address {hardware} netns {path}\nlink set {veth} group {} master {bridge} up\nlink set {veth} type bridge_slave isolated on\n",
        net::port_group(bridge.trim_start_matches("afresh")),
    );
    command::must(Command::new("ip").args(["-batch", "-"]), &batch, COMMAND_WITHIN)?;
    net::without_ipv6(veth);
    setns(inside, CloneFlags::CLONE_NEWNET).map_err(no("entering the network namespace"))?;
    // Everything goes by the gateway, other servers' addresses too, so that what is refused is refused at once. The gateway is written
    // down: nobody is asked for it, so nobody can answer falsely.
    let (gateway, hardware) = (placement.gateway, net::hardware(placement.gateway));
    // Programs may send pings, which are sockets of their own kind and no raw ones; where they go is the firewall's to say.
    let _ = std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
    let mut batch = format!(
        "link set lo up\naddr add {}/32 dev eth0\nlink set eth0 up\nroute add {gateway} dev eth0\nroute add default via {gateway}\nneigh replace {gateway} lladdr {hardware} dev eth0 nud permanent\n",
        placement.address
    );
    match placement.six {
        Some(Six { address, gateway }) => {
            net::plain_ipv6("eth0");
            batch.push_str(&format!(
                "addr add {address}/128 dev eth0 nodad\nroute add {gateway} dev eth0\nroute add ::/0 via {gateway} dev eth0\nneigh replace {gateway} lladdr {hardware} dev eth0 nud permanent\n"
            ));
        }
        None => ["all", "default", "eth0"].into_iter().for_each(net::without_ipv6),
    }
    command::must(Command::new("ip").args(["-batch", "-"]), &batch, COMMAND_WITHIN).map(drop)
}

/// The runtime starts the program and exits; the program becomes our child. Returns its pid.
fn run(place: &InstanceDir, record: &Record, stdout: PipeWriter, stderr: PipeWriter) -> Result<i32, Fault> {
    let placement = &record.placement;
    let pid_file = place.0.join("pid");
    let said = RuntimeLog::open().map_err(|e| state_files::at(&place.0, "making a pipe", e))?;
    let broken = |e: std::io::Error| state_files::at(&placement.runtime, "running the OCI runtime", e);
    let mut run = Command::new(&placement.runtime);
    run.arg("--root").arg(&placement.runtime_state).arg("--log").arg(said.path()).args(["--log-format", "json"]);
    run.args(["run", "--detach", "--bundle"]).arg(&place.0).arg("--pid-file").arg(&pid_file).arg(record.id.as_str());
    run.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    let status = run.status().map_err(broken)?;
    drop(run);
    if !status.success() {
        let command = record.once.as_ref().map_or(&record.release.run, |once| &once.run);
        let program = command.first().map_or("", String::as_str);
        return Err(Fault::world("launch-failed", start_error::reason(&last_error(&said.end()), program)));
    }
    let pid = std::fs::read_to_string(&pid_file).ok().and_then(|text| text.trim().parse().ok());
    pid.ok_or_else(|| Fault::world("launch-failed", "the OCI runtime reported no pid"))
}

/// The log of a runtime: a pipe that has a path, as a file would. Whatever a program makes the runtime log cannot fill the disk: only the
/// end is kept.
struct RuntimeLog {
    to: PipeWriter,
    kept: Arc<Mutex<Vec<u8>>>,
    end: LogEnd,
}

impl RuntimeLog {
    fn open() -> std::io::Result<Self> {
        let (mut from, to) = std::io::pipe()?;
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (done, end) = std::sync::mpsc::channel();
        let all = kept.clone();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                keep_end(&mut all.lock().unwrap_or_else(PoisonError::into_inner), &buffer[..n]);
            }
            drop(done);
        });
        Ok(Self { to, kept, end })
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.to.as_raw_fd()))
    }

    /// Its last output, once the runtime has exited.
    fn end(self) -> String {
        drop(self.to);
        let _ = self.end.recv_timeout(LOG_END_WITHIN);
        String::from_utf8_lossy(&self.kept.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

fn keep_end(kept: &mut Vec<u8>, more: &[u8]) {
    kept.extend_from_slice(more);
    kept.drain(..kept.len().saturating_sub(RUNTIME_LOG_BYTES_MAX));
}

/// The last error of a runtime's JSON log.
fn last_error(log: &str) -> String {
    let lines = log.lines().rev().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut errors = lines.filter(|line| line["level"] != "debug" && line["level"] != "info");
    errors.find_map(|line| line["msg"].as_str().map(str::to_string)).unwrap_or_else(|| "no reason reported".to_string())
}

/// Reaps every orphan of the instance until its first process ends.
fn wait(pid: i32) -> i32 {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(who, code)) if who.as_raw() == pid => return code,
            Ok(WaitStatus::Signaled(who, signal, _)) if who.as_raw() == pid => return 128 + signal as i32,
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(_) => return 128 + 9,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program in place of a runtime that floods its log and then reports a reason: nothing is on the disk, and the reason is reported.
    #[test]
    fn a_runtime_that_floods_its_log_fills_nothing() {
        let said = RuntimeLog::open().unwrap();
        let last = r#"{"level":"error","msg":"the reason"}"#;
        // The kernel's limit on file sizes shows that no file grows: a pipe is not a file.
        let script = format!("ulimit -f 2048; head -c 300000000 /dev/zero >>\"$0\" && printf '\\n%s\\n' '{last}' >>\"$0\"");
        assert!(Command::new("sh").args(["-c", &script]).arg(said.path()).status().unwrap().success());
        let kept = said.end();
        assert!(kept.len() <= RUNTIME_LOG_BYTES_MAX, "{} bytes", kept.len());
        assert_eq!(last_error(&kept), "the reason");
    }

    #[test]
    fn a_runtime_s_complaint_is_its_last_error() {
        let log = "{\"level\":\"warning\",\"msg\":\"a\"}\n{\"level\":\"error\",\"msg\":\"no such file\"}\n{\"level\":\"info\",\"msg\":\"b\"}\ngarbage";
        assert_eq!(last_error(log), "no such file");
        assert_eq!(last_error(""), "no reason reported");
    }
}
