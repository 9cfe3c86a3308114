//! `demo`: see `crate::demo`.

use crate::context::Context;
use crate::demo::{self, Options};
use crate::exit::Exit;
use crate::failure::Failure;
use clap::Args;
use std::path::PathBuf;

/// Play the whole job on the example shop and account for every request
#[derive(Args, Debug)]
#[command(
    long_about = "Play the whole job on the example shop and account for every request: deploys, a release that never gets healthy, one that fails under traffic, kill -9 of each control process. Exits 0 only if no request failed for a reason of ours and every verdict is as expected. Needs root.",
    after_help = "Example:\n  afresh demo --stay"
)]
pub struct Demo {
    /// Leave it running afterwards, to play with
    #[arg(long)]
    pub stay: bool,
    /// The demo's own data directory; its image store is kept for the next time
    #[arg(long, value_name = "DIR", default_value = "/var/cache/afresh-demo")]
    pub dir: PathBuf,
    /// Requests a second
    #[arg(long, value_name = "N", default_value_t = 1_250, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// Go on until so many were sent
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub requests: u64,
    /// Instead of the script: kill serve N times and host N times, each in a rotation of its own, at random moments
    #[arg(long, value_name = "N", conflicts_with = "stay")]
    pub chaos: Option<u32>,
    /// Of the random moments
    #[arg(long, value_name = "K", default_value_t = 1, requires = "chaos")]
    pub seed: u64,
}

impl Demo {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        super::doctor::essentials(&model::Layout::new(&self.dir))?;
        demo::run(&Options {
            dir: std::path::absolute(&self.dir).unwrap_or(self.dir),
            stay: self.stay,
            json: context.json,
            per_second: self.rate,
            requests: self.requests,
            chaos: self.chaos.map(|kills| (kills, self.seed)),
        })
    }
}
