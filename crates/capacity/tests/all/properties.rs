//! What holds for every input: no NaN, no infinity, quantiles in their order, tails that agree with quantiles.

use capacity::abandonment::ErlangA;
use capacity::chain::{self, Batches};
use capacity::dist::{Dist, Service, balanced_h2};
use capacity::erlang::{Mmc, erlang_b};
use capacity::ggc::Ggc;
use capacity::mgc::Mgc;
use capacity::simulate::arrivals::Mmpp;
use proptest::prelude::*;

fn sound(name: &str, value: f64) {
    assert!(value.is_finite() && value >= 0.0, "{name} is {value}");
}

fn dist() -> impl Strategy<Value = Dist> {
    let mean = (-6.0..6.0_f64).prop_map(|e| 10_f64.powf(e));
    let scv = (-2.0..1.8_f64).prop_map(|e| 10_f64.powf(e));
    (0..5, mean, scv).prop_map(|(kind, mean, scv)| match kind {
        0 => Dist::Det { mean },
        1 => Dist::Exp { mean },
        2 => Dist::Gamma { mean, scv },
        3 => Dist::Lognormal { mean, scv },
        _ => Dist::H2 { mean, scv: 1.0 + scv },
    })
}

/// Utilisations with many digits near 0 and near 1.
fn utilisation() -> impl Strategy<Value = f64> {
    prop_oneof![0.001..0.999, (1.0..12.0_f64).prop_map(|e| 1.0 - 10_f64.powf(-e)), (1.0..9.0_f64).prop_map(|e| 10_f64.powf(-e))]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mmc_is_finite_and_ordered(c in 1..=10_000_u32, rho in utilisation(), service in 1e-9..1e9_f64) {
        let Ok(system) = Mmc::new(c, rho * f64::from(c) / service, service) else { return Ok(()) };
        sound("p_wait", system.p_wait());
        assert!(system.p_wait() <= 1.0);
        sound("wait_mean", system.wait_mean());
        sound("sojourn_mean", system.sojourn_mean());
        let mut before = (0.0, 0.0);
        for p in [1e-6, 0.5, 0.95, 0.99, 0.9999] {
            let now = (system.wait_quantile(p), system.sojourn_quantile(p));
            sound("wait_quantile", now.0);
            sound("sojourn_quantile", now.1);
            assert!(now.0 >= before.0 && now.1 >= before.1 && now.1 >= now.0);
            assert!((system.sojourn_tail(now.1) / (1.0 - p) - 1.0).abs() < 1e-9);
            before = now;
        }
        let b = erlang_b(c, rho * f64::from(c));
        assert!((0.0..=1.0).contains(&b) && b <= system.p_wait() * (1.0 + 1e-9) + 1e-290);
    }

    #[test]
    fn mgc_is_finite_and_ordered(c in 1..=3_000_u32, rho in utilisation(), service in dist()) {
        let Ok(system) = Mgc::new(c, rho * f64::from(c) / service.mean(), &service) else { return Ok(()) };
        sound("p_wait", system.p_wait);
        sound("wait_mean", system.wait_mean);
        let waits = [0.5, 0.95, 0.99].map(|p| system.wait_quantile(p));
        waits.iter().for_each(|wait| sound("wait_quantile", *wait));
        assert!(waits[0] <= waits[1] && waits[1] <= waits[2]);
    }

    #[test]
    fn ggc_is_finite(c in 1..=3_000_u32, rho in 0.8..0.999_999_f64, ca in 0.0..16.0_f64, cs in 0.0..16.0_f64) {
        let system = Ggc::new(c, rho * f64::from(c), ca, 1.0, cs).unwrap();
        sound("p_wait", system.p_wait);
        assert!(system.p_wait <= 1.0);
        sound("wait_mean", system.wait_mean);
        if system.p_wait > 0.0 {
            sound("wait_p99", system.wait_quantile(0.99));
        }
    }

    /// One phase, or batches of one, are M/M/c; otherwise waits are longer than that.
    #[test]
    fn chains_are_finite_and_ordered(c in 1..=300_u32, rho in 0.05..0.97_f64, scv in 1.0..20.0_f64, size in 1..12_u32, flip in (-3.0..3.0_f64).prop_map(|e| 10_f64.powf(e))) {
        let lambda = rho * f64::from(c);
        let plain = Mmc::new(c, lambda, 1.0).unwrap();
        let mmpp = Mmpp { rate_high: 1.02 * lambda, rate_low: 0.98 * lambda, high_to_low: flip, low_to_high: flip };
        let all = [
            chain::hyperexponential(c, 1.0, balanced_h2(1.0 / lambda, scv)),
            chain::mmpp(c, 1.0, mmpp),
            chain::batches(c, lambda, 1.0, Batches::Fixed(size)),
            chain::batches(c, lambda, 1.0, Batches::Geometric(f64::from(size))),
        ];
        for found in all.into_iter().flatten() {
            sound("p_wait", found.p_wait);
            assert!(found.wait_mean >= plain.wait_mean() * (1.0 - 1e-6) - 1e-14, "{} and {}", found.wait_mean, plain.wait_mean());
            let waits = [0.5, 0.95, 0.99].map(|p| found.wait_quantile(p));
            waits.iter().for_each(|wait| sound("wait", *wait));
            assert!(waits[0] <= waits[1] && waits[1] <= waits[2] && waits[2] <= found.sojourn_quantile(0.99));
        }
        for same in [chain::hyperexponential(c, 1.0, balanced_h2(1.0 / lambda, 1.0)).unwrap(), chain::batches(c, lambda, 1.0, Batches::Fixed(1)).unwrap()] {
            assert!((same.wait_mean - plain.wait_mean()).abs() <= 1e-9 * plain.wait_mean() + 1e-14, "{} and {}", same.wait_mean, plain.wait_mean());
            let (one, other) = (same.sojourn_quantile(0.99), plain.sojourn_quantile(0.99));
            assert!((one / other - 1.0).abs() < 1e-6, "{one} and {other}");
        }
    }

    #[test]
    fn erlang_a_is_finite_and_ordered(c in 1..=2_000_u32, rho in 0.01..4.0_f64, patience in (-2.0..2.0_f64).prop_map(|e| 10_f64.powf(e))) {
        let system = ErlangA::new(c, rho * f64::from(c), 1.0, patience).unwrap();
        sound("p_wait", system.p_wait());
        sound("p_abandon", system.p_abandon());
        sound("wait_mean", system.wait_mean());
        assert!(system.p_wait() <= 1.0 && system.p_abandon() <= system.p_wait() + 1e-12);
        let waits = [0.5, 0.95, 0.99].map(|p| system.wait_quantile(p));
        let sojourns = system.sojourn_quantiles([0.5, 0.99]);
        waits.iter().chain(&sojourns).for_each(|time| sound("quantile", *time));
        assert!(waits[0] <= waits[1] && waits[1] <= waits[2] && sojourns[0] <= sojourns[1] && sojourns[1] >= waits[2] - 1e-9);
        // More servers than load that cannot be carried: what is not served gives up.
        assert!(system.p_abandon() >= 1.0 - 1.0 / rho - 1e-9);
    }
}

