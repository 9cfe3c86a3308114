//! The OCI runtime: which of the host's binaries really runs a container here, and the few calls to it.
//!
//! An installed binary proves nothing (crun 1.8 refuses hybrid cgroups; seccomp or namespaces may be missing), so a small container
//! with the same settings as an instance is run before one is chosen. A success is remembered for this binary and this boot.

use crate::bundle::{self, Bundle, Spaces};
use crate::cgroup::Inner;
use crate::record::Placement;
use crate::uids::TRIAL;
use crate::{cgroup, command, net, root, state_files, userns};
use model::text::shown;
use model::{Fault, Layout, Limits, QUOTED_BYTES_MAX};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// In the order they are tried.
const NAMES: [&str; 3] = ["runc", "crun", "youki"];
const PLACES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const NOFILE_MAX: u64 = 65_536;
const WITHIN: Duration = Duration::from_secs(20);
/// How long killing a command's leftover processes may take.
const LEFTOVERS_WITHIN: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Passed {
    path: PathBuf,
    inode: u64,
    modified: i64,
    boot: String,
}

/// Where the runtime keeps its own state of our containers.
pub fn state(layout: &Layout) -> PathBuf {
    layout.host().join("runtime")
}

/// Installed binaries, in the order they are tried.
pub fn candidates(only: Option<&Path>) -> Vec<PathBuf> {
    match only {
        Some(path) => vec![path.to_path_buf()],
        None => NAMES.iter().filter_map(|name| PLACES.iter().map(|place| Path::new(place).join(name)).find(|p| p.is_file())).collect(),
    }
}

/// The first binary that runs a container.
pub fn choose(layout: &Layout, only: Option<&Path>) -> Result<PathBuf, Fault> {
    let cache = layout.host().join("runtime.json");
    let candidates = candidates(only);
    if let Some(passed) = state_files::read_json::<Passed>(&cache).good()
        && candidates.contains(&passed.path)
        && identity(&passed.path).as_ref() == Some(&passed)
    {
        return Ok(passed.path);
    }
    let mut said = Vec::new();
    for path in &candidates {
        match probe(layout, path) {
            Ok(()) => {
                // Only saves time; on a full disk the next keeper probes again.
                if let Some(passed) = identity(path) {
                    let _ = state_files::write_json_quick(&cache, &passed);
                }
                return Ok(path.clone());
            }
            Err(fault) => said.push(format!("{}: {}", path.display(), fault.message)),
        }
    }
    let what = if said.is_empty() { "none of runc, crun and youki is installed".to_string() } else { said.join("; ") };
    Err(Fault::world("no-runtime", format!("no OCI runtime runs a container here: {what}"))
        .hint("apt install runc; for details: `afresh doctor`")
        .again(false))
}

fn identity(path: &Path) -> Option<Passed> {
    let m = std::fs::metadata(path).ok()?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(Passed { path: path.to_path_buf(), inode: m.ino(), modified: m.mtime(), boot: boot.trim().to_string() })
}

/// Runs `true` of the host's own system in a container with the settings of an instance.
pub fn probe(layout: &Layout, path: &Path) -> Result<(), Fault> {
    let name = format!("probe-{}", std::process::id());
    let dir = layout.host().join(format!(".{name}"));
    state_files::make_dir(&dir)?;
    // In a thread of its own, whose mounts disappear with it.
    let result = std::thread::scope(|scope| scope.spawn(|| probe_in(layout, path, &name, &dir)).join());
    let result = result.unwrap_or_else(|_| Err(Fault::ours("runtime-probe", "it panicked")));
    delete(path, &state(layout), &name);
    let mark = net::mark(layout);
    cgroup::remove(&mark, Some(&name));
    cgroup::remove_empty_parent(&mark);
    let _ = std::fs::remove_dir_all(&dir);
    result
}

