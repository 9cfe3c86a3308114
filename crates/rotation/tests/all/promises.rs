//! Promises that were broken once: each test is the fault itself, seen to succeed against the engine of before.

use crate::common::*;
use model::*;
use rotation::{Decision, single};
use std::collections::BTreeMap;

fn first(routed: bool) -> Walk {
    Walk::open(&spec(2, vec![], 0, routed), None, &standing("web-r1-1", 1, routed))
}

fn closed(walk: &Walk) -> (Verdict, String) {
    let closed = walk.r.closed.as_ref().expect("closed");
    (closed.verdict, closed.why.clone())
}

fn recorded(decision: Decision) -> Event {
    match decision {
        Decision::Record(event) => event,
        other => panic!("{other:?}"),
    }
}

/// The journal was lost, and a control plane before it left other code under the name that this one gives.
fn old_code(walk: &mut Walk, stamp: Stamp) {
    let mut release = release(1, true);
    release.run = vec!["old".to_string()];
    let name = group("web-r1-1");
    walk.world.runs.insert(name.clone(), release.digest());
    walk.world.scale(&name, Some(stamp), 1, 2);
}

#[test]
fn a_group_that_was_there_is_never_taken_for_ours() {
    let mut walk = first(true);
    old_code(&mut walk, Stamp { fence: Fence(1), seq: 3 });
    walk.turn();
    let (verdict, why) = closed(&walk);
    assert_eq!(verdict, Verdict::Stopped, "{why}");
    assert!(why.contains("this rotation did not make"), "{why}");
    assert_eq!(walk.r.closed.as_ref().unwrap().census.standing, None, "the old code is not this release");
    assert_eq!(walk.r.remnants(), [], "nor is it ours to clean up");
}

/// It came between the look and the declaration, under the very stamp that the step has.
#[test]
fn the_same_stamp_with_other_code_is_not_promoted() {
    for fence in [1, 2] {
        let mut walk = first(false);
        while !matches!(walk.decide(), Decision::Declare(_)) {
            walk.turn();
        }
        let stamp = Stamp { fence: Fence(fence), ..walk.r.started.as_ref().unwrap().stamp };
        old_code(&mut walk, stamp);
        let event = recorded(walk.decide());
        let Event::PlanReplaced { why, .. } = event else { panic!("{event:?}") };
        assert!(why.contains("web-r1-1 runs another release than web@r1"), "{why}");
    }
}

/// As above, and the group's record says our release while its servers were launched with another.
#[test]
fn servers_of_other_code_are_not_healthy_ones_of_this() {
    let mut walk = first(false);
    while !matches!(walk.decide(), Decision::Declare(_)) {
        walk.turn();
    }
    walk.turn();
    let other = release(9, false).digest();
    walk.world.view.groups.get_mut(&group("web-r1-1")).unwrap().instances[0].release = Some(other);
    let Decision::Wait { why, .. } = walk.decide() else { panic!("{:?}", walk.decide()) };
    assert!(why.starts_with("1 of 2 of web-r1-1 are healthy"), "{why}");
    for instance in &mut walk.world.view.groups.get_mut(&group("web-r1-1")).unwrap().instances {
        instance.release = None;
    }
    assert!(matches!(walk.decide(), Decision::Wait { .. }), "unknown is not safe");
}

