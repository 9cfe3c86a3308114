//! One-shots on a real host: launched once at most, ended in time, and how they ended is known whatever is killed.

use crate::common::{Host, Want, until};
use model::{DesiredGroup, Exit, GroupSpec, InstanceState, OneShot, Time};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const WITHIN_MS: u64 = 600_000;

fn now() -> Time {
    Time(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap())
}

/// `drain_ms`: how long it has after its signal.
fn one_shot(host: &Host, name: &str, script: &str, within_ms: u64, drain_ms: u64) -> GroupSpec {
    let run = &["sh", "-c", script];
    let mut spec = host.group(Want { name, once: Some(run), within_ms: drain_ms, ..Want::default() });
    if let DesiredGroup::Run { once: Some(once), .. } = &mut spec.desired {
        once.within_ms = Some(within_ms);
    }
    spec
}

fn ended(host: &Host, name: &str) -> Exit {
    host.until(name, "its end", |seen| seen.ended.is_some()).ended.unwrap().exit
}

fn running(host: &Host, name: &str) {
    host.until(name, "it runs", |seen| seen.instances.iter().any(|i| i.state == InstanceState::Running));
}

/// Programs of this host with this argument: none is left behind.
fn until_no_program(host: &Host, mark: &str) {
    until(mark, || match host.program_count(&format!("sleep\0{mark}\0")) {
        0 => Ok(()),
        n => Err(format!("{n} of them run")),
    });
}

#[test]
#[ignore = "needs root"]
fn a_deadline_holds_without_the_keeper_and_the_end_is_known_afterwards() {
    let mut host = Host::new();
    host.start();
    host.declare(1, one_shot(&host, "polite-r1-x1", "trap 'echo bye; exit 0' TERM; sleep 70001 & wait", 1_500, 30_000));
    host.declare(1, one_shot(&host, "deaf-r1-x1", "trap '' TERM; echo ready; while :; do sleep 70002; done", 1_500, 100));
    for group in ["polite-r1-x1", "deaf-r1-x1"] {
        running(&host, group);
    }
    host.stop();
    ["70001", "70002"].iter().for_each(|mark| until_no_program(&host, mark));
    host.start();
    let exit = ended(&host, "polite-r1-x1");
    assert!(exit.timed_out && !exit.succeeded() && exit.lines == ["bye"], "{exit:?}");
    let exit = ended(&host, "deaf-r1-x1");
    assert!(exit.timed_out && exit.code == 137, "{exit:?}");
}

#[test]
#[ignore = "needs root"]
fn an_end_stays_in_view_when_everything_of_it_is_gone() {
    let mut host = Host::new();
    host.start();
    host.declare(1, one_shot(&host, "five-r1-x1", "echo done; exit 5", WITHIN_MS, 1_000));
    assert_eq!(ended(&host, "five-r1-x1").code, 5);
    // Stopped while it runs: with its signal, and by force.
    host.declare(1, one_shot(&host, "polite-r1-x1", "trap 'exit 7' TERM; echo ready; sleep 70003 & wait", WITHIN_MS, 60_000));
    host.declare(1, one_shot(&host, "deaf-r1-x1", "trap '' TERM; echo ready; while :; do sleep 70004; done", WITHIN_MS, 600_000));
    for group in ["polite-r1-x1", "deaf-r1-x1"] {
        host.until_log(&format!("{group}-1"), "ready");
    }
    for group in ["five-r1-x1", "polite-r1-x1", "deaf-r1-x1"] {
        host.declare(2, host.gone(group));
    }
    host.until("deaf-r1-x1", "it is ending", |seen| seen.instances.iter().any(|i| i.state == InstanceState::Draining));
    assert_eq!(host.observe("deaf-r1-x1").ended, None, "it has ten minutes");
    assert_eq!(host.kill_ending("deaf-r1-x1"), 1);
    for (group, code) in [("five-r1-x1", 5), ("polite-r1-x1", 7), ("deaf-r1-x1", 137)] {
        let seen = host.until(group, "gone", |seen| seen.instances.is_empty());
        assert_eq!(seen.ended.unwrap().exit.code, code, "{group}");
    }
    until_no_program(&host, "70004");
    host.restart();
    assert_eq!(ended(&host, "five-r1-x1").lines, ["done"]);
    assert_eq!(host.kill_ending("five-r1-x1"), 0);
    host.until_clean();
}

