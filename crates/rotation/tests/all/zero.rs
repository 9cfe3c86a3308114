//! A service with a count of 0 is parked: its release is active and no server runs. Both ways, and the rollback of each.

use crate::common::*;
use model::*;
use proptest::prelude::*;
use rotation::{Intent, plan};
use std::collections::BTreeMap;

/// The next rotation, in the world that the walk left.
fn then(walk: Walk, spec: &ServiceSpec, from: &GroupRelease, own_count: Option<u32>, to: &GroupRelease) -> Walk {
    let intent = Intent { spec, from: Some(from), to, direction: Direction::Forward, own_count, is_migrated: false };
    let plan = plan(&intent, &walk.world.view).unwrap();
    Walk::with(Opened { spec: spec.clone(), from: Some(from.clone()), to: to.clone(), plan, why: String::new() }, walk.world)
}

fn steps(plan: &Plan) -> Vec<String> {
    let word = |s: &PlannedStep| match &s.step {
        Step::Bake { .. } => "bake".to_string(),
        Step::Check { group, .. } => format!("check {group}"),
        Step::Migrate { group, .. } => format!("migrate {group}"),
        Step::Scale { group, count } => format!("scale {group} {count}"),
        Step::Shift { weights, .. } => format!("shift {weights:?}"),
        Step::Soak { group, .. } => format!("soak {group}"),
        Step::Drain { group, .. } => format!("drain {group}"),
        Step::Retire { group } => format!("retire {group}"),
    };
    plan.steps.iter().map(word).collect()
}

/// How many servers each group runs, and where traffic is routed.
fn world(walk: &Walk) -> (BTreeMap<String, u32>, BTreeMap<GroupName, u32>) {
    let runs = walk.world.view.groups.values().filter_map(|g| match g.desired {
        DesiredSeen::Run { count, .. } => Some((g.group.to_string(), count)),
        _ => None,
    });
    (runs.collect(), walk.world.view.route.as_ref().map_or_else(BTreeMap::new, |r| r.weights.clone()))
}

fn verdict(walk: &Walk) -> (Verdict, Option<GroupRelease>) {
    let closed = walk.r.closed.as_ref().expect("closed");
    (closed.verdict, closed.final_inventory.active.clone())
}

#[test]
fn traffic_is_routed_to_nobody_before_the_servers_are_drained() {
    let (old, mut new) = (active("web-r1-1", 1, true), active("web-r2-2", 2, true));
    new.release.checks = vec![Check { name: "c".to_string(), run: vec!["true".to_string()], within_ms: 1_000 }];
    let mut spec = spec(0, vec![Wave::Count(1), Wave::Percent(100)], 10_000, true);
    spec.checks.clone_from(&new.release.checks);
    let mut walk = Walk::open(&spec, Some((&old, 3)), &new);
    assert_eq!(steps(&walk.r.plan), ["bake", "scale web-r2-2 0", "shift {}", "drain web-r1-1", "retire web-r1-1"]);
    assert_eq!((walk.r.plan.floor, walk.r.plan.peak), (0, 3));
    // The drain waits for what is in flight.
    walk.until(3);
    walk.world.view.route.as_mut().unwrap().groups.get_mut(&old.group).unwrap().in_flight = 1;
    for _ in 0..4 {
        walk.cycle();
    }
    assert_eq!((walk.r.cursor, world(&walk).0["web-r1-1"]), (3, 3));
    walk.until_closed();
    assert_eq!(verdict(&walk), (Verdict::Promoted, Some(new)));
    assert_eq!(world(&walk), ([("web-r2-2".to_string(), 0)].into(), BTreeMap::new()));
    assert!(walk.r.closed.as_ref().unwrap().why.contains("parked and serves nothing"));
}

/// A parked group has no server that proves it: it must be declared.
#[test]
fn a_parked_group_that_is_gone_is_not_promoted() {
    for routed in [true, false] {
        let (old, new) = (active("web-r1-1", 1, routed), active("web-r2-2", 2, routed));
        let mut walk = Walk::open(&spec(0, vec![], 0, routed), Some((&old, 3)), &new);
        let last = u32::try_from(walk.r.plan.steps.len()).unwrap();
        walk.until(last);
        walk.world.view.groups.get_mut(&new.group).unwrap().desired = DesiredSeen::Gone;
        walk.until_closed();
        let why = walk.r.closed.clone().unwrap().why;
        assert_eq!(verdict(&walk), (Verdict::Stopped, None), "{why}");
        assert!(why.contains("web-r2-2 is not declared to run"), "{why}");
    }
}

