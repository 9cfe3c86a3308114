//! Images, snapshots, databases and security groups.

use crate::estate;
use guard::{
    Ami, CrossAccount, EbsSnapshot, Fact, IpPermission, Judgement, PrefixList, RdsInstance, RdsSnapshot, Resource, Route, RouteTable,
    SecurityGroup, Sharing, SnapshotSharing, Verdict, public,
};
use std::collections::BTreeMap;

fn judge(resource: Resource) -> Judgement {
    public(&resource, &estate::context())
}

fn rule(protocol: &str, ports: Option<(u16, u16)>, cidrs: &[&str]) -> IpPermission {
    let cidrs = cidrs.iter().map(|c| (*c).to_string()).collect();
    IpPermission { protocol: protocol.into(), ports, cidrs, prefix_lists: Vec::new(), descriptions: BTreeMap::new() }
}

fn group(rules: Vec<IpPermission>) -> Judgement {
    judge(Resource::SecurityGroup(SecurityGroup { id: "sg-1".into(), ingress: Fact::Known(rules) }))
}

#[test]
fn security_groups() {
    use Verdict::{NotPublic, Public};
    let world = &["0.0.0.0/0"][..];
    for (name, rules, expected) in [
        ("ssh", vec![rule("tcp", Some((22, 22)), world)], Public),
        ("ssh by number", vec![rule("6", Some((22, 22)), world)], Public),
        ("ssh over ipv6", vec![rule("tcp", Some((22, 22)), &["::/0"])], Public),
        ("a range around a database", vec![rule("tcp", Some((3000, 4000)), world)], Public),
        ("every protocol", vec![rule("-1", None, world)], Public),
        ("halves in one rule", vec![rule("tcp", Some((3389, 3389)), &["0.0.0.0/1", "128.0.0.0/1"])], Public),
        (
            "halves in two rules of other ranges",
            vec![rule("tcp", Some((20, 30)), &["0.0.0.0/2", "64.0.0.0/2"]), rule("tcp", Some((22, 80)), &["128.0.0.0/1"])],
            Public,
        ),
        ("memcached over udp", vec![rule("udp", Some((11211, 11211)), world)], Public),
        ("web", vec![rule("tcp", Some((443, 443)), world), rule("tcp", Some((80, 80)), world)], NotPublic),
        ("ssh over udp is nothing", vec![rule("udp", Some((22, 22)), world)], NotPublic),
        ("ping", vec![rule("icmp", None, world)], NotPublic),
        ("an office", vec![rule("tcp", Some((22, 22)), &["203.0.113.0/24"])], NotPublic),
        ("private", vec![rule("-1", None, &["10.0.0.0/8", "192.168.0.0/16"])], NotPublic),
        ("none", vec![], NotPublic),
    ] {
        assert_eq!(group(rules).verdict, expected, "{name}");
    }
}

#[test]
fn an_unread_prefix_list_may_hold_everything() {
    let listed = |entries| {
        let list = PrefixList { id: "pl-1".into(), entries };
        IpPermission { prefix_lists: vec![list], ..rule("tcp", Some((22, 22)), &[]) }
    };
    let unread = listed(Fact::denied("ec2:GetManagedPrefixListEntries"));
    assert_eq!(group(vec![unread.clone()]).verdict, Verdict::Unknown);
    assert_eq!(group(vec![unread, rule("tcp", Some((22, 22)), &["0.0.0.0/0"])]).verdict, Verdict::Public);
    let found = group(vec![listed(Fact::Known(vec!["0.0.0.0/0".into()]))]);
    assert_eq!(found.verdict, Verdict::Public);
    assert!(found.ways[0].switch.contains("pl-1"), "the command names what it revokes: {}", found.ways[0].switch);
}

