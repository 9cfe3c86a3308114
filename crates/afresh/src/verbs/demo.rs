//! `demo`: see `crate::demo`.

use crate::context::Context;
use crate::demo::{self, Options, Play};
use crate::exit::Exit;
use crate::failure::Failure;
use clap::Args;
use std::path::PathBuf;

/// Deploy the example shop under load and account for every request
#[derive(Args, Debug)]
#[command(
    long_about = "Deploy the example shop under load and account for every request: good releases, one that never gets healthy, one that fails under traffic, kill -9 of each control process. Exits with 0 only if Afresh failed no request and every verdict is as expected. Needs root.",
    after_help = "Example:\n  afresh demo --stay"
)]
pub struct Demo {
    /// Leave it running afterwards
    #[arg(long)]
    pub stay: bool,
    /// Use this data directory; its image store is kept for the next time
    #[arg(long, value_name = "DIR", default_value = "/var/cache/afresh-demo")]
    pub dir: PathBuf,
    /// Send this many requests a second
    #[arg(long, value_name = "N", default_value_t = 1_250, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// Continue until this many were sent
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub requests: u64,
    /// Kill serve N times and host N times at random moments, instead of the script
    #[arg(long, value_name = "N", conflicts_with_all = ["stay", "measure", "steps"])]
    pub chaos: Option<u32>,
    /// Choose the random moments by this seed
    #[arg(long, value_name = "K", default_value_t = 1, requires = "chaos")]
    pub seed: u64,
    /// Measure N rotations with nothing to wait for, instead of the script
    #[arg(long, value_name = "N", conflicts_with_all = ["stay", "steps"])]
    pub measure: Option<u32>,
    /// Run every kind of step twice, the second time without effect, instead of the script
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
