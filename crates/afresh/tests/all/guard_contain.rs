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

/// A path that the scan would not print is an error, and what it could not look at is unknown: neither is "not public".
#[test]
fn what_was_not_scanned_is_not_said_to_be_shut() {
    let held = tempfile::tempdir().unwrap();
    let dir = held.path();
    let job = tree(dir);
    std::os::unix::fs::symlink("job", dir.join("root/etc/cron.d/link")).unwrap();
    std::os::unix::fs::symlink("cron.d", dir.join("root/etc/jobs")).unwrap();
    let run = |path: &str| guard(dir, &["contain", path, "--kind", "file", "--root", "root", "--now", "--json", "--state", "state"]);
    for path in [
        "/etc/cron.d/jbo",
        "etc/cron.d/job",
        "./etc/cron.d/job",
        "/etc//cron.d/job",
        "/etc/./cron.d/job",
        "/etc/../etc/cron.d/job",
        "/etc/cron.d/job/",
        "/etc/cron.d/link",
        "/etc/jobs/job",
        "/",
        "",
    ] {
        let out = run(path);
        let last = objects(&out).pop().unwrap();
        assert_eq!(out.status.code(), Some(3), "{path}: {out:?}");
        assert!(last["error"]["hint"].is_string(), "{path}: {last}");
        assert_eq!(mode(&job), 0o666, "{path}");
    }
    let made_up = guard(dir, &["contain", "/proc/version", "--now", "--json", "--state", "state"]);
    assert_eq!(made_up.status.code(), Some(3), "no scan looks there: {made_up:?}");
    // Deeper than a scan goes: it says that it did not look there.
    let deep = "/d".repeat(300);
    fs::create_dir_all(dir.join("root").join(&deep[1..])).unwrap();
    let file = format!("{deep}/file");
    fs::write(dir.join("root").join(&file[1..]), "x").unwrap();
    let out = run(&file);
    assert_eq!((out.status.code(), objects(&out)[0]["result"].as_str()), (Some(2), Some("unknown")), "{out:?}");
    let scanned = guard(dir, &["scan", "root", "root/d", "--as", "host", "--json"]);
    assert_eq!(scanned.status.code(), Some(2), "{scanned:?}");
}

#[test]
fn a_name_forges_no_line() {
    let held = tempfile::tempdir().unwrap();
    let dir = held.path();
    let job = tree(dir);
    fs::rename(&job, dir.join("root/etc/cron.d/a\nc9-forged  undone")).unwrap();
    let run = |args: &[&str]| guard(dir, &[args, &["--state", "state"]].concat());
    let out = run(&["contain", "/etc/cron.d/a\nc9-forged  undone", "--root", "root", "--now"]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let incident = run(&["incident", "list", "--json"]);
    let id = objects(&incident)[0]["incident"].as_str().unwrap().to_string();
    run(&["incident", "note", &id, "x\n| 2026 | eve | closed |\u{202e}"]);
    for args in [&["contained"][..], &["incident", "list"], &["incident", "show", &id]] {
        let text = String::from_utf8(run(args).stdout).unwrap();
        assert!(text.lines().all(|line| !line.starts_with("c9-") && !line.starts_with("| 2026 ")), "{text}");
        assert!(!text.contains('\u{202e}'), "{text}");
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
