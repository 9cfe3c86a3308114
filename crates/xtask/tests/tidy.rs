//! The house rules that a machine can hold: arrows, purity, the length and the opening of files.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use serde_json::{Value, json};

fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let out = std::process::Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(xtask::root())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn only_allowed_arrows() {
    assert_eq!(xtask::forbidden_arrows(&metadata()), Vec::<String>::new());
}

#[test]
fn a_planted_arrow_is_seen() {
    let package = |name: &str, on: &[&str]| json!({"name": name, "dependencies": on.iter().map(|d| json!({"name": d, "kind": null})).collect::<Vec<_>>()});
    let planted = json!({"packages": [package("host", &["image"]), package("image", &[]), package("rotation", &["tokio"]), package("newcomer", &[])]});
    assert_eq!(xtask::forbidden_arrows(&planted), ["host -> image", "rotation -> tokio", "newcomer: a crate with no arrows decided"]);
}

#[test]
fn pure_crates_have_the_bans() {
    for name in xtask::PURE {
        let path = xtask::root().join("crates").join(name).join("clippy.toml");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(text.contains("std::time::SystemTime") && text.contains("std::collections::HashMap"), "{name} lost its bans");
    }
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut wrong = Vec::new();
    for (path, text) in xtask::sources(&xtask::root().canonicalize().unwrap()).unwrap() {
        let lines = text.lines().count();
        if lines > 800 {
            wrong.push(format!("{}: {lines} lines, 800 are allowed", path.display()));
        }
        if !text.starts_with("//!") {
            wrong.push(format!("{}: does not open with //! on what it is for", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Lists of mutants rot when the code under them changes; a mistake that cannot be made proves nothing.
#[test]
fn every_mutant_applies() {
    let root = xtask::root().canonicalize().unwrap();
    let mutants = xtask::mutants::lists(&root).unwrap_or_else(|faults| panic!("{}", faults.join("\n")));
    let wrong: Vec<_> = mutants.iter().filter_map(|m| m.applied(&root).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_list_of_mutants_is_read_as_written() {
    let (mut mutants, mut faults) = (Vec::new(), Vec::new());
    let text = "# c\n@ a: x\n@ b: y z\nf.rs | a \\| b | c\\nd | n\nf.rs | a | b | survives: w\n@ c: z\nf | o | n\n";
    xtask::mutants::parse("l", text, &mut mutants, &mut faults);
    assert_eq!(faults, ["l:7: 3 fields, `file | old | new | note` has 4"]);
    let first = &mutants[0];
    assert_eq!((first.old.as_str(), first.new.as_str(), first.layers.len()), ("a | b", "c\nd", 2));
    assert_eq!((mutants[1].accepted(), mutants[0].accepted()), (Some("w"), None));
}
