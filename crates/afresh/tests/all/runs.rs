//! `afresh run` on the real program: output and exit code are the command's, whatever is killed; nothing of a run stays, and servers serve on.

use crate::fleet::world::{Fleet, Users, patience, send};
use api::runs::{self, RunSeen};
use model::RunId;
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

fn run(fleet: &Fleet, args: &[&str], script: &str) -> Output {
    let out = fleet.command(&[&["run"], args, &["web", "--", "sh", "-c", script]].concat()).output().unwrap();
    println!("run {args:?} {script:?}: {:?} {:?} {:?}", out.status.code(), text(&out.stdout), text(&out.stderr));
    out
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(500)]).into_owned()
}

fn spawn(fleet: &Fleet, args: &[&str], script: &str) -> Child {
    let mut command = fleet.command(&[&["run"], args, &["web", "--", "sh", "-c", script]].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line.trim().to_string()
}

fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < patience(), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn seen(fleet: &Fleet, id: &str) -> Option<RunSeen> {
    fleet.get(&runs::one(&RunId::new(id).unwrap())).ok()
}

fn newest(fleet: &Fleet) -> RunSeen {
    let all: Vec<RunSeen> = fleet.get(runs::RUNS).unwrap();
    all.into_iter().next().unwrap()
}

/// No run is open, and the keeper has nothing of one.
fn until_nothing_left(fleet: &Fleet) {
    until("every run is over", || {
        let all: Vec<RunSeen> = fleet.get("/v1/runs?limit=1000").ok()?;
        let rows: Vec<api::control::InstanceRow> = fleet.get("/v1/instances").ok()?;
        (all.iter().all(|seen| seen.run.is_over) && rows.len() == 3).then_some(())
    });
}

#[test]
#[ignore = "needs root"]
fn a_run_prints_and_exits_as_its_command_does() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::new(dir.path(), "data");
    let users = Users::start(fleet.listen);
    let out = run(&fleet, &[], "echo one; echo two >&2; printf three; exit 3");
    assert_eq!((out.status.code(), text(&out.stdout)), (Some(3), "one\nthree\n".to_string()));
    assert_eq!(text(&out.stderr), "two\n", "each stream on its own");
    // Code, environment and user are those of the servers.
    let facts = "cat /www/healthz; echo $HOME; while read a b c d; do case $a in Uid:) echo $b;; esac; done < /proc/self/status";
    let out = run(&fleet, &[], facts);
    assert_eq!((out.status.code(), text(&out.stdout)), (Some(0), "ok\n/tmp\n65534\n".to_string()));
    let codes = [
        (run(&fleet, &[], "kill -9 $$; sleep 5").status.code(), [0, 137]),
        (run(&fleet, &["--timeout", "1s"], "trap '' TERM; while :; do sleep 0.1; done").status.code(), [124, 124]),
        (fleet.run(&["run", "web", "--", "no-such-program"]).status.code(), [127, 127]),
        (fleet.run(&["run", "mail", "--", "true"]).status.code(), [125, 125]),
        (fleet.run(&["run", "web", "--release", "9", "--", "true"]).status.code(), [125, 125]),
        (fleet.run(&["run", "web", "--timeout", "25h", "--", "true"]).status.code(), [125, 125]),
        (fleet.run(&["run", "web"]).status.code(), [125, 125]),
    ];
    for (code, want) in codes {
        assert!(want.map(Some).contains(&code), "{code:?}, not {want:?}");
    }
    let json = fleet.command(&["run", "--json", "web", "--", "sh", "-c", "echo a; exit 4"]).output().unwrap();
    let lines: Vec<serde_json::Value> = text_lines(&json.stdout);
    assert_eq!((json.status.code(), &lines[0]["text"], &lines[1]["exit"]), (Some(4), &"a".into(), &4.into()));
    until_nothing_left(&fleet);
    let listed = String::from_utf8(fleet.run(&["run", "list"]).stdout).unwrap();
    assert!(listed.contains("exit 3, \"three\"") && listed.contains("not started") && listed.contains("root"), "{listed}");
    let audit = String::from_utf8(fleet.run(&["audit"]).stdout).unwrap();
    assert!(audit.contains("no-such-program") && audit.contains("web,web.x"), "{audit}");
    let (sent, failed) = users.finish();
    assert!(failed.is_empty() && sent > 100, "{failed:?} of {sent}");
    fleet.whole(&[]).unwrap();
}

