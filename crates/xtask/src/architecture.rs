//! What `ARCHITECTURE.md` says of crates, arrows and files, held against what is there. Pure but for asking whether a path exists.

use std::collections::BTreeSet;
use std::path::Path;

/// The crates of the code map: the first column of each row.
pub fn crates(text: &str) -> BTreeSet<String> {
    let map = text.split("\n## Code map\n").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap_or_default();
    let first = map.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name));
    first.filter(|name| !name.contains(['/', '.', ' '])).map(str::to_string).collect()
}

/// The arrows of its list, as `from -> to`: lines `a, b -> c, d` between the code map and the next heading.
pub fn arrows(text: &str) -> BTreeSet<String> {
    let map = text.split("\n## Code map\n").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap_or_default();
    let names = |list: &str| -> Vec<String> {
        let without =
            list.split('(').enumerate().map(|(n, part)| if n == 0 { part } else { part.split_once(')').map_or("", |(_, rest)| rest) });
        without.collect::<String>().split(',').map(|name| name.trim().to_string()).filter(|name| !name.is_empty()).collect()
    };
    let mut found = BTreeSet::new();
    for (from, to) in map.lines().filter(|line| !line.starts_with('|')).filter_map(|line| line.split_once(" -> ")) {
        for from in names(from) {
            found.extend(names(to).into_iter().filter(|to| to != "nothing of ours").map(|to| format!("{from} -> {to}")));
        }
    }
    found
}

/// Every path between backticks that is not there. A path has a slash, or an ending of ours; `{a,b}` stands for each.
/// `crate/file` is short for `crates/crate/src/file.rs` or a folder of that name.
pub fn missing_paths(root: &Path, text: &str) -> Vec<String> {
    let mut missing = Vec::new();
    for (n, line) in text.lines().enumerate() {
        for word in line.split('`').skip(1).step_by(2) {
            let is_path = word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-{},*".contains(c)) && !word.starts_with(['/', '.']);
            let is_ours = [".rs", ".md", ".sh", ".list", ".toml", ".sql", ".txt"].iter().any(|end| word.ends_with(end));
            let of_a_crate = word.split_once('/').is_some_and(|(first, _)| first == "crates" || root.join("crates").join(first).is_dir());
            if is_path && (of_a_crate || is_ours) {
                missing.extend(expanded(word).into_iter().filter(|path| !is_there(root, path)).map(|path| format!("{}: {path}", n + 1)));
            }
        }
    }
    missing
}

fn expanded(word: &str) -> Vec<String> {
    let parts = word.split_once('{').and_then(|(before, rest)| rest.split_once('}').map(|(all, after)| (before, all, after)));
    match parts {
        Some((before, all, after)) => all.split(',').flat_map(|one| expanded(&format!("{before}{one}{after}"))).collect(),
        None => vec![word.to_string()],
    }
}

fn is_there(root: &Path, path: &str) -> bool {
    if let Some((before, after)) = path.split_once('*') {
        let (folder, after) = (root.join(before), after.trim_start_matches('/'));
        return std::fs::read_dir(folder).is_ok_and(|mut all| all.any(|one| one.is_ok_and(|one| one.path().join(after).exists())));
    }
    if root.join(path).exists() {
        return true;
    }
    let Some((of, file)) = path.split_once('/') else { return false };
    let source = root.join("crates").join(of).join("src");
    [source.join(file), source.join(format!("{file}.rs")), root.join("crates").join(path)].iter().any(|path| path.exists())
}
