//! Tokens to blocks and keys, with recovery: an error costs its own line, not the rest of the file.
//!
//! ```text
//! body  = ( key "=" value | word label* "{" body "}" | comment )*
//! value = tokens up to the line's end, a "}" or the next `key =` / `word {`, outside of brackets
//! ```

use super::token::{Kind, Token};
use crate::sink::{Draft, Sink};
use std::ops::Range;

#[derive(Debug, Default)]
pub(crate) struct Body {
    pub items: Vec<Item>,
    /// Something in here was not understood and told; a key that is missing may be that.
    pub damaged: bool,
    /// A brace is missing somewhere, so that nobody knows what belongs to which block.
    pub unclosed: bool,
}

impl Body {
    pub fn has_key(&self, text: &str, name: &str) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Key(key) if text[key.name.clone()] == *name))
    }
}

#[derive(Debug)]
pub(crate) enum Item {
    Key(KeyItem),
    Block(Block),
    Comment(Range<usize>),
}

#[derive(Debug)]
pub(crate) struct KeyItem {
    pub name: Range<usize>,
    /// Indices of tokens; empty if the value is missing, which was reported.
    pub value: Range<usize>,
    pub end: usize,
}

#[derive(Debug)]
pub(crate) struct Block {
    pub word: Range<usize>,
    /// Quotes are not part of the range.
    pub labels: Vec<Range<usize>>,
    pub open: usize,
    pub close: usize,
    pub body: Body,
}

impl Block {
    /// The word and its labels: what is underlined when something is missing in the block.
    pub fn head(&self, text: &str) -> Range<usize> {
        let end = self.word.start + text[self.word.start..self.open].trim_end().len();
        self.word.start..end.max(self.word.end)
    }
}

pub(crate) fn parse(text: &str, tokens: &[Token], sink: &mut Sink) -> Body {
    let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
    let mut parser = Parser { text, tokens, at: 0, sink, line_starts, unclosed: Vec::new(), suspect: None };
    let mut body = parser.body(None);
    body.unclosed = parser.told_unclosed();
    body
}

struct Parser<'t, 's, 'x> {
    text: &'t str,
    tokens: &'t [Token],
    at: usize,
    sink: &'s mut Sink<'x>,
    line_starts: Vec<usize>,
    /// Opening braces without a closing one, innermost first.
    unclosed: Vec<usize>,
    /// The first item that stands no deeper than the block around it, and that block's brace: there a `}` may be missing.
    suspect: Option<(usize, usize)>,
}

