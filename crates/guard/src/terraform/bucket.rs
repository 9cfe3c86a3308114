//! Buckets of a plan with every part of the plan that may be theirs, and policies and ACLs of buckets that are not in it.

use super::account::block;
use super::links::Link;
use super::naming;
use super::planned::{Planned, items, map};
use super::{COMBINATIONS_MAX, Plan, PlannedResource, acl, distinct, worst};
use crate::block::PublicAccessBlock;
use crate::judgement::Context;
use crate::s3::{Bucket, Ownership};
use crate::ternary::{Fact, Missing};
use crate::verdict::Resource;
use std::collections::BTreeMap;

pub const KIND: &str = "aws_s3_bucket";
const POLICY: &str = "aws_s3_bucket_policy";
const ACL: &str = "aws_s3_bucket_acl";
const OWNERSHIP: &str = "aws_s3_bucket_ownership_controls";
const BLOCK: &str = "aws_s3_bucket_public_access_block";
pub const PARTS: [&str; 4] = [POLICY, ACL, OWNERSHIP, BLOCK];

pub struct Buckets<'p, 'a> {
    plan: &'p Plan<'a>,
    /// By the place of the bucket and the kind of the part.
    parts: BTreeMap<(usize, &'a str), Vec<usize>>,
    /// Policies and ACLs of no bucket of the plan.
    strays: Vec<usize>,
    /// Settings of which it is not known whose they are. They may be any bucket's, and matter to one whose policy or ACL is open.
    loose_blocks: Vec<Fact<PublicAccessBlock>>,
    loose_ownerships: Vec<Fact<Ownership>>,
}

impl<'p, 'a> Buckets<'p, 'a> {
    pub fn of(plan: &'p Plan<'a>) -> Buckets<'p, 'a> {
        let mut found =
            Buckets { plan, parts: BTreeMap::new(), strays: Vec::new(), loose_blocks: Vec::new(), loose_ownerships: Vec::new() };
        for place in plan.of_kinds(&PARTS) {
            let part = &plan.all[place];
            match (plan.links.link(&plan.all, part, "bucket", &[KIND]), part.kind) {
                (Link::To(buckets), kind) => buckets.iter().for_each(|b| found.parts.entry((*b, kind)).or_default().push(place)),
                (_, POLICY | ACL) => found.strays.push(place),
                (Link::Unknown, BLOCK) => found.loose_blocks.push(block(part)),
                (Link::Unknown, OWNERSHIP) => found.loose_ownerships.push(ownership(part)),
                _ => {}
            }
        }
        found.loose_blocks = distinct(std::mem::take(&mut found.loose_blocks));
        found.loose_ownerships = distinct(std::mem::take(&mut found.loose_ownerships));
        found
    }

    pub fn judged(&self) -> Vec<PlannedResource> {
        let of = |place: usize, options: Vec<(Bucket, Context)>| {
            worst(&self.plan.all[place], options.into_iter().map(|(bucket, context)| (Resource::Bucket(bucket), context)))
        };
        let buckets = self.plan.of_kinds(&[KIND]).filter_map(|place| of(place, self.options(place)));
        let strays = self.strays.iter().filter_map(|place| of(*place, self.stray(*place)));
        buckets.chain(strays).collect()
    }

    /// What the bucket of another resource may come to be, and what holds for it.
    pub fn of_resource(&self, planned: &Planned) -> Vec<(Bucket, Context)> {
        match self.plan.links.link(&self.plan.all, planned, "bucket", &[KIND]) {
            Link::To(buckets) => buckets.into_iter().flat_map(|place| self.options(place)).collect(),
            // It may be of another account.
            _ => vec![(unmanaged(planned), self.plan.account.elsewhere(&naming::partition(planned.text("region"), None)))],
        }
    }

    /// Every combination of what may hold for a bucket.
    fn options(&self, place: usize) -> Vec<(Bucket, Context)> {
        let planned = &self.plan.all[place];
        let parts = |kind: &'static str| self.parts.get(&(place, kind)).into_iter().flatten().map(|part| &self.plan.all[*part]);
        if PARTS.iter().any(|kind| parts(kind).count() > COMBINATIONS_MAX) {
            return self.named(planned, unread(planned));
        }
        let policies: Vec<_> = parts(POLICY).map(Planned::policy).collect();
        let policies = with_own(policies, planned.policy(), |p| p.known() == Some(&None), planned.sets("policy"));
        let acls: Vec<_> = parts(ACL).map(acl::of_resource).collect();
        let is_none = |acl: &Fact<_>| acl.known().is_some_and(Vec::is_empty);
        let acls = with_own(acls, acl::inline(planned), is_none, planned.sets("acl") || planned.sets("grant"));
        let defaults = planned.is_created;
        let ownership_unset = Fact::Known(if defaults { Ownership::BucketOwnerEnforced } else { Ownership::ObjectWriter });
        let ownerships = with_loose(parts(OWNERSHIP).map(ownership).collect(), ownership_unset, &self.loose_ownerships);
        let block_unset = Fact::Known(if defaults { PublicAccessBlock::ALL } else { PublicAccessBlock::default() });
        let blocks = with_loose(parts(BLOCK).map(block).collect(), block_unset, &self.loose_blocks);
        if policies.len() * acls.len() * ownerships.len() * blocks.len() > COMBINATIONS_MAX {
            return self.named(planned, unread(planned));
        }
        let mut all = Vec::new();
        for policy in &policies {
            for acl in &acls {
                for ownership in &ownerships {
                    for block in &blocks {
                        let (policy, acl, ownership, block) = (policy.clone(), acl.clone(), ownership.clone(), block.clone());
                        all.push(Bucket { name: String::new(), policy, acl, owner: None, ownership, block });
                    }
                }
            }
        }
        all.into_iter().flat_map(|bucket| self.named(planned, bucket)).collect()
    }

