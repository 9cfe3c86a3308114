//! Offsets to lines and columns, and what makes a text unreadable as a whole.

use std::ops::Range;

/// A service file is written by hand; more than this is a mistake.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where every line begins.
pub(crate) struct Places<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Places<'a> {
    pub fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1)).collect();
        Self { text, starts }
    }

    /// Line and column from 1; the column counts characters. A byte order mark is no column.
    pub fn of(&self, offset: usize) -> (usize, usize) {
        let offset = floor(self.text, offset);
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let before = &self.text[self.starts[line - 1]..offset];
        (line, before.trim_start_matches('\u{feff}').chars().count() + 1)
    }

    /// The offset at which a line (from 1) begins; the text's end for lines it does not have.
    pub fn line_start(&self, line: usize) -> usize {
        self.starts.get(line.saturating_sub(1)).copied().unwrap_or(self.text.len())
    }

    /// A line's text (from 1), without its end.
    pub fn line(&self, line: usize) -> &'a str {
        self.text[self.line_start(line)..self.line_start(line + 1)].trim_end_matches(['\n', '\r'])
    }
}

/// The nearest character boundary at or before `offset`, within the text.
pub(crate) fn floor(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// Faults after which no line can be trusted: code, place, message, hint.
pub(crate) fn unreadable(text: &str) -> Option<(&'static str, Range<usize>, String, &'static str)> {
    if text.len() as u64 > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes; at most {} are read", text.len(), FILE_BYTES_MAX);
        return Some(("too-large", 0..1, message, "is it the right file? split it, one file for each group of services"));
    }
    let begin = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let (at, found) = model::text::forbidden(&text[begin..])?;
    let (code, message, hint) = match found {
        '\0' => ("nul-byte", "the file has a NUL byte".to_string(), "it is no text; is it the right file, and was it written to its end?"),
        c if c.is_control() => {
            let message = format!("the file has the control character U+{:04X}", u32::from(c));
            ("control-character", message, "remove it: no value and no comment needs it")
        }
        c => {
            let message = format!("the file has the invisible character U+{:04X}", u32::from(c));
            (
                "hidden-character",
                message,
                "remove it: such characters change how the rest is shown, so that a file does something else than it shows",
            )
        }
    };
    Some((code, begin + at..begin + at + found.len_utf8(), message, hint))
}
