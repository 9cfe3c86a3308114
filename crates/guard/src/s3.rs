//! Verdicts on buckets, objects and access points.

use crate::acl::AclGrant;
use crate::block::{Blocks, PublicAccessBlock};
use crate::cross_account;
use crate::judgement::{Context, CrossAccount, Harm, Judgement, Way};
use crate::policy::effective::{Exposure, Grant, Request, Side, exposure};
use crate::policy::outsider::{Channel, Surroundings};
use crate::policy::{Class, Policy, Scope, documented};
use crate::ternary::{Fact, Missing, Tri};
use serde_json::Value;
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
pub struct Bucket {
    pub name: String,
    /// `None`: the bucket has no policy.
    pub policy: Fact<Option<String>>,
    pub acl: Fact<Vec<AclGrant>>,
    /// The canonical user that owns the bucket, from the ACL.
    pub owner: Option<String>,
    pub ownership: Fact<Ownership>,
    pub block: Fact<PublicAccessBlock>,
}

/// `BucketOwnerEnforced` disables ACLs. A bucket without a setting has `ObjectWriter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    BucketOwnerEnforced,
    BucketOwnerPreferred,
    ObjectWriter,
}

#[derive(Debug, Clone)]
pub struct Object {
    pub bucket: Bucket,
    pub key: String,
    pub acl: Fact<Vec<AclGrant>>,
}

#[derive(Debug, Clone)]
pub struct AccessPoint {
    pub name: String,
    pub arn: String,
    pub account_id: String,
    /// `Internet` or `VPC`.
    pub network_origin: Fact<String>,
    pub policy: Fact<Option<String>>,
    pub block: Fact<PublicAccessBlock>,
    /// The account-wide switches of an access point in another account than the bucket's.
    pub other_account_block: Option<Fact<PublicAccessBlock>>,
    pub bucket: Bucket,
}

impl AccessPoint {
    /// The name of one of a single region has the region in it.
    pub(crate) fn is_of_several_regions(&self) -> bool {
        self.arn.split(':').nth(3) == Some("")
    }
}

impl Bucket {
    fn arn(&self, context: &Context) -> String {
        format!("arn:{}:s3:::{}", context.partition, self.name)
    }

    fn blocks<'a>(&'a self, context: &'a Context) -> Blocks<'a> {
        Blocks { levels: vec![&context.organisation_block, &context.account_block, &self.block] }
    }

    fn acls_disabled(&self, blocks: &Blocks) -> Tri {
        self.ownership.test(|o| *o == Ownership::BucketOwnerEnforced).or(blocks.acls_ignored())
    }

    pub(crate) fn judge(&self, context: &Context) -> Judgement {
        let blocks = self.blocks(context);
        let policy = read(&self.policy, "s3:GetBucketPolicy");
        let acl = acl_way(&self.acl, false, self, &policy, &blocks, context, None);
        let ways = vec![acl, policy_way(self, &policy, &blocks, context, None)];
        let mut missing = self.missing(&blocks);
        note_unread(&policy, &mut missing);
        Judgement::new(ways, self.cross_account(&policy, &self.acl, &blocks, context), missing)
    }

    fn missing(&self, blocks: &Blocks) -> BTreeSet<Missing> {
        let mut missing = BTreeSet::new();
        self.policy.note_missing(&mut missing);
        self.acl.note_missing(&mut missing);
        self.ownership.note_missing(&mut missing);
        blocks.note_missing(&mut missing);
        missing
    }

