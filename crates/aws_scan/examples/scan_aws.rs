//! `cargo run -p aws_scan --example scan_aws -- URL [s3,ec2,rds] [REGION]`: the scan without the rest of Afresh, for work on it. An empty
//! URL is that of the environment.

use aws_client::{Client, Options};
use aws_scan::{Choice, Event, Services, scan};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let endpoint = args.next().filter(|url| !url.is_empty());
    let only = args.next().unwrap_or_else(|| "s3,ec2,rds".into());
    let has = |name: &str| only.split(',').any(|s| s == name);
    let services = Services { s3: has("s3"), ec2: has("ec2"), rds: has("rds") };
    let number = |name: &str, default| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let mut options = Options { endpoint, ..Options::default() };
    options.limits.concurrency = number("CONCURRENCY", 16);
    let choice = Choice { services, regions: args.collect(), sample: number("SAMPLE", 10) };
    let run = || {
        let client = Client::new(&options, std::env::vars().collect())?;
        scan(&client, &choice, &mut |event| {
            if let Event::Found(found) = event {
                println!("{}", serde_json::to_string(&found).unwrap_or_default());
            }
        })
    };
    match run() {
        Ok(summary) => {
            println!("{}", serde_json::to_string(&summary).unwrap_or_default());
            ExitCode::from(summary.exit_code())
        }
        Err(fault) => {
            eprintln!("{}: {fault}", fault.code);
            ExitCode::from(3)
        }
    }
}
