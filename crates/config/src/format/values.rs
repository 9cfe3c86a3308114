//! One value's text: lines as they were written, blanks made even.

use crate::syntax::lex::{Kind, Token};
use std::ops::Range;

/// The value's lines; the first goes behind `=`, the others are indented already, `indent` being that of the key.
pub(crate) fn lines(text: &str, tokens: &[Token], indent: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut depth = 0usize;
    let mut before: Option<&Token> = None;
    let mut raw: Vec<Range<usize>> = Vec::new();
    let mut i = 0;
    while let Some(token) = tokens.get(i) {
        i += 1;
        let found = &text[token.span.clone()];
        if token.kind == Kind::Newline {
            // One blank line is kept, but none at a bracket.
            let opened = before.is_some_and(|t| matches!(t.kind, Kind::Punct(b'[' | b'{' | b'(')));
            let closes =
                tokens[i..].iter().find(|t| t.kind != Kind::Newline).is_some_and(|t| matches!(t.kind, Kind::Punct(b']' | b'}' | b')')));
            let blank = lines.last().is_some_and(String::is_empty);
            if !(blank && (opened || closes || lines.len() > 1 && lines[lines.len() - 2].is_empty())) {
                lines.push(String::new());
            }
            continue;
        }
        if matches!(token.kind, Kind::Punct(b']' | b'}' | b')')) {
            depth = depth.saturating_sub(1);
        }
        let first = lines.len() == 1;
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() && !first {
            line.push_str(&"  ".repeat(indent + depth));
        } else if before.is_some_and(|before| blank_between(before, token)) {
            line.push(' ');
        }
        // A heredoc's lines are its value: not a blank of them may change. A long comment's are left alike.
        let mut parts = found.split('\n');
        line.push_str(parts.next().unwrap_or_default().trim_end());
        let begin = lines.len();
        lines.extend(parts.map(str::to_string));
        // The last line may go on behind the closing word.
        if lines.len() > begin + 1 {
            raw.push(begin..lines.len() - 1);
        }
        if matches!(token.kind, Kind::Punct(b'[' | b'{' | b'(')) {
            depth += 1;
        }
        before = Some(token);
    }
    let keep = |i: usize| raw.iter().any(|range| range.contains(&i));
    lines.into_iter().enumerate().map(|(i, line)| if keep(i) { line } else { line.trim_end().to_string() }).collect()
}

fn blank_between(before: &Token, this: &Token) -> bool {
    match (before.kind, this.kind) {
        (Kind::Comment, _) | (_, Kind::Comment) => true,
        (Kind::Punct(b'{'), Kind::Punct(b'}')) | (_, Kind::Punct(b',' | b':' | b'.')) | (Kind::Punct(b'.' | b'-'), _) => false,
        (Kind::Punct(b'['), _) | (_, Kind::Punct(b']')) => false,
        _ => true,
    }
}
