//! Promises that were broken once: each test reproduces the bug, and was seen to fail before the fix.

use crate::common::*;
use model::*;
use rotation::Decision;
use std::collections::BTreeMap;

fn first(routed: bool) -> Walk {
    Walk::open(&spec(2, vec![], 0, routed), None, &active("web-r1-1", 1, routed))
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

/// The journal was lost, and an earlier control plane left other code under the name that this one gives.
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
    walk.cycle();
    let (verdict, why) = closed(&walk);
    assert_eq!(verdict, Verdict::Stopped, "{why}");
    assert!(why.contains("this rotation did not create"), "{why}");
    assert_eq!(walk.r.closed.as_ref().unwrap().final_inventory.active, None, "the old code is not this release");
    assert_eq!(walk.r.remnants(), [], "nor is it a remnant of this rotation");
}

/// It appears between the observation and the declaration, with the step's own stamp.
#[test]
fn the_same_stamp_with_other_code_is_not_promoted() {
    for fence in [1, 2] {
        let mut walk = first(false);
        while !matches!(walk.decide(), Decision::Declare(_)) {
            walk.cycle();
        }
        let stamp = Stamp { fence: Fence(fence), ..walk.r.started.as_ref().unwrap().stamp };
        old_code(&mut walk, stamp);
        let event = recorded(walk.decide());
        let Event::PlanReplaced { why, .. } = event else { panic!("{event:?}") };
        assert!(why.contains("web-r1-1 runs another release than web@r1"), "{why}");
    }
}

/// As above, but the group's record shows our release while its servers were launched with another.
#[test]
fn servers_of_other_code_are_not_healthy_ones_of_this() {
    let mut walk = first(false);
    while !matches!(walk.decide(), Decision::Declare(_)) {
        walk.cycle();
    }
    walk.cycle();
    let other = release(9, false).digest();
    walk.world.view.groups.get_mut(&group("web-r1-1")).unwrap().instances[0].release = Some(other);
    let Decision::Wait { why, .. } = walk.decide() else { panic!("{:?}", walk.decide()) };
    assert!(why.starts_with("1 of 2 of web-r1-1 have been healthy"), "{why}");
    for instance in &mut walk.world.view.groups.get_mut(&group("web-r1-1")).unwrap().instances {
        instance.release = None;
    }
    assert!(matches!(walk.decide(), Decision::Wait { .. }), "unknown must not count as healthy");
}

#[test]
fn a_stamp_that_this_journal_never_gave_is_outranked_and_never_satisfies() {
    let (old, new) = (active("web-r1-1", 1, true), active("web-r2-2", 2, true));
    let spec = spec(2, vec![Wave::Percent(50), Wave::Percent(100)], 0, true);
    let mut walk = Walk::open(&spec, Some((&old, 2)), &new);
    walk.until(2);
    while !matches!(walk.decide(), Decision::Declare(_)) {
        walk.cycle();
    }
    // Another control plane's: the same weights, the same stamp and a newer one, other settings of the listener.
    let weights: BTreeMap<_, _> = [(old.group.clone(), 50), (new.group.clone(), 50)].into();
    let own = walk.r.started.as_ref().unwrap().stamp;
    for (stamp, listen) in [(own, 81), (Stamp { fence: Fence(40), seq: 2 }, 80)] {
        let route = walk.world.view.route.as_mut().unwrap();
        (route.stamp, route.weights) = (Some(stamp), weights.clone());
        route.settings = Some(Route::on(([127, 0, 0, 1], listen).into()));
        let Decision::Outrank { above, why } = walk.decide() else { panic!("{:?}", walk.decide()) };
        assert!(above >= stamp.fence && why.contains("did not issue"), "{why}");
    }
    walk.until_closed();
    assert_eq!(closed(&walk).0, Verdict::Promoted);
    assert!(walk.world.view.route.unwrap().stamp.unwrap().fence > Fence(40));
}

