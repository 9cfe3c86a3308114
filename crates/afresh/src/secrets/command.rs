//! A secret that a command prints. Its output is the value, so none of it is ever shown; what it writes to stderr may hold the value as
//! well, and is not even read.

use model::{Fault, SECRET_BYTES_MAX, SecretName};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::io::{IsTerminal, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// A person may have to touch a token or enter a passphrase.
const WITHIN: Duration = Duration::from_secs(30);
const POLL_EVERY: Duration = Duration::from_millis(5);

pub fn run(name: &SecretName, command: &[String], dir: &Path) -> Result<Vec<u8>, Fault> {
    run_within(name, command, dir, WITHIN)
}

fn run_within(name: &SecretName, command: &[String], dir: &Path, within: Duration) -> Result<Vec<u8>, Fault> {
    let until = Instant::now() + within;
    let [program, args @ ..] = command else { return Err(Fault::ours("no-command", "a command without a program")) };
    // Arguments are not shown either: somebody may have written a value into them.
    let no = |why: String| {
        let hint = "what it prints is not shown, as it may hold the value; run it yourself to see what it says";
        Fault::yours("secret-command", format!("secret {name}: {program}: {why}")).hint(hint)
    };
    let mut asked = Command::new(program);
    asked.args(args).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // One that asks for a passphrase must stay in the terminal's own group of processes.
    let has_group = !std::io::stdin().is_terminal();
    if has_group {
        asked.process_group(0);
    }
    // `afresh dev` has some blocked.
    let mut child = asked.spawn().map_err(|e| no(format!("it cannot be run: {e}")))?;
    let ended = follow(&mut child, until);
    if !matches!(ended, Ok((_, Some(_)))) {
        end(&mut child, has_group);
    }
    match ended {
        Err(why) => Err(Fault::world("io", format!("secret {name}: {program}: {why}"))),
        Ok((bytes, _)) if bytes.len() > SECRET_BYTES_MAX => Err(no(format!("it prints more than {SECRET_BYTES_MAX} bytes"))),
        Ok((_, None)) => Err(no(format!("it did not end within {} s", within.as_secs_f32()))),
        Ok((_, Some(status))) if !status.success() => Err(no(match status.code() {
            Some(code) => format!("it failed with exit code {code}"),
            None => "it was ended by a signal".to_string(),
        })),
        Ok((bytes, _)) if bytes.is_empty() => Err(no("it printed nothing".to_string())),
        Ok((mut bytes, _)) => Ok(std::mem::take(&mut *bytes)),
    }
}

/// What it printed, and how it ended, if it did in time.
type Ended = (Zeroizing<Vec<u8>>, Option<ExitStatus>);

fn follow(child: &mut Child, until: Instant) -> std::io::Result<Ended> {
    let Some(out) = child.stdout.take() else { return Ok((Zeroizing::default(), None)) };
    let (done, all) = mpsc::sync_channel(1);
    // A thread of its own: what the command started may hold the pipe open when the command itself is gone.
    std::thread::spawn(move || done.send(read(out)));
    let bytes = match all.recv_timeout(until.saturating_duration_since(Instant::now())) {
        Ok(bytes) => bytes?,
        Err(_) => return Ok((Zeroizing::default(), None)),
    };
    if bytes.len() > SECRET_BYTES_MAX {
        return Ok((bytes, None));
    }
    loop {
        match child.try_wait()? {
            None if Instant::now() < until => std::thread::sleep(POLL_EVERY),
            status => return Ok((bytes, status)),
        }
    }
}

fn read(out: ChildStdout) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 1));
    out.take(u64::try_from(SECRET_BYTES_MAX + 1).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn end(child: &mut Child, has_group: bool) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0));
    // It may have ended by itself.
    let _ = if has_group { killpg(pid, Signal::SIGKILL) } else { kill(pid, Signal::SIGKILL) };
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_sh(script: &str, within: Duration) -> Result<Vec<u8>, Fault> {
        let command = ["sh", "-c", script].map(str::to_string);
        run_within(&SecretName::new("db").unwrap(), &command, Path::new("/"), within)
    }

    #[test]
    fn what_it_prints_is_the_value() {
        assert_eq!(run_sh("printf 'hunter2\\n'; echo hunter2 >&2", WITHIN).unwrap(), b"hunter2\n");
        assert_eq!(run_sh("printf 'a\\0b'", WITHIN).unwrap(), b"a\0b");
        assert_eq!(run_sh("pwd", WITHIN).unwrap(), b"/\n");
        assert_eq!(run_sh("head -c 65536 /dev/zero", WITHIN).unwrap().len(), SECRET_BYTES_MAX);
    }

    #[test]
    fn what_goes_wrong_is_said_without_what_it_printed() {
        let short = Duration::from_millis(300);
        let table = [
            ("echo hunter2; echo hunter2 >&2; exit 3", WITHIN, "exit code 3"),
            ("true", WITHIN, "printed nothing"),
            ("kill -9 $$", WITHIN, "by a signal"),
            ("echo hunter2; exec sleep 1000", short, "did not end within 0.3 s"),
            ("echo hunter2; sleep 1000 &", short, "did not end within 0.3 s"),
            ("echo hunter2; exec >&-; exec sleep 1000", short, "did not end within 0.3 s"),
            ("exec yes hunter2", WITHIN, "more than 65536 bytes"),
            ("head -c 1000000000 /dev/zero", WITHIN, "more than 65536 bytes"),
        ];
        for (script, within, why) in table {
            let fault = run_sh(script, within).unwrap_err();
            assert!(fault.code == "secret-command" && fault.message.contains(why) && fault.hint.is_some(), "{script}: {fault:?}");
            assert!(!format!("{fault:?}").contains("hunter2"), "{script}: {fault:?}");
        }
        let gone = run_within(&SecretName::new("db").unwrap(), &["/no/such/program".to_string()], Path::new("/"), WITHIN).unwrap_err();
        assert!(gone.message.contains("cannot be run"), "{gone:?}");
    }

    /// What it started ends with it.
    #[test]
    fn nothing_of_it_is_left() {
        let seconds = 100_000 + std::process::id();
        run_sh(&format!("sleep {seconds} & sleep {seconds}"), Duration::from_millis(300)).unwrap_err();
        let until = Instant::now() + Duration::from_secs(10);
        let line = format!("sleep\0{seconds}\0");
        let is_there = || {
            let processes = std::fs::read_dir("/proc").unwrap().flatten();
            processes.filter_map(|p| std::fs::read(p.path().join("cmdline")).ok()).any(|cmdline| cmdline == line.as_bytes())
        };
        while is_there() {
            assert!(Instant::now() < until || std::io::stdin().is_terminal(), "a process of it is left");
            std::thread::sleep(POLL_EVERY);
        }
    }
}
