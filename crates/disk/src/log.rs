//! The log of a process that writes to its own stderr: turned over by the process itself, since nobody else may take the open
//! file from it without losing lines.
//!
//! ```text
//! NAME.log  larger than the bound ─▶ renamed to NAME.log.1 (the one before is gone) ─▶ a new NAME.log becomes stdout and stderr
//! ```

use std::fs::{File, OpenOptions};
use std::io::Result;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Each of the two files. What is written between two looks comes on top.
pub const LOG_BYTES_MAX: u64 = 8 << 20;

/// Call it regularly. True: the log was turned over. A stderr that is not this file (a terminal, a journal, a test) is left alone.
pub fn rotate(path: &Path) -> Result<bool> {
    let stderr = File::from(rustix::io::dup(std::io::stderr())?).metadata()?;
    if !stderr.is_file() || stderr.len() <= LOG_BYTES_MAX {
        return Ok(false);
    }
    match std::fs::symlink_metadata(path) {
        Ok(named) if (named.dev(), named.ino()) == (stderr.dev(), stderr.ino()) => {}
        _ => return Ok(false),
    }
    std::fs::rename(path, previous(path))?;
    let new = open(path)?;
    rustix::stdio::dup2_stdout(&new)?;
    rustix::stdio::dup2_stderr(&new)?;
    Ok(true)
}

/// For whoever starts the process: its stdout and stderr.
pub fn open(path: &Path) -> Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// The log before this one.
pub fn previous(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::Command;

    const LINES: usize = 30_000;

    /// A process of its own, for it gives its stderr away.
    #[test]
    #[ignore = "run by the test below"]
    fn child() {
        let Some(path) = std::env::var_os("LOG_OF_CHILD") else { return };
        let text = "x".repeat(1_000);
        for number in 0..LINES {
            std::io::stderr().write_all(format!("{number:06} {text}\n").as_bytes()).unwrap();
            if number % 100 == 0 {
                rotate(Path::new(&path)).unwrap();
            }
        }
    }

    /// It writes into `log`, and takes `path` for its log.
    fn run_child(path: &Path, log: File) {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "log::tests::child"])
            .env("LOG_OF_CHILD", path)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status()
            .unwrap();
        assert!(status.success());
    }

    #[test]
    fn a_log_is_bounded_and_no_line_at_its_end_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data.log");
        run_child(&path, open(&path).unwrap());
        let (old, new) = (std::fs::read_to_string(previous(&path)).unwrap(), std::fs::read_to_string(&path).unwrap());
        let between_looks = 101 * 1_008;
        assert!(old.len() as u64 <= LOG_BYTES_MAX + between_looks && new.len() as u64 <= LOG_BYTES_MAX + between_looks);
        let numbers: Vec<usize> = old.lines().chain(new.lines()).filter_map(|line| line.get(..6)?.parse().ok()).collect();
        assert_eq!(numbers.last(), Some(&(LINES - 1)));
        assert!(numbers.len() > 8_000 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "lines are missing between the two files");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn the_file_of_somebody_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("data.log"), dir.path().join("other.log"));
        std::fs::write(&path, "of an earlier start\n").unwrap();
        run_child(&path, open(&other).unwrap());
        assert!(std::fs::metadata(&other).unwrap().len() > 3 * LOG_BYTES_MAX);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "of an earlier start\n");
        assert!(!previous(&path).exists());
    }

    #[test]
    fn a_new_start_goes_on_where_the_last_one_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data.log");
        for line in ["first\n", "second\n"] {
            open(&path).unwrap().write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first\nsecond\n");
    }
}
