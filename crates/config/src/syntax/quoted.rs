//! The extent of a text in double quotes. What its escapes mean is left to hcl-edit.

use super::token::{Kind, NESTING_MAX};
use crate::sink::{Draft, Sink};

#[derive(PartialEq)]
enum In {
    Quotes,
    Braces,
}

/// `at` is the opening quote. A text must end on its line; one that does not is reported and reaches to the line's end.
pub(crate) fn scan(text: &str, at: usize, sink: &mut Sink) -> (Kind, usize) {
    let bytes = text.as_bytes();
    let mut stack = vec![In::Quotes];
    let mut template = false;
    let mut i = at + 1;
    while i < bytes.len() && bytes[i] != b'\n' && stack.len() <= NESTING_MAX {
        let quotes = stack.last() == Some(&In::Quotes);
        match bytes[i] {
            b'\\' if quotes && bytes.get(i + 1).is_some_and(|b| *b != b'\n') => i += 1,
            b'"' if quotes => drop(stack.pop()),
            b'"' => stack.push(In::Quotes),
            b'$' | b'%' if quotes && bytes.get(i + 1) == Some(&bytes[i]) && bytes.get(i + 2) == Some(&b'{') => i += 2,
            b'$' | b'%' if quotes && bytes.get(i + 1) == Some(&b'{') => {
                template = true;
                stack.push(In::Braces);
                i += 1;
            }
            b'{' if !quotes => stack.push(In::Braces),
            b'}' if !quotes => drop(stack.pop()),
            _ => {}
        }
        i += 1;
        if stack.is_empty() {
            return (Kind::Text { template }, i);
        }
    }
    let line_end = text[at..].find('\n').map_or(text.len(), |len| at + len);
    let end = at + text[at..line_end].trim_end().len();
    sink.push(
        Draft::new("unclosed", at..end, "this text has no end")
            .label("it begins here and must end on this line with \"")
            .hint("write \\n for a line break and \\\" for a quote within a text"),
    );
    (Kind::Broken, end)
}
