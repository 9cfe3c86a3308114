//! The log of one server: what its program printed, and beside it when. Only the shim writes it; it never exceeds its bounds.
//!
//! ```text
//! ID.log    its output, byte for byte         full ─▶ ID.log.1 (replaces the one before)
//! ID.times  place and time of parts of it     full ─▶ ID.times.1, together with the log
//! ```

use crate::state_files;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A log is rotated at this size, and one rotated log is kept.
pub const LOG_BYTES_MAX: u64 = 8 << 20;
/// The log is rotated as well when its times are this large, so that a program that prints byte by byte cannot fill the disk.
pub const TIMES_BYTES_MAX: u64 = 1 << 20;
/// Output within this time of the last recorded time gets that time.
const NOTE_EVERY: Duration = Duration::from_millis(100);
/// A place in the log and a time, as 64-bit numbers.
pub const NOTE_BYTES: usize = 16;

/// A log that cannot be written loses lines, never the instance.
pub struct LogFile {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
    times: Option<File>,
    times_bytes: u64,
    noted: Option<Instant>,
}

impl LogFile {
    pub fn open(path: PathBuf) -> Self {
        let _ = path.parent().map(state_files::make_dir);
        let open = |path: &Path| File::options().create(true).append(true).open(path).ok();
        let length = |file: &Option<File>| file.as_ref().and_then(|f| f.metadata().ok()).map_or(0, |m| m.len());
        let (file, times) = (open(&path), open(&times(&path)));
        Self { bytes: length(&file), times_bytes: length(&times), path, file, times, noted: None }
    }

    pub fn add(&mut self, bytes: &[u8]) {
        if self.bytes + bytes.len() as u64 > LOG_BYTES_MAX || self.times_bytes + NOTE_BYTES as u64 > TIMES_BYTES_MAX {
            let _ = std::fs::rename(times(&self.path), times(&turned_over(&self.path)));
            let _ = std::fs::rename(&self.path, turned_over(&self.path));
            *self = Self::open(self.path.clone());
        }
        self.note();
        if let Some(file) = &mut self.file
            && file.write_all(bytes).is_ok()
        {
            self.bytes += bytes.len() as u64;
        }
    }

    fn note(&mut self) {
        if self.noted.is_some_and(|at| at.elapsed() < NOTE_EVERY) {
            return;
        }
        let mut note = self.bytes.to_le_bytes().to_vec();
        note.extend(disk::files::now().0.to_le_bytes());
        if let Some(times) = &mut self.times
            && times.write_all(&note).is_ok()
        {
            self.times_bytes += NOTE_BYTES as u64;
            self.noted = Some(Instant::now());
        }
    }
}

/// The rotated log.
pub fn turned_over(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// `ID.times` of `ID.log`, `ID.times.1` of `ID.log.1`.
pub fn times(log: &Path) -> PathBuf {
    let name = log.file_name().unwrap_or_default().to_string_lossy();
    log.with_file_name(match name.strip_suffix(".log.1") {
        Some(id) => format!("{id}.times.1"),
        None => format!("{}.times", name.strip_suffix(".log").unwrap_or(&name)),
    })
}

/// Every file of a log.
pub fn files(log: &Path) -> [PathBuf; 4] {
    let old = turned_over(log);
    [times(&old), old, times(log), log.to_path_buf()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_stays_within_its_bound_and_keeps_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/x.log");
        let mut log = LogFile::open(path.clone());
        let chunk = vec![b'x'; 1 << 20];
        (0..20).for_each(|_| log.add(&chunk));
        log.add(b"the end");
        let size = |p: &Path| std::fs::metadata(p).unwrap().len();
        assert!(size(&path) <= LOG_BYTES_MAX && size(&turned_over(&path)) <= LOG_BYTES_MAX);
        assert!(std::fs::read(&path).unwrap().ends_with(b"the end"));
    }

    /// A program that prints one byte at a time for days does not fill the disk with times.
    #[test]
    fn times_stay_within_their_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut log = LogFile::open(path.clone());
        for _ in 0..2 * TIMES_BYTES_MAX / NOTE_BYTES as u64 + 10 {
            log.noted = None;
            log.add(b"x");
        }
        let total: u64 = files(&path).iter().map(|file| std::fs::metadata(file).unwrap().len()).sum();
        assert!(total < 2 * TIMES_BYTES_MAX + 200_000, "{total} bytes");
    }

    #[test]
    fn names_are_those_of_one_log() {
        let names: Vec<String> = files(Path::new("/l/web-r1-1-2.log")).iter().map(|p| p.display().to_string()).collect();
        assert_eq!(names, ["/l/web-r1-1-2.times.1", "/l/web-r1-1-2.log.1", "/l/web-r1-1-2.times", "/l/web-r1-1-2.log"]);
    }
}
