//! What a token is, and what a name is made of.

use std::ops::Range;

/// Brackets of every kind within each other. The file needs five; more is a mistake or an attack.
pub(crate) const NESTING_MAX: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Newline,
    Comment,
    Ident,
    /// `template`: it has an interpolation, which nobody here evaluates.
    Text {
        template: bool,
    },
    Heredoc {
        template: bool,
    },
    /// Begins with a digit. `256MiB` is one too: a person forgot the quotes.
    Number,
    /// One byte of punctuation.
    Punct(u8),
    /// Told already; whoever meets it keeps silent.
    Broken,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub kind: Kind,
    pub span: Range<usize>,
}

impl Token {
    pub fn is(&self, punct: u8) -> bool {
        self.kind == Kind::Punct(punct)
    }
}

pub(crate) fn is_ident_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

pub(crate) fn is_ident_rest(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

pub(crate) fn ident(rest: &str) -> usize {
    rest.find(|c: char| !is_ident_rest(c)).unwrap_or(rest.len())
}
