//! Commands inside servers of the real program: their rights, their streams, the audit, the host policy, a terminal. The oracles are what
//! the commands see, and the kernel's own list of processes.

use crate::fleet::world::Fleet;
use api::control::AuditLine;
use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn server(fleet: &Fleet) -> String {
    fleet.servers()[0].0.to_string()
}

fn exec(fleet: &Fleet, script: &str) -> Output {
    let out = fleet.run(&["exec", &server(fleet), "--", "sh", "-c", script]);
    println!(
        "exec {script:?}: {:?} {:?} {:?}",
        out.status.code(),
        text(&out.stdout).chars().take(300).collect::<String>(),
        text(&out.stderr)
    );
    out
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether a `sleep` for exactly this time runs on this host.
fn runs(time: &str) -> bool {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let line = format!("sleep\0{time}\0");
    pids.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok()).any(|found| found == line.as_bytes())
}

fn audit(fleet: &Fleet) -> Vec<AuditLine> {
    let all: Vec<AuditLine> = fleet.get("/v1/audit?limit=1000").unwrap();
    all.into_iter().filter(|line| line.what.contains("exec")).collect()
}

#[test]
#[ignore = "needs root"]
fn a_command_inside_has_the_server_s_rights_and_its_end_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::new(dir.path(), "data");
    let facts = "busybox id -u; while read a b; do case $a in NoNewPrivs:|Seccomp:|CapEff:|CapBnd:) echo $a $b;; esac; done < /proc/self/status; \
                 for n in 0 1 2 3 4 5 6 7 8 9 10 11 12; do [ -e /proc/$$/fd/$n ] && echo $n; done; echo $AFRESH_INSTANCE; echo err >&2; exit 7";
    let out = exec(&fleet, facts);
    let want =
        format!("65534\nCapEff: 0000000000000000\nCapBnd: 0000000000000000\nNoNewPrivs: 1\nSeccomp: 2\n0\n1\n2\n{}\n", server(&fleet));
    assert_eq!((out.status.code(), text(&out.stdout), text(&out.stderr)), (Some(7), want, "err\n".to_string()));
    // The same processes and network as the program's.
    assert!(text(&exec(&fleet, "busybox ps; busybox wget -q -O - http://127.0.0.1:8080/healthz").stdout).contains("httpd"));
    // Streams byte for byte, both ways, and no more in memory than is bounded: 20 MB beside a bound of 1.
    let bytes: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    let mut cat = fleet.command(&["exec", &server(&fleet), "--", "cat"]);
    let mut child = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(out.status.code() == Some(0) && out.stdout == bytes, "{} bytes came back", out.stdout.len());
    assert_eq!(exec(&fleet, "busybox head -c 20000000 /dev/zero").stdout.len(), 20_000_000);
    assert_eq!(exec(&fleet, "kill -9 $$; sleep 5").status.code(), Some(137));
    let missing = fleet.run(&["exec", &server(&fleet), "--", "no-such-program"]);
    assert_eq!(missing.status.code(), Some(127), "{}", text(&missing.stderr));
    assert!(text(&missing.stderr).contains("no-such-program"), "{}", text(&missing.stderr));
    for (name, says) in [("web-r9-9-9", "no server web-r9-9-9 runs here"), ("mail-r1-1-1", "error[not-found]"), ("web", "error[bad-name]")]
    {
        let out = fleet.run(&["exec", name, "--", "true"]);
        assert!(out.status.code() == Some(125) && text(&out.stderr).contains(says), "{name}: {}", text(&out.stderr));
    }
    // What it leaves behind ends with it.
    let mark = (700_000 + std::process::id()).to_string();
    assert_eq!(exec(&fleet, &format!("busybox setsid sleep {mark} > /dev/null 2>&1 & echo begun")).status.code(), Some(0));
    until("nothing is left", || (!runs(&mark)).then_some(()));
    fleet.whole(&[]).unwrap();
}

