//! Requests that are tried again when they wait too long: how a system that carries its load may stay overloaded
//! ("metastable failures", Bronson et al. 2021).
//!
//! A client gives up after `timeout` and tries again, up to `retries` times; the server does not know and does the work all
//! the same. The load is a fixed point of lambda = lambda0 (1 + P + P^2 + ... + P^retries), P(lambda) = P(wait > timeout) of
//! M/M/c (Erlang 1917), and 1 from saturation on. Domain: retries come after a pause that is long beside the wait, so that
//! they look like new arrivals; lambda0 below saturation.

use crate::Refusal;
use crate::erlang::{Mmc, check_system};
use crate::math;

/// One load that feeds itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FixedPoint {
    pub lambda: f64,
    pub p_timeout: f64,
    /// Small deviations die out
    pub is_stable: bool,
}

/// All fixed points from the lowest load to the highest. Two stable ones mean that a burst beyond the unstable one between
/// them pushes the system into an overload that stays after the burst.
pub fn fixed_points(c: u32, lambda: f64, service: f64, timeout: f64, retries: u32) -> Result<Vec<FixedPoint>, Refusal> {
    check_system(c, lambda, service)?;
    if retries > 1000 {
        return Err(Refusal::new("retries", format!("{retries} retries; at most 1000"), "bound the retries"));
    }
    if !(timeout.is_finite() && timeout >= 0.0) {
        return Err(Refusal::new("timeout", format!("{timeout} is not a time"), "use a time of at least 0"));
    }
    let saturation = f64::from(c) / service;
    let load = |p: f64| {
        let (mut sum, mut power) = (1.0, 1.0);
        for _ in 0..retries {
            power *= p;
            sum += power;
        }
        lambda * sum
    };
    let p_timeout = |at: f64| Mmc::new(c, at, service).map_or(1.0, |system| system.wait_tail(timeout));
    let gap = |at: f64| load(p_timeout(at)) - at;

    // Steps towards saturation shrink with the distance from it, as the wait grows with its inverse.
    const STEPS: u32 = 400;
    let shrink = math::exp(math::ln(1e-9) / f64::from(STEPS));
    let mut found = Vec::new();
    let (mut left, mut rest) = (lambda, saturation - lambda);
    let mut gap_left = gap(left).max(0.0);
    for _ in 0..STEPS {
        rest *= shrink;
        let right = saturation - rest;
        let gap_right = gap(right);
        if (gap_left >= 0.0) != (gap_right >= 0.0) {
            let (mut low, mut high) = (left, right);
            for _ in 0..60 {
                let middle = 0.5 * (low + high);
                if (gap(middle) >= 0.0) == (gap_left >= 0.0) { low = middle } else { high = middle }
            }
            let at = 0.5 * (low + high);
            found.push(FixedPoint { lambda: at, p_timeout: p_timeout(at), is_stable: gap_left >= 0.0 });
        }
        (left, gap_left) = (right, gap_right);
    }
    let most = load(1.0);
    if most >= saturation {
        found.push(FixedPoint { lambda: most, p_timeout: 1.0, is_stable: true });
    }
    Ok(found)
}
