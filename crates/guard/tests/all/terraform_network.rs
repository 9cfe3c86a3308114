//! Security groups and databases of a Terraform plan.

use crate::estate;
use crate::terraform_plan::{Draft, refers};
use guard::Verdict::{NotPublic, Public, Unknown};
use serde_json::{Value, json};

const DATABASE: &str = "aws_db_instance.d";
const GROUP: &str = "aws_security_group.g";

fn rule(from: u16, to: u16, cidr: &str) -> Value {
    json!({"cidr_ipv4": cidr, "cidr_ipv6": null, "from_port": from, "to_port": to, "ip_protocol": "tcp", "security_group_id": "sg-1"})
}

fn group(ingress: Value) -> Draft {
    Draft::default().keep(GROUP, json!({"id": "sg-1", "ingress": ingress}))
}

fn inline(port: u16, cidr: &str) -> Value {
    json!([{"from_port": port, "to_port": port, "protocol": "tcp", "cidr_blocks": [cidr], "ipv6_cidr_blocks": [], "prefix_list_ids": [],
        "security_groups": [], "self": false}])
}

fn database(port: Value, groups: Value) -> Value {
    json!({"engine": "postgres", "publicly_accessible": true, "port": port, "vpc_security_group_ids": groups, "network_type": "IPV4"})
}

#[test]
fn a_database_is_reached_through_the_rules_beside_its_group() {
    let with = |draft: Draft, port: u16| draft.create(DATABASE, database(json!(port), json!(["sg-1"])), json!({})).verdict(DATABASE);
    let beside =
        |cidr: &str| group(json!([])).create("aws_vpc_security_group_ingress_rule.r", rule(15432, 15432, cidr), json!({"id": true}));
    assert_eq!(with(beside("0.0.0.0/0"), 15432), Unknown, "what is left open is the route only");
    assert_eq!(with(beside("0.0.0.0/0"), 15433), NotPublic);
    assert_eq!(with(beside("203.0.113.0/24"), 15432), NotPublic);
    let older = |kind: &str| {
        let after = json!({"type": kind, "from_port": 15432, "to_port": 15432, "protocol": "tcp", "cidr_blocks": ["0.0.0.0/0"], "security_group_id": "sg-1"});
        group(json!([])).create("aws_security_group_rule.r", after, json!({}))
    };
    assert_eq!((with(older("ingress"), 15432), with(older("egress"), 15432)), (Unknown, NotPublic));
    let halves =
        group(inline(15432, "0.0.0.0/1")).create("aws_vpc_security_group_ingress_rule.r", rule(15432, 15432, "128.0.0.0/1"), json!({}));
    assert_eq!(with(halves, 15432), Unknown);
    // A rule whose group is known after the apply may be of this one.
    let mut loose = rule(15432, 15432, "0.0.0.0/0");
    loose.as_object_mut().unwrap().remove("security_group_id");
    let draft = group(json!([])).create("aws_vpc_security_group_ingress_rule.r", loose, json!({"security_group_id": true}));
    assert_eq!(with(draft, 15432), Unknown);
    // A closed group of the plan shuts the door; with a group of no one knows whose rules it does not.
    let closed = || group(inline(15432, "10.0.0.0/8"));
    let of = |ids: Value| closed().create(DATABASE, database(json!(15432), ids), json!({})).verdict(DATABASE);
    assert_eq!((of(json!(["sg-1"])), of(json!(["sg-1", "sg-0123"])), of(json!([]))), (NotPublic, Unknown, Unknown));
}

#[test]
fn a_port_that_is_known_later_is_any_port() {
    let of = |port: Value, unknown: Value| {
        let draft =
            |ingress: Value| group(ingress).create(DATABASE, database(port.clone(), json!(["sg-1"])), unknown.clone()).verdict(DATABASE);
        (draft(inline(443, "0.0.0.0/0")), draft(inline(443, "10.0.0.0/8")))
    };
    assert_eq!(of(json!(5432), json!({})), (NotPublic, NotPublic));
    assert_eq!(of(json!(443), json!({})), (Unknown, NotPublic));
    assert_eq!(of(Value::Null, json!({"port": true})), (Unknown, NotPublic));
    assert_eq!(of(Value::Null, json!({})), (Unknown, NotPublic));
    let mut dual = database(json!(5432), json!(["sg-1"]));
    dual["network_type"] = Value::Null;
    let mut of_v6 = inline(5432, "10.0.0.0/8");
    of_v6[0]["ipv6_cidr_blocks"] = json!(["::/0"]);
    let later = group(of_v6).create(DATABASE, dual, json!({"network_type": true}));
    assert_eq!(later.verdict(DATABASE), Unknown, "it may have an IPv6 address");
}

