//! A block of lines that is drawn again in place on a terminal.

use super::safe_line;
use console::{Term, truncate_str};

pub struct Block {
    term: Term,
    drawn: usize,
}

impl Block {
    pub fn new() -> Self {
        Self { term: Term::stdout(), drawn: 0 }
    }

    /// Replaces what was drawn before. Lines are cut to the terminal's width, the block to its height: a wrapped line could not
    /// be taken back.
    pub fn draw(&mut self, lines: &[String]) {
        let (height, width) = self.term.size();
        let room = usize::from(height).saturating_sub(1).max(1);
        let from = lines.len().saturating_sub(room);
        let mut text = String::new();
        for line in &lines[from..] {
            text.push_str(&truncate_str(&safe_line(line), usize::from(width), "…"));
            text.push('\n');
        }
        let text = if anstream::ColorChoice::global() == anstream::ColorChoice::Never {
            anstream::adapter::strip_str(&text).to_string()
        } else {
            text
        };
        // Errors of the terminal are not worth ending a deploy's display for.
        let _ = self.term.clear_last_lines(self.drawn);
        let _ = self.term.write_str(&text);
        self.drawn = lines.len() - from;
    }

    /// What comes next is drawn below, not over it.
    pub fn keep(&mut self) {
        self.drawn = 0;
    }
}
