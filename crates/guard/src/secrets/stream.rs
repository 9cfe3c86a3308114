//! Secrets in what is read piece by piece: blocks that overlap by as much as a secret may need before and after it.

use super::{Detector, Leak, WINDOW_AFTER, WINDOW_BEFORE, lines};

/// What is searched at once.
const BLOCK: usize = 1 << 20;
/// Beside the window of a keyword, a keyword itself may stand on either side.
const BEFORE: usize = 2 * WINDOW_BEFORE;
const AFTER: usize = WINDOW_BEFORE + WINDOW_AFTER + WINDOW_BEFORE;
/// A stream with more secrets than these is searched no further.
const LEAKS_MAX: usize = 1000;

/// Finds in any pieces what [`Detector::scan`] finds in the whole.
pub struct Stream<'d> {
    detector: &'d Detector,
    held: Vec<u8>,
    /// The place of the first byte that is held, and its line.
    offset: usize,
    line: usize,
    /// Secrets that begin before it, among what is held, have been found already.
    from: usize,
    leaks: Vec<Leak>,
}

impl<'d> Stream<'d> {
    pub fn new(detector: &'d Detector) -> Stream<'d> {
        Stream { detector, held: Vec::with_capacity(BLOCK + AFTER), offset: 0, line: 1, from: 0, leaks: Vec::new() }
    }

    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = (BLOCK + AFTER).saturating_sub(self.held.len()).min(bytes.len());
            self.held.extend_from_slice(&bytes[..room]);
            bytes = &bytes[room..];
            if self.held.len() == BLOCK + AFTER {
                let end = self.held.len() - AFTER;
                self.search(end);
                self.forget(end - BEFORE);
                self.from = BEFORE;
            }
        }
    }

    /// Bytes that nobody wrote. No secret spans them.
    pub fn gap(&mut self, length: usize) {
        self.search(self.held.len());
        self.forget(self.held.len());
        self.offset += length;
        self.from = 0;
    }

    /// Whether it has so many that more make no difference.
    pub fn is_full(&self) -> bool {
        self.leaks.len() >= LEAKS_MAX
    }

    pub fn finish(mut self) -> Vec<Leak> {
        self.search(self.held.len());
        self.leaks
    }

    /// Takes the secrets that begin before `end`.
    fn search(&mut self, end: usize) {
        let (mut line, mut counted) = (self.line, 0);
        for (start, stop, number) in self.detector.spans(&self.held) {
            if !(self.from..end).contains(&start) || self.is_full() {
                continue;
            }
            line += lines(&self.held[counted..start]);
            counted = start;
            let rule = &self.detector.rules[number];
            self.leaks.push(self.detector.leak(rule, &self.held[start..stop], self.offset + start, line));
        }
    }

    fn forget(&mut self, count: usize) {
        self.line += lines(&self.held[..count]);
        self.offset += count;
        self.held.drain(..count);
    }
}