impl Parser<'_, '_, '_> {
    /// `open` is the brace that began it. Recursion is bounded: the lexer counted the brackets.
    fn body(&mut self, open: Option<usize>) -> Body {
        let mut body = Body::default();
        while let Some(token) = self.tokens.get(self.at) {
            match token.kind {
                Kind::Newline => self.at += 1,
                Kind::Comment => {
                    body.items.push(Item::Comment(token.span.clone()));
                    self.at += 1;
                }
                Kind::Punct(b'}') if open.is_some() => return body,
                Kind::Punct(b'}') => {
                    self.sink.push(Draft::new("syntax", token.span.clone(), "this `}` closes nothing").label("no block is open here"));
                    body.damaged = true;
                    self.at += 1;
                }
                Kind::Ident | Kind::Text { .. } => {
                    self.suspicion(token.span.start, open);
                    self.item(&mut body);
                }
                Kind::Broken => {
                    body.damaged = true;
                    self.skip_line();
                }
                _ => {
                    let shown = self.shown(self.at);
                    self.sink.push(
                        Draft::new("syntax", token.span.clone(), format!("{shown} begins nothing"))
                            .label("expected a key or a block, such as `count = 2`"),
                    );
                    body.damaged = true;
                    self.skip_line();
                }
            }
        }
        if let Some(open) = open {
            self.unclosed.push(open);
            body.damaged = true;
        }
        body
    }

    /// One missing brace leaves every block around it open; the indentation tells which was meant.
    fn told_unclosed(&mut self) -> bool {
        let Some(innermost) = self.unclosed.first().copied() else { return false };
        let suspect = self.suspect.filter(|(_, open)| self.unclosed.contains(open));
        let open = suspect.map_or(innermost, |(_, open)| open);
        let draft = Draft::new("unclosed", open..open + 1, "this block is never closed").label("no `}` closes it");
        self.sink.push(match suspect {
            Some((item, _)) => {
                let end = item + self.text[item..].find(|c: char| c.is_whitespace()).unwrap_or(self.text.len() - item);
                draft.related(item..end, "by its indentation this stands outside of it").hint("put a `}` before that")
            }
            None => draft.hint("put a `}` at its end"),
        });
        true
    }

    /// Blanks at the beginning of the line `at` is in.
    fn indentation(&self, at: usize) -> usize {
        let line = self.line_start(at);
        self.text[line..at].find(|c: char| c != ' ' && c != '\t').unwrap_or(at - line)
    }

    fn line_start(&self, at: usize) -> usize {
        self.line_starts[self.line_starts.partition_point(|start| *start <= at) - 1]
    }

    fn suspicion(&mut self, item: usize, open: Option<usize>) {
        let (None, Some(open)) = (self.suspect, open) else { return };
        let own = self.indentation(item);
        // Only what begins its line says something by its indentation.
        if own == item - self.line_start(item) && own <= self.indentation(open) && self.line_start(item) != self.line_start(open) {
            self.suspect = Some((item, open));
        }
    }

    /// A key or a block. Comments between its parts are kept, before it.
    fn item(&mut self, body: &mut Body) {
        let word = self.tokens[self.at].clone();
        let mut labels = Vec::new();
        let mut i = self.at + 1;
        let mut comments = Vec::new();
        while let Some(token) = self.tokens.get(i) {
            match token.kind {
                Kind::Comment => comments.push(Item::Comment(token.span.clone())),
                Kind::Text { .. } => labels.push(token.span.start + 1..token.span.end - 1),
                Kind::Ident => labels.push(token.span.clone()),
                _ => break,
            }
            i += 1;
        }
        body.items.append(&mut comments);
        let next = self.tokens.get(i).map(|t| t.kind);
        self.at = i;
        match next {
            Some(Kind::Punct(b'{')) => self.block(body, &word, labels),
            Some(Kind::Punct(b'=' | b':')) if labels.is_empty() => self.key(body, &word),
            Some(Kind::Broken) => {
                body.damaged = true;
                self.skip_line();
            }
            _ => {
                let name = &self.text[word.span.clone()];
                let (label, hint) = if labels.is_empty() {
                    ("expected `=` and a value, or `{`", format!("write `{name} = ...` for a key or `{name} {{ ... }}` for a block"))
                } else {
                    ("expected `{` behind this", format!("a key is written `{name} = ...`, text stands in \"double quotes\""))
                };
                let end = labels.last().map_or(word.span.end, |l| l.end);
                self.sink.push(
                    Draft::new("syntax", word.span.start..end, format!("`{name}` is neither a key nor a block")).label(label).hint(hint),
                );
                body.damaged = true;
                self.skip_line();
            }
        }
    }

    fn block(&mut self, body: &mut Body, word: &Token, labels: Vec<Range<usize>>) {
        if word.kind != Kind::Ident {
            self.sink
                .push(Draft::new("syntax", word.span.clone(), "a block begins with a word without quotes").label("leave the quotes out"));
        }
        let open = self.tokens[self.at].span.start;
        self.at += 1;
        let inner = self.body(Some(open));
        let close = self.tokens.get(self.at).map_or(self.text.len(), |t| t.span.start);
        self.at += 1;
        let word = unquoted(word);
        body.items.push(Item::Block(Block { word, labels, open, close, body: inner }));
    }

    fn key(&mut self, body: &mut Body, word: &Token) {
        let sign = self.tokens[self.at].span.clone();
        if word.kind != Kind::Ident {
            self.sink.push(Draft::new("syntax", word.span.clone(), "a key stands without quotes").label("leave the quotes out"));
        }
        if self.tokens[self.at].is(b':') {
            self.sink.push(Draft::new("syntax", sign.clone(), "a key is set with `=`").label("expected `=`"));
        }
        self.at += 1;
        while self.tokens.get(self.at).is_some_and(|t| t.kind == Kind::Comment && !self.text[t.span.clone()].starts_with(['#'])) {
            let span = self.tokens[self.at].span.clone();
            if self.text[span.clone()].starts_with("//") {
                break;
            }
            body.items.push(Item::Comment(span));
            self.at += 1;
        }
        let begin = self.at;
        let (value, told) = self.value();
        if value.is_empty() {
            body.damaged = true;
            if !told && self.tokens.get(begin).is_none_or(|t| t.kind != Kind::Broken) {
                let name = &self.text[word.span.clone()];
                self.sink.push(
                    Draft::new("syntax", word.span.start..sign.end, format!("`{name}` has no value")).label("expected a value behind `=`"),
                );
            }
        } else if value.clone().any(|i| self.tokens[i].kind == Kind::Broken) {
            body.damaged = true;
        }
        let end = value.clone().last().map_or(sign.end, |i| self.tokens[i].span.end);
        body.items.push(Item::Key(KeyItem { name: unquoted(word), value, end }));
        self.separator(body);
    }

    /// The tokens of a value; the cursor stands behind them. Nothing and true: it was wrong, and told.
    fn value(&mut self) -> (Range<usize>, bool) {
        let begin = self.at;
        let mut open: Vec<usize> = Vec::new();
        while let Some(token) = self.tokens.get(self.at) {
            let innermost = open.last().map(|i| self.tokens[*i].kind);
            match token.kind {
                Kind::Newline | Kind::Comment | Kind::Punct(b'}' | b',') if open.is_empty() => break,
                Kind::Ident if self.ends_here(begin, innermost) => break,
                Kind::Punct(b'[' | b'(' | b'{') => open.push(self.at),
                Kind::Punct(b'}') if innermost != Some(Kind::Punct(b'{')) => break,
                Kind::Punct(b'}' | b']' | b')') => drop(open.pop()),
                _ => {}
            }
            self.at += 1;
        }
        if let Some(first) = open.first() {
            let span = self.tokens[*first].span.clone();
            let bracket = &self.text[span.clone()];
            self.sink.push(Draft::new("unclosed", span.clone(), format!("this `{bracket}` is never closed")).label("it begins here"));
            return (begin..begin, true);
        }
        let end = (begin..self.at).rev().find(|i| !matches!(self.tokens[*i].kind, Kind::Newline | Kind::Comment)).map_or(begin, |i| i + 1);
        (begin..end, false)
    }

    /// Whether a `key =` or a block begins at the cursor, so that the value before it is over.
    fn ends_here(&self, begin: usize, innermost: Option<Kind>) -> bool {
        let before = self.at.checked_sub(1).filter(|i| *i >= begin).map(|i| self.tokens[i].kind);
        let ends_value = matches!(
            before,
            Some(Kind::Ident | Kind::Text { .. } | Kind::Heredoc { .. } | Kind::Number | Kind::Broken | Kind::Punct(b']' | b'}' | b')'))
        );
        let fresh_line = matches!(before, Some(Kind::Newline | Kind::Comment));
        match innermost {
            None if !ends_value => return false,
            // Within a list no key can stand; one at a line's beginning tells that the list was never closed.
            Some(Kind::Punct(b'[' | b'(')) if !fresh_line => return false,
            Some(Kind::Punct(b'{')) => return false,
            _ => {}
        }
        let mut i = self.at + 1;
        if self.tokens.get(i).is_some_and(|t| t.is(b'=')) {
            return self.tokens.get(i + 1).is_none_or(|t| !t.is(b'=') || t.span.start != self.tokens[i].span.end);
        }
        while self.tokens.get(i).is_some_and(|t| matches!(t.kind, Kind::Text { .. })) {
            i += 1;
        }
        self.tokens.get(i).is_some_and(|t| t.is(b'{'))
    }

    /// What may stand behind a value: nothing, a comment, the next item. A comma is a frequent mistake.
    fn separator(&mut self, body: &mut Body) {
        let Some(token) = self.tokens.get(self.at) else { return };
        if token.is(b',') {
            self.sink.push(Draft::new("syntax", token.span.clone(), "no comma stands between keys").label("leave it out"));
            body.damaged = true;
            self.at += 1;
        }
    }

    /// To the end of the line, over whole brackets; stops before a `}` that closes the block around.
    fn skip_line(&mut self) {
        let mut depth = 0usize;
        while let Some(token) = self.tokens.get(self.at) {
            match token.kind {
                Kind::Newline if depth == 0 => return,
                Kind::Punct(b'{' | b'[' | b'(') => depth += 1,
                Kind::Punct(b'}') if depth == 0 => return,
                Kind::Punct(b'}' | b']' | b')') => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
        }
    }

    fn shown(&self, i: usize) -> String {
        match self.tokens.get(i) {
            Some(token) => format!("`{}`", self.text[token.span.clone()].lines().next().unwrap_or("")),
            None => "the end of the file".to_string(),
        }
    }
}

/// A word's range without the quotes that should not be there.
fn unquoted(word: &Token) -> Range<usize> {
    if word.kind == Kind::Ident { word.span.clone() } else { word.span.start + 1..word.span.end - 1 }
}
