//! The extent of a heredoc: `<<END`, lines, `END`.

use super::token::{Kind, ident, is_ident_rest, is_ident_start};
use crate::sink::{Draft, Sink};

/// `at` is the first `<`.
pub(crate) fn scan(text: &str, at: usize, sink: &mut Sink) -> (Kind, usize) {
    let head_end = text[at..].find('\n').map_or(text.len(), |len| at + len);
    let head = text[at..head_end].trim_end_matches('\r');
    let word = head.trim_start_matches('<').trim_start_matches('-');
    let name = if word.starts_with(is_ident_start) { &word[..ident(word)] } else { "" };
    if name.is_empty() || name != word || !(head.starts_with("<<-") || head[2..] == *word) {
        sink.push(
            Draft::new("syntax", at..at + 2, "`<<` begins no text here")
                .label("expected <<END and a line break")
                .hint("text stands in \"double quotes\""),
        );
        return (Kind::Broken, at + head.len().max(2));
    }
    let mut begin = (head_end + 1).min(text.len());
    while begin < text.len() {
        let end = text[begin..].find('\n').map_or(text.len(), |len| begin + len);
        let line = text[begin..end].trim_start_matches([' ', '\t']);
        if line.strip_prefix(name).is_some_and(|behind| !behind.starts_with(is_ident_rest)) {
            let close = begin + (end - begin - line.len()) + name.len();
            let inner = text[head_end..begin].replace("$${", "").replace("%%{", "");
            let template = inner.contains("${") || inner.contains("%{");
            return (Kind::Heredoc { template }, close);
        }
        begin = end + 1;
    }
    sink.push(
        Draft::new("unclosed", at..at + head.len(), "this text has no end")
            .label(format!("no line `{name}` follows"))
            .hint(format!("end the text with a line that is just {name}")),
    );
    (Kind::Broken, text.len())
}