#[test]
fn a_rollback_from_zero_restores_what_was_active_from_any_step() {
    let (old, new) = (active("web-r1-1", 1, true), active("web-r2-2", 2, true));
    for step in 0..=3 {
        let mut walk = Walk::open(&spec(0, vec![], 0, true), Some((&old, 3)), &new);
        walk.until(step);
        walk.command(1, RotationCommand::Rollback);
        walk.cycle();
        assert_eq!(walk.r.plan.floor, 3, "the previously active count is the full load again");
        walk.until_closed();
        assert_eq!(verdict(&walk), (Verdict::RolledBack, Some(old.clone())), "from step {step}");
        assert_eq!(world(&walk), ([("web-r1-1".to_string(), 3)].into(), [(old.group.clone(), 100)].into()));
    }
}

#[test]
fn what_is_parked_comes_as_a_first_release_does_and_rolls_back_to_nobody() {
    let names = [("web-r1-1", 1), ("web-r1-2", 1), ("web-r2-3", 2), ("web-r3-4", 3)];
    let [first, parked, next, last] = names.map(|(name, number)| active(name, number, true));
    let mut walk = Walk::open(&spec(0, vec![], 0, true), Some((&first, 2)), &parked);
    walk.until_closed();
    let two = spec(2, vec![Wave::Count(1), Wave::Percent(100)], 0, true);
    let mut walk = then(walk, &two, &parked, Some(0), &next);
    let steps_expected = ["bake", "scale web-r2-3 2", "shift {GroupName(\"web-r2-3\"): 100}", "drain web-r1-2", "retire web-r1-2"];
    assert_eq!(steps(&walk.r.plan), steps_expected);
    assert_eq!(walk.r.plan.restores, Some(0));
    walk.until(3);
    walk.command(1, RotationCommand::Rollback);
    walk.until_closed();
    assert_eq!(verdict(&walk), (Verdict::RolledBack, Some(parked.clone())), "{:?}", walk.r.closed);
    assert_eq!(world(&walk), ([("web-r1-2".to_string(), 0)].into(), BTreeMap::new()), "parked as before");
    let mut walk = then(walk, &two, &parked, Some(0), &last);
    walk.until_closed();
    assert_eq!(verdict(&walk), (Verdict::Promoted, Some(last.clone())));
    assert_eq!(world(&walk), ([("web-r3-4".to_string(), 2)].into(), [(last.group, 100)].into()));
}

#[test]
fn a_first_release_may_be_parked() {
    for routed in [true, false] {
        let new = active("web-r1-1", 1, routed);
        let mut walk = Walk::open(&spec(0, vec![], 0, routed), None, &new);
        walk.until_closed();
        assert_eq!(verdict(&walk), (Verdict::Promoted, Some(new)));
        assert_eq!(world(&walk), ([("web-r1-1".to_string(), 0)].into(), BTreeMap::new()));
    }
}

/// A removal, from servers and from none: the listener closes when every group is gone, not before.
#[test]
fn a_removal_ends_the_route_last() {
    for count in [2, 0] {
        let (old, spec) = (active("web-r1-1", 1, true), spec(count, vec![], 0, true));
        let mut world = Perfect::new(Some((&old, count)), true);
        world.view.route.as_mut().unwrap().settings.clone_from(&spec.route);
        let mut plan = plan(
            &Intent { spec: &spec, from: None, to: &old, direction: Direction::Back, own_count: None, is_migrated: false },
            &world.view,
        )
        .unwrap();
        let shift = plan.steps[0].clone();
        plan.steps.push(shift);
        let mut walk = Walk::with(Opened { spec, from: None, to: old.clone(), plan, why: String::new() }, world);
        assert_eq!(steps(&walk.r.plan), ["shift {}", "drain web-r1-1", "retire web-r1-1", "shift {}"]);
        walk.until(3);
        assert_eq!(walk.world.view.route.as_ref().unwrap().settings, Some(walk.r.opened.spec.route.clone().unwrap()));
        // Its own stamp, and a listener that still exists: a foreign declaration, not a removed route.
        while !matches!(walk.decide(), rotation::Decision::Declare(_)) {
            walk.cycle();
        }
        let mut open = walk.world.view.clone();
        let route = open.route.as_mut().unwrap();
        route.stamp = walk.r.started.as_ref().map(|s| s.stamp);
        let decision = rotation::decide(&walk.r, &open, &[], walk.world.now, walk.fence);
        assert!(matches!(decision, rotation::Decision::Outrank { .. }), "{decision:?}");
        walk.until_closed();
        assert_eq!(verdict(&walk), (Verdict::RolledBack, None));
        assert_eq!(walk.world.view.route.as_ref().unwrap().settings, None);
        assert_eq!(self::world(&walk), (BTreeMap::new(), BTreeMap::new()));
    }
}

