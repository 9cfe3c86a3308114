//! Runs seeds without the CLI; THREADS=2 uses both cores.
//!
//! | arguments | what it prints |
//! | --- | --- |
//! | `N [FIRST] [BUG] [stop]` | a summary of N seeds; `stop` ends at the first violation |
//! | `N FIRST bugs [stop]` | a summary for each planted bug |
//! | `N FIRST each` | every violation |
//! | `N FIRST hash` | the SHA-256 over all traces: equal before and after a change that keeps the behaviour |
//! | `trace SEED [BUG]` | one history |

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// User and system time of this process so far, as Linux counts it: in hundredths of a second.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    behind_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let bug = args.iter().find_map(|a| a.parse::<sim::Bug>().ok());
    if args.first().is_some_and(|a| a == "trace") {
        let seed = args.get(1).and_then(|a| a.parse().ok()).unwrap_or(0);
        sim::trace(seed, bug).iter().for_each(|line| println!("{line}"));
        return;
    }
    let mut numbers = args.iter().filter_map(|a| a.parse::<u64>().ok());
    let (seeds, first) = (numbers.next().unwrap_or(1_000), numbers.next().unwrap_or(0));
    if args.iter().any(|a| a == "hash") {
        let traces: String = (first..first + seeds).flat_map(|seed| sim::trace(seed, bug)).map(|line| line + "\n").collect();
        println!("{} over the traces of {seeds} seeds from {first}, {} CPU s", model::Digest::of(traces.as_bytes()), cpu_s());
        return;
    }
    if args.iter().any(|a| a == "each") {
        let mut violations = 0;
        for seed in first..first + seeds {
            let summary = sim::run(sim::Options { seeds: 1, first: seed, bug, ..sim::Options::default() }, &mut |_| {});
            summary.first_violation.iter().for_each(|v| println!("{} {}", v.seed, v.what));
            violations += summary.violations;
        }
        println!("{seeds} seeds from {first}: {violations} violations, {} CPU s", cpu_s());
        return;
    }
    let stop_at_first = args.iter().any(|a| a == "stop");
    let threads = std::env::var("THREADS").ok().and_then(|t| t.parse().ok()).unwrap_or(1);
    let bugs: Vec<Option<sim::Bug>> =
        if args.iter().any(|a| a == "bugs") { sim::Bug::ALL.into_iter().map(Some).collect() } else { vec![bug] };
    let mut failed = false;
    for bug in bugs {
        let began = cpu_s();
        let mut summary = sim::run(sim::Options { seeds, first, bug, stop_at_first, threads }, &mut |_| {});
        summary.cpu_s = cpu_s() - began;
        println!("{summary:?}");
        failed |= summary.violations > 0 && bug.is_none();
    }
    if failed {
        std::process::exit(1);
    }
}
