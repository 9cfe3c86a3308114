//! What an AWS account exposes: facts read with as few calls as decide, judged by `guard`.
//!
//! It reads and never writes. A call that is denied, fails or answers what it should not leaves its fact unknown, and an unknown fact
//! proves nothing: the resource's verdict is `unknown` unless the other facts decide.
//!
//! ```text
//! account and its block ─▶ buckets (each with objects and access points) ─▶ listings of all regions ─▶ attributes
//! ```

mod account;
mod buckets;
mod ec2_calls;
mod gone;
mod parallel;
mod rds_calls;
mod reading;
mod regional;
mod s3;
mod s3_calls;
mod single;
mod told;

pub use parallel::ordered;
pub use single::Single;
pub use told::{Choice, Event, Services, Summary};

use aws_client::Client;
use ec2_calls::Ec2;
use guard::{Finding, PublicAccessBlock, Verdict};
use model::Fault;
use std::collections::BTreeMap;
use std::time::Instant;

/// Scans an account, and tells every resource as soon as its verdict is known. An error: nothing could be scanned at all.
pub fn scan(client: &Client, choice: &Choice, sink: &mut (dyn FnMut(Event) + Send)) -> Result<Summary, Fault> {
    let begun = Instant::now();
    let mut context = account::context_of(client)?;
    let account = context.account_id.clone();
    let (mut public, mut unknown, mut resources) = (0, 0, BTreeMap::new());
    let mut counted = |event: Event| {
        if let Event::Found(found) = &event {
            public += usize::from(found.verdict == Verdict::Public);
            unknown += usize::from(found.verdict == Verdict::Unknown);
            *resources.entry(found.kind.clone()).or_insert(0) += 1;
        }
        sink(event);
    };
    let is_regional = choice.services.ec2 || choice.services.rds;
    let mut regions = choice.regions.clone();
    if regions.is_empty() && is_regional {
        let client_region = client.region();
        match (Ec2 { client, region: client_region }).regions() {
            Ok(enabled) => regions = enabled,
            Err(error) => {
                counted(Event::found(reading::unlisted("security_group", "other regions", &error)));
                regions = vec![client_region.to_string()];
            }
        }
    }
    let mut latent = None;
    if choice.services.s3 {
        latent = s3::scan(client, &mut context, &regions, choice.sample, None, &mut counted);
    }
    if is_regional {
        regional::scan(client, &context, &regions, choice.services, &mut counted);
    }
    let calls_by_action = client.calls();
    let buckets = resources.get("s3_bucket").copied().unwrap_or(0);
    Ok(Summary {
        account,
        calls: calls_by_action.values().sum(),
        seconds: (begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        public,
        unknown,
        calls_a_bucket: s3::calls_a_bucket(&calls_by_action, buckets),
        calls_by_action,
        resources,
        regions,
        latent,
    })
}

/// What S3 would expose if this were the account's block, and not the one that is there. `sample`: objects of each bucket.
pub fn scan_with_block(
    client: &Client,
    block: PublicAccessBlock,
    sample: usize,
    sink: &mut (dyn FnMut(Finding) + Send),
) -> Result<(), Fault> {
    let mut context = account::context_of(client)?;
    s3::scan(client, &mut context, &[], sample, Some(block), &mut |event| {
        if let Event::Found(found) = event {
            sink(*found);
        }
    });
    Ok(())
}