#[test]
fn tails_and_moments_of_distributions_agree() {
    for (mean, scv) in [(1.0, 0.3), (2.5, 1.5), (0.01, 6.0)] {
        let mut all = vec![Dist::Gamma { mean, scv }, Dist::Lognormal { mean, scv }, Dist::Exp { mean }];
        if scv > 1.0 {
            all.push(Dist::H2 { mean, scv });
        }
        for dist in all {
            let integral = |f: &dyn Fn(f64) -> f64| capacity::math::integral_from_zero(mean, f);
            let near = |name: &str, found: f64, expected: f64| {
                assert!((found / expected - 1.0).abs() < 1e-5, "{dist:?}: {name} is {found}, not {expected}");
            };
            near("the mean", integral(&|t| dist.tail(t)), mean);
            near("the second moment", integral(&|t| 2.0 * t * dist.tail(t)), dist.second());
            near("the third moment", integral(&|t| 3.0 * t * t * dist.tail(t)), dist.third());
            near("the mean residual", integral(&|t| dist.residual_tail(t)), dist.second() / (2.0 * mean));
        }
    }
}

/// For exponential service every formula must give M/M/c, and for one server Pollaczek-Khinchine.
#[test]
fn special_cases_agree() {
    for c in [1, 2, 7, 40] {
        let lambda = 0.85 * f64::from(c);
        let mm = Mmc::new(c, lambda, 1.0).unwrap();
        // An exponential distribution in other words.
        for service in [Dist::Gamma { mean: 1.0, scv: 1.0 }, Dist::H2 { mean: 1.0, scv: 1.0 }] {
            let mg = Mgc::new(c, lambda, &service).unwrap();
            assert!((mg.wait_mean / mm.wait_mean() - 1.0).abs() < 1e-9, "{c}: {} and {}", mg.wait_mean, mm.wait_mean());
            assert!((mg.wait_quantile(0.99) / mm.wait_quantile(0.99) - 1.0).abs() < 1e-6);
            let sojourns = mg.sojourn_quantiles(&service, [0.5, 0.99]);
            assert!((sojourns[0] / mm.sojourn_quantile(0.5) - 1.0).abs() < 2e-3, "{sojourns:?}");
            assert!((sojourns[1] / mm.sojourn_quantile(0.99) - 1.0).abs() < 2e-3, "{sojourns:?}");
        }
        assert!((capacity::mgc::kimura(c, lambda, 1.0, 1.0).unwrap() / mm.wait_mean() - 1.0).abs() < 1e-9);
        let gg = Ggc::new(c, lambda, 1.0, 1.0, 1.0).unwrap();
        assert!((gg.wait_mean / mm.wait_mean() - 1.0).abs() < 1e-9);
        assert!((gg.p_wait / mm.p_wait() - 1.0).abs() < 1e-9);
    }
    let service = Dist::Lognormal { mean: 0.5, scv: 3.0 };
    let pk = capacity::mgc::pollaczek_khinchine(1.4, &service).unwrap();
    assert!((Mgc::new(1, 1.4, &service).unwrap().wait_mean / pk - 1.0).abs() < 1e-9);
}

