//! The log of one server: what its program printed, beside it when and on which stream, and how much of it was dropped. Only the shim
//! writes it; it never exceeds its bounds. A log that cannot be written loses lines, never the instance, and says how many.
//!
//! ```text
//! ID.log      its output; no line is of two streams  full ─▶ ID.log.1 (replaces the one before)
//! ID.times    place, time and stream of parts of it  full ─▶ ID.times.1, together with the log
//! ID.dropped  lines and bytes that rotations removed
//! ```

use crate::state_files;
use api::logs::Stream;
use model::Time;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A log is rotated at this size, and one rotated log is kept.
pub const LOG_BYTES_MAX: u64 = 8 << 20;
/// The log is rotated as well when its times are this large, so that a program that prints byte by byte cannot fill the disk.
pub const TIMES_BYTES_MAX: u64 = 1 << 20;
/// Output within this time of the last recorded time gets that time.
const NOTE_EVERY: Duration = Duration::from_millis(100);
/// Between two tries to open a file that could not be opened.
const OPEN_EVERY: Duration = Duration::from_secs(1);

/// From `at` in the log on: when it was printed, and on which stream. 16 bytes: two 64-bit numbers, the stream in the topmost two bits of
/// the second. None: an older version wrote it, for both streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    pub at: u64,
    pub time: Time,
    pub stream: Option<Stream>,
}

impl Note {
    pub const BYTES: usize = 16;
    const TIME_BITS: u32 = 62;

    fn encode(self) -> [u8; Self::BYTES] {
        let stream = match self.stream {
            None => 0u64,
            Some(Stream::Stdout) => 1,
            Some(Stream::Stderr) => 2,
            Some(Stream::Afresh) => 3,
        };
        let second = stream << Self::TIME_BITS | self.time.0 & ((1 << Self::TIME_BITS) - 1);
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.at.to_le_bytes());
        bytes[8..].copy_from_slice(&second.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Self {
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        let second = number(&bytes[8..]);
        let stream = [None, Some(Stream::Stdout), Some(Stream::Stderr), Some(Stream::Afresh)];
        let place = usize::try_from(second >> Self::TIME_BITS).unwrap_or(0);
        Self { at: number(&bytes[..8]), time: Time(second & ((1 << Self::TIME_BITS) - 1)), stream: stream[place] }
    }
}

/// Output that is not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    pub lines: u64,
    pub bytes: u64,
}

impl Dropped {
    pub fn of(bytes: &[u8]) -> Self {
        let ends = bytes.iter().filter(|b| **b == b'\n').count() + usize::from(bytes.last().is_some_and(|b| *b != b'\n'));
        Self { lines: ends as u64, bytes: bytes.len() as u64 }
    }

    pub fn add(&mut self, more: Self) {
        self.lines += more.lines;
        self.bytes += more.bytes;
    }

    /// Of this log so far; nothing where nothing was dropped.
    pub fn read(log: &Path) -> Self {
        let mut bytes = [0; 16];
        match File::open(dropped(log)).and_then(|mut file| file.read_exact(&mut bytes)) {
            Ok(()) => {
                let note = Note::decode(&bytes);
                Self { lines: note.at, bytes: note.time.0 }
            }
            Err(_) => Self::default(),
        }
    }

    fn encode(self) -> [u8; 16] {
        Note { at: self.lines, time: Time(self.bytes), stream: None }.encode()
    }
}

pub struct LogFile {
    path: PathBuf,
    file: Option<File>,
    tried: Instant,
    bytes: u64,
    /// In the current file, and in the rotated one.
    now: Dropped,
    old: Dropped,
    times: Option<File>,
    times_bytes: u64,
    noted: Option<(Stream, Instant)>,
    /// The stream of the last line, if it has no end yet.
    unended: Option<Stream>,
    /// What rotations removed.
    removed: Dropped,
    removed_file: Option<File>,
    /// What could not be written since something was, and why.
    unwritten: Dropped,
    why: String,
}

impl LogFile {
    pub fn open(path: PathBuf) -> Self {
        let _ = path.parent().map(state_files::make_dir);
        let mut log = Self {
            path,
            file: None,
            tried: Instant::now(),
            bytes: 0,
            now: Dropped::default(),
            old: Dropped::default(),
            times: None,
            times_bytes: 0,
            noted: None,
            unended: None,
            removed: Dropped::default(),
            removed_file: None,
            unwritten: Dropped::default(),
            why: String::new(),
        };
        log.open_files();
        log
    }

    fn open_files(&mut self) {
        self.tried = Instant::now();
        let mut open = |path: &Path| match File::options().create(true).append(true).open(path) {
            Ok(file) => Some(file),
            Err(e) => {
                self.why = e.to_string();
                None
            }
        };
        (self.file, self.times) = (open(&self.path), open(&times(&self.path)));
        let length = |file: &Option<File>| file.as_ref().and_then(|f| f.metadata().ok()).map_or(0, |m| m.len());
        (self.bytes, self.times_bytes) = (length(&self.file), length(&self.times));
        self.times_bytes -= self.times_bytes % Note::BYTES as u64;
        (self.noted, self.unended) = (None, None);
    }

