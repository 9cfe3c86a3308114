//! Blocks, keys and comments to lines.

use super::values;
use crate::syntax::token::{Kind, Token};
use crate::syntax::tree::{Block, Body, Item, KeyItem};

/// A block longer than this, indentation included, does not stay on one line.
const LINE_CHARS_MAX: usize = 120;

pub(crate) struct Layout<'a> {
    text: &'a str,
    tokens: &'a [Token],
}

/// One item, ready but for its alignment.
struct Piece {
    /// A blank line was written before it.
    apart: bool,
    /// `name` of what can be aligned: `name = ...`, `name { ... }`.
    name: Option<String>,
    /// The rest, from `=` or `{` on; or the whole.
    lines: Vec<String>,
    comment: bool,
    block: bool,
    /// A comment behind it, on its last line.
    behind: Option<String>,
}

impl<'a> Layout<'a> {
    pub fn new(text: &'a str, tokens: &'a [Token]) -> Self {
        Self { text, tokens }
    }

    pub fn file(&self, body: &Body) -> String {
        let (_, mut pieces) = self.pieces(body, 0, 0, false);
        for i in 1..pieces.len() {
            let (before, this) = (&pieces[i - 1], &pieces[i]);
            let large = |piece: &Piece| piece.block && piece.lines.len() > 1;
            let set_apart = large(before) || (large(this) && !before.comment);
            pieces[i].apart |= set_apart;
        }
        let mut out = lay(&pieces, 0).join("\n");
        if !out.is_empty() {
            out.push('\n');
        }
        out
    }

    /// The content of a body; a comment behind the opening brace comes apart, first.
    fn pieces(&self, body: &Body, begin: usize, indent: usize, in_block: bool) -> (Option<String>, Vec<Piece>) {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut end = begin;
        let mut at_brace = None;
        for (i, item) in body.items.iter().enumerate() {
            let (start, stop) = match item {
                Item::Comment(span) => (span.start, span.end),
                Item::Key(key) => (key.name.start, key.end),
                Item::Block(block) => (block.word.start, (block.close + 1).min(self.text.len())),
            };
            // A comment from between the parts of an item stands before it in the list and behind its begin in the text.
            let breaks = self.text.get(end..start).map_or(0, |between| between.bytes().filter(|b| *b == b'\n').count());
            let next_start = match body.items.get(i + 1) {
                Some(Item::Key(key)) => Some(key.name.start),
                Some(Item::Block(block)) => Some(block.word.start),
                _ => None,
            };
            if let Item::Comment(span) = item {
                let words = comment(&self.text[span.clone()]);
                let moved = next_start.is_some_and(|next| next < start);
                let line_ends = self.text[stop..].trim_start_matches([' ', '\t', '\r']).starts_with('\n') || stop == self.text.len();
                let follows = breaks == 0 && !moved && line_ends && words.len() == 1;
                match pieces.last_mut() {
                    None if follows && in_block => at_brace = words.into_iter().next(),
                    Some(last) if follows && !last.comment && last.behind.is_none() => last.behind = words.into_iter().next(),
                    _ => pieces.push(Piece { apart: breaks > 1, name: None, lines: words, comment: true, block: false, behind: None }),
                }
            } else {
                let mut piece = match item {
                    Item::Key(key) => self.key(key, indent),
                    Item::Block(block) => self.block(block, indent),
                    Item::Comment(_) => unreachable!("handled above"),
                };
                piece.apart = breaks > 1;
                pieces.push(piece);
            }
            end = end.max(stop);
        }
        if let Some(first) = pieces.first_mut() {
            first.apart = false;
        }
        (at_brace, pieces)
    }

    fn key(&self, key: &KeyItem, indent: usize) -> Piece {
        let mut lines = values::lines(self.text, &self.tokens[key.value.clone()], indent);
        lines[0].insert_str(0, "= ");
        let name = Some(self.text[key.name.clone()].to_string());
        Piece { apart: false, name, lines, comment: false, block: false, behind: None }
    }

