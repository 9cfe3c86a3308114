//! The machine's form: JSON of `model::ServiceFile`. Unknown and doubled fields are refused, and the values are held to the
//! same rules as the HCL's ([`crate::check`]); what is wrong is reported at the JSON's places.

use crate::check::Path;
use crate::places::Places;
use crate::sink::{Draft, Sink};
use model::ServiceFile;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;

pub(crate) fn decode(text: &str, sink: &mut Sink) -> Option<ServiceFile> {
    let bom = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let file: ServiceFile = match serde_json::from_str(&text[bom..]) {
        Ok(file) => file,
        Err(error) => {
            sink.push(told(text, bom, &error));
            return None;
        }
    };
    let spans = spans(text, sink);
    let known = whole(serde_json::to_value(&file).ok()?);
    unknown(&known, &spans, sink);
    let (problems, checked) = crate::check::problems(&file);
    for problem in problems {
        let mut draft = problem.draft;
        draft.span = place(&problem.path, &spans);
        draft.related = problem.related.iter().map(|(path, label)| (place(path, &spans), label.clone())).collect();
        sink.push(draft);
    }
    checked
}

fn told(text: &str, bom: usize, error: &serde_json::Error) -> Draft {
    let places = Places::new(text);
    let line = places.line_start(error.line());
    let at = line + if error.line() == 1 { bom } else { 0 } + error.column().saturating_sub(1);
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    let at = at.min(text.len());
    let end = text[crate::places::floor(text, at)..].chars().next().map_or(at, |c| at + c.len_utf8());
    let code = if error.is_data() { "json-value" } else { "json-syntax" };
    Draft::new(code, at..end, message).label("here").hint("this is the machine's form; people write afresh.hcl")
}

/// Where each value stands, by its path. Doubled keys, of which serde keeps the last, are reported.
fn spans(text: &str, sink: &mut Sink) -> BTreeMap<Path, Range<usize>> {
    let bytes = text.as_bytes();
    let mut spans: BTreeMap<Path, Range<usize>> = BTreeMap::new();
    // The path of what is open; a list's last part is its running index, an object's the key that was read last.
    let mut path: Path = Vec::new();
    let mut lists: Vec<bool> = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        let begin = i;
        match bytes[i] {
            b'{' => {
                spans.entry(path.clone()).or_insert(i..i + 1);
                lists.push(false);
                path.push(String::new());
            }
            b'[' => {
                spans.entry(path.clone()).or_insert(i..i + 1);
                lists.push(true);
                path.push("0".to_string());
            }
            b'}' | b']' => {
                lists.pop();
                path.pop();
            }
            b',' => {
                if let (Some(true), Some(last)) = (lists.last(), path.last_mut()) {
                    *last = (last.parse::<usize>().unwrap_or(0) + 1).to_string();
                }
            }
            b'"' => {
                i += string(&bytes[i..]);
                let rest = text[i..].trim_start();
                if lists.last() == Some(&false) && rest.starts_with(':') {
                    let key: String = serde_json::from_str(&text[begin..i]).unwrap_or_default();
                    if let Some(last) = path.last_mut() {
                        last.clone_from(&key);
                    }
                    if let Some(first) = spans.get(&path) {
                        let draft = Draft::new("duplicate-key", begin..i, format!("`{key}` stands here twice"));
                        sink.push(draft.label("the second time").related(first.clone(), "the first time"));
                    }
                    spans.insert(path.clone(), begin..i);
                    i = text.len() - rest.len();
                } else {
                    spans.entry(path.clone()).or_insert(begin..i);
                    i -= 1;
                }
            }
            b' ' | b'\t' | b'\r' | b'\n' | b':' => {}
            _ => {
                while i + 1 < bytes.len() && !matches!(bytes[i + 1], b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t') {
                    i += 1;
                }
                spans.entry(path.clone()).or_insert(begin..i + 1);
            }
        }
        i += 1;
    }
    spans
}

/// Bytes of the string at the beginning, with its quotes.
fn string(bytes: &[u8]) -> usize {
    let mut i = 1;
    while i < bytes.len() && bytes[i] != b'"' {
        i += if bytes[i] == b'\\' { 2 } else { 1 };
    }
    (i + 1).min(bytes.len())
}

/// With the fields that are left out where they are empty: they may be written all the same.
fn whole(mut file: Value) -> Value {
    for mut image in file["images"].as_object_mut().into_iter().flat_map(|images| images.values_mut()) {
        while image.is_object() {
            for field in ["suites", "components", "allow_unsigned", "users", "files", "args", "script"] {
                // To be looked at is enough: a field that is not there is made.
                let _ = &mut image["custom"][field];
            }
            image = &mut image["base"];
        }
    }
    let _ = &mut file["secrets"];
    let _ = &mut file["moved"];
    for service in file["services"].as_object_mut().into_iter().flat_map(|services| services.values_mut()) {
        for field in ["env", "files"] {
            let _ = &mut service["secrets"][field];
        }
    }
    file
}

/// What was written but is not in what was understood.
fn unknown(known: &Value, spans: &BTreeMap<Path, Range<usize>>, sink: &mut Sink) {
    for (path, span) in spans {
        let Some((name, parent)) = path.split_last() else { continue };
        let Some(Value::Object(siblings)) = find(known, parent) else { continue };
        if !siblings.contains_key(name) {
            let near = model::near::nearest(name, siblings.keys().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
            let names = siblings.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let draft = Draft::new("unknown-key", span.clone(), format!("there is no field `{name}` here"));
            sink.push(draft.label(format!("expected one of {names}")).maybe_hint(near));
        }
    }
}

fn find<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, part| match value {
        Value::Object(fields) => fields.get(part),
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The place of a path, or of the nearest thing around it that was written: a default has no place of its own.
fn place(path: &[String], spans: &BTreeMap<Path, Range<usize>>) -> Range<usize> {
    (0..=path.len()).rev().find_map(|len| spans.get(&path[..len])).cloned().unwrap_or(0..1)
}
