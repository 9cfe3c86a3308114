//! Decisions case by case: commands, gates, deadlines, adoption, and the messages of `afresh why`.

use crate::common::*;
use model::*;
use rotation::{Decision, StepStatus, decide, explain, step_status};

fn routed(soak_ms: u64) -> Walk {
    let spec = spec(4, vec![Wave::Percent(50), Wave::Percent(100)], soak_ms, true);
    Walk::open(&spec, Some((&active("web-r1-1", 1, true), 4)), &active("web-r2-2", 2, true))
}

fn workers(soak_ms: u64) -> Walk {
    let spec = spec(2, vec![Wave::Percent(100)], soak_ms, false);
    Walk::open(&spec, Some((&active("web-r1-1", 1, false), 2)), &active("web-r2-2", 2, false))
}

fn why(walk: &Walk) -> String {
    explain(&walk.r, &walk.world.view, walk.world.now).map_or("closed".to_string(), |(why, _)| why)
}

fn rolled_back(decision: &Decision) -> &str {
    match decision {
        Decision::Record(Event::PlanReplaced { why, plan, .. }) => {
            assert_eq!(plan.direction, Direction::Back);
            why
        }
        other => panic!("it did not roll back: {other:?}"),
    }
}

fn traffic<'a>(walk: &'a mut Walk, name: &str) -> &'a mut GroupTraffic {
    walk.world.view.route.as_mut().unwrap().groups.get_mut(&group(name)).unwrap()
}

/// Begins the next step and declares it, but no declaration takes effect.
fn begin(walk: &mut Walk, step: u32) {
    walk.until(step);
    let decision = walk.decide();
    let Decision::Record(event @ Event::StepStarted { .. }) = decision else { panic!("{decision:?}") };
    walk.record(event);
}

