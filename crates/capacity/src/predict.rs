//! Answers a [`Request`] by a formula or by simulation, and says which, why, and how sure it is.

use crate::Refusal;
use crate::batches::Figure;
use crate::dist::Dist;
use crate::request::{self, Method, Model, Request};
use serde_json::{Map, Value, json};
use std::sync::Arc;

mod answer;
mod formula;
mod simulated;

pub use answer::{Answer, LEAD_QUANTILES, Limits, QUANTILES};

/// The utilisation from which on a simulation of bounded work is wider than the formulas' own error.
const SATURATED: f64 = 0.995;

pub fn predict(request: &Request, limits: Limits) -> Result<Answer, Refusal> {
    simulated::check(request)?;
    let by_formula = formula::answer(request);
    match request.method {
        Method::Formula => by_formula.map(|(answer, _)| Answer { why: "asked for".to_owned(), ..answer }),
        Method::Simulate => simulated::answer(request, limits).map(|answer| Answer { why: "asked for".to_owned(), ..answer }),
        Method::Auto => match by_formula {
            Ok((answer, formula::Trust::Exact)) => Ok(Answer { why: "the formula is exact".to_owned(), ..answer }),
            Ok((answer, formula::Trust::Within(error))) => {
                let why = |why: &str| format!("{why} (the formula is within {:.0} %)", 100.0 * error);
                let is_steady = match request.model {
                    Model::Step => false,
                    Model::ZoneLoss | Model::Rotation => simulated::is_steady(request),
                    _ => true,
                };
                if is_steady && answer.utilisation.is_some_and(|rho| rho > SATURATED) {
                    return Ok(Answer {
                        why: why("so close to saturation the formula is surer than a simulation of bounded work"),
                        ..answer
                    });
                }
                match simulated::answer(request, limits) {
                    Ok(simulated) => {
                        let width = |answer: &Answer| answer.figures.get("wait_mean").map_or(0.0, Figure::relative);
                        if is_steady && width(&simulated) > width(&answer).max(0.01) && answer.omitted.is_empty() {
                            return Ok(Answer { why: why("a simulation of bounded work is less sure at this load"), ..answer });
                        }
                        Ok(Answer { why: why("simulation is surer here"), ..simulated })
                    }
                    Err(refusal) => Ok(Answer { why: why(&format!("simulation is refused: {}", refusal.reason)), ..answer }),
                }
            }
            Err(refusal) => {
                simulated::answer(request, limits).map(|answer| Answer { why: format!("no formula: {}", refusal.reason), ..answer })
            }
        },
    }
}

/// Waits of `c` servers under recorded arrivals: their interarrival times in blocks of `block`, drawn with replacement, so
/// that correlation within a block is kept. Use it where [`crate::estimate::ArrivalEstimate::is_correlated`].
pub fn predict_trace(c: u32, times: Arc<[f64]>, block: usize, service: Dist, limits: Limits, seed: u64) -> Result<Answer, Refusal> {
    simulated::of_trace(c, times, block, service, limits, seed).map(|answer| Answer { why: "arrivals as recorded".to_owned(), ..answer })
}

/// One line of `--batch` to one line of JSON, which is an answer or has `refused`. It never fails.
pub fn predict_batch_line(line: &str) -> String {
    predict_batch_line_within(line, Limits::default())
}

pub fn predict_batch_line_within(line: &str, limits: Limits) -> String {
    let read = request::read(line);
    let mut object = Map::new();
    if let Some(id) = read.id {
        object.insert("id".to_owned(), id);
    }
    if let Ok(request) = &read.request {
        object.insert("model".to_owned(), json!(request.name));
    }
    match read.request.and_then(|request| predict(&request, limits)) {
        Ok(answer) => write(&answer, &mut object),
        Err(refusal) => {
            object.insert("refused".to_owned(), json!(format!("{}: {}", refusal.place, refusal.reason)));
            object.insert("place".to_owned(), json!(refusal.place));
            object.insert("hint".to_owned(), json!(refusal.hint));
        }
    }
    Value::Object(object).to_string()
}

/// An answer as the fields of a JSON object.
pub fn write(answer: &Answer, object: &mut Map<String, Value>) {
    object.insert("method".to_owned(), json!(answer.method));
    object.insert("source".to_owned(), json!(answer.source));
    object.insert("why".to_owned(), json!(answer.why));
    if let Some(utilisation) = answer.utilisation {
        object.insert("utilisation".to_owned(), json!(utilisation));
    }
    for (name, figure) in &answer.figures {
        object.insert(name.clone(), json!({ "value": figure.value, "low": figure.low, "high": figure.high }));
    }
    if !answer.omitted.is_empty() {
        object.insert("omitted".to_owned(), json!(answer.omitted));
    }
}
