//! Takes what a program prints off its pipes, always at once: a disk that is slow, full or hangs never blocks the program. Only whole lines
//! go on to the log, as far as the program ends them; what the log does not take in time is dropped and counted.
//!
//! ```text
//! stdout ─┐
//! stderr ─┴▶ read (one thread) ─▶ queue, bounded: full ─▶ dropped, counted ─▶ write (another thread) ─▶ LogFile
//! ```

use crate::log_file::{Dropped, LogFile};
use api::logs::{LINE_BYTES_MAX, Stream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::VecDeque;
use std::io::{PipeReader, Read};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What waits for the log.
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// What a piece costs beside its bytes.
const PIECE_BYTES: usize = 64;
/// A line that has no end is passed on after this time without output.
const UNENDED_FOR: Duration = Duration::from_millis(200);
const READ_BYTES: usize = 64 << 10;

const TOO_SLOW: &str = "the program printed faster than the log could be written";

enum Piece {
    Output(Stream, Vec<u8>),
    Dropped(Dropped),
}

#[derive(Default)]
struct Queue {
    /// No two neighbours are dropped ones, so they are bounded as well.
    pieces: VecDeque<Piece>,
    bytes: usize,
    is_over: bool,
}

impl Queue {
    fn drop_more(&mut self, more: Dropped) {
        match self.pieces.back_mut() {
            Some(Piece::Dropped(dropped)) => dropped.add(more),
            _ => self.pieces.push_back(Piece::Dropped(more)),
        }
    }
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// Closed when everything was read and written.
pub type End = Receiver<()>;

/// `beside` is called after each piece that was written.
pub fn keep(stdout: PipeReader, stderr: PipeReader, log: PathBuf, beside: impl Fn() + Send + 'static) -> End {
    let (done, end) = channel();
    let shared = Arc::new(Shared::default());
    let reader = shared.clone();
    std::thread::spawn(move || read(vec![(Stream::Stdout, stdout), (Stream::Stderr, stderr)], &reader));
    std::thread::spawn(move || {
        write(&shared, &mut LogFile::open(log), beside);
        drop(done);
    });
    end
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, stream: Stream, bytes: &[u8]) -> bool {
        let mut queue = self.lock();
        let has_room = queue.bytes + bytes.len() + PIECE_BYTES <= QUEUE_BYTES_MAX;
        if has_room {
            queue.bytes += bytes.len() + PIECE_BYTES;
            queue.pieces.push_back(Piece::Output(stream, bytes.to_vec()));
        } else {
            queue.drop_more(Dropped::of(bytes));
        }
        drop(queue);
        self.changed.notify_one();
        has_room
    }

    fn close(&self) {
        self.lock().is_over = true;
        self.changed.notify_one();
    }

    /// None: there will be no more.
    fn pop(&self) -> Option<Piece> {
        let queue = self.lock();
        let is_idle = |queue: &mut Queue| queue.pieces.is_empty() && !queue.is_over;
        let mut queue = self.changed.wait_while(queue, is_idle).unwrap_or_else(PoisonError::into_inner);
        let piece = queue.pieces.pop_front();
        if let Some(Piece::Output(_, bytes)) = &piece {
            queue.bytes -= bytes.len() + PIECE_BYTES;
        }
        piece
    }
}

fn write(shared: &Shared, log: &mut LogFile, beside: impl Fn()) {
    while let Some(piece) = shared.pop() {
        match piece {
            Piece::Output(stream, bytes) => log.add(stream, &bytes),
            Piece::Dropped(dropped) => log.lost(dropped, TOO_SLOW),
        }
        beside();
    }
    log.end();
}

/// One stream, as far as it was read.
struct Source {
    stream: Stream,
    /// None: it has ended.
    from: Option<PipeReader>,
    /// The beginning of a line that has no end yet.
    unended: Vec<u8>,
    /// The beginning of the line was dropped, so is the rest.
    is_skipping: bool,
}

impl Source {
    fn take(&mut self, shared: &Shared, bytes: &[u8]) {
        let mut bytes = bytes;
        if self.is_skipping {
            let end = bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |at| at + 1);
            self.is_skipping = end == bytes.len() && bytes.last() != Some(&b'\n');
            shared.lock().drop_more(Dropped { lines: 0, bytes: end as u64 });
            bytes = &bytes[end..];
        }
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        if whole > 0 {
            self.unended.extend_from_slice(&bytes[..whole]);
            self.pass_on(shared);
        }
        self.unended.extend_from_slice(&bytes[whole..]);
        if self.unended.len() >= LINE_BYTES_MAX {
            self.pass_on(shared);
        }
    }

    fn pass_on(&mut self, shared: &Shared) {
        let bytes = std::mem::take(&mut self.unended);
        if !bytes.is_empty() && !shared.push(self.stream, &bytes) {
            self.is_skipping = bytes.last() != Some(&b'\n');
        }
    }
}