    /// By the policy, and by the ACL of the bucket or of one of its objects.
    fn cross_account(&self, policy: &Fact<Policy>, acl: &Fact<Vec<AclGrant>>, blocks: &Blocks, context: &Context) -> CrossAccount {
        let by_policy = match policy {
            Fact::Unknown(_) => CrossAccount::Unknown,
            // A public policy under RestrictPublicBuckets lets no other account in.
            Fact::Known(p)
                if documented::public_statement(p, Scope::Bucket).is_some() && blocks.public_policies_restricted() == Tri::Yes =>
            {
                CrossAccount::None
            }
            Fact::Known(p) => cross_account::of_policy(p, Scope::Bucket, self.owner.as_deref(), context),
        };
        let by_acl = match (acl, self.ownership.test(|o| *o == Ownership::BucketOwnerEnforced)) {
            (_, Tri::Yes) => CrossAccount::None,
            (Fact::Unknown(_), _) => CrossAccount::Unknown,
            (Fact::Known(grants), _) => cross_account::of_acl(grants, self.owner.as_deref()),
        };
        by_policy.max(by_acl)
    }
}

/// A policy that is there but cannot be parsed is unread: what it grants is not known.
fn read(policy: &Fact<Option<String>>, action: &str) -> Fact<Policy> {
    match policy {
        Fact::Known(None) => Fact::Known(Policy { statements: Vec::new() }),
        Fact::Known(Some(text)) => Policy::parse(text).map_or_else(|| Fact::denied(action), Fact::Known),
        Fact::Unknown(missing) => Fact::Unknown(missing.clone()),
    }
}

fn note_unread(policy: &Fact<Policy>, missing: &mut BTreeSet<Missing>) {
    policy.note_missing(missing);
}

fn surroundings(context: &Context, policies: &[&Policy]) -> Surroundings {
    let text = policies.iter().flat_map(|p| &p.statements).map(|s| s.source.to_string()).collect::<String>();
    let stranger = (990_000_000_001_u64..).map(|n| n.to_string()).find(|n| !text.contains(n.as_str()) && *n != context.account_id);
    Surroundings { owner_account: context.account_id.clone(), now_s: context.now_s, stranger_account: stranger.unwrap_or_default() }
}

fn direct<'a>(surroundings: &'a Surroundings, key: Option<&'a str>) -> Request<'a> {
    Request { channel: Channel::Direct, surroundings, key }
}

fn policy_way(bucket: &Bucket, policy: &Fact<Policy>, blocks: &Blocks, context: &Context, key: Option<&str>) -> Way {
    let statement = policy.known().and_then(|p| documented::public_statement(p, Scope::Bucket));
    let is_public = if policy.known().is_some() { Tri::from(statement.is_some()) } else { Tri::Unknown };
    let restricted = blocks.public_policies_restricted();
    let found = policy.known().map(|p| {
        let around = surroundings(context, &[p]);
        exposure(&[Side { policy: p, grants: &[], arn: &bucket.arn(context), object_infix: "/" }], &direct(&around, key))
    });
    let open = found.as_ref().map_or(Tri::Unknown, |e| e.open);
    // RestrictPublicBuckets acts on policies that are public by the documented rule. An unread policy is taken to be such a one, so
    // that an account whose switches are on needs no call for each bucket.
    let neutralised = if policy.known().is_some() { restricted.and(is_public) } else { restricted };
    let source = found.as_ref().and_then(|e| e.statement.clone()).or_else(|| statement.map(|s| s.source.clone()));
    Way {
        via: "policy",
        documented: is_public.and(restricted.negate()),
        effective: open.and(neutralised.negate()),
        who: who(found.as_ref()),
        what: what(found.as_ref(), key.is_some()),
        statement: source.unwrap_or(Value::Null),
        switch: format!("turn on RestrictPublicBuckets for bucket {}", bucket.name),
        fix: "limit the statement's Principal to fixed accounts or roles, or add a condition with a fixed aws:PrincipalOrgID".into(),
        harm: harm(found.as_ref()),
    }
}

