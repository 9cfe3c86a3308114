//! How many calls a scan makes, and how it goes from page to page.

use crate::fake::{Fake, Mode, World, block, world};
use guard::Verdict;

#[test]
fn an_account_whose_block_is_on_needs_two_calls() {
    let fake = Fake::start(World { account_block: Some(block(true, true)), ..world(&["star", "acl"]) });
    let choice = aws_scan::Choice { services: aws_scan::Services { s3: true, ec2: false, rds: false }, regions: Vec::new(), sample: 3 };
    let mut found = Vec::new();
    let summary = aws_scan::scan(&fake.client(), &choice, &mut |event| {
        if let aws_scan::Event::Found(one) = event {
            found.push(*one);
        }
    });
    let summary = summary.unwrap();
    assert_eq!((summary.calls, summary.public, summary.unknown, summary.latent), (2, 0, 0, None));
    assert_eq!((found.len(), found[0].kind.as_str(), found[0].verdict), (1, "s3_account", Verdict::NotPublic));
}

#[test]
fn a_call_is_made_only_if_its_answer_could_change_the_verdict() {
    for (bucket, block, ownership) in [
        ("private", 0, 0),
        ("own", 0, 0),
        ("star", 1, 0),
        ("acl", 1, 1),
        ("acl-ignored", 1, 0),
        ("star-restricted", 1, 0),
        ("star-acl", 1, 1),
    ] {
        let fake = Fake::start(world(&[bucket]));
        fake.scan(&["us-east-1"]).unwrap();
        let made = ["s3:GetBucketPolicy", "s3:GetBucketAcl", "s3:GetBucketPublicAccessBlock", "s3:GetBucketOwnershipControls"];
        assert_eq!(made.map(|action| fake.count(action)), [1, 1, block, ownership], "{bucket}");
    }
}

#[test]
fn objects_are_not_read_where_their_acls_are_off() {
    for (bucket, acls) in [("private", 0), ("objects", 2), ("objects-ignored", 0), ("objects-enforced", 0)] {
        let fake = Fake::start(world(&[bucket]));
        fake.scan(&["us-east-1"]).unwrap();
        assert_eq!(fake.count("s3:GetObjectAcl"), acls, "{bucket}");
    }
}

#[test]
fn listings_go_on_to_their_last_page() {
    let fake = Fake::start(World { page: 2, ..world(&["a", "star", "c", "d", "e-star"]) });
    let (found, summary) = fake.scan(&["us-east-1"]).unwrap();
    let buckets: Vec<&str> = found.iter().filter(|f| f.kind == "s3_bucket").map(|f| f.id.as_str()).collect();
    assert_eq!(buckets, ["a", "star", "c", "d", "e-star"]);
    assert_eq!((fake.count("s3:ListAllMyBuckets"), summary.exit_code()), (3, 1));
}

#[test]
fn a_region_that_cannot_be_named_is_not_passed_over() {
    let fake = Fake::start(World { special: Some(("ec2:DescribeRegions".into(), Mode::Denied)), ..world(&[]) });
    let (found, _) = fake.scan(&[]).unwrap();
    let line = found.iter().find(|f| f.id == "other regions/*").unwrap();
    assert_eq!(line.verdict, Verdict::Unknown);
    assert!(line.fix.contains("ec2:DescribeRegions"), "{}", line.fix);
}

#[test]
fn keys_that_are_listed_again_and_again_are_not_all() {
    let fake = Fake::start(world(&["objects-endless"]));
    let (found, _) = fake.scan(&["us-east-1"]).unwrap();
    let line = found.iter().find(|f| f.id == "objects-endless/*").unwrap();
    assert_eq!((line.kind.as_str(), line.verdict), ("s3_object", Verdict::Unknown));
    assert_eq!(fake.count("s3:ListBucket"), 2);
}

#[test]
fn an_access_point_of_several_regions_is_as_public_as_with_the_most_public_of_its_buckets() {
    let fake = Fake::start(world(&["delegates", "delegates-restricted"]));
    let (found, _) = fake.scan(&["us-east-1"]).unwrap();
    let verdict = |id: &str| found.iter().find(|f| f.id == id).unwrap().verdict;
    assert_eq!(["mr-public", "mr-shut", "mr-blocked-public"].map(verdict), [Verdict::Public, Verdict::NotPublic, Verdict::NotPublic]);
    // One that is shut by itself needs nothing of its buckets.
    assert_eq!(fake.count("s3:GetBucketPolicy"), 4);
}
