//! One resource of an account, and one setting of it: what a containment is planned on, compares with, and is verified by.
//!
//! Everything is read, also what would not change the verdict: a plan needs the value of the setting that it changes.

use crate::account::context_of;
use crate::ec2_calls::{Ec2, Only};
use crate::rds_calls::{ListedDbSnapshot, Rds};
use crate::reading::{Failures, mapped, unread};
use crate::regional;
use crate::s3_calls::{Acl, ListedBucket, S3};
use aws_client::{AwsError, Client, ErrorKind};
use guard::contain::{Seen, Setting, State, ingress_state};
use guard::{AccessPoint, Bucket, Context, Fact, Object, Resource, public};
use model::Fault;

/// Reads of one account, in one region; buckets are found wherever they are.
pub struct Single<'a> {
    pub(crate) client: &'a Client,
    pub(crate) region: String,
    context: Context,
}

impl<'a> Single<'a> {
    pub fn new(client: &'a Client, region: Option<&str>) -> Result<Single<'a>, Fault> {
        let region = region.unwrap_or(client.region()).to_string();
        Ok(Single { client, region, context: context_of(client)? })
    }

    pub fn in_region(&self, region: &str) -> Single<'a> {
        Single { client: self.client, region: region.to_string(), context: self.context.clone() }
    }

    pub fn account(&self) -> &str {
        &self.context.account_id
    }

    pub fn region(&self) -> &str {
        &self.region
    }

