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
    assert_eq!(code(&["validate", "--file", SHOP]), 0);
    assert_eq!(code(&["fmt", "--check", "--file", SHOP]), 0);
    assert_eq!(code(&["no-such-verb"]), 2);
    assert_eq!(code(&["validate", "--file", "/no/such/file"]), 2);
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
    for verb in ["validate", "check", "bake", "plan", "deploy"] {
        let out = afresh(&[verb, "--file", path.to_str().unwrap()]);
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

/// A verb reports what it cannot do with the arguments that it got; it does not do something else instead.
#[test]
fn what_is_not_there_or_not_here_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("policy.hcl");
    let missing = missing.to_str().unwrap();
    for (args, code) in [
        (&["restore", "--host", "127.0.0.1:1"][..], "not-remote"),
        (&["down", "--yes", "--host", "127.0.0.1:1"], "not-remote"),
        (&["image", "policy", "--host", "127.0.0.1:1"], "not-remote"),
        (&["artifact", "pack", "/tmp", "--api", "127.0.0.1:1"], "not-remote"),
        (&["validate", "--file", "/tmp"], "bad-file"),
        (&["policy", "check", missing], "no-file"),
        (&["policy", "check", "--policy", missing], "no-file"),
        (&["up", "--policy", missing], "no-file"),
    ] {
        let out = afresh(args);
        let told = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2), "{args:?}: {told}");
        assert!(told.starts_with(&format!("error[{code}]: ")) && told.contains("\nhint: "), "{args:?}: {told}");
    }
    let out = Command::new(env!("CARGO_BIN_EXE_afresh")).args(["restore", "--data-dir"]).arg(dir.path()).output().unwrap();
    let told = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.code() == Some(2) && told.contains("error[no-backup]"), "a dry run looks for the backup: {told}");
}

/// A rule that is changed drops no other: of a policy that cannot be read, or has rules of a later version, nothing is known.
#[test]
fn a_policy_that_cannot_be_read_is_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let policy = |flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_afresh"));
        let out = command.args(["image", "policy"]).args(flags).arg("--data-dir").arg(&data).output().unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    let key = "ab".repeat(32);
    assert_eq!(policy(&["--require", "on", "--trust", &key]).0, Some(0));
    let path = data.join("policy.json");
    let good = std::fs::read_to_string(&path).unwrap();
    assert_eq!(policy(&["--fresh", "--refuse-bad", "on"]).0, Some(2), "there is nothing to begin again");
    for bad in [format!("{good}x"), good.replacen('{', r#"{"later": true,"#, 1)] {
        std::fs::write(&path, &bad).unwrap();
        for flags in [&["--refuse-bad", "on"][..], &["--trust", &key], &[]] {
            let (code, told) = policy(flags);
            assert!(code != Some(0) && told.contains("error[bad-policy]") && told.contains("--fresh"), "{flags:?}: {code:?} {told}");
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), bad);
        let (code, told) = policy(&["--fresh", "--require", "on", "--trust", &key]);
        assert_eq!(code, Some(0), "{told}");
        assert_eq!(std::fs::read_to_string(data.join("policy.json.damaged")).unwrap(), bad);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), good);
    }
}

/// Verbs that need no control plane make a data directory as `up` does: marked, and closed to others. A plan bakes nothing.
#[test]
fn a_store_is_private_and_its_directory_marked_also_without_up() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let run = |verb: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_afresh"));
        command.args([verb, "--file", SHOP]).arg("--data-dir").arg(&data).env("NO_COLOR", "1").output().unwrap()
    };
    let mode = || std::fs::metadata(data.join("store")).unwrap().permissions().mode() & 0o777;
    let plan = run("plan");
    let told = String::from_utf8(plan.stdout).unwrap();
    assert!(told.contains("a deploy bakes it first"), "{told}{}", String::from_utf8_lossy(&plan.stderr));
    assert_eq!((mode(), data.join("afresh.json").exists()), (0o700, true));
    std::fs::set_permissions(data.join("store"), std::fs::Permissions::from_mode(0o755)).unwrap();
    run("plan");
    assert_eq!(mode(), 0o700, "it was open to others, and is used");
    // One that an older version's bake made: nothing runs of it.
    for marker in ["afresh.json", "afresh.json.spare"] {
        std::fs::remove_file(data.join(marker)).unwrap();
    }
    let down = Command::new(env!("CARGO_BIN_EXE_afresh")).args(["down", "--yes"]).arg("--data-dir").arg(&data).output().unwrap();
    let told = String::from_utf8_lossy(&down.stderr).into_owned();
    let is_root = nix::unistd::geteuid().is_root();
    assert_eq!(down.status.code(), Some(if is_root { 0 } else { 2 }), "{told}");
    assert!(!told.contains("no-file"), "{told}");
}
