//! Resources that no model here judges: they are counted, so that a plan of them is not taken for a clean one.

use super::planned::Planned;
use super::{access_point, account, bucket, network, object, sharing};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotJudged {
    /// As Terraform names it.
    pub kind: String,
    pub resources: usize,
    /// Whether one of them sets an argument that can let others in. The rest may open something all the same.
    pub can_let_in: bool,
}

/// Arguments by which resources of AWS, and of other clouds, let others in.
const OPENING: [&str; 27] = [
    "policy",
    "policies",
    "resource_policy",
    "access_policy",
    "access_policies",
    "assume_role_policy",
    "policy_document",
    "policy_text",
    "policy_data",
    "principal",
    "principals",
    "member",
    "members",
    "acl",
    "grant",
    "access_rules",
    "permissions",
    "shared_accounts",
    "publicly_accessible",
    "public_access",
    "public_network_access_enabled",
    "authorization",
    "authorization_type",
    "authentication_type",
    "allow_unauthenticated_identities",
    "allow_external_principals",
    "launch_permission",
];

/// Policies of who asks, not of what is asked for.
const OF_IDENTITIES: [&str; 5] =
    ["aws_iam_policy", "aws_iam_role_policy", "aws_iam_user_policy", "aws_iam_group_policy", "aws_organizations_policy"];

fn is_judged(kind: &str) -> bool {
    let kinds: [&[&str]; 9] = [
        &[bucket::KIND, account::KIND, access_point::KIND, access_point::POLICY],
        &bucket::PARTS,
        &object::KINDS,
        &network::GROUPS,
        &network::RULES,
        &network::DATABASES,
        &network::HARMLESS,
        &sharing::IMAGES,
        &sharing::SNAPSHOTS,
    ];
    kinds.iter().any(|kinds| kinds.contains(&kind))
}

/// By kind, those that can let others in first.
pub fn of(all: &[Planned]) -> Vec<NotJudged> {
    let mut kinds: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
    for planned in all.iter().filter(|p| !is_judged(p.kind)) {
        let (count, can_let_in) = kinds.entry(planned.kind).or_default();
        *count += 1;
        *can_let_in |= !OF_IDENTITIES.contains(&planned.kind) && OPENING.iter().any(|argument| planned.has(argument));
    }
    let mut found: Vec<NotJudged> =
        kinds.into_iter().map(|(kind, (resources, can_let_in))| NotJudged { kind: kind.into(), resources, can_let_in }).collect();
    found.sort_by_key(|n| !n.can_let_in);
    found
}
