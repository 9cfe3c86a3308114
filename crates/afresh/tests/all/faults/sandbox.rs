//! The sandbox itself: who says how it ended, whose users it has, and what happens where it cannot be made.

use super::escape::read;
use super::house::{House, Told, built};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Prints what the sandbox printed when it could not be made, exits as it did, and writes a report into whatever PID 1 has open.
const FAKE: &str = r#"
for fd in /proc/1/fd/* /proc/self/fd/*; do (echo '{"not-made":"faked"}' > $fd) 2> /dev/null; done
echo 'afresh-sandbox: cannot make namespaces: faked' >&2
exit 125
"#;

#[test]
#[ignore = "needs root"]
fn a_script_cannot_pass_its_end_off_as_the_sandboxs() {
    let mut house = House::new();
    house.more = format!("  script = {}\n", serde_json::to_string(FAKE).unwrap());
    let told = Told { exit: 2, code: "recipe-failed", says: vec!["ended with 125", "faked"], hint: "without network" };
    // The base that the script began with is kept.
    let said = house.run(&["bake", "base", "--json"]);
    house.told("a faked report", &["bake", "base"], &said, &told);
    house.is_clean("a faked report");
}

/// Two bakes at once have users of the host that are nobody else's, so that what one takes or signals is not the other's.
#[test]
#[ignore = "needs root"]
fn two_bakes_at_once_have_no_user_in_common() {
    let mut house = House::new();
    house.more = "  script = \"cat /proc/self/uid_map > /users\"\n".into();
    let first = |what: &str| {
        let said = house.run(&["bake", "base", "--fresh", "--json"]);
        assert_eq!(said.exit, 0, "{what}: {said:?}");
        let users = read(&house, said.json()["digest"].as_str().unwrap(), &["users"]).remove(0);
        let number = |n: usize| users.split_whitespace().nth(n).unwrap().parse::<u32>().unwrap();
        println!("== {what}: {users}");
        assert_eq!((number(0), number(2)), (0, 65_536));
        number(1)
    };
    let one = first("alone");
    assert!(one >= model::BAKE_IDS && (one - model::BAKE_IDS).is_multiple_of(65_536), "{one}");
    // As a bake that goes on meanwhile holds them.
    let held = File::options().write(true).open(format!("/run/afresh-bakes/{}", (one - model::BAKE_IDS) / 65_536)).unwrap();
    held.lock().unwrap();
    assert_ne!(first("beside another"), one);
}

/// The kernel charges what a namespace takes to who made it: that must not be root, whose programs would find their quotas taken.
#[test]
#[ignore = "needs root"]
fn a_sandbox_is_made_by_a_user_of_its_own() {
    let mut keeper = Command::new(built())
        .args(["afresh-users", &model::BAKE_IDS.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0u8; 16];
    let count = keeper.stdout.take().unwrap().read(&mut said).unwrap();
    assert_eq!(String::from_utf8_lossy(&said[..count]), "made\n");
    // NS_GET_OWNER_UID, which answers for namespaces below one's own.
    let ask = "import fcntl,struct,sys\nprint(*struct.unpack('I', fcntl.ioctl(open(sys.argv[1]), 0xb704, b'0000')))";
    let asked = Command::new("python3").args(["-c", ask, &format!("/proc/{}/ns/user", keeper.id())]).output().unwrap();
    drop(keeper.stdin.take());
    assert!(keeper.wait().unwrap().success());
    assert!(asked.status.success(), "{asked:?}");
    assert_eq!(String::from_utf8(asked.stdout).unwrap().trim(), model::BAKE_IDS.to_string());
}

/// Without a user namespace a script would have root's numbers and be held by its capabilities alone. Nobody runs one so.
#[test]
#[ignore = "needs root"]
fn without_user_namespaces_no_script_runs() {
    let mut house = House::new();
    house.more = "  script = \"echo > /ran\"\n".into();
    house.as_root_of_users = Some("echo 0 > /proc/sys/user/max_user_namespaces");
    let told = Told {
        exit: 7,
        code: "sandbox-failed",
        says: vec!["cannot make a user namespace", "No space left on device"],
        hint: "user.max_user_namespaces",
    };
    house.fails("no user namespaces", &["bake", "base"], &told);
    let machines = fs::read_to_string(Path::new("/proc/sys/user/max_user_namespaces")).unwrap();
    assert_ne!(machines.trim(), "0", "the machine's own setting is as it was");
    house.as_root_of_users = Some(":");
    house.good_bake("with user namespaces");
}

const TAKEOVER: &str = include_str!("takeover.pl");

/// Processes of the host by their names.
fn named(name: &str) -> Vec<i32> {
    let all = fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    all.filter(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)).collect()
}

fn kill(pid: i32) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
}

/// Waits until PID 1 was taken over, or the bake has ended.
fn taken_over(bake: &mut Child) -> Option<i32> {
    loop {
        if let Some(pid) = named("taken").pop() {
            return Some(pid);
        }
        if bake.try_wait().unwrap().is_some() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A script that has made PID 1 its own does not outlive who bakes, nor the process that oversees the sandbox.
#[test]
#[ignore = "needs root"]
fn a_sandbox_that_was_taken_over_ends_with_its_overseer() {
    let mut house = House::with(&["/usr/bin/perl"]);
    house.put_with("tool", "2", &[], &[("usr/share/tool/takeover.pl", TAKEOVER)]);
    house.mirror.publish();
    house.more = "  script = \"exec perl /usr/share/tool/takeover.pl\"\n".into();
    assert_eq!(named("taken"), Vec::<i32>::new(), "left by an earlier test");
    for victim in ["the bake", "its overseer"] {
        let mut bake = house.command(&["bake", "base"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let Some(taken) = taken_over(&mut bake) else {
            // Yama keeps a script from writing into PID 1's memory.
            let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
            assert!(!matches!(scope.trim(), "" | "0"), "the bake ended, and nothing kept the script from taking PID 1 over");
            continue;
        };
        let status = fs::read_to_string(format!("/proc/{taken}/status")).unwrap();
        let inside = status.lines().find_map(|l| l.strip_prefix("NSpid:")).unwrap().split_whitespace().last().unwrap().to_string();
        assert_eq!(inside, "1", "the sandbox's first process was taken over: {status}");
        match victim {
            "the bake" => kill(i32::try_from(bake.id()).unwrap()),
            _ => house
                .processes()
                .iter()
                .filter(|p| p.contains("afresh-sandbox"))
                .for_each(|p| kill(p.split(' ').next().unwrap().parse().unwrap())),
        }
        let begun = Instant::now();
        while Path::new(&format!("/proc/{taken}")).exists() && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let outlived = Path::new(&format!("/proc/{taken}")).exists();
        named("taken").into_iter().for_each(kill);
        let _ = bake.kill();
        bake.wait().unwrap();
        assert!(!outlived, "PID 1 outlived {victim}");
        house.no_process(victim);
    }
}