/// Iterating the load from below and from above ends at the lowest and the highest fixed point.
#[test]
fn retries_have_one_or_two_stable_loads() {
    use capacity::retries::fixed_points;
    let settle = |mut at: f64, lambda: f64, retries: i32| {
        for _ in 0..10_000 {
            let p = Mmc::new(100, at, 1.0).map_or(1.0, |system| system.wait_tail(0.5));
            at += 0.1 * ((0..=retries).map(|k| lambda * p.powi(k)).sum::<f64>() - at);
        }
        at
    };
    for (lambda, retries, number) in [(80.0, 2, 3), (20.0, 2, 1), (95.0, 0, 1), (60.0, 3, 3)] {
        let found = fixed_points(100, lambda, 1.0, 0.5, retries).unwrap();
        assert_eq!(found.len(), number, "{found:?}");
        assert!(found.iter().enumerate().all(|(i, point)| point.is_stable == (i % 2 == 0)), "{found:?}");
        let (low, high) = (settle(lambda, lambda, retries as i32), settle(400.0, lambda, retries as i32));
        assert!((found[0].lambda / low - 1.0).abs() < 1e-6, "{found:?}: {low}");
        assert!((found[number - 1].lambda / high - 1.0).abs() < 1e-6, "{found:?}: {high}");
    }
    assert!(fixed_points(10, 10.0, 1.0, 0.5, 1).is_err());
}
