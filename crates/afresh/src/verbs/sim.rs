//! `sim`: the engine that drives production, in a simulated world of faults.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use clap::Args;

/// Run the engine through seeds of a simulated world: crashes, lost messages, old views, bad releases
#[derive(Args, Debug)]
#[command(
    after_help = "Exit 1 if a seed breaks a promise.\n\nExample:\n  afresh sim --seeds 20000\n  afresh sim --seeds 10000 --bug no-fence\n  afresh sim --seed 17 --trace"
)]
pub struct Sim {
    /// So many seeds
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub seeds: u64,
    /// Beginning with this one
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub first: u64,
    /// Plant a bug: each must be found
    #[arg(long, value_name = "NAME")]
    pub bug: Option<String>,
    /// Only this seed
    #[arg(long, value_name = "K", conflicts_with_all = ["seeds", "first"])]
    pub seed: Option<u64>,
    /// Print everything that happened in that seed
    #[arg(long, requires = "seed")]
    pub trace: bool,
}

impl Sim {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let _ = context;
        Ok(Exit::Succeeded)
    }
}
