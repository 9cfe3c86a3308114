//! AWS's documented rule: a policy is public unless every `Allow` grants to fixed values only.
//!
//! "The meaning of public": <https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html>.
//! The rule reads the text. It does not ask who gets in: a `Deny` does not help, an expired date does not help.

use super::document::{Condition, Policy, Principal, SetQualifier, Statement, Test};
use super::pattern::Pattern;
use crate::cidr::AddressSet;

/// What the policy hangs on: the rule differs in `s3:DataAccessPointArn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Bucket,
    AccessPoint,
}

/// Keys of the list whose fixed values limit a grant. `aws:principal*` are its "AWS principal, user, role, or service principal".
const LIMITING: &[&str] = &[
    "aws:principalarn",
    "aws:principalaccount",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:principalservicename",
    "aws:sourcearn",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:sourceowner",
    "aws:sourceaccount",
    "aws:userid",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "s3:dataaccesspointaccount",
];

/// The first statement that makes the policy public, or `None` if the policy is not public.
pub fn public_statement(policy: &Policy, scope: Scope) -> Option<&Statement> {
    let mut addresses = AddressSet::default();
    for statement in policy.allows() {
        match limit(statement, scope) {
            Limit::None => return Some(statement),
            Limit::Fixed => {}
            // Narrow each, broad together: unions count.
            Limit::Addresses(set) => {
                addresses = addresses.union(&set);
                if addresses.is_broad() {
                    return Some(statement);
                }
            }
        }
    }
    None
}

enum Limit {
    None,
    Fixed,
    Addresses(AddressSet),
}

fn limit(statement: &Statement, scope: Scope) -> Limit {
    if !statement.principal.negated && statement.principal.principals.iter().all(is_fixed) {
        return Limit::Fixed;
    }
    // A federated identity is public by AWS's own example, unless a listed key limits it.
    if statement.conditions.iter().any(|c| limits(c, scope)) {
        return Limit::Fixed;
    }
    let narrow = statement.conditions.iter().filter_map(narrow_addresses).reduce(|a, b| a.intersection(&b));
    narrow.map_or(Limit::None, Limit::Addresses)
}

fn is_fixed(principal: &Principal) -> bool {
    match principal {
        Principal::Anyone | Principal::Federated(_) => false,
        Principal::Aws(text) | Principal::Service(text) | Principal::CanonicalUser(text) => Pattern::new(text).is_fixed(),
    }
}

/// Operators that hold only if the key is there and has one of the values.
fn demands_value(condition: &Condition) -> bool {
    let operator = condition.operator;
    !operator.negated && !operator.if_exists && operator.set != SetQualifier::ForAllValues && !condition.values.is_empty()
}

fn limits(condition: &Condition, scope: Scope) -> bool {
    let compares = matches!(condition.operator.test, Test::StringEquals | Test::StringEqualsIgnoreCase | Test::StringLike | Test::Arn);
    if !demands_value(condition) || !compares {
        return false;
    }
    match condition.key.as_str() {
        "s3:dataaccesspointarn" => scope == Scope::Bucket && condition.values.iter().all(|v| account_is_fixed(&v.text)),
        key => LIMITING.contains(&key) && condition.values.iter().all(Pattern::is_fixed),
    }
}

/// `arn:aws:s3:us-west-2:123456789012:accesspoint/*`: the name may have a wildcard, the account may not.
fn account_is_fixed(arn: &str) -> bool {
    let account = arn.split(':').nth(4).unwrap_or_default();
    account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()) && !arn.contains("${")
}

fn narrow_addresses(condition: &Condition) -> Option<AddressSet> {
    if condition.key != "aws:sourceip" || condition.operator.test != Test::IpAddress || !demands_value(condition) {
        return None;
    }
    AddressSet::from_cidrs(condition.values.iter().map(|v| v.text.as_str())).filter(|set| !set.is_broad())
}
