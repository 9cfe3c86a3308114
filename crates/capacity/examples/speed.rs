//! How fast the simulator, the sizing and a formula's answer are, in CPU time of one core: other processes do not count.
//! `cargo run --release -p capacity --example speed`
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a measurement holds a clock and prints"
)]

use capacity::batches::Batch;
use capacity::dist::Dist;
use capacity::predict::{Limits, predict};
use capacity::request::{Method, Request};
use capacity::simulate::{Arrivals, Fifo, Model, Rng, Sampler, Tables};
use capacity::size::{Objective, Of, smallest_mmc};
use std::hint::black_box;

/// CPU time of this process so far.
fn cpu_s() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Arrivals and ends of services in a second; each request is one of both.
fn events(c: u32, service: Dist, rho: f64) -> f64 {
    let arrivals = 10_000_000;
    let mut model = Fifo::new(c, Arrivals::poisson(rho * f64::from(c)), Sampler::new(&service), None);
    let (tables, mut rng, mut batch) = (Tables::new(), Rng::new(7), Batch::new(1.0, 2));
    model.advance(100_000, &tables, &mut rng, &mut batch);
    let begin = cpu_s();
    model.advance(arrivals, &tables, &mut rng, &mut batch);
    let seconds = cpu_s() - begin;
    black_box(&batch);
    2.0 * arrivals as f64 / seconds
}

fn main() {
    for (c, rho) in [(1, 0.8), (10, 0.8), (240, 0.9), (10_000, 0.95)] {
        println!("M/M/{c} at {rho}: {:.1} million events a second", events(c, Dist::Exp { mean: 1.0 }, rho) / 1e6);
    }
    for scv in [0.25, 4.0] {
        println!("M/lognormal(scv {scv})/10: {:.1}", events(10, Dist::Lognormal { mean: 1.0, scv }, 0.8) / 1e6);
        println!("M/gamma(scv {scv})/10: {:.1}", events(10, Dist::Gamma { mean: 1.0, scv }, 0.8) / 1e6);
    }
    let decisions = 2_000_000_u32;
    let begin = cpu_s();
    let mut sum = 0_u64;
    for i in 0..decisions {
        let lambda = 2400.0 + f64::from(i % 1000) * 0.001;
        if let Ok(objective) = Objective::new(Of::Wait, 0.99, 0.05)
            && let Ok(c) = smallest_mmc(black_box(lambda), 0.1, objective)
        {
            sum += u64::from(c);
        }
    }
    let seconds = cpu_s() - begin;
    println!(
        "sizing at 240 Erlang: {:.2} million decisions a second (mean {:.1} servers)",
        f64::from(decisions) / seconds / 1e6,
        sum as f64 / f64::from(decisions)
    );

    let mut times = Vec::new();
    for i in 0..2000_u32 {
        let request = Request::mgc(20 + i % 50, 15.0, Dist::Lognormal { mean: 1.0, scv: 2.0 }, Method::Formula);
        let begin = cpu_s();
        black_box(predict(&request, Limits::default()).ok());
        times.push(cpu_s() - begin);
    }
    times.sort_by(f64::total_cmp);
    println!("an M/G/c answer by formula with all quantiles: p99 {:.2} ms", times[times.len() * 99 / 100] * 1e3);
}
