//! One value's text: lines as they were written, blanks made even.

use crate::syntax::token::{Kind, Token};

/// The value's lines; the first goes behind `=`, the others are indented already, `indent` being that of the key.
pub(crate) fn lines(text: &str, tokens: &[Token], indent: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut depth = 0usize;
    let mut before: Option<&Token> = None;
    let mut breaks = 0;
    for token in tokens {
        if token.kind == Kind::Newline {
            breaks += 1;
            continue;
        }
        let opened = before.is_some_and(|t| matches!(t.kind, Kind::Punct(b'[' | b'{' | b'(')));
        let closes = matches!(token.kind, Kind::Punct(b']' | b'}' | b')'));
        if closes {
            depth = depth.saturating_sub(1);
        }
        if breaks > 0 {
            // One blank line is kept, but none at a bracket.
            if breaks > 1 && !opened && !closes {
                lines.push(String::new());
            }
            lines.push("  ".repeat(indent + depth));
        } else if before.is_some_and(|before| blank_between(before, token)) {
            lines.last_mut().expect("there is always a line").push(' ');
        }
        // A heredoc's lines are its value: not a blank of them may change. A long comment's are left alike.
        let mut parts = text[token.span.clone()].split('\n').map(str::to_string);
        let first = parts.next().unwrap_or_default();
        lines.last_mut().expect("there is always a line").push_str(first.trim_end());
        lines.extend(parts);
        if matches!(token.kind, Kind::Punct(b'[' | b'{' | b'(')) {
            depth += 1;
        }
        before = Some(token);
        breaks = 0;
    }
    lines
}

fn blank_between(before: &Token, this: &Token) -> bool {
    match (before.kind, this.kind) {
        (Kind::Comment, _) | (_, Kind::Comment) => true,
        (Kind::Punct(b'{'), Kind::Punct(b'}')) | (_, Kind::Punct(b',' | b':' | b'.')) | (Kind::Punct(b'.' | b'-'), _) => false,
        (Kind::Punct(b'['), _) | (_, Kind::Punct(b']')) => false,
        _ => true,
    }
}
