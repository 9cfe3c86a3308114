//! What a release differs in from the one before it, for who is to agree to it. Pure.

use model::{Digest, Release};
use serde_json::Value;

/// Longer values say only that they differ.
const VALUE_CHARS_MAX: usize = 60;
/// Of settings; a file that is written again differs in everything.
const SETTINGS_MAX: usize = 20;

/// One line each: image, code, and each setting by its path. Versions of secrets are the control plane's to report.
pub fn difference(from: &Release, to: &Release) -> Vec<String> {
    let mut lines = Vec::new();
    if (&from.image_name, &from.image) != (&to.image_name, &to.image) {
        lines.push(format!("image: {} {} -> {} {}", from.image_name, from.image.short(), to.image_name, to.image.short()));
    }
    if from.artifact != to.artifact {
        let short = |code: &Option<Digest>| code.as_ref().map_or_else(|| "none".to_string(), |digest| digest.short().to_string());
        lines.push(format!("code: {} -> {}", short(&from.artifact), short(&to.artifact)));
    }
    let mut settings = Vec::new();
    compare("", &settings_of(from), &settings_of(to), &mut settings);
    let more = settings.len().saturating_sub(SETTINGS_MAX);
    lines.extend(settings.into_iter().take(SETTINGS_MAX));
    if more > 0 {
        lines.push(format!("and {more} more settings"));
    }
    lines
}

fn settings_of(release: &Release) -> Value {
    let mut all = serde_json::to_value(release).unwrap_or_default();
    if let Some(all) = all.as_object_mut() {
        for key in ["service", "number", "image", "image_name", "artifact"] {
            all.remove(key);
        }
        // Which are used is a setting; their versions are not.
        if let Some(secrets) = all.get_mut("secrets").and_then(Value::as_object_mut) {
            secrets.remove("versions");
        }
        if all.get("secrets").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
            all.remove("secrets");
        }
    }
    all
}

fn compare(path: &str, from: &Value, to: &Value, lines: &mut Vec<String>) {
    match (from, to) {
        (a, b) if a == b => {}
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                compare(&path, a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null), lines);
            }
        }
        (a, b) => match (shown(a), shown(b)) {
            (Some(a), Some(b)) => lines.push(format!("{path}: {a} -> {b}")),
            _ => lines.push(format!("{path}: changed")),
        },
    }
}

fn shown(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => "none".to_string(),
        other => other.to_string(),
    };
    (text.chars().count() <= VALUE_CHARS_MAX).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Release {
        let text = "image \"base\" { debian = \"bookworm\"  packages = [\"python3\"] }\nservice \"web\" {\n  tier = \"web\"\n  count = 1\n  image = image.base\n  run = [\"x\"]\n}\n";
        let file = config::parse(text, "afresh.hcl").unwrap();
        let spec = file.services.values().next().unwrap();
        Release { number: 4, ..Release::of(spec, Digest::of(b"image"), Some(Digest::of(b"code"))) }
    }

    #[test]
    fn each_difference_is_one_line_and_what_is_equal_is_none() {
        let from = release();
        assert_eq!(difference(&from, &Release { number: 5, ..from.clone() }), Vec::<String>::new());
        let mut to = Release { number: 5, ..from.clone() };
        to.artifact = Some(Digest::of(b"other code"));
        to.env.insert("GREETING".into(), "hello".into());
        to.health.timeout_ms += 1;
        let lines = difference(&from, &to);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].starts_with("code: ") && lines[0].ends_with(Digest::of(b"other code").short()));
        assert_eq!(lines[1], "env.GREETING: none -> \"hello\"");
        assert!(lines[2].starts_with("health.timeout_ms: "));
        to.env.insert("LONG".into(), "x".repeat(100));
        assert!(difference(&from, &to).contains(&"env.LONG: changed".to_string()));
    }
}
