//! The actions of S3 that a resource policy can grant, by what they expose.
//!
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html>

use super::pattern::Pattern;
use serde::Serialize;

/// What somebody can do with a grant. The order is that of harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Settings only: location, versioning, tags of the bucket.
    Settings,
    /// Who else may read.
    Acl,
    /// The names of objects.
    List,
    /// The content of objects.
    Read,
    /// Objects can be written or deleted.
    Write,
    /// The access rules themselves can be changed.
    Control,
}

impl Class {
    pub fn phrase(self) -> &'static str {
        match self {
            Class::Settings => "read its settings",
            Class::Acl => "read its access control list",
            Class::List => "list its objects",
            Class::Read => "read its objects",
            Class::Write => "write or delete its objects",
            Class::Control => "change who has access",
        }
    }

    /// Said of one object.
    pub fn phrase_of_object(self) -> &'static str {
        match self {
            Class::List | Class::Read => "read it",
            Class::Write => "overwrite or delete it",
            other => other.phrase(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action<'a> {
    pub name: &'a str,
    /// On `bucket/key`, otherwise on the bucket.
    pub of_object: bool,
    pub class: Class,
}

const fn bucket(name: &'static str, class: Class) -> Action<'static> {
    Action { name, of_object: false, class }
}

const fn object(name: &'static str, class: Class) -> Action<'static> {
    Action { name, of_object: true, class }
}

/// Worst first, so that the search for the worst exposure ends early.
pub const S3: &[Action<'static>] = &[
    bucket("s3:PutBucketPolicy", Class::Control),
    bucket("s3:DeleteBucketPolicy", Class::Control),
    bucket("s3:PutBucketAcl", Class::Control),
    bucket("s3:PutBucketPublicAccessBlock", Class::Control),
    bucket("s3:PutBucketOwnershipControls", Class::Control),
    object("s3:PutObjectAcl", Class::Control),
    object("s3:PutObjectVersionAcl", Class::Control),
    object("s3:ObjectOwnerOverrideToBucketOwner", Class::Control),
    object("s3:PutObject", Class::Write),
    object("s3:DeleteObject", Class::Write),
    object("s3:DeleteObjectVersion", Class::Write),
    object("s3:PutObjectTagging", Class::Write),
    object("s3:PutObjectVersionTagging", Class::Write),
    object("s3:DeleteObjectTagging", Class::Write),
    object("s3:DeleteObjectVersionTagging", Class::Write),
    object("s3:PutObjectRetention", Class::Write),
    object("s3:PutObjectLegalHold", Class::Write),
    object("s3:BypassGovernanceRetention", Class::Write),
    object("s3:AbortMultipartUpload", Class::Write),
    object("s3:RestoreObject", Class::Write),
    object("s3:ReplicateObject", Class::Write),
    object("s3:ReplicateDelete", Class::Write),
    object("s3:ReplicateTags", Class::Write),
    object("s3:InitiateReplication", Class::Write),
    object("s3:UpdateObjectEncryption", Class::Write),
    bucket("s3:DeleteBucket", Class::Write),
    bucket("s3:DeleteBucketWebsite", Class::Write),
    bucket("s3:PutBucketWebsite", Class::Write),
    bucket("s3:PutBucketCORS", Class::Write),
    bucket("s3:PutBucketLogging", Class::Write),
    bucket("s3:PutBucketNotification", Class::Write),
    bucket("s3:PutBucketObjectLockConfiguration", Class::Write),
    bucket("s3:PutBucketTagging", Class::Write),
    bucket("s3:PutBucketVersioning", Class::Write),
    bucket("s3:PutEncryptionConfiguration", Class::Write),
    bucket("s3:PutLifecycleConfiguration", Class::Write),
    bucket("s3:PutReplicationConfiguration", Class::Write),
    bucket("s3:PutInventoryConfiguration", Class::Write),
    bucket("s3:PutAccelerateConfiguration", Class::Write),
    bucket("s3:PutAnalyticsConfiguration", Class::Write),
    bucket("s3:PutBucketRequestPayment", Class::Write),
    bucket("s3:PutIntelligentTieringConfiguration", Class::Write),
    bucket("s3:PutMetricsConfiguration", Class::Write),
    bucket("s3:TagResource", Class::Write),
    bucket("s3:UntagResource", Class::Write),
    object("s3:GetObject", Class::Read),
    object("s3:GetObjectVersion", Class::Read),
    object("s3:GetObjectTorrent", Class::Read),
    object("s3:GetObjectVersionTorrent", Class::Read),
    object("s3:GetObjectVersionForReplication", Class::Read),
    bucket("s3:ListBucket", Class::List),
    bucket("s3:ListBucketVersions", Class::List),
    bucket("s3:ListBucketMultipartUploads", Class::List),
    object("s3:ListMultipartUploadParts", Class::List),
    bucket("s3:GetBucketAcl", Class::Acl),
    bucket("s3:GetBucketPolicy", Class::Acl),
    object("s3:GetObjectAcl", Class::Acl),
    object("s3:GetObjectVersionAcl", Class::Acl),
    object("s3:GetObjectAttributes", Class::Settings),
    object("s3:GetObjectVersionAttributes", Class::Settings),
    object("s3:GetObjectTagging", Class::Settings),
    object("s3:GetObjectVersionTagging", Class::Settings),
    object("s3:GetObjectRetention", Class::Settings),
    object("s3:GetObjectLegalHold", Class::Settings),
    bucket("s3:GetAccelerateConfiguration", Class::Settings),
    bucket("s3:GetAnalyticsConfiguration", Class::Settings),
    bucket("s3:GetBucketCORS", Class::Settings),
    bucket("s3:GetBucketLocation", Class::Settings),
    bucket("s3:GetBucketLogging", Class::Settings),
    bucket("s3:GetBucketNotification", Class::Settings),
    bucket("s3:GetBucketObjectLockConfiguration", Class::Settings),
    bucket("s3:GetBucketOwnershipControls", Class::Settings),
    bucket("s3:GetBucketPolicyStatus", Class::Settings),
    bucket("s3:GetBucketPublicAccessBlock", Class::Settings),
    bucket("s3:GetBucketRequestPayment", Class::Settings),
    bucket("s3:GetBucketTagging", Class::Settings),
    bucket("s3:GetBucketVersioning", Class::Settings),
    bucket("s3:GetBucketWebsite", Class::Settings),
    bucket("s3:GetEncryptionConfiguration", Class::Settings),
    bucket("s3:GetInventoryConfiguration", Class::Settings),
    bucket("s3:GetIntelligentTieringConfiguration", Class::Settings),
    bucket("s3:GetLifecycleConfiguration", Class::Settings),
    bucket("s3:GetMetricsConfiguration", Class::Settings),
    bucket("s3:GetReplicationConfiguration", Class::Settings),
    bucket("s3:ListTagsForResource", Class::Settings),
];

/// Actions that AWS may have added since: those that a pattern names and the table has not, of a bucket and of an object.
pub fn beyond_table<'a>(patterns: impl Iterator<Item = &'a Pattern>) -> Vec<Action<'a>> {
    let is_of_s3 = |text: &str| text.get(..3).is_some_and(|prefix| prefix.eq_ignore_ascii_case("s3:"));
    let is_new = |p: &&Pattern| is_of_s3(&p.text) && !S3.iter().any(|action| p.matches_ignoring_case(action.name));
    let names = patterns.filter(is_new).map(|p| p.text.as_str());
    names.flat_map(|name| [true, false].map(|of_object| Action { name, of_object, class: Class::Settings })).collect()
}
