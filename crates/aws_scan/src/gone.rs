//! Whether a resource is proved not to exist any more.

use crate::ec2_calls::Ec2;
use crate::rds_calls::Rds;
use crate::s3_calls::ListedAccessPoint;
use crate::single::{Single, listed};
use aws_client::{AwsError, ErrorKind};

impl Single<'_> {
    /// Asks for it by name. Only an answer that says so proves it: an empty listing and a denied call do not.
    pub fn is_gone(&self, kind: &str, id: &str) -> Result<bool, AwsError> {
        let (s3, ec2, rds) =
            (self.s3(), Ec2 { client: self.client, region: &self.region }, Rds { client: self.client, region: &self.region });
        let (answer, codes): (Result<(), AwsError>, &[&str]) = match kind {
            "s3_bucket" => (s3.acl(&listed(id)).map(drop), &["NoSuchBucket"]),
            "s3_object" => match id.split_once('/') {
                Some((bucket, key)) => (s3.object_acl(&listed(bucket), key).map(drop), &["NoSuchBucket", "NoSuchKey"]),
                None => return Ok(false),
            },
            "s3_access_point" => {
                // One of several regions is not found by this call.
                let (found, error) = s3.multi_region_access_points();
                if found.iter().any(|listed| listed.point.name == id) || error.is_some() {
                    return error.map_or(Ok(false), Err);
                }
                (s3.access_point_block(&self.access_point_of(id)).map(drop), &["NoSuchAccessPoint"])
            }
            "ami" => (ec2.by_name("ec2:DescribeImages", "ImageId.1", id), &["InvalidAMIID.NotFound"]),
            "ebs_snapshot" => (ec2.by_name("ec2:DescribeSnapshots", "SnapshotId.1", id), &["InvalidSnapshot.NotFound"]),
            "security_group" => {
                (ec2.by_name("ec2:DescribeSecurityGroups", "GroupId.1", id), &["InvalidGroup.NotFound", "InvalidSecurityGroupID.NotFound"])
            }
            "rds_instance" => (whole(rds.instances(Some(id))), &["DBInstanceNotFound"]),
            "rds_snapshot" => (whole(rds.snapshots(false, Some(id))), &["DBSnapshotNotFound"]),
            "rds_cluster_snapshot" => (whole(rds.snapshots(true, Some(id))), &["DBClusterSnapshotNotFound"]),
            _ => return Ok(false),
        };
        match answer {
            Err(e) if e.kind == ErrorKind::NotFound && codes.contains(&e.code.trim_end_matches("Fault")) => Ok(true),
            Err(e) => Err(e),
            Ok(()) => Ok(false),
        }
    }

    fn access_point_of(&self, name: &str) -> ListedAccessPoint {
        ListedAccessPoint {
            name: name.to_string(),
            arn: String::new(),
            bucket: String::new(),
            bucket_account: None,
            network_origin: String::new(),
            region: self.region.clone(),
        }
    }
}

fn whole<T>((_, error): (Vec<T>, Option<AwsError>)) -> Result<(), AwsError> {
    error.map_or(Ok(()), Err)
}
