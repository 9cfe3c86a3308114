//! Names: the label of a block, and the block that a value refers to.

use super::context::Context;
use super::read::{self, Read, at};
use crate::sink::{Draft, Sink};
use crate::syntax::tree::Block;
use crate::syntax::value::{Value, What};
use model::ImageName;
use model::ValidationError;
use std::collections::BTreeMap;
use std::ops::Range;

/// A block's name. None where it has none or a wrong one, which is reported.
pub(crate) fn label_name<T>(
    context: &Context,
    label: Range<usize>,
    block: &Block,
    sink: &mut Sink,
    make: impl Fn(String) -> Result<T, model::NameError>,
) -> Option<T> {
    label_with(context, label, block, sink, |text| read::name(text, make))
}

/// As [`label_name`], by another rule than that of names.
pub(crate) fn label_with<T>(
    context: &Context,
    label: Range<usize>,
    block: &Block,
    sink: &mut Sink,
    read: impl FnOnce(&str) -> Result<T, ValidationError>,
) -> Option<T> {
    if block.labels.is_empty() {
        return None;
    }
    match read(&context.text[label.clone()]) {
        Ok(name) => Some(name),
        Err(wrong) => {
            sink.push(Draft::new(wrong.code, label, wrong.message).label(wrong.expected).maybe_hint(wrong.hint));
            None
        }
    }
}

pub(crate) fn image_reference(context: &Context, value: &Value) -> Read<ImageName> {
    let name = reference("image", &context.images, value)?;
    // A wrong name was reported at the image's own place.
    ImageName::new(name).map_err(|_| Vec::new())
}

/// `word.NAME`, of a block that the file has; its name.
pub(crate) fn reference(word: &'static str, blocks: &BTreeMap<String, Range<usize>>, value: &Value) -> Read<String> {
    let known = || blocks.keys().map(String::as_str);
    let article = if word.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
    let example = if word == "image" { "image.base" } else { "secret.db" };
    let name = match &value.what {
        What::Reference(root, name) if root == word => name,
        What::Text(name) if blocks.contains_key(name) => {
            let said = format!("{article} {word} is named without quotes");
            let wrong = ValidationError::new("wrong-type", said, format!("expected a reference such as {example}"));
            return at(value, Err(wrong.hint(format!("write {word}.{name}"))));
        }
        other => {
            let said = format!("this is {}", other.name());
            let wrong = ValidationError::new("wrong-type", said, format!("expected a reference such as {example}"));
            return at(value, Err(known().next().map_or(wrong.clone(), |first| wrong.hint(format!("write {word}.{first}")))));
        }
    };
    if blocks.contains_key(name) {
        return Ok(name.clone());
    }
    let list: Vec<&str> = known().collect();
    let expected = if list.is_empty() {
        format!("the file has no {word}")
    } else {
        format!("expected one of {word}.{}", list.join(&format!(", {word}.")))
    };
    let said = format!("there is no {word} `{name}` in this file");
    let wrong = if word == "image" {
        ValidationError::new("unknown-image", said, expected)
    } else {
        ValidationError::new("unknown-secret", said, expected)
    };
    at(
        value,
        Err(match model::near::nearest(name, known()) {
            Some(near) => wrong.hint(format!("did you mean {word}.{near}?")),
            None => wrong.hint(format!("add `{word} \"{name}\" {{ ... }}`")),
        }),
    )
}
