//! Plans, and that the floor holds at every prefix of each, by arithmetic of this file.

use crate::common::*;
use model::*;
use proptest::prelude::*;
use rotation::{Decision, Intent, plan};
use std::collections::BTreeMap;

fn lines(plan: &Plan) -> Vec<String> {
    let word = |s: &PlannedStep| {
        let what = match &s.step {
            Step::Bake { objects, .. } => format!("bake {} objects", objects.len()),
            Step::Check { group, .. } => format!("check {group}"),
            Step::Migrate { group, .. } => format!("migrate {group}"),
            Step::Scale { group, count } => format!("scale {group} {count}"),
            Step::Shift { weights, .. } => {
                format!("shift {}", weights.iter().map(|(g, w)| format!("{g}={w}")).collect::<Vec<_>>().join(" "))
            }
            Step::Soak { group, for_ms, .. } => format!("soak {group} {for_ms}"),
            Step::Drain { group, .. } => format!("drain {group}"),
            Step::Retire { group } => format!("retire {group}"),
        };
        format!("{} | {} | {what}", s.wave.map_or("-".to_string(), |w| w.to_string()), s.capacity)
    };
    let mut all: Vec<String> = plan.steps.iter().map(word).collect();
    all.push(format!("peak {} floor {}", plan.peak, plan.floor));
    all
}

fn forward(spec: &ServiceSpec, from: Option<(&GroupRelease, u32)>, to: &GroupRelease) -> Plan {
    let world = Perfect::new(from, spec.route.is_some());
    plan(&Intent { spec, from: from.map(|f| f.0), to, direction: Direction::Forward, own_count: None, is_migrated: false }, &world.view)
        .unwrap()
}

