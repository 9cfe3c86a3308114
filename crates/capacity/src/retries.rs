//! Requests that are tried again when they wait too long: how a system that carries its load may stay overloaded
//! ("metastable failures", Bronson et al. 2021).
//!
//! With timeouts `patience` and up to `retries` repetitions, the load is a fixed point of
//! lambda = lambda0 (1 + P + P^2 + ... ), P(lambda) the share of Erlang-A that gives up. Source of P: Garnett, Mandelbaum,
//! Reiman 2002. Domain: repetitions come after a pause that is long beside the wait, so that they look like new arrivals.

use crate::Refusal;
use crate::abandonment::ErlangA;

/// One load that feeds itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FixedPoint {
    pub lambda: f64,
    pub p_abandon: f64,
    /// Small deviations die out
    pub is_stable: bool,
}

/// All fixed points from the lowest load to the highest. More than one stable point means that a burst can push the system
/// into an overload that stays after the burst.
pub fn fixed_points(c: u32, lambda: f64, service: f64, patience: f64, retries: u32) -> Result<Vec<FixedPoint>, Refusal> {
    if retries > 1000 {
        return Err(Refusal::new("retries", format!("{retries} retries; at most 1000"), "bound the retries"));
    }
    let load = |at: f64| -> Result<(f64, f64), Refusal> {
        let p = ErlangA::new(c, at, service, patience)?.p_abandon();
        let (mut sum, mut power) = (1.0, 1.0);
        for _ in 0..retries {
            power *= p;
            sum += power;
        }
        Ok((lambda * sum - at, p))
    };
    const STEPS: u32 = 400;
    let width = lambda * f64::from(retries) / f64::from(STEPS);
    let mut found = Vec::new();
    let (mut left, (mut gap, _)) = (lambda, load(lambda)?);
    if gap == 0.0 || retries == 0 {
        found.push(FixedPoint { lambda, p_abandon: load(lambda)?.1, is_stable: true });
        return Ok(found);
    }
    for step in 1..=STEPS {
        let right = lambda + width * f64::from(step);
        let (gap_right, _) = load(right)?;
        if gap.signum() != gap_right.signum() {
            let (mut low, mut high) = (left, right);
            for _ in 0..60 {
                let middle = 0.5 * (low + high);
                if load(middle)?.0.signum() == gap.signum() { low = middle } else { high = middle }
            }
            let at = 0.5 * (low + high);
            found.push(FixedPoint { lambda: at, p_abandon: load(at)?.1, is_stable: gap > 0.0 });
        }
        (left, gap) = (right, gap_right);
    }
    Ok(found)
}
