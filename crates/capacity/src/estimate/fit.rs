//! Service times: their mean by the utilisation law, and which of lognormal and gamma fits better.

use super::bootstrap::block_bootstrap;
use crate::Refusal;
use crate::batches::{Figure, interval};
use crate::dist::Dist;
use crate::math;

/// A distribution fitted by maximum likelihood.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fitted {
    pub dist: Dist,
    pub mean: Figure,
    /// Akaike's criterion of the chosen family, and by how much the other is worse; a difference below 2 decides nothing
    pub aic: f64,
    pub worse_by: f64,
    /// The median and the 99th percentile as observed: a fit that misses them is not to be used for tails
    pub observed_p50: f64,
    pub observed_p99: f64,
}

const FEWEST: usize = 50;

/// Chooses between lognormal and gamma by AIC; both have two parameters, so by likelihood.
pub fn fit(durations: &[f64], seed: u64) -> Result<Fitted, Refusal> {
    if durations.len() < FEWEST {
        return Err(Refusal::new("log", format!("{} durations; a fit needs {FEWEST}", durations.len()), "record for longer"));
    }
    if let Some(bad) = durations.iter().find(|time| !(time.is_finite() && **time > 0.0)) {
        return Err(Refusal::new(
            "log",
            format!("a duration of {bad}: both families hold positive times only"),
            "record finer times; durations of 0 mean that the clock is too coarse",
        ));
    }
    let n = durations.len() as f64;
    let mean = durations.iter().sum::<f64>() / n;
    let mean_ln = durations.iter().map(|x| math::ln(*x)).sum::<f64>() / n;
    let variance_ln = durations.iter().map(|x| (math::ln(*x) - mean_ln) * (math::ln(*x) - mean_ln)).sum::<f64>() / n;
    let spread = math::ln(mean) - mean_ln;
    if spread < 1e-6 {
        return Err(Refusal::new("log", "the durations do not vary", "use dist det"));
    }
    let ln_2pi = math::ln(2.0 * std::f64::consts::PI);
    let lognormal = -n * (mean_ln + 0.5 * (ln_2pi + math::ln(variance_ln) + 1.0));
    let shape = gamma_shape(spread);
    let gamma = n * ((shape - 1.0) * mean_ln - shape - math::ln_gamma(shape) - shape * math::ln(mean / shape));
    let aic = |likelihood: f64| 4.0 - 2.0 * likelihood;
    let (dist, best, other) = if lognormal >= gamma {
        (Dist::Lognormal { mean: math::exp(mean_ln + 0.5 * variance_ln), scv: math::exp_m1(variance_ln) }, lognormal, gamma)
    } else {
        (Dist::Gamma { mean, scv: 1.0 / shape }, gamma, lognormal)
    };
    let mut sorted = durations.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |p: f64| sorted[((p * n) as usize).min(sorted.len() - 1)];
    let resampled = block_bootstrap(durations, super::bootstrap::block_length(durations.len(), 1), 400, seed, |data| {
        data.iter().sum::<f64>() / data.len() as f64
    });
    Ok(Fitted { dist, mean: resampled, aic: aic(best), worse_by: aic(other) - aic(best), observed_p50: at(0.5), observed_p99: at(0.99) })
}

/// The shape with ln k - digamma(k) = spread, by Newton's method from Minka's start (Minka 2002).
fn gamma_shape(spread: f64) -> f64 {
    let mut k = (3.0 - spread + ((spread - 3.0) * (spread - 3.0) + 24.0 * spread).sqrt()) / (12.0 * spread);
    for _ in 0..20 {
        let step = (math::ln(k) - digamma(k) - spread) / (1.0 / k - trigamma(k));
        k = (k - step).max(0.1 * k);
        if step.abs() < 1e-12 * k {
            break;
        }
    }
    k
}

fn digamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < 8.0 {
        sum -= 1.0 / x;
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    sum + math::ln(x) - 0.5 / x - y * (1.0 / 12.0 - y * (1.0 / 120.0 - y * (1.0 / 252.0 - y * (1.0 / 240.0 - y / 132.0))))
}

fn trigamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < 8.0 {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    sum + 1.0 / x + 0.5 * y + y / x * (1.0 / 6.0 - y * (1.0 / 30.0 - y * (1.0 / 42.0 - y / 30.0)))
}

/// E[S] by the utilisation law: busy servers (utilisation x servers) / throughput, from pairs observed over equal windows.
/// The interval comes from ten groups of neighbouring windows.
pub fn service_by_utilisation(busy_and_throughput: &[(f64, f64)]) -> Result<Figure, Refusal> {
    const GROUPS: usize = 10;
    if busy_and_throughput.len() < 2 * GROUPS {
        return Err(Refusal::new(
            "log",
            format!("{} windows; the estimate needs {}", busy_and_throughput.len(), 2 * GROUPS),
            "record for longer",
        ));
    }
    if busy_and_throughput.iter().any(|(busy, rate)| !(busy.is_finite() && *busy >= 0.0 && rate.is_finite() && *rate >= 0.0)) {
        return Err(Refusal::new("log", "a window with a negative or undefined figure", "remove the window"));
    }
    let ratio = |windows: &[(f64, f64)]| {
        let (busy, done) = windows.iter().fold((0.0, 0.0), |(busy, done), (b, d)| (busy + b, done + d));
        if done > 0.0 { busy / done } else { f64::NAN }
    };
    let value = ratio(busy_and_throughput);
    if !value.is_finite() {
        return Err(Refusal::new("log", "nothing was served", "record while there is load"));
    }
    let size = busy_and_throughput.len() / GROUPS;
    let each: Vec<f64> = busy_and_throughput.chunks_exact(size).map(ratio).filter(|value| value.is_finite()).collect();
    Ok(interval(value, &each))
}
