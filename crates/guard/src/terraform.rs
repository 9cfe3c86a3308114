//! Resources of a Terraform plan (`terraform show -json`), judged by the same verdict function before they exist.
//!
//! A value that is known only after the apply is not known here. A switch that the plan does not set counts as off, unless the plan
//! creates the bucket: S3 gives a new bucket every switch and no ACLs. <https://developer.hashicorp.com/terraform/internals/json-format>

use crate::acl::{AclGrant, Grantee};
use crate::block::{PublicAccessBlock, SnapshotSharing};
use crate::ec2::{Ami, IpPermission, PrefixList, SecurityGroup, Sharing};
use crate::judgement::Context;
use crate::policy::Policy;
use crate::policy::pattern::Pattern;
use crate::rds::{RdsInstance, RdsSnapshot};
use crate::rules::Facts;
use crate::s3::{AccessPoint, Bucket, Object, Ownership};
use crate::ternary::{Fact, Missing};
use crate::verdict::{Resource, public};
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
pub struct TerraformPlan {
    /// By the address of the plan.
    pub resources: Vec<(String, Resource)>,
    pub context: Context,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the plan: {0}; write it with `terraform show -json FILE`")]
pub struct PlanFault(String);

/// One entry of `resource_changes` that is there after the apply.
struct Planned<'a> {
    address: &'a str,
    kind: &'a str,
    after: &'a Value,
    unknown: &'a Value,
    is_created: bool,
    /// Addresses that the configuration refers to, by attribute.
    references: BTreeMap<String, Vec<String>>,
}

const GROUPS: &str = "http://acs.amazonaws.com/groups/global/";

impl TerraformPlan {
    pub fn read(text: &str, account_id: Option<&str>) -> Result<TerraformPlan, PlanFault> {
        let plan: Value = serde_json::from_str(text).map_err(|e| PlanFault(e.to_string()))?;
        let changes = plan["resource_changes"].as_array().ok_or_else(|| PlanFault("it has no resource_changes".into()))?;
        let mut planned = Vec::new();
        for change in changes {
            planned.extend(Planned::read(change, &plan["configuration"]).map_err(PlanFault)?);
        }
        let account_block = planned.iter().find(|p| p.kind == "aws_s3_account_public_access_block").map(Planned::block);
        let context = Context {
            account_id: account_id.unwrap_or("000000000000").into(),
            partition: "aws".into(),
            organisation_block: Fact::Known(PublicAccessBlock::default()),
            account_block: account_block.unwrap_or(Fact::Known(PublicAccessBlock::default())),
            ebs_snapshot_sharing: Fact::Known(SnapshotSharing::Unblocked),
            known_accounts: None,
            now_s: None,
        };
        let mut resources = buckets(&planned);
        resources.extend(planned.iter().filter_map(|p| Some((p.address.to_string(), p.other(&planned, &context)?))));
        resources.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(TerraformPlan { resources, context })
    }

    /// For the gate. A resource is named by its address, where its author finds it.
    pub fn facts(&self) -> Vec<Facts> {
        let facts = self.resources.iter().map(|(address, resource)| {
            let facts = Facts::of_judgement(resource, &public(resource, &self.context));
            Facts { id: address.clone(), ..facts }
        });
        facts.collect()
    }
}

impl<'a> Planned<'a> {
    /// `None`: it is gone after the apply, or is no resource of AWS.
    fn read(change: &'a Value, configuration: &Value) -> Result<Option<Planned<'a>>, String> {
        let text = |name: &str| change[name].as_str().ok_or_else(|| format!("a resource has no {name}"));
        let (address, kind) = (text("address")?, text("type")?);
        let actions = change["change"]["actions"].as_array().ok_or_else(|| format!("{address} has no actions"))?;
        let has = |action: &str| actions.iter().any(|a| a == action);
        if (has("delete") && !has("create")) || change["mode"] == "data" || !kind.starts_with("aws_") {
            return Ok(None);
        }
        Ok(Some(Planned {
            address,
            kind,
            after: &change["change"]["after"],
            unknown: &change["change"]["after_unknown"],
            is_created: has("create"),
            references: references(address, configuration),
        }))
    }

    /// `None`: it is not set. What is known after the apply only is unknown.
    fn value(&self, name: &str) -> Fact<Option<&'a Value>> {
        if holds_true(&self.unknown[name]) {
            return Fact::Unknown(self.missing(name));
        }
        Fact::Known(Some(&self.after[name]).filter(|v| !v.is_null()))
    }