#[test]
#[ignore = "needs root"]
fn each_is_in_the_audit_before_it_begins_and_root_can_forbid_it() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("policy.hcl");
    let write = |text: &str| disk::write(&policy, text.as_bytes(), 0o644, disk::Lasting::Soon).unwrap();
    write("");
    let mut fleet = Fleet::empty(dir.path(), "data");
    fleet.start(&["--policy", policy.to_str().unwrap()]).unwrap();
    fleet.deploy("exec busybox httpd -f -p 8080 -h /www", "2m");
    until("healthy", || (fleet.servers().len() == 3).then_some(()));
    // It sees its own line: the audit is outside, so it waits for the test to say what is there.
    let mut waits = fleet.command(&["--reason", "looking", "exec", &server(&fleet), "--", "sh", "-c", "read x; exit 4"]);
    let mut child = waits.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let begins = until("a line before it ends", || audit(&fleet).into_iter().find(|line| line.outcome == "begins"));
    let seen = (begins.who.as_str(), begins.what.clone(), begins.detail.as_str(), begins.reason.as_str());
    assert_eq!(seen, ("root", format!("exec {}", server(&fleet)), "sh -c read x; exit 4", "looking"));
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(4));
    let ended = until("its end", || audit(&fleet).into_iter().find(|line| line.outcome == "ended"));
    assert!(ended.message.starts_with("exit 4 after ") && ended.detail == begins.detail && ended.who == "root", "{ended:?}");
    // Who may deploy may not thereby run commands; who is named may.
    let token = dir.path().join("ci.token");
    let made = fleet.run(&["token", "create", "ci", "--role", "deploy", "--service", "web"]);
    let word = text(&made.stdout).split_whitespace().find(|word| word.len() > 30).unwrap().to_string();
    disk::write(&token, word.as_bytes(), 0o600, disk::Lasting::Soon).unwrap();
    let by_token = |args: &[&str]| {
        let mut all = vec!["--token-file", token.to_str().unwrap(), "exec"];
        all.extend(args);
        let out = fleet.run(&all);
        (out.status.code(), text(&out.stderr))
    };
    let inside = server(&fleet);
    let (code, why) = by_token(&[&inside, "--", "sleep", "0"]);
    assert!(code == Some(125) && why.contains("error[policy-run]"), "{why}");
    write("run = [\"token:ci\"]\n");
    assert_eq!(by_token(&[&inside, "--", "sleep", "0"]).0, Some(0));
    // Root of the host forbids it to everybody, also by a file with a mistake in it.
    for (policy, says) in [("exec = false\n", "error[policy-no-exec]"), ("exec = maybe\n", "error[policy-invalid]")] {
        write(policy);
        let out = exec(&fleet, "exit 0");
        assert!(out.status.code() == Some(125) && text(&out.stderr).contains(says), "{}", text(&out.stderr));
    }
    let refused: Vec<String> = audit(&fleet).into_iter().filter(AuditLine::is_refusal).map(|line| line.code).collect();
    assert_eq!(refused, ["policy-run", "policy-no-exec", "policy-invalid"]);
}

