//! The content of one opened file: its first megabytes at once, the rest in pieces. Holes are skipped, and a file has no more bytes than it
//! had when it was opened: one that grows, or says that it is larger than any disk, ends too.

use crate::is_over;
use guard::secrets::{Detector, Leak, Stream};
use guard::{Fact, Missing};
use rustix::fd::AsFd;
use rustix::fs::{SeekFrom, seek};
use rustix::io::{Errno, pread};
use std::time::Instant;

/// What is judged as a whole: more than any configuration file has.
pub const HEAD: usize = 4 << 20;
const PIECE: usize = 1 << 20;

/// Into `buffer`, whose room is used again for the next file.
pub fn head(file: impl AsFd, buffer: &mut Vec<u8>) -> Result<(), Errno> {
    fill(&file, 0, HEAD, buffer)
}

/// Every secret of a file whose first bytes are `head`. `size`: when it was opened. Adds to `bytes` what it reads beyond the head.
pub fn leaks(file: impl AsFd, head: &[u8], (size, until): (u64, Option<Instant>), detector: &Detector, bytes: &mut u64) -> Fact<Vec<Leak>> {
    if head.len() < HEAD {
        return Fact::Known(detector.scan(head));
    }
    let mut stream = Stream::new(detector);
    stream.push(head);
    match rest(&file, (size, until), &mut stream, bytes) {
        Ok(()) => Fact::Known(stream.finish()),
        Err(e) => Fact::Unknown(Missing(e.to_string())),
    }
}

fn rest(file: &impl AsFd, (size, until): (u64, Option<Instant>), stream: &mut Stream, bytes: &mut u64) -> Result<(), Errno> {
    let (mut at, mut piece) = (HEAD as u64, Vec::new());
    while at < size && !stream.is_full() {
        let data = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but a hole follows.
            Err(Errno::NXIO) => return Ok(()),
            // This filesystem knows no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            Err(e) => return Err(e),
        };
        if data > at {
            stream.gap(usize::try_from(data - at).unwrap_or(usize::MAX));
            at = data;
        }
        let end = seek(file, SeekFrom::Hole(at)).unwrap_or(size).clamp(at + 1, size.max(at + 1));
        while at < end && !stream.is_full() {
            if is_over(until) {
                return Err(Errno::TIMEDOUT);
            }
            let room = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            fill(file, at, room, &mut piece)?;
            if piece.is_empty() {
                // It was cut short meanwhile.
                return Ok(());
            }
            stream.push(&piece);
            at += piece.len() as u64;
            *bytes += piece.len() as u64;
        }
    }
    Ok(())
}

/// As many bytes as there are from `at` on, `limit` at most.
pub fn fill(file: &impl AsFd, at: u64, limit: usize, buffer: &mut Vec<u8>) -> Result<(), Errno> {
    buffer.clear();
    while buffer.len() < limit {
        let from = buffer.len();
        // Small files need no megabytes that are set to zero first.
        let room = (from.max(64 << 10)).min(limit - from);
        buffer.resize(from + room, 0);
        match pread(file, &mut buffer[from..], at + from as u64) {
            Ok(0) => {
                buffer.truncate(from);
                break;
            }
            Ok(count) => buffer.truncate(from + count),
            Err(Errno::INTR) => buffer.truncate(from),
            Err(e) => {
                buffer.clear();
                return Err(e);
            }
        }
    }
    Ok(())
}
