//! Grants of S3 access control lists.

use crate::policy::effective::Grant;
use serde_json::json;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclGrant {
    pub grantee: Grantee,
    /// `READ`, `WRITE`, `READ_ACP`, `WRITE_ACP`, `FULL_CONTROL`.
    pub permission: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grantee {
    /// A canonical user ID.
    User(String),
    Email(String),
    /// The URI of a predefined group.
    Group(String),
}

/// What their URIs end with. China has another host for them.
const ALL_USERS: &str = "/groups/global/AllUsers";
const AUTHENTICATED_USERS: &str = "/groups/global/AuthenticatedUsers";

impl AclGrant {
    /// AWS: public if it grants any permission to one of the two groups.
    pub fn is_public(&self) -> bool {
        matches!(&self.grantee, Grantee::Group(uri) if uri.ends_with(ALL_USERS) || uri.ends_with(AUTHENTICATED_USERS))
    }

    pub(crate) fn as_grant(&self, of_object: bool) -> Option<Grant> {
        let Grantee::Group(uri) = &self.grantee else { return None };
        if !self.is_public() {
            return None;
        }
        let source = json!({"Grantee": {"Type": "Group", "URI": uri}, "Permission": self.permission});
        Some(Grant::new(uri.ends_with(AUTHENTICATED_USERS), actions_of(&self.permission, of_object), source))
    }
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html#permissions>
fn actions_of(permission: &str, of_object: bool) -> &'static [&'static str] {
    match (permission, of_object) {
        ("READ", false) => &["s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads"],
        ("WRITE", false) => &["s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion"],
        ("READ_ACP", false) => &["s3:GetBucketAcl"],
        ("WRITE_ACP", false) => &["s3:PutBucketAcl"],
        ("READ", true) => &["s3:GetObject", "s3:GetObjectVersion"],
        ("READ_ACP", true) => &["s3:GetObjectAcl", "s3:GetObjectVersionAcl"],
        ("WRITE_ACP", true) => &["s3:PutObjectAcl", "s3:PutObjectVersionAcl"],
        ("FULL_CONTROL", false) => {
            &["s3:ListBucket", "s3:ListBucketVersions", "s3:PutObject", "s3:DeleteObject", "s3:GetBucketAcl", "s3:PutBucketAcl"]
        }
        ("FULL_CONTROL", true) => &["s3:GetObject", "s3:GetObjectAcl", "s3:PutObjectAcl"],
        // WRITE on an object means nothing to S3; an unknown permission is taken for everything.
        ("WRITE", true) => &[],
        _ => &["s3:*"],
    }
}
