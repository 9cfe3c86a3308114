//! Values to typed things, with what was expected where they are not.

use crate::syntax::value::{Value, What};
use crate::units::{self, ValidationError};
use std::ops::Range;

/// All that is wrong with a value, each at its place.
pub(crate) type Read<T> = Result<T, Vec<(Range<usize>, ValidationError)>>;

/// A text longer than this is no name, no path and no argument.
const TEXT_BYTES_MAX: usize = 64 << 10;

pub(crate) fn at<T>(value: &Value, read: Result<T, ValidationError>) -> Read<T> {
    read.map_err(|wrong| vec![(value.span.clone(), wrong)])
}

fn wrong_type<T>(value: &Value, expected: &str) -> Read<T> {
    at(value, Err(ValidationError::new("wrong-type", format!("this is {}", value.what.name()), format!("expected {expected}"))))
}

pub(crate) fn text(value: &Value, expected: &str) -> Read<String> {
    text_within(value, expected, TEXT_BYTES_MAX)
}

/// A text of at most `limit_bytes`.
pub(crate) fn text_within(value: &Value, expected: &str, bytes_max: usize) -> Read<String> {
    match &value.what {
        What::Text(text) if text.len() > bytes_max => at(
            value,
            Err(ValidationError::new(
                "out-of-range",
                format!("this text has {} bytes", text.len()),
                format!("expected at most {bytes_max}"),
            )),
        ),
        What::Text(text) => at(value, model::text::lines(text).map(|()| text.clone())),
        _ => wrong_type(value, expected),
    }
}

/// A text that one of [`units`] reads. A bare number gets a hint on quotes.
pub(crate) fn unit<T>(value: &Value, expected: &str, read: impl FnOnce(&str) -> Result<T, ValidationError>) -> Read<T> {
    match &value.what {
        What::Number(number) => {
            let wrong = ValidationError::new("wrong-type", "this is a number", format!("expected {expected}"));
            let hint = read(&number.to_string()).map_or_else(|other| other.hint, |_| Some(format!("write \"{number}\"")));
            at(value, Err(ValidationError { hint, ..wrong }))
        }
        _ => at(value, read(&text(value, expected)?)),
    }
}

/// A duration within limits, told in the same words.
pub(crate) fn duration(value: &Value, least: &str, most: &str) -> Read<u64> {
    let ms = unit(value, "a duration in quotes, such as \"500ms\", \"3s\", \"5m\"", units::duration)?;
    let limit = |text: &str| units::duration(text).expect("limits are written in this file's own code");
    if (limit(least)..=limit(most)).contains(&ms) {
        return Ok(ms);
    }
    let side = if ms < limit(least) { "short" } else { "long" };
    at(value, Err(ValidationError::new("out-of-range", format!("this is too {side}"), format!("expected {least} to {most}"))))
}

pub(crate) fn size(value: &Value, least: &str, most: &str) -> Read<u64> {
    let bytes = unit(value, "a size in quotes, such as \"256MiB\"", units::size)?;
    let limit = |text: &str| units::size(text).expect("limits are written in this file's own code");
    if (limit(least)..=limit(most)).contains(&bytes) {
        return Ok(bytes);
    }
    let side = if bytes < limit(least) { "little" } else { "much" };
    at(value, Err(ValidationError::new("out-of-range", format!("this is too {side}"), format!("expected {least} to {most}"))))
}

/// A whole number within limits.
pub(crate) fn number(value: &Value, least: u64, most: u64) -> Read<u64> {
    let expected = format!("expected a whole number from {least} to {most}");
    match &value.what {
        What::Number(n) if n.fract() != 0.0 || !n.is_finite() => {
            at(value, Err(ValidationError::new("wrong-type", "this is no whole number", expected)))
        }
        What::Number(n) if *n < least as f64 || *n > most as f64 => {
            at(value, Err(ValidationError::new("out-of-range", "this is out of range", expected)))
        }
        What::Number(n) => Ok(*n as u64),
        What::Text(text) if text.parse::<u64>().is_ok() => {
            at(value, Err(ValidationError::new("wrong-type", "this is a text", expected).hint(format!("leave the quotes out: {text}"))))
        }
        _ => wrong_type(value, &expected["expected ".len()..]),
    }
}