fn text_lines(bytes: &[u8]) -> Vec<serde_json::Value> {
    String::from_utf8_lossy(bytes).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
#[ignore = "needs root"]
fn a_run_ends_when_it_is_interrupted_and_survives_what_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::new(dir.path(), "data");
    // Ctrl-C: its drain signal. A second one kills.
    let mut polite = spawn(&fleet, &[], "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.1; done");
    assert_eq!(first_line(&mut polite), "ready");
    send(polite.id(), Signal::SIGINT);
    let out = polite.wait_with_output().unwrap();
    assert_eq!((out.status.code(), text(&out.stdout).contains("bye")), (Some(7), true), "{}", text(&out.stderr));
    let mut deaf = spawn(&fleet, &[], "trap '' TERM; echo ready; while :; do sleep 0.1; done");
    assert_eq!(first_line(&mut deaf), "ready");
    send(deaf.id(), Signal::SIGTERM);
    until("it is asked to end", || newest(&fleet).run.stop.map(drop));
    send(deaf.id(), Signal::SIGINT);
    assert_eq!(deaf.wait().unwrap().code(), Some(137));
    assert!(newest(&fleet).run.stop.unwrap().kill);

    // The client, the control plane and the keeper are killed; somebody else follows it to its end.
    let mut child = spawn(&fleet, &[], "echo ready; i=0; while [ $i -lt 60 ]; do sleep 0.1; i=$((i+1)); done; echo done; exit 9");
    assert_eq!(first_line(&mut child), "ready");
    let id = newest(&fleet).run.id.to_string();
    child.kill().unwrap();
    child.wait().unwrap();
    fleet.kill_role("serve");
    fleet.kill_role("host");
    let out = until("the control plane is back", || {
        let out = fleet.run(&["run", "attach", &id]);
        (out.status.code() != Some(125)).then_some(out)
    });
    assert_eq!((out.status.code(), text(&out.stdout)), (Some(9), "ready\ndone\n".to_string()));
    // Its deadline holds while the keeper and the control plane stay down.
    let out = fleet.run(&["run", "--detach", "--timeout", "2s", "web", "--", "sleep", "8765"]);
    let id = text(&out.stdout).trim().to_string();
    let running = || std::fs::read_dir("/proc").unwrap().flatten().any(|p| is_sleep(&p.path()));
    until("it runs", || running().then_some(()));
    let begun = Instant::now();
    while running() {
        fleet.kill_role("host");
        fleet.kill_role("serve");
        assert!(begun.elapsed() < patience());
        std::thread::sleep(Duration::from_millis(100));
    }
    let exit = until("its end is known", || seen(&fleet, &id)?.run.exit);
    assert!(exit.timed_out, "{exit:?}");
    until_nothing_left(&fleet);
    fleet.whole(&[]).unwrap();
}

fn is_sleep(process: &std::path::Path) -> bool {
    std::fs::read(process.join("cmdline")).is_ok_and(|line| line == b"sleep\08765\0")
}

/// What a run may do to its host is what a server may: bounded processes, memory and output.
#[test]
#[ignore = "needs root"]
fn a_hostile_run_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::new(dir.path(), "data");
    let users = Users::start(fleet.listen);
    let bomb = run(&fleet, &["--timeout", "5s"], "f() { f | f & }; f; sleep 100");
    assert!([Some(124), Some(2), Some(1), Some(137)].contains(&bomb.status.code()), "{:?}", bomb.status);
    let eater = run(&fleet, &["--timeout", "60s"], "x=x; while :; do x=$x$x; done");
    assert_eq!(eater.status.code(), Some(137));
    assert!(text(&eater.stderr).contains("out of memory"), "{}", text(&eater.stderr));
    // 400 MB of output: its program is not held up, its log stays bounded, and its exit code is its own.
    let flood = "i=0; while [ $i -lt 100000 ]; do echo $i 0123456789012345678901234567890123456789; i=$((i+1)); done; exit 6";
    let mut child = spawn(&fleet, &["--timeout", "10m"], &format!("({flood}); {flood}"));
    let mut out = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(6));
    assert!(out.len() > 1_000_000, "{} bytes", out.len());
    let logs = fleet.layout().host().join("logs");
    let bytes: u64 = std::fs::read_dir(logs).unwrap().flatten().map(|e| e.metadata().unwrap().len()).sum();
    assert!(bytes < 40 << 20, "{bytes} bytes of logs");
    until_nothing_left(&fleet);
    let (sent, failed) = users.finish();
    assert!(failed.is_empty(), "{failed:?} of {sent}");
    fleet.whole(&[]).unwrap();
}
