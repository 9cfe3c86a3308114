//! Verdicts against the labelled estate, and with facts removed.

use crate::estate::{self, Labelled};
use guard::{Bucket, Context, Fact, Finding, PublicAccessBlock, Resource, Verdict, latent, public};

fn judge(bucket: &Bucket, context: &Context) -> guard::Judgement {
    public(&Resource::Bucket(bucket.clone()), context)
}

#[test]
fn every_label_of_the_estate_is_found() {
    assert!(estate::kinds_count() >= 40);
    let mut wrong = Vec::new();
    for seed in [1, 2, 11] {
        for item in estate::estate(seed, 4) {
            let found = judge(&item.bucket, &item.context);
            let answer = (found.verdict, found.documented, found.effective, found.cross_account);
            let label = (item.verdict(), item.documented, item.effective, item.cross_account);
            if answer != label {
                wrong.push(format!("{}: {answer:?}, labelled {label:?}: {:?}", item.kind, item.bucket.policy.known()));
            }
        }
    }
    wrong.sort();
    wrong.dedup_by_key(|line| line.split(':').next().unwrap().to_string());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The facts that a scan may fail to read.
const FACTS: usize = 6;

fn blind(item: &Labelled, facts: u32) -> (Bucket, Context) {
    let (mut bucket, mut context) = (item.bucket.clone(), item.context.clone());
    let hides = |n: usize| facts & (1 << n) != 0;
    if hides(0) {
        bucket.policy = Fact::denied("s3:GetBucketPolicy");
    }
    if hides(1) {
        bucket.acl = Fact::denied("s3:GetBucketAcl");
    }
    if hides(2) {
        bucket.ownership = Fact::denied("s3:GetBucketOwnershipControls");
    }
    if hides(3) {
        bucket.block = Fact::denied("s3:GetBucketPublicAccessBlock");
    }
    if hides(4) {
        context.account_block = Fact::denied("s3:GetAccountPublicAccessBlock");
    }
    if hides(5) {
        context.organisation_block = Fact::denied("organizations:DescribeEffectivePolicy");
    }
    (bucket, context)
}

/// Facts of `item` where they are not hidden, of `other` where they are.
fn filled(item: &Labelled, other: &Labelled, facts: u32) -> (Bucket, Context) {
    let (mut bucket, mut context) = (item.bucket.clone(), item.context.clone());
    let hides = |n: usize| facts & (1 << n) != 0;
    if hides(0) {
        bucket.policy = match &other.bucket.policy {
            Fact::Known(Some(text)) => Fact::Known(Some(text.replace(&other.bucket.name, &bucket.name))),
            fact => fact.clone(),
        };
    }
    if hides(1) {
        bucket.acl = other.bucket.acl.clone();
    }
    if hides(2) {
        bucket.ownership = other.bucket.ownership.clone();
    }
    if hides(3) {
        bucket.block = other.bucket.block.clone();
    }
    if hides(4) {
        context.account_block = other.context.account_block.clone();
    }
    if hides(5) {
        context.organisation_block = other.context.organisation_block.clone();
    }
    (bucket, context)
}

#[test]
fn a_verdict_without_a_fact_holds_whatever_the_fact_turns_out_to_be() {
    let items = estate::estate(7, 1);
    let mut random = crate::random::Random::new(7);
    for item in &items {
        for facts in 1..(1_u32 << FACTS) {
            let (bucket, context) = blind(item, facts);
            let before = judge(&bucket, &context);
            if before.verdict == Verdict::Unknown {
                assert!(!before.missing.is_empty(), "{}: nothing is named that would answer it", item.kind);
                continue;
            }
            // Public by AWS's rule, whoever gets in: an unread Deny could still stop all of them.
            if before.verdict == Verdict::Public && before.effective == Verdict::Unknown {
                assert_eq!(before.documented, Verdict::Public, "{}", item.kind);
                continue;
            }
            assert!(before.verdict == item.verdict() || item.verdict() == Verdict::Unknown, "{} {facts:b}", item.kind);
            let other = random.pick(&items);
            let (bucket, context) = filled(item, other, facts);
            let after = judge(&bucket, &context).verdict;
            assert!(
                after == before.verdict || after == Verdict::Unknown,
                "{} without {facts:b} is {:?}, with those of {} {after:?}",
                item.kind,
                before.verdict,
                other.kind
            );
        }
    }
}

#[test]
fn an_account_with_all_switches_on_needs_nothing_of_its_buckets() {
    for item in estate::estate(3, 1) {
        let (bucket, mut context) = blind(&item, 0b10_1111);
        context.account_block = Fact::Known(PublicAccessBlock::ALL);
        assert_eq!(judge(&bucket, &context).verdict, Verdict::NotPublic, "{}", item.kind);
    }
}

#[test]
fn scattered_blocks_are_public_in_effect_only() {
    let mut bucket = estate::bucket("b");
    let odd: Vec<String> = (1..256).step_by(2).map(|n| format!("{n}.0.0.0/8")).collect();
    let policy = serde_json::json!({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::b/*", "Condition": {"IpAddress": {"aws:SourceIp": odd}}}});
    bucket.policy = Fact::Known(Some(policy.to_string()));
    let found = judge(&bucket, &estate::context());
    assert_eq!((found.verdict, found.documented, found.effective), (Verdict::Public, Verdict::NotPublic, Verdict::Public));
}

#[test]
fn fingerprints_ignore_spelling_and_change_with_evidence() {
    let of = |kind: &str, seed: u64| {
        let item = estate::estate(seed, 1).into_iter().find(|i| i.kind == kind).unwrap();
        let mut bucket = item.bucket;
        let Fact::Known(Some(text)) = &bucket.policy else { unreachable!() };
        bucket.policy = Fact::Known(Some(text.replace(&bucket.name, "b")));
        bucket.name = "b".into();
        let resource = Resource::Bucket(bucket);
        Finding::new(&resource, &public(&resource, &item.context)).fingerprint
    };
    assert_eq!(of("star", 1), of("star", 2));
    assert_ne!(of("star", 1), of("aws_star", 1));
}

#[test]
fn latent_exposure_is_one_line_an_account() {
    let context = estate::context();
    let (open, locked) = (Fact::Known(PublicAccessBlock::default()), Fact::Known(PublicAccessBlock::ALL));
    assert_eq!(latent(&context, &[&open, &locked, &open]).unwrap().buckets, 2);
    assert_eq!(latent(&context, &[&locked]), None);
    let mut safe = context.clone();
    safe.account_block = Fact::Known(PublicAccessBlock::ALL);
    assert_eq!(latent(&safe, &[&open]), None);
}