/// A release with a route failed, and its listener stayed open: the removal of a release without one closes it, also where another
/// driver has to declare the tombstone again.
#[test]
fn a_removal_closes_a_listener_that_an_earlier_release_opened() {
    let (old, spec) = (active("web-r1-1", 1, false), spec(1, vec![], 0, false));
    let mut world = Perfect::new(Some((&old, 1)), true);
    let route = world.view.route.as_mut().unwrap();
    (route.settings, route.weights) = (Some(Route::on(([127, 0, 0, 1], 80).into())), BTreeMap::new());
    let intent = Intent { spec: &spec, from: None, to: &old, direction: Direction::Back, own_count: None, is_migrated: false };
    let mut plan = plan(&intent, &world.view).unwrap();
    let shift = plan.steps[0].clone();
    plan.steps.push(shift);
    let mut walk = Walk::with(Opened { spec, from: None, to: old, plan, why: String::new() }, world);
    assert_eq!(steps(&walk.r.plan).first().map(String::as_str), Some("shift {}"));
    let last = u32::try_from(walk.r.plan.steps.len()).unwrap() - 1;
    walk.until(last);
    while walk.world.view.route.as_ref().unwrap().settings.is_some() {
        walk.cycle();
    }
    walk.fence = Fence(9);
    walk.until_closed();
    assert_eq!((verdict(&walk), walk.world.view.route.unwrap().settings), ((Verdict::RolledBack, None), None));
}

#[test]
fn by_hand_nobody_is_watched_and_a_service_in_force_keeps_its_floor() {
    let old = active("web-r1-1", 1, true);
    let world = Perfect::new(Some((&old, 2)), true);
    let code = |spec: &ServiceSpec, step: &Step| manual_step(spec, step, &world.view).map_err(|f| f.code);
    let none = Step::Scale { group: old.group.clone(), count: 0 };
    assert_eq!(code(&spec(2, vec![], 0, true), &none), Err("floor".to_string()));
    let nobody = Step::Shift { route: rotation::route_name(&service()), weights: BTreeMap::new() };
    assert_eq!(code(&spec(0, vec![], 0, true), &nobody), Err("floor".to_string()));
    let empty = Perfect::new(Some((&old, 0)), true);
    let soak = Step::Soak { group: old.group, for_ms: 1, errors_ppm: 0, min_requests: 0, few_requests: FewRequests::GoOn };
    assert_eq!(manual_step(&spec(0, vec![], 0, true), &soak, &empty.view).map_err(|f| f.code), Err("floor".to_string()));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Counts with a 0 among them, one rotation after the other, with a rollback at any step: the verdict names what is active, and
    /// traffic is routed to it if and only if it has servers.
    #[test]
    fn any_counts_one_after_the_other(counts in prop::collection::vec(0u32..4, 2..6), routed in any::<bool>(), command_at in prop::option::of(0u32..7)) {
        let waves = vec![Wave::Percent(50), Wave::Percent(100)];
        let mut last = (active("web-r1-1", 1, routed), counts[0]);
        let mut walk = Walk::open(&spec(counts[0], waves.clone(), 1_000, routed), None, &last.0);
        walk.until_closed();
        for (place, count) in counts[1..].iter().enumerate() {
            let number = place as u64 + 2;
            let to = active(&format!("web-r{number}-{number}"), number, routed);
            walk = then(walk, &spec(*count, waves.clone(), 1_000, routed), &last.0, Some(last.1), &to);
            let floor = last.1.min(*count);
            prop_assert_eq!(walk.r.plan.floor, floor);
            let mut issued = false;
            loop {
                if !issued && Some(walk.r.cursor) == command_at && walk.r.closed.is_none() {
                    issued = true;
                    walk.command(1, RotationCommand::Rollback);
                }
                let (runs, weights) = world(&walk);
                prop_assert!(weights.keys().all(|g| runs.get(g.as_str()).is_some_and(|n| *n > 0)), "{weights:?} {runs:?}");
                prop_assert!(runs.values().sum::<u32>() >= floor);
                if !walk.cycle() {
                    break;
                }
            }
            if verdict(&walk).0 == Verdict::Promoted {
                last = (to, *count);
            }
            prop_assert_eq!(verdict(&walk).1, Some(last.0.clone()));
            let customers = if routed && last.1 > 0 { [(last.0.group.clone(), 100)].into() } else { BTreeMap::new() };
            prop_assert_eq!(world(&walk), ([(last.0.group.to_string(), last.1)].into(), customers));
        }
    }
}
