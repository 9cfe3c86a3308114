//! `guard scan aws`: what an account exposes. Only the shell around the crate `aws_scan`.

use super::report::Report;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::processes::interrupt;
use crate::show;
use aws_client::{Client, Limits, Options};
use aws_scan::{Choice, Event, Services, Summary};
use clap::{Args, ValueEnum};
use std::time::{Duration, Instant};

/// Find what an AWS account exposes: buckets, snapshots, images, databases, ports
#[derive(Args, Debug)]
#[command(after_help = "\
Credentials come from the environment, a profile of ~/.aws (keys, credential_process, role, web identity), a container, or the instance. \
For single sign-on, give the profile a credential_process: aws configure export-credentials --profile NAME --format process
AWS_ENDPOINT_URL and, for one service, AWS_ENDPOINT_URL_S3, _S3_CONTROL, _EC2, _RDS and _STS are called instead of AWS, and --endpoint before these. \
AWS_PROFILE, AWS_REGION, AWS_CA_BUNDLE and AWS_USE_FIPS_ENDPOINT are read too.
The scan reads only. What it may not read is unknown, and its line has the IAM statement that would let it.
Where the account's public access block is on, two calls answer for all of S3, and one line says so. Elsewhere every bucket is scanned wherever it is; \
--region limits the rest.

Example:
  afresh guard scan aws --region eu-central-1
  afresh guard scan aws --endpoint http://127.0.0.1:5000 --only s3,ec2 --json")]
pub(super) struct Aws {
    /// Call this address instead of AWS's: an emulator
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Scan this region instead of every one that the account has enabled; may be repeated
    #[arg(long = "region", value_name = "REGION")]
    regions: Vec<String>,
    /// Scan these services only
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SERVICE,...")]
    only: Vec<Service>,
    /// Use the credentials and the region of this profile
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Read the ACLs of this many objects of each bucket where objects have their own, or of all
    #[arg(long, value_name = "N|all", default_value = "10", value_parser = sample)]
    objects: usize,
    /// Make at most this many calls at the same time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// Call the endpoints whose cryptography is validated by FIPS 140
    #[arg(long)]
    fips: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Service {
    S3,
    Ec2,
    Rds,
}

fn sample(text: &str) -> Result<usize, String> {
    if text == "all" { Ok(usize::MAX) } else { text.parse().map_err(|_| "a number, or all".to_string()) }
}

impl Aws {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        let _interruptible = interrupt::interruptible("the scan");
        // The allocator asks for huge pages for the heap of each thread: half of the memory of a scan.
        let _ = rustix::thread::disable_transparent_huge_pages(true);
        let has = |service| self.only.is_empty() || self.only.contains(&service);
        let services = Services { s3: has(Service::S3), ec2: has(Service::Ec2), rds: has(Service::Rds) };
        let options = Options {
            endpoint: self.endpoint.clone(),
            region: self.regions.first().cloned(),
            profile: self.profile.clone(),
            fips: self.fips,
            limits: Limits { concurrency: self.concurrency.into(), ..Limits::default() },
        };
        self.regions.iter().try_for_each(|region| aws_client::check_region(region))?;
        // A variable that is no text is none of AWS's.
        let text = |value: std::ffi::OsString| value.into_string().ok();
        let environment = std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect();
        let client = Client::new(&options, environment)?;
        let choice = Choice { services, regions: self.regions, sample: self.objects };
        let mut report = Report::new(context);
        let mut shown = Instant::now();
        let summary = aws_scan::scan(&client, &choice, &mut |event| match event {
            Event::Found(finding) => report.finding(&finding),
            Event::Progress { what, done, of } if shown.elapsed() >= Duration::from_millis(100) => {
                shown = Instant::now();
                report.progress(&format!("{done} of {of} {what}"));
            }
            Event::Progress { .. } => {}
        })?;
        let exit = report.end(serde_json::json!(summary), &so_far(&summary));
        if let (Some(latent), false) = (&summary.latent, context.json) {
            show::line(latent);
        }
        Ok(exit)
    }
}

fn so_far(summary: &Summary) -> String {
    let resources = summary.resources.values().sum::<usize>() as u64;
    format!("{} of account {}, {}", show::times(resources, "resource"), summary.account, show::times(summary.calls, "call"))
}
