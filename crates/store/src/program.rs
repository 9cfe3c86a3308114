//! Runs other programs: with an environment of our own, killed with us, the last lines of their output kept for the error.
//! Nothing of the caller's environment gets through.

use disk::files;
use model::Fault;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Lines of output that an error shows.
const LAST_WORDS: usize = 12;
const LINE_BYTES_MAX: usize = 4_000;

/// Which Debian package brings a program.
const BRINGS: [(&str, &str); 17] = [
    ("mkfs.erofs", "erofs-utils"),
    ("dump.erofs", "erofs-utils"),
    ("apt-get", "apt"),
    ("apt-cache", "apt"),
    ("apt-config", "apt"),
    ("dpkg", "dpkg"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("timeout", "coreutils"),
    ("prlimit", "util-linux"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
    ("veritysetup", "cryptsetup-bin"),
    ("dmsetup", "dmsetup"),
    ("sgdisk", "gdisk"),
    ("fsck.erofs", "erofs-utils"),
];

pub fn tool_missing(program: &str) -> Fault {
    let package = BRINGS.iter().find(|(p, _)| *p == program).map_or(program, |(_, package)| package);
    Fault::world("tool-missing", format!("{program} is not installed")).hint(format!("apt-get install {package}")).again(false)
}

/// Says at once what is missing, before any work.
pub fn need(programs: &[&str]) -> Result<(), Fault> {
    let there = |p: &str| PATH.split(':').any(|dir| Path::new(dir).join(p).is_file());
    programs.iter().find(|p| !there(p)).map_or(Ok(()), |p| Err(tool_missing(p)))
}

pub fn need_root(what: &str) -> Result<(), Fault> {
    if nix::unistd::Uid::effective().is_root() {
        return need_users(what);
    }
    Err(Fault::yours("not-root", format!("{what} needs root: it owns files of many users and mounts filesystems"))
        .hint("run it with sudo, or let `afresh serve` do it"))
}

/// In a user namespace root is root over the users that were mapped into it, and a system's files belong to numbers up to 65535.
fn need_users(what: &str) -> Result<(), Fault> {
    let least = users_here();
    if least >= 65_536 {
        return Ok(());
    }
    Err(Fault::yours("few-users", format!("{what} needs the users 0 to 65535, and this user namespace has the first {least} of them"))
        .hint("map that many with newuidmap and newgidmap (/etc/subuid, /etc/subgid), or run it as root"))
}

/// How many users from 0 on there are in this user namespace; all, where the kernel has no such namespaces.
pub fn users_here() -> u64 {
    let count = |name: &str| match std::fs::read_to_string(name).unwrap_or_default() {
        map if map.trim().is_empty() => u64::MAX,
        map => mapped(&map),
    };
    count("/proc/self/uid_map").min(count("/proc/self/gid_map"))
}

/// How many numbers from 0 on a `uid_map` has, without a gap.
fn mapped(map: &str) -> u64 {
    let number = |w: Option<&str>| w.and_then(|w| w.parse::<u64>().ok());
    let mut ranges: Vec<(u64, u64)> = map
        .lines()
        .filter_map(|l| {
            let mut words = l.split_whitespace();
            Some((number(words.next())?, number(words.nth(1))?))
        })
        .collect();
    ranges.sort_unstable();
    ranges.into_iter().fold(0, |end, (from, count)| if from <= end { end.max(from.saturating_add(count)) } else { end })
}

/// A command that gets SIGKILL when the thread that started it ends, with a clean environment.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut c = Command::new("setpriv");
    c.args(["--pdeathsig", "KILL", "--"]).arg(program);
    clean(&mut c);
    c
}

/// As [`command`], and killed with all it started when it takes longer: apt, for one, waits forever on a full disk.
pub fn command_within(seconds: u32, program: &str) -> Command {
    let mut c = command("timeout");
    c.args(["--signal=KILL", &seconds.to_string(), program]);
    c
}

/// As [`command_within`], and refused more memory than this.
pub fn command_bounded(seconds: u32, bytes: u64, program: &str) -> Command {
    let mut c = command_within(seconds, "setpriv");
    // It ends with `timeout`, as that ends with us. Its addresses are not counted: threads reserve many more than they use.
    c.args(["--pdeathsig", "KILL", "--", "prlimit", &format!("--data={bytes}"), "--", program]);
    c
}

/// Bytes the kernel says can be had without swapping; 0 if it does not say.
pub fn memory_available() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"));
    line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Before a program takes it: without, the kernel ends one of its choice.
pub fn want_memory(bytes: u64, what: &str) -> Result<(), Fault> {
    let available = memory_available();
    if available == 0 || available >= bytes {
        return Ok(());
    }
    let text = format!("{what} needs about {} MB of memory, and {} MB are available", bytes.div_ceil(1_000_000), available / 1_000_000);
    Err(Fault::world("memory-short", text).hint("`free -m` shows what there is; try again when there is more"))
}

/// Whether a [`command_within`] was killed for taking too long.
pub fn ran_out_of_time(status: ExitStatus) -> bool {
    status.code() == Some(137) || status.signal() == Some(9)
}

fn clean(c: &mut Command) {
    c.env_clear().envs([
        ("PATH", PATH),
        ("LC_ALL", "C.UTF-8"),
        ("LANG", "C.UTF-8"),
        ("TZ", "UTC"),
        ("HOME", "/root"),
        ("DEBIAN_FRONTEND", "noninteractive"),
    ]);
    c.current_dir("/").stdin(Stdio::null());
}

#[derive(Debug)]
pub struct Done {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Done {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The last lines it said, for an error.
    pub fn last_words(&self) -> String {
        last_lines(&self.stderr)
    }
}

pub fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    // Scripts that nobody trusts say it, and a terminal of ours shows it.
    let shown = lines[lines.len().saturating_sub(LAST_WORDS)..].iter().map(|l| model::text::shown(&l.replace('\t', " "), LINE_BYTES_MAX));
    shown.collect::<Vec<_>>().join("\n")
}

pub fn spawn(c: &mut Command, program: &str) -> Result<Child, Fault> {
    c.spawn().map_err(|e| {
        if e.kind() == std::io::ErrorKind::NotFound {
            tool_missing("setpriv")
        } else {
            files::fault("cannot start", Path::new(program), &e)
        }
    })
}

/// Runs it to its end, whatever that is.
pub fn run(c: &mut Command, program: &str) -> Result<Done, Fault> {
    let child = spawn(c.stdout(Stdio::piped()).stderr(Stdio::piped()), program)?;
    let out = child.wait_with_output().map_err(files::at("cannot wait for", Path::new(program)))?;
    Ok(Done { status: out.status, stdout: out.stdout, stderr: String::from_utf8_lossy(&out.stderr).into_owned() })
}

/// As [`run`]; a bad end is an error with the last lines of its output.
pub fn run_well(c: &mut Command, program: &str) -> Result<Done, Fault> {
    let done = run(c, program)?;
    if done.status.success() { Ok(done) } else { Err(ended_badly(program, done.status, &done.stderr)) }
}

pub fn ended_badly(program: &str, status: ExitStatus, said: &str) -> Fault {
    if said.contains("No space left on device") || said.contains("Disk quota exceeded") {
        return files::disk_full(format!("{program} ran out of disk space:\n{}", last_lines(said)));
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with {code}"),
        (_, Some(signal)) => format!("was killed by signal {signal}"),
        _ => "ended".to_string(),
    };
    Fault::world("tool-failed", format!("{program} {how}:\n{}", last_lines(said)))
}

/// Runs it and hands every line it says, on either stream, to `line`; keeps the last 400 for the error.
pub fn run_lines(c: &mut Command, program: &str, mut line: impl FnMut(&str)) -> Result<Done, Fault> {
    let (reader, writer) = std::io::pipe().map_err(files::at("cannot make a pipe for", Path::new(program)))?;
    let second = writer.try_clone().map_err(files::at("cannot make a pipe for", Path::new(program)))?;
    let mut child = spawn(c.stdout(writer).stderr(second), program)?;
    // The command keeps the write ends open as long as it lives: without this the reader would never see the end.
    c.stdout(Stdio::null()).stderr(Stdio::null());
    let mut kept: VecDeque<String> = VecDeque::new();
    let mut reader = BufReader::new(reader);
    let mut bytes = Vec::new();
    while reader.by_ref().take(1 << 16).read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
        let text = String::from_utf8_lossy(&bytes).trim_end().to_string();
        line(&text);
        if kept.len() == 400 {
            kept.pop_front();
        }
        kept.push_back(text);
        bytes.clear();
    }
    let status = child.wait().map_err(files::at("cannot wait for", Path::new(program)))?;
    Ok(Done { status, stdout: Vec::new(), stderr: Vec::from(kept).join("\n") })
}

/// The first line a program says of its version.
pub fn version_of(program: &str, args: &[&str]) -> String {
    let said = run(command(program).args(args), program).map(|d| format!("{}{}", d.text(), d.stderr)).unwrap_or_default();
    said.lines().next().unwrap_or("unknown").trim().to_string()
}

pub fn seconds_since(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_says_does_not_write_on_our_terminal() {
        assert_eq!(last_lines("a\u{1b}[2Jb\u{202e}\r\n\n\tc\n"), "a?[2Jb?\n c");
    }

    #[test]
    fn users_of_a_namespace_are_counted_from_nought() {
        for (map, count) in [
            ("         0          0 4294967295\n", 4_294_967_295),
            ("0 1000 1\n", 1),
            ("0 1000 1\n1 100000 65535\n", 65_536),
            ("1 100000 65535\n0 1000 1\n", 65_536),
            ("0 1000 1\n2 100000 65535\n", 1),
            ("1 1 1\n", 0),
            ("garbage", 0),
        ] {
            assert_eq!(mapped(map), count, "{map}");
        }
    }
}
