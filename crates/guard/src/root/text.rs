//! The forms in which configuration is written: lines of words, sections, and the plain part of YAML.

use super::Tree;
use crate::policy::pattern::Pattern;
use crate::ternary::Fact;
use std::collections::BTreeMap;

/// Lines that say something, with their numbers: no comments after `#` at the start, no blank lines.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).map(|(n, line)| (n, line.trim())).filter(|(_, line)| !line.is_empty() && !line.starts_with(['#', ';']))
}

/// As above, with lines joined that end in a backslash.
pub(super) fn joined_lines(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut continues = false;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        let (part, more) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
        match found.last_mut() {
            Some((_, last)) if continues => {
                last.push(' ');
                last.push_str(part);
            }
            _ => found.push((number, part.to_string())),
        }
        continues = more;
    }
    found.retain(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    found
}

/// Words, with `"..."` and `'...'` taken as one.
pub(super) fn words(line: &str) -> Vec<String> {
    let (mut found, mut word, mut quote, mut is_word) = (Vec::new(), String::new(), None, false);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => (quote, is_word) = (Some(c), true),
            (None, c) if c.is_whitespace() => {
                if is_word {
                    found.push(std::mem::take(&mut word));
                }
                is_word = false;
            }
            (_, c) => {
                word.push(c);
                is_word = true;
            }
        }
    }
    if is_word {
        found.push(word);
    }
    found
}

pub(super) fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let inner = |q: char| text.strip_prefix(q).and_then(|t| t.strip_suffix(q));
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}

/// `KEY=value` lines of environment files and of simple configuration. Later lines win.
pub(super) fn assignments(text: &str) -> BTreeMap<String, (usize, String)> {
    let pairs = lines(text).filter_map(|(n, line)| {
        let (key, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
        Some((key.trim().to_string(), (n, unquoted(value).to_string())))
    });
    pairs.collect()
}

/// A section of an INI file: its name in lower case, and keys without blanks in lower case, as Samba and rsync read them.
#[derive(Debug, Default)]
pub(super) struct Section {
    pub name: String,
    pub line: usize,
    keys: BTreeMap<String, (usize, String)>,
}

impl Section {
    pub fn get(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.keys.get(*name)).map(|(_, value)| value.as_str())
    }

    pub fn line_of(&self, names: &[&str]) -> usize {
        names.iter().find_map(|name| self.keys.get(*name)).map_or(self.line, |(line, _)| *line)
    }
}

/// Sections in order; the first has no name. Keys of a name that comes twice are joined.
pub(super) fn sections(text: &str) -> Vec<Section> {
    let mut found: Vec<Section> = vec![Section::default()];
    let mut current = 0;
    for (number, line) in joined_lines(text) {
        let line = line.trim();
        if line.starts_with(';') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.split_once(']')).map(|(name, _)| name.trim().to_lowercase()) {
            current = found.iter().position(|s| s.name == name).unwrap_or_else(|| {
                found.push(Section { name, line: number, keys: BTreeMap::new() });
                found.len() - 1
            });
        } else {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            let key: String = key.to_lowercase().split_whitespace().collect();
            found[current].keys.insert(key, (number, unquoted(value).to_string()));
        }
    }
    found
}

pub(super) fn is_yes(text: &str) -> bool {
    matches!(text.trim().to_ascii_lowercase().as_str(), "yes" | "true" | "on" | "1" | "enabled")
}

/// The plain part of YAML: nested mappings, scalars and lists, as `a.b` to the line and the items. `None`: it holds more than that.
pub(super) fn yaml(text: &str) -> Option<BTreeMap<String, (usize, Vec<String>)>> {
    let mut found: BTreeMap<String, (usize, Vec<String>)> = BTreeMap::new();
    let mut path: Vec<(usize, String)> = Vec::new();
    for (number, raw) in (1..).zip(text.lines()) {
        let line = without_comment(raw);
        let body = line.trim();
        if body.is_empty() || body == "---" {
            continue;
        }
        if raw.starts_with('\t') || body.starts_with(['{', '&', '*', '!', '|', '>', '?']) || body == "..." {
            return None;
        }
        let indent = line.len() - line.trim_start().len();
        if let Some(item) = body.strip_prefix("- ").or_else(|| (body == "-").then_some("")) {
            // A list of mappings is more than is read here.
            if item.contains(": ") || item.trim().starts_with(['{', '[', '-']) {
                return None;
            }
            path.retain(|(at, _)| *at <= indent);
            let key = path.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(".");
            found.entry(key).or_insert((number, Vec::new())).1.push(unquoted(item).to_string());
            continue;
        }
        path.retain(|(at, _)| *at < indent);
        let (name, value) = body.split_once(": ").or_else(|| body.strip_suffix(':').map(|name| (name, "")))?;
        path.push((indent, unquoted(name).to_string()));
        let value = value.trim();
        if value.is_empty() {
            continue;
        }
        if value.starts_with(['{', '&', '*', '!', '|', '>']) {
            return None;
        }
        let items = match value.strip_prefix('[') {
            Some(list) => list.strip_suffix(']')?.split(',').map(|item| unquoted(item).to_string()).collect(),
            None => vec![unquoted(value).to_string()],
        };
        found.insert(path.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join("."), (number, items));
    }
    Some(found)
}

