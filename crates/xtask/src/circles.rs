//! Circles between the files of a crate: files that lean on each other cannot be read one after the other.
//! A file leans on every module that its code names, by `use` or in place; what a module passes on (`pub use`) counts as the file that
//! has it. Unit tests do not count: they may look at anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A module is named by its path from the crate's root; the root itself is empty.
type Name = String;
/// Which other modules each module leans on.
type Arrows = BTreeMap<Name, BTreeSet<Name>>;

struct Module {
    /// Without comments and unit tests.
    code: String,
    /// What it imports for itself: the name that it uses, and the path it stands for.
    imports: BTreeMap<String, String>,
    /// What it passes on: the name that others use, and the path it stands for.
    passes_on: BTreeMap<String, String>,
}

/// Every circle of a crate: modules that reach each other, each list sorted.
pub fn circles(sources: &[(String, String)]) -> Vec<Vec<Name>> {
    let arrows = arrows(sources);
    let reach: BTreeMap<&Name, BTreeSet<&Name>> = arrows.keys().map(|from| (from, reached(&arrows, from))).collect();
    let mut found = BTreeSet::new();
    for (from, to) in &reach {
        let circle: Vec<Name> =
            to.iter().filter(|other| reach.get(*other).is_some_and(|back| back.contains(from))).map(|n| (*n).clone()).collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

/// The module that a file holds: `src/a/mod.rs` and `src/a.rs` are `a`.
pub fn module_of(path: &Path) -> Name {
    let parts: Vec<String> = path.with_extension("").iter().map(|p| p.to_string_lossy().into_owned()).collect();
    let parts = match parts.last().map(String::as_str) {
        Some("mod" | "lib" | "main") => &parts[..parts.len() - 1],
        _ => &parts[..],
    };
    parts.join("::")
}

fn reached<'a>(arrows: &'a Arrows, from: &Name) -> BTreeSet<&'a Name> {
    let mut found = BTreeSet::new();
    let mut todo: Vec<&Name> = arrows.get(from).into_iter().flatten().collect();
    while let Some(next) = todo.pop() {
        if found.insert(next) {
            todo.extend(arrows.get(next).into_iter().flatten());
        }
    }
    found
}

fn arrows(sources: &[(String, String)]) -> Arrows {
    let modules = modules(sources);
    let mut arrows = Arrows::new();
    for (name, module) in &modules {
        let named = module.imports.values().cloned().chain(paths(&module.code));
        let to = named.filter_map(|path| resolve(&modules, name, &path, 0)).filter(|to| to != name).collect();
        arrows.insert(name.clone(), to);
    }
    arrows
}

fn modules(sources: &[(String, String)]) -> BTreeMap<Name, Module> {
    let mut found: BTreeMap<Name, Module> = sources.iter().map(|(name, text)| (name.clone(), read(text))).collect();
    // Files that only unit tests have.
    let of_tests: Vec<Name> = sources.iter().flat_map(|(name, text)| test_files(text).map(move |file| below(name, &file))).collect();
    found.retain(|name, _| !of_tests.iter().any(|test| name == test || name.starts_with(&format!("{test}::"))));
    found
}

fn below(parent: &str, child: &str) -> Name {
    if parent.is_empty() { child.to_string() } else { format!("{parent}::{child}") }
}

/// `mod name;` behind `#[cfg(test)]`.
fn test_files(text: &str) -> impl Iterator<Item = String> + '_ {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    (1..lines.len()).filter_map(move |n| {
        let before = lines[..n].iter().rev().take_while(|l| l.starts_with("#[")).any(|l| *l == "#[cfg(test)]");
        let name = lines[n].rsplit_once("mod ").and_then(|(_, name)| name.strip_suffix(';'));
        name.filter(|_| before).map(str::to_string)
    })
}

