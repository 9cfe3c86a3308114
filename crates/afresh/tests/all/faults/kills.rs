//! A bake that is killed or interrupted at each of its steps, two bakes at once, and a clock that goes back.

use super::house::House;
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

const STEPS: [&str; 11] = ["check", "update", "lock", "fetch", "unpack", "configure", "customise", "scrub", "emit", "store", "attest"];

#[test]
#[ignore = "needs root"]
fn killed_at_each_step_the_next_bake_makes_the_same_image() {
    let mut house = House::new();
    house.more = "  file \"/etc/motd\" { content = \"hello\" }\n".into();
    house.put("tool", "1", &[("postinst", "#!/bin/sh\nsleep 0.3\n")]);
    house.mirror.publish();
    let mut digests = BTreeSet::new();
    for step in STEPS {
        // After the last steps' first words a bake may end by itself before the signal comes: then it is tried again.
        let killed = (0..10).find_map(|_| {
            let _ = std::fs::remove_dir_all(&house.data);
            let running = house.begin_until(&["bake", "base"], &format!("image base: {step}"));
            running.signal(Signal::SIGKILL);
            let (seen, status) = running.end();
            house.no_process(step);
            (status.signal() == Some(9)).then_some((seen, status))
        });
        let (seen, status) = killed.unwrap_or_else(|| panic!("no bake was killed at {step}"));
        let last = seen.last().map_or("", |l| l.trim_start_matches("image base: ")).to_string();
        let (did, digest) = house.good_bake(step);
        house.is_clean(step);
        println!("== kill -9 at {step}: {status}, last lines {last:?}; the next bake: {did} {digest}");
        digests.insert(digest.clone());
        let said = house.run(&["image", "verify", "base", "--json"]);
        assert_eq!(said.exit, 0, "{step}: {said:?}");
    }
    assert_eq!(digests.len(), 1, "{digests:?}");
}

#[test]
#[ignore = "needs root"]
fn interrupted_it_says_so_and_leaves_nothing() {
    let mut house = House::new();
    house.put("tool", "1", &[("postinst", "#!/bin/sh\nsleep 600\n")]);
    house.mirror.publish();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let running = house.begin_until(&["bake", "base"], "image base: configure");
        running.signal(signal);
        let (seen, status) = running.end();
        println!("== {signal} at configure: {status}: {}", seen.last().unwrap());
        assert_eq!(status.code(), Some(128 + signal as i32));
        assert!(seen.last().unwrap().contains("was interrupted by SIG"), "{seen:?}");
        house.no_process(signal.as_str());
    }
    house.put("tool", "2", &[]);
    house.mirror.publish();
    house.good_bake("after the interruptions");
    house.is_clean("after the interruptions");
}

#[test]
#[ignore = "needs root"]
fn two_bakes_at_once_make_one_image() {
    let mut house = House::new();
    house.put("tool", "1", &[("postinst", "#!/bin/sh\nsleep 1\n")]);
    house.mirror.publish();
    let first = house.begin_until(&["bake", "base"], "image base: configure");
    let mut second = house.command(&["bake", "base"]);
    let second = second.stdin(Stdio::null()).output().unwrap();
    let (seen, status) = first.end();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    let did = String::from_utf8_lossy(&second.stdout).into_owned();
    println!("== two bakes at once: first {status} {:?}; second: {}{did}", seen.last().unwrap(), said);
    assert!(status.success() && second.status.success());
    assert!(said.contains("another bake of this recipe is running"), "{said}");
    assert!(did.contains("nothing to do"), "{did}");
    house.is_clean("two bakes");
    // Two recipes share the mirror's lists and the package store, and nothing else.
    house.put("other", "1", &[]);
    house.mirror.publish();
    let first = house.command(&["bake", "base", "--fresh", "--json"]).spawn().unwrap();
    house.packages = vec!["other".into()];
    let second = house.command(&["bake", "base", "--fresh", "--json"]).output().unwrap();
    let first = first.wait_with_output().unwrap();
    println!("== two recipes at once: {} {}", first.status, second.status);
    assert!(first.status.success() && second.status.success(), "{first:?} {second:?}");
    house.is_clean("two recipes");
}

#[test]
#[ignore = "needs root and faketime"]
fn a_clock_that_goes_back_changes_nothing() {
    let mut house = House::new();
    let (_, first) = house.good_bake("first");
    house.put("tool", "2", &[]);
    house.mirror.publish();
    house.before = "export LD_PRELOAD=$(ls /usr/lib/*/faketime/libfaketime.so.1) FAKETIME=-2d NO_FAKE_STAT=1".into();
    let (did, second) = house.good_bake("two days before");
    println!("== clock two days back: {did} {second}");
    assert!(did == "baked" && first != second);
    assert_eq!(house.good_bake("again").0, "nothing");
    let said = house.run(&["image", "build", "base", "--json"]);
    assert_eq!(said.json()["digest"].as_str(), Some(second.as_str()), "the newest lock is the one of the newest index: {said:?}");
    house.before.clear();
    assert_eq!(house.good_bake("the clock is right again"), ("nothing".into(), second.clone()));
    let said = house.run(&["image", "verify", "base", "--rebuild", "--json"]);
    assert_eq!((said.exit, said.json()["again"].as_str()), (0, Some(second.as_str())), "{said:?}");
}
