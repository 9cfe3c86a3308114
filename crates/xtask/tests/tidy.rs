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
fn no_arrow_is_allowed_that_nothing_uses() {
    assert_eq!(xtask::unused_arrows(&metadata()), Vec::<String>::new());
    let none =
        json!({"packages": [{"name": "disk", "dependencies": [{"name": "model", "kind": "dev"}]}, {"name": "model", "dependencies": []}]});
    assert!(xtask::unused_arrows(&none).contains(&"disk -> model".to_string()), "a test's own use does not count");
}

fn architecture() -> String {
    std::fs::read_to_string(xtask::root().join("ARCHITECTURE.md")).unwrap()
}

#[test]
fn the_architecture_lists_the_crates_and_arrows_as_they_are() {
    let metadata = metadata();
    let names: std::collections::BTreeSet<_> =
        metadata["packages"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap().to_string()).collect();
    assert_eq!(xtask::architecture::crates(&architecture()), names);
    let (said, are) = (xtask::architecture::arrows(&architecture()), xtask::arrows(&metadata));
    let only_said: Vec<_> = said.difference(&are).collect();
    let not_said: Vec<_> = are.difference(&said).collect();
    assert!(only_said.is_empty() && not_said.is_empty(), "said and not there: {only_said:?}; there and not said: {not_said:?}");
}

#[test]
fn every_path_in_the_architecture_exists() {
    let root = xtask::root().canonicalize().unwrap();
    let missing = xtask::architecture::missing_paths(&root, &architecture());
    assert!(missing.is_empty(), "ARCHITECTURE.md names what is not there:\n{}", missing.join("\n"));
}

#[test]
fn a_planted_lie_in_the_architecture_is_seen() {
    let root = xtask::root().canonicalize().unwrap();
    let text = "# A\n\n## Code map\n\n| crate | x |\n| --- | --- |\n| `model` | nouns |\n| `ghost` | `model/ghosts` |\n\nghost, disk -> model (for x), sim\n\n## B\n\n| `no` |\n";
    assert_eq!(Vec::from_iter(xtask::architecture::crates(text)), ["ghost", "model"]);
    let arrows = ["disk -> model", "disk -> sim", "ghost -> model", "ghost -> sim"];
    assert_eq!(Vec::from_iter(xtask::architecture::arrows(text)), arrows);
    assert_eq!(xtask::architecture::missing_paths(&root, text), ["8: model/ghosts"]);
    let mixed = "`model/{event,nothing}` `crates/*/mutants.list` `crates/disk/none.rs` `tools/fuzz.sh` `/proc/1/mem` `a -> b` `up.rs`";
    assert_eq!(xtask::architecture::missing_paths(&root, mixed), ["1: model/nothing", "1: crates/disk/none.rs", "1: up.rs"]);
}

#[test]
fn a_planted_arrow_is_seen() {
    let package = |name: &str, on: &[&str]| json!({"name": name, "dependencies": on.iter().map(|d| json!({"name": d, "kind": null})).collect::<Vec<_>>()});
    let planted =
        json!({"packages": [package("host", &["bake"]), package("bake", &[]), package("rotation", &["tokio"]), package("newcomer", &[])]});
    assert_eq!(xtask::forbidden_arrows(&planted), ["host -> bake", "rotation -> tokio", "newcomer: a crate with no arrows decided"]);
}

/// `tools/fuzz.sh` builds with `--locked`, in a workspace of its own: nothing else notices that its lock is of other crates.
#[test]
fn the_lock_of_the_fuzz_targets_is_of_the_crates_as_they_are() {
    let text = std::fs::read_to_string(xtask::root().join("fuzz/Cargo.lock")).unwrap();
    let stale = xtask::fuzz_lock::stale(&metadata(), &text);
    assert!(stale.is_empty(), "run `cargo update --workspace` in fuzz/:\n{}", stale.join("\n"));
}

