//! `demo`: see `crate::demo`.

use crate::context::Context;
use crate::demo::{self, Options, Play};
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
    #[arg(long, value_name = "N", conflicts_with_all = ["stay", "measure", "steps"])]
    pub chaos: Option<u32>,
    /// Of the random moments
    #[arg(long, value_name = "K", default_value_t = 1, requires = "chaos")]
    pub seed: u64,
    /// Instead of the script: N rotations with nothing to wait for, and where their time goes
    #[arg(long, value_name = "N", conflicts_with_all = ["stay", "steps"])]
    pub measure: Option<u32>,
    /// Instead of the script: run every kind of step twice; the second time nothing may change
    #[arg(long, conflicts_with = "stay")]
    pub steps: bool,
}

impl Demo {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        super::doctor::essentials(&model::Layout::new(&self.dir))?;
        let play = match (self.chaos, self.measure, self.steps) {
            (Some(kills), _, _) => Play::Chaos { kills, seed: self.seed },
            (None, Some(times), _) => Play::Measure(times),
            (None, None, true) => Play::Steps,
            (None, None, false) => Play::Script,
        };
        demo::run(&Options {
            dir: std::path::absolute(&self.dir).unwrap_or(self.dir),
            stay: self.stay,
            json: context.json,
            per_second: self.rate,
            // Only the script promises a number.
            requests: if matches!(play, Play::Script) { self.requests } else { 0 },
            play,
        })
    }
}