/// kill -9 of the shim, of everything, and what a power cut leaves: it is launched once at most, and its end is called unknown.
#[test]
#[ignore = "needs root"]
fn a_one_shot_is_never_launched_twice() {
    let mut host = Host::new();
    host.start();
    for (case, group) in ["shim", "all", "cut"].iter().zip(["a-r1-x1", "b-r1-x1", "c-r1-x1"]) {
        host.declare(1, one_shot(&host, group, "echo born; sleep 70005", WITHIN_MS, 1_000));
        running(&host, group);
        host.until_log(&format!("{group}-1"), "born");
        let id = host.observe(group).instances[0].id.clone();
        let launched = host.remote.counters().unwrap().launched;
        match *case {
            "shim" => host.kill_shim(&id),
            "all" => {
                host.stop();
                host.kill_shim(&id);
                host.kill_program(&id);
                host.start();
            }
            // Nothing of the instance reached the disk, but that its number was given.
            _ => {
                host.stop();
                host.kill_shim(&id);
                host.kill_program(&id);
                std::fs::remove_dir_all(host.layout.instance(&id)).unwrap();
                host.start();
            }
        }
        let exit = ended(&host, group);
        assert!(exit.lost && !exit.succeeded(), "{case}: {exit:?}");
        host.until_garbage_collected();
        assert_eq!(host.remote.counters().unwrap().launched, launched, "{case}");
        assert_eq!(host.log(id.as_str()).matches("born").count(), 1, "{case}");
        host.declare(2, host.gone(group));
        let seen = host.until(group, "gone", |seen| seen.instances.is_empty());
        assert!(seen.ended.unwrap().exit.lost, "{case}");
    }
    until_no_program(&host, "70005");
    host.until_clean();
}

#[test]
#[ignore = "needs root"]
fn what_cannot_be_launched_in_time_is_not_launched_later() {
    let mut host = Host::new();
    host.start();
    let by = |at: Time, name: &str| {
        let mut spec = one_shot(&host, name, "echo born", WITHIN_MS, 1_000);
        let DesiredGroup::Run { once: Some(OneShot { launch_by, .. }), .. } = &mut spec.desired else { unreachable!() };
        *launch_by = Some(at);
        spec
    };
    let late = host.try_declare(1, by(Time(now().0 - 60_000), "late-r1-x1")).unwrap_err();
    assert_eq!((late.code.as_str(), host.observe("late-r1-x1").stamp), ("too-late", None));
    let object = host.layout.object(&host.image);
    let aside = object.with_extension("aside");
    std::fs::rename(&object, &aside).unwrap();
    host.declare(1, by(now().plus(2_000), "none-r1-x1"));
    let exit = ended(&host, "none-r1-x1");
    std::fs::rename(&aside, &object).unwrap();
    assert!(exit.not_started.as_ref().is_some_and(|why| why.contains("cannot be opened")), "{exit:?}");
    host.until_garbage_collected();
    assert!(host.observe("none-r1-x1").instances.is_empty());
    // The same declaration again changes nothing: it is held, and over.
    host.declare(2, by(now().plus(60_000), "good-r1-x1"));
    assert!(ended(&host, "good-r1-x1").succeeded());
    std::thread::sleep(Duration::from_millis(10));
    assert!(host.observe("none-r1-x1").instances.is_empty() && host.log("none-r1-x1-1").is_empty());
}
