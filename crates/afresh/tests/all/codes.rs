//! Exit codes and the form of errors, as a script that calls `afresh` sees them. Nothing here needs root or a running control plane.

use std::process::{Command, Output};

fn afresh(args: &[&str]) -> Output {
    let folder = std::env::temp_dir().join("afresh-no-such-data-dir");
    Command::new(env!("CARGO_BIN_EXE_afresh"))
        .args(args)
        .env("AFRESH_DATA_DIR", folder)
        .env("NO_COLOR", "1")
        .output()
        .expect("the program was built with this test")
}

fn code(args: &[&str]) -> i32 {
    afresh(args).status.code().expect("no signal ended it")
}

const SHOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/shop/afresh.hcl");

#[test]
fn each_kind_of_end_has_its_code() {
    assert_eq!(code(&["check", "-f", SHOP]), 0);
    assert_eq!(code(&["fmt", "--check", "-f", SHOP]), 0);
    assert_eq!(code(&["no-such-verb"]), 2);
    assert_eq!(code(&["check", "-f", "/no/such/file"]), 2);
    assert_eq!(code(&["status"]), 7);
    assert_eq!(code(&["sim", "--seeds", "5"]), 0);
    assert_eq!(code(&["sim", "--bug", "no-such-bug"]), 2);
    assert_eq!(code(&["explain", "xyzzy"]), 2);
    assert_eq!(code(&["step", "run", "web.7"]), 2);
    assert_eq!(code(&["down"]), 0);
}

#[test]
fn errors_are_told_to_people_and_to_machines() {
    let out = afresh(&["status", "--json"]);
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(text.starts_with("error[unreachable]: ") && text.contains("\nhint: "), "{text}");
    let object: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(object["error"]["code"], "unreachable");
    assert_eq!(object["error"]["blame"], "world");
}

#[test]
fn a_bad_file_is_told_with_its_place_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("afresh.hcl");
    let text = "image \"base\" {\n  debain = \"bookworm\"\n}\n";
    std::fs::write(&path, text).unwrap();
    for verb in ["check", "bake", "plan", "deploy"] {
        let out = afresh(&[verb, "-f", path.to_str().unwrap()]);
        assert_eq!(out.status.code(), Some(2), "{verb}");
        let told = String::from_utf8(out.stderr).unwrap();
        assert!(told.contains("afresh.hcl:2:3") && told.contains("debian"), "{verb}: {told}");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let script = format!("{} explain | head -n 1; echo ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_afresh"));
    let out = Command::new("bash").args(["-c", &script]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.trim_end().ends_with('0') && out.stderr.is_empty(), "{text} {}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn completions_name_every_verb() {
    for shell in ["bash", "zsh", "fish"] {
        let text = String::from_utf8(afresh(&["completions", shell]).stdout).unwrap();
        for verb in ["deploy", "rollback", "doctor"] {
            assert!(text.contains(verb), "{shell} does not know {verb}");
        }
    }
}
