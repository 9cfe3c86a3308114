//! Inspects the write-ahead log before SQLite reads it. SQLite silently ends the log at the first frame whose checksum is wrong: after a
//! crash that is right for what was never acknowledged, and wrong for a corrupt byte in the middle of what was.
//!
//! Two things show which it is: frames that were written after the bad one (a later transaction begins only when the one before is on
//! disk), and the index beside the log (`-shm`), which a killed process leaves and which says how many frames were committed. Nothing is
//! changed here.

use crate::fault;
use crate::files::{beside, io_fault};
use model::Fault;
use std::path::Path;

const HEADER: usize = 32;
const FRAME: usize = 24;

/// Refuses a log of which SQLite would drop something that was acknowledged.
pub(crate) fn inspect(database: &Path) -> Result<(), Fault> {
    // Another handle of this process may be writing: what is torn by that is complete the second time.
    inspect_once(database).or_else(|_| inspect_once(database))
}

fn inspect_once(database: &Path) -> Result<(), Fault> {
    let path = beside(database, "-wal");
    // The index first: the log is then at least as long as it says.
    let index = Index::of(&read(&beside(database, "-shm"))?);
    let log = read(&path)?;
    let damaged = |what: String| Err(fault::damaged(database, format_args!("its write-ahead log {}: {what}", path.display())));
    if log.is_empty() {
        return match index.filter(|i| i.frames > i.copied) {
            Some(index) => damaged(format!("{} committed frames are missing", index.frames)),
            None => Ok(()),
        };
    }
    // The header is written and synced by itself, before the first frame.
    let Some(log) = Log::of(&log) else { return damaged("its header is damaged".to_string()) };
    let intact = log.committed();
    if let Some(index) = index.filter(|i| i.salt == log.salt && i.frames > intact) {
        return damaged(format!("{} frames were committed and {intact} are intact", index.frames));
    }
    if let Some(frame) = log.written_after_a_gap() {
        return damaged(format!("frame {} is damaged, and later ones are not", frame + 1));
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(io_fault(path, &e)),
    }
}

fn big(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

fn native(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
}

/// SQLite's running checksum over pairs of words.
fn sum(big_endian: bool, mut s: (u32, u32), bytes: &[u8]) -> (u32, u32) {
    let word = |b: &[u8]| {
        let four = [b[0], b[1], b[2], b[3]];
        if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
    };
    for pair in bytes.chunks_exact(8) {
        s.0 = s.0.wrapping_add(word(&pair[..4])).wrapping_add(s.1);
        s.1 = s.1.wrapping_add(word(&pair[4..])).wrapping_add(s.0);
    }
    s
}

struct Log<'a> {
    frames: Vec<&'a [u8]>,
    salt: [u8; 8],
    big_endian: bool,
    begin: (u32, u32),
}

impl<'a> Log<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..HEADER)?;
        let magic = big(header, 0);
        let page = big(header, 8) as usize;
        let big_endian = magic & 1 == 1;
        let begin = (big(header, 24), big(header, 28));
        let good = magic & !1 == 0x377f_0682 && page.is_power_of_two() && (512..=65_536).contains(&page);
        if !good || sum(big_endian, (0, 0), &header[..24]) != begin {
            return None;
        }
        let salt = header[16..24].try_into().ok()?;
        Some(Self { frames: bytes[HEADER..].chunks_exact(FRAME + page).collect(), salt, big_endian, begin })
    }

    fn is_of_this_log(&self, frame: &[u8]) -> bool {
        frame[8..16] == self.salt
    }

    fn commits(frame: &[u8]) -> bool {
        big(frame, 4) != 0
    }

    /// Frames from the first on whose checksums hold.
    fn chain(&self) -> usize {
        let mut s = self.begin;
        let holds = |frame: &&&[u8]| {
            s = sum(self.big_endian, s, &frame[..8]);
            s = sum(self.big_endian, s, &frame[FRAME..]);
            self.is_of_this_log(frame) && s == (big(frame, 16), big(frame, 20))
        };
        self.frames.iter().take_while(holds).count()
    }

    /// How many frames SQLite will take: up to the last commit in the chain.
    fn committed(&self) -> u32 {
        let chain = self.chain();
        let last = self.frames[..chain].iter().rposition(|f| Self::commits(f));
        last.map_or(0, |i| u32::try_from(i + 1).unwrap_or(u32::MAX))
    }

    /// The first frame outside the chain, if a transaction that reaches over it was committed and followed by another: that is no
    /// tail which a crash has torn.
    fn written_after_a_gap(&self) -> Option<usize> {
        let gap = self.chain();
        let rest = self.frames.get(gap..)?;
        let commit = rest.iter().position(|f| self.is_of_this_log(f) && Self::commits(f))?;
        rest.get(commit + 1).filter(|f| self.is_of_this_log(f)).map(|_| gap)
    }
}

/// What the index says, if it is intact.
#[derive(Clone, Copy)]
struct Index {
    frames: u32,
    /// Frames that are in the database already.
    copied: u32,
    salt: [u8; 8],
}

impl Index {
    fn of(bytes: &[u8]) -> Option<Self> {
        let (one, two) = (bytes.get(..48)?, bytes.get(48..96)?);
        let s = (native(one, 40), native(one, 44));
        let intact = one == two && one[12] == 1 && sum(cfg!(target_endian = "big"), (0, 0), &one[..40]) == s;
        let salt = one[32..40].try_into().ok()?;
        intact.then(|| Self { frames: native(one, 16), copied: native(bytes, 96), salt })
    }
}
