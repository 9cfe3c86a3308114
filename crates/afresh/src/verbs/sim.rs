//! `sim`: the engine that drives production, in a simulated world of faults.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use clap::Args;
use console::Term;
use model::Fault;
use nix::sys::resource::{UsageWho, getrusage};

/// Run the engine in a simulated world of faults
#[derive(Args, Debug)]
#[command(
    after_help = "It is the engine that drives production, with crashes, lost messages, stale observations and bad releases. Exits with 1 if a seed \
                  violates an invariant.\n\nExample:\n  afresh sim --seeds 20000\n  afresh sim --seeds 10000 --bug no-fence\n  afresh sim --seed 17 --trace"
)]
pub struct Sim {
    /// Run this many seeds
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub seeds: u64,
    /// Start with this seed
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub first: u64,
    /// Plant a bug, which must be found
    #[arg(long, value_name = "NAME")]
    pub bug: Option<String>,
    /// Run only this seed
    #[arg(long, value_name = "K", conflicts_with_all = ["seeds", "first"])]
    pub seed: Option<u64>,
    /// Print everything that happens in that seed
    #[arg(long, requires = "seed")]
    pub trace: bool,
}

impl Sim {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let no_such = |e: sim::NoSuchBug| Fault::yours("no-such-bug", e.to_string());
        let bug = self.bug.as_deref().map(str::parse).transpose().map_err(no_such)?;
        if self.trace {
            sim::trace(self.seed.unwrap_or(self.first), bug).iter().for_each(show::line);
        }
        let (first, seeds) = self.seed.map_or((self.first, self.seeds), |seed| (seed, 1));
        // A violation that is a panic is reported on one line; its backtrace would hide the rest.
        std::panic::set_hook(Box::new(|_| {}));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let options = sim::Options { seeds, first, bug, stop_at_first: bug.is_some(), threads };
        let term = Term::stderr();
        let live = term.is_term() && !context.json;
        let mut summary = sim::run(options, &mut |done| {
            if live && done % 512 < 32 {
                let _ = term.clear_line().and_then(|()| term.write_str(&format!("{done} of {seeds} seeds")));
            }
        });
        if live {
            let _ = term.clear_line();
        }
        drop(std::panic::take_hook());
        summary.cpu_s = cpu_s()?;
        if context.json {
            show::json(&summary);
        } else {
            tell(&summary);
        }
        Ok(if summary.violations == 0 { Exit::Succeeded } else { Exit::Internal })
    }
}

fn tell(summary: &sim::Summary) {
    let seeds = show::times(summary.seeds, "seed");
    show::line(format!(
        "{seeds}, {} events, {} promoted, {} rolled back, {} stopped, {} simulated, {:.2} s of CPU",
        summary.events,
        summary.promoted,
        summary.rolled_back,
        summary.stopped,
        show::span(summary.simulated_s * 1_000),
        summary.cpu_s
    ));
    match &summary.first_violation {
        None => show::line(show::paint(show::GREEN.bold(), "no violation")),
        Some(violation) => {
            show::line(format!(
                "{}: the first in seed {}: {}",
                show::paint(show::RED.bold(), show::times(summary.violations, "violation")),
                violation.seed,
                violation.what
            ));
            let bug = summary.bug.map_or_else(String::new, |bug| format!(" --bug {bug}"));
            show::line(format!("trace it: afresh sim --seed {}{bug} --trace", violation.seed));
        }
    }
}

/// User and system time of this process so far.
fn cpu_s() -> Result<f64, Fault> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).map_err(|e| Fault::world("io", format!("cannot read the CPU time: {e}")))?;
    #[allow(clippy::cast_precision_loss, reason = "seconds of CPU, shown with two digits")]
    let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}
