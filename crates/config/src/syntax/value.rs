//! One value: hcl-edit reads it, and what is no literal, list, object or reference (`image.NAME`) is refused with its place.

use super::token::{Kind, Token};
use crate::sink::{Draft, Sink};
use hcl_edit::Span;
use hcl_edit::expr::{Expression, ObjectKey, Traversal, TraversalOperator, UnaryOperator};
use hcl_edit::template::Element;
use std::collections::BTreeMap;
use std::ops::Range;

#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub what: What,
    pub span: Range<usize>,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Text(String),
    Number(f64),
    Bool(bool),
    List(Vec<Value>),
    /// In order; a key's range goes with it.
    Object(Vec<(String, Range<usize>, Value)>),
    /// `image.base`
    Reference(String, String),
}

impl What {
    pub fn name(&self) -> &'static str {
        match self {
            What::Text(_) => "a text",
            What::Number(_) => "a number",
            What::Bool(_) => "true or false",
            What::List(_) => "a list",
            What::Object(_) => "an object",
            What::Reference(..) => "a reference",
        }
    }
}

/// None: something was wrong and has been told.
pub(crate) fn read(text: &str, tokens: &[Token], sink: &mut Sink) -> Option<Value> {
    let span = tokens.first()?.span.start..tokens.last()?.span.end;
    if tokens.iter().any(|t| t.kind == Kind::Broken) || !literal_only(text, tokens, sink) || doubled(text, tokens, sink) {
        return None;
    }
    match hcl_edit::parser::parse_expr(&text[span.clone()]) {
        Ok(expression) => convert(&expression, span.start, &span, sink),
        Err(error) => {
            let at = span.start + error.location().offset();
            let token = tokens.iter().find(|t| t.span.end > at && t.kind != Kind::Newline).or(tokens.last())?;
            let mut draft =
                Draft::new("syntax", token.span.start.max(at.min(token.span.end - 1))..token.span.end, "this value cannot be read");
            draft = draft.label(error.message().replace("unexpected token", "nothing of this kind can stand here"));
            if !matches!(tokens[0].kind, Kind::Text { .. } | Kind::Punct(b'[' | b'{')) {
                draft = draft.hint("text stands in \"double quotes\"");
            }
            sink.push(draft);
            None
        }
    }
}

/// Refuses operators, calls, interpolations and bare units, before hcl-edit could go deep into them.
fn literal_only(text: &str, tokens: &[Token], sink: &mut Sink) -> bool {
    for (i, token) in tokens.iter().enumerate() {
        let next = tokens.get(i + 1);
        let found = &text[token.span.clone()];
        let after_equals = i > 0 && tokens[i - 1].is(b'=') && tokens[i - 1].span.end == token.span.start;
        let expression = match token.kind {
            Kind::Text { template } | Kind::Heredoc { template } => template,
            Kind::Punct(b'-') => next.is_none_or(|n| n.kind != Kind::Number),
            Kind::Punct(b'=') => after_equals,
            Kind::Punct(b'[') => i > 0 && matches!(tokens[i - 1].kind, Kind::Ident) && tokens[i - 1].span.end == token.span.start,
            Kind::Punct(punct) => matches!(punct, b'(' | b')' | b'?' | b'!' | b'+' | b'*' | b'/' | b'%' | b'<' | b'>' | b'&' | b'|'),
            Kind::Ident => found == "for" && i > 0 && matches!(tokens[i - 1].kind, Kind::Punct(b'[' | b'{')),
            _ => false,
        };
        if expression {
            sink.push(
                Draft::new("expression", token.span.clone(), "nothing is computed in a service file")
                    .label("only texts, numbers, true, false, lists, objects, image.NAME and secret.NAME can stand here")
                    .maybe_hint(found.contains("${").then(|| instead_of_template(found))),
            );
            return false;
        }
        if token.kind == Kind::Number && !number_like(found) {
            let end = tokens[i..].iter().take_while(|t| !matches!(t.kind, Kind::Newline | Kind::Punct(b',' | b']' | b'}'))).last();
            let span = token.span.start..end.map_or(token.span.end, |t| t.span.end);
            let hint = format!("write \"{}\"", &text[span.clone()]);
            sink.push(Draft::new("no-quotes", span, "this is no number").label("what has a unit stands in quotes").hint(hint));
            return false;
        }
    }
    true
}

