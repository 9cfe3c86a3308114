//! Collects errors while the file is read, so that one does not hide the next.

use crate::Diagnostic;
use crate::diagnostic::Related;
use crate::places::Places;
use std::ops::Range;

pub(crate) const ERRORS_MAX: usize = 100;

/// An error before its line and column are known.
#[derive(Debug)]
pub(crate) struct Draft {
    pub code: &'static str,
    pub span: Range<usize>,
    pub message: String,
    pub label: String,
    pub hint: Option<String>,
    pub related: Vec<(Range<usize>, String)>,
}

impl Draft {
    pub fn new(code: &'static str, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { code, span, message: message.into(), label: String::new(), hint: None, related: Vec::new() }
    }

    /// The label under the underlined text: what was expected.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    pub fn related(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }
}

pub(crate) struct Sink<'a> {
    text: &'a str,
    name: &'a str,
    drafts: Vec<Draft>,
    dropped: usize,
}

impl<'a> Sink<'a> {
    pub fn new(text: &'a str, name: &'a str) -> Self {
        Self { text, name, drafts: Vec::new(), dropped: 0 }
    }

    pub fn push(&mut self, draft: Draft) {
        if self.drafts.len() < ERRORS_MAX {
            self.drafts.push(draft);
        } else {
            self.dropped += 1;
        }
    }

    /// True if nothing more will be kept: the error is counted, and its caller need not put it into words.
    pub fn counts_only(&mut self) -> bool {
        let full = self.drafts.len() >= ERRORS_MAX;
        self.dropped += usize::from(full);
        full
    }

    pub fn is_empty(&self) -> bool {
        self.drafts.is_empty()
    }

    /// The drafts alone, for a reader that gives them other places.
    pub fn into_drafts(self) -> Vec<Draft> {
        self.drafts
    }

    /// The value if nothing was wrong; else every error with its place, in order.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T, Vec<Diagnostic>> {
        match value {
            Some(value) if self.drafts.is_empty() => return Ok(value),
            None if self.drafts.is_empty() => {
                self.drafts
                    .push(Draft::new("unread", 0..0, "the file was not understood, and nobody said why").hint("this is a bug of ours"));
            }
            _ => {}
        }
        let places = Places::new(self.text);
        self.drafts.sort_by_key(|draft| (draft.span.start, draft.span.end));
        let mut all: Vec<Diagnostic> = self.drafts.iter().map(|draft| placed(draft, &places, self.text, self.name)).collect();
        if self.dropped > 0
            && let Some(last) = all.last_mut()
        {
            let more = format!("{} more errors are not shown", self.dropped);
            last.hint = Some(last.hint.take().map_or(more.clone(), |hint| format!("{hint}; {more}")));
        }
        Err(all)
    }
}

fn placed(draft: &Draft, places: &Places, text: &str, name: &str) -> Diagnostic {
    let fit = |span: &Range<usize>| {
        let start = crate::places::floor(text, span.start);
        let mut end = span.end.clamp(start, text.len());
        while !text.is_char_boundary(end) {
            end += 1;
        }
        start..end
    };
    let span = fit(&draft.span);
    let (line, column) = places.of(span.start);
    let related = draft
        .related
        .iter()
        .map(|(span, label)| {
            let span = fit(span);
            let (line, column) = places.of(span.start);
            Related { line, column, span, label: label.clone() }
        })
        .collect();
    Diagnostic {
        code: draft.code.to_string(),
        file: name.to_string(),
        line,
        column,
        span,
        message: draft.message.clone(),
        label: draft.label.clone(),
        hint: draft.hint.clone(),
        related,
    }
}