#[test]
fn a_stamp_that_this_journal_never_gave_is_outranked_and_never_satisfies() {
    let (old, new) = (standing("web-r1-1", 1, true), standing("web-r2-2", 2, true));
    let spec = spec(2, vec![Wave::Percent(50), Wave::Percent(100)], 0, true);
    let mut walk = Walk::open(&spec, Some((&old, 2)), &new);
    walk.until(2);
    while !matches!(walk.decide(), Decision::Declare(_)) {
        walk.turn();
    }
    // Another control plane's: the same weights, the same stamp and a newer one, other settings of the listener.
    let weights: BTreeMap<_, _> = [(old.group.clone(), 50), (new.group.clone(), 50)].into();
    let own = walk.r.started.as_ref().unwrap().stamp;
    for (stamp, listen) in [(own, 81), (Stamp { fence: Fence(40), seq: 2 }, 80)] {
        let route = walk.world.view.route.as_mut().unwrap();
        (route.stamp, route.weights) = (Some(stamp), weights.clone());
        route.settings = Some(Route::on(([127, 0, 0, 1], listen).into()));
        let Decision::Outrank { above, why } = walk.decide() else { panic!("{:?}", walk.decide()) };
        assert!(above >= stamp.fence && why.contains("did not give"), "{why}");
    }
    walk.until_closed();
    assert_eq!(closed(&walk).0, Verdict::Promoted);
    assert!(walk.world.view.route.unwrap().stamp.unwrap().fence > Fence(40));
}

#[test]
fn a_step_names_only_the_services_own_groups() {
    let old = standing("web-r1-1", 1, true);
    let spec = spec(2, vec![], 0, true);
    let mut world = Perfect::new(Some((&old, 2)), true);
    let theirs = group("worker-r3-9");
    world.scale(&theirs, None, 3, 1);
    let route = rotation::route_name(&service());
    let steps = [
        Step::Retire { group: theirs.clone() },
        Step::Scale { group: theirs.clone(), count: 0 },
        Step::Drain { group: theirs.clone(), within_ms: 1 },
        Step::Check { group: group("web-r1-1-c1"), of: theirs.clone(), command: vec![], within_ms: 1 },
        Step::Shift { route, weights: [(old.group.clone(), 50), (theirs.clone(), 50)].into() },
    ];
    for step in steps {
        assert_eq!(single(&spec, &step, &world.view).map_err(|f| f.code), Err("not-own-group".to_string()), "{step:?}");
        // A journal of before that holds such a step is closed by words, and leaves nothing behind for the next plan.
        let plan = Plan { direction: Direction::Single, steps: vec![PlannedStep { step, wave: None, capacity: 2 }], ..Plan::default() };
        let opened = Opened { spec: spec.clone(), from: Some(old.clone()), to: old.clone(), plan, why: String::new() };
        let mut walk = Walk::with(opened, world.clone());
        walk.turn();
        let (verdict, why) = closed(&walk);
        assert!(verdict == Verdict::Stopped && why.contains("worker-r3-9 is no group of web"), "{why}");
        assert!(!walk.r.remnants().contains(&theirs), "{:?}", walk.r.remnants());
    }
}

#[test]
fn a_pause_does_not_hold_the_way_back() {
    let (old, new) = (standing("web-r1-1", 1, true), standing("web-r2-2", 2, true));
    let spec = spec(2, vec![Wave::Percent(100)], 0, true);
    let mut walk = Walk::open(&spec, Some((&old, 2)), &new);
    walk.until(3);
    walk.ask(1, Ask::Return);
    walk.turn();
    walk.ask(2, Ask::Pause);
    walk.until_closed();
    assert_eq!(closed(&walk).0, Verdict::Returned);
    assert!(walk.r.turns.iter().any(|t| t.contains("asked to pause; refused")), "{:?}", walk.r.turns);
    assert_eq!(walk.world.view.route.unwrap().weights, [(old.group, 100)].into());
}

/// Paused right behind the shift: customers are on the new release, so it is watched all the same.
#[test]
fn a_pause_behind_a_shift_leaves_nobody_unwatched() {
    let (old, new) = (standing("web-r1-1", 1, true), standing("web-r2-2", 2, true));
    let spec = spec(2, vec![Wave::Percent(100)], 10_000, true);
    let mut walk = Walk::open(&spec, Some((&old, 2)), &new);
    walk.until(3);
    walk.ask(1, Ask::Pause);
    walk.turn();
    walk.world.pass(1_000);
    let traffic = walk.world.view.route.as_mut().unwrap().groups.get_mut(&new.group).unwrap();
    (traffic.requests, traffic.errors) = (100, 90);
    walk.until_closed();
    assert_eq!(closed(&walk).0, Verdict::Returned);
}
