//! Names with a value each: `env { A = "b" }`, and `env = { A = "b" }`, which is the same.

use super::context::Context;
use super::read::{self, Read, at};
use super::section::Section;
use crate::sink::{Draft, Sink};
use crate::syntax::tree::Item;
use crate::syntax::value::{self, Value, What};
use crate::units::ValidationError;
use std::collections::BTreeMap;
use std::ops::Range;

/// None if anything in it is wrong, which is reported.
pub(crate) fn decode<T>(
    context: &Context,
    section: &Section,
    word: &'static str,
    sink: &mut Sink,
    read: impl Fn(&str, &Range<usize>, &Value) -> Read<T>,
) -> Option<BTreeMap<String, T>> {
    let mut pairs: Vec<(String, Range<usize>, Value)> = Vec::new();
    let mut whole = true;
    if let Some(block) = section.block(word) {
        whole &= !block.body.damaged;
        let mut seen: BTreeMap<&str, Range<usize>> = BTreeMap::new();
        for item in &block.body.items {
            match item {
                Item::Comment(_) => {}
                Item::Block(inner) => {
                    sink.push(
                        Draft::new("unknown-block", inner.head(context.text), format!("no block stands in `{word}`"))
                            .label("expected `NAME = \"value\"`"),
                    );
                    whole = false;
                }
                Item::Key(key) => {
                    let name = &context.text[key.name.clone()];
                    if let Some(first) = seen.insert(name, key.name.clone()) {
                        let draft = Draft::new("duplicate-key", key.name.clone(), format!("`{name}` stands here twice"));
                        sink.push(draft.label("the second time").related(first, "the first time"));
                        whole = false;
                    }
                    match value::read(context.text, &context.tokens[key.value.clone()], sink) {
                        Some(value) => pairs.push((name.to_string(), key.name.clone(), value)),
                        None => whole = false,
                    }
                }
            }
        }
    }
    if section.has(word) {
        let object = section.get(word, sink, |v| match &v.what {
            What::Object(pairs) => Ok(pairs.clone()),
            other => at(
                v,
                Err(ValidationError::new(
                    "wrong-type",
                    format!("this is {}", other.name()),
                    "expected an object, such as { LOG = \"info\" }",
                )),
            ),
        });
        whole &= object.is_some();
        pairs.extend(object.into_iter().flatten());
    }
    let mut all = BTreeMap::new();
    for (name, span, value) in pairs {
        match read(&name, &span, &value) {
            Ok(value) => drop(all.insert(name, value)),
            Err(wrongs) => {
                for (span, wrong) in wrongs {
                    sink.push(Draft::new(wrong.code, span, wrong.message).label(wrong.expected).maybe_hint(wrong.hint));
                }
                whole = false;
            }
        }
    }
    whole.then_some(all)
}

/// A name in a list: a text, or what can be written without quotes.
pub(crate) fn text(value: &Value, expected: &str) -> Read<String> {
    match &value.what {
        What::Number(n) => Ok(n.to_string()),
        What::Bool(b) => Ok(b.to_string()),
        _ => read::text(value, expected),
    }
}