    fn missing(&self, name: &str) -> Missing {
        Missing(format!("{}.{name} (known after apply)", self.address))
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.value(name).known().copied().flatten().and_then(Value::as_str)
    }

    fn flag(&self, name: &str) -> Fact<bool> {
        match self.value(name) {
            Fact::Known(value) => Fact::Known(value.and_then(Value::as_bool) == Some(true)),
            Fact::Unknown(missing) => Fact::Unknown(missing),
        }
    }

    fn policy(&self) -> Fact<Option<String>> {
        match self.value("policy") {
            Fact::Known(value) => Fact::Known(value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_string)),
            Fact::Unknown(missing) => Fact::Unknown(missing),
        }
    }

    fn block(&self) -> Fact<PublicAccessBlock> {
        let names = ["block_public_acls", "ignore_public_acls", "block_public_policy", "restrict_public_buckets"];
        let mut on = [false; 4];
        for (slot, name) in on.iter_mut().zip(names) {
            match self.flag(name) {
                Fact::Known(value) => *slot = value,
                Fact::Unknown(missing) => return Fact::Unknown(missing),
            }
        }
        Fact::Known(PublicAccessBlock {
            block_public_acls: on[0],
            ignore_public_acls: on[1],
            block_public_policy: on[2],
            restrict_public_buckets: on[3],
        })
    }

    /// A canned ACL, or the grants of one that is written out.
    fn acl(&self) -> Fact<Vec<AclGrant>> {
        if let Fact::Unknown(missing) = self.value("acl") {
            return Fact::Unknown(missing);
        }
        if holds_true(&self.unknown["access_control_policy"]) {
            return Fact::Unknown(self.missing("access_control_policy"));
        }
        let group =
            |name: &str, permission: &str| AclGrant { grantee: Grantee::Group(format!("{GROUPS}{name}")), permission: permission.into() };
        let mut grants = match self.text("acl") {
            Some("public-read") => vec![group("AllUsers", "READ")],
            Some("public-read-write") => vec![group("AllUsers", "READ"), group("AllUsers", "WRITE")],
            Some("authenticated-read") => vec![group("AuthenticatedUsers", "READ")],
            _ => Vec::new(),
        };
        for policy in items(&self.after["access_control_policy"]) {
            for grant in items(&policy["grant"]) {
                let permission = grant["permission"].as_str().unwrap_or_default().to_string();
                for grantee in items(&grant["grantee"]) {
                    let grantee = match (grantee["uri"].as_str(), grantee["id"].as_str()) {
                        (Some(uri), _) if !uri.is_empty() => Grantee::Group(uri.into()),
                        (_, id) => Grantee::User(id.unwrap_or_default().into()),
                    };
                    grants.push(AclGrant { grantee, permission: permission.clone() });
                }
            }
        }
        Fact::Known(grants)
    }

    /// Whether an attribute of this one names the other.
    fn names(&self, attribute: &str, other: &Planned) -> bool {
        match self.value(attribute) {
            Fact::Known(Some(Value::String(name))) => ["bucket", "id", "arn"].iter().any(|of| other.text(of) == Some(name)),
            _ => self.references.get(attribute).is_some_and(|all| all.iter().any(|address| address == other.address)),
        }
    }

    fn other(&self, all: &[Planned], context: &Context) -> Option<Resource> {
        let id = self.address.to_string();
        let list = |name: &str| match self.value(name) {
            Fact::Known(value) => Fact::Known(texts(value.unwrap_or(&Value::Null))),
            Fact::Unknown(missing) => Fact::Unknown(missing),
        };
        Some(match self.kind {
            "aws_security_group" => {
                let own = ("ingress", self);
                let rules = all.iter().filter(|p| p.names("security_group_id", self)).map(|p| ("", p));
                let ingress = std::iter::once(own).chain(rules).flat_map(|(name, p)| p.ingress(name)).collect();
                Resource::SecurityGroup(SecurityGroup { id, ingress: Fact::Known(ingress) })
            }
            "aws_security_group_rule" | "aws_vpc_security_group_ingress_rule"
                if !all.iter().any(|p| p.kind == "aws_security_group" && self.names("security_group_id", p)) =>
            {
                Resource::SecurityGroup(SecurityGroup { id, ingress: Fact::Known(self.ingress("")) })
            }
            "aws_ami_launch_permission" => {
                let group = match self.value("group") {
                    Fact::Known(value) => Fact::Known(Sharing { with_all: value.is_some_and(|v| v == "all"), accounts: Vec::new() }),
                    Fact::Unknown(missing) => Fact::Unknown(missing),
                };
                Resource::Ami(Ami { id, launch_permission: group })
            }
            "aws_db_snapshot" | "aws_db_cluster_snapshot" => {
                let of_cluster = self.kind == "aws_db_cluster_snapshot";
                let encrypted = self.flag(if of_cluster { "storage_encrypted" } else { "encrypted" });
                Resource::RdsSnapshot(RdsSnapshot { id, of_cluster, encrypted, restore: list("shared_accounts") })
            }
            "aws_db_instance" | "aws_rds_cluster_instance" => {
                let groups: Vec<&Planned> =
                    all.iter().filter(|p| p.kind == "aws_security_group" && self.names("vpc_security_group_ids", p)).collect();
                // A group that is not in the plan may admit anyone.
                let ingress = if groups.is_empty() || groups.len() < self.count("vpc_security_group_ids") {
                    Fact::Unknown(self.missing("vpc_security_group_ids"))
                } else {
                    Fact::Known(groups.iter().flat_map(|g| g.ingress("ingress")).collect())
                };
                Resource::RdsInstance(RdsInstance {
                    id,
                    port: self.after["port"].as_u64().and_then(|p| u16::try_from(p).ok()).unwrap_or(5432),
                    publicly_accessible: self.flag("publicly_accessible"),
                    ingress,
                    // Which subnets lead to the internet is not in the plan.
                    route_tables: Fact::Unknown(Missing(format!("the routes of {}", self.address))),
                    has_ipv6: self.text("network_type") == Some("DUAL"),
                })
            }
            "aws_s3_object" | "aws_s3_bucket_object" => {
                let key = self.text("key").unwrap_or("?").to_string();
                Resource::Object(Object { bucket: self.bucket_of(all), key, acl: self.acl() })
            }
            "aws_s3_access_point" => {
                let block = items(&self.after["public_access_block_configuration"]).next();
                let switch = |name: &str| block.is_none_or(|b| b[name].as_bool() != Some(false));
                let vpc = items(&self.after["vpc_configuration"]).next().is_some();
                Resource::AccessPoint(AccessPoint {
                    arn: format!("arn:aws:s3:us-east-1:{}:accesspoint/{}", context.account_id, self.text("name").unwrap_or("?")),
                    name: id,
                    account_id: context.account_id.clone(),
                    network_origin: Fact::Known(if vpc { "VPC" } else { "Internet" }.into()),
                    policy: self.policy(),
                    block: Fact::Known(PublicAccessBlock {
                        block_public_acls: switch("block_public_acls"),
                        ignore_public_acls: switch("ignore_public_acls"),
                        block_public_policy: switch("block_public_policy"),
                        restrict_public_buckets: switch("restrict_public_buckets"),
                    }),
                    other_account_block: None,
                    bucket: self.bucket_of(all),
                })
            }
            _ => return None,
        })
    }

    /// How many things an attribute names: by value, or by reference.
    fn count(&self, attribute: &str) -> usize {
        let mut references: Vec<&str> = self.references.get(attribute).into_iter().flatten().map(|r| bare(r)).collect();
        references.sort_unstable();
        references.dedup();
        self.after[attribute].as_array().map_or(0, Vec::len).max(references.len())
    }

    fn bucket_of(&self, all: &[Planned]) -> Bucket {
        let found = all.iter().find(|p| p.kind == "aws_s3_bucket" && self.names("bucket", p));
        found.map_or_else(|| unmanaged(self.address), |p| bucket(p, all))
    }

    /// The rules of a block `ingress`, or the one rule that the resource is.
    fn ingress(&self, block: &str) -> Vec<IpPermission> {
        if block.is_empty() {
            let is_rule = self.kind == "aws_vpc_security_group_ingress_rule" || self.after["type"] == "ingress";
            return if is_rule { vec![self.rule(self.after, self.unknown)] } else { Vec::new() };
        }
        if self.unknown[block] == true {
            return vec![self.rule(&Value::Null, &Value::Bool(true))];
        }
        let unknown = |n: usize| &self.unknown[block][n];
        items(&self.after[block]).enumerate().map(|(n, rule)| self.rule(rule, unknown(n))).collect()
    }

    fn rule(&self, rule: &Value, unknown: &Value) -> IpPermission {
        let protocol = rule["protocol"].as_str().or_else(|| rule["ip_protocol"].as_str()).unwrap_or("-1").to_string();
        let port = |name: &str| rule[name].as_i64().and_then(|p| u16::try_from(p).ok());
        let cidrs = ["cidr_blocks", "ipv6_cidr_blocks", "cidr_ipv4", "cidr_ipv6"].iter().flat_map(|name| texts(&rule[*name]));
        let lists = ["prefix_list_ids", "prefix_list_id"].iter().flat_map(|name| texts(&rule[*name]));
        let unread = |id: String| PrefixList { entries: Fact::Unknown(Missing(format!("the entries of {id}"))), id };
        let mut prefix_lists: Vec<PrefixList> = lists.map(unread).collect();
        // A source, a port or a protocol that is known after the apply may be any.
        let sources = ["cidr_blocks", "ipv6_cidr_blocks", "cidr_ipv4", "cidr_ipv6", "prefix_list_ids", "prefix_list_id"];
        let is_open = unknown == &Value::Bool(true) || sources.iter().any(|name| holds_true(&unknown[*name]));
        if is_open {
            prefix_lists.push(PrefixList { id: self.address.into(), entries: Fact::Unknown(self.missing("ingress")) });
        }
        let is_any_port = ["from_port", "to_port"].iter().any(|name| holds_true(&unknown[*name]));
        let protocol = if is_any_port || unknown == &Value::Bool(true) { "-1".into() } else { protocol };
        let ports = port("from_port").zip(port("to_port"));
        IpPermission { protocol, ports, cidrs: cidrs.collect(), prefix_lists, descriptions: BTreeMap::new() }
    }
}

