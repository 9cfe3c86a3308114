//! The scan of S3: the account's block first, since it may answer for every bucket; then bucket by bucket.

use crate::buckets::Reader;
use crate::parallel::ordered;
use crate::reading::{Failures, unlisted, unread};
use crate::s3_calls::{ListedAccessPoint, ListedBucket, S3};
use crate::told::Event;
use aws_client::Client;
use guard::{Blocks, Context, CrossAccount, Fact, Finding, PublicAccessBlock, Severity, Tri, Verdict, fingerprint};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const OF_BUCKETS: &[&str] = &[
    "s3:GetAccountPublicAccessBlock",
    "s3:GetBucketAcl",
    "s3:GetBucketOwnershipControls",
    "s3:GetBucketPolicy",
    "s3:GetBucketPublicAccessBlock",
    "s3:ListAllMyBuckets",
];

pub fn calls_a_bucket(calls: &BTreeMap<&'static str, u64>, buckets: usize) -> Option<f64> {
    let of_buckets: u64 = calls.iter().filter(|(action, _)| OF_BUCKETS.contains(action)).map(|(_, n)| n).sum();
    (buckets > 0).then(|| (of_buckets as f64 / buckets as f64 * 100.0).round() / 100.0)
}

/// Sets the account's block in the context, the one that is there or the one that is `assumed`. Gives the line about latent exposure.
pub fn scan(
    client: &Client,
    context: &mut Context,
    regions: &[String],
    sample: usize,
    assumed: Option<PublicAccessBlock>,
    sink: &mut (dyn FnMut(Event) + Send),
) -> Option<String> {
    let account = context.account_id.clone();
    let s3 = S3 { client, account: &account };
    let mut of_account = Failures::default();
    context.account_block = assumed.map_or_else(|| of_account.fact(s3.account_block()), Fact::Known);
    let context: &Context = context;
    let blocks = Blocks { levels: vec![&context.account_block] };
    if blocks.acls_ignored().and(blocks.public_policies_restricted()) == Tri::Yes {
        sink(Event::found(locked(&account)));
        return None;
    }
    let (buckets, error) = s3.buckets();
    if let Some(error) = &error {
        sink(Event::found(unlisted("s3_bucket", &account, error)));
    }
    let mut points = access_points(&s3, &buckets, regions, sink);
    let mut with_points: Vec<(ListedBucket, Vec<ListedAccessPoint>)> = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        let own = points.remove(&bucket.name).unwrap_or_default();
        // A name is unique, but a bucket of another account may have had it.
        let (own, foreign): (Vec<_>, Vec<_>) = own.into_iter().partition(|p| p.bucket_account.as_ref().is_none_or(|a| *a == account));
        if !foreign.is_empty() {
            points.insert(bucket.name.clone(), foreign);
        }
        with_points.push((bucket, own));
    }
    let reader = Reader { s3, context, of_account: &of_account, sample };
    let of = with_points.len();
    let mut done = 0;
    let mut tell = |found: Vec<Finding>| {
        found.into_iter().for_each(|f| sink(Event::found(f)));
        done += 1;
        sink(Event::Progress { what: "buckets", done, of });
    };
    ordered(client.concurrency(), &with_points, |(bucket, own)| reader.findings(bucket, own), &mut tell);
    let foreign: Vec<ListedAccessPoint> = points.into_values().flatten().collect();
    ordered(client.concurrency(), &foreign, |point| reader.foreign_access_point(point), |found| sink(Event::found(found)));
    let (multi_region, error) = reader.s3.multi_region_access_points();
    if let Some(error) = &error {
        sink(Event::found(unlisted("s3_access_point", "several regions", error)));
    }
    ordered(client.concurrency(), &multi_region, |point| reader.multi_region(point), |found| sink(Event::found(found)));
    latent(context, of)
}

/// By the bucket that each leads to. An access point is in the region of its bucket.
fn access_points(
    s3: &S3,
    buckets: &[ListedBucket],
    regions: &[String],
    sink: &mut (dyn FnMut(Event) + Send),
) -> BTreeMap<String, Vec<ListedAccessPoint>> {
    let mut all: BTreeSet<String> = buckets.iter().filter_map(|b| b.region.clone()).chain(regions.iter().cloned()).collect();
    if all.is_empty() || buckets.iter().any(|b| b.region.is_none()) {
        all.insert(s3.client.region().to_string());
    }
    let all: Vec<String> = all.into_iter().collect();
    let (mut points, mut seen) = (BTreeMap::<String, Vec<ListedAccessPoint>>::new(), BTreeSet::new());
    ordered(
        s3.client.concurrency(),
        &all,
        |region| (region.clone(), s3.access_points(region)),
        |(region, (found, error))| {
            if let Some(error) = &error {
                sink(Event::found(unlisted("s3_access_point", &region, error)));
            }
            for point in found {
                // An emulator answers each in every region.
                if seen.insert(point.arn.clone()) {
                    points.entry(point.bucket.clone()).or_default().push(point);
                }
            }
        },
    );
    points
}

/// One line for all buckets, objects and access points of an account whose switches are on.
fn locked(account: &str) -> Finding {
    let verdict = Verdict::NotPublic;
    Finding {
        kind: "s3_account".into(),
        id: account.into(),
        verdict,
        via: "none".into(),
        documented: verdict,
        effective: verdict,
        cross_account: CrossAccount::Unknown,
        severity: Severity::None,
        why: format!(
            "no bucket, object or access point of account {account} is public: the account's block ignores public ACLs and restricts public \
             policies, so none was read"
        ),
        fix: String::new(),
        fingerprint: fingerprint("s3_account", account, &Value::Null),
        region: None,
    }
}

fn latent(context: &Context, buckets: usize) -> Option<String> {
    let account = &context.account_id;
    // What guard says of the account when no bucket's own block is counted.
    let none = unread("s3:GetBucketPublicAccessBlock");
    let found = guard::latent(context, &vec![&none; buckets])?;
    Some(format!(
        "the block of account {account} is not fully on: a bucket without a block of its own can be made public; fix: {}",
        found.fix
    ))
}
