//! Chooses the change: candidates from the smallest up, the first after which the verdict is "not public".

use super::call::Call;
use super::cut_off::cut_off;
use super::setting::{RuleIdentity, Setting, State, applied, undescribed};
use crate::block::PublicAccessBlock;
use crate::cidr::AddressSet;
use crate::ec2::IpPermission;
use crate::judgement::{Context, Judgement, Verdict};
use crate::ternary::Fact;
use crate::verdict::{Resource, public};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What is written to the journal before anything is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The `type` and `id` of the finding.
    pub kind: String,
    pub id: String,
    pub setting: Setting,
    pub before: State,
    pub after: State,
    /// Who loses access.
    pub cut_off: Vec<String>,
}

impl Plan {
    pub fn contain(&self) -> Option<Call> {
        Call::setting(&self.setting, &self.after)
    }

    /// The exact undo: a configuration that was not there is deleted again.
    pub fn undo(&self) -> Option<Call> {
        Call::setting(&self.setting, &self.before)
    }
}

/// What a plan needs beyond the facts of the verdict.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `None`: the bucket has no configuration.
    pub bucket_block: Fact<Option<PublicAccessBlock>>,
    pub account_block: Fact<Option<PublicAccessBlock>>,
    /// Whether the bucket serves a website.
    pub website: Fact<bool>,
    /// Rules of a security group, of one source each, with what they lose when they are revoked.
    pub rules: Fact<Vec<(IpPermission, RuleIdentity)>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    #[error("{0} is not public: there is nothing to contain")]
    NotPublic(String),
    #[error("cannot tell whether {id} is public: could not read {missing}")]
    CannotTell { id: String, missing: String },
    /// Without the value before, there is no exact undo.
    #[error("no undo of {setting} would be exact: could not read {missing}")]
    NotReversible { setting: String, missing: String },
    #[error("no switch stops the exposure of {0} without deleting what grants it")]
    NoSwitch(String),
    #[error(
        "multi-region access point {0} has no switch: its public access block cannot be changed after it was made. Contain each of its buckets, \
         or set the account's block: afresh guard contain --account"
    )]
    OfSeveralRegions(String),
    #[error("a live waiver needs {0} to stay public: contain the others one by one")]
    Waived(String),
}

/// The smallest change after which the resource is not public.
pub fn plan(resource: &Resource, context: &Context, seen: &Seen) -> Result<Plan, NoPlan> {
    let judgement = judged_public(resource, context)?;
    for (setting, before, after) in candidates(resource, context, &judgement, seen)? {
        let (then, around) = applied(&setting, &after, resource, context);
        if public(&then, &around).verdict == Verdict::NotPublic {
            let cut_off = cut_off(resource, context, &judgement, &setting, &after, &seen.website);
            return Ok(Plan { kind: resource.kind().into(), id: resource.id(), setting, before, after, cut_off });
        }
    }
    Err(NoPlan::NoSwitch(resource.id()))
}

/// The switches of the account, for every public bucket at once. `waived`: IDs of resources that a live waiver lets be public.
pub fn plan_account(resources: &[Resource], context: &Context, seen: &Seen, waived: &BTreeSet<String>) -> Result<Plan, NoPlan> {
    let exposed: Vec<(&Resource, Judgement)> =
        resources.iter().filter_map(|resource| judged_public(resource, context).ok().map(|judgement| (resource, judgement))).collect();
    if exposed.is_empty() {
        return Err(NoPlan::NotPublic(format!("account {}", context.account_id)));
    }
    if let Some((resource, _)) = exposed.iter().find(|(resource, _)| waived.contains(&resource.id())) {
        return Err(NoPlan::Waived(resource.id()));
    }
    let setting = Setting::AccountBlock { account: context.account_id.clone() };
    let before = known(&seen.account_block, "the account's public access block")?;
    let ways = exposed.iter().flat_map(|(_, judgement)| &judgement.ways);
    let after = State::Block(Some(with_switches(before, ways.map(|w| w.via))));
    let mut found = BTreeSet::new();
    for (resource, judgement) in &exposed {
        let (then, around) = applied(&setting, &after, resource, context);
        if public(&then, &around).verdict != Verdict::NotPublic {
            return Err(NoPlan::NoSwitch(resource.id()));
        }
        let lost = cut_off(resource, context, judgement, &setting, &after, &seen.website);
        found.extend(lost.into_iter().map(|who| format!("{}: {who}", resource.id())));
    }
    let (kind, id) = ("account".to_string(), context.account_id.clone());
    Ok(Plan { kind, id, setting, before: State::Block(before), after, cut_off: found.into_iter().collect() })
}