fn acl_way(
    acl: &Fact<Vec<AclGrant>>,
    of_object: bool,
    bucket: &Bucket,
    policy: &Fact<Policy>,
    blocks: &Blocks,
    context: &Context,
    key: Option<&str>,
) -> Way {
    let is_public = acl.test(|grants| grants.iter().any(AclGrant::is_public));
    let in_force = bucket.acls_disabled(blocks).negate();
    let grants: Vec<Grant> = acl.known().into_iter().flatten().filter_map(|g| g.as_grant(of_object)).collect();
    // A Deny of the bucket policy overrules a grant, so an unread policy leaves effective access open.
    let nothing = Policy { statements: Vec::new() };
    let denies = policy.known().map(|p| Policy { statements: p.denies().cloned().collect() });
    let found = (!grants.is_empty()).then(|| {
        let policy = denies.as_ref().unwrap_or(&nothing);
        let around = surroundings(context, &[policy]);
        exposure(&[Side { policy, grants: &grants, arn: &bucket.arn(context), object_infix: "/" }], &direct(&around, key))
    });
    let open = match (is_public, &found) {
        (Tri::Yes, Some(e)) if denies.is_some() => e.open,
        (Tri::Yes, Some(_)) => Tri::Unknown,
        (other, _) => other,
    };
    let object = if of_object { "the object" } else { "the bucket" };
    Way {
        via: "acl",
        documented: is_public.and(in_force),
        effective: open.and(in_force),
        who: who(found.as_ref()),
        what: what(found.as_ref(), of_object),
        statement: found.as_ref().and_then(|e| e.statement.clone()).unwrap_or(Value::Null),
        switch: format!("turn on IgnorePublicAcls for bucket {}", bucket.name),
        fix: format!("set the ACL of {object} to private, or the bucket's object ownership to BucketOwnerEnforced"),
        harm: harm(found.as_ref()),
    }
}

fn who(found: Option<&Exposure>) -> String {
    found.and_then(|e| e.stranger).map_or_else(|| "not known".into(), |s| s.phrase().to_string())
}

fn what(found: Option<&Exposure>, of_object: bool) -> String {
    let classes = found.map(|e| e.classes.clone()).unwrap_or_default();
    let mut phrases: Vec<&str> = classes.iter().rev().map(|c| if of_object { c.phrase_of_object() } else { c.phrase() }).collect();
    phrases.dedup();
    if phrases.is_empty() { "get in, to do what is not known".into() } else { phrases.join(", ") }
}

fn harm(found: Option<&Exposure>) -> Harm {
    match found.and_then(|e| e.classes.last()) {
        Some(Class::Control | Class::Write) => Harm::Critical,
        Some(Class::Read | Class::List) | None => Harm::High,
        Some(Class::Acl) => Harm::Medium,
        Some(Class::Settings) => Harm::Low,
    }
}

impl Object {
    pub(crate) fn judge(&self, context: &Context) -> Judgement {
        let bucket = &self.bucket;
        let blocks = bucket.blocks(context);
        let policy = read(&bucket.policy, "s3:GetBucketPolicy");
        let acl = acl_way(&self.acl, true, bucket, &policy, &blocks, context, Some(&self.key));
        let by_policy = policy_way(bucket, &policy, &blocks, context, Some(&self.key));
        // The documented rule speaks of policies as a whole; this object is exposed only if a grant reaches it.
        let by_policy = Way { documented: by_policy.documented.and(by_policy.effective), ..by_policy };
        let mut missing = bucket.missing(&blocks);
        missing.remove(&Missing("s3:GetBucketAcl".into()));
        self.acl.note_missing(&mut missing);
        note_unread(&policy, &mut missing);
        Judgement::new(vec![acl, by_policy], bucket.cross_account(&policy, &self.acl, &blocks, context), missing)
    }
}