#[test]
fn groups_that_are_known_later_are_not_counted_as_all() {
    let plan = |references: &[&str]| {
        let mut draft = Draft::default();
        for index in 0..2 {
            let cidr = if index == 0 { "10.0.0.0/8" } else { "0.0.0.0/0" };
            draft = draft
                .create(&format!("aws_security_group.db[{index}]"), json!({"ingress": inline(5432, cidr)}), json!({"id": true}))
                .create(
                    &format!("aws_db_instance.d[{index}]"),
                    database(json!(5432), Value::Null),
                    json!({"vpc_security_group_ids": true}),
                );
        }
        draft.configure("aws_db_instance.d", json!({"vpc_security_group_ids": refers(references)})).verdict("aws_db_instance.d[0]")
    };
    assert_eq!(plan(&["aws_security_group.db"]), Unknown, "aws_security_group.db[*].id");
    // The provider's set of one unknown is unknown as a whole: a literal beside the reference leaves no trace in the plan.
    assert_eq!(plan(&["aws_security_group.db[0].id", "aws_security_group.db[0]", "aws_security_group.db"]), Unknown);
}

#[test]
fn the_default_group_is_a_group() {
    let default = "aws_default_security_group.g";
    let draft = Draft::default().create(default, json!({"ingress": inline(22, "0.0.0.0/0")}), json!({"id": true}));
    assert_eq!(draft.verdict(default), Public);
    let beside = Draft::default().keep(default, json!({"id": "sg-1", "ingress": []})).create(
        "aws_vpc_security_group_ingress_rule.r",
        rule(22, 22, "0.0.0.0/0"),
        json!({}),
    );
    assert_eq!(beside.verdict(default), Public);
}

#[test]
fn rules_of_one_group_add_up_wherever_it_is() {
    let half = |name: &str, cidr: &str| (format!("aws_vpc_security_group_ingress_rule.{name}"), rule(22, 22, cidr));
    // Twelve narrow blocks each; together a sixteenth of all addresses.
    let mut draft = Draft::default();
    for n in 0..17 {
        let (address, after) = half(&format!("r{n:02}"), &format!("{}.0.0.0/8", 20 + 2 * n));
        draft = draft.create(&address, after, json!({}));
    }
    assert_eq!(draft.verdict("aws_vpc_security_group_ingress_rule.r00"), Public);
    // A rule of the older kind whose direction is known later lets in.
    let after = json!({"from_port": 22, "to_port": 22, "protocol": "tcp", "cidr_blocks": ["0.0.0.0/0"], "security_group_id": "sg-1"});
    let later = Draft::default().create("aws_security_group_rule.r", after, json!({"type": true}));
    assert_eq!(later.verdict("aws_security_group_rule.r"), Public);
}

#[test]
fn copies_of_snapshots_are_shared_as_snapshots_are() {
    for (kind, encrypted) in [
        ("aws_db_snapshot", "encrypted"),
        ("aws_db_snapshot_copy", "encrypted"),
        ("aws_db_cluster_snapshot", "storage_encrypted"),
        ("aws_rds_cluster_snapshot_copy", "storage_encrypted"),
    ] {
        let address = format!("{kind}.s");
        let of = |shared: Value, unknown: Value, is_encrypted: Value| {
            Draft::default().create(&address, json!({"shared_accounts": shared, encrypted: is_encrypted}), unknown).verdict(&address)
        };
        assert_eq!(of(json!(["all"]), json!({}), json!(false)), Public, "{kind}");
        assert_eq!(of(json!(["all"]), json!({}), json!(true)), NotPublic, "{kind}");
        assert_eq!(of(json!(["all"]), json!({encrypted: true}), Value::Null), Unknown, "{kind}");
        assert_eq!(of(Value::Null, json!({"shared_accounts": true, encrypted: true}), Value::Null), Unknown, "{kind}");
        assert_eq!(of(json!([estate::OTHER]), json!({encrypted: true}), Value::Null), NotPublic, "{kind}");
    }
}
