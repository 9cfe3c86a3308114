//! Objects of a plan, each with the bucket that it is in.

use super::bucket::Buckets;
use super::{Plan, PlannedResource, acl, worst};
use crate::s3::Object;
use crate::verdict::Resource;

pub const KINDS: [&str; 3] = ["aws_s3_object", "aws_s3_bucket_object", "aws_s3_object_copy"];

pub fn judged(plan: &Plan, buckets: &Buckets) -> Vec<PlannedResource> {
    let found = plan.of_kinds(&KINDS).filter_map(|place| {
        let planned = &plan.all[place];
        let (key, acl) = (planned.text("key").unwrap_or("?").to_string(), acl::inline(planned));
        let options = buckets.of_resource(planned).into_iter().map(|(bucket, context)| {
            let object = Object { bucket, key: key.clone(), acl: acl.clone() };
            (Resource::Object(object), context)
        });
        worst(planned, options)
    });
    found.collect()
}