    /// Output that never came this far, and why.
    pub fn lost(&mut self, dropped: Dropped, why: &str) {
        if dropped != Dropped::default() {
            self.unwritten.add(dropped);
            self.why = why.to_string();
        }
    }

    pub fn add(&mut self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.look();
        if self.bytes + bytes.len() as u64 > LOG_BYTES_MAX || self.times_bytes + 2 * Note::BYTES as u64 > TIMES_BYTES_MAX {
            self.turn_over();
        }
        if self.file.is_none() && self.tried.elapsed() >= OPEN_EVERY {
            self.open_files();
        }
        if !self.say_unwritten() || !self.put(stream, bytes) {
            self.unwritten.add(Dropped::of(bytes));
        }
    }

    /// Nothing more comes: what could not be written until now is said, if that can be.
    pub fn end(&mut self) {
        self.say_unwritten();
    }

    /// Whoever bounds all logs of the host may have emptied this one.
    fn look(&mut self) {
        if self.file.as_ref().and_then(|f| f.metadata().ok()).is_some_and(|m| m.len() < self.bytes) {
            self.removed.add(std::mem::take(&mut self.now));
            self.save_removed();
            self.times.iter().for_each(|file| drop(file.set_len(0)));
            self.file.iter().for_each(|file| drop(file.set_len(0)));
            (self.bytes, self.times_bytes, self.noted, self.unended) = (0, 0, None, None);
        }
    }

    fn turn_over(&mut self) {
        let _ = std::fs::rename(times(&self.path), times(&turned_over(&self.path)));
        if std::fs::rename(&self.path, turned_over(&self.path)).is_err() {
            // Its bound holds even so.
            self.file.iter().for_each(|file| drop(file.set_len(0)));
            self.times.iter().for_each(|file| drop(file.set_len(0)));
            self.removed.add(std::mem::take(&mut self.now));
        }
        let now = std::mem::take(&mut self.now);
        self.removed.add(std::mem::replace(&mut self.old, now));
        self.save_removed();
        self.open_files();
    }

    fn save_removed(&mut self) {
        if self.removed == Dropped::default() {
            return;
        }
        if self.removed_file.is_none() {
            self.removed_file = File::options().create(true).truncate(false).write(true).open(dropped(&self.path)).ok();
        }
        if let Some(file) = &self.removed_file {
            // In its place: a full disk has room for it.
            let _ = file.write_all_at(&self.removed.encode(), 0);
        }
    }

    /// False: the disk is still full, so what follows cannot be written either.
    fn say_unwritten(&mut self) -> bool {
        let unwritten = self.unwritten;
        if unwritten == Dropped::default() {
            return true;
        }
        let text = format!("{} lines ({} bytes) were dropped here: {}\n", unwritten.lines, unwritten.bytes, self.why);
        let said = self.put(Stream::Afresh, text.as_bytes());
        if said {
            // With the line that speaks of them they are rotated away too.
            self.now.add(std::mem::take(&mut self.unwritten));
        }
        said
    }

    /// False: nothing of it is in the log.
    fn put(&mut self, stream: Stream, bytes: &[u8]) -> bool {
        // Where two streams meet, the unfinished line of one ends.
        let ends = self.unended.is_some_and(|other| other != stream);
        let at = self.bytes + u64::from(ends);
        if !self.note(stream, at) {
            return false;
        }
        let whole = if ends { [b"\n", bytes].concat() } else { Vec::new() };
        let written = if ends { whole.as_slice() } else { bytes };
        let Some(file) = &mut self.file else { return false };
        if let Err(e) = file.write_all(written) {
            self.why = format!("the log cannot be written: {e}");
            let _ = file.set_len(self.bytes);
            return false;
        }
        self.bytes += written.len() as u64;
        if stream != Stream::Afresh {
            self.now.add(Dropped::of(bytes));
        }
        self.unended = (bytes.last() != Some(&b'\n')).then_some(stream);
        true
    }

