//! Hides values of environments from callers who may only read.

use serde_json::Value;

/// Names stay, so that one sees which are set.
pub fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                match inner {
                    // Names and versions; the values are nowhere.
                    Value::Object(_) if key == "secrets" => {}
                    Value::Object(pairs) if key == "env" => pairs.values_mut().for_each(|v| *v = Value::String("(hidden)".to_string())),
                    inner => redact(inner),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}