#[test]
fn a_step_names_only_the_services_own_groups() {
    let old = active("web-r1-1", 1, true);
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
        assert_eq!(manual_step(&spec, &step, &world.view).map_err(|f| f.code), Err("not-own-group".to_string()), "{step:?}");
        // A journal of an older version that holds such a step is closed with this reason, and leaves no remnant for the next plan.
        let plan = Plan { direction: Direction::Single, steps: vec![PlannedStep { step, wave: None, capacity: 2 }], ..Plan::default() };
        let opened = Opened { spec: spec.clone(), from: Some(old.clone()), to: old.clone(), plan, why: String::new() };
        let mut walk = Walk::with(opened, world.clone());
        walk.cycle();
        let (verdict, why) = closed(&walk);
        assert!(verdict == Verdict::Stopped && why.contains("worker-r3-9 is not a group of web"), "{why}");
        assert!(!walk.r.remnants().contains(&theirs), "{:?}", walk.r.remnants());
    }
}

#[test]
fn a_pause_does_not_hold_a_rollback() {
    let (old, new) = (active("web-r1-1", 1, true), active("web-r2-2", 2, true));
    let spec = spec(2, vec![Wave::Percent(100)], 0, true);
    let mut walk = Walk::open(&spec, Some((&old, 2)), &new);
    walk.until(3);
    walk.command(1, RotationCommand::Rollback);
    walk.cycle();
    walk.command(2, RotationCommand::Pause);
    walk.until_closed();
    assert_eq!(closed(&walk).0, Verdict::RolledBack);
    assert!(walk.r.remarks.iter().any(|t| t.contains("requested a pause; refused")), "{:?}", walk.r.remarks);
    assert_eq!(walk.world.view.route.unwrap().weights, [(old.group, 100)].into());
}

/// Paused right after the shift: traffic is on the new release, so it soaks all the same.
#[test]
fn a_pause_behind_a_shift_leaves_nobody_unwatched() {
    let (old, new) = (active("web-r1-1", 1, true), active("web-r2-2", 2, true));
    let spec = spec(2, vec![Wave::Percent(100)], 10_000, true);
    let mut walk = Walk::open(&spec, Some((&old, 2)), &new);
    walk.until(3);
    walk.command(1, RotationCommand::Pause);
    walk.cycle();
    walk.world.pass(1_000);
    let traffic = walk.world.view.route.as_mut().unwrap().groups.get_mut(&new.group).unwrap();
    (traffic.requests, traffic.errors) = (100, 90);
    walk.until_closed();
    assert_eq!(closed(&walk).0, Verdict::RolledBack);
}

fn pair() -> (GroupRelease, GroupRelease) {
    (active("web-r1-1", 1, true), active("web-r2-2", 2, true))
}

fn traffic<'a>(walk: &'a mut Walk, name: &GroupName) -> &'a mut GroupTraffic {
    walk.world.view.route.as_mut().unwrap().groups.get_mut(name).unwrap()
}

/// Soaking the new release, everything before the shift is done.
fn soaking(few_requests: FewRequests, min_requests: u64) -> Walk {
    let (old, new) = pair();
    let mut spec = spec(2, vec![Wave::Percent(100)], 10_000, true);
    (spec.rollout.few_requests, spec.rollout.min_requests) = (few_requests, min_requests);
    let mut walk = Walk::open(&spec, Some((&old, 2)), &new);
    walk.until(3);
    traffic(&mut walk, &new.group).requests = 500;
    walk.cycle();
    walk
}

#[test]
fn a_soak_is_not_over_while_its_counters_were_reset() {
    let (_, new) = pair();
    let mut walk = soaking(FewRequests::GoOn, 1);
    // The data plane restarts as the soak ends: what failed until then is lost.
    walk.world.pass(10_000);
    walk.world.view.route.as_mut().unwrap().epoch = 9;
    traffic(&mut walk, &new.group).requests = 20;
    let event = recorded(walk.decide());
    assert!(matches!(event, Event::StepStarted { mark: Some(TrafficMark { epoch: 9, requests: 0, errors: 0, .. }), .. }), "{event:?}");
    // In one epoch too: counters only grow.
    let mut walk = soaking(FewRequests::GoOn, 1);
    walk.world.pass(10_000);
    traffic(&mut walk, &new.group).requests = 20;
    assert!(matches!(recorded(walk.decide()), Event::StepStarted { .. }));
}

