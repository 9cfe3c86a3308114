//! Names: the label of a block, and the image that a value refers to.

use super::context::Context;
use super::read::{self, Read, at};
use crate::sink::{Draft, Sink};
use crate::syntax::tree::Block;
use crate::syntax::value::{Value, What};
use model::ImageName;
use model::ValidationError;
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
    let known = || context.images.keys().map(String::as_str);
    let name = match &value.what {
        What::Reference(root, name) if root == "image" => name,
        What::Text(name) if context.images.contains_key(name) => {
            let wrong = ValidationError::new("wrong-type", "an image is named without quotes", "expected a reference such as image.base");
            return at(value, Err(wrong.hint(format!("write image.{name}"))));
        }
        other => {
            let wrong = ValidationError::new("wrong-type", format!("this is {}", other.name()), "expected a reference such as image.base");
            return at(value, Err(known().next().map_or(wrong.clone(), |first| wrong.hint(format!("write image.{first}")))));
        }
    };
    if !context.images.contains_key(name) {
        let list: Vec<&str> = known().collect();
        let expected =
            if list.is_empty() { "the file has no image".to_string() } else { format!("expected one of image.{}", list.join(", image.")) };
        let wrong = ValidationError::new("unknown-image", format!("there is no image `{name}` in this file"), expected);
        return at(
            value,
            Err(match model::near::nearest(name, known()) {
                Some(near) => wrong.hint(format!("did you mean image.{near}?")),
                None => wrong.hint(format!("add `image \"{name}\" {{ ... }}`")),
            }),
        );
    }
    // A wrong name was reported at the image's own place.
    ImageName::new(name.clone()).map_err(|_| Vec::new())
}
