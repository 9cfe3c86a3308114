//! The simulator: draws follow their distributions, equal seeds give equal bits, waits agree with formulas.

use capacity::batches::Batch;
use capacity::dist::{Dist, Service};
use capacity::predict::{Limits, predict, predict_batch_line_within};
use capacity::request;
use capacity::simulate::arrivals::Mmpp;
use capacity::simulate::{Arrivals, Fifo, Model, Rng, Sampler, Tables};

fn families() -> Vec<Dist> {
    vec![
        Dist::Exp { mean: 2.0 },
        Dist::Gamma { mean: 2.0, scv: 0.2 },
        Dist::Gamma { mean: 2.0, scv: 3.0 },
        Dist::Lognormal { mean: 2.0, scv: 1.5 },
        Dist::H2 { mean: 2.0, scv: 5.0 },
    ]
}

/// Kolmogorov and Smirnov: the empirical distribution of 200,000 draws is within 1.95 / sqrt(n) (0.1 %) of the tail that the
/// formulas use.
#[test]
fn draws_follow_their_distributions() {
    let (tables, mut rng) = (Tables::new(), Rng::new(11));
    for dist in families() {
        let sampler = Sampler::new(&dist);
        let n = 200_000;
        let mut draws: Vec<f64> = (0..n).map(|_| sampler.draw(&tables, &mut rng)).collect();
        draws.sort_by(f64::total_cmp);
        let distance = draws
            .iter()
            .enumerate()
            .step_by(97)
            .map(|(i, x)| ((i as f64 + 0.5) / f64::from(n) - (1.0 - dist.tail(*x))).abs())
            .fold(0.0, f64::max);
        assert!(distance < 1.95 / f64::from(n).sqrt(), "{dist:?}: distance {distance}");
        // The far tail, which a ziggurat has code of its own for.
        let far = dist.mean() * 8.0 * dist.scv().max(0.3);
        let beyond = draws.iter().filter(|x| **x > far).count() as f64;
        let expected = dist.tail(far) * f64::from(n);
        assert!((beyond - expected).abs() <= 5.0 * expected.sqrt() + 2.0, "{dist:?}: {beyond} beyond {far}, expected {expected}");
    }
}

#[test]
fn arrivals_come_at_their_rates() {
    let (tables, mut rng) = (Tables::new(), Rng::new(5));
    let mmpp = Mmpp { rate_high: 6.0, rate_low: 2.0, high_to_low: 0.3, low_to_high: 0.1 };
    assert_eq!(mmpp.rate(), 3.0);
    let trace: Vec<f64> = (0..1000).map(|i| if i % 2 == 0 { 0.5 } else { 1.0 / 6.0 }).collect();
    for mut arrivals in [
        Arrivals::poisson(3.0),
        Arrivals::renewal(&Dist::H2 { mean: 1.0 / 3.0, scv: 4.0 }),
        Arrivals::batch_fixed(3.0, 5),
        Arrivals::batch_geometric(3.0, 4.5),
        Arrivals::mmpp(mmpp),
        Arrivals::trace(trace.into(), 10),
    ] {
        let n = 400_000;
        let passed: f64 = (0..n).map(|_| arrivals.next(&tables, &mut rng)).sum();
        let rate = f64::from(n) / passed;
        assert!((rate / 3.0 - 1.0).abs() < 0.02, "{arrivals:?}: {rate}");
    }
}

/// The very bits of a few runs, written down: another machine or build must give the same.
#[test]
fn equal_seeds_give_equal_bits() {
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |bits: u64| digest = (digest ^ bits).wrapping_mul(0x100_0000_01b3);
    for service in families() {
        let mut model = Fifo::new(4, Arrivals::poisson(1.7), Sampler::new(&service), Some(Sampler::Exp { mean: 9.0 }));
        let (tables, mut rng, mut batch) = (Tables::new(), Rng::new(42), Batch::new(2.0, 2));
        model.advance(20_000, &tables, &mut rng, &mut batch);
        take(batch.series[0].sum.to_bits());
        take(batch.series[1].sum.to_bits());
        take(batch.abandoned);
        take(rng.bits());
    }
    assert_eq!(digest, DIGEST, "{digest:#x}");
}

const DIGEST: u64 = 0x4489_630a_d58e_821b;

#[test]
fn equal_lines_give_equal_answers() {
    let limits = Limits { most_arrivals: 200_000 };
    for line in [
        r#"{"model":"mgc","c":3,"lambda":2,"service":{"dist":"gamma","mean":1,"scv":2},"method":"simulate"}"#,
        r#"{"model":"setup","c":3,"lambda":2,"service":{"dist":"exp","mean":1},"setup":{"dist":"det","mean":5}}"#,
        r#"{"model":"preemptive","c":3,"incident":{"lambda":1,"mean":1},"planned":{"lambda":1,"mean":1}}"#,
    ] {
        let (first, second) = (predict_batch_line_within(line, limits), predict_batch_line_within(line, limits));
        assert_eq!(first, second);
        assert!(first.contains("wait_mean") || first.contains("planned_lead_mean"), "{first}");
    }
}

