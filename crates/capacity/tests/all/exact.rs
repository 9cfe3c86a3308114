//! Figures that were computed by `oracle/exact.py`: 50 digits for formulas, Markov chains for simulations.

use capacity::predict::{Answer, Limits, predict};
use capacity::request::{self, Method, Model, Request};
use serde_json::Value;

const EXACT: &str = include_str!("../oracle/exact.jsonl");

struct Case {
    text: String,
    request: Request,
    exact: Vec<(String, f64)>,
}

fn cases(model: Model) -> Vec<Case> {
    let mut found = Vec::new();
    for line in EXACT.lines() {
        // The request stays as it was written: serde_json may move a number by one unit in its last place.
        let (text, exact) = line.split_once(", \"exact\": ").unwrap();
        let text = format!("{text}}}");
        let exact: Value = serde_json::from_str(&exact[..exact.len() - 1]).unwrap();
        let exact = exact.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.as_f64().unwrap())).collect();
        let request = request::read(&text).request.unwrap();
        if request.model == model {
            found.push(Case { text, request, exact });
        }
    }
    assert!(!found.is_empty());
    found
}

fn answer(case: &Case, method: Method, most_arrivals: u64) -> Answer {
    let request = Request { method, ..case.request.clone() };
    predict(&request, Limits { most_arrivals }).unwrap_or_else(|refusal| panic!("{}: {refusal}", case.text))
}

fn formula_is_exact(model: Model, tolerance: f64) {
    let (mut worst, mut figures) = (0.0_f64, 0);
    for case in cases(model) {
        let answer = answer(&case, Method::Formula, 0);
        for (name, exact) in &case.exact {
            let value = answer.figures[name].value;
            // Below 1e-250 a value may underflow.
            let error = if exact.abs() < 1e-250 { value.abs() } else { (value / exact - 1.0).abs() };
            assert!(error <= tolerance, "{}: {name} is {value:e}, exactly {exact:e}", case.text);
            worst = worst.max(error);
            figures += 1;
        }
    }
    println!("{model:?}: {figures} figures, largest relative error {worst:.2e}");
}

#[test]
fn mmc_up_to_10000_servers_is_exact_to_nine_digits() {
    formula_is_exact(Model::Mmc, 1e-9);
}

#[test]
fn erlang_a_is_exact_to_nine_digits() {
    formula_is_exact(Model::ErlangA, 1e-9);
}

#[test]
fn chains_of_exponential_service_are_exact() {
    for model in [Model::Mmpp, Model::Batch, Model::Ggc] {
        formula_is_exact(model, 1e-7);
    }
}

#[test]
fn crommelins_sum_gives_the_mean_wait_of_det_service() {
    for case in cases(Model::Mgc) {
        let value = answer(&case, Method::Formula, 0).figures["wait_mean"].value;
        let exact = case.exact[0].1;
        assert!((value / exact - 1.0).abs() < 0.01, "{}: {value} is not {exact}", case.text);
    }
}

/// Each figure is within 4.5 standard errors of the exact one, and the intervals are not wide beyond use.
fn simulation_agrees(model: Model, most_arrivals: u64, widest: f64) {
    let (mut all, mut covered, mut errors) = (0, 0, Vec::new());
    for case in cases(model) {
        let answer = answer(&case, Method::Simulate, most_arrivals);
        for (name, exact) in &case.exact {
            let figure = answer.figures[name];
            let half = 0.5 * (figure.high - figure.low);
            let off = (figure.value - exact).abs();
            // A histogram's bin is 0.2 % wide.
            assert!(off <= 2.75 * half + 0.001 * exact, "{}: {name} is {figure:?}, exactly {exact}", case.text);
            assert!(
                figure.relative() <= widest || half < 0.01 * answer.figures[name].high.max(0.05),
                "{}: {name} is {figure:?}",
                case.text
            );
            all += 1;
            covered += u32::from(off <= half + 1e-9 * exact);
            if *exact > 0.0 {
                errors.push(off / exact);
            }
        }
    }
    errors.sort_by(f64::total_cmp);
    println!(
        "{model:?}: {all} figures, {covered} within their 90 % intervals, error median {:.2e}, largest {:.2e}",
        errors[errors.len() / 2],
        errors[errors.len() - 1]
    );
}

#[test]
fn simulations_agree_with_markov_chains() {
    for model in [Model::Ggc, Model::Batch, Model::Setup, Model::Preemptive] {
        simulation_agrees(model, 1_000_000, 0.5);
    }
}

#[test]
#[ignore = "minutes: run in release"]
fn long_simulations_agree_with_markov_chains() {
    for model in [Model::Ggc, Model::Batch, Model::Mmpp, Model::Setup, Model::Preemptive] {
        simulation_agrees(model, 40_000_000, 0.05);
    }
}

#[test]
fn bondi_and_buzen_are_near_the_markov_chains() {
    let mut errors = Vec::new();
    for case in cases(Model::Preemptive) {
        let answer = answer(&case, Method::Formula, 0);
        for (name, exact) in &case.exact {
            let error = (answer.figures[name].value / exact - 1.0).abs();
            println!("{error:.4} {name} of {}", case.text);
            errors.push(error);
        }
    }
    errors.sort_by(f64::total_cmp);
    assert!(errors[errors.len() / 2] <= 0.01, "median {}", errors[errors.len() / 2]);
    assert!(errors[errors.len() - 1] <= 0.15, "largest {}", errors[errors.len() - 1]);
}