#[test]
fn waves_of_three_servers() {
    let spec = spec(3, vec![Wave::Count(1), Wave::Percent(50), Wave::Percent(100)], 10_000, true);
    let (old, new) = (active("web-r41-6", 41, true), active("web-r42-7", 42, true));
    insta::assert_snapshot!(lines(&forward(&spec, Some((&old, 3)), &new)).join("\n"), @r"
    - | 3 | bake 1 objects
    1 | 4 | scale web-r42-7 1
    1 | 4 | shift web-r41-6=67 web-r42-7=33
    1 | 4 | soak web-r42-7 10000
    2 | 5 | scale web-r42-7 2
    2 | 5 | shift web-r41-6=50 web-r42-7=50
    2 | 5 | soak web-r42-7 10000
    2 | 4 | scale web-r41-6 2
    3 | 5 | scale web-r42-7 3
    3 | 5 | shift web-r42-7=100
    3 | 5 | soak web-r42-7 10000
    - | 3 | drain web-r41-6
    - | 3 | retire web-r41-6
    peak 6 floor 3
    ");
}

#[test]
fn a_first_release_goes_in_one_wave() {
    let spec = spec(3, vec![Wave::Count(1), Wave::Percent(100)], 0, true);
    let new = active("web-r1-1", 1, true);
    insta::assert_snapshot!(lines(&forward(&spec, None, &new)).join("\n"), @r"
    - | 0 | bake 1 objects
    1 | 3 | scale web-r1-1 3
    1 | 3 | shift web-r1-1=100
    peak 3 floor 0
    ");
}

#[test]
fn without_a_route_nothing_is_shifted_or_drained() {
    let spec = spec(4, vec![Wave::Percent(25), Wave::Percent(100)], 2_000, false);
    let (old, mut new) = (active("web-r1-1", 1, false), active("web-r2-2", 2, false));
    new.release.checks = vec![Check { name: "c".to_string(), run: vec!["true".to_string()], within_ms: 1_000 }];
    insta::assert_snapshot!(lines(&forward(&spec, Some((&old, 4)), &new)).join("\n"), @r"
    - | 4 | bake 1 objects
    - | 4 | check web-r2-2-c1
    - | 4 | retire web-r2-2-c1
    1 | 5 | scale web-r2-2 1
    1 | 5 | soak web-r2-2 2000
    1 | 4 | scale web-r1-1 3
    2 | 7 | scale web-r2-2 4
    2 | 7 | soak web-r2-2 2000
    - | 4 | retire web-r1-1
    peak 8 floor 4
    ");
}

#[test]
fn a_rollback_restores_the_size_and_retires_what_was_made() {
    let spec = spec(4, vec![Wave::Percent(50), Wave::Percent(100)], 0, true);
    let (old, new) = (active("web-r1-1", 1, true), active("web-r2-2", 2, true));
    let mut walk = Walk::open(&spec, Some((&old, 4)), &new);
    walk.until(4); // the second wave: the old group has 2 of its 4 left
    walk.command(1, RotationCommand::Rollback);
    walk.cycle();
    insta::assert_snapshot!(lines(&walk.r.plan).join("\n"), @r"
    - | 6 | scale web-r1-1 4
    - | 6 | shift web-r1-1=100
    - | 4 | drain web-r2-2
    - | 4 | retire web-r2-2
    peak 6 floor 4
    ");
    walk.until_closed();
    let closed = walk.r.closed.unwrap();
    assert_eq!((closed.verdict, closed.final_inventory.active), (Verdict::RolledBack, Some(old.clone())));
    assert_eq!(closed.final_inventory.healthy, BTreeMap::from([(old.group, 4)]));
}

#[test]
fn what_a_stopped_rotation_left_is_retired() {
    let spec = spec(2, vec![Wave::Percent(50), Wave::Percent(100)], 0, true);
    let (old, new) = (active("web-r1-1", 1, true), active("web-r2-2", 2, true));
    let mut walk = Walk::open(&spec, Some((&old, 2)), &new);
    walk.until(3);
    walk.command(1, RotationCommand::Stop);
    walk.until_closed();
    let closed = walk.r.closed.clone().unwrap();
    assert_eq!((closed.verdict, closed.final_inventory.active), (Verdict::Stopped, Some(old.clone())));
    assert_eq!(walk.r.remnants(), std::slice::from_ref(&new.group));
    let next = active("web-r3-8", 3, true);
    let plan = plan(
        &Intent { spec: &spec, from: Some(&old), to: &next, direction: Direction::Forward, own_count: None, is_migrated: false },
        &walk.world.view,
    )
    .unwrap();
    insta::assert_snapshot!(lines(&plan).join("\n"), @r"
    - | 3 | bake 1 objects
    - | 3 | scale web-r1-1 2
    1 | 4 | scale web-r3-8 1
    1 | 4 | shift web-r1-1=50 web-r3-8=50
    1 | 3 | scale web-r1-1 1
    2 | 4 | scale web-r3-8 2
    2 | 4 | shift web-r3-8=100
    - | 3 | drain web-r1-1
    - | 3 | retire web-r1-1
    - | 2 | drain web-r2-2
    - | 2 | retire web-r2-2
    peak 5 floor 2
    ");
}

/// The guard would refuse to scale down an old group with unhealthy servers, so the plan does not do it.
#[test]
fn an_incomplete_old_group_keeps_its_servers_until_it_retires() {
    let spec = spec(4, vec![Wave::Percent(50), Wave::Percent(100)], 0, true);
    let (old, new) = (active("web-r1-1", 1, true), active("web-r2-2", 2, true));
    let mut world = Perfect::new(Some((&old, 4)), true);
    let intent = Intent { spec: &spec, from: Some(&old), to: &new, direction: Direction::Forward, own_count: None, is_migrated: false };
    let shrinks = |world: &Perfect| {
        let plan = plan(&intent, &world.view).unwrap();
        plan.steps.iter().any(|s| matches!(&s.step, Step::Scale { group, .. } if *group == old.group))
    };
    assert!(shrinks(&world));
    world.view.groups.get_mut(&old.group).unwrap().instances[0].healthy_ms = None;
    assert!(!shrinks(&world));
}

#[test]
fn refusals_say_whose_fault_it_is() {
    let (old, new) = (active("web-r1-1", 1, true), active("web-r2-2", 2, true));
    let refuse = |spec: &ServiceSpec, from: &GroupRelease, to: &GroupRelease| {
        let view = Perfect::new(Some((from, 1)), true).view;
        plan(&Intent { spec, from: Some(from), to, direction: Direction::Forward, own_count: None, is_migrated: false }, &view)
            .unwrap_err()
            .code
    };
    assert_eq!(refuse(&spec(1, vec![Wave::Percent(1); 101], 0, true), &old, &new), "too-many-waves");
    assert_eq!(refuse(&spec(1, vec![], 0, true), &old, &old), "same-group");
    let mut hasty = spec(1, vec![], 0, true);
    hasty.rollout.within_ms = 0;
    assert_eq!(refuse(&hasty, &old, &new), "no-time");
}

/// Independent of the engine: servers that a weight needs, by counting up.
fn enough(count: u32, weight: u32) -> u32 {
    (0..=count).find(|n| u64::from(*n) * 100 >= u64::from(count) * u64::from(weight)).unwrap()
}

fn wave() -> impl Strategy<Value = Wave> {
    prop_oneof![(0u32..130).prop_map(Wave::Percent), (0u32..40).prop_map(Wave::Count)]
}

fn shape() -> impl Strategy<Value = (u32, u32, Vec<Wave>, u64, bool, bool)> {
    (1u32..25, 1u32..25, prop::collection::vec(wave(), 0..6), 0u64..3, any::<bool>(), prop::bool::weighted(0.9))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// L0: each declaration is applied here by hand; a group with traffic always has enough servers declared.
    #[test]
    fn the_floor_holds_at_every_prefix((count, running, waves, soak, routed, before) in shape()) {
        let spec = spec(count, waves, soak * 1_000, routed);
        let old_routed = if before { routed } else { !routed };
        let (old, new) = (active("web-r1-1", 1, old_routed), active("web-r2-2", 2, routed));
        let world = Perfect::new(Some((&old, running)), true);
        let plan = plan(&Intent { spec: &spec, from: Some(&old), to: &new, direction: Direction::Forward, own_count: None, is_migrated: false }, &world.view).unwrap();
        let mut counts = BTreeMap::from([(old.group.clone(), running)]);
        let mut weights = world.view.route.unwrap().weights;
        let floor = count.min(running);
        prop_assert_eq!(plan.floor, floor);
        for planned in &plan.steps {
            match &planned.step {
                Step::Scale { group, count } => { counts.insert(group.clone(), *count); }
                Step::Shift { weights: new, .. } => weights = new.clone(),
                Step::Retire { group } => {
                    prop_assert_eq!(weights.get(group), None, "retired while it has traffic");
                    counts.remove(group);
                }
                _ => {}
            }
            for (group, weight) in &weights {
                prop_assert!(*weight >= 1 && counts.get(group).copied().unwrap_or(0) >= enough(floor, *weight), "{:?}", planned);
            }
            let all: u32 = counts.values().sum();
            prop_assert!(all >= floor && planned.capacity >= floor && all <= plan.peak, "{:?} {:?}", planned, counts);
        }
        prop_assert_eq!(counts, BTreeMap::from([(new.group.clone(), count)]));
        prop_assert_eq!(weights, if routed { BTreeMap::from([(new.group, 100)]) } else { BTreeMap::new() });
    }

    /// Any rotation in a world without faults is promoted, step by step, and its journal folds to the same state.
    #[test]
    fn a_perfect_world_promotes((count, running, waves, soak, routed, before) in shape()) {
        let spec = spec(count, waves, soak * 1_000, routed);
        let old_routed = if before { routed } else { !routed };
        let (old, new) = (active("web-r1-1", 1, old_routed), active("web-r2-2", 2, routed));
        let mut walk = Walk::open(&spec, Some((&old, running)), &new);
        walk.until_closed();
        let closed = walk.r.closed.clone().unwrap();
        prop_assert_eq!(closed.verdict, Verdict::Promoted);
        prop_assert_eq!(closed.final_inventory.active, Some(new.clone()));
        prop_assert_eq!(closed.final_inventory.healthy, BTreeMap::from([(new.group, count)]));
        prop_assert_eq!(rotation::Rotation::fold(&walk.lines).unwrap(), walk.r);
    }

    /// L0: with any one server lost, a step that removes servers neither begins nor is declared unless enough are sure to
    /// remain: of the group that is scaled down in the worst case, of the others as observed.
    #[test]
    fn with_any_one_server_lost_nothing_is_taken_that_is_needed((count, running, waves, soak, routed, _) in shape()) {
        let spec = spec(count, waves, soak * 1_000, routed);
        let (old, new) = (active("web-r1-1", 1, routed), active("web-r2-2", 2, routed));
        let mut walk = Walk::open(&spec, Some((&old, running)), &new);
        let floor = count.min(running);
        loop {
            let decision = walk.decide();
            let acts = matches!(&decision, Decision::Record(Event::StepStarted { .. }) | Decision::Declare(_));
            let step = walk.r.step().map(|s| s.step.clone());
            let shrinks = match &step {
                Some(Step::Scale { group, count }) => walk.world.view.groups.get(group).is_some_and(|g| g.instances.len() > *count as usize),
                Some(Step::Retire { .. }) => true,
                _ => false,
            };
            if acts && shrinks {
                let step = step.unwrap();
                for (name, seen) in &walk.world.view.groups {
                    for place in 0..seen.instances.len() {
                        let view = walk.world.without(name, place);
                        let decision = rotation::decide(&walk.r, &view, &[], walk.world.now, walk.fence);
                        let goes_on = matches!(&decision, Decision::Record(Event::StepStarted { .. }) | Decision::Declare(_));
                        if goes_on {
                            let left = |g: &GroupName| {
                                let there = u32::try_from(view.groups[g].instances.len()).unwrap();
                                match &step {
                                    Step::Scale { group, count } if group == g => there.min(*count),
                                    Step::Retire { group } if group == g => 0,
                                    _ => there,
                                }
                            };
                            let all: u32 = view.groups.keys().map(left).sum();
                            prop_assert!(all >= floor, "{step:?} continues with {all} of {floor}");
                            if let Some(route) = &view.route {
                                for (group, weight) in &route.weights {
                                    prop_assert!(left(group) >= enough(floor, *weight), "{step:?} continues without {name} {place}");
                                }
                            }
                            prop_assert!(*name != new.group, "{step:?} continues while the new group is incomplete");
                        }
                    }
                }
            }
            if !walk.cycle() {
                break;
            }
        }
    }
}
