//! What a verdict is made of: the ways in, what is known of the account, how badly an exposure harms.

use crate::block::{PublicAccessBlock, SnapshotSharing};
use crate::ternary::{Fact, Missing, Tri};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    NotPublic,
    Unknown,
    Public,
}

impl From<Tri> for Verdict {
    fn from(tri: Tri) -> Verdict {
        match tri {
            Tri::No => Verdict::NotPublic,
            Tri::Unknown => Verdict::Unknown,
            Tri::Yes => Verdict::Public,
        }
    }
}

/// Whether accounts other than the owner's have access without being "the public".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CrossAccount {
    None,
    /// Every other account or organisation is named.
    Known,
    /// A network range or endpoint is named, not who uses it; an account is not on the list of known accounts; or nothing could be read.
    Unknown,
}

/// What holds for every resource of an account and region.
#[derive(Debug, Clone)]
pub struct Context {
    pub account_id: String,
    pub partition: String,
    /// From the organisation's S3 policy. `Known` with all off if the account's own answer already includes it.
    pub organisation_block: Fact<PublicAccessBlock>,
    pub account_block: Fact<PublicAccessBlock>,
    pub ebs_snapshot_sharing: Fact<SnapshotSharing>,
    /// Accounts that may have access. `None`: every account that a policy names counts as known.
    pub known_accounts: Option<BTreeSet<String>>,
    pub now_s: Option<i64>,
}

/// How badly an exposure harms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Harm {
    Low,
    Medium,
    High,
    Critical,
}

/// One way in, or one that was examined and is shut.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    /// `acl`, `policy`, `access_point`, `sharing`, `network`.
    pub via: &'static str,
    /// By the letter of AWS's rule, switches included.
    pub documented: Tri,
    /// Whether a stranger gets in.
    pub effective: Tri,
    /// "anyone on the internet".
    pub who: String,
    /// "read its objects".
    pub what: String,
    /// The statement, grant, attribute or rule that opens it.
    pub statement: Value,
    /// The smallest reversible switch that stops it.
    pub switch: String,
    /// The line that takes the grant away for good.
    pub fix: String,
    pub harm: Harm,
}

impl Way {
    /// Effective access decides. Where it is not known, AWS's rule can still say public; it can not say safe.
    pub fn open(&self) -> Tri {
        match (self.effective, self.documented) {
            (Tri::Unknown, Tri::Yes) => Tri::Yes,
            (effective, _) => effective,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub documented: Verdict,
    pub effective: Verdict,
    pub cross_account: CrossAccount,
    /// The ways that carry the verdict, the most harmful first. Empty for `NotPublic`.
    pub ways: Vec<Way>,
    /// Why not, when the verdict is `NotPublic` although a grant exists.
    pub held_by: Option<String>,
    /// What must be read before an `Unknown` verdict can be given.
    pub missing: BTreeSet<Missing>,
}

impl Judgement {
    pub fn new(ways: Vec<Way>, cross_account: CrossAccount, missing: BTreeSet<Missing>) -> Judgement {
        let open = Tri::any(ways.iter().map(Way::open));
        let documented = Tri::any(ways.iter().map(|w| w.documented));
        let effective = Tri::any(ways.iter().map(|w| w.effective));
        let held_by = ways.iter().find(|w| open == Tri::No && w.documented == Tri::Yes).map(|w| match w.via {
            "network" => "its security groups or the routes of its subnets keep strangers out".to_string(),
            _ => "no request of a stranger passes all its conditions and Deny statements".to_string(),
        });
        let mut carrying: Vec<Way> = ways.into_iter().filter(|w| open != Tri::No && w.open() == open).collect();
        carrying.sort_by_key(|w| std::cmp::Reverse(w.harm));
        Judgement {
            verdict: open.into(),
            documented: documented.into(),
            effective: effective.into(),
            cross_account,
            ways: carrying,
            held_by,
            missing: if open == Tri::Unknown { missing } else { BTreeSet::new() },
        }
    }
}
