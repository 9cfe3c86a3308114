//! S3's block public access: four switches at four levels, the most restrictive in force.
//!
//! The two `Block*` switches refuse future writes and change nothing about what exists. `IgnorePublicAcls` and `RestrictPublicBuckets`
//! neutralise what exists. <https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html>

use crate::ternary::{Fact, Missing, Tri};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Serialised as the API writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PublicAccessBlock {
    pub block_public_acls: bool,
    pub ignore_public_acls: bool,
    pub block_public_policy: bool,
    pub restrict_public_buckets: bool,
}

impl PublicAccessBlock {
    pub const ALL: PublicAccessBlock =
        PublicAccessBlock { block_public_acls: true, ignore_public_acls: true, block_public_policy: true, restrict_public_buckets: true };
}

/// The levels that apply to a resource. "No configuration" is `Known` with every switch off.
#[derive(Debug, Clone)]
pub struct Blocks<'a> {
    pub levels: Vec<&'a Fact<PublicAccessBlock>>,
}

impl Blocks<'_> {
    fn any(&self, switch: impl Fn(&PublicAccessBlock) -> bool) -> Tri {
        Tri::any(self.levels.iter().map(|level| level.test(&switch)))
    }

    pub fn acls_ignored(&self) -> Tri {
        self.any(|b| b.ignore_public_acls)
    }

    pub fn public_policies_restricted(&self) -> Tri {
        self.any(|b| b.restrict_public_buckets)
    }

    /// Whether nothing public can come into force, now or by a later write.
    pub fn is_locked(&self) -> Tri {
        let switches: [fn(&PublicAccessBlock) -> bool; 4] =
            [|b| b.block_public_acls, |b| b.ignore_public_acls, |b| b.block_public_policy, |b| b.restrict_public_buckets];
        Tri::all(switches.iter().map(|switch| self.any(switch)))
    }

    pub fn note_missing(&self, into: &mut BTreeSet<Missing>) {
        self.levels.iter().for_each(|level| level.note_missing(into));
    }
}

/// EBS's account-wide switch. `BlockNewSharing` changes nothing about what is shared; `BlockAllSharing` makes it private.
/// <https://docs.aws.amazon.com/ebs/latest/userguide/block-public-access-snapshots.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotSharing {
    Unblocked,
    BlockNewSharing,
    BlockAllSharing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_restrictive_level_wins_and_an_unread_one_proves_nothing() {
        let off = Fact::Known(PublicAccessBlock::default());
        let on = Fact::Known(PublicAccessBlock::ALL);
        let unread = Fact::denied("s3:GetBucketPublicAccessBlock");
        let restricted = |levels: Vec<&Fact<PublicAccessBlock>>| Blocks { levels }.public_policies_restricted();
        assert_eq!(restricted(vec![&off, &on]), Tri::Yes);
        assert_eq!(restricted(vec![&unread, &on]), Tri::Yes);
        assert_eq!(restricted(vec![&unread, &off]), Tri::Unknown);
        assert_eq!(restricted(vec![&off, &off]), Tri::No);
    }

    #[test]
    fn block_switches_alone_neutralise_nothing() {
        let only_block = Fact::Known(PublicAccessBlock { block_public_acls: true, block_public_policy: true, ..Default::default() });
        let blocks = Blocks { levels: vec![&only_block] };
        assert_eq!((blocks.acls_ignored(), blocks.public_policies_restricted(), blocks.is_locked()), (Tri::No, Tri::No, Tri::No));
    }
}
