//! The decisions of the control plane on small cases: what is opened, refused or left alone.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use control::{Change, Desired, Inventory, ObservedService, RollbackSource, ServiceInventory, Summary, Target};
use model::*;
use std::collections::{BTreeMap, BTreeSet};

fn service() -> ServiceName {
    ServiceName::new("web").unwrap()
}

fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

fn spec(count: u32) -> ServiceSpec {
    ServiceSpec {
        name: service(),
        tier: TierName::new("front").unwrap(),
        image: ImageName::new("base").unwrap(),
        recipe: None,
        artifact: None,
        run: vec!["one".into()],
        env: BTreeMap::new(),
        secrets: Default::default(),
        user: ServiceSpec::default_user(),
        port: Some(8080),
        count,
        health: Health::default(),
        drain: Drain::default(),
        limits: Limits::default(),
        volumes: Vec::new(),
        exclusive: false,
        network: Network::default(),
        route: Some(Route::on(([127, 0, 0, 1], 80).into())),
        checks: Vec::new(),
        migrate: None,
        jobs: Vec::new(),
        rollout: Rollout::default(),
        from_image: Default::default(),
    }
}

fn release(number: u64) -> Release {
    let image = Digest::new(format!("sha256:{}", "a".repeat(64))).unwrap();
    Release { number, run: vec![format!("v{number}")], ..Release::of(&spec(1), image, None) }
}

fn active(name: &str, number: u64) -> GroupRelease {
    GroupRelease { group: group(name), release: release(number) }
}

/// A group as it was declared, with no server yet.
fn declared(name: &str, number: u64, count: u32) -> GroupSeen {
    GroupSeen { desired: DesiredSeen::Run { release: number, count }, ..GroupSeen::unknown(group(name)) }
}

/// `web-r1-1` is active and gets all traffic; `more` is there too.
fn observed(count: u32, weights: &[(&str, u32)], more: &[GroupSeen]) -> ObservedService {
    let active = active("web-r1-1", 1);
    let seen = [declared("web-r1-1", 1, count)].into_iter().chain(more.iter().cloned());
    let groups: BTreeMap<GroupName, GroupSeen> = seen.map(|g| (g.group.clone(), g)).collect();
    let weights = weights.iter().map(|(g, w)| (group(g), *w)).collect();
    let route = Some(RouteSeen { weights, ..RouteSeen::unknown(RouteName::new("web").unwrap()) });
    let summary = Summary {
        groups: groups.keys().cloned().collect(),
        releases: [(active.group.clone(), active.release.clone())].into(),
        active: Some(active),
        routed: true,
    };
    let view = View { at: Time(1), groups, route, objects: BTreeMap::new() };
    ObservedService { summary, view, inventory: ServiceInventory::default() }
}

fn change(observed: &ObservedService, count: u32, number: u64) -> Change {
    let desired = Desired { spec: spec(count), release: release(number) };
    control::change(observed, &desired, &desired.release.clone())
}

#[test]
fn what_is_active_already_is_left_alone_and_all_else_is_rotated() {
    let all = [("web-r1-1", 100)];
    assert_eq!(change(&observed(3, &all, &[]), 3, 1), Change::Unchanged);
    assert_eq!(change(&observed(3, &all, &[]), 5, 1), Change::Count);
    assert_eq!(change(&observed(3, &all, &[]), 3, 2), Change::Rotate, "another release");
    assert_eq!(change(&observed(3, &all, &[]), 0, 1), Change::Rotate, "it is parked: traffic is shifted first");
    assert_eq!(change(&observed(0, &[], &[]), 3, 1), Change::Rotate, "it was parked");
    assert_eq!(change(&observed(0, &[], &[]), 0, 1), Change::Unchanged, "it stays parked");
    assert_eq!(change(&observed(3, &[], &[]), 3, 1), Change::Rotate, "the traffic is not routed to it");
    assert_eq!(change(&observed(3, &all, &[declared("web-r2-2", 2, 1)]), 3, 1), Change::Rotate, "another group is left");
}

#[test]
fn a_new_release_gets_a_new_group_and_a_name_that_was_used_is_refused() {
    let mut observed = observed(3, &[("web-r1-1", 100)], &[]);
    let desired = Desired { spec: spec(3), release: release(2) };
    let (id, from) = (RotationId::of(&service(), 7), active("web-r1-1", 1));
    let target = Target { id: &id, from: Some(&from), own_count: Some(3), is_migrated: true, why: "a test" };
    let open = |observed: &ObservedService| control::open(observed, &desired, release(2), Change::Rotate, &target);
    let opened = open(&observed).unwrap();
    assert_eq!((opened.to.group.as_str(), opened.from.as_ref()), ("web-r2-7", Some(&from)));
    observed.inventory.groups.push(GroupHeld { seen: GroupSeen::unknown(group("web-r2-7")), spec: None });
    assert_eq!(open(&observed).unwrap_err().code, "name-used");
    let opened = control::open(&observed, &Desired { spec: spec(5), release: release(1) }, release(1), Change::Count, &target).unwrap();
    let steps: Vec<_> = opened.plan.steps.iter().map(|s| s.step.clone()).collect();
    assert_eq!((opened.to, steps), (from.clone(), vec![Step::Scale { group: from.group.clone(), count: 5 }]), "one step, in place");
}

