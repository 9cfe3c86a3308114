//! One objection on a terminal: what, to whom, where in the user's own file, the fix, and how to go on without it.

use crate::show;
use api::guard::Objection;
use guard::secrets::Detector;

/// More places than these help nobody.
const PLACES_MAX: usize = 5;

pub fn print(objection: &Objection, places: &[String]) {
    let (word, style) = match objection.disposition.as_str() {
        "denied" if !objection.missing.is_empty() => ("unknown", show::YELLOW),
        "denied" => ("denied", show::RED),
        "warned" => ("warning", show::YELLOW),
        "observed" => ("observed", show::DIM),
        "waived" => ("waived", show::CYAN),
        _ => ("break-glass", show::CYAN),
    };
    let resource = show::paint(show::BOLD, show::safe_line(&objection.resource));
    let (word, kind, severity, rule) = (show::paint(style, format!("{word:<8}")), &objection.kind, &objection.severity, &objection.rule);
    show::line(format!("{word}  {kind} {resource}  {severity}  {rule}"));
    let since = objection.since.as_ref().map_or_else(String::new, |(at, label)| format!(" (since {}, {label})", show::upkeep::day(*at)));
    show::line(format!("          {}{since}", show::safe_line(&objection.why)));
    if !places.is_empty() {
        show::line(format!("          at: {}", show::safe_line(&places.join(", "))));
    }
    show::line(format!("          fix: {}", show::safe_line(&objection.fix)));
    show::line(format!("          {}", show::safe_line(&objection.hint)));
}

/// Lines of the service file that an objection is about, `afresh.hcl:12 (DB_PASSWORD)`. `text` is read as it is formatted: what is written
/// otherwise gets the line of its block, or none.
pub fn places(file: &str, text: &str, objection: &Objection, detector: &Detector) -> Vec<String> {
    let block = block(text, &objection.kind, &objection.resource);
    let mut found: Vec<(usize, String)> = Vec::new();
    let named = |key: &str| objection.evidence.get(key).and_then(|list| list.as_array()).into_iter().flatten().filter_map(|v| v.as_str());
    if objection.evidence.get("secrets").is_some() {
        found.extend(detector.scan(text.as_bytes()).into_iter().map(|leak| (leak.line, leak.title.to_string())));
    }
    let args = named("secrets").filter_map(|place| place.strip_prefix("arg ")).map(|arg| arg.split(' ').next().unwrap_or(arg));
    for name in named("env_secrets").chain(args) {
        found.extend(line_of(text, &block, name).map(|line| (line, name.to_string())));
    }
    if found.is_empty() {
        let keys = [("egress", "egress"), ("user", "user"), ("listen", "listen"), ("signature", "artifact"), ("image_max_age_s", "image")];
        let key = keys.iter().find(|(fact, _)| objection.evidence.get(fact).is_some()).map(|(_, key)| *key);
        let line = key.and_then(|key| line_of(text, &block, key)).or((block.start > 0).then_some(block.start));
        found.extend(line.map(|line| (line, String::new())));
    }
    found.sort();
    found.dedup();
    let shown = |(line, what): &(usize, String)| if what.is_empty() { format!("{file}:{line}") } else { format!("{file}:{line} ({what})") };
    found.iter().take(PLACES_MAX).map(shown).collect()
}

/// The lines of `service "web" { ... }`, counted from 1; from 0 where there is no such block.
fn block(text: &str, kind: &str, name: &str) -> std::ops::Range<usize> {
    let head = |line: &str| line.split_whitespace().take(2).eq([kind, &format!("\"{name}\"")]);
    let Some(start) = text.lines().position(head) else { return 0..0 };
    let is_next = |line: &str| line.starts_with(|c: char| c.is_ascii_alphabetic()) && line.contains('{');
    let end = text.lines().skip(start + 1).position(is_next).map_or(usize::MAX, |more| start + 1 + more);
    start + 1..end.saturating_add(1)
}

/// Where a key or the name of a variable is written in a block.
fn line_of(text: &str, block: &std::ops::Range<usize>, name: &str) -> Option<usize> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let has = |line: &str| line.split('#').next().unwrap_or(line).split(|c| !is_word(c)).any(|word| word == name);
    text.lines().enumerate().map(|(n, line)| (n + 1, line)).find(|(n, line)| block.contains(n) && has(line)).map(|(n, _)| n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const FILE: &str = "image \"base\" {\n  debian = \"bookworm\"\n}\n\nservice \"api\" {\n  user = \"0\"\n}\n\nservice \"web\" {\n  image = image.base\n  \
                        user  = \"0\"\n  env {\n    # DB_PASSWORD is the old one\n    DB_PASSWORD = \"x\"\n  }\n}\n";

    fn at(kind: &str, resource: &str, evidence: serde_json::Value) -> Vec<String> {
        let objection: Objection = serde_json::from_value(json!({
            "rule": "r", "kind": kind, "resource": resource, "severity": "high", "enforcement": "deny", "disposition": "denied",
            "evidence": evidence, "fingerprint": "", "why": "", "fix": "", "hint": "",
        }))
        .unwrap();
        places("f", FILE, &objection, &Detector::built_in().unwrap())
    }

    #[test]
    fn an_objection_is_placed_in_the_block_of_its_own_resource() {
        assert_eq!(at("service", "web", json!({ "user": 0 })), ["f:11"]);
        assert_eq!(at("service", "api", json!({ "user": 0 })), ["f:6"]);
        assert_eq!(at("service", "web", json!({ "env_secrets": ["DB_PASSWORD"] })), ["f:14 (DB_PASSWORD)"]);
        assert_eq!(at("service", "api", json!({ "egress": ["any"] })), ["f:5"], "what is not written has the line of its block");
        assert_eq!(at("service", "none", json!({ "user": 0 })), [""; 0]);
    }
}