#[test]
fn no_requests_pass_no_gate() {
    let (_, new) = pair();
    let mut walk = soaking(FewRequests::GoOn, 1);
    walk.world.pass(10_000);
    let Event::StepSatisfied { seen, .. } = recorded(walk.decide()) else { panic!("not satisfied") };
    assert!(seen.contains("continued without enough data: 0 requests so far, 1 are needed"), "{seen}");

    let mut walk = soaking(FewRequests::Wait, 100);
    walk.world.pass(10_000);
    traffic(&mut walk, &new.group).requests += 99;
    let Decision::Wait { why, .. } = walk.decide() else { panic!("{:?}", walk.decide()) };
    assert!(why.contains("99 requests so far, 100 are needed"), "{why}");
    let mut enough = Walk { lines: walk.lines.clone(), r: walk.r.clone(), world: walk.world.clone(), fence: walk.fence };
    traffic(&mut enough, &new.group).requests += 1;
    let Event::StepSatisfied { seen, .. } = recorded(enough.decide()) else { panic!("not satisfied") };
    assert!(!seen.contains("without enough data"), "{seen}");
    walk.world.pass(60_000);
    let Event::PlanReplaced { why, .. } = recorded(walk.decide()) else { panic!("it went on") };
    assert!(why.contains("took too long") && why.contains("100 are needed"), "{why}");
}

/// One failure of two requests proves little where a hundred are required; two failures are too many for any hundred.
#[test]
fn too_few_requests_neither_pass_nor_fail_a_gate() {
    let (_, new) = pair();
    let mut walk = soaking(FewRequests::Wait, 100);
    walk.world.pass(1_000);
    traffic(&mut walk, &new.group).requests += 2;
    traffic(&mut walk, &new.group).errors += 1;
    assert!(matches!(walk.decide(), Decision::Wait { .. }));
    traffic(&mut walk, &new.group).errors += 1;
    assert!(matches!(recorded(walk.decide()), Event::PlanReplaced { .. }));
}

#[test]
fn a_routed_server_that_dies_while_soaking_fails_the_gate() {
    let (_, new) = pair();
    let mut walk = soaking(FewRequests::GoOn, 1);
    walk.world.pass(1_000);
    walk.world.view.groups.get_mut(&new.group).unwrap().deaths = 1;
    let Event::PlanReplaced { why, .. } = recorded(walk.decide()) else { panic!("the gate did not fail") };
    assert_eq!(why, "1 server of web-r2-2 exited while soaking");
}

/// A rollback from the worst place of a rotation, with one server of the old group that cannot be replaced.
fn rolling_back(routed: bool) -> Walk {
    let (old, new) = (active("web-r1-1", 1, routed), active("web-r2-2", 2, routed));
    let spec = spec(4, vec![Wave::Percent(50), Wave::Percent(100)], 0, routed);
    let mut walk = Walk::open(&spec, Some((&old, 4)), &new);
    let behind = walk.r.plan.steps.iter().position(|s| matches!(&s.step, Step::Scale { group, .. } if *group == old.group));
    walk.until(u32::try_from(behind.unwrap()).unwrap() + 1);
    walk.command(1, RotationCommand::Rollback);
    walk
}

fn hurt(walk: &mut Walk) {
    let old = walk.world.view.groups.get_mut(&group("web-r1-1")).unwrap();
    if old.instances.len() == 4 {
        old.instances.pop();
        old.trouble = Some("no room".to_string());
    }
}

#[test]
fn a_rollback_moves_what_the_healthy_old_servers_carry_and_goes_on() {
    for routed in [true, false] {
        let mut walk = rolling_back(routed);
        let (begun, mut partly) = (walk.world.now, false);
        for _ in 0..2_000 {
            hurt(&mut walk);
            partly |= walk.world.view.route.as_ref().is_some_and(|r| r.weights.get(&group("web-r1-1")) == Some(&75));
            if !walk.cycle() {
                break;
            }
        }
        let (verdict, why) = closed(&walk);
        assert_eq!(verdict, Verdict::RolledBack, "{why}");
        assert!(why.contains("3 of 4 of web-r1-1 are healthy"), "{why}");
        assert!(walk.world.now.since(begun) < 3 * 60_000, "after {} s", walk.world.now.since(begun) / 1_000);
        if routed {
            assert!(partly, "three of four get three quarters at once");
            assert_eq!(walk.world.view.route.unwrap().weights, [(group("web-r1-1"), 100)].into());
        }
        assert!(walk.r.remarks.iter().any(|t| t.contains("no room")), "{:?}", walk.r.remarks);
        assert_eq!(rotation::Rotation::fold(&walk.lines).unwrap(), walk.r);
    }
}