    /// False: this output would be taken for another stream's.
    fn note(&mut self, stream: Stream, at: u64) -> bool {
        let is_same = self.noted.is_some_and(|(last, _)| last == stream);
        if is_same && self.noted.is_some_and(|(_, time)| time.elapsed() < NOTE_EVERY) {
            return true;
        }
        let note = Note { at, time: disk::files::now(), stream: Some(stream) };
        let Some(times) = &mut self.times else { return false };
        match times.write_all(&note.encode()) {
            Ok(()) => {
                self.times_bytes += Note::BYTES as u64;
                self.noted = Some((stream, Instant::now()));
                true
            }
            Err(e) => {
                self.why = format!("the log cannot be written: {e}");
                let _ = times.set_len(self.times_bytes);
                is_same
            }
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

pub fn dropped(log: &Path) -> PathBuf {
    log.with_extension("dropped")
}

/// Every file of a log.
pub fn files(log: &Path) -> [PathBuf; 5] {
    let old = turned_over(log);
    [dropped(log), times(&old), old, times(log), log.to_path_buf()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_stays_within_its_bound_keeps_the_end_and_counts_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/x.log");
        let mut log = LogFile::open(path.clone());
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let chunk = line.repeat(64);
        (0..1_000).for_each(|_| log.add(Stream::Stdout, &chunk));
        log.add(Stream::Stdout, b"the end");
        let size = |p: &Path| std::fs::metadata(p).unwrap().len();
        assert!(size(&path) <= LOG_BYTES_MAX && size(&turned_over(&path)) <= LOG_BYTES_MAX);
        assert!(std::fs::read(&path).unwrap().ends_with(b"the end"));
        let kept = (size(&path) + size(&turned_over(&path))) / 1024;
        assert_eq!(Dropped::read(&path), Dropped { lines: 64_000 - kept, bytes: (64_000 - kept) * 1024 });
    }

    /// A program that prints one byte at a time for days, or each byte on another stream, does not fill the disk with times.
    #[test]
    fn times_stay_within_their_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut log = LogFile::open(path.clone());
        for n in 0..2 * TIMES_BYTES_MAX / Note::BYTES as u64 + 10 {
            log.add(if n % 2 == 0 { Stream::Stdout } else { Stream::Stderr }, b"x");
        }
        let total: u64 = files(&path).iter().filter_map(|file| std::fs::metadata(file).ok()).map(|m| m.len()).sum();
        assert!(total < 2 * TIMES_BYTES_MAX + 400_000, "{total} bytes");
    }

    #[test]
    fn notes_are_read_as_they_were_written_and_those_of_older_versions_too() {
        for stream in [None, Some(Stream::Stdout), Some(Stream::Stderr), Some(Stream::Afresh)] {
            let note = Note { at: u64::MAX, time: Time(1_764_000_000_123), stream };
            assert_eq!(Note::decode(&note.encode()), note);
        }
        let mut old = 7u64.to_le_bytes().to_vec();
        old.extend(1_764_000_000_123u64.to_le_bytes());
        assert_eq!(Note::decode(&old), Note { at: 7, time: Time(1_764_000_000_123), stream: None });
    }

    /// A file on a device that is always full, and one that cannot be opened: nothing fails, and the next line that is kept says what is missing.
    #[test]
    fn what_a_full_disk_drops_is_counted_and_said_once_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut log = LogFile::open(path.clone());
        log.add(Stream::Stdout, b"before\n");
        let good = log.file.take();
        log.file = Some(File::options().write(true).open("/dev/full").unwrap());
        // Its length is 0, which looks like an emptied log.
        log.bytes = 0;
        (0..10).for_each(|n| log.add(Stream::Stderr, format!("lost {n}\n").as_bytes()));
        assert_eq!(log.unwritten, Dropped { lines: 10, bytes: 70 });
        (log.file, log.bytes) = (good, 7);
        log.add(Stream::Stderr, b"after\n");
        let text = std::fs::read_to_string(&path).unwrap();
        let want =
            "before\n10 lines (70 bytes) were dropped here: the log cannot be written: No space left on device (os error 28)\nafter\n";
        assert_eq!((text.as_str(), log.unwritten), (want, Dropped::default()));
    }

    #[test]
    fn an_emptied_log_goes_on_at_its_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut log = LogFile::open(path.clone());
        log.add(Stream::Stdout, b"one\ntwo\n");
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        log.add(Stream::Stdout, b"three\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
        assert_eq!(Dropped::read(&path), Dropped { lines: 2, bytes: 8 });
        let notes = std::fs::read(times(&path)).unwrap();
        assert_eq!((notes.len(), Note::decode(&notes).at), (Note::BYTES, 0));
    }

    #[test]
    fn no_line_is_of_two_streams() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut log = LogFile::open(path.clone());
        for (stream, text) in [(Stream::Stdout, "pro"), (Stream::Stdout, "gress"), (Stream::Stderr, "error\n"), (Stream::Stdout, "more\n")]
        {
            log.add(stream, text.as_bytes());
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "progress\nerror\nmore\n");
        let notes: Vec<Note> = std::fs::read(times(&path)).unwrap().chunks_exact(Note::BYTES).map(Note::decode).collect();
        let seen: Vec<_> = notes.iter().map(|note| (note.at, note.stream.unwrap())).collect();
        assert_eq!(seen, [(0, Stream::Stdout), (9, Stream::Stderr), (15, Stream::Stdout)]);
    }

    #[test]
    fn names_are_those_of_one_log() {
        let names: Vec<String> = files(Path::new("/l/web-r1-1-2.log")).iter().map(|p| p.display().to_string()).collect();
        let want = ["/l/web-r1-1-2.dropped", "/l/web-r1-1-2.times.1", "/l/web-r1-1-2.log.1", "/l/web-r1-1-2.times", "/l/web-r1-1-2.log"];
        assert_eq!(names, want);
    }
}