#[test]
fn images_and_snapshots() {
    use Verdict::{NotPublic, Public, Unknown};
    let all = Sharing { with_all: true, accounts: vec![] };
    let partner = Sharing { with_all: false, accounts: vec![estate::OTHER.into()] };
    let ami = |launch_permission| judge(Resource::Ami(Ami { id: "ami-1".into(), launch_permission }));
    assert_eq!(ami(Fact::Known(all.clone())).verdict, Public);
    let shared = ami(Fact::Known(partner.clone()));
    assert_eq!((shared.verdict, shared.cross_account), (NotPublic, CrossAccount::Known));
    assert_eq!(ami(Fact::denied("ec2:DescribeImageAttribute")).verdict, Unknown);

    let snapshot = |sharing: &Sharing, encrypted: Fact<bool>, switch| {
        let mut context = estate::context();
        context.ebs_snapshot_sharing = Fact::Known(switch);
        let snapshot = EbsSnapshot { id: "snap-1".into(), encrypted, create_volume_permission: Fact::Known(sharing.clone()) };
        public(&Resource::EbsSnapshot(snapshot), &context).verdict
    };
    let clear = || Fact::Known(false);
    assert_eq!(snapshot(&all, clear(), SnapshotSharing::Unblocked), Public);
    assert_eq!(snapshot(&all, clear(), SnapshotSharing::BlockNewSharing), Public);
    assert_eq!(snapshot(&all, clear(), SnapshotSharing::BlockAllSharing), NotPublic);
    assert_eq!(snapshot(&all, Fact::denied("ec2:DescribeSnapshots"), SnapshotSharing::Unblocked), Unknown);
    assert_eq!(snapshot(&partner, clear(), SnapshotSharing::Unblocked), NotPublic);

    for of_cluster in [false, true] {
        let database = |restore: Fact<Vec<String>>, encrypted| {
            judge(Resource::RdsSnapshot(RdsSnapshot { id: "s".into(), of_cluster, encrypted: Fact::Known(encrypted), restore })).verdict
        };
        assert_eq!(database(Fact::Known(vec!["all".into()]), false), Public);
        assert_eq!(database(Fact::Known(vec!["all".into()]), true), NotPublic);
        assert_eq!(database(Fact::Known(vec![estate::OTHER.into()]), false), NotPublic);
        assert_eq!(database(Fact::denied("rds:DescribeDBSnapshotAttributes"), false), Unknown);
    }
}

#[test]
fn a_database_is_public_only_if_flag_group_and_route_are() {
    let route = |target: &str, is_active| Route { destination: "0.0.0.0/0".into(), target: target.into(), is_active };
    let table = |route: Route| Fact::Known(vec![RouteTable { routes: vec![route] }]);
    let open = || RdsInstance {
        id: "db".into(),
        port: 5432,
        publicly_accessible: Fact::Known(true),
        ingress: Fact::Known(vec![rule("tcp", Some((5432, 5432)), &["0.0.0.0/0"])]),
        route_tables: table(route("igw-1", true)),
        has_ipv6: false,
    };
    let verdict = |instance| judge(Resource::RdsInstance(instance)).verdict;
    assert_eq!(verdict(open()), Verdict::Public);
    for (name, shut) in [
        ("flag", RdsInstance { publicly_accessible: Fact::Known(false), ..open() }),
        ("group", RdsInstance { ingress: Fact::Known(vec![rule("tcp", Some((5432, 5432)), &["10.0.0.0/8"])]), ..open() }),
        ("port", RdsInstance { ingress: Fact::Known(vec![rule("tcp", Some((443, 443)), &["0.0.0.0/0"])]), ..open() }),
        ("nat", RdsInstance { route_tables: table(route("nat-1", true)), ..open() }),
        ("blackhole", RdsInstance { route_tables: table(route("igw-1", false)), ..open() }),
        ("ipv6 only", RdsInstance { ingress: Fact::Known(vec![rule("tcp", Some((5432, 5432)), &["::/0"])]), ..open() }),
    ] {
        assert_eq!(verdict(shut), Verdict::NotPublic, "{name}");
    }
    // Whoever the group admits must also have a route: both in one address family.
    let v6 = |group: &[&str], routes: &[&str]| {
        let routes = routes.iter().map(|d| Route { destination: (*d).to_string(), ..route("igw-1", true) }).collect();
        let ingress = Fact::Known(vec![rule("tcp", Some((5432, 5432)), group)]);
        verdict(RdsInstance { has_ipv6: true, ingress, route_tables: Fact::Known(vec![RouteTable { routes }]), ..open() })
    };
    assert_eq!(v6(&["::/0"], &["::/0"]), Verdict::Public);
    assert_eq!(v6(&["::/0"], &["0.0.0.0/0"]), Verdict::NotPublic);
    assert_eq!(v6(&["0.0.0.0/0"], &["::/0"]), Verdict::NotPublic);
    assert_eq!(v6(&["0.0.0.0/0"], &["::/0", "0.0.0.0/0"]), Verdict::Public);
    // A prefix list may be the internet; beside it the default route still is.
    let by_list = Route { destination: "pl-1".into(), ..route("igw-1", true) };
    let with = |routes: Vec<Route>| RdsInstance { route_tables: Fact::Known(vec![RouteTable { routes }]), ..open() };
    assert_eq!(verdict(with(vec![by_list.clone()])), Verdict::Unknown);
    assert_eq!(verdict(with(vec![by_list, route("igw-1", true)])), Verdict::Public);
    let unread = RdsInstance { route_tables: Fact::denied("ec2:DescribeRouteTables"), ..open() };
    assert_eq!(verdict(unread.clone()), Verdict::Unknown);
    assert_eq!(verdict(RdsInstance { publicly_accessible: Fact::Known(false), ..unread }), Verdict::NotPublic);
}
