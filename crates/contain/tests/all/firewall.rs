//! The drop of a port, in a network namespace of its own, with a client at the other end of a wire as the judge.

use contain::{By, Firewall, Journal, Outcome, Place, Planned, Undo, World, begin_undo, carry_on};
use guard::contain::{Plan, State};
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

fn run(program: &str, args: &[&str]) {
    let out = Command::new(program).args(args).output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

fn now() -> i64 {
    10
}

const BY: By<'static> = By { name: "ann", now_s: &now };
const UNDO: Undo<'static> = Undo { owner: "bob", reason: "why", opens: &[] };

fn planned(port: u16) -> Planned {
    let setting = Firewall::setting("tcp", port);
    let id = format!("tcp/{port}");
    let plan = Plan { kind: "port".into(), id: id.clone(), setting, before: State::On(false), after: State::On(true), cut_off: Vec::new() };
    let (contain_command, undo_command) = (plan.contain().unwrap().command, plan.undo().unwrap().command);
    Planned { at: Place::Host { root: "/".into() }, plan, covers: vec![("port".into(), id)], contain_command, undo_command, incident: None }
}

/// Runs itself in a network namespace of its own; a second one is the client's.
#[test]
#[ignore = "needs root"]
fn a_port_is_dropped_and_opened_again() {
    const INSIDE: &str = "AFRESH_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_none() {
        let program = std::env::current_exe().unwrap();
        let args = ["--exact", "firewall::a_port_is_dropped_and_opened_again", "--ignored", "--nocapture"];
        let status = Command::new("unshare").arg("--net").arg(program).args(args).env(INSIDE, "1").status().unwrap();
        assert!(status.success());
        return;
    }
    run("ip", &["link", "set", "lo", "up"]);
    let mut client = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().unwrap();
    let peer = client.id().to_string();
    run("ip", &["link", "add", "here", "type", "veth", "peer", "name", "there"]);
    // Until it has unshared, the wire would end where it begins.
    while std::fs::read_link(format!("/proc/{peer}/ns/net")).ok() == std::fs::read_link("/proc/self/ns/net").ok() {
        std::thread::yield_now();
    }
    run("ip", &["link", "set", "there", "netns", &peer]);
    run("ip", &["addr", "add", "10.9.0.1/24", "dev", "here"]);
    run("ip", &["link", "set", "here", "up"]);
    let inside = |args: &[&str]| run("nsenter", &[&["--net", "-t", &peer][..], args].concat());
    inside(&["ip", "addr", "add", "10.9.0.2/24", "dev", "there"]);
    inside(&["ip", "link", "set", "there", "up"]);
    let listeners = [TcpListener::bind("0.0.0.0:0").unwrap(), TcpListener::bind("0.0.0.0:0").unwrap()];
    let [shut, open] = [0, 1].map(|n: usize| listeners[n].local_addr().unwrap().port());
    let reaches = |port: u16| {
        let script = format!("exec 3<>/dev/tcp/10.9.0.1/{port}");
        let done = Command::new("nsenter").args(["--net", "-t", &peer, "timeout", "2", "bash", "-c", &script]).status().unwrap();
        done.success()
    };
    assert!(reaches(shut) && reaches(open));
    let state = tempfile::tempdir().unwrap();
    let journal = Journal::open(state.path()).unwrap();
    let (mut one, outcome) = contain::contain(&journal, &Firewall, planned(shut), &BY).unwrap();
    assert_eq!(outcome, Outcome::Contained);
    assert!(!reaches(shut) && reaches(open), "one port is dropped, and no other");
    let own = TcpStream::connect_timeout(&format!("127.0.0.1:{shut}").parse().unwrap(), Duration::from_secs(5));
    assert!(own.map_err(|e| e.kind()).err() != Some(ErrorKind::TimedOut), "this host reaches it over lo");
    let (mut two, _) = contain::contain(&journal, &Firewall, planned(open), &BY).unwrap();
    assert!(!reaches(shut) && !reaches(open));
    let undo = |containment: &mut contain::Containment| {
        assert_eq!(begin_undo(&journal, &Firewall, containment, &UNDO, &BY).unwrap(), None);
        assert_eq!(carry_on(&journal, &Firewall, containment, &BY).unwrap(), Outcome::Undone);
    };
    undo(&mut one);
    assert!(reaches(shut) && !reaches(open));
    undo(&mut two);
    assert!(reaches(shut) && reaches(open));
    let tables = Command::new("nft").args(["list", "tables"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&tables.stdout), "", "nothing of ours stays");
    // A table that somebody changed is not written to.
    run("nft", &["add table inet afresh_contain; add chain inet afresh_contain mine"]);
    assert_eq!(Firewall.state(&Firewall::setting("tcp", shut)).unwrap(), State::Gone);
    client.kill().unwrap();
    client.wait().unwrap();
}