fn judged_public(resource: &Resource, context: &Context) -> Result<Judgement, NoPlan> {
    let judgement = public(resource, context);
    match judgement.verdict {
        Verdict::Public => Ok(judgement),
        Verdict::NotPublic => Err(NoPlan::NotPublic(resource.id())),
        Verdict::Unknown => {
            let missing = judgement.missing.iter().map(|m| m.0.as_str()).collect::<Vec<_>>().join(", ");
            Err(NoPlan::CannotTell { id: resource.id(), missing })
        }
    }
}

fn known<T: Clone>(fact: &Fact<T>, setting: &str) -> Result<T, NoPlan> {
    match fact {
        Fact::Known(value) => Ok(value.clone()),
        Fact::Unknown(missing) => Err(NoPlan::NotReversible { setting: setting.into(), missing: missing.0.clone() }),
    }
}

/// The switches that neutralise what exists, added to those that are on. What refuses future writes is left as it is.
fn with_switches<'a>(before: Option<PublicAccessBlock>, ways: impl Iterator<Item = &'a str>) -> PublicAccessBlock {
    let mut block = before.unwrap_or_default();
    for via in ways {
        if via == "acl" {
            block.ignore_public_acls = true;
        } else {
            block.restrict_public_buckets = true;
        }
    }
    block
}

/// S3 refuses a longer one.
const POLICY_BYTES_MAX: usize = 20 * 1024;

type Candidate = (Setting, State, State);

fn candidates(resource: &Resource, context: &Context, judgement: &Judgement, seen: &Seen) -> Result<Vec<Candidate>, NoPlan> {
    let off = |setting: Setting| Ok(vec![(setting, State::On(true), State::On(false))]);
    match resource {
        Resource::Bucket(bucket) => of_bucket(&bucket.name, &bucket.policy, context, judgement, seen),
        Resource::Object(object) => of_bucket(&object.bucket.name, &object.bucket.policy, context, judgement, seen),
        // One of several regions leads to several buckets, and one setting closes one of them.
        Resource::AccessPoint(point) if point.is_of_several_regions() => Err(NoPlan::OfSeveralRegions(point.name.clone())),
        // The switches of an access point cannot be changed after it is made; those of its bucket hold for it too.
        Resource::AccessPoint(point) => of_bucket(&point.bucket.name, &point.bucket.policy, context, judgement, seen),
        Resource::Ami(ami) => off(Setting::LaunchPermission { image: ami.id.clone() }),
        Resource::EbsSnapshot(snapshot) => off(Setting::CreateVolumePermission { snapshot: snapshot.id.clone() }),
        Resource::RdsSnapshot(s) => off(Setting::RestorePermission { snapshot: s.id.clone(), of_cluster: s.of_cluster }),
        Resource::RdsInstance(instance) => off(Setting::PubliclyAccessible { instance: instance.id.clone() }),
        Resource::SecurityGroup(group) => {
            Ok(of_group(&group.id, group.ingress.known().map_or(&[], Vec::as_slice), seen.rules.known().map_or(&[], Vec::as_slice)))
        }
    }
}

