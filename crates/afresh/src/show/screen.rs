//! Output of a program that is not ours, in pieces, as it comes: byte for byte where it goes to a file or a pipe, and without escape
//! sequences but colours where it goes to a terminal.

use super::foreign;
use std::io::{IsTerminal, Write};

pub struct Screen {
    is_stderr: bool,
    is_terminal: bool,
    /// The beginning of a character whose end did not come yet.
    rest: Vec<u8>,
}

impl Screen {
    pub fn stdout() -> Self {
        Self { is_stderr: false, is_terminal: std::io::stdout().is_terminal(), rest: Vec::new() }
    }

    pub fn stderr() -> Self {
        Self { is_stderr: true, is_terminal: std::io::stderr().is_terminal(), rest: Vec::new() }
    }

    pub fn print(&mut self, bytes: &[u8]) {
        let shown = if self.is_terminal { self.safe(bytes).into_bytes() } else { bytes.to_vec() };
        let written = if self.is_stderr {
            std::io::stderr().lock().write_all(&shown)
        } else {
            let mut out = std::io::stdout().lock();
            out.write_all(&shown).and_then(|()| out.flush())
        };
        // A reader that closed the pipe is no error.
        if written.is_err() && !self.is_stderr {
            std::process::exit(0);
        }
    }

    fn safe(&mut self, bytes: &[u8]) -> String {
        let all = [std::mem::take(&mut self.rest), bytes.to_vec()].concat();
        let whole = match std::str::from_utf8(&all) {
            Err(e) if e.error_len().is_none() => e.valid_up_to(),
            _ => all.len(),
        };
        self.rest = all[whole..].to_vec();
        foreign::safe(&String::from_utf8_lossy(&all[..whole]).replace("\r\n", "\n")).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_piece_brings_an_escape_to_a_terminal() {
        let mut screen = Screen { is_stderr: false, is_terminal: true, rest: Vec::new() };
        let hostile = "größe\r\n\u{1b}]52;c;eA==\u{7}\u{1b}[2J\u{9b}6n\u{202e}x\rforged \u{1b}[31mred\n".as_bytes();
        for size in 1..hostile.len() {
            let text: String = hostile.chunks(size).map(|piece| screen.safe(piece)).collect();
            let plain = text.replace("\u{1b}[31m", "").replace("\u{1b}[0m", "");
            assert!(plain.chars().all(|c| c == '\n' || model::text::is_shown(c)), "{size}: {text:?}");
            assert!(text.contains("größe") && text.contains("forged"), "{size}: {text:?}");
        }
    }
}