#[test]
fn the_sentences_of_why() {
    let mut walk = routed(10_000);
    let mut found = vec![why(&walk)];
    begin(&mut walk, 1);
    found.push(why(&walk));
    walk.cycle();
    walk.world.view.groups.get_mut(&group("web-r2-2")).unwrap().instances[0].healthy_ms = None;
    walk.world.view.groups.get_mut(&group("web-r2-2")).unwrap().trouble = Some("no memory left".to_string());
    found.push(why(&walk));
    walk.world.scale(&group("web-r2-2"), walk.r.started.as_ref().map(|s| s.stamp), 2, 0);
    walk.world.scale(&group("web-r2-2"), walk.r.started.as_ref().map(|s| s.stamp), 2, 2);
    found.push(why(&walk));
    begin(&mut walk, 3);
    walk.world.pass(2_000);
    traffic(&mut walk, "web-r2-2").requests = 1_000;
    traffic(&mut walk, "web-r2-2").errors = 3;
    found.push(why(&walk));
    walk.until(4);
    walk.command(1, RotationCommand::Pause);
    found.push(why(&walk));
    walk.command(2, RotationCommand::Resume);
    let hurt = walk.world.without(&group("web-r2-2"), 0);
    found.push(explain(&walk.r, &hurt, walk.world.now).unwrap().0);
    begin(&mut walk, 8);
    traffic(&mut walk, "web-r1-1").in_flight = 7;
    walk.world.pass(1_000);
    found.push(why(&walk));
    walk.world.pass(5_000);
    found.push(why(&walk));
    walk.until_closed();
    found.push(walk.r.closed.as_ref().unwrap().why.clone());
    found.push(why(&walk));
    insta::assert_snapshot!(found.join("\n"), @r"
    step 0 (bake base) is about to begin
    step 1 (scale web-r2-2 to 2) has begun and is being declared
    1 of 2 of web-r2-2 have been healthy for the required time; the last launch failed: no memory left
    step 1 (scale web-r2-2 to 2) is satisfied: 2 of 2 of web-r2-2 are healthy
    soaking web-r2-2: 8 s left, 3 failed of 1000 so far
    paused before step 4 (scale web-r1-1 to 2)
    scale web-r1-1 to 2 must wait: 1 of 2 of web-r2-2 are healthy
    draining web-r1-1: 7 requests in flight
    step 8 (drain web-r1-1) is satisfied: the drain deadline of web-r1-1 has passed with 7 requests in flight
    web@r2 is active, alone and complete
    closed
    ");
}

#[test]
fn a_pause_lets_the_running_step_end_and_begins_none() {
    let mut walk = routed(0);
    begin(&mut walk, 1);
    walk.command(1, RotationCommand::Pause);
    for _ in 0..10 {
        walk.cycle();
    }
    assert_eq!((walk.r.cursor, walk.r.started.is_none()), (2, true));
    assert!(why(&walk).starts_with("paused before step 2"), "{}", why(&walk));
    walk.world.pass(10_000_000); // no deadline holds while it is paused
    assert!(matches!(walk.decide(), Decision::Wait { .. }));
    walk.command(2, RotationCommand::Resume);
    walk.until_closed();
    assert_eq!(walk.r.closed.unwrap().verdict, Verdict::Promoted);
}

#[test]
fn the_time_of_a_pause_does_not_count_against_the_running_step() {
    let mut walk = routed(0);
    begin(&mut walk, 1);
    walk.command(1, RotationCommand::Pause);
    walk.world.pass(10_000_000);
    assert!(matches!(walk.decide(), Decision::Declare(_)));
    walk.command(2, RotationCommand::Resume);
    walk.world.pass(59_000);
    assert!(matches!(walk.decide(), Decision::Declare(_)));
    walk.world.pass(1_000);
    assert!(rolled_back(&walk.decide()).contains("took too long"));
}

#[test]
fn a_rollback_is_refused_once_the_old_servers_begin_to_retire() {
    let mut walk = routed(0);
    begin(&mut walk, 7);
    assert!(matches!(walk.r.step().unwrap().step, Step::Retire { .. }));
    walk.command(1, RotationCommand::Rollback);
    assert_eq!(walk.r.remarks, ["somebody requested a rollback; refused: the old servers have begun to retire"]);
    walk.until_closed();
    assert_eq!(walk.r.closed.unwrap().verdict, Verdict::Promoted);
}

#[test]
fn commands_are_taken_one_by_one_and_once() {
    let walk = routed(0);
    let issued = |n, command| IssuedCommand { n, command, by: "somebody".to_string() };
    let commands = [issued(1, RotationCommand::Pause), issued(2, RotationCommand::Stop)];
    let taken = |walk: &Walk, commands: &[IssuedCommand]| decide(&walk.r, &walk.world.view, commands, walk.world.now, walk.fence);
    assert_eq!(taken(&walk, &commands), Decision::Record(Event::CommandTaken(commands[0].clone())));
    let mut walk = walk;
    walk.command(1, RotationCommand::Pause);
    assert_eq!(taken(&walk, &commands), Decision::Record(Event::CommandTaken(commands[1].clone())));
    walk.command(2, RotationCommand::Stop);
    let Decision::Record(Event::Closed { verdict, final_inventory, .. }) = taken(&walk, &commands) else { panic!("not stopped") };
    assert_eq!((verdict, final_inventory.active.map(|s| s.group)), (Verdict::Stopped, Some(group("web-r1-1"))));
    assert_eq!(final_inventory.healthy.into_iter().collect::<Vec<_>>(), [(group("web-r1-1"), 4)]);
}

#[test]
fn errors_while_soaking_roll_it_back() {
    let mut walk = routed(10_000);
    traffic_before_the_soak(&mut walk);
    walk.world.pass(1_000);
    traffic(&mut walk, "web-r2-2").requests += 1_000;
    traffic(&mut walk, "web-r2-2").errors += 10; // 1 %: no more than allowed
    assert!(matches!(walk.decide(), Decision::Wait { .. }));
    traffic(&mut walk, "web-r2-2").errors += 1;
    assert_eq!(rolled_back(&walk.decide()), "11 of 1000 requests to web-r2-2 failed while soaking (1 %)");
}

/// Errors from before the soak do not count: the mark is taken where it begins.
fn traffic_before_the_soak(walk: &mut Walk) {
    walk.until(3);
    let before = traffic(walk, "web-r2-2");
    (before.requests, before.errors) = (500, 400);
    begin(walk, 3);
    assert_eq!(walk.r.started.as_ref().unwrap().mark, Some(TrafficMark { epoch: 0, requests: 500, errors: 400, deaths: Some(0) }));
}

#[test]
fn counters_that_begin_again_make_the_soak_begin_again() {
    let mut walk = routed(10_000);
    traffic_before_the_soak(&mut walk);
    walk.world.pass(8_000);
    walk.world.view.route.as_mut().unwrap().epoch = 1;
    *traffic(&mut walk, "web-r2-2") = GroupTraffic { requests: 100, errors: 0, ..traffic(&mut walk, "web-r2-2").clone() };
    let first_at = walk.r.started.as_ref().unwrap().first_at;
    walk.cycle();
    let started = walk.r.started.clone().unwrap();
    assert_eq!(started.mark, Some(TrafficMark { epoch: 1, requests: 0, errors: 0, deaths: Some(0) }));
    assert_eq!((started.first_at, started.since), (first_at, walk.world.now));
    walk.world.pass(9_000);
    assert!(matches!(walk.decide(), Decision::Wait { .. }), "the soak was cut short");
    // What failed in the new epoch before the new mark counts as well.
    traffic(&mut walk, "web-r2-2").errors = 50;
    assert!(rolled_back(&walk.decide()).contains("50 of 100 requests"));
}

#[test]
fn a_worker_that_dies_while_soaking_rolls_it_back() {
    let mut walk = workers(10_000);
    begin(&mut walk, 2);
    walk.world.pass(1_000);
    assert!(matches!(walk.decide(), Decision::Wait { .. }));
    walk.world.view.groups.get_mut(&group("web-r2-2")).unwrap().deaths = 1;
    assert_eq!(rolled_back(&walk.decide()), "1 server of web-r2-2 exited while soaking");
}

#[test]
fn a_soak_does_not_end_while_its_group_is_incomplete() {
    let mut walk = workers(5_000);
    begin(&mut walk, 2);
    walk.world.pass(6_000);
    let hurt = walk.world.without(&group("web-r2-2"), 0);
    let decision = decide(&walk.r, &hurt, &[], walk.world.now, walk.fence);
    let Decision::Wait { why, .. } = decision else { panic!("{decision:?}") };
    assert_eq!(why, "the soak of web-r2-2 is over, but 1 of 2 of web-r2-2 are healthy");
}

#[test]
fn a_crash_loop_is_not_waited_for() {
    let mut walk = routed(0);
    begin(&mut walk, 1);
    walk.cycle();
    let seen = walk.world.view.groups.get_mut(&group("web-r2-2")).unwrap();
    seen.instances.iter_mut().for_each(|i| i.healthy_ms = None);
    seen.deaths = 4;
    assert!(matches!(walk.decide(), Decision::Wait { .. }));
    walk.world.view.groups.get_mut(&group("web-r2-2")).unwrap().deaths = 5;
    assert_eq!(rolled_back(&walk.decide()), "crash loop: 5 of 7 instances of web-r2-2 exited");
}

/// What is known of a failure is in the reason and in the journal, and changes nothing else.
#[test]
fn a_failure_is_quoted_and_decides_nothing() {
    let mut walk = routed(0);
    begin(&mut walk, 1);
    walk.cycle();
    let name = group("web-r2-2");
    let seen = walk.world.view.groups.get_mut(&name).unwrap();
    seen.instances.iter_mut().for_each(|i| i.healthy_ms = None);
    let (plain, instance) = (walk.world.view.clone(), walk.world.view.groups[&name].instances[0].id.clone());
    let exit = Exit { lines: vec!["Traceback:".into(), "ModuleNotFoundError: No module named 'x'".into()], ..Exit::new(1, Time(5)) };
    let probe = FailedProbe {
        instance: instance.clone(),
        at: Time(5),
        probe: "GET /healthz".into(),
        answer: "500 \"database is locked\"".into(),
        lines: Vec::new(),
    };
    let death = Death { instance, at: Time(5), exit: Some(exit), probe: None };
    for deaths in [1, 4, 5] {
        for late in [0, 10_000_000] {
            let now = Time(walk.world.now.0 + late);
            let mut views = [plain.clone(), plain.clone()];
            views.iter_mut().for_each(|view| view.groups.get_mut(&name).unwrap().deaths = deaths);
            let known = views[1].groups.get_mut(&name).unwrap();
            known.last_death = Some(death.clone());
            known.instances[0].failed_probe = Some(probe.clone());
            match [&views[0], &views[1]].map(|view| decide(&walk.r, view, &[], now, walk.fence)) {
                [Decision::Wait { until: a, .. }, Decision::Wait { why, until: b }] => {
                    assert_eq!(a, b);
                    assert!(
                        why.contains("health check GET /healthz: 500 \"database is locked\"; last death: exit 1, \"ModuleNotFound"),
                        "{why}"
                    );
                }
                [
                    Decision::Record(Event::PlanReplaced { plan: a, .. }),
                    Decision::Record(Event::PlanReplaced { why, plan: b, failure }),
                ] => {
                    assert_eq!(a, b);
                    assert!(why.contains("exit 1, \"ModuleNotFoundError: No module named 'x'\""), "{why}");
                    assert_eq!(failure.and_then(|failure| failure.last_death), Some(death.clone()));
                }
                [a, b] => panic!("{deaths} deaths, {late} ms later: {a:?} without, {b:?} with what is known"),
            }
        }
    }
}

#[test]
fn a_started_step_is_adopted_and_its_deadline_is_not_moved() {
    let mut walk = routed(0);
    begin(&mut walk, 1);
    let first_at = walk.r.started.as_ref().unwrap().first_at;
    walk.world.pass(30_000);
    walk.fence = Fence(5);
    let decision = walk.decide();
    let Decision::Record(event @ Event::StepStarted { .. }) = decision else { panic!("{decision:?}") };
    walk.record(event);
    let started = walk.r.started.clone().unwrap();
    assert_eq!((started.first_at, started.stamp.fence, started.adopted), (first_at, Fence(5), true));
    walk.world.pass(30_000);
    assert!(rolled_back(&walk.decide()).contains("took too long (60 s)"));
    // A driver whose fence is older than the step's was replaced: it does nothing.
    assert!(matches!(decide(&walk.r, &walk.world.view, &[], walk.world.now, Fence(4)), Decision::Wait { .. }));
}

#[test]
fn an_adopted_soak_is_longer_by_what_clocks_may_be_apart_but_never_begins_again_for_ever() {
    let mut walk = routed(60_000);
    begin(&mut walk, 3);
    walk.world.pass(59_000);
    walk.fence = Fence(2);
    walk.cycle();
    walk.world.pass(1_000);
    assert!(matches!(walk.decide(), Decision::Wait { .. }));
    walk.world.pass(5_000);
    assert!(matches!(walk.decide(), Decision::Record(Event::StepSatisfied { .. })));
}

#[test]
fn a_view_older_than_what_was_seen_before_is_not_believed() {
    let mut walk = routed(0);
    walk.until(2);
    let mut old = walk.world.view.clone();
    old.groups.get_mut(&group("web-r2-2")).unwrap().stamp = None;
    let Decision::Wait { why, .. } = decide(&walk.r, &old, &[], walk.world.now, walk.fence) else { panic!("believed") };
    assert_eq!(why, "ignoring a stale observation of web-r2-2");
}

#[test]
fn a_drain_deadline_that_passed_is_noted() {
    let mut walk = routed(0);
    begin(&mut walk, 6);
    assert_eq!(walk.r.step().unwrap().step.kind(), "drain");
    traffic(&mut walk, "web-r1-1").in_flight = 2;
    walk.world.pass(4_999);
    assert!(matches!(walk.decide(), Decision::Wait { .. }));
    walk.world.pass(1);
    let Decision::Record(Event::StepSatisfied { seen, .. }) = walk.decide() else { panic!("not satisfied") };
    assert_eq!(seen, "the drain deadline of web-r1-1 has passed with 2 requests in flight");
}

#[test]
fn a_check_that_fails_rolls_it_back() {
    let spec = spec(1, vec![], 0, true);
    let mut new = active("web-r2-2", 2, true);
    new.release.checks = vec![model::Check { name: "smoke".to_string(), run: vec!["smoke".to_string()], within_ms: 5_000 }];
    let mut walk = Walk::open(&spec, Some((&active("web-r1-1", 1, true), 1)), &new);
    begin(&mut walk, 1);
    walk.cycle();
    let instance = &mut walk.world.view.groups.get_mut(&group("web-r2-2-c1")).unwrap().instances[0];
    instance.exit.as_mut().unwrap().code = 3;
    assert_eq!(rolled_back(&walk.decide()), "the check web-r2-2-c1 exited with 3");
    walk.until_closed();
    assert_eq!(walk.r.closed.as_ref().unwrap().verdict, Verdict::RolledBack);
    assert!(walk.world.view.groups[&group("web-r2-2-c1")].instances.is_empty(), "the check's group is left");
}

#[test]
fn a_rollback_keeps_trying_and_only_a_stop_ends_it() {
    let mut walk = routed(0);
    walk.until(4);
    walk.command(1, RotationCommand::Rollback);
    walk.cycle();
    begin(&mut walk, 0);
    walk.world.pass(100_000_000);
    assert!(matches!(walk.decide(), Decision::Declare(_)), "it gave up");
    walk.command(2, RotationCommand::Stop);
    assert!(matches!(walk.decide(), Decision::Record(Event::Closed { verdict: Verdict::Stopped, .. })));
}

#[test]
fn a_guard_that_refuses_for_too_long_rolls_it_back() {
    let mut walk = routed(0);
    walk.until(3);
    let hurt = |walk: &Walk| walk.world.without(&group("web-r2-2"), 0);
    let Decision::Wait { why, until } = decide(&walk.r, &hurt(&walk), &[], walk.world.now, walk.fence) else { panic!("it shrank") };
    assert_eq!(why, "scale web-r1-1 to 2 must wait: 1 of 2 of web-r2-2 are healthy");
    assert_eq!(until, Some(walk.r.moved_at.plus(60_000)));
    walk.world.pass(60_000);
    let decision = decide(&walk.r, &hurt(&walk), &[], walk.world.now, walk.fence);
    assert!(rolled_back(&decision).starts_with("the step could not begin:"));
}

#[test]
fn status_of_steps_by_place() {
    let mut walk = routed(0);
    begin(&mut walk, 1);
    let at = |walk: &Walk, step| step_status(&walk.r, step, &walk.world.view, walk.world.now);
    assert_eq!(at(&walk, 0), StepStatus::Satisfied("the store has every object, verified".to_string()));
    assert_eq!(at(&walk, 1), StepStatus::NotYet("the keeper has not yet accepted the declaration".to_string()));
    assert_eq!(at(&walk, 2), StepStatus::NotYet("step 1 comes first: scale web-r2-2 to 2".to_string()));
    assert!(matches!(at(&walk, 99), StepStatus::Refused(_)));
    walk.cycle();
    assert_eq!(at(&walk, 1), StepStatus::Satisfied("2 of 2 of web-r2-2 are healthy".to_string()));
}

#[test]
fn a_stop_while_nothing_can_be_seen_goes_by_the_journal() {
    let mut walk = routed(0);
    walk.until(3);
    walk.command(1, RotationCommand::Stop);
    let active_at_stop = |walk: &Walk| match decide(&walk.r, &View::default(), &[], walk.world.now, walk.fence) {
        Decision::Record(Event::Closed { verdict: Verdict::Stopped, final_inventory, .. }) => final_inventory.active.map(|s| s.group),
        other => panic!("{other:?}"),
    };
    assert_eq!(active_at_stop(&walk), Some(group("web-r1-1")), "half of the traffic each: the old one is active");
    let mut walk = routed(0);
    walk.until(6);
    walk.command(1, RotationCommand::Stop);
    assert_eq!(active_at_stop(&walk), Some(group("web-r2-2")), "the new one had all traffic");
    let spec = spec(1, vec![], 0, true);
    let mut walk = Walk::open(&spec, None, &active("web-r1-1", 1, true));
    walk.command(1, RotationCommand::Stop);
    assert_eq!(active_at_stop(&walk), None);
    let mut walk = Walk::open(&spec, None, &active("web-r1-1", 1, true));
    walk.until(2);
    walk.command(1, RotationCommand::Stop);
    assert_eq!(active_at_stop(&walk), Some(group("web-r1-1")));
}

#[test]
fn a_second_rollback_command_does_not_hide_why_it_rolled_back() {
    let mut walk = routed(0);
    walk.until(4);
    walk.command(1, RotationCommand::Rollback);
    walk.cycle();
    walk.command(2, RotationCommand::Rollback);
    assert_eq!(walk.r.remarks[1], "somebody requested a rollback; refused: it is rolling back already");
    walk.until_closed();
    assert_eq!(walk.r.closed.unwrap().why, "somebody requested a rollback");
}
