//! Containment: the change stops the exposure and nothing smaller does, its undo is exact, and nobody else's change is overwritten.

use crate::estate;
use crate::random::Random;
use guard::contain::{NoPlan, Phase, Plan, RuleIdentity, Seen, Setting, State, Step, ingress_state, next, plan, plan_account};
use guard::{
    AccessPoint, Ami, Bucket, Context, EbsSnapshot, Fact, IpPermission, Object, PrefixList, PublicAccessBlock, RdsInstance, RdsSnapshot,
    Resource, Route, RouteTable, SecurityGroup, Sharing, Verdict, public,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The account as an API would hold it: only what calls can change. Independent of how the crate applies a change to facts.
#[derive(Debug, Clone, PartialEq)]
struct World {
    bucket_block: Option<PublicAccessBlock>,
    account_block: Option<PublicAccessBlock>,
    resource: Value,
}

fn seen(world: &World) -> Seen {
    Seen {
        bucket_block: Fact::Known(world.bucket_block),
        account_block: Fact::Known(world.account_block),
        website: Fact::Known(false),
        rules: Fact::Known(Vec::new()),
    }
}

fn bucket_mut(resource: &mut Resource) -> &mut Bucket {
    match resource {
        Resource::Bucket(bucket) => bucket,
        Resource::Object(object) => &mut object.bucket,
        Resource::AccessPoint(point) => &mut point.bucket,
        other => panic!("{other:?}"),
    }
}

/// What the call of the API does, from its parameters alone.
fn call(resource: &mut Resource, context: &mut Context, world: &mut World, call: &guard::contain::Call) {
    let given = &call.parameters;
    let block = || {
        let switch = |name: &str| given["PublicAccessBlockConfiguration"][name].as_bool().unwrap();
        PublicAccessBlock {
            block_public_acls: switch("BlockPublicAcls"),
            ignore_public_acls: switch("IgnorePublicAcls"),
            block_public_policy: switch("BlockPublicPolicy"),
            restrict_public_buckets: switch("RestrictPublicBuckets"),
        }
    };
    match (call.service, call.operation) {
        ("s3", "PutPublicAccessBlock") => world.bucket_block = Some(block()),
        ("s3", "DeletePublicAccessBlock") => world.bucket_block = None,
        ("s3control", "PutPublicAccessBlock") => world.account_block = Some(block()),
        ("s3control", "DeletePublicAccessBlock") => world.account_block = None,
        ("s3", "PutBucketPolicy") => bucket_mut(resource).policy = Fact::Known(Some(given["Policy"].as_str().unwrap().into())),
        ("ec2", "ModifyImageAttribute") => {
            let Resource::Ami(ami) = resource else { panic!() };
            let Fact::Known(sharing) = &mut ami.launch_permission else { panic!() };
            sharing.with_all = given["LaunchPermission"].get("Add").is_some();
        }
        ("ec2", "ModifySnapshotAttribute") => {
            let Resource::EbsSnapshot(snapshot) = resource else { panic!() };
            let Fact::Known(sharing) = &mut snapshot.create_volume_permission else { panic!() };
            sharing.with_all = given["OperationType"] == "add";
        }
        ("rds", "ModifyDBInstance") => {
            let Resource::RdsInstance(instance) = resource else { panic!() };
            instance.publicly_accessible = Fact::Known(given["PubliclyAccessible"].as_bool().unwrap());
        }
        ("rds", operation) => {
            let Resource::RdsSnapshot(snapshot) = resource else { panic!() };
            assert_eq!(operation.contains("Cluster"), snapshot.of_cluster);
            let Fact::Known(values) = &mut snapshot.restore else { panic!() };
            values.retain(|v| v != "all");
            given.get("ValuesToAdd").is_some().then(|| values.push("all".into()));
            values.sort();
        }
        ("ec2", operation) => {
            let Resource::SecurityGroup(group) = resource else { panic!() };
            let Fact::Known(ingress) = &mut group.ingress else { panic!() };
            for rule in given["IpPermissions"].as_array().unwrap() {
                let rule = rule_of(rule);
                if operation == "RevokeSecurityGroupIngress" {
                    let before = ingress.len();
                    ingress.retain(|r| *r != rule);
                    assert!(ingress.len() < before, "revokes what is not there: {rule:?}");
                } else {
                    ingress.push(rule);
                }
            }
            ingress.sort_by_key(|r| format!("{r:?}"));
        }
        other => panic!("{other:?}"),
    }
    if matches!(resource, Resource::Bucket(_) | Resource::Object(_) | Resource::AccessPoint(_)) {
        bucket_mut(resource).block = Fact::Known(world.bucket_block.unwrap_or_default());
        context.account_block = Fact::Known(world.account_block.unwrap_or_default());
    }
    world.resource = json!(format!("{resource:?}"));
}

fn rule_of(value: &Value) -> IpPermission {
    let port = |name: &str| value[name].as_u64().map(|p| u16::try_from(p).unwrap());
    let mut rule = IpPermission {
        protocol: value["IpProtocol"].as_str().unwrap().into(),
        ports: port("FromPort").zip(port("ToPort")),
        cidrs: Vec::new(),
        prefix_lists: Vec::new(),
        descriptions: BTreeMap::new(),
    };
    for (field, name) in [("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6"), ("PrefixListIds", "PrefixListId")] {
        for source in value[field].as_array().into_iter().flatten() {
            let text = source[name].as_str().unwrap().to_string();
            if let Some(description) = source["Description"].as_str() {
                rule.descriptions.insert(text.clone(), description.into());
            }
            if name == "PrefixListId" {
                rule.prefix_lists.push(PrefixList { id: text, entries: Fact::Known(vec!["0.0.0.0/0".into()]) });
            } else {
                rule.cidrs.push(text);
            }
        }
    }
    rule
}

fn read(setting: &Setting, resource: &Resource, world: &World) -> State {
    match (setting, resource) {
        (Setting::BucketBlock { .. }, _) => State::Block(world.bucket_block),
        (Setting::AccountBlock { .. }, _) => State::Block(world.account_block),
        (Setting::BucketPolicy { .. }, _) => State::Policy(bucket_mut(&mut resource.clone()).policy.known().unwrap().clone()),
        (Setting::Ingress { rules, .. }, Resource::SecurityGroup(group)) => ingress_state(rules, group.ingress.known().unwrap()),
        (_, Resource::Ami(ami)) => State::On(ami.launch_permission.known().unwrap().with_all),
        (_, Resource::EbsSnapshot(snapshot)) => State::On(snapshot.create_volume_permission.known().unwrap().with_all),
        (_, Resource::RdsSnapshot(snapshot)) => State::On(snapshot.restore.known().unwrap().contains(&"all".to_string())),
        (_, Resource::RdsInstance(instance)) => State::On(*instance.publicly_accessible.known().unwrap()),
        other => panic!("{other:?}"),
    }
}

fn rule(protocol: &str, ports: Option<(u16, u16)>, cidr: &str) -> IpPermission {
    let descriptions = BTreeMap::from([(cidr.to_string(), format!("why {cidr}"))]);
    IpPermission { protocol: protocol.into(), ports, cidrs: vec![cidr.into()], prefix_lists: Vec::new(), descriptions }
}

fn group(rules: Vec<IpPermission>) -> Resource {
    let mut rules = rules;
    rules.sort_by_key(|r| format!("{r:?}"));
    Resource::SecurityGroup(SecurityGroup { id: "sg-1".into(), ingress: Fact::Known(rules) })
}

/// Everything that is public in the labelled estate, one of each other type, and objects and access points.
fn exposed() -> Vec<(Resource, Context, World)> {
    let mut found = Vec::new();
    let mut random = Random::new(3);
    for item in estate::estate(5, 3) {
        if item.verdict() != Verdict::Public {
            continue;
        }
        found.push((Resource::Bucket(item.bucket.clone()), item.context.clone()));
        let object = Object { acl: item.bucket.acl.clone(), bucket: item.bucket, key: "private/a".into() };
        found.push((Resource::Object(object), item.context));
    }
    let all = || Fact::Known(Sharing { with_all: true, accounts: vec![estate::OTHER.into()] });
    let mut add = |resource| found.push((resource, estate::context()));
    add(Resource::Ami(Ami { id: "ami-1".into(), launch_permission: all() }));
    add(Resource::EbsSnapshot(EbsSnapshot { id: "snap-1".into(), encrypted: Fact::Known(false), create_volume_permission: all() }));
    for of_cluster in [false, true] {
        let restore = Fact::Known(vec![estate::OTHER.to_string(), "all".into()]);
        add(Resource::RdsSnapshot(RdsSnapshot { id: "nightly".into(), of_cluster, encrypted: Fact::Known(false), restore }));
    }
    let route = Route { destination: "0.0.0.0/0".into(), target: "igw-1".into(), is_active: true };
    add(Resource::RdsInstance(RdsInstance {
        id: "shop".into(),
        port: 5432,
        publicly_accessible: Fact::Known(true),
        ingress: Fact::Known(vec![rule("tcp", Some((5432, 5432)), "0.0.0.0/0")]),
        route_tables: Fact::Known(vec![RouteTable { routes: vec![route] }]),
        has_ipv6: false,
    }));
    let web = || rule("tcp", Some((443, 443)), "0.0.0.0/0");
    let office = || rule("tcp", Some((22, 22)), "203.0.113.0/24");
    add(group(vec![web(), office(), rule("tcp", Some((22, 22)), "0.0.0.0/0")]));
    add(group(vec![web(), office(), rule("tcp", Some((20, 30)), "0.0.0.0/1"), rule("tcp", Some((22, 80)), "128.0.0.0/1")]));
    add(group(vec![office(), rule("-1", None, "::/0")]));
    let list = PrefixList { id: "pl-1".into(), entries: Fact::Known(vec!["0.0.0.0/0".into()]) };
    let descriptions = BTreeMap::from([("pl-1".to_string(), "partners".to_string())]);
    add(group(vec![web(), IpPermission { cidrs: vec![], prefix_lists: vec![list], descriptions, ..rule("tcp", Some((6379, 6379)), "x") }]));
    let mut bucket = estate::bucket("b");
    bucket.policy = Fact::Known(Some(
        json!({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"],
            "Condition": {"StringEquals": {"s3:DataAccessPointAccount": estate::OWNER}}}})
        .to_string(),
    ));
    let arn = "arn:aws:s3:us-west-2:123456789012:accesspoint/ap";
    let own = json!({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": format!("{arn}/object/*")}});
    add(Resource::AccessPoint(AccessPoint {
        name: "ap".into(),
        arn: arn.into(),
        account_id: estate::OWNER.into(),
        network_origin: Fact::Known("Internet".into()),
        policy: Fact::Known(Some(own.to_string())),
        block: Fact::Known(PublicAccessBlock::default()),
        other_account_block: None,
        bucket,
    }));
    found.retain(|(resource, context)| public(resource, context).verdict == Verdict::Public);
    found
        .into_iter()
        .map(|(resource, context)| {
            // A configuration with every switch off, or none at all: the undo must tell them apart.
            let of = |block: PublicAccessBlock, random: &mut Random| {
                (block != PublicAccessBlock::default() || random.chance(50)).then_some(block)
            };
            let bucket_block = match &mut resource.clone() {
                Resource::Bucket(_) | Resource::Object(_) | Resource::AccessPoint(_) => {
                    of(*bucket_mut(&mut resource.clone()).block.known().unwrap(), &mut random)
                }
                _ => None,
            };
            let account_block = of(*context.account_block.known().unwrap(), &mut random);
            let world = World { bucket_block, account_block, resource: json!(format!("{resource:?}")) };
            (resource, context, world)
        })
        .collect()
}

#[test]
fn every_exposure_is_contained_and_undone_exactly() {
    let exposed = exposed();
    assert!(exposed.len() > 300, "{}", exposed.len());
    let mut settings = BTreeSet::new();
    for (mut resource, mut context, mut world) in exposed {
        let (id, original) = (resource.id(), world.clone());
        let plan = plan(&resource, &context, &seen(&world)).unwrap_or_else(|fault| panic!("{fault}: {resource:?}"));
        settings.insert(format!("{:?}", plan.setting).split(' ').next().unwrap().to_string());
        assert!(plan.before.is(&read(&plan.setting, &resource, &world)), "{id}");
        assert!(!plan.cut_off.is_empty(), "{id}: nobody is said to lose access");
        call(&mut resource, &mut context, &mut world, &plan.contain().unwrap());
        assert!(plan.after.is(&read(&plan.setting, &resource, &world)), "{id}");
        assert_eq!(public(&resource, &context).verdict, Verdict::NotPublic, "{id}: {plan:?}");
        // The plan survives the journal.
        let plan: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
        call(&mut resource, &mut context, &mut world, &plan.undo().unwrap());
        assert_eq!(world, original, "{id}: {plan:?}");
    }
    let expected = ["BucketBlock", "CreateVolumePermission", "Ingress", "LaunchPermission", "PubliclyAccessible", "RestorePermission"];
    assert_eq!(settings.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn nothing_smaller_would_do() {
    for (resource, context, world) in exposed() {
        let plan = plan(&resource, &context, &seen(&world)).unwrap();
        if let (State::Block(before), State::Block(Some(after))) = (&plan.before, &plan.after) {
            let before = before.unwrap_or_default();
            assert_eq!((before.block_public_acls, before.block_public_policy), (after.block_public_acls, after.block_public_policy));
            for off in [
                PublicAccessBlock { ignore_public_acls: before.ignore_public_acls, ..*after },
                PublicAccessBlock { restrict_public_buckets: before.restrict_public_buckets, ..*after },
            ] {
                let mut weaker = resource.clone();
                bucket_mut(&mut weaker).block = Fact::Known(off);
                let is_same = off == *after;
                assert!(
                    is_same || public(&weaker, &context).verdict == Verdict::Public,
                    "{}: {after:?} is more than needed",
                    resource.id()
                );
            }
        }
        if let (Setting::Ingress { rules, .. }, Resource::SecurityGroup(group)) = (&plan.setting, &resource) {
            let texts: Vec<String> = rules.iter().map(Value::to_string).collect();
            assert!(texts.iter().all(|t| !t.contains("443")), "{texts:?}");
            assert!(!texts.iter().any(|t| t.contains("203.0.113.0/24")), "an office is cut off: {texts:?}");
            assert!(rules.len() < group.ingress.known().unwrap().len());
        }
    }
}

#[test]
fn a_policy_that_no_switch_stops_gets_a_deny_and_keeps_its_statements() {
    let mut bucket = estate::bucket("b");
    let odd: Vec<String> = (1..256).step_by(2).map(|n| format!("{n}.0.0.0/8")).collect();
    let policy = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::b/*", "Condition": {"IpAddress": {"aws:SourceIp": odd}}}});
    let text = serde_json::to_string_pretty(&policy).unwrap();
    bucket.policy = Fact::Known(Some(text.clone()));
    let mut resource = Resource::Bucket(bucket);
    let mut context = estate::context();
    let mut world = World { bucket_block: None, account_block: None, resource: json!(format!("{resource:?}")) };
    let original = world.clone();
    let plan = plan(&resource, &context, &seen(&world)).unwrap();
    assert!(matches!(plan.setting, Setting::BucketPolicy { .. }), "{plan:?}");
    call(&mut resource, &mut context, &mut world, &plan.contain().unwrap());
    assert_eq!(public(&resource, &context).verdict, Verdict::NotPublic);
    let State::Policy(Some(after)) = &plan.after else { panic!() };
    let after: Value = serde_json::from_str(after).unwrap();
    assert_eq!(after["Statement"][0], policy["Statement"], "the evidence stays");
    call(&mut resource, &mut context, &mut world, &plan.undo().unwrap());
    assert_eq!(world, original, "to the byte");
}

#[test]
fn no_plan_without_a_verdict_or_an_exact_undo() {
    let of = |kind: &str| estate::estate(1, 1).into_iter().find(|i| i.kind == kind).unwrap();
    let none = World { bucket_block: None, account_block: None, resource: Value::Null };
    let refused = |kind: &str, seen: &Seen| {
        let item = of(kind);
        plan(&Resource::Bucket(item.bucket), &item.context, seen).unwrap_err()
    };
    assert!(matches!(refused("private", &seen(&none)), NoPlan::NotPublic(_)));
    assert!(refused("policy_unread", &seen(&none)).to_string().contains("could not read s3:GetBucketPolicy"));
    let unread = Seen { bucket_block: Fact::denied("s3:GetBucketPublicAccessBlock"), ..seen(&none) };
    assert!(matches!(refused("star", &unread), NoPlan::NotReversible { .. }));
    // A database that could not be read in whole is not switched off.
    let mut snapshot =
        RdsSnapshot { id: "s".into(), of_cluster: false, encrypted: Fact::denied("x"), restore: Fact::Known(vec!["all".into()]) };
    snapshot.restore = Fact::denied("rds:DescribeDBSnapshotAttributes");
    assert!(matches!(plan(&Resource::RdsSnapshot(snapshot), &estate::context(), &seen(&none)), Err(NoPlan::CannotTell { .. })));
}

#[test]
fn who_is_cut_off_is_said_before() {
    let item = estate::estate(1, 1).into_iter().find(|i| i.kind == "star_in_list").unwrap();
    let website = Fact::Known(true);
    let seen = Seen { bucket_block: Fact::Known(None), account_block: Fact::Known(None), website, rules: Fact::Known(Vec::new()) };
    let plan = plan(&Resource::Bucket(item.bucket), &item.context, &seen).unwrap();
    let text = plan.cut_off.join("\n");
    assert!(text.contains("anyone on the internet, who can read its objects"), "{text}");
    assert!(text.contains(&format!("{}, named by the policy", estate::OTHER)), "{text}");
    assert!(text.contains("visitors of the website"), "{text}");
}

#[test]
fn the_account_is_switched_only_if_no_live_waiver_needs_it_open() {
    let items: Vec<_> =
        estate::estate(2, 1).into_iter().filter(|i| matches!(i.kind, "star" | "acl_read" | "private" | "policy_unread")).collect();
    let resources: Vec<Resource> = items.into_iter().map(|i| Resource::Bucket(i.bucket)).collect();
    let context = estate::context();
    let none = World { bucket_block: None, account_block: None, resource: Value::Null };
    let plan = plan_account(&resources, &context, &seen(&none), &BTreeSet::new()).unwrap();
    let block = PublicAccessBlock { ignore_public_acls: true, restrict_public_buckets: true, ..Default::default() };
    assert_eq!((&plan.before, &plan.after), (&State::Block(None), &State::Block(Some(block))));
    assert_eq!(plan.undo().unwrap().operation, "DeletePublicAccessBlock");
    assert!(plan.cut_off.len() >= 2 && plan.cut_off.iter().all(|line| line.contains(": ")));
    let star = resources.iter().map(Resource::id).find(|id| id.starts_with("star")).unwrap();
    assert_eq!(plan_account(&resources, &context, &seen(&none), &BTreeSet::from([star.clone()])), Err(NoPlan::Waived(star)));
    let private: Vec<Resource> = resources.iter().filter(|r| r.id().starts_with("private")).cloned().collect();
    let waived = BTreeSet::from([private[0].id()]);
    assert!(plan_account(&private, &context, &seen(&none), &waived).is_err(), "nothing is public");
}

/// One process: reads the setting, asks what is next, does it. `fuel` is the number of steps until it is killed.
fn run(plan: &Plan, journal: &mut Vec<Phase>, value: &mut State, open_after: bool, fuel: usize) -> Option<Step> {
    for _ in 0..fuel {
        match next(plan, journal.last().unwrap(), value) {
            Step::Write(state) => *value = state,
            Step::Verify if open_after => return Some(Step::Verify),
            Step::Verify => journal.push(Phase::Contained),
            Step::Record(phase) => journal.push(phase),
            last => return Some(last),
        }
    }
    None
}

#[test]
fn killed_at_any_point_it_is_contained_or_original_and_a_change_by_others_is_never_overwritten() {
    let block = |ignore: bool, restrict: bool| PublicAccessBlock {
        ignore_public_acls: ignore,
        restrict_public_buckets: restrict,
        ..PublicAccessBlock::default()
    };
    let plan = Plan {
        kind: "s3_bucket".into(),
        id: "b".into(),
        setting: Setting::BucketBlock { bucket: "b".into() },
        before: State::Block(None),
        after: State::Block(Some(block(true, false))),
        cut_off: Vec::new(),
    };
    let theirs = State::Block(Some(block(false, true)));
    let mut random = Random::new(8);
    let (mut conflicts, mut undone) = (0, 0);
    for _ in 0..20_000 {
        let (mut journal, mut value) = (vec![Phase::Planned], plan.before.clone());
        let mut touched = false;
        let mut wants_undo = false;
        for _ in 0..8 {
            if random.chance(10) {
                value = theirs.clone();
                touched = true;
            }
            if !wants_undo && random.chance(30) {
                let phase = journal.last().unwrap().undo("ann", "false alarm").unwrap();
                journal.push(phase);
                wants_undo = true;
            }
            let fuel = random.below(4) as usize;
            let ended = run(&plan, &mut journal, &mut value, false, fuel);
            assert!([&plan.before, &plan.after, &theirs].contains(&&value), "a mix: {value:?}");
            if touched {
                assert_eq!(value, theirs, "overwritten");
                conflicts += usize::from(matches!(ended, Some(Step::Conflict(_))));
            } else if ended == Some(Step::Done) {
                assert_eq!(value, if wants_undo { plan.before.clone() } else { plan.after.clone() });
                undone += usize::from(wants_undo);
            }
        }
    }
    assert!(conflicts > 1000 && undone > 1000, "{conflicts} {undone}");
}

#[test]
fn undo_needs_owner_and_reason_and_only_a_verified_change_is_contained() {
    assert!(Phase::Contained.undo(" ", "r").is_err());
    assert!(Phase::Contained.undo("ann", "").is_err());
    assert!(Phase::Undone.undo("ann", "r").is_err());
    let (resource, context, world) = exposed().swap_remove(0);
    let plan = plan(&resource, &context, &seen(&world)).unwrap();
    let (mut journal, mut value) = (vec![Phase::Planned], plan.before.clone());
    assert_eq!(run(&plan, &mut journal, &mut value, true, 9), Some(Step::Verify), "still public: not recorded as contained");
    assert_eq!(journal, [Phase::Planned]);
}

#[test]
fn half_of_the_rules_is_a_conflict() {
    let rules = vec![rule("tcp", Some((22, 22)), "0.0.0.0/1"), rule("tcp", Some((22, 22)), "128.0.0.0/1")];
    let (resource, context) = (group(rules.clone()), estate::context());
    let world = World { bucket_block: None, account_block: None, resource: Value::Null };
    let plan = plan(&resource, &context, &seen(&world)).unwrap();
    let Setting::Ingress { rules: planned, .. } = &plan.setting else { panic!() };
    assert_eq!(planned.len(), 2, "one half is still everybody in it");
    assert_eq!(ingress_state(planned, &rules), State::Rules { present: 2, of: 2, altered: 0 });
    let half = ingress_state(planned, &rules[..1]);
    assert_eq!(half, State::Rules { present: 1, of: 2, altered: 0 });
    assert_eq!(next(&plan, &Phase::Planned, &half), Step::Conflict(half));
    let described = IpPermission { descriptions: BTreeMap::new(), ..rules[0].clone() };
    assert_eq!(
        ingress_state(planned, &[described.clone(), rules[1].clone()]),
        State::Rules { present: 1, of: 2, altered: 1 },
        "somebody changed a description"
    );
    // Both are open under other descriptions: that is neither revoked nor what was there.
    let other = IpPermission { descriptions: BTreeMap::new(), ..rules[1].clone() };
    let theirs = ingress_state(planned, &[described, other]);
    for phase in [Phase::Planned, Phase::Contained, Phase::Undoing { owner: "o".into(), reason: "r".into() }] {
        assert_eq!(next(&plan, &phase, &theirs), Step::Conflict(theirs.clone()), "{phase:?}");
    }
}

/// Tags that all the rules have come back with them, and what does not is said.
#[test]
fn what_a_revoked_rule_loses_is_on_record() {
    let rules = vec![rule("tcp", Some((22, 22)), "0.0.0.0/1"), rule("tcp", Some((22, 22)), "128.0.0.0/1")];
    let (resource, context) = (group(rules.clone()), estate::context());
    let world = World { bucket_block: None, account_block: None, resource: Value::Null };
    let known = |tags: [&str; 2]| {
        let of = |n: usize| {
            let tags = tags[n].split_once('=').map(|(k, v)| (k.to_string(), v.to_string())).into_iter().collect();
            // As the API lists rules, whose descriptions are not compared.
            let bare = IpPermission { descriptions: BTreeMap::new(), ..rules[n].clone() };
            (bare, RuleIdentity { id: format!("sgr-{n}"), tags })
        };
        Seen { rules: Fact::Known(vec![of(0), of(1)]), ..seen(&world) }
    };
    let planned = |seen: &Seen| plan(&resource, &context, seen).unwrap();
    let same = planned(&known(["team=web", "team=web"]));
    let call = same.undo().unwrap();
    let tags = json!([{"ResourceType": "security-group-rule", "Tags": [{"Key": "team", "Value": "web"}]}]);
    assert_eq!(call.parameters["TagSpecifications"], tags);
    assert!(call.command.contains("--tag-specifications"));
    assert!(same.contain().unwrap().parameters.get("TagSpecifications").is_none());
    let lost = same.setting.not_restored().join("; ");
    assert!(lost.contains("sgr-0") && lost.contains("sgr-1") && !lost.contains("tags"), "{lost}");
    for differ in [["team=web", "team=db"], ["team=web", ""], ["", "team=web"]] {
        let plan = planned(&known(differ));
        assert!(plan.undo().unwrap().parameters.get("TagSpecifications").is_none(), "{differ:?}");
        assert!(plan.setting.not_restored().join("; ").contains("tags of the rules"), "{differ:?}");
    }
    let untagged = planned(&known(["", ""])).setting.not_restored();
    assert!(untagged.len() == 1 && !untagged[0].contains("tags"), "{untagged:?}");
    // One that is not known: none of them is.
    let mut partly = known(["team=web", "team=web"]);
    partly.rules = Fact::Known(partly.rules.known().unwrap()[..1].to_vec());
    for unread in [partly, Seen { rules: Fact::denied("ec2:DescribeSecurityGroupRules"), ..seen(&world) }] {
        let plan = planned(&unread);
        assert!(plan.setting.not_restored().join("; ").contains("could not be read"), "{plan:?}");
    }
}

#[test]
fn a_multi_region_access_point_has_no_switch() {
    let (resource, context, world) = exposed().into_iter().find(|(r, ..)| matches!(r, Resource::AccessPoint(_))).unwrap();
    let Resource::AccessPoint(point) = resource else { panic!() };
    assert!(plan(&Resource::AccessPoint(point.clone()), &context, &seen(&world)).is_ok());
    let arn = "arn:aws:s3::123456789012:accesspoint/alias.mrap";
    let policy = point.policy.known().unwrap().as_ref().map(|text| text.replace(&point.arn, arn));
    let many = Resource::AccessPoint(AccessPoint { arn: arn.into(), policy: Fact::Known(policy), ..point });
    let refused = plan(&many, &context, &seen(&world)).unwrap_err();
    assert_eq!(refused, NoPlan::OfSeveralRegions("ap".into()));
    assert!(refused.to_string().contains("afresh guard contain --account"));
}

#[test]
fn a_policy_is_the_same_in_whatever_order_its_lists_are_given() {
    let policy = |text: &str| State::Policy(Some(text.into()));
    let written =
        policy(r#"{"Statement":[{"Sid":"a","Principal":{"AWS":["x","y"]},"Action":["s3:*"]},{"Sid":"b","Action":"s3:GetObject"}]}"#);
    assert!(
        written.is(&policy(
            r#"{"Statement":[{"Action":"s3:GetObject","Sid":"b"},{"Sid":"a","Principal":{"AWS":["y","x"]},"Action":"s3:*"}]}"#
        ))
    );
    assert!(
        !written
            .is(&policy(r#"{"Statement":[{"Sid":"a","Principal":{"AWS":["x"]},"Action":["s3:*"]},{"Sid":"b","Action":"s3:GetObject"}]}"#))
    );
    assert!(!written.is(&policy("{")));
}
