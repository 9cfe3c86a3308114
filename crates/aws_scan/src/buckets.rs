//! One bucket with its objects and access points, read lazily: each call is made only if what it answers could change what is said.

use crate::reading::{Failures, finding, is_undecided, mapped, unlisted, unread};
use crate::s3_calls::{Acl, ListedAccessPoint, ListedBucket, ListedMultiRegionAccessPoint, S3};
use guard::{AccessPoint, AclGrant, Bucket, Context, Fact, Finding, Object, Ownership, PublicAccessBlock, Resource, Verdict, public};

const BLOCK: &str = "s3:GetBucketPublicAccessBlock";
const OWNERSHIP: &str = "s3:GetBucketOwnershipControls";

/// What is read of a bucket so far. A fact that was not asked for is `Unknown`.
pub struct Reader<'a> {
    pub s3: S3<'a>,
    pub context: &'a Context,
    /// Of the account's block.
    pub of_account: &'a Failures,
    /// Objects of a bucket that are scanned.
    pub sample: usize,
}

struct Read {
    listed: ListedBucket,
    facts: Bucket,
    failures: Failures,
    has_block: bool,
    has_ownership: bool,
}

impl Reader<'_> {
    /// The lines of a bucket, its objects, and the access points that lead to it.
    pub fn findings(&self, listed: &ListedBucket, points: &[ListedAccessPoint]) -> Vec<Finding> {
        let mut read = self.bucket(listed);
        let mut found = vec![finding(&Resource::Bucket(read.facts.clone()), self.context, &read.failures, None)];
        if self.sample > 0 {
            found.extend(self.objects(&mut read));
        }
        found.extend(points.iter().map(|point| self.access_point(&mut read, point)));
        found
    }

    fn bucket(&self, listed: &ListedBucket) -> Read {
        let mut failures = self.of_account.clone();
        let policy = failures.fact(self.s3.policy(listed));
        let acl = failures.fact(self.s3.acl(listed));
        let owner = acl.known().and_then(|a| a.owner.clone());
        let facts = Bucket {
            name: listed.name.clone(),
            policy,
            acl: mapped(acl, |acl: Acl| acl.grants),
            owner,
            ownership: unread(OWNERSHIP),
            block: unread(BLOCK),
        };
        let mut read = Read { listed: listed.clone(), facts, failures, has_block: false, has_ownership: false };
        let undecided = |read: &Read| is_undecided(&public(&Resource::Bucket(read.facts.clone()), self.context));
        let has_public_grant = read.facts.acl.known().is_some_and(|grants| grants.iter().any(AclGrant::is_public));
        if undecided(&read) {
            self.block(&mut read);
        }
        // Where the policy decides already, the ACL is still a way in that the line names.
        if undecided(&read) || (has_public_grant && !self.ignores_acls(&read)) {
            self.ownership(&mut read);
        }
        read
    }

    fn block(&self, read: &mut Read) {
        if !std::mem::replace(&mut read.has_block, true) {
            read.facts.block = read.failures.fact(self.s3.block(&read.listed));
        }
    }

    fn ownership(&self, read: &mut Read) {
        if !std::mem::replace(&mut read.has_ownership, true) {
            read.facts.ownership = read.failures.fact(self.s3.ownership(&read.listed));
        }
    }

    fn ignores_acls(&self, read: &Read) -> bool {
        let ignores = |block: &Fact<PublicAccessBlock>| block.known().is_some_and(|b| b.ignore_public_acls);
        ignores(&self.context.account_block) || ignores(&read.facts.block)
    }

    fn has_acls_off(&self, read: &Read) -> bool {
        self.ignores_acls(read) || read.facts.ownership.known() == Some(&Ownership::BucketOwnerEnforced)
    }

    /// A sample of the objects. Where ACLs are off, an object is as exposed as the policy of its bucket, which has a line already.
    fn objects(&self, read: &mut Read) -> Vec<Finding> {
        if self.has_acls_off(read) {
            return Vec::new();
        }
        let (keys, error) = self.s3.keys(&read.listed, self.sample);
        let mut found: Vec<Finding> = error.iter().map(|e| unlisted("s3_object", &read.listed.name, e)).collect();
        if keys.is_empty() {
            return found;
        }
        self.ownership(read);
        if self.has_acls_off(read) {
            return found;
        }
        self.block(read);
        if self.has_acls_off(read) {
            return found;
        }
        for key in keys {
            let mut failures = read.failures.clone();
            let acl = failures.fact(self.s3.object_acl(&read.listed, &key));
            let object = Object { bucket: read.facts.clone(), key, acl: mapped(acl, |acl: Acl| acl.grants) };
            found.push(finding(&Resource::Object(object), self.context, &failures, None));
        }
        found
    }

    fn access_point(&self, read: &mut Read, point: &ListedAccessPoint) -> Finding {
        let mut failures = Failures::default();
        let policy = failures.fact(self.s3.access_point_policy(point));
        let mut facts = access_point(self.s3.account, point, policy, read.facts.clone());
        let undecided = |facts: &AccessPoint| is_undecided(&public(&Resource::AccessPoint(facts.clone()), self.context));
        if undecided(&facts) {
            facts.block = failures.fact(self.s3.access_point_block(point));
        }
        if undecided(&facts) {
            self.block(read);
            facts.bucket = read.facts.clone();
        }
        if undecided(&facts) {
            self.ownership(read);
            facts.bucket = read.facts.clone();
        }
        failures.add(&read.failures);
        finding(&Resource::AccessPoint(facts), self.context, &failures, Some(&point.region))
    }

    /// It is as public as it is with the most public of its buckets.
    pub fn multi_region(&self, listed: &ListedMultiRegionAccessPoint) -> Finding {
        let mut failures = self.of_account.clone();
        let policy = failures.fact(self.s3.multi_region_policy(&listed.point.name));
        let judged = listed.buckets.iter().map(|(bucket, owner)| {
            let is_foreign = owner.as_ref().is_some_and(|owner| owner != self.s3.account);
            let mut read = self.unreadable(&bucket.name);
            let mut facts = access_point(self.s3.account, &listed.point, policy.clone(), read.facts.clone());
            facts.block = Fact::Known(listed.block);
            let undecided = |facts: &AccessPoint| is_undecided(&public(&Resource::AccessPoint(facts.clone()), self.context));
            if !is_foreign && undecided(&facts) {
                read = self.bucket(bucket);
                facts.bucket = read.facts.clone();
            }
            if !is_foreign && undecided(&facts) {
                self.block(&mut read);
                self.ownership(&mut read);
                facts.bucket = read.facts.clone();
            }
            let mut failures = failures.clone();
            failures.add(&read.failures);
            finding(&Resource::AccessPoint(facts), self.context, &failures, Some(&listed.point.region))
        });
        let nothing = || finding(&Resource::AccessPoint(self.of_no_bucket(&listed.point)), self.context, &failures, None);
        judged.max_by_key(|found| found.verdict).unwrap_or_else(nothing)
    }

    /// An access point without buckets. Nothing of it is known to be open, and nothing is proved.
    fn of_no_bucket(&self, point: &ListedAccessPoint) -> AccessPoint {
        access_point(self.s3.account, point, unread("s3:GetMultiRegionAccessPointPolicy"), self.unreadable(&point.bucket).facts)
    }

    fn unreadable(&self, name: &str) -> Read {
        let facts = Bucket {
            name: name.to_string(),
            policy: unread("s3:GetBucketPolicy"),
            acl: unread("s3:GetBucketAcl"),
            owner: None,
            ownership: unread(OWNERSHIP),
            block: unread(BLOCK),
        };
        let listed = ListedBucket { name: name.to_string(), region: None };
        Read { listed, facts, failures: self.of_account.clone(), has_block: true, has_ownership: true }
    }

    /// An access point to a bucket of another account, of which nothing can be read.
    pub fn foreign_access_point(&self, point: &ListedAccessPoint) -> Finding {
        let mut failures = self.of_account.clone();
        let policy = failures.fact(self.s3.access_point_policy(point));
        let bucket = self.unreadable(&point.bucket).facts;
        let mut facts = access_point(self.s3.account, point, policy, bucket);
        facts.other_account_block = Some(unread("s3:GetAccountPublicAccessBlock"));
        if public(&Resource::AccessPoint(facts.clone()), self.context).verdict == Verdict::Unknown {
            facts.block = failures.fact(self.s3.access_point_block(point));
        }
        let mut found = finding(&Resource::AccessPoint(facts), self.context, &failures, Some(&point.region));
        if found.verdict == Verdict::Unknown {
            let owner = point.bucket_account.as_deref().unwrap_or("not known");
            found.why = format!("{}; its bucket {} belongs to another account ({owner})", found.why, point.bucket);
            found.fix = format!("scan the account of bucket {}, or turn on the access point's public access block", point.bucket);
        }
        found
    }
}

fn access_point(account: &str, point: &ListedAccessPoint, policy: Fact<Option<String>>, bucket: Bucket) -> AccessPoint {
    AccessPoint {
        name: point.name.clone(),
        arn: point.arn.clone(),
        account_id: account.to_string(),
        network_origin: Fact::Known(point.network_origin.clone()),
        policy,
        block: unread("s3:GetAccessPoint"),
        other_account_block: None,
        bucket,
    }
}
