//! How far the approximations are from long simulations. Release only; `--nocapture` prints the tables.

use capacity::dist::{Dist, Service};
use capacity::predict::{Limits, predict};
use capacity::preemptive::Class;
use capacity::request::{Arrival, Method, Model, Request};

fn percentile(errors: &[f64], p: f64) -> f64 {
    errors[((p * errors.len() as f64) as usize).min(errors.len() - 1)]
}

/// Errors of each named figure of the formula against the simulation, where the simulation is sure to 2 %.
fn compare(requests: &[Request], names: &[&str], most_arrivals: u64) -> Vec<(String, Vec<f64>)> {
    let limits = Limits { most_arrivals };
    let mut found: Vec<(String, Vec<f64>)> = names.iter().map(|name| ((*name).to_owned(), Vec::new())).collect();
    for request in requests {
        let Ok(formula) = predict(&Request { method: Method::Formula, ..request.clone() }, limits) else { continue };
        let simulated = predict(&Request { method: Method::Simulate, ..request.clone() }, limits).unwrap();
        for (name, errors) in &mut found {
            let (Some(value), Some(truth)) = (formula.figures.get(name), simulated.figures.get(name)) else { continue };
            if truth.value > 1e-6 && truth.relative() < 0.02 {
                let error = value.value / truth.value - 1.0;
                println!(
                    "{:+.3} (+- {:.3}) {name} of c {} {:?} {:?} rho {:.2}",
                    error,
                    truth.relative(),
                    request.c,
                    request.service,
                    request.arrival,
                    request.lambda * request.service.mean() / f64::from(request.c)
                );
                errors.push(error.abs());
            }
        }
    }
    for (name, errors) in &mut found {
        errors.sort_by(f64::total_cmp);
        if !errors.is_empty() {
            println!(
                "{name}: {} cases, median {:.4}, p90 {:.4}, largest {:.4}",
                errors.len(),
                percentile(errors, 0.5),
                percentile(errors, 0.9),
                percentile(errors, 1.0)
            );
        }
    }
    found
}

fn services() -> Vec<Dist> {
    vec![
        Dist::Det { mean: 1.0 },
        Dist::Gamma { mean: 1.0, scv: 0.25 },
        Dist::Gamma { mean: 1.0, scv: 2.0 },
        Dist::Lognormal { mean: 1.0, scv: 0.5 },
        Dist::Lognormal { mean: 1.0, scv: 2.0 },
        Dist::Lognormal { mean: 1.0, scv: 4.0 },
        Dist::H2 { mean: 1.0, scv: 2.0 },
        Dist::H2 { mean: 1.0, scv: 4.0 },
    ]
}

#[test]
#[ignore = "minutes: run in release"]
fn mgc_mean_is_near_long_simulations() {
    let mut requests = Vec::new();
    for c in [1, 2, 5, 20, 100] {
        for rho in [0.5, 0.7, 0.8, 0.9] {
            if c < 100 || rho > 0.75 {
                requests.extend(services().into_iter().map(|service| Request::mgc(c, rho * f64::from(c), service, Method::Auto)));
            }
        }
    }
    let found = compare(&requests, &["wait_mean", "p_wait", "wait_p95", "wait_p99", "sojourn_p99"], 12_000_000);
    let mean = &found[0].1;
    assert!(percentile(mean, 0.5) <= 0.01 && percentile(mean, 0.9) <= 0.06);
}

#[test]
#[ignore = "minutes: run in release"]
fn ggc_mean_is_near_long_simulations() {
    let mut requests = Vec::new();
    for c in [1, 2, 5, 20] {
        for rho in [0.8, 0.85, 0.9, 0.95] {
            for between in [Dist::Gamma { mean: 1.0, scv: 0.5 }, Dist::Lognormal { mean: 1.0, scv: 2.0 }, Dist::H2 { mean: 1.0, scv: 4.0 }]
            {
                for service in [Dist::Gamma { mean: 1.0, scv: 0.5 }, Dist::Exp { mean: 1.0 }, Dist::Lognormal { mean: 1.0, scv: 2.0 }] {
                    let request = Request::plain(Model::Ggc, "ggc", c, Method::Auto, 1);
                    requests.push(Request { lambda: rho * f64::from(c), service, arrival: Arrival::Renewal(between), ..request });
                }
            }
        }
    }
    let found = compare(&requests, &["wait_mean", "p_wait", "wait_p95", "wait_p99"], 12_000_000);
    assert!(percentile(&found[0].1, 0.5) <= 0.05 && percentile(&found[0].1, 0.9) <= 0.12);
}

#[test]
#[ignore = "minutes: run in release"]
fn preemptive_leads_are_near_long_simulations() {
    let mut requests = Vec::new();
    for c in [1, 2, 4, 8] {
        for (share, rho) in [(0.1, 0.6), (0.2, 0.8), (0.4, 0.8), (0.2, 0.9)] {
            for (incident, planned) in [
                (Dist::Exp { mean: 0.5 }, Dist::Exp { mean: 3.0 }),
                (Dist::Lognormal { mean: 0.5, scv: 2.0 }, Dist::Lognormal { mean: 3.0, scv: 1.0 }),
                (Dist::Exp { mean: 1.0 }, Dist::Gamma { mean: 2.0, scv: 0.5 }),
            ] {
                let load = rho * f64::from(c);
                let incident = Class { lambda: share * load / incident.mean(), service: incident };
                let planned = Class { lambda: (1.0 - share) * load / planned.mean(), service: planned };
                let request = Request::plain(Model::Preemptive, "preemptive", c, Method::Auto, 1);
                requests.push(Request { incident: Some(incident), planned: Some(planned), ..request });
            }
        }
    }
    let found = compare(&requests, &["incident_lead_mean", "planned_lead_mean", "incident_lead_p95"], 8_000_000);
    assert!(percentile(&found[1].1, 0.5) <= 0.01);
}

#[test]
#[ignore = "minutes: run in release"]
fn batches_are_near_long_simulations() {
    let mut requests = Vec::new();
    for c in [1, 2, 5, 10] {
        for rho in [0.7, 0.8, 0.9] {
            for arrival in [Arrival::BatchFixed(4), Arrival::BatchGeometric(3.0), Arrival::BatchFixed(20)] {
                for service in [Dist::Exp { mean: 1.0 }, Dist::Lognormal { mean: 1.0, scv: 2.0 }, Dist::Gamma { mean: 1.0, scv: 0.5 }] {
                    let request = Request::plain(Model::Batch, "batch", c, Method::Auto, 1);
                    requests.push(Request { lambda: rho * f64::from(c), service, arrival, ..request });
                }
            }
        }
    }
    let found = compare(&requests, &["wait_mean"], 12_000_000);
    assert!(percentile(&found[0].1, 0.9) <= 0.06);
}
