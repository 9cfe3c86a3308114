//! The one verdict function, and what it answers.

use crate::ec2::{Ami, EbsSnapshot, SecurityGroup};
use crate::judgement::{Context, Judgement};
use crate::rds::{RdsInstance, RdsSnapshot};
use crate::s3::{AccessPoint, Bucket, Object};

#[derive(Debug, Clone)]
pub enum Resource {
    Bucket(Bucket),
    Object(Object),
    AccessPoint(AccessPoint),
    Ami(Ami),
    EbsSnapshot(EbsSnapshot),
    RdsSnapshot(RdsSnapshot),
    RdsInstance(RdsInstance),
    SecurityGroup(SecurityGroup),
}

impl Resource {
    /// The `type` of a finding.
    pub fn kind(&self) -> &'static str {
        match self {
            Resource::Bucket(_) => "s3_bucket",
            Resource::Object(_) => "s3_object",
            Resource::AccessPoint(_) => "s3_access_point",
            Resource::Ami(_) => "ami",
            Resource::EbsSnapshot(_) => "ebs_snapshot",
            Resource::RdsSnapshot(s) if s.of_cluster => "rds_cluster_snapshot",
            Resource::RdsSnapshot(_) => "rds_snapshot",
            Resource::RdsInstance(_) => "rds_instance",
            Resource::SecurityGroup(_) => "security_group",
        }
    }

    pub fn id(&self) -> String {
        match self {
            Resource::Bucket(r) => r.name.clone(),
            Resource::Object(r) => format!("{}/{}", r.bucket.name, r.key),
            Resource::AccessPoint(r) => r.name.clone(),
            Resource::Ami(r) => r.id.clone(),
            Resource::EbsSnapshot(r) => r.id.clone(),
            Resource::RdsSnapshot(r) => r.id.clone(),
            Resource::RdsInstance(r) => r.id.clone(),
            Resource::SecurityGroup(r) => r.id.clone(),
        }
    }
}

/// Whether strangers have access to a resource. Scans, gates and containment all ask here.
pub fn public(resource: &Resource, context: &Context) -> Judgement {
    match resource {
        Resource::Bucket(bucket) => bucket.judge(context),
        Resource::Object(object) => object.judge(context),
        Resource::AccessPoint(access_point) => access_point.judge(context),
        Resource::Ami(ami) => ami.judge(context),
        Resource::EbsSnapshot(snapshot) => snapshot.judge(context),
        Resource::RdsSnapshot(snapshot) => snapshot.judge(context),
        Resource::RdsInstance(instance) => instance.judge(),
        Resource::SecurityGroup(group) => group.judge(),
    }
}
