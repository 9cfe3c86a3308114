//! `guard contain`, `undo` and the incident that goes with them, on a file of a tree: what is shown, changed, recorded, and refused.

use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

fn guard(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_afresh"));
    command.arg("guard").args(args).env_clear().env("NO_COLOR", "1").env("USER", "ann").env("PATH", "/usr/bin:/usr/sbin");
    command.current_dir(dir).output().unwrap()
}

fn objects(out: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&out.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A job of root's that every account may change.
fn tree(dir: &Path) -> std::path::PathBuf {
    fs::create_dir_all(dir.join("root/etc/cron.d")).unwrap();
    let job = dir.join("root/etc/cron.d/job");
    fs::write(&job, "* * * * * root /bin/true\n").unwrap();
    fs::set_permissions(&job, Permissions::from_mode(0o666)).unwrap();
    job
}

#[test]
fn a_file_is_contained_and_undone_and_the_incident_says_so() {
    let held = tempfile::tempdir().unwrap();
    let dir = held.path();
    let job = tree(dir);
    let run = |args: &[&str]| guard(dir, &[args, &["--state", "state"]].concat());
    let contain = ["contain", "/etc/cron.d/job", "--root", "root", "--json"];
    let dry = run(&[&contain[..], &["--dry-run"]].concat());
    assert_eq!((dry.status.code(), mode(&job), objects(&dry)[0]["result"].as_str()), (Some(1), 0o666, Some("planned")), "{dry:?}");
    let asked = run(&contain);
    assert_eq!((asked.status.code(), mode(&job)), (Some(3), 0o666), "without a terminal nobody can be asked: {asked:?}");
    let out = run(&[&contain[..], &["--now"]].concat());
    let lines = objects(&out);
    assert_eq!((out.status.code(), mode(&job), lines[0]["result"].as_str()), (Some(0), 0o664, Some("contained")), "{out:?}");
    let (id, incident) = (lines[0]["containment"].as_str().unwrap(), lines[1]["incident"].as_str().unwrap());
    let undo = ["undo", id, "--owner", "bob", "--now", "--json"];
    assert_eq!(run(&undo).status.code(), Some(3), "a reason is missing");
    // Somebody else's mode is left.
    fs::set_permissions(&job, Permissions::from_mode(0o600)).unwrap();
    let undo = [&undo[..], &["--reason", "the job is meant to be so"]].concat();
    let out = run(&undo);
    assert_eq!((out.status.code(), mode(&job), objects(&out)[0]["result"].as_str()), (Some(1), 0o600, Some("conflict")), "{out:?}");
    fs::set_permissions(&job, Permissions::from_mode(0o664)).unwrap();
    let out = run(&undo);
    assert_eq!((out.status.code(), mode(&job)), (Some(0), 0o666), "{out:?}");
    assert_eq!(objects(&run(&["contained", "--json"]))[0]["state"], "undone");
    let shown = String::from_utf8(run(&["incident", "show", incident]).stdout).unwrap();
    for part in ["first seen: file /etc/cron.d/job", "contained: ", "verified: ", "undone ", "by bob: the job is meant to be so", "| ann |"]
    {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}

#[test]
fn an_incident_closes_only_with_its_rule() {
    let held = tempfile::tempdir().unwrap();
    let dir = held.path();
    tree(dir);
    let run = |args: &[&str]| guard(dir, &[args, &["--state", "state"]].concat());
    let out = run(&["contain", "/etc/cron.d/job", "--root", "root", "--now", "--json"]);
    let incident = objects(&out)[1]["incident"].as_str().unwrap().to_string();
    let done = |args: &[&str]| run(&[&["incident"], args].concat());
    let listed = objects(&done(&["list", "--json"]));
    assert_eq!((listed[0]["state"].as_str(), listed[0]["needs"].as_str()), (Some("open"), Some("cause, guardrail")));
    fs::write(dir.join("access.log"), "nobody\n").unwrap();
    for args in [["cause", &incident, "a umask of 0"], ["evidence", &incident, "access.log"], ["note", &incident, "nobody changed it"]] {
        assert_eq!(done(&args).status.code(), Some(0), "{args:?}");
    }
    let refused = done(&["close", &incident, "data-is-not-public"]);
    assert_eq!(refused.status.code(), Some(3), "no rule of the gate is about files: {refused:?}");
    let rule = "[[rule]]\nid = \"job-is-shut\"\ntitle = \"t\"\nseverity = \"high\"\nenforcement = \"deny\"\nresources = [\"file\"]\nwhy = \"w\"\nfix = \"f\"\n\
                require = [{ attribute = \"verdict\", is = \"not_public\" }]\nfail = [{ verdict = \"public\" }]\npass = [{ verdict = \"not_public\" }]\n";
    fs::write(dir.join("rules.toml"), rule).unwrap();
    let out = done(&["close", &incident, "job-is-shut", "--rules", "rules.toml"]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let text = String::from_utf8(done(&["export", &incident]).stdout).unwrap();
    assert!(text.contains("State: closed") && text.contains("kept, and its hash is as recorded"), "{text}");
    let answer = String::from_utf8(run(&["answer", &incident]).stdout).unwrap();
    assert!(answer.contains("we verified that it is") && answer.contains(&incident), "{answer}");
    assert_eq!(done(&["note", &incident, "late"]).status.code(), Some(3), "a closed record takes no entry");
}

#[test]
fn what_cannot_be_done_says_why() {
    let held = tempfile::tempdir().unwrap();
    let dir = held.path();
    let run = |args: &[&str]| guard(dir, &[args, &["--json"]].concat());
    let code = |args: &[&str]| objects(&run(args)).last().map(|o| o["error"]["code"].as_str().unwrap_or_default().to_string());
    assert_eq!(code(&["contain", "--state", "state"]).as_deref(), Some("no-such-resource"));
    assert_eq!(
        code(&["undo", "c9-none", "--owner", "a", "--reason", "b", "--now", "--state", "state"]).as_deref(),
        Some("bad-containment")
    );
    assert_eq!(code(&["incident", "show", "INC-1", "--state", "state"]).as_deref(), Some("no-such-incident"));
    assert_eq!(code(&["security-txt", "--contact", "me", "--expires", "2001-01-01"]).as_deref(), Some("bad-security-txt"));
    fs::create_dir_all(dir.join("state/containments")).unwrap();
    fs::write(dir.join("state/containments/c1-0"), "{\"cut").unwrap();
    assert_eq!(code(&["contained", "--state", "state"]).as_deref(), Some("bad-journal"));
}
