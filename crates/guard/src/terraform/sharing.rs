//! Machine images and database snapshots of a plan that are shared.

use super::planned::map;
use super::{Plan, PlannedResource, naming, worst};
use crate::ec2::{Ami, Sharing};
use crate::rds::RdsSnapshot;
use crate::verdict::Resource;

pub const IMAGES: [&str; 1] = ["aws_ami_launch_permission"];
const OF_INSTANCE: [&str; 2] = ["aws_db_snapshot", "aws_db_snapshot_copy"];
pub const SNAPSHOTS: [&str; 4] = [OF_INSTANCE[0], OF_INSTANCE[1], "aws_db_cluster_snapshot", "aws_rds_cluster_snapshot_copy"];

pub fn judged(plan: &Plan) -> Vec<PlannedResource> {
    let places = plan.of_kinds(&IMAGES).chain(plan.of_kinds(&SNAPSHOTS));
    let found = places.filter_map(|place| {
        let planned = &plan.all[place];
        let id = planned.address.to_string();
        let resource = if IMAGES.contains(&planned.kind) {
            let with_all = |group: Option<&serde_json::Value>| group.is_some_and(|v| v == "all");
            let sharing = map(planned.value("group"), |group| Sharing { with_all: with_all(group), accounts: Vec::new() });
            Resource::Ami(Ami { id, launch_permission: sharing })
        } else {
            let of_cluster = !OF_INSTANCE.contains(&planned.kind);
            let encrypted = planned.flag(if of_cluster { "storage_encrypted" } else { "encrypted" });
            Resource::RdsSnapshot(RdsSnapshot { id, of_cluster, encrypted, restore: planned.texts("shared_accounts") })
        };
        worst(planned, [(resource, plan.account.context(planned, &naming::partition(None, None)))])
    });
    found.collect()
}
