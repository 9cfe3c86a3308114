//! Plans of one manual step, and rollouts tier by tier.

use crate::common::*;
use model::*;
use rotation::{KnownGroups, Next, next};
use std::collections::BTreeMap;

fn weights(all: &[(&str, u32)]) -> BTreeMap<GroupName, u32> {
    all.iter().map(|(g, w)| (group(g), *w)).collect()
}

fn code(spec: &ServiceSpec, step: &Step, view: &View) -> String {
    manual_step(spec, step, view).map_or_else(|f| f.code, |_| "ok".to_string())
}

/// A group of this release, as its journal says.
fn leave(world: &mut Perfect, left: &GroupRelease, count: u32) {
    world.view.groups.remove(&left.group);
    world.runs.insert(left.group.clone(), left.release.digest());
    world.scale(&left.group, None, left.release.number, count);
}

#[test]
fn what_would_break_the_floor_is_refused() {
    let old = active("web-r1-1", 1, true);
    let spec = spec(3, vec![], 0, true);
    let mut world = Perfect::new(Some((&old, 3)), true);
    leave(&mut world, &active("web-r2-2", 2, true), 1);
    let scale = |name: &str, count| Step::Scale { group: group(name), count };
    let shift = |to: &[(&str, u32)]| Step::Shift { route: rotation::route_name(&service()), weights: weights(to) };
    let cases = [
        (scale("web-r1-1", 2), "floor"),
        (scale("web-r1-1", 3), "ok"),
        (scale("web-r1-1", 4), "ok"),
        (scale("web-r2-2", 0), "ok"),
        (scale("web-r9-9", 1), "no-such-group"),
        (shift(&[("web-r2-2", 100)]), "floor"),
        (shift(&[("web-r1-1", 67), ("web-r2-2", 33)]), "ok"),
        (shift(&[("web-r1-1", 100)]), "ok"),
        (shift(&[]), "floor"),
        (shift(&[("web-r1-1", 99)]), "weights"),
        (Step::Retire { group: group("web-r1-1") }, "floor"),
        (Step::Retire { group: group("web-r2-2") }, "ok"),
        (Step::Drain { group: group("web-r2-2"), within_ms: 1 }, "ok"),
        (Step::Soak { group: group("web-r1-1"), for_ms: 1, errors_ppm: 0, min_requests: 0, few_requests: FewRequests::GoOn }, "ok"),
    ];
    for (step, wanted) in cases {
        assert_eq!(code(&spec, &step, &world.view), wanted, "{step:?}");
    }
    // The others would cover the floor, but its share of the traffic would still be routed to it.
    let shared = weights(&[("web-r1-1", 67), ("web-r2-2", 33)]);
    let alone = std::mem::replace(&mut world.view.route.as_mut().unwrap().weights, shared);
    assert_eq!(code(&spec, &Step::Retire { group: group("web-r2-2") }, &world.view), "floor");
    world.view.route.as_mut().unwrap().weights = alone;
    world.view.groups.get_mut(&group("web-r2-2")).unwrap().desired = DesiredSeen::Gone;
    assert_eq!(code(&spec, &scale("web-r2-2", 1), &world.view), "group-gone");
    assert_eq!(code(&spec, &Step::Retire { group: group("web-r2-2") }, &world.view), "ok");
}

#[test]
fn workers_are_kept_too() {
    let old = active("web-r1-1", 1, false);
    let spec = spec(2, vec![], 0, false);
    let world = Perfect::new(Some((&old, 2)), false);
    assert_eq!(code(&spec, &Step::Scale { group: group("web-r1-1"), count: 1 }, &world.view), "floor");
    assert_eq!(code(&spec, &Step::Retire { group: group("web-r1-1") }, &world.view), "floor");
    assert_eq!(code(&spec, &Step::Drain { group: group("web-r1-1"), within_ms: 1 }, &world.view), "no-route");
}

/// An unknown control plane left servers of other code beside the active ones: they are no capacity, and may be retired.
/// What a stopped rotation left is capacity: its journal says what it runs.
#[test]
fn servers_of_unknown_code_are_no_capacity() {
    for routed in [false, true] {
        let (old, left) = (active("web-r1-1", 1, routed), active("web-r2-2", 2, routed));
        let spec = spec(2, vec![], 0, routed);
        let retire = |name: &str| Step::Retire { group: group(name) };
        let mut world = Perfect::new(Some((&old, 2)), routed);
        world.runs.insert(left.group.clone(), release(9, routed).digest());
        world.scale(&left.group, None, 2, 3);
        let releases = [(old.group.clone(), old.release.clone()), (left.group.clone(), left.release.clone())].into();
        let known = KnownGroups { active: Some(&old), releases: &releases };
        let code = |step: &Step, world: &Perfect| {
            rotation::plan_manual_step(&spec, step, &world.view, known).map_or_else(|f| f.code, |_| "ok".into())
        };
        assert_eq!(code(&retire("web-r1-1"), &world), "floor", "routed {routed}");
        assert_eq!(code(&Step::Scale { group: old.group.clone(), count: 1 }, &world), "floor", "routed {routed}");
        assert_eq!(code(&retire("web-r2-2"), &world), "ok", "routed {routed}");
        if routed {
            let shift = Step::Shift { route: rotation::route_name(&service()), weights: weights(&[("web-r2-2", 100)]) };
            assert_eq!(code(&shift, &world), "floor");
            continue;
        }
        // Left by a stopped rotation, half of the capacity each: either may retire only while the other covers the floor alone.
        leave(&mut world, &left, 2);
        assert_eq!((code(&retire("web-r2-2"), &world), code(&retire("web-r1-1"), &world)), ("ok".to_string(), "ok".to_string()));
        let both = ServiceSpec { count: 4, ..spec.clone() };
        let of_both = rotation::plan_manual_step(&both, &retire("web-r2-2"), &world.view, known).map_err(|f| f.code);
        assert_eq!(of_both.map(|plan| plan.floor), Err("floor".to_string()), "the other alone is half of the capacity");
        leave(&mut world, &left, 1);
        assert_eq!((code(&retire("web-r2-2"), &world), code(&retire("web-r1-1"), &world)), ("ok".to_string(), "floor".to_string()));
        // Its record shows our release, and its servers were launched with another.
        leave(&mut world, &left, 2);
        world.view.groups.get_mut(&left.group).unwrap().instances[0].release = Some(release(9, routed).digest());
        assert_eq!(code(&retire("web-r1-1"), &world), "floor");
    }
}