fn probe_in(layout: &Layout, path: &Path, name: &str, dir: &Path) -> Result<(), Fault> {
    let spaces = userns::make(TRIAL)?;
    let root = root::stage("size=1m,mode=0755")?.join(root::ROOT);
    std::os::unix::fs::chown(&root, Some(TRIAL.0), Some(TRIAL.0)).map_err(|e| state_files::at(&root, "giving it away", e))?;
    let named = |fd: &OwnedFd| format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
    let spaces = Spaces { user: named(&spaces.user), network: named(&spaces.network), ids: TRIAL };
    let system = ["/usr", "/bin", "/sbin", "/lib", "/lib64"].into_iter().filter(|p| Path::new(p).is_dir());
    let mounts = system.map(|p| json!({ "destination": p, "type": "bind", "source": p, "options": ["rbind", "ro"] })).collect();
    let config = bundle::config(&Bundle {
        args: &["/bin/sh".to_string(), "-c".to_string(), "exit 42".to_string()],
        env: Vec::new(),
        user: (65534, 65534),
        cwd: "/",
        hostname: "probe",
        root: &root,
        mounts,
        limits: &Limits::default(),
        swap: cgroup::bounds_swap(),
        spaces: &spaces,
        cgroup: &format!("/{}/{name}", cgroup::parent(&net::mark(layout))),
    });
    state_files::write_plain_json(&dir.join("config.json"), &config)?;
    let mut run = Command::new(path);
    run.arg("--root").arg(state(layout)).args(["run", "--bundle"]).arg(dir).arg(name);
    let ran = command::run(&mut run, "", WITHIN)?;
    if ran.code == Some(42) {
        return Ok(());
    }
    Err(Fault::world("runtime-probe", format!("it could not run a container: {}", ran.said())))
}

/// Kills and deletes a container; an unknown one is no error.
pub fn delete(path: &Path, state: &Path, id: &str) {
    if state.join(id).exists() {
        let _ = command::run(Command::new(path).arg("--root").arg(state).args(["delete", "--force", id]), "", WITHIN);
        let _ = std::fs::remove_dir_all(state.join(id));
    }
}

/// Runs a command inside; Ok: it exited 0 in time; Err: how it ended, and its output. Whatever it started ends with it, or when its time is
/// over.
pub fn exec(placement: &Placement, dir: &Path, id: &str, args: &[String], within: Duration) -> Result<(), String> {
    let pid_file = dir.join("probe.pid");
    let _ = std::fs::remove_file(&pid_file);
    let inner = if takes_cgroup(&placement.runtime) { Inner::make(&placement.cgroup) } else { None };
    let mut exec = Command::new(&placement.runtime);
    exec.arg("--root").arg(&placement.runtime_state).arg("exec");
    if let Some(inner) = &inner {
        exec.arg("--cgroup").arg(&inner.argument);
    }
    exec.arg("--pid-file").arg(&pid_file).arg(id).args(args);
    let ran = command::run(&mut exec, "", within);
    match &inner {
        Some(inner) => drop(inner.kill(LEFTOVERS_WITHIN)),
        None if ran.is_err() => kill_named_by(&pid_file),
        None => {}
    }
    match ran {
        Ok(ran) if ran.ok => Ok(()),
        Ok(ran) => {
            let how = ran.code.map_or_else(|| "ended by a signal".to_string(), |code| format!("exit {code}"));
            let said = if ran.out.trim().is_empty() && ran.err.trim().is_empty() { String::new() } else { ran.said() };
            Err(if said.is_empty() { how } else { format!("{how}, \"{}\"", shown(&said, QUOTED_BYTES_MAX)) })
        }
        Err(fault) if fault.code == "helper-slow" => Err(format!("no exit within {} ms", within.as_millis())),
        Err(fault) => Err(shown(&fault.message, QUOTED_BYTES_MAX)),
    }
}

/// Where the runtime has no separate group for a command beside the program, only the command itself can be killed.
pub fn kill_named_by(pid_file: &Path) {
    let pid = std::fs::read_to_string(pid_file).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if let Some((pid, start)) = pid.and_then(|pid| Some((pid, crate::process::start_of(pid)?)))
        && let Some(process) = crate::process::open(pid, start)
    {
        crate::process::send(&process, rustix::process::Signal::KILL);
    }
}

/// runc since 1.1 and crun do.
pub fn takes_cgroup(runtime: &Path) -> bool {
    runtime.file_name().is_some_and(|name| name == "runc" || name == "crun")
}

/// Bounds that what this process starts inherits: open files up to a bound. The runtime would set them on a
/// process of another user namespace, for which not every root has the right.
pub fn bound_ourselves() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let nofile = getrlimit(Resource::Nofile).maximum.map_or(NOFILE_MAX, |max| max.min(NOFILE_MAX));
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(nofile), maximum: Some(nofile) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_that_runs_nothing_is_not_chosen() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        for binary in ["/no/such/runtime", "/bin/true", "/bin/false"] {
            let fault = choose(&layout, Some(Path::new(binary))).unwrap_err();
            assert!(fault.code == "no-runtime" && fault.message.contains(binary) && fault.hint.is_some(), "{fault:?}");
        }
        assert!(!layout.host().join("runtime.json").exists());
    }
}
