//! The account that a plan is for, and the switches that hold for all of it.

use super::planned::Planned;
use crate::block::{PublicAccessBlock, SnapshotSharing};
use crate::judgement::Context;
use crate::ternary::Fact;
use serde_json::Value;
use std::collections::BTreeMap;

pub const KIND: &str = "aws_s3_account_public_access_block";

pub struct Account<'a> {
    id: Option<String>,
    /// By the configuration of the provider: another one may be of another account.
    blocks: BTreeMap<Option<&'a str>, Fact<PublicAccessBlock>>,
}

impl<'a> Account<'a> {
    pub fn of(all: &[Planned<'a>], id: Option<&str>) -> Account<'a> {
        let mut blocks: BTreeMap<Option<&str>, Fact<PublicAccessBlock>> = BTreeMap::new();
        for planned in all.iter().filter(|p| p.kind == KIND && is_own(p, id)) {
            let block = block(planned);
            let both = match blocks.remove(&planned.provider()) {
                Some(other) => weaker(other, block),
                None => block,
            };
            blocks.insert(planned.provider(), both);
        }
        Account { id: id.map(str::to_string), blocks }
    }

    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// What holds for a resource of the plan.
    pub fn context(&self, planned: &Planned, partition: &str) -> Context {
        let elsewhere = self.elsewhere(partition);
        match self.blocks.get(&planned.provider()) {
            Some(block) => Context { account_block: block.clone(), ..elsewhere },
            None => elsewhere,
        }
    }

    /// What holds for one that may be of any account: no switch is sure to be on.
    pub fn elsewhere(&self, partition: &str) -> Context {
        let none = Fact::Known(PublicAccessBlock::default());
        Context {
            account_id: self.id.clone().unwrap_or_else(|| "000000000000".into()),
            partition: partition.into(),
            organisation_block: none.clone(),
            account_block: none,
            ebs_snapshot_sharing: Fact::Known(SnapshotSharing::Unblocked),
            known_accounts: None,
            now_s: None,
        }
    }
}

/// Whether the switches are of the provider's own account, or of the one that the plan is said to be for.
fn is_own(planned: &Planned, id: Option<&str>) -> bool {
    match planned.set("account_id") {
        Fact::Known(None) => true,
        // The provider reads it back where its author does not set it.
        Fact::Known(Some(Value::String(named))) if planned.is_configured("account_id") == Some(false) => id.is_none_or(|id| id == named),
        Fact::Known(Some(Value::String(named))) => id == Some(named.as_str()),
        _ => false,
    }
}

fn weaker(a: Fact<PublicAccessBlock>, b: Fact<PublicAccessBlock>) -> Fact<PublicAccessBlock> {
    match (a, b) {
        (Fact::Known(a), Fact::Known(b)) => Fact::Known(PublicAccessBlock {
            block_public_acls: a.block_public_acls && b.block_public_acls,
            ignore_public_acls: a.ignore_public_acls && b.ignore_public_acls,
            block_public_policy: a.block_public_policy && b.block_public_policy,
            restrict_public_buckets: a.restrict_public_buckets && b.restrict_public_buckets,
        }),
        (Fact::Unknown(missing), _) | (_, Fact::Unknown(missing)) => Fact::Unknown(missing),
    }
}

/// The four switches of a resource that is nothing else.
pub fn block(planned: &Planned) -> Fact<PublicAccessBlock> {
    switches(|name| planned.flag(name))
}

/// One that is not known leaves all unknown.
pub fn switches(is_on: impl Fn(&str) -> Fact<bool>) -> Fact<PublicAccessBlock> {
    let mut on = [false; 4];
    for (slot, name) in on.iter_mut().zip(["block_public_acls", "ignore_public_acls", "block_public_policy", "restrict_public_buckets"]) {
        match is_on(name) {
            Fact::Known(value) => *slot = value,
            Fact::Unknown(missing) => return Fact::Unknown(missing),
        }
    }
    Fact::Known(PublicAccessBlock {
        block_public_acls: on[0],
        ignore_public_acls: on[1],
        block_public_policy: on[2],
        restrict_public_buckets: on[3],
    })
}