fn of_bucket(
    bucket: &str,
    policy: &Fact<Option<String>>,
    context: &Context,
    judgement: &Judgement,
    seen: &Seen,
) -> Result<Vec<Candidate>, NoPlan> {
    let before = known(&seen.bucket_block, "the bucket's public access block")?;
    let after = with_switches(before, judgement.ways.iter().map(|w| w.via));
    let setting = Setting::BucketBlock { bucket: bucket.into() };
    let mut found = vec![(setting, State::Block(before), State::Block(Some(after)))];
    // RestrictPublicBuckets does nothing about a policy that AWS does not call public, however many get in.
    if let Fact::Known(Some(text)) = policy {
        let denied = [true, false].map(|spares_services| with_deny(text, bucket, context, spares_services));
        found.extend(denied.into_iter().flatten().map(|after| {
            let setting = Setting::BucketPolicy { bucket: bucket.into() };
            (setting, State::Policy(Some(text.clone())), State::Policy(Some(after)))
        }));
    }
    Ok(found)
}

/// The policy with a `Deny` for everybody outside the account. `None` if it cannot be read.
fn with_deny(policy: &str, bucket: &str, context: &Context, spares_services: bool) -> Option<String> {
    let mut policy: Value = serde_json::from_str(policy).ok()?;
    let field = policy.as_object()?.keys().find(|key| key.eq_ignore_ascii_case("statement"))?.clone();
    let arn = format!("arn:{}:s3:::{bucket}", context.partition);
    let mut condition = json!({"StringNotEquals": {"aws:PrincipalAccount": context.account_id}});
    if spares_services {
        // An unsigned request does not have the key, and a condition on a key that is not there is not met.
        condition["BoolIfExists"] = json!({"aws:PrincipalIsAWSService": "false"});
    }
    let mut statements = match policy[field.as_str()].take() {
        Value::Array(items) => items,
        one => vec![one],
    };
    // S3 refuses a second statement of one name.
    let names: BTreeSet<&str> = statements.iter().filter_map(|s| s["Sid"].as_str()).collect();
    let sid = (1..).map(|n| if n == 1 { "AfreshContainment".to_string() } else { format!("AfreshContainment{n}") });
    let sid = sid.into_iter().find(|sid| !names.contains(sid.as_str()))?;
    let deny = json!({"Sid": sid, "Effect": "Deny", "Principal": "*", "Action": "s3:*",
        "Resource": [arn, format!("{arn}/*")], "Condition": condition});
    statements.push(deny);
    policy[field.as_str()] = Value::Array(statements);
    Some(policy.to_string()).filter(|text| text.len() <= POLICY_BYTES_MAX)
}

/// The broadest sources first, one more in each candidate.
fn of_group(group: &str, ingress: &[IpPermission], known: &[(IpPermission, RuleIdentity)]) -> Vec<Candidate> {
    let mut rules: Vec<IpPermission> = ingress.iter().filter(|r| r.reaches_sensitive()).flat_map(IpPermission::by_source).collect();
    rules.sort_by_key(|r| std::cmp::Reverse(breadth(r)));
    let identity = |rule: &Value| {
        let is_it = |known: &IpPermission| undescribed(&known.as_json()) == undescribed(rule);
        known.iter().find(|(rule, _)| is_it(rule)).map(|(_, identity)| identity.clone())
    };
    (1..=rules.len())
        .map(|count| {
            let written: Vec<Value> = rules[..count].iter().map(IpPermission::as_json).collect();
            let identities = written.iter().map(identity).collect::<Option<Vec<_>>>().unwrap_or_default();
            let setting = Setting::Ingress { group: group.into(), rules: written, identities };
            (setting, State::rules(count, count), State::rules(0, count))
        })
        .collect()
}

/// How many of all addresses, of the family of which it has more. What cannot be read may be all of them.
fn breadth(rule: &IpPermission) -> u128 {
    let lists = rule.prefix_lists.iter().map(|list| list.entries.known());
    let Some(lists) = lists.collect::<Option<Vec<_>>>() else { return u128::MAX };
    let cidrs = rule.cidrs.iter().chain(lists.into_iter().flatten()).map(String::as_str);
    AddressSet::from_cidrs(cidrs).map_or(u128::MAX, |set| set.breadth())
}
