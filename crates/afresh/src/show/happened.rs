//! What happened to servers, for people: what differs only in the server and in numbers is one line with its count. Pure.

use super::upkeep::day;
use api::fleet::{Happened, HappenedKind};

/// Lines that are alike.
struct Alike<'a> {
    kind: HappenedKind,
    pattern: String,
    first: &'a Happened,
    last: &'a Happened,
    count: u32,
}

/// The newest `most` lines, the oldest of them first; `all` are in order.
pub fn happened<'a>(all: impl IntoIterator<Item = &'a Happened>, most: usize) -> Vec<String> {
    let mut found: Vec<Alike<'a>> = Vec::new();
    for one in all {
        let pattern = pattern(one);
        let known = found.iter().position(|alike| alike.kind == one.kind && alike.pattern == pattern);
        let alike = match known {
            // To its place by the newest.
            Some(at) => Alike { last: one, count: found[at].count + 1, ..found.remove(at) },
            None => Alike { kind: one.kind, pattern, first: one, last: one, count: 1 },
        };
        found.push(alike);
    }
    found.drain(..found.len().saturating_sub(most));
    found.iter().map(line).collect()
}

fn line(alike: &Alike<'_>) -> String {
    let times = if alike.count == 1 { String::new() } else { format!(" ({} times since {})", alike.count, day(alike.first.at)) };
    format!("{}  {}{times}", day(alike.last.at), alike.last.text)
}

/// The text without the server's name, and without what each number is.
fn pattern(one: &Happened) -> String {
    without_numbers(&one.instance.as_ref().map_or_else(|| one.text.clone(), |id| one.text.replace(id.as_str(), "#")))
}

/// Each number is a `#`.
pub fn without_numbers(text: &str) -> String {
    let mut pattern = String::new();
    for c in text.chars() {
        let c = if c.is_ascii_digit() { '#' } else { c };
        if c != '#' || !pattern.ends_with('#') {
            pattern.push(c);
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{InstanceId, Time};

    fn one(number: u64, kind: HappenedKind, instance: &str, text: &str) -> Happened {
        let (instance, text) = (InstanceId::new(instance).ok(), text.to_string());
        Happened { number, at: Time(number * 1_000), kind, service: None, group: None, instance, text }
    }

    #[test]
    fn a_server_that_dies_again_and_again_is_one_line() {
        let died = |n: u64, why: &str| {
            let id = format!("web-r2-7-{n}");
            one(n, HappenedKind::Died, &id, &format!("{id} died after {n} s: exit 1, \"{why}\""))
        };
        let mut all: Vec<Happened> = (1..=9).map(|n| died(n, "no module x")).collect();
        all.insert(4, died(20, "no module y"));
        all.push(one(10, HappenedKind::Unhealthy, "web-r2-7-3", "web-r2-7-3 is unhealthy"));
        let lines = happened(&all, 5);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].contains("no module y") && !lines[0].contains("times"), "{lines:?}");
        assert!(lines[1].contains("web-r2-7-9 died after 9 s") && lines[1].contains("(9 times since "), "the newest of them: {lines:?}");
        assert!(lines[2].ends_with("web-r2-7-3 is unhealthy"), "{lines:?}");
        assert_eq!(happened(&all, 1), lines[2..]);
    }
}