impl AccessPoint {
    pub(crate) fn judge(&self, context: &Context) -> Judgement {
        let bucket = &self.bucket;
        let mut blocks = bucket.blocks(context);
        blocks.levels.push(&self.block);
        blocks.levels.extend(&self.other_account_block);
        let own = read(&self.policy, "s3:GetAccessPointPolicy");
        let theirs = read(&bucket.policy, "s3:GetBucketPolicy");
        let of_internet = self.network_origin.test(|o| !o.eq_ignore_ascii_case("VPC"));
        let statement = own.known().and_then(|p| documented::public_statement(p, Scope::AccessPoint));
        let own_is_public = if own.known().is_some() { Tri::from(statement.is_some()) } else { Tri::Unknown };
        let bucket_is_public = theirs.test(|p| documented::public_statement(p, Scope::Bucket).is_some());
        let (found, open) = self.open(own.known(), theirs.known(), &blocks, context);
        let restricted = blocks.public_policies_restricted();
        let are_read = own.known().is_some() && theirs.known().is_some();
        let neutralised = if are_read { restricted.and(own_is_public.or(bucket_is_public)) } else { restricted };
        let source = found.as_ref().and_then(|e| e.statement.clone()).or_else(|| statement.map(|s| s.source.clone()));
        let way = Way {
            via: "access_point",
            documented: own_is_public.and(of_internet).and(restricted.negate()),
            effective: open.and(of_internet).and(neutralised.negate()),
            who: who(found.as_ref()),
            what: what(found.as_ref(), false),
            statement: source.unwrap_or(Value::Null),
            // The switches of an access point cannot be changed after it is created.
            switch: format!("turn on RestrictPublicBuckets for bucket {}", bucket.name),
            fix: "limit the Principal of the access point policy to fixed accounts or roles".into(),
            harm: harm(found.as_ref()),
        };
        let mut missing = bucket.missing(&blocks);
        self.network_origin.note_missing(&mut missing);
        note_unread(&own, &mut missing);
        note_unread(&theirs, &mut missing);
        let cross = own
            .known()
            .map_or(CrossAccount::Unknown, |p| cross_account::of_policy(p, Scope::AccessPoint, bucket.owner.as_deref(), context));
        Judgement::new(vec![way], cross, missing)
    }

    /// A request passes both policies: that of the access point, and that of the bucket (or its ACL).
    fn open(&self, own: Option<&Policy>, theirs: Option<&Policy>, blocks: &Blocks, context: &Context) -> (Option<Exposure>, Tri) {
        let Some(own) = own else { return (None, Tri::Unknown) };
        let channel = Channel::AccessPoint { arn: self.arn.clone(), account: self.account_id.clone() };
        let around = surroundings(context, &[own]);
        let own_side = Side { policy: own, grants: &[], arn: &self.arn, object_infix: "/object/" };
        let alone = exposure(std::slice::from_ref(&own_side), &Request { channel: channel.clone(), surroundings: &around, key: None });
        if alone.open == Tri::No {
            return (Some(alone), Tri::No);
        }
        let Some(theirs) = theirs else { return (Some(alone), Tri::Unknown) };
        let acl_in_force = self.bucket.acls_disabled(blocks).negate();
        let grants: Vec<Grant> = self.bucket.acl.known().into_iter().flatten().filter_map(|g| g.as_grant(false)).collect();
        let around = surroundings(context, &[own, theirs]);
        let arn = self.bucket.arn(context);
        let both = |grants: &[Grant]| {
            let bucket_side = Side { policy: theirs, grants, arn: &arn, object_infix: "/" };
            exposure(&[own_side.clone(), bucket_side], &Request { channel: channel.clone(), surroundings: &around, key: None })
        };
        let by_policy = both(&[]);
        let unread_acl = self.bucket.acl.known().is_none();
        if by_policy.open == Tri::Yes || acl_in_force == Tri::No || (grants.is_empty() && !unread_acl) {
            let open = by_policy.open;
            return (Some(by_policy), open);
        }
        if unread_acl {
            return (Some(by_policy), Tri::Unknown);
        }
        let by_acl = both(&grants);
        let open = by_policy.open.or(by_acl.open.and(acl_in_force));
        (Some(by_acl), open)
    }
}
