//! Access points of a plan with their policies, and policies of access points that are not in it.

use super::account::switches;
use super::bucket::{Buckets, unmanaged};
use super::links::Link;
use super::naming;
use super::planned::{Planned, holds_true, map};
use super::{COMBINATIONS_MAX, Plan, PlannedResource, worst};
use crate::block::PublicAccessBlock;
use crate::judgement::Context;
use crate::s3::{AccessPoint, Bucket};
use crate::ternary::{Fact, Missing};
use crate::verdict::Resource;
use std::collections::BTreeMap;

pub const KIND: &str = "aws_s3_access_point";
pub const POLICY: &str = "aws_s3control_access_point_policy";

pub struct AccessPoints<'p, 'a> {
    plan: &'p Plan<'a>,
    buckets: &'p Buckets<'p, 'a>,
    policies: BTreeMap<usize, Vec<usize>>,
    strays: Vec<usize>,
}

impl<'p, 'a> AccessPoints<'p, 'a> {
    pub fn of(plan: &'p Plan<'a>, buckets: &'p Buckets<'p, 'a>) -> AccessPoints<'p, 'a> {
        let mut found = AccessPoints { plan, buckets, policies: BTreeMap::new(), strays: Vec::new() };
        for place in plan.of_kinds(&[POLICY]) {
            match plan.links.link(&plan.all, &plan.all[place], "access_point_arn", &[KIND]) {
                Link::To(points) => points.iter().for_each(|point| found.policies.entry(*point).or_default().push(place)),
                _ => found.strays.push(place),
            }
        }
        found
    }

    pub fn judged(&self) -> Vec<PlannedResource> {
        let points = self.plan.of_kinds(&[KIND]).filter_map(|place| worst(&self.plan.all[place], self.options(place)));
        let strays = self.strays.iter().filter_map(|place| worst(&self.plan.all[*place], self.stray(*place)));
        points.chain(strays).collect()
    }

    fn options(&self, place: usize) -> Vec<(Resource, Context)> {
        let planned = &self.plan.all[place];
        let parts = self.policies.get(&place).into_iter().flatten().map(|part| self.plan.all[*part].policy());
        let own = (planned.sets("policy") || !self.policies.contains_key(&place)).then(|| planned.policy());
        let mut policies: Vec<_> = parts.chain(own).collect();
        let buckets = self.buckets.of_resource(planned);
        if policies.len() * buckets.len() > COMBINATIONS_MAX {
            policies = vec![Fact::Unknown(planned.missing("policy"))];
        }
        let of_bucket = |policy: &Fact<Option<String>>| {
            let named = buckets.iter().flat_map(|(bucket, context)| self.named(planned, policy, bucket, &context.partition));
            named
                .map(|(point, context)| {
                    (Resource::AccessPoint(AccessPoint { block: block(planned), network_origin: origin(planned), ..point }), context)
                })
                .collect::<Vec<_>>()
        };
        policies.iter().flat_map(of_bucket).collect()
    }

    /// A policy of an access point that is not in the plan: nothing is known of what shuts it, or of its bucket.
    fn stray(&self, place: usize) -> Vec<(Resource, Context)> {
        let planned = &self.plan.all[place];
        let bucket = Bucket { name: planned.address.into(), ..unmanaged(planned) };
        let partition = naming::partition(None, planned.text("access_point_arn"));
        let named = self.named(planned, &planned.policy(), &bucket, &partition);
        named.into_iter().map(|(point, context)| (Resource::AccessPoint(point), context)).collect()
    }

    /// Under the ARN that it will have; and once more with its policy unread, if that or the account is not sure.
    fn named(&self, planned: &Planned, policy: &Fact<Option<String>>, bucket: &Bucket, partition: &str) -> Vec<(AccessPoint, Context)> {
        let parsed = naming::parsed(policy);
        let known = planned.text("arn").or_else(|| planned.text("access_point_arn")).map(str::to_string);
        let known = known.or_else(|| naming::access_point(parsed.as_ref()?, planned.text("name")));
        let of_arn = known.as_ref().and_then(|arn| arn.split(':').nth(4)).map(str::to_string);
        let account = of_arn.or_else(|| planned.text("account_id").or(self.plan.account.id()).map(str::to_string));
        let is_account_known = account.is_some();
        let context = self.plan.account.context(planned, partition);
        let account = account.unwrap_or_else(|| context.account_id.clone());
        let (region, name) = (planned.text("region").unwrap_or("us-east-1"), planned.text("name").unwrap_or("?"));
        let arn = known.unwrap_or_else(|| format!("arn:{partition}:s3:{region}:{account}:accesspoint/{name}"));
        let delegates = |p| naming::mentions(p, &naming::OF_ACCESS_POINT) || naming::mentions(p, &naming::OF_OWNER);
        let is_of_unknown = !is_account_known && naming::parsed(&bucket.policy).iter().chain(&parsed).any(delegates);
        let is_unsure = is_of_unknown || parsed.as_ref().is_some_and(|p| naming::is_misnamed(p, &arn));
        let unknown = |of: &str| Missing(format!("{of} of the access point of {}", planned.address));
        let point = AccessPoint {
            name: planned.address.into(),
            arn,
            account_id: account,
            network_origin: Fact::Unknown(unknown("the network origin")),
            policy: policy.clone(),
            block: Fact::Unknown(unknown("the switches")),
            other_account_block: None,
            bucket: bucket.clone(),
        };
        let unsure = is_unsure.then(|| AccessPoint { policy: Fact::Unknown(unknown("the name and the account")), ..point.clone() });
        unsure.into_iter().chain([point]).map(|point| (point, context.clone())).collect()
    }
}

fn origin(planned: &Planned) -> Fact<String> {
    map(planned.blocks("vpc_configuration"), |blocks| if blocks.is_empty() { "Internet" } else { "VPC" }.into())
}

/// S3 gives a new access point every switch, and the provider turns on each that a block does not set.
fn block(planned: &Planned) -> Fact<PublicAccessBlock> {
    const NAME: &str = "public_access_block_configuration";
    match planned.blocks(NAME) {
        Fact::Unknown(missing) => Fact::Unknown(missing),
        Fact::Known(blocks) => switches(|name| match blocks.first() {
            Some((_, unknown)) if holds_true(&unknown[name]) => Fact::Unknown(planned.missing(NAME)),
            Some((block, _)) => Fact::Known(block[name] != false),
            None => Fact::Known(true),
        }),
    }
}
