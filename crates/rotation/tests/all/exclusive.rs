//! An exclusive service: every other server is observed to be gone before the next one starts, forward and back, and the plan says what that costs.

use crate::common::*;
use model::*;
use proptest::prelude::*;
use rotation::{Decision, Declaration, StepStatus, step_status};
use std::collections::BTreeMap;

fn alone(name: &str, number: u64, routed: bool) -> GroupRelease {
    let mut of = active(name, number, routed);
    of.release.exclusive = true;
    of
}

fn one(routed: bool) -> ServiceSpec {
    ServiceSpec { exclusive: true, ..spec(1, vec![Wave::Percent(100)], 1_000, routed) }
}

fn steps(plan: &Plan) -> Vec<String> {
    let word = |s: &PlannedStep| match &s.step {
        Step::Scale { group, count } => format!("scale {group} {count}"),
        Step::Shift { weights, .. } => format!("shift {}", weights.keys().map(GroupName::as_str).collect::<Vec<_>>().join(" ")),
        step => format!("{} {}", step.kind(), step.group().map_or("", GroupName::as_str)),
    };
    plan.steps.iter().map(|s| word(s).trim().to_string()).collect()
}

/// All servers of the service, whatever state they are in.
fn servers(walk: &Walk) -> usize {
    walk.world.view.groups.values().filter(|g| !g.group.as_str().contains("-c")).map(|g| g.instances.len()).sum()
}

#[test]
fn the_old_server_goes_first_and_the_plan_says_for_how_long_nobody_serves() {
    let (old, mut new) = (alone("web-r1-1", 1, true), alone("web-r2-2", 2, true));
    new.release.health.healthy_for_ms = 3_000;
    let walk = Walk::open(&one(true), Some((&old, 1)), &new);
    let expected = ["bake", "scale web-r1-1 0", "scale web-r2-2 1", "shift web-r2-2", "soak web-r2-2", "drain web-r1-1", "retire web-r1-1"];
    assert_eq!(steps(&walk.r.plan), expected);
    let plan = &walk.r.plan;
    assert_eq!((plan.floor, plan.peak, plan.restores), (0, 1, Some(1)));
    // 5 s of drain and 1 s to end; then a step may take 60 s.
    let gap = Gap { from_step: 1, to_step: 3, at_least_ms: 3_000, at_most_ms: 66_000 };
    assert_eq!((plan.gap, old.release.drain.within_ms), (Some(gap), 5_000));
    // Either of the two is enough.
    for (old, new) in [(true, false), (false, true)] {
        let of = |yes, name, number| if yes { alone(name, number, true) } else { active(name, number, true) };
        let walk = Walk::open(&one(true), Some((&of(old, "web-r1-1", 1), 1)), &of(new, "web-r2-2", 2));
        assert_eq!(steps(&walk.r.plan), expected);
    }
    let first = Walk::open(&one(true), None, &new);
    assert_eq!(
        (steps(&first.r.plan), first.r.plan.gap),
        (vec!["bake".into(), "scale web-r2-2 1".into(), "shift web-r2-2".into(), "soak web-r2-2".into()], None)
    );
    let without = Walk::open(&one(false), Some((&alone("web-r1-1", 1, false), 1)), &alone("web-r2-2", 2, false));
    assert_eq!(steps(&without.r.plan), ["bake", "scale web-r1-1 0", "scale web-r2-2 1", "soak web-r2-2", "retire web-r1-1"]);
    assert_eq!(without.r.plan.gap.map(|gap| (gap.from_step, gap.to_step)), Some((1, 2)));
}

