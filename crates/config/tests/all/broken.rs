//! Files that are wrong: every error of each, as people see it. A file is named for a code it must give: `CODE--variant.hcl`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let mut all: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

fn errors(path: &Path) -> (String, String, Vec<config::Diagnostic>) {
    let text = std::fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap().to_string();
    let Err(all) = config::parse(&text, &name) else { panic!("{name} was taken") };
    (name, text, all)
}

#[test]
fn every_broken_file_is_told_as_recorded() {
    let files = files();
    assert!(files.len() >= 60, "only {} files", files.len());
    for path in files {
        let (name, text, all) = errors(&path);
        let shown = config::render(&all, &text, &name, false);
        for error in &all {
            assert!(shown.contains(&format!("--> {name}:{}:{}\n", error.line, error.column)), "{shown}");
        }
        insta::assert_snapshot!(name.clone(), shown);
    }
}

#[test]
fn every_error_has_its_place_and_says_what_to_do() {
    for path in files() {
        let (name, text, all) = errors(&path);
        assert!(!all.is_empty());
        for error in &all {
            assert!(error.line >= 1 && error.column >= 1 && error.file == name, "{name}: {error:?}");
            assert!(error.span.end <= text.len() && text.get(error.span.clone()).is_some(), "{name}: {error:?}");
            // Line and column are counted here in another way than the crate does.
            let before = text[..error.span.start].trim_start_matches('\u{feff}');
            assert_eq!(error.line, before.matches('\n').count() + 1, "{name}: {error:?}");
            assert_eq!(error.column, before.rsplit('\n').next().unwrap().chars().count() + 1, "{name}: {error:?}");
            assert!(!error.label.is_empty() || error.hint.is_some(), "{name}: {error:?} says nothing of what was expected");
            assert!(error.to_string().starts_with(&format!("{name}:{}:{}: ", error.line, error.column)));
        }
        let places: Vec<_> = all.iter().map(|e| (e.span.start, e.span.end)).collect();
        assert!(places.is_sorted(), "{name}: in the order of the file");
    }
}

#[test]
fn every_code_there_is_has_a_broken_file() {
    let mut seen = BTreeSet::new();
    for path in files() {
        let (name, _, all) = errors(&path);
        let code = name.split("--").next().unwrap().split('.').next().unwrap();
        let codes: BTreeSet<String> = all.into_iter().map(|e| e.code).collect();
        let scene = ["everything-at-once", "wide-and-tabs", "crlf", "bom", "long-line", "json-rules"].contains(&code);
        assert!(scene || codes.contains(code), "{name} gives {codes:?}");
        seen.extend(codes);
    }
    // Codes are found in the source, so that a new one cannot be forgotten. These few come from outside of `parse`, or never.
    let elsewhere = ["not-utf8", "no-file", "not-a-file", "unreadable", "too-large", "unread", "bad-service-file"];
    // And these are of the host policy: see `policy.rs`.
    let of_policy = ["bad-grant", "bad-identity", "bad-role", "needs-socket"];
    let mut in_source = BTreeSet::new();
    codes_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut in_source);
    assert!(in_source.len() > 35, "{in_source:?}");
    let told = |code: &String| seen.contains(code) || elsewhere.contains(&code.as_str()) || of_policy.contains(&code.as_str());
    let missing: Vec<_> = in_source.iter().filter(|code| !told(code)).collect();
    assert!(missing.is_empty(), "no broken file for {missing:?}");
}

fn codes_in(dir: &Path, codes: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            codes_in(&path, codes);
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        for begin in ["Draft::new(", "ValidationError::new("] {
            for part in source.split(begin).skip(1) {
                let part = part.trim_start();
                let literals = if part.starts_with("if ") { 3 } else { 2 };
                // `Draft::new(if .. { "a" } else { "b" }, ..)` has two codes; the condition's own text is no code.
                for text in part.split('"').take(literals * 2).skip(1).step_by(2).take(if part.starts_with('"') { 1 } else { 3 }) {
                    if text.contains('-') && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b.is_ascii_digit()) {
                        codes.insert(text.to_string());
                    }
                }
            }
        }
    }
}

#[test]
fn colours_are_only_there_when_asked_for() {
    let (name, text, all) = errors(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken/everything-at-once.hcl"));
    assert!(!config::render(&all, &text, &name, false).contains('\u{1b}'));
    assert!(config::render(&all, &text, &name, true).contains('\u{1b}'));
}