/// Stopped halfway and rolled back, again and again: the group keeps its size, and the plans state the most that may exist.
#[test]
fn stop_and_roll_back_cycles_never_grow_a_group() {
    for routed in [true, false] {
        let old = active("web-r1-1", 1, routed);
        let spec = spec(4, vec![Wave::Percent(100)], 0, routed);
        let mut world = Perfect::new(Some((&old, 4)), routed);
        for cycle in 0..6u64 {
            let new = active(&format!("web-r2-{}", cycle + 2), 2, routed);
            let intent = rotation::Intent {
                spec: &spec,
                from: Some(&old),
                to: &new,
                direction: Direction::Forward,
                own_count: Some(4),
                is_migrated: false,
            };
            let plan = rotation::plan(&intent, &world.view).unwrap();
            let peak = plan.peak;
            let opened = Opened { spec: spec.clone(), from: Some(old.clone()), to: new.clone(), plan, why: String::new() };
            let mut walk = Walk::with(opened, world);
            walk.fence = Fence(cycle + 1);
            let scaled = walk.r.plan.steps.iter().position(|s| matches!(&s.step, Step::Scale { group, .. } if *group == new.group));
            walk.until(u32::try_from(scaled.unwrap()).unwrap() + 1);
            walk.command(1, if cycle % 2 == 0 { RotationCommand::Stop } else { RotationCommand::Rollback });
            let mut most = 0;
            while walk.cycle() {
                most = most.max(walk.world.view.groups.values().map(|g| g.instances.len()).sum());
            }
            assert!(most <= peak as usize, "cycle {cycle}: {most} servers, and the plan's peak is {peak}");
            assert_eq!(walk.world.view.groups[&old.group].instances.len(), 4, "cycle {cycle}");
            world = walk.world;
        }
    }
}

/// A stop left the old group halved: a rollback restores the count of its release, whatever the failed deploy declared.
#[test]
fn a_rollback_restores_the_count_of_the_release_it_returns_to() {
    let (old, new) = pair();
    let spec = spec(7, vec![Wave::Percent(100)], 0, true);
    let world = Perfect::new(Some((&old, 2)), true);
    let intent =
        rotation::Intent { spec: &spec, from: Some(&old), to: &new, direction: Direction::Forward, own_count: Some(3), is_migrated: false };
    let plan = rotation::plan(&intent, &world.view).unwrap();
    assert_eq!((plan.peak, plan.restores), (10, Some(3)));
    let mut walk = Walk::with(Opened { spec, from: Some(old.clone()), to: new, plan, why: String::new() }, world);
    walk.until(2);
    walk.command(1, RotationCommand::Rollback);
    walk.until_closed();
    assert_eq!(closed(&walk).0, Verdict::RolledBack);
    assert_eq!(walk.r.closed.unwrap().final_inventory.healthy, [(old.group, 3)].into());
}