/// It may write to what the old server wrote to, and its time is time in which nobody serves.
#[test]
fn a_migration_runs_between_the_two() {
    let (old, mut new) = (alone("web-r1-1", 1, false), alone("web-r2-2", 2, false));
    new.release.migrate = Some(Migrate { run: vec!["migrate".to_string()], within_ms: 7_000 });
    let spec = ServiceSpec { migrate: new.release.migrate.clone(), ..one(false) };
    let walk = Walk::open(&spec, Some((&old, 1)), &new);
    let expected =
        ["bake", "scale web-r1-1 0", "migrate web-r2-2-m", "retire web-r2-2-m", "scale web-r2-2 1", "soak web-r2-2", "retire web-r1-1"];
    assert_eq!(steps(&walk.r.plan), expected);
    assert_eq!(walk.r.plan.gap.map(|gap| (gap.from_step, gap.to_step, gap.at_most_ms)), Some((1, 4, 6_000 + 7_000 + 60_000 + 60_000)));
}

#[test]
fn one_server_at_most_also_by_hand() {
    let new = alone("web-r2-2", 2, true);
    let spec = ServiceSpec { count: 2, ..one(true) };
    let intent = rotation::Intent { spec: &spec, from: None, to: &new, direction: Direction::Forward, own_count: None, is_migrated: false };
    assert_eq!(rotation::plan(&intent, &Perfect::new(None, true).view).unwrap_err().code, "exclusive-count");
    let old = alone("web-r1-1", 1, true);
    let world = Perfect::new(Some((&old, 1)), true);
    let step = |count| Step::Scale { group: old.group.clone(), count };
    let known = BTreeMap::new();
    let by_hand = |count| {
        let known = rotation::KnownGroups { active: Some(&old), releases: &known };
        rotation::plan_manual_step(&one(true), &step(count), &world.view, known).map(drop).map_err(|f| f.message)
    };
    assert_eq!(by_hand(1), Ok(()));
    assert!(by_hand(2).unwrap_err().contains("one server at most"));
    assert!(by_hand(0).is_err(), "by hand nobody is stopped who serves");
}

/// Its process has not ended: it may still write.
#[test]
fn a_server_that_is_ending_is_not_gone() {
    for state in [InstanceState::Draining, InstanceState::Exited, InstanceState::Running, InstanceState::Starting] {
        let (old, new) = (alone("web-r1-1", 1, true), alone("web-r2-2", 2, true));
        let mut walk = Walk::open(&one(true), Some((&old, 1)), &new);
        walk.until(1);
        let before = walk.world.view.groups[&old.group].instances[0].clone();
        while walk.world.view.groups[&old.group].desired != (DesiredSeen::Run { release: 1, count: 0 }) {
            walk.cycle();
        }
        walk.world.view.groups.get_mut(&old.group).unwrap().instances = vec![InstanceSeen { state, ..before }];
        for _ in 0..50 {
            walk.cycle();
        }
        assert_eq!(walk.r.cursor, 1, "{state:?}");
        let status = step_status(&walk.r, 1, &walk.world.view, walk.world.now);
        assert!(matches!(&status, StepStatus::NotYet(why) if why.contains("must be gone")), "{state:?}: {status:?}");
    }
}

/// Whatever the journal says, a view in which another server may run starts none.
#[test]
fn the_guard_starts_nobody_beside_another() {
    let (old, new) = (alone("web-r1-1", 1, true), alone("web-r2-2", 2, true));
    let declared = |desired, instances: usize| {
        let mut walk = Walk::open(&one(true), Some((&old, 1)), &new);
        walk.until(2);
        let seen = walk.world.view.groups.get_mut(&old.group).unwrap();
        seen.desired = desired;
        seen.instances = Perfect::new(Some((&old, 1)), true).view.groups[&old.group].instances[..instances].to_vec();
        let decision = walk.decide();
        matches!(decision, Decision::Record(Event::StepStarted { step: 2, .. }))
    };
    let run = |count| DesiredSeen::Run { release: 1, count };
    assert!(declared(run(0), 0));
    assert!(!declared(run(0), 1) && !declared(run(1), 0) && !declared(run(1), 1) && !declared(DesiredSeen::Gone, 1));
}

