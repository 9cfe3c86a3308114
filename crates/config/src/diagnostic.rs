//! One error with its place, and how it is shown.

use crate::places::Places;
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;
use std::fmt;
use std::ops::Range;

/// Of a longer line only what is around the place is given to the renderer, so that a file of one huge line is still shown quickly.
const LINE_BYTES_MAX: usize = 8 << 10;
/// So much then, a third of it before the place.
const CUT_BYTES: usize = 300;

/// One error of a file. It always has a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Stable, kebab-case: `unknown-key`.
    pub code: String,
    /// The name the file was given with.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Bytes of the text.
    pub span: Range<usize>,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What was expected at the underlined text; may be empty.
    pub label: String,
    /// What to do.
    pub hint: Option<String>,
    /// Other places that have to do with it, such as the first of two doubles.
    pub related: Vec<Related>,
}

/// Another place that has to do with an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Related {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Bytes of the text.
    pub span: Range<usize>,
    /// What that place is.
    pub label: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        if !self.label.is_empty() {
            write!(f, ": {}", self.label)?;
        }
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// All errors as text, each with its lines, the place underlined, and its hint. `text` is what was parsed.
pub fn render(diagnostics: &[Diagnostic], text: &str, name: &str, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let places = Places::new(text);
    let mut out = String::new();
    for diagnostic in diagnostics {
        out.push_str(&renderer.render(&[group(diagnostic, &places, name)]));
        out.push_str("\n\n");
    }
    let errors = if diagnostics.len() == 1 { "1 error".to_string() } else { format!("{} errors", diagnostics.len()) };
    out.push_str(&format!("{name}: {errors}\n"));
    out
}

/// Each place is shown as its own line, so that nothing depends on how large the file is.
fn group<'a>(diagnostic: &'a Diagnostic, places: &Places<'a>, name: &'a str) -> Group<'a> {
    let title = Level::ERROR.primary_title(clean(&diagnostic.message)).id(diagnostic.code.clone());
    let own = shown(places, diagnostic.line, &diagnostic.span, AnnotationKind::Primary, clean(&diagnostic.label));
    let mut group = Group::with_title(title);
    let mut first = Snippet::source(own.source.clone()).line_start(own.line).annotation(own.annotation());
    let mut apart = Vec::new();
    for related in &diagnostic.related {
        let other = shown(places, related.line, &related.span, AnnotationKind::Context, clean(&related.label));
        let near = related.span.start.abs_diff(diagnostic.span.start) < CUT_BYTES / 2;
        if other.line == own.line && other.source == own.source && near {
            first = first.annotation(other.annotation());
        } else {
            apart.push((Snippet::source(other.source.clone()).line_start(other.line).annotation(other.annotation()), other.cut, related));
        }
    }
    // Where a line is cut, the snippet's own column is not the file's.
    if own.cut {
        group = group.element(Origin::path(name).line(diagnostic.line).char_column(diagnostic.column)).element(first);
    } else {
        group = group.element(first.path(name));
    }
    for (snippet, cut, related) in apart {
        group = if cut {
            group.element(Origin::path(name).line(related.line).char_column(related.column)).element(snippet)
        } else {
            group.element(snippet.path(name))
        };
    }
    if let Some(hint) = &diagnostic.hint {
        group = group.element(Level::HELP.message(clean(hint)));
    }
    group
}

struct Shown {
    line: usize,
    source: String,
    span: Range<usize>,
    kind: AnnotationKind,
    label: String,
    cut: bool,
}

impl Shown {
    fn annotation(&self) -> Annotation<'static> {
        self.kind.span(self.span.clone()).label(self.label.clone())
    }
}

fn shown(places: &Places, line: usize, span: &Range<usize>, kind: AnnotationKind, label: String) -> Shown {
    let line_text = places.line(line);
    let whole = line_text.trim_start_matches('\u{feff}');
    let line_start = places.line_start(line) + line_text.len() - whole.len();
    let begin = span.start.saturating_sub(line_start).min(whole.len());
    let end = span.end.saturating_sub(line_start).clamp(begin, whole.len());
    let long = whole.len() > LINE_BYTES_MAX;
    let from = if long { crate::places::floor(whole, begin.saturating_sub(CUT_BYTES / 3)) } else { 0 };
    let to = if long { crate::places::floor(whole, from + CUT_BYTES).max(begin) } else { whole.len() };
    let source = whole[from..to].to_string();
    // An empty place, such as the end of the file, still gets one mark.
    let span = begin - from..end.min(to) - from;
    Shown { line, source, span, kind, label, cut: from > 0 }
}

/// Messages repeat the user's text: no line breaks, no control characters, not without end.
fn clean(text: &str) -> String {
    const CHARS_MAX: usize = 400;
    let mut out: String = text.chars().take(CHARS_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}
