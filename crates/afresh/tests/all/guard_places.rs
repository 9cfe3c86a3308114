//! `guard contain`, `undo` and `incident` of several places: an account, another one, an emulator beside it, and this host.

use crate::fake::{Fake, STAR};
use contain::{Containment, Journal};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// With credentials, if there is an account.
fn command(dir: &Path, account: Option<&Fake>, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_afresh"));
    command.arg("guard").args(args).args(["--state", "state", "--json"]).env_clear().env("USER", "ann").env("PATH", "/usr/bin:/usr/sbin");
    command.env("AWS_EC2_METADATA_DISABLED", "true").current_dir(dir);
    if let Some(fake) = account {
        command.args(["--endpoint", &fake.url]).env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
    }
    command
}

fn guard(dir: &Path, account: Option<&Fake>, args: &[&str]) -> (Option<i32>, Vec<Value>) {
    let out: Output = command(dir, account, args).output().unwrap();
    let lines = String::from_utf8_lossy(&out.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    eprintln!("{args:?}: {:?} {} {}", out.status, String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    (out.status.code(), lines)
}

fn results(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["result"].as_str()).collect()
}

fn undo(id: &str) -> [&str; 7] {
    ["undo", id, "--owner", "bob", "--reason", "why", "--now"]
}

fn recorded(dir: &Path) -> Vec<Containment> {
    Journal::list(&dir.join("state")).unwrap()
}

/// A job of root's that every account may change.
fn job(dir: &Path) -> std::path::PathBuf {
    fs::create_dir_all(dir.join("root/etc/cron.d")).unwrap();
    let job = dir.join("root/etc/cron.d/job");
    fs::write(&job, "* * * * * root /bin/true\n").unwrap();
    fs::set_permissions(&job, Permissions::from_mode(0o666)).unwrap();
    job
}

const JOB: [&str; 4] = ["/etc/cron.d/job", "--root", "root", "--now"];

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Killed, so to say, at the call that changes something.
fn interrupted(dir: &Path, fake: &Fake, bucket: &str) {
    fake.shared.lock().unwrap().denied = Some(format!("PUT /{bucket}?publicAccessBlock="));
    let (code, lines) = guard(dir, Some(fake), &["contain", bucket, "--kind", "s3_bucket", "--now"]);
    assert_eq!((code, results(&lines)), (Some(1), vec!["failed"]));
    fake.shared.lock().unwrap().denied = None;
    assert_eq!(recorded(dir).last().unwrap().standing.name(), "planned");
}

/// What can be done on this host is done, and what cannot be reached is unknown.
#[test]
fn this_host_needs_no_credentials() {
    let held = tempfile::tempdir().unwrap();
    let (dir, fake) = (held.path(), Fake::start());
    interrupted(dir, &fake, "star");
    let file = job(dir);
    let (code, lines) = guard(dir, None, &[&["contain"], &JOB[..]].concat());
    assert_eq!((code, mode(&file), results(&lines)), (Some(2), 0o664, vec!["unreached", "contained"]), "{lines:?}");
    let id = lines[1]["containment"].as_str().unwrap();
    let (code, lines) = guard(dir, None, &undo(id));
    assert_eq!((code, mode(&file), results(&lines)), (Some(2), 0o666, vec!["unreached", "undone"]), "{lines:?}");
    // A bucket beside it is not contained, and says so.
    let (code, lines) = guard(dir, None, &[&["contain", "star"], &JOB[..]].concat());
    assert_eq!((code, mode(&file), lines.last().unwrap()["unknown"].as_u64()), (Some(2), 0o664, Some(2)), "{lines:?}");
    // Nothing else was asked for.
    assert_eq!(guard(dir, None, &["contain", "--now"]).0, Some(3));
    assert_eq!(guard(dir, None, &["contain", "star", "--now"]).0, Some(3));
    assert_eq!(recorded(dir)[0].standing.name(), "planned");
}

#[test]
fn what_was_left_in_another_account_or_at_another_endpoint_is_not_touched() {
    let held = tempfile::tempdir().unwrap();
    let (dir, fake, emulator) = (held.path(), Fake::start(), Fake::start());
    interrupted(dir, &fake, "star");
    let before = emulator.state();
    let (code, lines) = guard(dir, Some(&emulator), &["contain", "acl", "--kind", "s3_bucket", "--now"]);
    assert_eq!((code, results(&lines)), (Some(2), vec!["unreached", "contained"]), "{lines:?}");
    assert_eq!(emulator.state().values["block star"], before.values["block star"]);
    let id = lines[1]["containment"].as_str().unwrap().to_string();
    let (now, theirs) = (emulator.state(), fake.state());
    let (code, lines) = guard(dir, Some(&fake), &undo(&id));
    assert_eq!((code, lines[0]["error"]["code"].as_str()), (Some(3), Some("other-account")), "{lines:?}");
    assert!(lines[0]["error"]["hint"].as_str().unwrap().contains(&emulator.url), "{lines:?}");
    // Of another account, with the same endpoint.
    fake.shared.lock().unwrap().account = "210987654321";
    let all = ["undo", "--all", "--owner", "bob", "--reason", "why", "--now"];
    for args in [&all[..], &["contain", "--now"]] {
        let (code, lines) = guard(dir, Some(&fake), args);
        assert_eq!((code, results(&lines)), (Some(2), vec!["unreached"]), "{lines:?}");
    }
    assert!(emulator.state() == now && fake.state() == theirs);
    // Its own is finished, and the other's is left.
    fake.shared.lock().unwrap().account = crate::fake::ACCOUNT;
    let (code, lines) = guard(dir, Some(&fake), &all);
    assert_eq!((code, results(&lines)), (Some(2), vec!["pending", "contained"]), "{lines:?}");
    assert!(emulator.state() == now && fake.state().values["block star"].is_some());
}

fn waits_for(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Another run contains the bucket after this one has planned, and before it has the lock.
#[test]
fn what_was_planned_is_planned_again_under_the_lock() {
    let held = tempfile::tempdir().unwrap();
    let (dir, fake) = (held.path(), Fake::start());
    let locked = Journal::open(&dir.join("state")).unwrap();
    let mut run = command(dir, Some(&fake), &["contain", "star", "--kind", "s3_bucket", "--now"]);
    let child: Child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    waits_for("the plan", || fake.calls().iter().any(|call| call == "GET /star?website="));
    fake.shared.lock().unwrap().state.values.insert("block star", Some(crate::fake::block([true; 4])));
    let before = fake.state();
    drop(locked);
    let out = child.wait_with_output().unwrap();
    assert_eq!((out.status.code(), fake.state()), (Some(0), before), "{out:?}");
    assert!(recorded(dir).is_empty(), "nothing is planned on a value that is not there any more");
    // What an interrupted run left is finished first, and is what closes it.
    let other = tempfile::tempdir().unwrap();
    let (dir, fake) = (other.path(), Fake::start());
    interrupted(dir, &fake, "star");
    let (code, lines) = guard(dir, Some(&fake), &["contain", "star", "--kind", "s3_bucket", "--now"]);
    assert_eq!((code, results(&lines)), (Some(0), vec!["pending", "contained"]), "{lines:?}");
    assert_eq!(recorded(dir).len(), 1);
}

/// Everything that the switch closes by now, and not only what was exposed when it was set.
#[test]
fn an_undo_of_the_accounts_switch_names_all_that_it_opens() {
    let held = tempfile::tempdir().unwrap();
    let (dir, fake) = (held.path(), Fake::start());
    let (_, lines) = guard(dir, Some(&fake), &["contain", "--account", "--now"]);
    let switch = lines.iter().find(|line| line["type"] == "account").unwrap();
    let id = switch["containment"].as_str().unwrap().to_string();
    fake.shared.lock().unwrap().state.values.insert("policy quiet", Some(STAR.replace("star", "quiet")));
    // There is no terminal to ask at, so that it ends after what it shows.
    let mut asked = Command::new(env!("CARGO_BIN_EXE_afresh"));
    asked.arg("guard").args(&undo(&id)[..6]).args(["--state", "state", "--endpoint", &fake.url]).env_clear().env("NO_COLOR", "1");
    let asked = asked.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret").current_dir(dir).output().unwrap();
    assert_eq!(asked.status.code(), Some(3), "{asked:?}");
    let shown = String::from_utf8(asked.stdout).unwrap();
    assert!(shown.contains("opens: s3_bucket quiet: ") && shown.contains("opens: s3_bucket star: "), "{shown}");
    let (code, lines) = guard(dir, Some(&fake), &undo(&id));
    let opens: Vec<&str> = lines[0]["opens"].as_array().unwrap().iter().filter_map(|of| of["id"].as_str()).collect();
    assert!(code == Some(0) && ["quiet", "star", "acl"].iter().all(|id| opens.contains(id)), "{lines:?}");
    let incident = recorded(dir)[0].planned.incident.clone().unwrap();
    let shown = guard(dir, None, &["incident", "show", &incident]).1;
    assert!(
        shown.iter().any(|entry| entry["event"]["undone"]["change"].as_str().is_some_and(|c| c.contains("s3_bucket quiet"))),
        "{shown:?}"
    );
}

#[test]
fn a_multi_region_access_point_says_what_closes_it() {
    let held = tempfile::tempdir().unwrap();
    let (dir, fake) = (held.path(), Fake::start());
    let (code, lines) = guard(dir, Some(&fake), &["contain", "many", "--kind", "s3_access_point", "--now"]);
    assert_eq!((code, results(&lines)), (Some(1), vec!["no_plan"]), "{lines:?}");
    let text = lines[0]["text"].as_str().unwrap();
    assert!(text.contains("multi-region access point many") && text.contains("--account"), "{text}");
    // The account's switch closes it.
    let (_, lines) = guard(dir, Some(&fake), &["contain", "--account", "--now"]);
    let last = lines.last().unwrap();
    assert_eq!((last["failed"].as_u64(), last["unknown"].as_u64()), (Some(0), Some(0)), "{lines:?}");
}

/// A bucket could not be closed, and was deleted then: nothing of the incident is left open.
#[test]
fn an_incident_ends_though_a_resource_was_deleted() {
    let held = tempfile::tempdir().unwrap();
    let (dir, fake) = (held.path(), Fake::start());
    fake.shared.lock().unwrap().denied = Some("PUT /star?publicAccessBlock=".into());
    let (code, lines) = guard(dir, Some(&fake), &["contain", "star", "acl", "--kind", "s3_bucket", "--now"]);
    assert_eq!((code, results(&lines)), (Some(1), vec!["failed", "contained"]), "{lines:?}");
    let incident = lines.last().unwrap()["incident"].as_str().unwrap().to_string();
    let needs = || guard(dir, None, &["incident", "list"]).1[0]["needs"].as_str().unwrap().to_string();
    assert_eq!(needs(), "verified, cause, guardrail");
    // Not found by other credentials is not gone.
    fake.shared.lock().unwrap().owner = "210987654321";
    assert_eq!(guard(dir, Some(&fake), &["contain", "--incident", &incident, "--now"]).0, Some(1));
    assert_eq!(needs(), "verified, cause, guardrail");
    {
        let mut shared = fake.shared.lock().unwrap();
        shared.owner = crate::fake::ACCOUNT;
        shared.gone.insert("star");
    }
    let (code, lines) = guard(dir, Some(&fake), &["contain", "--incident", &incident, "--now"]);
    assert_eq!((code, results(&lines)), (Some(0), vec!["pending", "gone"]), "{lines:?}");
    assert_eq!(needs(), "cause, guardrail");
    let shown = guard(dir, None, &["incident", "show", &incident]).1;
    assert!(shown.iter().any(|entry| entry["event"]["gone"]["resource"] == "star"), "{shown:?}");
    assert_eq!(guard(dir, None, &["contain", "--incident", "INC-2001-01-01-1", "--now"]).0, Some(3));
}

/// Two resources that one change closes: when that is undone, neither counts as closed.
#[test]
fn what_another_change_closed_is_open_again_when_that_is_undone() {
    let held = tempfile::tempdir().unwrap();
    let (dir, fake) = (held.path(), Fake::start());
    let (code, lines) = guard(dir, Some(&fake), &["contain", "star", "star", "acl", "--kind", "s3_bucket", "--now"]);
    assert_eq!((code, results(&lines)), (Some(0), vec!["contained", "contained"]), "{lines:?}");
    let needs = || guard(dir, None, &["incident", "list"]).1[0]["needs"].as_str().unwrap().to_string();
    assert_eq!(needs(), "cause, guardrail");
    let of = |bucket: &str| recorded(dir).into_iter().find(|c| c.planned.plan.id == bucket).unwrap().id;
    assert_eq!(guard(dir, Some(&fake), &undo(&of("star"))).0, Some(0));
    assert!(needs().starts_with("contained, verified"), "{}", needs());
    // Whatever runs next does not take it for closed.
    guard(dir, Some(&fake), &["contain", "ami-1", "--now"]);
    let of = || guard(dir, None, &["incident", "list"]).1;
    assert!(needs().starts_with("contained, verified"), "{}", needs());
    assert_eq!(of()[1]["needs"], "cause, guardrail");
    // Deleted, it is closed for good; the other is closed as it was.
    fake.shared.lock().unwrap().gone.insert("star");
    let incident = of()[0]["incident"].as_str().unwrap().to_string();
    assert_eq!(guard(dir, Some(&fake), &["contain", "--incident", &incident, "--now"]).0, Some(0));
    assert_eq!(needs(), "cause, guardrail");
    assert_eq!(guard(dir, Some(&fake), &["contain", "--incident", &incident, "--now"]).0, Some(0), "and again");
}