    /// A policy or an ACL of a bucket that is not in the plan.
    fn stray(&self, place: usize) -> Vec<(Bucket, Context)> {
        let part = &self.plan.all[place];
        let bucket = unmanaged(part);
        self.named(
            part,
            match part.kind {
                POLICY => Bucket { policy: part.policy(), ..bucket },
                _ => Bucket { acl: acl::of_resource(part), ..bucket },
            },
        )
    }

    /// The bucket under the name that it will have; and once more with its policy unread, if that is not sure.
    fn named(&self, planned: &Planned, bucket: Bucket) -> Vec<(Bucket, Context)> {
        let policy = naming::parsed(&bucket.policy);
        let known = planned.text("bucket");
        let by_policy = || policy.as_ref().and_then(naming::bucket);
        let name = known.map(str::to_string).or_else(by_policy).unwrap_or_else(|| planned.address.into());
        let arns = planned.text("arn").into_iter().chain(naming::arns(policy.as_ref()));
        let partition = naming::partition(planned.text("region"), arns);
        let bucket = Bucket { name, ..bucket };
        let is_unsure = policy.as_ref().is_some_and(|p| {
            let of_owner = self.plan.account.id().is_none() && naming::mentions(p, &naming::OF_OWNER);
            of_owner || naming::is_misnamed(p, &format!("arn:{partition}:s3:::{}", bucket.name))
        });
        let missing = || Missing(format!("the name and the account of the bucket of {}", planned.address));
        let unsure = is_unsure.then(|| Bucket { policy: Fact::Unknown(missing()), ..bucket.clone() });
        let context = self.plan.account.context(planned, &partition);
        unsure.into_iter().chain([bucket]).map(|bucket| (bucket, context.clone())).collect()
    }
}

/// Parts come first; what the bucket itself has counts beside them if this plan sets it, and alone where there is no part.
fn with_own<T: PartialEq>(parts: Vec<Fact<T>>, own: Fact<T>, is_none: impl Fn(&Fact<T>) -> bool, is_set: bool) -> Vec<Fact<T>> {
    let counts = parts.is_empty() || (is_set && !is_none(&own));
    distinct(parts.into_iter().chain(counts.then_some(own)))
}

/// The parts that are sure to be the bucket's, or else what S3 gives it; and those that may be its.
fn with_loose<T: PartialEq + Clone>(parts: Vec<Fact<T>>, unset: Fact<T>, loose: &[Fact<T>]) -> Vec<Fact<T>> {
    let unset = parts.is_empty().then_some(unset);
    distinct(parts.into_iter().chain(unset).chain(loose.iter().cloned()))
}

fn ownership(part: &Planned) -> Fact<Ownership> {
    map(part.value("rule"), |rule| match rule.and_then(|r| items(r).next()).and_then(|r| r["object_ownership"].as_str()) {
        Some("BucketOwnerEnforced") => Ownership::BucketOwnerEnforced,
        Some("BucketOwnerPreferred") => Ownership::BucketOwnerPreferred,
        _ => Ownership::ObjectWriter,
    })
}

/// A bucket that the plan does not make: what is not said counts as open.
pub fn unmanaged(planned: &Planned) -> Bucket {
    Bucket {
        name: planned.text("bucket").unwrap_or(planned.address).into(),
        policy: Fact::Unknown(Missing(format!("the policy of the bucket of {}", planned.address))),
        acl: Fact::Known(Vec::new()),
        owner: None,
        ownership: Fact::Known(Ownership::ObjectWriter),
        block: Fact::Known(PublicAccessBlock::default()),
    }
}

/// One that has more parts than are judged.
fn unread(planned: &Planned) -> Bucket {
    let missing = || Missing(format!("which of its many parts hold for {}", planned.address));
    Bucket { policy: Fact::Unknown(missing()), acl: Fact::Unknown(missing()), ..unmanaged(planned) }
}

#[cfg(test)]
mod tests {
    use super::super::account::Account;
    use super::super::configuration::Configuration;
    use super::super::links::Links;
    use super::*;
    use serde_json::{Value, json};

    /// The work grows with the parts, not with parts times buckets: each is asked once whose it is, and a bucket sees its own only.
    #[test]
    fn a_bucket_is_judged_with_its_own_parts_only() {
        const COUNT: usize = 1000;
        let mut changes: Vec<Value> = Vec::new();
        let mut resources: Vec<Value> = Vec::new();
        for n in 0..COUNT {
            for (kind, argument) in [(KIND, json!({})), (BLOCK, json!({"references": [format!("{KIND}.b{n}.id"), format!("{KIND}.b{n}")]}))] {
                let address = format!("{kind}.b{n}");
                let change = json!({"actions": ["create"], "after": {"block_public_acls": n % 2 == 0}, "after_unknown": {"bucket": true}});
                changes.push(json!({"address": address, "type": kind, "change": change}));
                resources.push(json!({"address": address, "expressions": {"bucket": argument}}));
            }
        }
        let configuration = json!({"root_module": {"resources": resources}});
        let configuration = Configuration::read(&configuration);
        let all: Vec<Planned> = changes.iter().filter_map(|c| Planned::read(c, &configuration, false).unwrap()).collect();
        let plan = Plan { links: Links::of(&all), account: Account::of(&all, None), all };
        let buckets = Buckets::of(&plan);
        assert_eq!((buckets.parts.len(), buckets.parts.values().map(Vec::len).sum::<usize>()), (COUNT, COUNT));
        assert_eq!((buckets.strays.len(), buckets.loose_blocks.len()), (0, 0));
        assert!(plan.of_kinds(&[KIND]).all(|place| buckets.options(place).len() == 1));
    }
}