fn read(text: &str) -> Module {
    let mut module = Module { code: String::new(), imports: BTreeMap::new(), passes_on: BTreeMap::new() };
    let code: String = text.lines().map(|l| l.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    // Unit tests are the last thing of a file.
    let code = match code.find("\n#[cfg(test)]\n") {
        Some(at)
            if code[at..].contains("mod ")
                && code[at..].lines().skip(2).find(|l| !l.starts_with("#[")).is_some_and(|l| l.ends_with('{')) =>
        {
            &code[..at]
        }
        _ => &code[..],
    };
    let mut rest = code;
    while let Some((before, is_public, tree, after)) = next_use(rest) {
        module.code.push_str(before);
        for path in flat("", tree) {
            let path = path.strip_suffix("::self").map_or(path.clone(), str::to_string);
            let (path, name) = match path.split_once(" as ") {
                Some((path, name)) => (path.trim().to_string(), name.trim().to_string()),
                None => (path.clone(), path.rsplit("::").next().unwrap_or_default().to_string()),
            };
            if is_public {
                module.passes_on.insert(name, path);
            } else {
                module.imports.insert(name, path);
            }
        }
        rest = after;
    }
    module.code.push_str(rest);
    module
}

/// The next `use` of a text: the text before it, whether it re-exports, its tree, and what follows.
fn next_use(text: &str) -> Option<(&str, bool, &str, &str)> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find("use ")?;
        let line = text[..at].rfind('\n').map_or(0, |n| n + 1);
        let before = text[line..at].trim();
        if before.is_empty() || (before.starts_with("pub") && !before.contains(' ')) {
            let end = at + text[at..].find(';')?;
            return Some((&text[..line], !before.is_empty(), &text[at + 4..end], &text[end + 1..]));
        }
        from = at + 4;
    }
}

/// Every path of a `use` tree.
fn flat(prefix: &str, tree: &str) -> Vec<String> {
    let tree = tree.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some((head, inner)) = tree.split_once('{') else { return vec![format!("{prefix}{tree}")] };
    let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
    let (mut depth, mut part, mut found) = (0, String::new(), Vec::new());
    for c in inner.chars().chain([',']) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !part.trim().is_empty() {
                    found.extend(flat(&format!("{prefix}{head}"), part.trim()));
                }
                part.clear();
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    found
}

/// Every path with `::` in a code text.
fn paths(code: &str) -> Vec<String> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = code.split(|c: char| !is_part(c)).map(|w| w.trim_matches(':'));
    words.filter(|w| w.contains("::")).map(str::to_string).collect()
}

/// The module in which a path ends, following what modules pass on. None: it is not of this crate.
fn resolve(modules: &BTreeMap<Name, Module>, from: &str, path: &str, depth: usize) -> Option<Name> {
    let mut here: Vec<&str> = from.split("::").filter(|p| !p.is_empty()).collect();
    let mut parts: Vec<&str> = path.split("::").filter(|p| !p.is_empty()).collect();
    match *parts.first()? {
        "crate" => {
            here.clear();
            parts.remove(0);
        }
        "self" => drop(parts.remove(0)),
        "super" => {
            while parts.first() == Some(&"super") {
                here.pop();
                parts.remove(0);
            }
        }
        first if modules.contains_key(&below(from, first)) => {}
        // `verbs::up::Up` behind `use crate::verbs`.
        first => {
            let imported = modules[from].imports.get(first).filter(|_| depth < 5 && parts.len() > 1)?;
            let path = format!("{imported}::{}", parts[1..].join("::"));
            return resolve(modules, from, &path, depth + 1);
        }
    }
    here.extend(parts);
    let known = (0..=here.len()).rev().find(|n| modules.contains_key(&here[..*n].join("::")))?;
    let name = here[..known].join("::");
    // A name that the module passes on is another's.
    let passed = here.get(known).and_then(|item| modules[&name].passes_on.get(*item)).filter(|_| depth < 5);
    passed.and_then(|path| resolve(modules, &name, path, depth + 1)).or(Some(name))
}