/// No old server is healthy or becomes healthy: traffic stays on the release that failed, one line records it, and the rollback
/// continues by itself when one server is healthy.
#[test]
fn a_rollback_without_a_healthy_old_server_says_so_once_and_goes_on_when_one_comes() {
    let dead = |walk: &mut Walk| {
        let old = walk.world.view.groups.get_mut(&group("web-r1-1")).unwrap();
        old.trouble = Some("no room".to_string());
        old.instances.iter_mut().for_each(|i| i.healthy_ms = None);
    };
    let mut walk = rolling_back(true);
    for _ in 0..2_000 {
        dead(&mut walk);
        walk.cycle();
    }
    assert!(walk.r.closed.is_none(), "{:?}", walk.r.closed);
    let found: Vec<&String> = walk.r.remarks.iter().filter(|t| t.contains("traffic stays on the failed release")).collect();
    assert_eq!(
        found,
        [
            "0 of 4 of web-r1-1 are healthy (no room), and none became healthy within 60 s: traffic stays on the failed release until one does"
        ]
    );
    let (why, _) = rotation::explain(&walk.r, &walk.world.view, walk.world.now).unwrap();
    assert_eq!(
        why,
        "0 of 4 of web-r1-1 have been healthy for the required time; the last launch failed: no room; traffic stays on the failed release until one is"
    );
    assert!(walk.world.view.route.as_ref().unwrap().weights[&group("web-r2-2")] > 0, "traffic is routed to nobody");
    // One server becomes healthy: it gets all traffic, since a step's time is over.
    for _ in 0..2_000 {
        dead(&mut walk);
        walk.world.view.groups.get_mut(&group("web-r1-1")).unwrap().instances[0].healthy_ms = Some(3_600_000);
        if !walk.cycle() {
            break;
        }
    }
    assert_eq!(closed(&walk).0, Verdict::RolledBack);
    assert_eq!(walk.world.view.route.as_ref().unwrap().weights, [(group("web-r1-1"), 100)].into());
    assert_eq!(rotation::Rotation::fold(&walk.lines).unwrap(), walk.r);
}

/// A stopped rotation's declaration may still be in flight: a rollback of the next rotation fences it with a tombstone too.
#[test]
fn a_rollback_retires_what_an_earlier_rotation_left() {
    for routed in [true, false] {
        let (old, new) = (active("web-r1-1", 1, routed), active("web-r3-3", 3, routed));
        let spec = spec(2, vec![Wave::Percent(100)], 0, routed);
        let mut world = Perfect::new(Some((&old, 2)), routed);
        let left = group("web-r2-2");
        world.view.groups.insert(left.clone(), GroupSeen::unknown(left.clone()));
        let intent = rotation::Intent {
            spec: &spec,
            from: Some(&old),
            to: &new,
            direction: Direction::Forward,
            own_count: Some(2),
            is_migrated: false,
        };
        let plan = rotation::plan(&intent, &world.view).unwrap();
        let mut walk = Walk::with(Opened { spec, from: Some(old), to: new, plan, why: String::new() }, world);
        walk.until(1);
        walk.command(1, RotationCommand::Rollback);
        walk.until_closed();
        assert_eq!(closed(&walk).0, Verdict::RolledBack);
        assert_eq!(walk.world.view.groups[&left].desired, DesiredSeen::Gone, "routed {routed}: a late declaration would take effect");
    }
}

/// The keeper has accepted the smaller count, and the servers beyond it still serve.
#[test]
fn a_group_that_is_still_too_large_is_not_scaled() {
    let (old, new) = pair();
    let mut walk = Walk::open(&spec(4, vec![Wave::Percent(50), Wave::Percent(100)], 0, true), Some((&old, 4)), &new);
    let shrinks = |walk: &Walk| walk.r.step().is_some_and(|s| s.step == Step::Scale { group: group("web-r1-1"), count: 2 });
    while !(shrinks(&walk) && matches!(walk.decide(), Decision::Declare(_))) {
        walk.cycle();
    }
    let before = walk.world.view.groups[&old.group].clone();
    walk.cycle();
    let whole = walk.world.view.clone();
    let shown = walk.world.view.groups.get_mut(&old.group).unwrap();
    shown.instances = before.instances;
    let Decision::Wait { why, .. } = walk.decide() else { panic!("{:?}", walk.decide()) };
    assert_eq!(why, "web-r1-1 has 4 servers, not 2");
    walk.world.view = whole;
    assert!(matches!(recorded(walk.decide()), Event::StepSatisfied { .. }));
}

/// What failed between the last observation and the end of the soak has not been observed.
#[test]
fn a_soak_ends_only_on_a_view_from_after_its_end() {
    let mut walk = soaking(FewRequests::GoOn, 0);
    walk.world.pass(9_999);
    let early = walk.world.view.clone();
    walk.world.pass(1_000);
    let decision = rotation::decide(&walk.r, &early, &[], walk.world.now, walk.fence);
    assert!(matches!(decision, Decision::Wait { .. }), "{decision:?}");
    assert!(matches!(recorded(walk.decide()), Event::StepSatisfied { .. }));
}

