//! Estimates from arrivals and durations whose truth is known.

use capacity::dist::{Dist, Service};
use capacity::estimate::{arrivals, fit, idc, service_by_utilisation};
use capacity::simulate::arrivals::Mmpp;
use capacity::simulate::{Arrivals, Rng, Sampler, Tables};

fn moments(mut process: Arrivals, n: usize, seed: u64) -> Vec<f64> {
    let (tables, mut rng, mut now) = (Tables::new(), Rng::new(seed), 0.0);
    (0..n)
        .map(|_| {
            now += process.next(&tables, &mut rng);
            now
        })
        .collect()
}

/// The dispersion of an MMPP's counts is known for every window (Heffes and Lucantoni 1986).
#[test]
fn dispersion_of_correlated_arrivals_is_found_and_flagged() {
    let process = Mmpp { rate_high: 30.0, rate_low: 10.0, high_to_low: 0.5, low_to_high: 0.5 };
    let found = arrivals(&moments(Arrivals::mmpp(process), 300_000, 1), &[0.1, 1.0, 10.0], 1).unwrap();
    let exact = |t: f64| {
        let r = process.high_to_low + process.low_to_high;
        1.0 + (process.dispersion() - 1.0) * (1.0 - (1.0 - (-r * t).exp()) / (r * t))
    };
    for point in &found.idc {
        println!("IDC({}) = {:?}, exactly {:.3}", point.window, point.idc, exact(point.window));
        assert!((point.idc.value / exact(point.window) - 1.0).abs() < 0.1, "{point:?}");
    }
    assert!((found.rate.value / 20.0 - 1.0).abs() < 0.03, "{:?}", found.rate);
    assert!(found.scv.value < 2.0 && found.idc[2].idc.value > 5.0);
    assert!(found.is_correlated());

    let poisson = arrivals(&moments(Arrivals::poisson(20.0), 100_000, 2), &[0.1, 1.0, 10.0], 1).unwrap();
    assert!(!poisson.is_correlated(), "{poisson:?}");
    assert!((poisson.scv.value - 1.0).abs() < 0.05);
}

/// Correlated arrivals are recorded, played in blocks, and the wait is that of the process that made them; the SCV alone misses it.
#[test]
fn a_recorded_trace_keeps_the_correlation_of_its_arrivals() {
    let process = Mmpp { rate_high: 6.0, rate_low: 2.0, high_to_low: 0.1, low_to_high: 0.1 };
    let log = moments(Arrivals::mmpp(process), 400_000, 3);
    let between: Vec<f64> = log.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let exact = capacity::chain::mmpp(5, 1.0, process).unwrap();
    let ask = |block: usize| {
        let limits = capacity::predict::Limits { most_arrivals: 4_000_000 };
        capacity::predict::predict_trace(5, between.clone().into(), block, Dist::Exp { mean: 1.0 }, limits, 1).unwrap().figures["wait_mean"]
    };
    let (blocks, shuffled) = (ask(5_000), ask(1));
    println!("exactly {:.3}, by the trace {:.3}, by its interarrival times alone {:.3}", exact.wait_mean, blocks.value, shuffled.value);
    assert!((blocks.value / exact.wait_mean - 1.0).abs() < 0.1, "{blocks:?} and {}", exact.wait_mean);
    assert!(shuffled.value < 0.5 * exact.wait_mean, "{shuffled:?}");
    assert!(arrivals(&log, &[1.0, 10.0], 1).unwrap().is_correlated());
}

#[test]
fn the_family_that_made_the_durations_is_chosen() {
    let (tables, mut rng) = (Tables::new(), Rng::new(9));
    for dist in [Dist::Lognormal { mean: 0.2, scv: 2.0 }, Dist::Gamma { mean: 0.2, scv: 0.5 }, Dist::Gamma { mean: 0.2, scv: 2.0 }] {
        let sampler = Sampler::new(&dist);
        let durations: Vec<f64> = (0..20_000).map(|_| sampler.draw(&tables, &mut rng)).collect();
        let fitted = fit(&durations, 1).unwrap();
        assert_eq!(std::mem::discriminant(&fitted.dist), std::mem::discriminant(&dist), "{fitted:?}");
        assert!(fitted.worse_by > 10.0);
        assert!((fitted.dist.mean() / 0.2 - 1.0).abs() < 0.04, "{fitted:?}");
        assert!((fitted.dist.scv() / dist.scv() - 1.0).abs() < 0.08, "{fitted:?}");
        assert!(fitted.mean.low < 0.2 && 0.2 < fitted.mean.high, "{fitted:?}");
    }
}

#[test]
fn service_time_follows_from_utilisation() {
    let windows: Vec<(f64, f64)> = (0..60).map(|i| (0.05 * f64::from(100 + i % 7), f64::from(100 + i % 7))).collect();
    let found = service_by_utilisation(&windows).unwrap();
    assert!((found.value - 0.05).abs() < 1e-12 && found.low <= found.value && found.value <= found.high);
}

#[test]
fn what_cannot_be_estimated_is_refused() {
    assert!(arrivals(&[1.0; 50], &[1.0], 1).unwrap_err().reason.contains("needs 100"));
    assert!(arrivals(&[1.0; 500], &[1.0], 1).unwrap_err().reason.contains("same moment"));
    let seconds: Vec<f64> = (0..5000).map(|i| f64::from(i / 10)).collect();
    assert!(arrivals(&seconds, &[1.0], 1).unwrap_err().reason.contains("too coarse"));
    assert!(idc(&seconds, 100.0, 1).unwrap_err().reason.contains("needs 20"));
    assert!(fit(&[0.0; 100], 1).unwrap_err().reason.contains("positive"));
    assert!(fit(&[1.0; 100], 1).unwrap_err().reason.contains("do not vary"));
    assert!(service_by_utilisation(&[(0.0, 0.0); 40]).unwrap_err().reason.contains("nothing was served"));
}

/// How often the 90 % intervals hold the truth, over 300 logs each.
#[test]
#[ignore = "a minute: run in release"]
fn intervals_cover_the_truth() {
    let (tables, logs) = (Tables::new(), 300);
    let (mut scv_held, mut rate_held, mut mean_held) = (0, 0, 0);
    for seed in 0..logs {
        let log = moments(Arrivals::renewal(&Dist::H2 { mean: 1.0, scv: 2.0 }), 20_000, 1000 + seed);
        let found = arrivals(&log, &[], seed).unwrap();
        scv_held += u32::from(found.scv.low <= 2.0 && 2.0 <= found.scv.high);
        rate_held += u32::from(found.rate.low <= 1.0 && 1.0 <= found.rate.high);
        let (sampler, mut rng) = (Sampler::new(&Dist::Lognormal { mean: 1.0, scv: 1.0 }), Rng::new(5000 + seed));
        let durations: Vec<f64> = (0..2000).map(|_| sampler.draw(&tables, &mut rng)).collect();
        let mean = fit(&durations, seed).unwrap().mean;
        mean_held += u32::from(mean.low <= 1.0 && 1.0 <= mean.high);
    }
    for (name, held) in [("SCV", scv_held), ("rate", rate_held), ("mean service", mean_held)] {
        let share = f64::from(held) / logs as f64;
        println!("{name}: {:.1} % of the 90 % intervals hold the truth", 100.0 * share);
        assert!((0.85..=0.95).contains(&share), "{name}: {share}");
    }
}