/// A bucket that the plan does not make: what is not said counts as open.
fn unmanaged(address: &str) -> Bucket {
    Bucket {
        name: address.into(),
        policy: Fact::Unknown(Missing(format!("the policy of the bucket of {address}"))),
        acl: Fact::Known(Vec::new()),
        owner: None,
        ownership: Fact::Known(Ownership::ObjectWriter),
        block: Fact::Known(PublicAccessBlock::default()),
    }
}

fn buckets(all: &[Planned]) -> Vec<(String, Resource)> {
    let managed = all.iter().filter(|p| p.kind == "aws_s3_bucket");
    let mut found: Vec<(String, Resource)> = managed.map(|p| (p.address.to_string(), Resource::Bucket(bucket(p, all)))).collect();
    // A policy or ACL of a bucket that is not in the plan.
    for part in all.iter().filter(|p| matches!(p.kind, "aws_s3_bucket_policy" | "aws_s3_bucket_acl")) {
        if all.iter().any(|p| p.kind == "aws_s3_bucket" && part.names("bucket", p)) {
            continue;
        }
        let mut bucket = unmanaged(part.address);
        bucket.name = part.text("bucket").unwrap_or(part.address).into();
        if part.kind == "aws_s3_bucket_policy" {
            bucket.policy = part.policy();
            name_by_policy(&mut bucket, part.text("bucket").is_some());
        } else {
            bucket.acl = part.acl();
        }
        found.push((part.address.to_string(), Resource::Bucket(bucket)));
    }
    found
}