/// An older copy of the journal was restored. The group was retired or scaled down since, and the servers that end still run.
#[test]
fn servers_that_are_about_to_end_carry_nothing() {
    let (old, new) = pair();
    let mut walk = Walk::open(&spec(4, vec![], 0, true), Some((&old, 4)), &new);
    while walk.r.step().unwrap().step.kind() != "shift" {
        walk.cycle();
    }
    let retire = Step::Retire { group: old.group.clone() };
    for (desired, left) in [(DesiredSeen::Gone, 0), (DesiredSeen::Run { release: 2, count: 3 }, 3)] {
        let mut shown = walk.world.view.clone();
        shown.groups.get_mut(&new.group).unwrap().desired = desired;
        let decision = rotation::decide(&walk.r, &shown, &[], walk.world.now, walk.fence);
        let Decision::Wait { why, .. } = decision else { panic!("{decision:?}") };
        assert!(why.ends_with(&format!("100 % of the traffic needs 4 healthy in web-r2-2; {left} are")), "{why}");
    }
    while walk.r.step().unwrap().step != retire {
        walk.cycle();
    }
    walk.world.view.groups.get_mut(&new.group).unwrap().desired = DesiredSeen::Run { release: 2, count: 3 };
    let Decision::Wait { why, .. } = walk.decide() else { panic!("{:?}", walk.decide()) };
    assert_eq!(why, "retire web-r1-1 must wait: only 3 healthy would remain; the floor is 4");
}

/// The active group was gone before: the rollback returns to nothing.
#[test]
fn a_group_that_was_gone_before_is_not_rolled_back_to() {
    let (old, new) = pair();
    let spec = spec(2, vec![], 0, true);
    let mut world = Perfect::new(Some((&old, 2)), true);
    let gone = world.view.groups.get_mut(&old.group).unwrap();
    (gone.desired, gone.instances) = (DesiredSeen::Gone, Vec::new());
    world.view.route.as_mut().unwrap().weights.clear();
    let intent =
        rotation::Intent { spec: &spec, from: Some(&old), to: &new, direction: Direction::Forward, own_count: Some(2), is_migrated: false };
    let plan = rotation::plan(&intent, &world.view).unwrap();
    let mut walk = Walk::with(Opened { spec, from: Some(old), to: new, plan, why: String::new() }, world);
    walk.until(2);
    walk.command(1, RotationCommand::Rollback);
    walk.until_closed();
    assert_eq!((closed(&walk).0, walk.r.closed.unwrap().final_inventory.active), (Verdict::RolledBack, None));
}

/// It was declared with no server by someone else: soaking it would prove nothing.
#[test]
fn a_group_without_a_server_is_not_soaked() {
    let mut walk = Walk::open(&spec(2, vec![], 5_000, false), None, &active("web-r1-1", 1, false));
    while walk.r.step().unwrap().step.kind() != "soak" {
        walk.cycle();
    }
    let shown = walk.world.view.groups.get_mut(&group("web-r1-1")).unwrap();
    (shown.desired, shown.instances) = (DesiredSeen::Run { release: 1, count: 0 }, Vec::new());
    assert!(matches!(walk.decide(), Decision::Wait { .. }), "{:?}", walk.decide());
}

/// Healthy means: for the required time, to the keeper and to the balancer, and not draining. Of more than the count, the keeper may end any.
#[test]
fn what_counts_as_healthy() {
    let (old, new) = pair();
    let mut walk = Walk::open(&spec(4, vec![Wave::Percent(50), Wave::Percent(100)], 0, true), Some((&old, 4)), &new);
    walk.until(2);
    let waits =
        |view: &View, walk: &Walk| matches!(rotation::decide(&walk.r, view, &[], walk.world.now, walk.fence), Decision::Wait { .. });
    let id = walk.world.view.groups[&new.group].instances[0].id.clone();
    let spoil: [fn(&mut InstanceSeen, &mut TargetSeen); 4] =
        [|_, _| {}, |i, _| i.healthy_ms = Some(999), |_, t| t.healthy_ms = None, |_, t| t.draining = true];
    for (place, spoil) in spoil.iter().enumerate() {
        let mut view = walk.world.view.clone();
        let target = view.route.as_mut().unwrap().groups.get_mut(&new.group).unwrap().targets.get_mut(&id).unwrap();
        spoil(&mut view.groups.get_mut(&new.group).unwrap().instances[0], target);
        assert_eq!(waits(&view, &walk), place > 0, "case {place}");
    }
    while !matches!(&walk.r.step().unwrap().step, Step::Scale { group, .. } if *group == old.group) {
        walk.cycle();
    }
    let mut view = walk.world.view.clone();
    assert!(!waits(&view, &walk));
    view.groups.get_mut(&old.group).unwrap().instances[0].healthy_ms = None;
    assert!(waits(&view, &walk), "of three healthy ones and an unhealthy one, one healthy is sure to stay");
}

