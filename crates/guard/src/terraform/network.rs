//! Security groups of a plan with every rule of the plan that may be theirs, and the databases behind them.

use super::links::Link;
use super::planned::{Planned, holds_true, texts};
use super::{Plan, PlannedResource, naming, worst};
use crate::ec2::{IpPermission, PrefixList, SecurityGroup};
use crate::rds::RdsInstance;
use crate::ternary::{Fact, Missing};
use crate::verdict::Resource;
use serde_json::Value;
use std::collections::BTreeMap;

pub const GROUPS: [&str; 2] = ["aws_security_group", "aws_default_security_group"];
pub const RULES: [&str; 2] = ["aws_security_group_rule", "aws_vpc_security_group_ingress_rule"];
pub const DATABASES: [&str; 2] = ["aws_db_instance", "aws_rds_cluster_instance"];
/// They let nobody in.
pub const HARMLESS: [&str; 1] = ["aws_vpc_security_group_egress_rule"];

pub struct Groups<'p, 'a> {
    plan: &'p Plan<'a>,
    /// By the place of the group.
    rules: BTreeMap<usize, Vec<usize>>,
    /// By the ID of a group that is not in the plan, or none: of one that is known later.
    strays: BTreeMap<Option<&'a str>, Vec<usize>>,
}

impl<'p, 'a> Groups<'p, 'a> {
    pub fn of(plan: &'p Plan<'a>) -> Groups<'p, 'a> {
        let mut found = Groups { plan, rules: BTreeMap::new(), strays: BTreeMap::new() };
        for place in plan.of_kinds(&RULES) {
            let rule = &plan.all[place];
            match plan.links.link(&plan.all, rule, "security_group_id", &GROUPS) {
                Link::To(groups) => groups.iter().for_each(|group| found.rules.entry(*group).or_default().push(place)),
                _ => found.strays.entry(rule.text("security_group_id")).or_default().push(place),
            }
        }
        found
    }

    pub fn judged(&self) -> Vec<PlannedResource> {
        let all = &self.plan.all;
        let group = |planned: &Planned, ingress: Vec<IpPermission>| {
            let group = SecurityGroup { id: planned.address.into(), ingress: Fact::Known(ingress) };
            worst(planned, [(Resource::SecurityGroup(group), self.plan.account.context(planned, &naming::partition(None, None)))])
        };
        let mut found: Vec<PlannedResource> = Vec::new();
        found.extend(self.plan.of_kinds(&GROUPS).filter_map(|place| group(&all[place], self.ingress(place))));
        for rules in self.strays.values() {
            // Rules of one group add up; they are shown once.
            let together = rules.iter().flat_map(|place| of_rule(&all[*place])).collect();
            found.extend(group(&all[rules[0]], together));
            found.extend(rules[1..].iter().filter_map(|place| group(&all[*place], of_rule(&all[*place]))));
        }
        for place in self.plan.of_kinds(&DATABASES) {
            let planned = &all[place];
            let context = self.plan.account.context(planned, &naming::partition(None, None));
            found.extend(worst(planned, [(Resource::RdsInstance(self.database(planned)), context)]));
        }
        found
    }

    /// What a group of the plan lets in, by its own blocks and by the rules beside it.
    fn ingress(&self, place: usize) -> Vec<IpPermission> {
        let planned = &self.plan.all[place];
        let own = match planned.blocks("ingress") {
            Fact::Known(blocks) => blocks.iter().map(|(block, unknown)| rule(planned, block, unknown)).collect(),
            Fact::Unknown(_) => vec![rule(planned, &Value::Null, &Value::Bool(true))],
        };
        let beside = self.rules.get(&place).into_iter().flatten().flat_map(|rule| of_rule(&self.plan.all[*rule]));
        own.into_iter().chain(beside).collect()
    }