/// `script` is a terminal: what is typed goes in, what it shows comes out.
fn on_terminal(fleet: &Fleet, command: &str, typed: &[(&str, &[u8])]) -> (i32, String) {
    let words = fleet.command(&["exec", &server(fleet), "--"]);
    let line: Vec<String> =
        std::iter::once(words.get_program()).chain(words.get_args()).map(|w| w.to_string_lossy().into_owned()).collect();
    let line = format!("stty rows 33 cols 111; TERM=xterm {} {command}", line.join(" "));
    let mut script = Command::new("script");
    script.args(["-qefc", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = script.spawn().expect("apt install bsdutils");
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut shown, mut buffer) = (String::new(), [0; 4096]);
    for (awaited, bytes) in typed {
        while !shown.contains(awaited) {
            let n = stdout.read(&mut buffer).unwrap();
            assert!(n > 0, "{awaited:?} is not in {shown:?}");
            shown.push_str(&text(&buffer[..n]));
        }
        stdin.write_all(bytes).unwrap();
    }
    stdout.read_to_string(&mut shown).unwrap();
    println!("{shown}");
    (child.wait().unwrap().code().unwrap(), shown)
}

#[test]
#[ignore = "needs root"]
fn a_terminal_has_its_size_its_signals_and_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::new(dir.path(), "data");
    let mark = (800_000 + std::process::id()).to_string();
    let sleep = format!(
        "while [ \"$(busybox stty size)\" = '0 0' ]; do sleep 0.1; done; busybox stty size; echo $TERM; test -t 0 && test -t 1 && echo is''one; trap 'echo in''terrupted; exit 5' INT; echo re''ady; sleep {mark}; exit 6\n"
    );
    let (code, shown) = on_terminal(&fleet, "sh", &[("$ ", sleep.as_bytes()), ("ready", b"\x03")]);
    assert!(shown.contains("33 111") && shown.contains("xterm") && shown.contains("isone") && shown.contains("interrupted"), "{shown:?}");
    assert_eq!(code, 5, "Ctrl-C is a signal inside");
    until("the sleep has ended", || (!runs(&mark)).then_some(()));
    // A command that does not listen to anything ends all the same.
    let deaf = format!("sh -c \"trap '' INT TERM HUP; echo re''ady; while :; do sleep {mark}; done\"");
    let (code, shown) = on_terminal(&fleet, &deaf, &[("ready", b"\x1d\x1d\x1d")]);
    assert!(code != 0 && shown.contains("it was stopped"), "{code} {shown:?}");
    until("it was killed", || (!runs(&mark)).then_some(()));
    // The terminal of the host is not inside: neither as a file, nor by a descriptor, nor by typing into it.
    let inside =
        "sh -c 'busybox ls /dev/pts; busybox ls /proc/self/fd; busybox readlink /proc/self/fd/0; test -e /dev/tty && echo controlling'";
    let (_, shown) = on_terminal(&fleet, inside, &[]);
    assert!(shown.contains("/dev/pts/0") && !shown.contains("/dev/pts/1"), "{shown:?}");
    fleet.whole(&[]).unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_killed_keeper_ends_what_it_had_begun_and_the_audit_says_that_the_end_is_not_known() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::new(dir.path(), "data");
    let mark = (900_000 + std::process::id()).to_string();
    let mut command = fleet.command(&["exec", &server(&fleet), "--", "sleep", &mark]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("it runs", || runs(&mark).then_some(()));
    fleet.kill_role("host");
    until("it was killed", || (!runs(&mark)).then_some(()));
    let code = child.wait().unwrap().code();
    assert_eq!(code, Some(125));
    until("its end", || audit(&fleet).into_iter().find(|line| line.outcome == "ended" && line.message.contains("not known")));
    fleet.whole(&[]).unwrap();
}

/// A real one, bounded by the server's own limit of processes: it ends with its session, and the server serves on.
#[test]
#[ignore = "needs root"]
fn a_fork_bomb_ends_with_its_session_and_an_administrator_ends_any() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::new(dir.path(), "data");
    let mark = format!("bomb{}", std::process::id());
    let bomb = format!("printf 'while :; do sh /tmp/{mark} & sh /tmp/{mark} & done' > /tmp/{mark}; sh /tmp/{mark} & exec sh /tmp/{mark}");
    let count = || {
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        pids.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok()).filter(|line| text(line).contains(&mark)).count()
    };
    let mut command = fleet.command(&["exec", "-T", &server(&fleet), "--", "sh", "-c", &bomb]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("it forks", || (count() > 10).then_some(()));
    let listed = text(&fleet.run(&["exec", "list"]).stdout);
    let session = listed
        .lines()
        .find(|line| line.contains(&mark))
        .and_then(|line| line.split_whitespace().next())
        .unwrap_or_else(|| panic!("{listed}"));
    let stopped = fleet.run(&["exec", "stop", session]);
    assert!(stopped.status.success(), "{}", text(&stopped.stderr));
    let begun = Instant::now();
    until("nothing of it is left", || (count() == 0).then_some(()));
    println!("the bomb ended after {} ms", begun.elapsed().as_millis());
    assert_ne!(child.wait().unwrap().code(), Some(0));
    assert_eq!(exec(&fleet, "exit 3").status.code(), Some(3), "the server has room for another");
    fleet.whole(&[]).unwrap();
}