/// The weights of a closed listener serve nobody.
#[test]
fn a_shift_waits_for_the_listener() {
    let (old, new) = pair();
    let mut walk = Walk::open(&spec(2, vec![], 0, true), Some((&old, 2)), &new);
    while walk.r.step().unwrap().step.kind() != "shift" || walk.world.view.route.as_ref().unwrap().weights.contains_key(&old.group) {
        walk.cycle();
    }
    walk.world.view.route.as_mut().unwrap().trouble = Some("the address is in use".to_string());
    let Decision::Wait { why, .. } = walk.decide() else { panic!("{:?}", walk.decide()) };
    assert_eq!(why, "web does not listen: the address is in use");
    walk.world.view.route.as_mut().unwrap().trouble = None;
    assert!(matches!(recorded(walk.decide()), Event::StepSatisfied { .. }));
}

/// What was in flight before the drain began proves nothing about what is in flight now.
#[test]
fn a_drain_ends_only_on_a_view_from_after_its_begin() {
    let (old, new) = pair();
    let mut walk = Walk::open(&spec(2, vec![], 0, true), Some((&old, 2)), &new);
    while walk.r.step().unwrap().step.kind() != "drain" {
        walk.cycle();
    }
    walk.cycle();
    let same = walk.world.view.clone();
    assert_eq!(same.at, walk.r.started.as_ref().unwrap().last_at);
    walk.world.pass(1);
    let decision = rotation::decide(&walk.r, &same, &[], walk.world.now, walk.fence);
    assert!(matches!(decision, Decision::Wait { .. }), "{decision:?}");
    assert!(matches!(recorded(walk.decide()), Event::StepSatisfied { .. }));
}

/// In a rollback the new group has begun to retire: it is not active, whatever an older view shows.
#[test]
fn a_group_that_retires_is_not_active_when_it_is_stopped() {
    let (_, new) = pair();
    let mut walk = Walk::open(&spec(2, vec![], 0, true), None, &new);
    walk.until(3);
    let whole = walk.world.view.clone();
    walk.command(1, RotationCommand::Rollback);
    while !(walk.r.step().is_some_and(|s| matches!(s.step, Step::Retire { .. })) && matches!(walk.decide(), Decision::Declare(_))) {
        walk.cycle();
    }
    walk.command(2, RotationCommand::Stop);
    let event = recorded(rotation::decide(&walk.r, &View { at: walk.world.now, ..whole }, &[], walk.world.now, walk.fence));
    let Event::Closed { final_inventory, .. } = event else { panic!("{event:?}") };
    assert_eq!(final_inventory.active, None);
}

/// An older copy of the journal was restored, which knows neither that the new group was created nor that the old one is gone.
#[test]
fn what_is_gone_is_not_active_when_it_is_stopped() {
    let (old, new) = pair();
    let mut walk = Walk::open(&spec(2, vec![], 0, true), Some((&old, 2)), &new);
    walk.world.runs.insert(new.group.clone(), new.release.digest());
    walk.world.scale(&new.group, Some(Stamp { fence: Fence(1), seq: 9 }), 2, 2);
    let gone = walk.world.view.groups.get_mut(&old.group).unwrap();
    (gone.desired, gone.instances) = (DesiredSeen::Gone, Vec::new());
    walk.until_closed();
    let closed = walk.r.closed.unwrap();
    assert_eq!((closed.verdict, closed.final_inventory.active), (Verdict::Stopped, None), "{}", closed.why);
}