/// What to write instead of a text that holds `${`.
fn instead_of_template(found: &str) -> String {
    let reference = found.trim_matches('"').strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).map(str::trim);
    match reference.filter(|name| name.starts_with("secret.") || name.starts_with("image.")) {
        Some(name) => format!("write {name}, without quotes"),
        None if found.contains("${secret.") => {
            "a secret stands alone, without quotes: NAME = secret.x; the program puts the text together".to_string()
        }
        None => "for a `${` in a text write `$${`".to_string(),
    }
}

fn number_like(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && text.bytes().filter(|b| *b == b'.').count() <= 1 && !text.ends_with('.')
}

/// A key twice in one object: hcl-edit would silently keep the last.
fn doubled(text: &str, tokens: &[Token], sink: &mut Sink) -> bool {
    let mut seen: Vec<BTreeMap<&str, Range<usize>>> = Vec::new();
    let mut any = false;
    for (i, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Punct(b'{' | b'[') => seen.push(BTreeMap::new()),
            Kind::Punct(b'}' | b']') => drop(seen.pop()),
            Kind::Ident | Kind::Text { .. } if tokens.get(i + 1).is_some_and(|t| t.is(b'=') || t.is(b':')) => {
                let name = text[token.span.clone()].trim_matches('"');
                let Some(innermost) = seen.last_mut() else { continue };
                if let Some(first) = innermost.get(name) {
                    sink.push(
                        Draft::new("duplicate-key", token.span.clone(), format!("`{name}` stands here twice"))
                            .label("the second time")
                            .related(first.clone(), "the first time"),
                    );
                    any = true;
                } else {
                    innermost.insert(name, token.span.clone());
                }
            }
            _ => {}
        }
    }
    any
}

/// `base` is what hcl-edit's offsets count from; `around` is used where it gives none.
fn convert(expression: &Expression, base: usize, around: &Range<usize>, sink: &mut Sink) -> Option<Value> {
    let span = expression.span().map_or(around.clone(), |s| base + s.start..base + s.end);
    let what = match expression {
        Expression::String(text) => What::Text(text.to_string()),
        Expression::Number(number) => What::Number(number.as_f64().unwrap_or(f64::NAN)),
        Expression::Bool(value) => What::Bool(*value.value()),
        Expression::HeredocTemplate(heredoc) => {
            What::Text(heredoc.template.iter().filter_map(Element::as_literal).map(|s| s.as_str()).collect())
        }
        Expression::UnaryOp(op) if *op.operator.value() == UnaryOperator::Neg => match &op.expr {
            Expression::Number(number) => What::Number(-number.as_f64().unwrap_or(f64::NAN)),
            _ => return refuse(span, sink),
        },
        Expression::Array(array) => {
            let all: Vec<Option<Value>> = array.iter().map(|item| convert(item, base, &span, sink)).collect();
            What::List(all.into_iter().collect::<Option<_>>()?)
        }
        Expression::Object(object) => {
            let mut all = Vec::new();
            for (key, value) in object.iter() {
                let (name, at) = match key {
                    ObjectKey::Ident(ident) => (ident.to_string(), ident.span()),
                    ObjectKey::Expression(Expression::String(text)) => (text.to_string(), text.span()),
                    ObjectKey::Expression(_) => return refuse(span, sink),
                };
                let at = at.map_or(span.clone(), |s| base + s.start..base + s.end);
                all.push((name, at, convert(value.expr(), base, &span, sink)?));
            }
            What::Object(all)
        }
        Expression::Traversal(traversal) => match reference(traversal) {
            Some((root, name)) => What::Reference(root, name),
            None => return refuse(span, sink),
        },
        Expression::Variable(ident) => {
            let hint = format!("write \"{}\" if it is text", ident.as_str());
            sink.push(Draft::new("no-quotes", span, format!("`{}` is no value", ident.as_str())).label("text stands in quotes").hint(hint));
            return None;
        }
        Expression::Null(_) => {
            sink.push(Draft::new("null", span, "null is no value here").label("leave the key out instead"));
            return None;
        }
        _ => return refuse(span, sink),
    };
    Some(Value { what, span })
}

fn reference(traversal: &Traversal) -> Option<(String, String)> {
    match (&traversal.expr, traversal.operators.as_slice()) {
        (Expression::Variable(root), [operator]) => match operator.value() {
            TraversalOperator::GetAttr(name) => Some((root.to_string(), name.to_string())),
            _ => None,
        },
        _ => None,
    }
}

fn refuse(span: Range<usize>, sink: &mut Sink) -> Option<Value> {
    sink.push(
        Draft::new("expression", span, "nothing is computed in a service file")
            .label("only texts, numbers, true, false, lists, objects, image.NAME and secret.NAME can stand here"),
    );
    None
}