/// Waits of the simulator against Lindley's recursion, written again, on the same draws.
#[test]
fn one_server_follows_lindley() {
    let (tables, service) = (Tables::new(), Sampler::new(&Dist::H2 { mean: 1.0, scv: 3.0 }));
    let mut model = Fifo::new(1, Arrivals::poisson(0.8), service, None);
    let (mut rng, mut batch) = (Rng::new(3), Batch::new(1.0, 2));
    model.advance(50_000, &tables, &mut rng, &mut batch);
    let (mut rng, mut arrivals) = (Rng::new(3), Arrivals::poisson(0.8));
    let (mut wait, mut left, mut sum) = (0.0_f64, 0.0, 0.0);
    for _ in 0..50_000 {
        wait = (left - arrivals.next(&tables, &mut rng)).max(0.0);
        left = wait + service.draw(&tables, &mut rng);
        sum += wait;
    }
    assert!(wait.is_finite());
    assert!((batch.series[0].sum / sum - 1.0).abs() < 1e-9, "{} and {sum}", batch.series[0].sum);
}

/// A change that changes nothing leaves the steady state of Erlang C; the fluid limit holds for a large overload.
#[test]
fn transients_agree_with_the_steady_state_and_the_fluid_limit() {
    let ask = |line: &str| {
        let request = request::read(line).request.unwrap();
        predict(&request, Limits { most_arrivals: 3_000_000 }).unwrap()
    };
    let still =
        ask(r#"{"model":"step","c":5,"lambda":4,"lambda_peak":4,"horizon":40,"service":{"dist":"exp","mean":1},"method":"simulate"}"#);
    let exact = capacity::erlang::Mmc::new(5, 4.0, 1.0).unwrap();
    let wait = still.figures["wait_mean"];
    assert!((wait.value - exact.wait_mean()).abs() < 2.75 * (wait.high - wait.low) / 2.0, "{wait:?} and {}", exact.wait_mean());

    let line = r#"{"model":"step","c":400,"lambda":300,"lambda_peak":600,"c_after":800,"delay":20,"service":{"dist":"exp","mean":1},"method":"M"}"#;
    let (fluid, simulated) = (ask(&line.replace("\"M\"", "\"formula\"")), ask(&line.replace("\"M\"", "\"simulate\"")));
    let (fluid, simulated) = (fluid.figures["wait_worst"].value, simulated.figures["wait_worst"].value);
    assert!((fluid - 20.0 * (1.0 - 1.0 / 1.5)).abs() < 0.01, "{fluid}");
    assert!((simulated / fluid - 1.0).abs() < 0.1, "{simulated} and {fluid}");

    let line = r#"{"model":"rotation","c":10,"batch":2,"surge":1,"lambda":7,"service":{"dist":"exp","mean":1},"method":"simulate"}"#;
    let nine = capacity::erlang::Mmc::new(9, 7.0, 1.0).unwrap();
    let wait = ask(line).figures["wait_mean"];
    assert!((wait.value - nine.wait_mean()).abs() < 2.75 * (wait.high - wait.low) / 2.0, "{wait:?} and {}", nine.wait_mean());
}

/// Welch 1964: the mean wait of M/G/1 with set-up times.
#[test]
fn set_up_of_one_server_follows_welch() {
    for (setup, first, second) in [(r#"{"dist":"det","mean":4}"#, 4.0, 16.0), (r#"{"dist":"exp","mean":4}"#, 4.0, 32.0)] {
        let line = format!(r#"{{"model":"setup","c":1,"lambda":0.5,"service":{{"dist":"exp","mean":1}},"setup":{setup}}}"#);
        let request = request::read(&line).request.unwrap();
        let wait = predict(&request, Limits { most_arrivals: 3_000_000 }).unwrap().figures["wait_mean"];
        let exact = 0.5 * 2.0 / (2.0 * 0.5) + (2.0 * first + 0.5 * second) / (2.0 * (1.0 + 0.5 * first));
        assert!((wait.value - exact).abs() < 2.75 * (wait.high - wait.low) / 2.0, "{wait:?} and {exact}");
    }
}

/// The house rule on elementary functions: only `math` and `libm`.
#[test]
fn nothing_uses_the_platforms_elementary_functions() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut todo = vec![root];
    let mut seen = 0;
    while let Some(folder) = todo.pop() {
        #[allow(clippy::disallowed_methods, reason = "it reads the crate's own sources")]
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
                continue;
            }
            seen += 1;
            #[allow(clippy::disallowed_methods, reason = "it reads the crate's own sources")]
            let text = std::fs::read_to_string(&path).unwrap();
            for banned in
                [".ln()", ".exp()", ".powf(", ".powi(", ".ln_1p()", ".exp_m1()", ".log10()", ".log2()", ".cbrt()", ".sin()", ".tanh()"]
            {
                assert!(!text.contains(banned), "{}: {banned} differs between machines, use math", path.display());
            }
        }
    }
    assert!(seen > 20);
}