    fn database(&self, planned: &Planned) -> RdsInstance {
        let port = planned.value("port").known().copied().flatten().and_then(Value::as_u64).and_then(|p| u16::try_from(p).ok());
        let mut ingress = self.ingress_of(planned);
        if let (None, Fact::Known(rules)) = (port, &mut ingress) {
            // A port that is not known may be any that a rule opens.
            rules.iter_mut().for_each(|rule| rule.ports = None);
        }
        let network_type = planned.value("network_type");
        RdsInstance {
            id: planned.address.into(),
            port: port.unwrap_or_default(),
            publicly_accessible: planned.flag("publicly_accessible"),
            ingress,
            // Which subnets lead to the internet is not in the plan.
            route_tables: Fact::Unknown(Missing(format!("the routes of {}", planned.address))),
            has_ipv6: network_type.known().is_none_or(|value| value.is_some_and(|v| v == "DUAL")),
        }
    }

    /// What the groups of a database let in together. The provider's set of them is unknown as a whole if one of them is, and a literal
    /// beside a reference leaves no trace, so what the set refers to does not say which they are.
    fn ingress_of(&self, planned: &Planned) -> Fact<Vec<IpPermission>> {
        let unknown = || Fact::Unknown(planned.missing("vpc_security_group_ids"));
        let Fact::Known(ids) = planned.texts("vpc_security_group_ids") else { return unknown() };
        let mut rules: Vec<IpPermission> = Vec::new();
        for id in &ids {
            // A group that is not in the plan may admit anyone.
            let Some(places) = self.plan.links.named(&self.plan.all, id, &GROUPS) else { return unknown() };
            rules.extend(places.into_iter().flat_map(|place| self.ingress(place)));
        }
        // Without any it has the default group of its VPC.
        if ids.is_empty() {
            return unknown();
        }
        let loose = self.strays.get(&None).into_iter().flatten().flat_map(|rule| of_rule(&self.plan.all[*rule]));
        Fact::Known(rules.into_iter().chain(loose).collect())
    }
}

/// The rule that a resource is by itself, unless it is about the other direction.
fn of_rule(planned: &Planned) -> Vec<IpPermission> {
    let (written, unknown) = planned.whole();
    let is_egress = planned.kind == "aws_security_group_rule" && planned.text("type") == Some("egress");
    if is_egress { Vec::new() } else { vec![rule(planned, written, unknown)] }
}

fn rule(planned: &Planned, rule: &Value, unknown: &Value) -> IpPermission {
    const SOURCES: [&str; 6] = ["cidr_blocks", "ipv6_cidr_blocks", "cidr_ipv4", "cidr_ipv6", "prefix_list_ids", "prefix_list_id"];
    let protocol = rule["protocol"].as_str().or_else(|| rule["ip_protocol"].as_str()).unwrap_or("-1").to_string();
    let port = |name: &str| rule[name].as_i64().and_then(|p| u16::try_from(p).ok());
    let cidrs = SOURCES[..4].iter().flat_map(|name| texts(&rule[*name]));
    let unread = |id: String| PrefixList { entries: Fact::Unknown(Missing(format!("the entries of {id}"))), id };
    let mut prefix_lists: Vec<PrefixList> = SOURCES[4..].iter().flat_map(|name| texts(&rule[*name])).map(unread).collect();
    // A source, a port or a protocol that is known after the apply may be any.
    let is_all_unknown = unknown == &Value::Bool(true);
    if is_all_unknown || SOURCES.iter().any(|name| holds_true(&unknown[*name])) {
        prefix_lists.push(PrefixList { id: planned.address.into(), entries: Fact::Unknown(planned.missing("ingress")) });
    }
    let is_any_port = ["from_port", "to_port", "protocol", "ip_protocol"].iter().any(|name| holds_true(&unknown[*name]));
    let protocol = if is_any_port || is_all_unknown { "-1".into() } else { protocol };
    let ports = port("from_port").zip(port("to_port"));
    IpPermission { protocol, ports, cidrs: cidrs.collect(), prefix_lists, descriptions: BTreeMap::new() }
}