    pub(crate) fn s3(&self) -> S3<'_> {
        S3 { client: self.client, account: &self.context.account_id }
    }

    /// A resource by the `type` and `id` of its finding. None: there is none here. A fact that cannot be read is unknown.
    pub fn resource(&self, kind: &str, id: &str) -> Result<Option<(Resource, Context)>, AwsError> {
        match kind {
            "s3_bucket" => self.bucket(id).map(|found| found.map(|(bucket, context)| (Resource::Bucket(bucket), context))),
            "s3_object" => self.object(id),
            "s3_access_point" => self.access_point(id),
            kind => regional::one(self.client, &self.context, &self.region, kind, id),
        }
    }

    /// What a plan needs beyond the facts.
    pub fn seen(&self, resource: &Resource) -> Seen {
        let mut failures = Failures::default();
        let bucket = match resource {
            Resource::Bucket(bucket) => Some(bucket),
            Resource::Object(object) => Some(&object.bucket),
            Resource::AccessPoint(point) => Some(&point.bucket),
            _ => None,
        };
        let Some(bucket) = bucket.map(|b| listed(&b.name)) else {
            let (block, website) = (unread("s3:GetBucketPublicAccessBlock"), Fact::Known(false));
            let rules = match resource {
                Resource::SecurityGroup(group) => failures.fact(Ec2 { client: self.client, region: &self.region }.rules(&group.id)),
                _ => Fact::Known(Vec::new()),
            };
            return Seen { bucket_block: block, account_block: unread("s3:GetAccountPublicAccessBlock"), website, rules };
        };
        Seen {
            bucket_block: failures.fact(self.s3().configuration(&bucket)),
            account_block: failures.fact(self.s3().account_configuration()),
            website: failures.fact(self.s3().website(&bucket)),
            rules: Fact::Known(Vec::new()),
        }
    }

    /// The value that a setting has now. `Gone`: what it is a setting of is not there.
    pub fn state(&self, setting: &Setting) -> Result<State, AwsError> {
        let (s3, ec2) = (self.s3(), Ec2 { client: self.client, region: &self.region });
        let rds = Rds { client: self.client, region: &self.region };
        let state = match setting {
            Setting::BucketBlock { bucket } => s3.configuration(&listed(bucket)).map(State::Block),
            Setting::AccountBlock { .. } => s3.account_configuration().map(State::Block),
            Setting::BucketPolicy { bucket } => s3.policy(&listed(bucket)).map(State::Policy),
            Setting::LaunchPermission { image } => ec2.launch_permission(image).map(|s| State::On(s.with_all)),
            Setting::CreateVolumePermission { snapshot } => ec2.create_volume_permission(snapshot).map(|s| State::On(s.with_all)),
            Setting::RestorePermission { snapshot, of_cluster } => {
                let snapshot = ListedDbSnapshot { id: snapshot.clone(), of_cluster: *of_cluster, encrypted: None };
                rds.restore(&snapshot).map(|values| State::On(values.iter().any(|v| v == "all")))
            }
            Setting::PubliclyAccessible { instance } => match rds.instances(Some(instance)) {
                (_, Some(error)) => Err(error),
                (found, None) => match found.iter().find(|i| i.id == *instance) {
                    None => Ok(State::Gone),
                    Some(found) => found.publicly_accessible.map(State::On).ok_or_else(|| {
                        AwsError::broken("rds:DescribeDBInstances", "the answer does not say whether the instance is publicly accessible")
                    }),
                },
            },
            Setting::Ingress { group, rules, .. } => match ec2.groups(Only(Some(group))) {
                (_, Some(error)) => Err(error),
                (found, None) => Ok(found.iter().find(|(id, _)| id == group).map_or(State::Gone, |(_, now)| ingress_state(rules, now))),
            },
            Setting::FileMode { .. } | Setting::FirewallDrop { .. } => Ok(State::Gone),
        };
        match state {
            Err(e) if e.kind == ErrorKind::NotFound => Ok(State::Gone),
            other => other,
        }
    }

    fn bucket(&self, name: &str) -> Result<Option<(Bucket, Context)>, AwsError> {
        let (s3, bucket) = (self.s3(), listed(name));
        let acl = match s3.acl(&bucket) {
            Err(e) if e.kind == ErrorKind::NotFound && e.code == "NoSuchBucket" => return Ok(None),
            acl => acl,
        };
        let mut failures = Failures::default();
        let acl = failures.fact(acl);
        let facts = Bucket {
            name: name.to_string(),
            policy: failures.fact(s3.policy(&bucket)),
            owner: acl.known().and_then(|a| a.owner.clone()),
            acl: mapped(acl, |acl: Acl| acl.grants),
            ownership: failures.fact(s3.ownership(&bucket)),
            block: failures.fact(s3.block(&bucket)),
        };
        let mut context = self.context.clone();
        context.account_block = failures.fact(s3.account_block());
        Ok(Some((facts, context)))
    }

    fn object(&self, id: &str) -> Result<Option<(Resource, Context)>, AwsError> {
        let Some((name, key)) = id.split_once('/') else { return Ok(None) };
        let Some((bucket, context)) = self.bucket(name)? else { return Ok(None) };
        let acl = match self.s3().object_acl(&listed(name), key) {
            Err(e) if e.kind == ErrorKind::NotFound && e.code == "NoSuchKey" => return Ok(None),
            acl => Failures::default().fact(acl),
        };
        let acl = mapped(acl, |acl: Acl| acl.grants);
        Ok(Some((Resource::Object(Object { bucket, key: key.to_string(), acl }), context)))
    }

    fn access_point(&self, name: &str) -> Result<Option<(Resource, Context)>, AwsError> {
        let s3 = self.s3();
        let (points, error) = s3.access_points(&self.region);
        let Some(point) = points.into_iter().find(|p| p.name == name) else {
            return error.map_or_else(|| self.multi_region(name), Err);
        };
        let Some((bucket, context)) = self.bucket(&point.bucket)? else { return Ok(None) };
        let mut failures = Failures::default();
        let facts = AccessPoint {
            name: point.name.clone(),
            arn: point.arn.clone(),
            account_id: self.context.account_id.clone(),
            network_origin: Fact::Known(point.network_origin.clone()),
            policy: failures.fact(s3.access_point_policy(&point)),
            block: failures.fact(s3.access_point_block(&point)),
            other_account_block: None,
            bucket,
        };
        Ok(Some((Resource::AccessPoint(facts), context)))
    }

    /// With the most public of its buckets. What is in other accounts cannot be read.
    fn multi_region(&self, name: &str) -> Result<Option<(Resource, Context)>, AwsError> {
        let s3 = self.s3();
        let (points, error) = s3.multi_region_access_points();
        let Some(found) = points.into_iter().find(|p| p.point.name == name) else { return error.map_or(Ok(None), Err) };
        let mut failures = Failures::default();
        let policy = failures.fact(s3.multi_region_policy(name));
        let mut all = Vec::new();
        for (bucket, owner) in &found.buckets {
            let own = owner.as_ref().is_none_or(|owner| *owner == self.context.account_id);
            let Some((bucket, context)) = (if own { self.bucket(&bucket.name)? } else { None }) else { continue };
            let facts = AccessPoint {
                name: name.to_string(),
                arn: found.point.arn.clone(),
                account_id: self.context.account_id.clone(),
                network_origin: Fact::Known(found.point.network_origin.clone()),
                policy: policy.clone(),
                block: Fact::Known(found.block),
                other_account_block: None,
                bucket,
            };
            all.push((Resource::AccessPoint(facts), context));
        }
        Ok(all.into_iter().max_by_key(|(resource, context)| public(resource, context).verdict))
    }
}

pub(crate) fn listed(name: &str) -> ListedBucket {
    ListedBucket { name: name.to_string(), region: None }
}
