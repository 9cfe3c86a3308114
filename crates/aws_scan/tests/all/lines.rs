//! The lines of a scan, as they are printed.

use crate::fake::{Fake, Mode, World, world};

fn lines(world: World) -> String {
    let (found, mut summary) = Fake::start(world).scan(&["us-east-1"]).unwrap();
    summary.seconds = 0.0;
    let mut lines: Vec<String> = found.iter().map(|f| serde_json::to_string(f).unwrap()).collect();
    lines.push(serde_json::to_string(&summary).unwrap());
    lines.join("\n")
}

#[test]
fn of_a_healthy_account() {
    insta::assert_snapshot!(lines(world(&["private", "star-acl", "objects", "delegates"])));
}

#[test]
fn of_calls_that_are_denied_or_broken() {
    let with = |action: &str, mode| World { special: Some((action.into(), mode)), ..world(&["star"]) };
    insta::assert_snapshot!("denied", lines(with("s3:GetBucketPublicAccessBlock", Mode::Denied)));
    insta::assert_snapshot!("truncated", lines(with("ec2:DescribeImages", Mode::Truncated)));
}