#[test]
fn a_rollback_goes_the_same_way_round() {
    let (old, new) = (alone("web-r1-1", 1, true), alone("web-r2-2", 2, true));
    let mut walk = Walk::open(&one(true), Some((&old, 1)), &new);
    walk.until(4);
    walk.command(1, RotationCommand::Rollback);
    walk.cycle();
    let expected = ["shift", "drain web-r2-2", "retire web-r2-2", "scale web-r1-1 1", "shift web-r1-1"];
    assert_eq!(steps(&walk.r.plan), expected);
    // Before anything was stopped nothing is shifted to nobody.
    let mut early = Walk::open(&one(true), Some((&old, 1)), &new);
    early.until(1);
    early.command(1, RotationCommand::Rollback);
    early.cycle();
    assert_eq!(steps(&early.r.plan), ["scale web-r1-1 1", "shift web-r1-1"]);
}

/// A stopped rotation left the new release's server, and the old one at 0: both are fenced before the next starts.
#[test]
fn what_a_stopped_rotation_left_is_gone_first() {
    let (old, left, new) = (alone("web-r1-1", 1, true), alone("web-r2-2", 2, true), alone("web-r3-3", 3, true));
    let mut walk = Walk::open(&one(true), Some((&old, 1)), &left);
    walk.until(3);
    walk.command(1, RotationCommand::Stop);
    walk.until_closed();
    let active = walk.r.closed.clone().unwrap().final_inventory.active.unwrap();
    assert_eq!(active.group, old.group, "traffic is routed to it");
    let intent = rotation::Intent {
        spec: &one(true),
        from: Some(&active),
        to: &new,
        direction: Direction::Forward,
        own_count: Some(1),
        is_migrated: false,
    };
    let mut view = walk.world.view.clone();
    view.groups.insert(new.group.clone(), GroupSeen::unknown(new.group.clone()));
    let plan = rotation::plan(&intent, &view).unwrap();
    let steps = steps(&plan);
    let place = |step: &str| steps.iter().position(|s| s == step).unwrap_or_else(|| panic!("no {step} in {steps:?}"));
    assert!(place("retire web-r2-2") < place("scale web-r3-3 1") && place("scale web-r1-1 0") < place("scale web-r3-3 1"), "{steps:?}");
    assert_eq!((plan.restores, plan.gap), (Some(1), None), "nobody served before");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A rollback at any step, with and without a route and checks: at no cycle two servers, and what is active serves in the end.
    #[test]
    fn never_two_and_never_none_in_the_end(routed in any::<bool>(), checks in 0usize..2, command_at in prop::option::of(0u32..8), old_too in any::<bool>()) {
        let old = if old_too { alone("web-r1-1", 1, routed) } else { active("web-r1-1", 1, routed) };
        let mut new = alone("web-r2-2", 2, routed);
        new.release.checks = vec![Check { name: "c".to_string(), run: vec!["true".to_string()], within_ms: 1_000 }; checks];
        let spec = ServiceSpec { checks: new.release.checks.clone(), ..one(routed) };
        let mut walk = Walk::open(&spec, Some((&old, 1)), &new);
        let mut issued = false;
        loop {
            prop_assert!(servers(&walk) <= 1, "{:?}", walk.world.view.groups);
            if !issued && Some(walk.r.cursor) == command_at && walk.r.closed.is_none() {
                issued = true;
                walk.command(1, RotationCommand::Rollback);
            }
            if let Decision::Declare(Declaration::Group(_, spec)) = walk.decide()
                && let DesiredGroup::Run { count: 1.., once: None, .. } = spec.desired
            {
                let others = walk.world.view.groups.values().filter(|g| g.group != spec.group);
                prop_assert!(others.filter(|g| !g.group.as_str().contains("-c")).all(|g| g.instances.is_empty()), "{}", spec.group);
            }
            if !walk.cycle() {
                break;
            }
        }
        let closed = walk.r.closed.clone().unwrap();
        let active = closed.final_inventory.active.unwrap();
        prop_assert!(closed.verdict != Verdict::Stopped && servers(&walk) == 1, "{}", closed.why);
        prop_assert_eq!(walk.world.view.groups[&active.group].instances.len(), 1);
        if let Some(route) = &walk.world.view.route {
            prop_assert_eq!(&route.weights, &BTreeMap::from([(active.group, 100)]));
        }
    }
}
