//! One process of a kind for one data directory: a lock that the kernel drops with its holder, however that ends.

use disk::lock::{self, Lock};
use model::{Fault, Layout};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub enum Taken {
    Mine(Lock),
    /// By this process, if it could write its id.
    Theirs(Option<i32>),
}

fn path(layout: &Layout, name: &str) -> PathBuf {
    layout.run().join(format!("process-{name}.lock"))
}

/// Takes the lock if it is free.
pub fn take(layout: &Layout, name: &str) -> Result<Taken, Fault> {
    let path = path(layout, name);
    let Some(mut lock) = Lock::try_exclusive(&path)? else { return Ok(Taken::Theirs(lock::holder(&path))) };
    // On a full disk the next process cannot say who holds it; the lock holds all the same.
    if let Err(e) = lock.write_holder() {
        crate::show::note(format!("{}: {e}", path.display()));
    }
    Ok(Taken::Mine(lock))
}

/// Takes it, waiting for this time until its holder releases it.
pub fn take_within(layout: &Layout, name: &str, within: Duration) -> Result<Taken, Fault> {
    let until = Instant::now() + within;
    loop {
        match take(layout, name)? {
            Taken::Theirs(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            taken => return Ok(taken),
        }
    }
}

/// Ends its holder: TERM, and KILL after `patience`. Nothing happens if it is free.
///
/// The process is identified by holding the lock, not by a pid in a file alone: the pid may be reused.
pub fn end_holder(layout: &Layout, name: &str, patience: Duration) -> Result<bool, Fault> {
    // Nothing ran here: taking the lock would make its directory.
    if path(layout, name).symlink_metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return Ok(false);
    }
    let mut was_held = false;
    for (signal, wait) in [(Signal::SIGTERM, patience), (Signal::SIGKILL, Duration::from_secs(5))] {
        let Taken::Theirs(pid) = take(layout, name)? else { return Ok(was_held) };
        was_held = true;
        if let Some(pid) = pid {
            // It may have ended between the two lines: then the signal finds no process, which is fine.
            let _ = kill(Pid::from_raw(pid), signal);
        }
        if let Taken::Mine(_) = take_within(layout, name, wait)? {
            return Ok(true);
        }
    }
    let held = format!("{}: its holder does not end", path(layout, name).display());
    Err(Fault::world("busy", held).hint(format!("look who it is: fuser {}", path(layout, name).display())).again(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn one_holder_at_a_time_and_its_id_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        assert!(matches!(end_holder(&layout, "x", Duration::ZERO), Ok(false)));
        assert!(!layout.run().exists(), "looking makes nothing");
        std::fs::create_dir(layout.run()).unwrap();
        let Taken::Mine(first) = take(&layout, "x").unwrap() else { panic!("it was free") };
        let Taken::Theirs(pid) = take(&layout, "x").unwrap() else { panic!("it was taken") };
        assert_eq!(pid, Some(i32::try_from(std::process::id()).unwrap()));
        drop(first);
        assert!(matches!(take(&layout, "x").unwrap(), Taken::Mine(_)));
        assert!(matches!(end_holder(&layout, "x", Duration::ZERO), Ok(false)));
    }

    #[test]
    fn a_holder_that_does_not_listen_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        std::fs::create_dir(layout.run()).unwrap();
        // It takes the lock as `flock` does, writes its id as ours do, and ignores TERM.
        let script = format!(
            "trap '' TERM; exec 9<>{}; flock 9; echo $$ >&9; echo ready; while :; do sleep 0.05; done",
            path(&layout, "x").display()
        );
        let mut child = std::process::Command::new("bash").args(["-c", &script]).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut byte = [0];
        child.stdout.take().unwrap().read_exact(&mut byte).unwrap();
        let waiter = std::thread::spawn(move || child.wait().unwrap());
        assert!(end_holder(&layout, "x", Duration::from_millis(100)).unwrap());
        assert!(!waiter.join().unwrap().success());
    }
}