fn bucket(planned: &Planned, all: &[Planned]) -> Bucket {
    let part = |kind: &str| all.iter().find(|p| p.kind == kind && p.names("bucket", planned));
    // What S3 gives a new bucket holds unless a part of the plan changes it, also one of which it is not known whose it is.
    let is_of_none = |p: &Planned| !all.iter().any(|b| b.kind == "aws_s3_bucket" && p.names("bucket", b));
    let keeps_default = |kind: &str| planned.is_created && !all.iter().any(|p| p.kind == kind && is_of_none(p));
    let ownership = part("aws_s3_bucket_ownership_controls").map(|p| {
        if holds_true(&p.unknown["rule"]) {
            return Fact::Unknown(p.missing("rule"));
        }
        let rule = items(&p.after["rule"]).next().and_then(|r| r["object_ownership"].as_str()).unwrap_or_default();
        Fact::Known(match rule {
            "BucketOwnerEnforced" => Ownership::BucketOwnerEnforced,
            "BucketOwnerPreferred" => Ownership::BucketOwnerPreferred,
            _ => Ownership::ObjectWriter,
        })
    });
    let default_ownership =
        if keeps_default("aws_s3_bucket_ownership_controls") { Ownership::BucketOwnerEnforced } else { Ownership::ObjectWriter };
    let all_on = keeps_default("aws_s3_bucket_public_access_block");
    let default_block = if all_on { PublicAccessBlock::ALL } else { PublicAccessBlock::default() };
    let mut bucket = Bucket {
        name: planned.text("bucket").unwrap_or(planned.address).into(),
        policy: part("aws_s3_bucket_policy").map_or_else(|| planned.policy(), Planned::policy),
        acl: part("aws_s3_bucket_acl").map_or_else(|| planned.acl(), Planned::acl),
        owner: None,
        ownership: ownership.unwrap_or(Fact::Known(default_ownership)),
        block: part("aws_s3_bucket_public_access_block").map_or(Fact::Known(default_block), Planned::block),
    };
    name_by_policy(&mut bucket, planned.text("bucket").is_some());
    bucket
}

