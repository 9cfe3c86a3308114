//! What a policy says of the names that are known only after the apply: S3 takes no policy about another bucket or access point.

use crate::policy::Policy;
use crate::policy::document::{Matcher, Statement};
use crate::policy::outsider::{PROFILES, admits};
use crate::policy::pattern::Pattern;
use crate::ternary::Fact;

/// Conditions about the account that owns the bucket, and about the one that owns the access point.
pub const OF_OWNER: [&str; 2] = ["aws:resourceaccount", "s3:resourceaccount"];
pub const OF_ACCESS_POINT: [&str; 2] = ["s3:dataaccesspointaccount", "s3:dataaccesspointarn"];

/// A policy that is there and can be read.
pub fn parsed(policy: &Fact<Option<String>>) -> Option<Policy> {
    Policy::parse(policy.known()?.as_deref()?)
}

fn resources(policy: &Policy) -> impl Iterator<Item = &str> {
    policy.statements.iter().flat_map(|s| &s.resources.patterns).map(|p| p.text.as_str())
}

/// The name of the bucket that a policy is about.
pub fn bucket(policy: &Policy) -> Option<String> {
    let names = resources(policy).filter_map(|text| text.split_once(":s3:::")?.1.split('/').next());
    names.into_iter().find(|name| Pattern::new(name).is_fixed()).map(str::to_string)
}

/// The partition of a region, of the first ARN that says one, or AWS's commercial one.
pub fn partition<'a>(region: Option<&str>, arns: impl IntoIterator<Item = &'a str>) -> String {
    let of_arn = |arn: &str| arn.strip_prefix("arn:").and_then(|rest| rest.split(':').next()).map(str::to_string);
    let named = arns.into_iter().filter_map(of_arn).find(|partition| !partition.is_empty() && Pattern::new(partition).is_fixed());
    named.or_else(|| region.map(of_region)).unwrap_or_else(|| "aws".into())
}

fn of_region(region: &str) -> String {
    match region {
        _ if region.starts_with("cn-") => "aws-cn".into(),
        _ if region.starts_with("us-gov-") => "aws-us-gov".into(),
        _ => "aws".into(),
    }
}

pub fn arns(policy: Option<&Policy>) -> impl Iterator<Item = &str> {
    policy.into_iter().flat_map(resources).filter(|text| text.contains(":s3:"))
}

/// The ARN of the access point that a policy is about.
pub fn access_point(policy: &Policy, name: Option<&str>) -> Option<String> {
    resources(policy).find_map(|text| {
        let (before, rest) = text.split_once(":accesspoint/")?;
        let named = rest.split('/').next().unwrap_or_default();
        let arn = format!("{before}:accesspoint/{named}");
        (name.is_none_or(|name| name == named) && Pattern::new(&arn).is_fixed()).then_some(arn)
    })
}

/// Whether a statement that lets strangers in is about something else than this. Then one of the two has another name than it seems.
pub fn is_misnamed(policy: &Policy, arn: &str) -> bool {
    let opens = |s: &&Statement| PROFILES.iter().any(|profile| admits(&s.principal, *profile));
    policy.allows().filter(opens).any(|s| !names(&s.resources, arn))
}

fn names(resources: &Matcher, arn: &str) -> bool {
    let within = format!("{arn}/");
    resources.negated || resources.patterns.iter().any(|p| p.matches(arn) || p.can_begin_with(&within))
}

pub fn mentions(policy: &Policy, keys: &[&str]) -> bool {
    policy.statements.iter().flat_map(|s| &s.conditions).any(|c| keys.contains(&c.key.as_str()))
}
