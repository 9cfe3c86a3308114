//! Who loses access by a change, strangers and others: shown before anything is written.

use super::setting::{Setting, State};
use crate::judgement::{Context, Judgement};
use crate::policy::Policy;
use crate::policy::document::Principal;
use crate::ternary::Fact;
use crate::verdict::Resource;
use std::collections::BTreeSet;

pub(super) fn cut_off(
    resource: &Resource,
    context: &Context,
    judgement: &Judgement,
    setting: &Setting,
    after: &State,
    website: &Fact<bool>,
) -> Vec<String> {
    let mut found: Vec<String> = judgement.ways.iter().map(|w| format!("{}, who can {}", w.who, w.what)).collect();
    let restricts = match (setting, after) {
        (Setting::BucketBlock { .. } | Setting::AccountBlock { .. }, State::Block(Some(block))) => block.restrict_public_buckets,
        (Setting::BucketPolicy { .. }, _) => true,
        _ => false,
    };
    let bucket = match resource {
        Resource::Bucket(bucket) => Some(bucket),
        Resource::Object(object) => Some(&object.bucket),
        Resource::AccessPoint(access_point) => Some(&access_point.bucket),
        _ => None,
    };
    if let Some(bucket) = bucket {
        match website {
            Fact::Known(true) => found.push(format!("visitors of the website that bucket {} serves", bucket.name)),
            Fact::Known(false) => {}
            Fact::Unknown(missing) => {
                found.push(format!("visitors of a website, if bucket {} serves one: could not read {}", bucket.name, missing.0));
            }
        }
        let mut policies = vec![&bucket.policy];
        if let Resource::AccessPoint(access_point) = resource {
            policies.push(&access_point.policy);
        }
        if restricts {
            found.extend(policies.into_iter().flat_map(|policy| named_outsiders(policy, context)).collect::<BTreeSet<_>>());
        }
    }
    match resource {
        Resource::RdsInstance(_) => found.push("clients outside the VPC, also those whose addresses the security group names".into()),
        Resource::SecurityGroup(_) => {
            if let Setting::Ingress { rules, .. } = setting {
                found.push(format!("every client that the {} revoked rules admit, on all their ports", rules.len()));
            }
        }
        _ => {}
    }
    found
}

/// Whom else the policy lets in. `RestrictPublicBuckets` leaves AWS services and the bucket's own account.
fn named_outsiders(policy: &Fact<Option<String>>, context: &Context) -> Vec<String> {
    let policy = match policy {
        Fact::Known(None) => return Vec::new(),
        Fact::Known(Some(text)) => Policy::parse(text),
        Fact::Unknown(_) => None,
    };
    let Some(policy) = policy else { return vec!["whoever else the policy names: it could not be read".into()] };
    let mut found = Vec::new();
    for statement in policy.allows() {
        let mut anyone = statement.principal.negated;
        for principal in &statement.principal.principals {
            match principal {
                Principal::Aws(text) if !text.contains(&context.account_id) => found.push(format!("{text}, named by the policy")),
                Principal::CanonicalUser(text) => found.push(format!("canonical user {text}, named by the policy")),
                Principal::Federated(text) => found.push(format!("identities of {text}, named by the policy")),
                Principal::Anyone => anyone = true,
                Principal::Aws(_) | Principal::Service(_) => {}
            }
        }
        if anyone {
            let limited = statement.conditions.iter().filter(|c| !c.operator.negated);
            found.extend(limited.map(|c| {
                let values: Vec<&str> = c.values.iter().map(|v| v.text.as_str()).collect();
                format!("requests whose {} is {}, admitted by the policy", c.key, values.join(" or "))
            }));
        }
    }
    found
}