/// A bucket whose name is not known has the one that its policy names: S3 takes no policy about another.
fn name_by_policy(bucket: &mut Bucket, is_named: bool) {
    let Fact::Known(Some(text)) = &bucket.policy else { return };
    let Some(policy) = Policy::parse(text).filter(|_| !is_named) else { return };
    let resources = policy.statements.iter().flat_map(|s| &s.resources.patterns);
    let names = resources.filter_map(|p| p.text.split_once(":s3:::")?.1.split('/').next());
    if let Some(name) = names.into_iter().find(|name| Pattern::new(name).is_fixed()) {
        bucket.name = name.to_string();
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_string).collect(),
        _ => Vec::new(),
    }
}

/// `after_unknown` marks an attribute, or parts of it.
fn holds_true(unknown: &Value) -> bool {
    match unknown {
        Value::Bool(b) => *b,
        Value::Array(items) => items.iter().any(holds_true),
        Value::Object(map) => map.values().any(holds_true),
        _ => false,
    }
}

/// Addresses in the same module, with the same index, that the configuration of a resource refers to.
fn references(address: &str, configuration: &Value) -> BTreeMap<String, Vec<String>> {
    let parts = split_address(address);
    let Some((resource, modules)) = parts.split_last() else { return BTreeMap::new() };
    let mut module = &configuration["root_module"];
    for name in modules {
        module = &module["module_calls"][bare(name.trim_start_matches("module."))]["module"];
    }
    let found = items(&module["resources"]).find(|r| r["address"].as_str() == Some(bare(resource)));
    let expressions = found.and_then(|r| r["expressions"].as_object());
    let prefix = modules.iter().map(|m| format!("{m}.")).collect::<String>();
    let index = &resource[bare(resource).len()..];
    let mut all = BTreeMap::new();
    for (name, expression) in expressions.into_iter().flatten() {
        let mut targets = Vec::new();
        for reference in items(&expression["references"]).filter_map(Value::as_str) {
            let words: Vec<&str> = reference.split('.').take(2).collect();
            if let [kind, name] = words[..] {
                targets.push(format!("{prefix}{kind}.{name}"));
                targets.push(format!("{prefix}{kind}.{}{index}", bare(name)));
            }
        }
        all.insert(name.clone(), targets);
    }
    all
}

/// `module.a["x"].aws_s3_bucket.b[0]` into `module.a["x"]` and `aws_s3_bucket.b[0]`: two words each, dots in quotes apart.
fn split_address(address: &str) -> Vec<String> {
    let (mut words, mut word, mut in_brackets) = (Vec::new(), String::new(), false);
    for c in address.chars() {
        in_brackets = (in_brackets || c == '[') && c != ']';
        if c == '.' && !in_brackets {
            words.push(std::mem::take(&mut word));
        } else {
            word.push(c);
        }
    }
    words.push(word);
    words.chunks(2).map(|pair| pair.join(".")).collect()
}

/// Without the index.
fn bare(address: &str) -> &str {
    address.split('[').next().unwrap_or(address)
}