/// `#` begins a comment at the start of a line or after a blank, outside of quotes.
fn without_comment(line: &str) -> &str {
    let (mut quote, mut before) = (None, ' ');
    for (place, c) in line.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '#') if before.is_whitespace() => return &line[..place],
            _ => {}
        }
        before = c;
    }
    line
}

/// The text of a file, or what could not be read. `None`: it is not there.
pub(super) fn read(tree: &dyn Tree, path: &str) -> Result<Option<String>, String> {
    match tree.read(path) {
        Fact::Known(content) => Ok(content.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
        Fact::Unknown(_) => Err(path.to_string()),
    }
}

/// The files that an include names: a path, or one with wildcards in its last part.
pub(super) fn included(tree: &dyn Tree, pattern: &str, base: &str) -> Result<Vec<String>, String> {
    let pattern = if pattern.starts_with('/') { pattern.to_string() } else { format!("{base}/{pattern}") };
    if !pattern.contains(['*', '?', '[']) {
        return Ok(vec![pattern]);
    }
    let (directory, name) = pattern.rsplit_once('/').unwrap_or(("", &pattern));
    if directory.contains(['*', '?', '[']) || name.contains('[') {
        return Err(pattern);
    }
    match tree.list(directory) {
        Fact::Known(names) => {
            let name = Pattern::new(name);
            let fitting = names.unwrap_or_default().into_iter().filter(|n| !n.starts_with('.') && name.matches(n));
            Ok(fitting.map(|n| format!("{directory}/{n}")).collect())
        }
        Fact::Unknown(_) => Err(directory.to_string()),
    }
}

/// `.env.bak`, `.env~`, `.settings.py.swp`: what it is a copy of.
pub(super) fn original(path: &str) -> String {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let swap = name.strip_prefix('.').and_then(|n| [".swp", ".swo"].iter().find_map(|end| n.strip_suffix(end)));
    let copy = [".bak", ".old", ".orig", ".save", ".backup", ".copy", "~"].iter().find_map(|end| name.strip_suffix(end));
    format!("{directory}/{}", swap.or(copy).unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_yaml_is_flattened_and_the_rest_is_refused() {
        let found = yaml("net:\n  port: 27017 # the port\n  bindIp: \"127.0.0.1,::1\"\nsecurity:\n  authorization: enabled\nlist:\n  - a\n  - 'b'\nflat.key: [x, \"y\"]\n").unwrap();
        let of = |key: &str| found.get(key).map(|(line, items)| (*line, items.join("|")));
        assert_eq!(of("net.bindIp"), Some((3, "127.0.0.1,::1".into())));
        assert_eq!(of("security.authorization"), Some((5, "enabled".into())));
        assert_eq!(of("list"), Some((7, "a|b".into())));
        assert_eq!(of("flat.key"), Some((9, "x|y".into())));
        for text in ["net: {bindIp: 0.0.0.0}", "a: &x\n  b: 1", "a: |\n  text", "- a: 1", "\ta: 1", "words without a colon"] {
            assert!(yaml(text).is_none(), "{text}");
        }
    }

    #[test]
    fn words_and_joined_lines() {
        assert_eq!(words(r#"a "b c" 'd'e """#), ["a", "b c", "de", ""]);
        assert_eq!(joined_lines("a \\\n b\n# c\nd"), [(1, "a  b".to_string()), (4, "d".to_string())]);
    }

    #[test]
    fn copies_are_what_they_are_copies_of() {
        for (path, expected) in
            [("/a/.env.bak", "/a/.env"), ("/a/x.conf~", "/a/x.conf"), ("/a/.x.py.swp", "/a/x.py"), ("/a/..env.swp", "/a/.env")]
        {
            assert_eq!(original(path), expected);
        }
    }
}