#[test]
fn a_stale_lock_is_seen() {
    let dependency = |name: &str, kind: Value| json!({"name": name, "kind": kind});
    let a = json!({"name": "a", "dependencies": [dependency("b", Value::Null), dependency("serde", Value::Null), dependency("tempfile", "dev".into())]});
    let now = json!({"packages": [a, json!({"name": "b", "dependencies": []})]});
    let lock = |of_a: &str| {
        let package = |name: &str, more: &str| format!("[[package]]\nname = \"{name}\"\nversion = \"0.1.0\"\n{more}\n");
        package("a", &format!("dependencies = [\n{of_a}]\n")) + &package("b", "") + &package("serde", "source = \"registry\"\n")
    };
    assert_eq!(xtask::fuzz_lock::stale(&now, &lock(" \"b\",\n \"serde 1.0.0\",\n")), Vec::<String>::new());
    assert_eq!(xtask::fuzz_lock::stale(&now, &lock(" \"serde\",\n")), ["a: the lock has serde, the crate b serde"]);
    assert_eq!(xtask::fuzz_lock::stale(&json!({"packages": []}), &lock(" \"b\",\n")), ["a: no crate of ours", "b: no crate of ours"]);
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

/// Sources, documents, scripts and examples; not what others wrote (fixtures, seeds), nor the list of phrases itself.
fn texts() -> Vec<(String, String)> {
    let root = xtask::root().canonicalize().unwrap();
    let listed = std::process::Command::new("git").args(["ls-files", "-z"]).current_dir(&root).output().unwrap();
    assert!(listed.status.success(), "git lists the files: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).unwrap();
    let is_ours = |name: &&str| {
        let kind = [".rs", ".md", ".sh", ".py", ".hcl", ".snap", ".toml", "Makefile", ".txt"].iter().any(|end| name.ends_with(end));
        kind && !name.ends_with("xtask/src/language.rs") && !name.ends_with("xtask/tests/tidy.rs") && !name.contains("/fixtures/")
    };
    let read = |name: &str| std::fs::read_to_string(root.join(name)).ok().map(|text| (name.to_string(), text));
    names.split('\0').filter(is_ours).filter_map(read).collect()
}

#[test]
fn texts_are_plain_technical_english() {
    let texts = texts();
    let found: Vec<String> =
        texts.iter().flat_map(|(name, text)| xtask::language::banned(text).into_iter().map(move |one| format!("{name}:{one}"))).collect();
    assert!(found.is_empty(), "{} phrases that cost a stranger time:\n{}", found.len(), found.join("\n"));
}

#[test]
fn a_planted_phrase_is_seen() {
    let found = xtask::language::banned("one\n// It is Told of.\nlet is_well = wishbone;\n#[serde(alias = \"census\")]\n");
    assert_eq!(found, ["2: \"told of\" -> reported, logged, shown"], "words, not parts of names, and no names that older versions wrote");
}

#[test]
fn files_of_a_crate_lean_on_each_other_without_circles() {
    let found = xtask::circles_of_files(&xtask::root().canonicalize().unwrap()).unwrap();
    assert!(found.is_empty(), "files that lean on each other; move what both need into a file of its own:\n{}", found.join("\n"));
}

#[test]
fn a_planted_circle_is_seen() {
    let file = |name: &str, text: &str| (name.to_string(), text.to_string());
    let lib = file("", "mod a;\nmod b;\nmod c;\npub use a::A;\n");
    let (a, b) = (file("a", "use crate::b::{self, B};\npub struct A(B);\n"), file("b", "pub struct B;\n"));
    assert_eq!(xtask::circles::circles(&[lib.clone(), a.clone(), b]), Vec::<Vec<String>>::new(), "one way only");
    // By a path in place, by what the root passes on, over a third file, and by a name within an imported folder.
    for back in ["use crate::d;\nfn b() { d::inner::A::new() }", "pub fn b() { crate::a::a() }", "use crate::A;\n", "use super::c::C;\n"] {
        let files = [
            lib.clone(),
            a.clone(),
            file("b", back),
            file("c", "use crate::a;\n"),
            file("d", "pub mod inner;"),
            file("d::inner", "use crate::a::A;"),
        ];
        let found = xtask::circles::circles(&files);
        assert!(found.len() == 1 && found[0].contains(&"a".to_string()) && found[0].contains(&"b".to_string()), "{back}: {found:?}");
    }
    let tests = file("b", "pub struct B;\n// use crate::a;\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n");
    assert_eq!(xtask::circles::circles(&[lib, a, tests]), Vec::<Vec<String>>::new(), "comments and unit tests do not count");
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
