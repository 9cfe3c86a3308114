//! The one way a service file is written. Works on the text's own tokens, so that comments and values stay as they are;
//! only blanks, line breaks and blank lines change.
//!
//! - two blanks a level; keys and short blocks that follow each other line up; at most one blank line
//! - a block stays on one line if it was written on one, holds only keys, and fits
//! - blocks of the file are set apart by a blank line

mod layout;
mod values;

use crate::Diagnostic;
use crate::places;
use crate::sink::{Draft, Sink};
use crate::syntax::{lex, token, tree, value};

/// A file that cannot be read as HCL is refused with its errors; one that reads but means nothing is formatted all the same.
pub fn format(text: &str) -> Result<String, Vec<Diagnostic>> {
    let mut sink = Sink::new(text, "afresh.hcl");
    if let Some((code, span, message, hint)) = places::unreadable(text) {
        sink.push(Draft::new(code, span, message).hint(hint));
        return sink.finish(None);
    }
    let formatted = lex::lex(text, &mut sink).and_then(|tokens| {
        let body = tree::parse(text, &tokens, &mut sink);
        values_read(text, &tokens, &body, &mut sink);
        sink.is_empty().then(|| layout::Layout::new(text, &tokens).file(&body))
    });
    sink.finish(formatted)
}

/// Values that hcl-edit cannot read are reported; what they mean is no matter here.
fn values_read(text: &str, tokens: &[token::Token], body: &tree::Body, sink: &mut Sink) {
    for item in &body.items {
        match item {
            tree::Item::Key(key) => drop(value::read(text, &tokens[key.value.clone()], sink)),
            tree::Item::Block(block) => values_read(text, tokens, &block.body, sink),
            tree::Item::Comment(_) => {}
        }
    }
}