fn read(sources: Vec<(Stream, PipeReader)>, shared: &Shared) {
    let source = |(stream, from)| Source { stream, from: Some(from), unended: Vec::new(), is_skipping: false };
    let mut sources: Vec<Source> = sources.into_iter().map(source).collect();
    let mut buffer = vec![0; READ_BYTES];
    while sources.iter().any(|source| source.from.is_some()) {
        let waits = sources.iter().any(|source| !source.unended.is_empty());
        let time = Timespec { tv_sec: 0, tv_nsec: UNENDED_FOR.subsec_nanos().into() };
        let ready: Vec<bool> = {
            let mut fds: Vec<PollFd> =
                sources.iter().filter_map(|s| s.from.as_ref()).map(|from| PollFd::new(from, PollFlags::IN)).collect();
            match poll(&mut fds, waits.then_some(&time)) {
                Ok(_) => fds.iter().map(|fd| !fd.revents().is_empty()).collect(),
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => break,
            }
        };
        if !ready.contains(&true) {
            sources.iter_mut().for_each(|source| source.pass_on(shared));
            continue;
        }
        for (source, _) in sources.iter_mut().filter(|s| s.from.is_some()).zip(ready).filter(|(_, ready)| *ready) {
            match source.from.as_mut().map(|from| from.read(&mut buffer)) {
                Some(Ok(n @ 1..)) => source.take(shared, &buffer[..n]),
                Some(Err(e)) if e.kind() == std::io::ErrorKind::Interrupted => {}
                _ => {
                    source.pass_on(shared);
                    source.from = None;
                }
            }
        }
    }
    shared.close();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_file::{LOG_BYTES_MAX, files};
    use std::io::Write;
    use std::os::unix::fs::FileTypeExt;
    use std::path::Path;

    fn start(log: &Path) -> (std::io::PipeWriter, std::io::PipeWriter, End) {
        let (out, out_end) = std::io::pipe().unwrap();
        let (err, err_end) = std::io::pipe().unwrap();
        (out_end, err_end, keep(out, err, log.to_path_buf(), || ()))
    }

    fn kept(log: &Path) -> String {
        [crate::log_file::turned_over(log), log.to_path_buf()].iter().filter_map(|p| std::fs::read_to_string(p).ok()).collect()
    }

    #[test]
    fn lines_stay_whole_and_what_has_no_end_is_passed_on() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        let (mut out, mut err, end) = start(&log);
        out.write_all(b"a line in ").unwrap();
        err.write_all(b"an error\n").unwrap();
        out.write_all(b"two pieces\nlast").unwrap();
        drop((out, err));
        assert!(end.recv().is_err());
        let text = kept(&log);
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["a line in two pieces", "an error", "last"]);
    }

    /// The log is a FIFO that nobody reads: its writer hangs as one on a dead disk does. The program writes 64 MiB and ends all the same.
    #[test]
    fn a_log_that_hangs_blocks_no_program_and_what_is_dropped_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        nix::unistd::mkfifo(&log, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        assert!(std::fs::metadata(&log).unwrap().file_type().is_fifo());
        // Both ends, so that opening it to write does not wait.
        let hold = std::fs::File::options().read(true).write(true).open(&log).unwrap();
        let (mut out, err, end) = start(&log);
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        (0..64 << 10).for_each(|_| out.write_all(&line).unwrap());
        drop((out, err));
        // The disk is back.
        let mut disk = std::fs::File::open(&log).unwrap();
        drop(hold);
        let mut text = String::new();
        disk.read_to_string(&mut text).unwrap();
        assert!(end.recv().is_err());
        let (said, kept): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.contains("were dropped here"));
        assert!(kept.iter().all(|line| line.len() == 1023) && said.iter().all(|line| line.ends_with(TOO_SLOW)), "{said:?}");
        let dropped: usize = said.iter().map(|line| line.split(' ').next().unwrap().parse::<usize>().unwrap()).sum();
        assert_eq!(kept.len() + dropped, 64 << 10, "each line is kept or counted");
        assert!(text.len() < 8 << 20, "{} bytes waited", text.len());
    }

    #[test]
    fn output_without_bound_takes_bounded_room() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        let (mut out, mut err, end) = start(&log);
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let chunk = line.repeat(64);
        (0..1_600).for_each(|_| out.write_all(&chunk).unwrap());
        // And bytes that end no line.
        (0..200).for_each(|_| err.write_all(&[0x1b; 64 << 10]).unwrap());
        drop((out, err));
        assert!(end.recv().is_err());
        let total: u64 = files(&log).iter().filter_map(|file| std::fs::metadata(file).ok()).map(|m| m.len()).sum();
        assert!(total <= 2 * LOG_BYTES_MAX + (64 << 10), "{total} bytes");
        assert!(Dropped::read(&log).bytes > 0);
    }
}