#[test]
fn a_rollback_takes_the_release_before_and_what_served_before_a_parked_one() {
    let alone = observed(3, &[("web-r1-1", 100)], &[]);
    let source = |spec| RollbackSource { spec, named: None, observed: &alone, previous: Vec::new(), served_last: None };
    let previous = vec![active("web-r2-2", 2), active("web-r1-1", 1)];
    let (three, parked) = (spec(3), spec(0));
    let back = |source| control::rollback(source).map(|d: Desired| (d.release.number, d.spec.count, d.spec.run));
    let v = |n: u64| vec![format!("v{n}")];
    assert_eq!(back(RollbackSource { previous: previous.clone(), ..source(&three) }), Ok((1, 3, v(1))), "with its settings");
    let stopped = observed(3, &[("web-r1-1", 50)], &[declared("web-r3-3", 3, 1)]);
    let back_of_a_stop = back(RollbackSource { previous: previous.clone(), observed: &stopped, ..source(&three) });
    assert_eq!(back_of_a_stop, Ok((2, 3, v(2))), "a stopped rotation left servers: what is active still was before them");
    let removed = ObservedService { summary: Summary::default(), ..observed(3, &[], &[]) };
    assert_eq!(back(RollbackSource { previous: previous.clone(), observed: &removed, ..source(&three) }), Ok((2, 3, v(2))), "removed");
    assert_eq!(back(RollbackSource { named: Some(release(5)), previous, ..source(&three) }), Ok((5, 3, v(5))));
    let served_last = Some((active("web-r1-1", 1), 4));
    assert_eq!(back(RollbackSource { served_last: served_last.clone(), ..source(&parked) }), Ok((1, 4, v(1))), "it was parked");
    assert_eq!(back(RollbackSource { served_last, ..source(&three) }).unwrap_err().code, "nothing-before");
}

#[test]
fn a_removal_retires_every_known_group_and_closes_the_listener_last() {
    let observed = observed(3, &[("web-r1-1", 100)], &[declared("web-r2-2", 2, 1)]);
    let opened = control::open_removal(&observed, spec(3), active("web-r1-1", 1), "a test").unwrap();
    let retired: BTreeSet<_> =
        opened.plan.steps.iter().filter_map(|s| if let Step::Retire { group } = &s.step { Some(group.as_str()) } else { None }).collect();
    assert_eq!(retired, ["web-r1-1", "web-r2-2"].into());
    assert!(
        opened.from.is_none()
            && matches!(opened.plan.steps.last().map(|s| &s.step), Some(Step::Shift { weights, .. }) if weights.is_empty())
    );
    let none = BTreeSet::new();
    assert_eq!(control::must_be_removable(&[service()], &none, &[service()]), Ok(()));
    let refused = |in_file: &BTreeSet<ServiceName>| control::must_be_removable(&[], in_file, &[service()]).unwrap_err();
    assert_eq!((refused(&none).code.as_str(), refused(&BTreeSet::from([service()])).code.as_str()), ("not-removable", "not-removable"));
    assert!(
        refused(&none).message.contains("no active release") && refused(&BTreeSet::from([service()])).message.contains("the file has it")
    );
}

#[test]
fn running_groups_that_no_journal_names_are_unknown() {
    let held = |seen: GroupSeen| GroupHeld { seen, spec: None };
    let gone = GroupSeen { desired: DesiredSeen::Gone, ..GroupSeen::unknown(group("web-r1-1")) };
    let groups = vec![held(gone), held(declared("web-r2-2", 2, 1)), held(declared("web-r3-3", 3, 1)), held(declared("web-r4-4", 4, 1))];
    let inventory = Inventory::of(groups, Ok(Vec::new()));
    let summary = Summary { groups: [group("web-r3-3")].into(), ..Summary::default() };
    let made = |g: &GroupName| Ok::<_, Fault>(g.as_str() == "web-r2-2");
    let unknown = control::unknown_groups(&inventory.service(&service()), made, || Ok(summary)).unwrap();
    assert_eq!(unknown, [group("web-r4-4")].into());
    let fault = control::uncovered(&service(), &unknown, true);
    assert!(fault.code == control::NOT_COVERED && fault.message.contains("web-r4-4"), "{fault:?}");
}

#[test]
fn the_group_with_most_of_the_traffic_is_adopted() {
    let run = |name: &str, number: u64, count: u32| GroupHeld {
        seen: declared(name, number, count),
        spec: Some(GroupSpec {
            group: group(name),
            service: service(),
            desired: DesiredGroup::Run { release: release(number), count, once: None },
        }),
    };
    let route = RouteSpec {
        route: RouteName::new("web").unwrap(),
        settings: Route::on(([127, 0, 0, 1], 80).into()),
        weights: [(group("web-r1-1"), 90), (group("web-r2-2"), 10)].into(),
        gone: false,
    };
    let route = RouteHeld { stamp: Stamp { fence: Fence(1), seq: 1 }, spec: route };
    let mut held = ServiceInventory { groups: vec![run("web-r1-1", 1, 3), run("web-r2-2", 2, 1)], route: Some(route) };
    let proposal = control::propose(&held);
    assert_eq!((proposal.active.as_ref().map(|a| a.group.as_str()), proposal.count), (Some("web-r1-1"), 3));
    assert_eq!(proposal.others, [group("web-r2-2")]);
    held.route = None;
    assert_eq!(control::propose(&held).active.map(|a| a.group), Some(group("web-r2-2")), "without traffic, the newest");
    let tier = TierName::new("front").unwrap();
    let adopted = control::adopt(&active("web-r1-1", 1), 3, &proposal.others, None, &tier, "a test");
    assert!(matches!(adopted.closed, Event::Closed { verdict: Verdict::Stopped, .. }), "more than the active group runs");
    assert_eq!((adopted.spec.count, adopted.opened.to), (3, active("web-r1-1", 1)));
}