    fn block(&self, block: &Block, indent: usize) -> Piece {
        let mut head = self.text[block.word.clone()].to_string();
        let name = block.labels.is_empty().then(|| head.clone());
        for label in &block.labels {
            let quoted = self.text[..label.start].ends_with('"');
            let label = &self.text[label.clone()];
            head.push_str(&if quoted { format!(" \"{label}\"") } else { format!(" {label}") });
        }
        if let Some(line) = self.one_line(block, head.chars().count() + 2 * indent) {
            let lines = if name.is_some() { vec![line] } else { vec![format!("{head} {line}")] };
            return Piece { apart: false, name, lines, comment: false, block: true, behind: None };
        }
        let (at_brace, pieces) = self.pieces(&block.body, block.open + 1, indent + 1, true);
        let behind = at_brace.map_or(String::new(), |comment| format!("  {comment}"));
        let mut lines = vec![format!("{head} {{{behind}")];
        lines.extend(lay(&pieces, indent + 1));
        lines.push(format!("{}}}", "  ".repeat(indent)));
        Piece { apart: false, name: None, lines, comment: false, block: true, behind: None }
    }

    /// `{ a = 1  b = 2 }`, if it was written so and may stay.
    fn one_line(&self, block: &Block, before: usize) -> Option<String> {
        if self.text[block.open..block.close].contains('\n') {
            return None;
        }
        let mut parts = Vec::new();
        for item in &block.body.items {
            let Item::Key(key) = item else { return None };
            let value = values::lines(self.text, &self.tokens[key.value.clone()], 0);
            let has_comment = self.tokens[key.value.clone()].iter().any(|t| t.kind == Kind::Comment);
            if value.len() > 1 || has_comment {
                return None;
            }
            parts.push(format!("{} = {}", &self.text[key.name.clone()], value[0]));
        }
        let line = if parts.is_empty() { "{}".to_string() } else { format!("{{ {} }}", parts.join("  ")) };
        (before + 1 + line.chars().count() <= LINE_CHARS_MAX).then_some(line)
    }
}

/// A comment's lines, without blanks at their ends. Lines within `/* */` keep their own indentation.
fn comment(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim_end().to_string()).collect()
}

/// Aligns neighbours and puts comments behind.
fn lay(pieces: &[Piece], indent: usize) -> Vec<String> {
    let margin = "  ".repeat(indent);
    let mut out: Vec<String> = Vec::new();
    // Lines that a comment goes behind, for aligning comments of neighbouring lines.
    let mut behind: Vec<Option<&str>> = Vec::new();
    let mut i = 0;
    while i < pieces.len() {
        // A run: named items of one line, and comments between, without a blank line.
        let run = run_end(pieces, i);
        let width = pieces[i..run].iter().filter(|p| p.lines.len() == 1).filter_map(|p| p.name.as_deref()).map(width).max().unwrap_or(0);
        for piece in &pieces[i..run] {
            if piece.apart {
                out.push(String::new());
                behind.push(None);
            }
            for (n, line) in piece.lines.iter().enumerate() {
                out.push(match (&piece.name, n) {
                    (Some(name), 0) => {
                        let pad = if piece.lines.len() == 1 { width.saturating_sub(self::width(name)) } else { 0 };
                        format!("{margin}{name}{} {line}", " ".repeat(pad))
                    }
                    (None, 0) => format!("{margin}{line}"),
                    _ => line.clone(),
                });
                behind.push((n + 1 == piece.lines.len()).then_some(piece.behind.as_deref()).flatten());
            }
        }
        i = run;
    }
    put_behind(&mut out, &behind);
    out
}

fn run_end(pieces: &[Piece], begin: usize) -> usize {
    let joins = |piece: &Piece| (piece.name.is_some() && piece.lines.len() == 1) || piece.comment;
    if !joins(&pieces[begin]) {
        return begin + 1;
    }
    begin + 1 + pieces[begin + 1..].iter().take_while(|p| joins(p) && !p.apart).count()
}

/// Comments behind neighbouring lines begin in one column.
fn put_behind(out: &mut [String], behind: &[Option<&str>]) {
    let mut i = 0;
    while i < out.len() {
        let end = i + behind[i..].iter().take_while(|b| b.is_some()).count();
        let column = out[i..end].iter().map(|line| width(line)).max().unwrap_or(0) + 2;
        for (line, comment) in out[i..end].iter_mut().zip(&behind[i..end]) {
            let pad = " ".repeat(column - width(line));
            line.push_str(&pad);
            line.push_str(comment.unwrap_or_default());
        }
        i = end.max(i + 1);
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}