#[test]
fn each_kind_of_step_alone_comes_true_and_changes_nothing_the_second_time() {
    let old = active("web-r1-1", 1, true);
    let spec = spec(2, vec![], 0, true);
    let steps = [
        Step::Bake { image: old.release.image_name.clone(), objects: vec![old.release.image.clone()] },
        Step::Check { group: group("web-r1-1-c9"), of: group("web-r1-1"), command: vec!["true".to_string()], within_ms: 1_000 },
        Step::Scale { group: group("web-r1-1"), count: 3 },
        Step::Shift { route: rotation::route_name(&service()), weights: weights(&[("web-r1-1", 100)]) },
        Step::Soak { group: group("web-r1-1"), for_ms: 2_000, errors_ppm: 0, min_requests: 0, few_requests: FewRequests::GoOn },
        Step::Drain { group: group("web-r0-0"), within_ms: 1_000 },
        Step::Retire { group: group("web-r0-0") },
    ];
    for step in steps {
        let mut world = Perfect::new(Some((&old, 2)), true);
        world.scale(&group("web-r0-0"), None, 0, 1);
        let mut ended = Vec::new();
        for fence in 1..=2 {
            let plan = manual_step(&spec, &step, &world.view).unwrap();
            let opened = Opened { spec: spec.clone(), from: Some(old.clone()), to: old.clone(), plan, why: "by hand".to_string() };
            let mut walk = Walk::with(opened, world);
            walk.fence = Fence(fence);
            walk.world.view.objects.extend(walk.r.objects().into_iter().map(|o| (o, true)));
            walk.until_closed();
            let closed = walk.r.closed.clone().unwrap();
            assert_eq!((closed.verdict, closed.final_inventory.active), (Verdict::Promoted, Some(old.clone())), "{step:?}: {}", closed.why);
            world = walk.world;
            let mut view = world.view.clone();
            view.at = Time(0);
            view.groups.values_mut().for_each(|g| {
                g.stamp = None;
                g.instances.iter_mut().for_each(|i| i.exit = None);
            });
            view.route.as_mut().unwrap().stamp = None;
            ended.push(view);
        }
        assert_eq!(ended[0], ended[1], "{step:?} a second time changed the world");
    }
}

#[test]
fn a_single_step_that_takes_too_long_is_stopped() {
    let old = active("web-r1-1", 1, true);
    let spec = spec(2, vec![], 0, true);
    let world = Perfect::new(Some((&old, 2)), true);
    let plan = manual_step(&spec, &Step::Scale { group: old.group.clone(), count: 3 }, &world.view).unwrap();
    let opened = Opened { spec, from: Some(old.clone()), to: old.clone(), plan, why: "by hand".to_string() };
    let mut walk = Walk::with(opened, world);
    walk.cycle();
    walk.world.pass(60_000);
    walk.cycle();
    let closed = walk.r.closed.unwrap();
    assert_eq!((closed.verdict, closed.final_inventory.active), (Verdict::Stopped, Some(old)));
    assert!(closed.why.contains("took too long"), "{}", closed.why);
}

#[test]
fn tiers_go_in_order_and_the_first_failure_halts() {
    let named = |name: &str| {
        let mut spec = spec(1, vec![], 0, false);
        spec.name = ServiceName::new(name).unwrap();
        (spec, release(1, false))
    };
    let tier = |name: &str, services: &[&str]| (TierName::new(name).unwrap(), services.iter().map(|s| named(s)).collect());
    let tiers = vec![tier("background", &["mail", "jobs"]), tier("empty", &[]), tier("web", &["web"])];
    let rollout = RolloutPlan { why: String::new(), by_upkeep: false, tiers };
    let at = |opened: &[(&str, Option<Verdict>)]| {
        let opened = opened.iter().map(|(s, v)| (ServiceName::new(*s).unwrap(), *v)).collect();
        next(&rollout, &opened)
    };
    let (good, back) = (Some(Verdict::Promoted), Some(Verdict::RolledBack));
    assert_eq!(at(&[]), Next::Open(vec![0, 1], 0));
    assert_eq!(at(&[("mail", None)]), Next::Open(vec![1], 0));
    assert_eq!(at(&[("mail", good), ("jobs", None)]), Next::Wait);
    assert_eq!(at(&[("mail", good), ("jobs", good)]), Next::Open(vec![0], 2));
    assert_eq!(at(&[("mail", back)]), Next::End(RolloutEnd::Halted));
    assert_eq!(at(&[("mail", back), ("jobs", None)]), Next::Wait);
    assert_eq!(at(&[("mail", good), ("jobs", good), ("web", None)]), Next::Wait);
    assert_eq!(at(&[("mail", good), ("jobs", good), ("web", Some(Verdict::Stopped))]), Next::End(RolloutEnd::Halted));
    assert_eq!(at(&[("mail", good), ("jobs", good), ("web", good)]), Next::End(RolloutEnd::Promoted));
}