/// Cores, as a number or a text.
pub(crate) fn cpu(value: &Value) -> Read<u64> {
    let milli = match &value.what {
        What::Number(n) => at(value, units::cpu(&n.to_string()))?,
        _ => at(value, units::cpu(&text(value, "cores, such as 0.5, 2 or \"500m\"")?))?,
    };
    if (10..=1_024_000).contains(&milli) {
        Ok(milli)
    } else {
        at(value, Err(ValidationError::new("out-of-range", "this is out of range", "expected \"10m\" to 1024 cores")))
    }
}

pub(crate) fn truth(value: &Value) -> Read<bool> {
    match value.what {
        What::Bool(truth) => Ok(truth),
        _ => wrong_type(value, "true or false"),
    }
}

/// A list, each of its items read; all errors of all items at once.
pub(crate) fn list<T>(value: &Value, expected: &str, most: usize, read: impl Fn(&Value) -> Read<T>) -> Read<Vec<T>> {
    let What::List(items) = &value.what else {
        return match &value.what {
            What::Text(text) => {
                let words: Vec<String> = text.split_whitespace().map(|word| format!("{word:?}")).collect();
                let wrong = ValidationError::new("wrong-type", "this is a text", format!("expected {expected}"));
                at(value, Err(wrong.hint(format!("write [{}]", words.join(", ")))))
            }
            _ => wrong_type(value, expected),
        };
    };
    if items.len() > most {
        return at(
            value,
            Err(ValidationError::new("out-of-range", format!("this list has {} items", items.len()), format!("expected at most {most}"))),
        );
    }
    let mut all = Vec::new();
    let mut wrong = Vec::new();
    for item in items {
        match read(item) {
            Ok(item) => all.push(item),
            Err(mut more) => wrong.append(&mut more),
        }
    }
    if wrong.is_empty() { Ok(all) } else { Err(wrong) }
}

/// The items of a list in their order, if none is there twice.
pub(crate) fn no_doubles(items: Vec<(Range<usize>, String)>) -> Read<Vec<String>> {
    let mut sorted: Vec<&(Range<usize>, String)> = items.iter().collect();
    sorted.sort_by(|a, b| (&a.1, a.0.start).cmp(&(&b.1, b.0.start)));
    let doubles: Vec<_> = sorted
        .windows(2)
        .filter(|pair| pair[0].1 == pair[1].1)
        .map(|pair| {
            (
                pair[1].0.clone(),
                ValidationError::new("duplicate-item", format!("`{}` stands in the list twice", pair[1].1), "the second time"),
            )
        })
        .collect();
    if doubles.is_empty() { Ok(items.into_iter().map(|(_, item)| item).collect()) } else { Err(doubles) }
}

/// A command: a program and its arguments, no shell.
pub(crate) fn command(value: &Value) -> Read<Vec<String>> {
    let words = list(value, "a list of a program and its arguments", 1024, |item| text(item, "a text"))?;
    match words.first().map(String::as_str) {
        None => at(value, Err(ValidationError::new("wrong-type", "this list is empty", "expected a program and its arguments"))),
        Some("") => {
            at(value, Err(ValidationError::new("wrong-type", "the program's name is empty", "expected a program and its arguments")))
        }
        Some(_) => Ok(words),
    }
}

/// A name by the model's own rule, with one that would do as a hint.
pub(crate) fn name<T>(text: &str, make: impl Fn(String) -> Result<T, model::NameError>) -> Result<T, ValidationError> {
    make(text.to_string()).map_err(|error| {
        let fit: String = text.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let fit = fit.trim_matches(|c: char| c == '-' || c.is_ascii_digit()).to_string();
        let wrong = ValidationError::new(
            "bad-name",
            format!("`{text}` is no {}: {}", error.what, error.why),
            "expected a-z, 0-9 and -, beginning with a letter",
        );
        if fit.len() <= 63 && make(fit.clone()).is_ok() { wrong.hint(format!("\"{fit}\" would do")) } else { wrong }
    })
}
