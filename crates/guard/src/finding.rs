//! Findings: one line of JSON for each resource, messages that teach, and fingerprints that stay the same over scans.

use crate::block::PublicAccessBlock;
use crate::judgement::{Context, CrossAccount, Harm, Judgement, Verdict, Way};
use crate::ternary::{Fact, Tri};
use crate::verdict::Resource;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    None,
    Low,
    Medium,
    High,
    Critical,
}

impl From<Harm> for Severity {
    fn from(harm: Harm) -> Severity {
        match harm {
            Harm::Low => Severity::Low,
            Harm::Medium => Severity::Medium,
            Harm::High => Severity::High,
            Harm::Critical => Severity::Critical,
        }
    }
}

/// One line of `afresh guard scan --json`. The order of the fields is that of the line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    #[serde(rename = "type")]
    pub kind: String,
    pub id: String,
    pub verdict: Verdict,
    /// The ways in, joined by commas; `none`.
    pub via: String,
    pub documented: Verdict,
    pub effective: Verdict,
    pub cross_account: CrossAccount,
    pub severity: Severity,
    pub why: String,
    pub fix: String,
    pub fingerprint: String,
    /// Where it is, if the identifier does not say it. `why` names it.
    #[serde(skip)]
    pub region: Option<String>,
}

impl Finding {
    pub fn new(resource: &Resource, judgement: &Judgement) -> Finding {
        let (kind, id) = (resource.kind(), resource.id());
        let via =
            if judgement.ways.is_empty() { "none".into() } else { judgement.ways.iter().map(|w| w.via).collect::<Vec<_>>().join(",") };
        let severity = match (judgement.verdict, judgement.ways.first()) {
            (Verdict::NotPublic, _) | (_, None) => Severity::None,
            (Verdict::Public, Some(way)) => way.harm.into(),
            // How bad it would be is not known either.
            (Verdict::Unknown, Some(_)) => Severity::Medium,
        };
        let evidence = Value::Array(judgement.ways.iter().map(|w| w.statement.clone()).collect());
        Finding {
            kind: kind.into(),
            verdict: judgement.verdict,
            via,
            documented: judgement.documented,
            effective: judgement.effective,
            cross_account: judgement.cross_account,
            severity,
            why: why(kind, &id, judgement),
            fix: fix(judgement),
            fingerprint: fingerprint(kind, &id, &evidence),
            id,
            region: None,
        }
    }
}

fn noun(kind: &str) -> &'static str {
    match kind {
        "s3_bucket" => "bucket",
        "s3_object" => "object",
        "s3_access_point" => "access point",
        "ami" => "image",
        "ebs_snapshot" => "EBS snapshot",
        "rds_snapshot" => "database snapshot",
        "rds_cluster_snapshot" => "database cluster snapshot",
        "rds_instance" => "database",
        _ => "security group",
    }
}

fn opener(via: &str) -> &'static str {
    match via {
        "acl" => "the ACL has the grant",
        "policy" => "the bucket policy has the statement",
        "access_point" => "the access point policy, which the bucket policy admits, has the statement",
        "sharing" => "it has the attribute",
        _ => "the network lets it through:",
    }
}

fn why(kind: &str, id: &str, judgement: &Judgement) -> String {
    let noun = noun(kind);
    match judgement.verdict {
        Verdict::Public => {
            let sentence = |way: &Way| {
                let proof = if way.statement.is_null() { String::new() } else { format!(": {} {}", opener(way.via), way.statement) };
                format!("{} can {}{proof}", way.who, way.what)
            };
            let ways = judgement.ways.iter().map(sentence).collect::<Vec<_>>().join("; ");
            format!("{noun} {id} is public: {ways}")
        }
        Verdict::Unknown => {
            let missing = judgement.missing.iter().map(|m| m.0.as_str()).collect::<Vec<_>>().join(", ");
            let missing =
                if missing.is_empty() { "its policy is too complex to search".into() } else { format!("could not read {missing}") };
            format!("cannot tell whether {noun} {id} is public: {missing}")
        }
        Verdict::NotPublic => match &judgement.held_by {
            Some(reason) => format!("{noun} {id} is not public: it looks public by the documented rule, but {reason}"),
            None => format!("{noun} {id} is not public"),
        },
    }
}

fn fix(judgement: &Judgement) -> String {
    match judgement.verdict {
        Verdict::Public => {
            judgement.ways.first().map(|w| format!("{}; to stop it at once, reversibly: {}", w.fix, w.switch)).unwrap_or_default()
        }
        Verdict::Unknown if !judgement.missing.is_empty() => {
            let actions: Vec<&str> = judgement.missing.iter().map(|m| m.0.as_str()).collect();
            let statement = serde_json::json!({"Effect": "Allow", "Action": actions, "Resource": "*"});
            format!("allow the scan to read it with the IAM statement {statement}")
        }
        Verdict::Unknown => "split the policy into fewer conditional Deny statements".into(),
        Verdict::NotPublic => String::new(),
    }
}

/// Identifies a finding over scans: rule, resource and evidence, the evidence without order of keys, lists, statement IDs or descriptions.
pub fn fingerprint(rule: &str, resource: &str, evidence: &Value) -> String {
    let mut hash = Sha256::new();
    for part in [rule, resource, &normalised(evidence)] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect()
}

const LABELS: [&str; 2] = ["sid", "description"];

/// JSON with sorted keys, and lists as sorted sets. `Sid` and `Description` are labels, not evidence.
fn normalised(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<String> = map
                .iter()
                .filter(|(key, _)| !LABELS.iter().any(|label| key.eq_ignore_ascii_case(label)))
                .map(|(key, value)| format!("{}:{}", Value::String(key.clone()), normalised(value)))
                .collect();
            fields.sort();
            format!("{{{}}}", fields.join(","))
        }
        // IAM reads a scalar and a list of one alike.
        Value::Array(items) if items.len() == 1 => normalised(&items[0]),
        Value::Array(items) => {
            let mut items: Vec<String> = items.iter().map(normalised).collect();
            items.sort();
            items.dedup();
            format!("[{}]", items.join(","))
        }
        other => other.to_string(),
    }
}

/// "Private, but nothing would keep it so", said once for an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Latent {
    pub account: String,
    pub buckets: usize,
    pub why: String,
    pub fix: String,
}

/// `None` if the account's or organisation's switches are all on, if they could not be read, or if each bucket has its own.
pub fn latent(context: &Context, bucket_blocks: &[&Fact<PublicAccessBlock>]) -> Option<Latent> {
    let levels = vec![&context.organisation_block, &context.account_block];
    if (crate::block::Blocks { levels: levels.clone() }).is_locked() != Tri::No {
        return None;
    }
    let unlocked = |block: &&&Fact<PublicAccessBlock>| {
        let mut levels = levels.clone();
        levels.push(block);
        crate::block::Blocks { levels }.is_locked() != Tri::Yes
    };
    let buckets = bucket_blocks.iter().filter(unlocked).count();
    (buckets > 0).then(|| Latent {
        account: context.account_id.clone(),
        buckets,
        why: format!(
            "nothing in account {} would refuse a public grant: {buckets} buckets are private only as they are now",
            context.account_id
        ),
        fix: format!(
            "aws s3control put-public-access-block --account-id {} --public-access-block-configuration \
             BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true",
            context.account_id
        ),
    })
}
