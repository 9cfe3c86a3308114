//! Text to tokens. Never fails: what is no token is reported once and left out, and reading goes on.
//!
//! Nothing recurses here, and nesting deeper than [`NESTING_MAX`] ends the reading, so that all that comes behind may recurse.

use super::token::{Kind, NESTING_MAX, Token, ident, is_ident_start};
use super::{heredoc, quoted};
use crate::sink::{Draft, Sink};

/// None: nested too deeply, and told so.
pub(crate) fn lex(text: &str, sink: &mut Sink) -> Option<Vec<Token>> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    while let Some(first) = text[at..].chars().next() {
        let Some((kind, end)) = token(text, at, first, sink) else {
            at += first.len_utf8();
            continue;
        };
        match kind {
            Kind::Punct(b'{' | b'[' | b'(') => open.push(at),
            Kind::Punct(b'}' | b']' | b')') => drop(open.pop()),
            _ => {}
        }
        if open.len() > NESTING_MAX {
            sink.push(
                Draft::new("too-deep", at..end, format!("nested more than {NESTING_MAX} deep"))
                    .label("reading ends here")
                    .hint("a service file needs five levels; is a bracket never closed?"),
            );
            return None;
        }
        tokens.push(Token { kind, span: at..end });
        at = end;
    }
    Some(tokens)
}

/// The token at `at` and where it ends; None for blanks.
fn token(text: &str, at: usize, first: char, sink: &mut Sink) -> Option<(Kind, usize)> {
    let rest = &text[at..];
    match first {
        ' ' | '\t' => None,
        '\n' => Some((Kind::Newline, at + 1)),
        '\r' if rest.starts_with("\r\n") => Some((Kind::Newline, at + 2)),
        '#' => Some((Kind::Comment, at + line(rest))),
        '/' if rest.starts_with("//") => Some((Kind::Comment, at + line(rest))),
        '/' if rest.starts_with("/*") => Some(block_comment(text, at, sink)),
        '"' => Some(quoted::scan(text, at, sink)),
        '<' if rest.starts_with("<<") => Some(heredoc::scan(text, at, sink)),
        c if c.is_ascii_digit() => Some((Kind::Number, at + number(rest))),
        c if is_ident_start(c) => Some((Kind::Ident, at + ident(rest))),
        c if c.is_ascii_punctuation() && !matches!(c, '\'' | '`' | '@' | ';' | '$' | '\\' | '~' | '^') => {
            Some((Kind::Punct(c as u8), at + 1))
        }
        _ => Some(no_token(text, at, sink)),
    }
}

/// A run of characters that are nothing here: told once.
fn no_token(text: &str, at: usize, sink: &mut Sink) -> (Kind, usize) {
    let rest = &text[at..];
    let first = rest.chars().next().unwrap_or(' ');
    let len = match first {
        // Up to the other quote or the line's end. Never looked for further: a line of quotes would take forever.
        '\'' => match rest[1..].find(['\'', '\n']) {
            Some(end) if rest[1 + end..].starts_with('\'') => end + 2,
            Some(end) => end + 1,
            None => rest.len(),
        },
        _ => rest.find(|c: char| c != first).unwrap_or(rest.len()),
    };
    let hint = match first {
        '\'' | '`' | '“' | '”' | '„' => "text stands in \"double quotes\"",
        ';' => "keys of one block stand on lines of their own, or side by side with blanks between",
        _ => "text stands in \"double quotes\", comments begin with #",
    };
    let name = if first.is_control() || first == '\u{feff}' { format!("U+{:04X}", first as u32) } else { format!("`{first}`") };
    sink.push(
        Draft::new("bad-character", at..at + len, format!("{name} cannot stand here")).label("this is no part of the language").hint(hint),
    );
    (Kind::Broken, at + len.max(1))
}

fn block_comment(text: &str, at: usize, sink: &mut Sink) -> (Kind, usize) {
    match text[at + 2..].find("*/") {
        Some(len) => (Kind::Comment, at + 2 + len + 2),
        None => {
            sink.push(
                Draft::new("unclosed", at..at + 2, "this comment has no end")
                    .label("it begins here")
                    .hint("close it with */, or begin each line with #"),
            );
            (Kind::Broken, text.len())
        }
    }
}

/// Bytes up to the end of the line.
fn line(rest: &str) -> usize {
    let len = rest.find('\n').unwrap_or(rest.len());
    rest[..len].trim_end_matches('\r').len()
}

fn number(rest: &str) -> usize {
    rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_').unwrap_or(rest.len())
}
